"""Losses against the official numbers, closed forms and torch."""

import copy
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax, softmax

from biot_bd import FocalLoss
from biot_bd.losses import CrossEntropyLoss


def batch(n=40, n_classes=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, n_classes, generator=generator, dtype=dtype) * 3
    return logits, torch.randint(0, n_classes, (n,), generator=generator)


def focal_by_hand(logits, target, gamma, factor):
    p = softmax(logits, axis=1)[np.arange(len(target)), target]
    return np.mean(factor[target] * (1 - p) ** gamma * -np.log(p))


@pytest.mark.parametrize("setting", ["alpha=0.8,gamma=0.7", "alpha=0.25,gamma=2.0", "alpha=0.5,gamma=0.0"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_focal_equals_the_official_one_logit_loss(shared, setting, dtype):
    golden = json.loads((shared / "golden" / "focal-official.json").read_text())
    alpha, gamma = (float(part.split("=")[1]) for part in setting.split(","))
    z = torch.tensor(golden["logit"], dtype=dtype)
    loss = FocalLoss(gamma, alpha)(torch.stack([torch.zeros_like(z), z], 1), torch.tensor(golden["y"]))
    assert loss.item() == pytest.approx(golden["mean_loss"][setting], rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
def test_focal_equals_its_formula_for_several_classes(gamma):
    logits, target = batch()
    factor = np.array([0.2, 1.0, 3.0])
    expected = focal_by_hand(logits.numpy(), target.numpy(), gamma, factor)
    assert FocalLoss(gamma, alpha=factor.tolist())(logits, target).item() == pytest.approx(expected, rel=1e-6)
    assert FocalLoss(gamma, weight=factor)(logits, target).item() == pytest.approx(expected, rel=1e-6)
    squared = focal_by_hand(logits.numpy(), target.numpy(), gamma, factor**2)
    assert FocalLoss(gamma, factor.tolist(), factor)(logits, target).item() == pytest.approx(squared, rel=1e-6)


def test_scalar_alpha_weighs_class_one():
    logits, target = batch(n_classes=2)
    by_number, by_class = FocalLoss(alpha=0.8), FocalLoss(alpha=[0.2, 0.8])
    assert by_number(logits, target).item() == pytest.approx(by_class(logits, target).item(), rel=1e-6)
    ones = torch.ones_like(target)
    plain = FocalLoss()(logits, ones).item()
    assert FocalLoss(alpha=0.8)(logits, ones).item() == pytest.approx(0.8 * plain, rel=1e-6)


def test_gamma_zero_is_torchs_cross_entropy():
    logits, target = batch(n_classes=4)
    none = FocalLoss(0, reduction="none")(logits, target)
    torch.testing.assert_close(none, F.cross_entropy(logits, target, reduction="none"))
    weight = [0.5, 1.0, 2.0, 4.0]
    expected = F.cross_entropy(logits, target, torch.tensor(weight, dtype=logits.dtype), reduction="sum")
    torch.testing.assert_close(FocalLoss(0, weight=weight, reduction="sum")(logits, target), expected)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (4, 3), elements=st.floats(-1e4, 1e4, width=32)),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.floats(0, 6),
)
def test_focal_is_finite_in_value_and_gradient_for_any_logits(logits, target, gamma):
    z = torch.tensor(logits, requires_grad=True)
    loss = FocalLoss(gamma)(z, torch.tensor(target))
    loss.backward()
    assert loss.isfinite()
    assert loss >= 0
    assert z.grad.isfinite().all()
    torch.testing.assert_close(z.grad.sum(1), torch.zeros(4), rtol=0, atol=1e-2)  # softmax has no level


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_focal_at_ten_thousand(gamma, sign):
    z = torch.tensor([[0.0, sign * 1e4]], requires_grad=True)
    loss = FocalLoss(gamma)(z, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.0 if sign > 0 else 1e4)
    slope = 0.0 if sign > 0 else 1.0
    assert z.grad.tolist() == [[pytest.approx(slope), pytest.approx(-slope)]]


def test_focal_keeps_its_precision_near_certainty():
    margin = 30.0  # 1 - p = 9.4e-14 vanishes beside 1 in float32
    loss = FocalLoss(0.5)(torch.tensor([[0.0, margin]]), torch.tensor([1])).item()
    q = math.exp(-margin)
    assert loss == pytest.approx(q**0.5 * q, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_gradients(gamma):
    logits, target = batch(n=6)
    logits.requires_grad_()
    loss = FocalLoss(gamma, alpha=[0.25, 0.5, 2.0])
    assert torch.autograd.gradcheck(lambda z: loss(z, target), logits)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, target), logits)


