"""InfoNCE against the official code's number, closed forms and the definition written with scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from biot_bd.pretraining import info_nce
from biot_bd.pretraining.info_nce import top1


def views(n=6, features=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, features, generator=generator, dtype=dtype).unbind()


def by_definition(masked, whole, temperature):
    masked, whole = (np.asarray(v) / np.linalg.norm(v, axis=1, keepdims=True) for v in (masked, whole))
    logits = whole @ masked.T / temperature
    return float(np.mean(logsumexp(logits, axis=1) - np.diag(logits)))


def test_it_equals_the_official_code(shared):
    golden = np.load(shared / "golden" / "contrastive.npz")
    loss = info_nce(torch.from_numpy(golden["masked"]), torch.from_numpy(golden["whole"]), temperature=0.2)
    assert float(loss) == pytest.approx(float(golden["loss"]), rel=1e-6)


@given(n=st.integers(1, 9), seed=st.integers(0, 99), temperature=st.sampled_from([0.05, 0.2, 1.0]))
@settings(max_examples=30, deadline=None)
def test_it_is_what_its_definition_says(n, seed, temperature):
    masked, whole = views(n, seed=seed)
    expected = by_definition(masked, whole, temperature)
    assert float(info_nce(masked, whole, temperature)) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 64])
def test_embeddings_that_are_all_one_give_the_logarithm_of_their_number(n):
    same = torch.ones(n, 3, dtype=torch.float64)
    assert float(info_nce(same, 7 * same)) == pytest.approx(math.log(n), rel=1e-12)


def test_right_partners_at_right_angles_to_all_others_give_the_closed_form():
    loss = info_nce(torch.eye(8, dtype=torch.float64), 3 * torch.eye(8, dtype=torch.float64), temperature=0.2)
    assert float(loss) == pytest.approx(math.log(1 + 7 * math.exp(-5)), rel=1e-12)


def test_opposite_partners_reach_the_least_loss_that_there_is():
    two = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert float(info_nce(two, two, 0.2)) == pytest.approx(math.log(1 + math.exp(-2 / 0.2)), rel=1e-12)


def test_neither_the_order_of_windows_nor_the_length_of_embeddings_matters():
    masked, whole = views()
    order = torch.randperm(len(masked), generator=torch.Generator().manual_seed(1))
    lengths = torch.rand(len(masked), 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    torch.testing.assert_close(info_nce(lengths * masked[order], 3 * whole[order]), info_nce(masked, whole))


def test_views_may_change_places_where_cosines_are_symmetric_and_only_there():
    masked, whole = views()
    torch.testing.assert_close(info_nce(masked, masked @ torch.eye(5).double()), info_nce(masked, masked))
    assert not torch.isclose(info_nce(masked, whole), info_nce(whole, masked), rtol=1e-3)


def test_gradients_are_those_of_finite_differences():
    masked, whole = (view.requires_grad_() for view in views(4, 3))
    assert torch.autograd.gradcheck(info_nce, (masked, whole, 0.2))


def test_autocast_does_not_reach_into_it():
    masked, whole = views(32, 64, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = info_nce(masked, whole)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, info_nce(masked, whole))


def test_the_share_of_right_partners_counts_them():
    whole = torch.eye(4)
    assert float(top1(whole, whole)) == 1.0
    assert float(top1(whole[[1, 0, 2, 3]], whole)) == 0.5


@pytest.mark.parametrize(
    ("masked", "whole", "temperature", "words"),
    [
        (torch.ones(3, 2), torch.ones(2, 2), 0.2, r"one row a window, got \(3, 2\) and \(2, 2\)"),
        (torch.ones(3), torch.ones(3), 0.2, "shape"),
        (torch.ones(0, 2), torch.ones(0, 2), 0.2, "one row a window"),
        (torch.ones(3, 2), torch.ones(3, 2), 0.0, "temperature must be positive, got 0.0"),
        (torch.ones(3, 2), torch.ones(3, 2), math.nan, "temperature must be positive, got nan"),
    ],
)
def test_what_cannot_be_compared_is_refused(masked, whole, temperature, words):
    with pytest.raises(ValueError, match=words):
        info_nce(masked, whole, temperature)
