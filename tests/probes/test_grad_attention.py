"""Gradient times attention, derived again by finite differences and loops."""

import numpy as np
import pytest
import torch
from test_attention_probe import biot, class_token_model

from biot_bd.models import record_attention
from biot_bd.probes import GradAttentionProbe

pytestmark = pytest.mark.usefixtures("one_thread")


def margins_by_hand(scores, target):
    scores = scores.numpy()
    return scores[:, target] - np.log(np.exp(np.delete(scores, target, axis=1)).sum(axis=1))


def slopes(model, x, target, layer, weights, step=1e-5):
    """The slope of the margin by each number of a map, by central differences: a window for each."""

    def edit(name, attention):
        changed = attention.clone().flatten(1)
        changed += torch.cat([step * torch.eye(weights.size), -step * torch.eye(weights.size)])
        return changed.view_as(attention)

    with torch.no_grad(), record_attention(model, layers=[layer], edit=edit):
        ends = margins_by_hand(model(x.expand(2 * weights.size, -1, -1)), target)
    return ((ends[: weights.size] - ends[weights.size :]) / (2 * step)).reshape(weights.shape)


def relevance_by_hand(model, x, target, readout):
    with torch.no_grad(), record_attention(model) as trace:
        model(x)
    n = trace[0].weights.shape[-1]
    whole = np.eye(n)
    for number, record in enumerate(trace):
        weights = record.weights[0].numpy()
        gained = np.maximum(slopes(model, x, target, number, weights) * weights, 0).mean(axis=0)
        whole = whole + gained @ whole
    rows = np.full(n, 1 / n) if readout == "mean" else np.eye(n)[0]
    return rows @ (whole - np.eye(n))


def test_biot_against_finite_differences():
    model = biot(n_chans=2, n_times=400, embed_dim=8, num_heads=2, num_layers=2).double()
    x = torch.randn(2, 2, 400, generator=torch.Generator().manual_seed(1)).double()
    found = GradAttentionProbe()(model, x, target=[1, 0])
    assert found.target == (1, 0)
    for window in range(2):
        expected = relevance_by_hand(model, x[[window]], [1, 0][window], "mean")
        np.testing.assert_allclose(found.values[window].ravel(), expected, rtol=1e-4, atol=1e-9)
    assert found.values.max() > 1e-5


def test_a_class_token_and_three_classes_against_finite_differences():
    model = class_token_model().double()
    x = torch.randn(1, 4, 600, generator=torch.Generator().manual_seed(2)).double()
    found = GradAttentionProbe()(model, x, target=2)
    expected = relevance_by_hand(model, x, 2, "class")
    np.testing.assert_allclose(np.r_[found.special[0], found.values[0].ravel()], expected, rtol=1e-4, atol=1e-9)


def test_the_predicted_class_is_asked_about_by_default():
    model = biot(num_layers=1)
    x = torch.randn(6, 4, 600, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        predicted = model(x).argmax(dim=1).tolist()
    found = GradAttentionProbe(batch_size=4)(model, x)
    assert list(found.target) == predicted
    np.testing.assert_array_equal(found.values, GradAttentionProbe(batch_size=4)(model, x, predicted).values)
    assert np.abs(found.values - GradAttentionProbe()(model, x, [1 - one for one in predicted]).values).max() > 0


def test_gradients_of_parameters_are_nobodys_business():
    model = biot(num_layers=1)
    x = torch.randn(2, 4, 600)
    model(x).sum().backward()
    before = [p.grad.clone() for p in model.parameters()]
    with torch.no_grad():
        GradAttentionProbe()(model, x)
    assert all(torch.equal(p.grad, old) for p, old in zip(model.parameters(), before, strict=True))
    assert x.grad is None


def test_signed_subtracts_what_speaks_for_the_other_class():
    model = biot(num_layers=2)
    x = torch.randn(3, 4, 600, generator=torch.Generator().manual_seed(1))
    found = GradAttentionProbe(signed=True)(model, x, 1)
    alone = [GradAttentionProbe()(model, x, target) for target in (0, 1)]
    np.testing.assert_allclose(found.values, alone[1].values - alone[0].values, rtol=1e-4, atol=1e-9)
    assert found.signed
    assert not alone[0].signed
    assert (found.values < 0).any()