def test_half_precision_logits_are_computed_in_float32():
    z = torch.tensor([[0.0, -3e4], [0.0, 12.0]], dtype=torch.float16)
    target = torch.tensor([1, 1])
    for loss in (FocalLoss(), CrossEntropyLoss()):
        assert loss(z, target).dtype == torch.float32
        assert loss(z, target).item() == pytest.approx(15000, rel=1e-3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gamma": -1}, "gamma"),
        ({"gamma": math.nan}, "gamma"),
        ({"alpha": 1.5}, "alpha must be between 0 and 1"),
        ({"alpha": [0.5]}, "two or more classes"),
        ({"alpha": [0.5, math.inf]}, "finite"),
        ({"weight": [1, -1]}, "0 or more"),
        ({"reduction": "average"}, "reduction"),
    ],
)
def test_focal_refuses_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        FocalLoss(**parameters)


@pytest.mark.parametrize("loss", [FocalLoss(), CrossEntropyLoss()])
@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), "shape"),
        (torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64), "two or more classes"),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64), r"\(3,\)"),
        (torch.zeros(3, 2), torch.zeros(3), "int64"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), "between 0 and 1, got 0 to 2"),
        (torch.zeros(3, 2), torch.tensor([0, 1, -1]), "got -1 to 1"),
    ],
)
def test_losses_refuse_bad_batches(loss, logits, target, message):
    with pytest.raises(ValueError, match=message):
        loss(logits, target)


@pytest.mark.parametrize(
    "loss",
    [
        FocalLoss(alpha=0.25),
        FocalLoss(weight=[1, 2]),
        CrossEntropyLoss([1, 2]),
        CrossEntropyLoss(prior_correction=[1, 9]),
    ],
)
def test_numbers_by_class_must_fit_the_logits(loss):
    with pytest.raises(ValueError, match="2 classes, the logits have 3"):
        loss(*batch())


def test_cross_entropy_equals_torch():
    logits, target = batch()
    weight = [0.5, 1.0, 2.0]
    expected = torch.nn.CrossEntropyLoss(torch.tensor(weight, dtype=logits.dtype), label_smoothing=0.1)(logits, target)
    torch.testing.assert_close(CrossEntropyLoss(weight, label_smoothing=0.1)(logits, target), expected)


def test_prior_correction_adds_tau_log_prior():
    logits, target = batch()
    prior = np.array([0.7, 0.2, 0.1])
    adjusted = logits.numpy() + 1.5 * np.log(prior)
    expected = -log_softmax(adjusted, axis=1)[np.arange(len(target)), target.numpy()].mean()
    for given_as in (prior.tolist(), [70, 20, 10]):
        loss = CrossEntropyLoss(prior_correction=given_as, tau=1.5)(logits, target)
        assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert CrossEntropyLoss(prior_correction=[5, 5, 5])(logits, target).item() == pytest.approx(
        F.cross_entropy(logits, target).item(), rel=1e-6
    )


def test_prior_correction_learns_balanced_scores():
    # One feature-free model: the best constant logits are flat under the correction, the prior without.
    target = torch.tensor([0] * 90 + [1] * 10)
    found = {}
    for correction in (None, [90, 10]):
        z = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([z], lr=0.5, max_iter=100)
        loss = CrossEntropyLoss(prior_correction=correction)

        def closure(z=z, optimizer=optimizer, loss=loss):
            optimizer.zero_grad()
            value = loss(z.expand(100, 2), target)
            value.backward()
            return value

        optimizer.step(closure)
        found[correction is None] = z.softmax(0)[1].item()
    assert found[True] == pytest.approx(0.1, abs=1e-3)
    assert found[False] == pytest.approx(0.5, abs=1e-3)


def test_prior_from_training_labels():
    logits, target = batch()
    loss = CrossEntropyLoss(prior_correction=True)
    with pytest.raises(RuntimeError, match="set_class_counts"):
        loss(logits, target)
    loss.set_class_counts([70, 20, 10])
    expected = CrossEntropyLoss(prior_correction=[0.7, 0.2, 0.1])(logits, target)
    torch.testing.assert_close(loss(logits, target), expected)
    plain = CrossEntropyLoss()
    plain.set_class_counts([70, 20, 10])  # nothing asked for it
    torch.testing.assert_close(plain(logits, target), F.cross_entropy(logits, target))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"label_smoothing": 1.2}, "label_smoothing"),
        ({"prior_correction": [1, 0]}, "above 0"),
        ({"tau": math.inf}, "tau"),
        ({"weight": [[1, 2]]}, "weight"),
    ],
)
def test_cross_entropy_refuses_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropyLoss(**parameters)


@pytest.mark.parametrize("loss", [FocalLoss(alpha=0.3, weight=[1, 2]), CrossEntropyLoss([1, 2], 0.1, [3, 1])])
def test_state_is_in_the_parameters(loss):
    logits, target = batch(n_classes=2)
    other = copy.deepcopy(loss)
    other.load_state_dict(loss.state_dict(), strict=True)
    torch.testing.assert_close(other(logits, target), loss(logits, target))
