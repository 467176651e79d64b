"""Inner splits by subject."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Subset, TensorDataset

from biot_bd.training import FixedSubjects, SubjectValidSplit
from biot_bd.training.valid_splits import check_subjects_apart


class Anything:
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n


def split(splitter, y, groups):
    dataset = Anything(len(y))
    train, valid = splitter(dataset, np.asarray(y), groups)
    assert train.dataset is dataset
    assert valid.dataset is dataset
    assert sorted(train.indices + valid.indices) == list(range(len(y)))
    return np.array(train.indices), np.array(valid.indices)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=2, max_size=14),
    seed=st.integers(0, 5),
    fraction=st.floats(0.1, 0.9),
)
def test_subjects_apart_and_both_classes_on_both_sides(counts, seed, fraction):
    y = np.concatenate([[0] * a + [1] * b for a, b in counts])
    groups = np.concatenate([[f"p{i}"] * (a + b) for i, (a, b) in enumerate(counts)])
    train, valid = split(SubjectValidSplit(fraction, seed), y, groups)
    assert not set(groups[train]) & set(groups[valid])
    assert set(y[train]) == set(y[valid]) == {0, 1}


def test_takes_the_share_asked_for():
    groups = np.repeat([f"p{i:02d}" for i in range(10)], 10)
    y = np.tile(np.arange(10) < 3, 10).astype(int)
    for fraction in (0.2, 0.3, 0.5):
        _, valid = split(SubjectValidSplit(fraction), y, groups)
        assert len(valid) == 100 * fraction
        assert y[valid].sum() == 30 * fraction


def test_same_seed_same_subjects_other_seed_other_subjects():
    groups = np.repeat([f"p{i:02d}" for i in range(12)], 4)
    y = np.tile([0, 0, 0, 1], 12)
    chosen = {seed: tuple(split(SubjectValidSplit(0.25, seed), y, groups)[1]) for seed in range(5)}
    assert chosen[0] == tuple(split(SubjectValidSplit(0.25, 0), y, groups)[1])
    assert len(set(chosen.values())) > 1


def test_finds_the_only_choice_there_is():
    # Seizures in two of 15 subjects: one of them must validate.
    y = np.zeros(150, int)
    y[[5, 145]] = 1
    groups = np.repeat([f"p{i:02d}" for i in range(15)], 10)
    train, valid = split(SubjectValidSplit(0.2), y, groups)
    assert y[train].sum() == y[valid].sum() == 1


def test_many_subjects_get_other_sizes_where_the_wanted_ones_cannot_be():
    # Six classes, each subject has one: at least six of 14 must validate, though 0.1 asks for one.
    y = np.repeat(np.arange(14) % 6, 3)
    groups = np.repeat([f"p{i:02d}" for i in range(14)], 3)
    train, valid = split(SubjectValidSplit(0.1), y, groups)
    assert set(y[train]) == set(y[valid]) == set(range(6))
    assert len(set(groups[valid])) >= 6


def test_errors_say_what_to_do():
    y = np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"fit\(X, y, groups=subjects\).*biotclassifier__groups.*train_split=None"):
        SubjectValidSplit()(Anything(4), y, None)
    with pytest.raises(ValueError, match=r"one subject \(a\).*train_split=None"):
        SubjectValidSplit()(Anything(4), y, np.array(["a"] * 4))
    with pytest.raises(
        ValueError, match=r"no split by subject.*a: 1 of class 0, 1 of class 1; b: 2 of class 0, 0 of class 1"
    ):
        SubjectValidSplit()(Anything(4), np.array([0, 1, 0, 0]), np.array(["a", "a", "b", "b"]))
    with pytest.raises(ValueError, match="expected shape"):
        SubjectValidSplit()(Anything(4), y, np.array(["a", "b"]))
    with pytest.raises(ValueError, match="window 2 has no subject"):
        SubjectValidSplit()(Anything(4), y, np.array(["a", "b", None, "b"], dtype=object))
    with pytest.raises(ValueError, match="validation_fraction"):
        SubjectValidSplit(1.2)(Anything(4), y, np.array(["a", "a", "b", "b"]))


def test_fixed_subjects():
    groups = np.array(["a", "b", "c", "b"], dtype=object)
    train, valid = split(FixedSubjects(["b"]), np.array([0, 1, 0, 1]), groups)
    assert train.tolist() == [0, 2]
    assert valid.tolist() == [1, 3]
    with pytest.raises(ValueError, match=r"without windows: z; the windows are of a, b, c"):
        FixedSubjects(["b", "z"])(Anything(4), np.zeros(4), groups)
    with pytest.raises(ValueError, match="none named"):
        FixedSubjects([])(Anything(4), np.zeros(4), groups)
    with pytest.raises(ValueError, match="nobody is left"):
        FixedSubjects(["a", "b", "c"])(Anything(4), np.zeros(4), groups)
    with pytest.raises(ValueError, match="list of subjects"):
        FixedSubjects("b")(Anything(4), np.zeros(4), groups)
    with pytest.raises(ValueError, match="groups=subjects"):
        FixedSubjects(["b"])(Anything(4), np.zeros(4), None)
    assert FixedSubjects(("a",)) == FixedSubjects(["a"]) != FixedSubjects(["b"])
    assert eval(repr(FixedSubjects(["a"]))) == FixedSubjects(["a"])


def test_subject_on_two_sides_raises():
    dataset = Anything(4)
    groups = np.array(["a", "b", "b", "c"])
    with pytest.raises(ValueError, match="put b into training and validation"):
        check_subjects_apart(Subset(dataset, [0, 1]), Subset(dataset, [2, 3]), dataset, groups)
    with pytest.raises(ValueError, match="same windows"):
        check_subjects_apart(Subset(dataset, [0, 1]), Subset(dataset, [1, 3]), dataset, None)
    with pytest.raises(ValueError, match="validation side empty"):
        check_subjects_apart(Subset(dataset, [0, 1]), Subset(dataset, []), dataset, groups)
    with pytest.raises(TypeError, match="validation side is TensorDataset"):
        check_subjects_apart(Subset(dataset, [0]), TensorDataset(), dataset, groups)
