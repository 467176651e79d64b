"""Differences between conditions, subjects as units."""

import itertools

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from biot_bd.probes import subject_difference

RNG = np.random.default_rng(0)


def test_paired_p_values_are_those_of_mne():
    differences = RNG.normal(0.4, 1, (9, 6))
    found = subject_difference(differences.reshape(9, 2, 3))
    t, p, _ = mne.stats.permutation_t_test(differences, n_permutations="all", verbose="error")
    np.testing.assert_allclose(found.t.ravel(), t)
    np.testing.assert_allclose(found.p.ravel(), p, atol=2 / 512)
    np.testing.assert_allclose(found.mean.ravel(), differences.mean(axis=0))
    assert (found.exact, found.n_permutations, found.smallest_p) == (True, 512, 2 / 512)


def test_groups_of_other_subjects_by_hand():
    a, b = RNG.normal(0, 1, (4, 3)) + [0, 3, 0], RNG.normal(0, 1, (5, 3))
    found = subject_difference(a, b, paired=False)
    np.testing.assert_allclose(found.t, ttest_ind(a, b, equal_var=False).statistic)
    every = np.concatenate([a, b])
    highest = []
    for chosen in itertools.combinations(range(9), 4):
        rest = [k for k in range(9) if k not in chosen]
        highest.append(np.abs(ttest_ind(every[list(chosen)], every[rest], equal_var=False).statistic).max())
    wanted = [(np.array(highest) >= abs(t) * (1 - 1e-9)).mean() for t in found.t]
    np.testing.assert_allclose(found.p, wanted)
    assert found.n_permutations == 126
    assert found.smallest_p == 1 / 126


def test_a_condition_without_effect_passes_as_often_as_said():
    p = [subject_difference(RNG.normal(size=(7, 4)), n_permutations=64).p.min() for _ in range(200)]
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.1


def test_absent_cells_are_left_to_those_who_have_them():
    a = RNG.normal(1, 1, (7, 3))
    a[2, 0] = np.nan
    a[1:, 1] = np.nan
    found = subject_difference(a)
    assert found.mean[0] == pytest.approx(np.nanmean(a[:, 0]))
    assert np.isnan([found.mean[1], found.t[1], found.p[1]]).all()
    alone = subject_difference(np.delete(a[:, :1], 2, axis=0))
    assert found.t[0] == pytest.approx(alone.t[0])


def test_drawn_surrogates_hold_the_data_themselves():
    a = RNG.normal(3, 0.5, (20, 2))
    found = subject_difference(a, n_permutations=99)
    assert (found.exact, found.n_permutations) == (False, 99)
    assert found.p == pytest.approx([1 / 99, 1 / 99])
    again = subject_difference(a, n_permutations=99)
    np.testing.assert_array_equal(found.p, again.p)
    groups = subject_difference(a, a - 3, paired=False, n_permutations=50)
    assert groups.p == pytest.approx([1 / 50, 1 / 50])


def test_equal_differences_are_neither_infinite_nor_random():
    found = subject_difference(np.c_[np.full(6, 0.1), np.zeros(6)])
    assert np.isfinite(found.t).all()
    assert found.p == pytest.approx([2 / 64, 1])


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 7), st.integers(1, 4), st.integers(0, 10_000), st.booleans())
def test_order_of_subjects_and_sign_do_not_matter(n, n_cells, seed, paired):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n, n_cells))
    a[rng.random(a.shape) < 0.1] = np.nan
    found = subject_difference(a, b, paired=paired)
    order = rng.permutation(n)
    again = subject_difference(a[order], b[order], paired=paired)
    turned = subject_difference(b, a, paired=paired)
    np.testing.assert_allclose(again.p, found.p)
    np.testing.assert_allclose(turned.mean, -found.mean)
    np.testing.assert_allclose(turned.p, found.p)
    known = np.isfinite(found.p)
    assert (found.p[known] >= found.smallest_p - 1e-12).all()
    assert (found.p[known] <= 1).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([[1.0]],), "two subjects or more"),
        (([1.0, 2.0],), "two subjects or more"),
        (([[1.0], [np.inf]],), "infinite"),
        (([[1.0], [2.0]], [[1.0]] * 3), "paired=False"),
    ],
)
def test_wrong_input(arguments, said):
    with pytest.raises(ValueError, match=said):
        subject_difference(*arguments)
    with pytest.raises(ValueError, match="n_permutations"):
        subject_difference([[1.0], [2.0]], n_permutations=0)
    with pytest.raises(ValueError, match="cells of shape"):
        subject_difference(np.zeros((2, 3)), np.zeros((2, 4)), paired=False)
