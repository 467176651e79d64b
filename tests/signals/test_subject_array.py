"""Arrays that keep the subject of each window through selections and steps."""

import pickle

import numpy as np
import pytest

from biot_bd import PercentileScaler
from biot_bd.signals.subject_array import SubjectArray

GROUPS = ["a", "a", "b", "c", "c"]


@pytest.fixture
def array():
    return SubjectArray(np.random.default_rng(0).normal(0, 20, (5, 3, 200)).astype(np.float32), GROUPS)


@pytest.mark.parametrize("index", [[4, 0, 0], slice(None, None, -2), np.array([True, False, True, True, False])])
@pytest.mark.parametrize("style", ["plain", "scikit-learn"])
def test_selections_keep_subjects_and_numbers(array, index, style):
    found = array[index] if style == "plain" else array[index, ...]
    np.testing.assert_array_equal(np.asarray(found), np.asarray(array)[index])
    assert found.groups.tolist() == np.array(GROUPS)[index].tolist()
    assert found.row_ids.tolist() == np.arange(5)[index].tolist()
    assert found[1:].row_ids.tolist() == np.arange(5)[index].tolist()[1:]


@pytest.mark.parametrize("index", [2, (slice(0, 2), 1), (Ellipsis, slice(0, 9)), (slice(None), None)])
def test_other_indices_give_plain_arrays(array, index):
    found = array[index]
    assert not hasattr(found, "groups")
    np.testing.assert_array_equal(found, np.asarray(array)[index])


@pytest.mark.parametrize("change", [np.abs, lambda x: x.mean(axis=0), lambda x: x[:, ::-1], lambda x: x.T, np.copy])
def test_what_makes_another_array_loses_the_subjects(array, change):
    assert getattr(change(array), "groups", None) is None


def test_steps_keep_them_and_change_nothing(array):
    found = PercentileScaler().transform(array)
    assert found.groups.tolist() == GROUPS
    np.testing.assert_array_equal(np.asarray(found), PercentileScaler().transform(np.asarray(array)))
    assert type(PercentileScaler().transform(np.asarray(array))) is np.ndarray


def test_pickled_they_stay(array):
    found = pickle.loads(pickle.dumps(array[2:]))
    assert (found.groups.tolist(), found.row_ids.tolist()) == (["b", "c", "c"], [2, 3, 4])
    np.testing.assert_array_equal(np.asarray(found), np.asarray(array)[2:])
    lost = pickle.loads(pickle.dumps(array * 2))
    assert getattr(lost, "groups", None) is None


def test_one_subject_a_window():
    with pytest.raises(ValueError, match=r"groups: expected one a window, shape \(2,\), found \(3,\)"):
        SubjectArray(np.zeros((2, 1, 1)), ["a", "b", "c"])
