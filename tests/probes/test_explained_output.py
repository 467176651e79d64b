"""What is explained, against scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from biot_bd.probes.explained_output import explained_output


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_margin_is_the_log_odds(n_outputs, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4, n_outputs)) * 5
    targets = rng.integers(0, n_outputs, 4)
    p = softmax(logits, axis=1)[np.arange(4), targets]
    given = torch.tensor(logits), torch.tensor(targets)
    others = [np.delete(row, target) for row, target in zip(logits, targets, strict=True)]
    margin = logits[np.arange(4), targets] - [logsumexp(row) for row in others]
    np.testing.assert_allclose(explained_output(*given), margin, atol=1e-12)
    np.testing.assert_allclose(explained_output(*given, "probability"), p, rtol=1e-10)
    np.testing.assert_array_equal(explained_output(*given, "logit"), logits[np.arange(4), targets])


def test_gradient_of_the_margin_of_two_classes_is_plus_and_minus_one():
    logits = torch.randn(3, 2, requires_grad=True)
    explained_output(logits, torch.tensor([0, 1, 1])).sum().backward()
    assert logits.grad.tolist() == [[1, -1], [-1, 1], [-1, 1]]


def test_what_has_no_meaning_raises():
    with pytest.raises(ValueError, match="output must be one of margin, logit, probability; got 'odds'"):
        explained_output(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), "odds")
    with pytest.raises(ValueError, match="use output='logit'"):
        explained_output(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long))
    assert explained_output(torch.ones(1, 1), torch.zeros(1, dtype=torch.long), "logit").item() == 1
