"""Splits: every subject on one side, seeds from (random_state, fold) alone, the published splits by subject."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit, KFold, LeavePGroupsOut, ShuffleSplit

from biot_bd.evaluation.model_selection.folds import check_subjects, fold_seed, make_folds, split_all
from biot_bd.exceptions import SplitError


def cohort(n_subjects, n_windows=6, n_seizure=2):
    subjects = np.repeat([f"p/{i:02d}" for i in range(n_subjects)], n_windows)
    y = np.tile(np.r_[np.ones(n_seizure, int), np.zeros(n_windows - n_seizure, int)], n_subjects)
    return y, subjects


def chbmit(cases=range(1, 25)):
    """Two windows of each class a case; chb21 is the subject chb-mit/01."""
    recordings = np.repeat([f"chb{case:02d}_{run:02d}" for case in cases for run in (1, 2)], 2)
    subjects = np.array([f"chb-mit/{1 if int(r[3:5]) == 21 else int(r[3:5]):02d}" for r in recordings])
    return np.tile([0, 1], len(recordings) // 2), subjects, recordings


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), min_size=4, max_size=9),
    st.sampled_from(["subject-loo", "subject-kfold-3", "stratified-subject-kfold-2"]),
    st.integers(0, 5),
)
def test_no_subject_on_two_sides_and_everybody_tested_once(sizes, cv, seed):
    subjects = np.concatenate([[f"p{i}"] * (a + b) for i, (a, b) in enumerate(sizes)])
    y = np.concatenate([[0] * a + [1] * b for a, b in sizes]).astype(int)
    try:
        folds = make_folds(cv, y, subjects, random_state=seed)
    except SplitError:
        return
    tested = [subject for fold in folds for subject in fold.test]
    assert sorted(tested) == sorted(set(subjects))
    for fold in folds:
        sides = [set(fold.train), set(fold.valid), set(fold.test)]
        assert not sides[0] & sides[1]
        assert not (sides[0] | sides[1]) & sides[2]
        assert set.union(*sides) == set(subjects)
        assert set(y[np.isin(subjects, fold.train)]) == {0, 1}
        if fold.valid:
            assert set(y[np.isin(subjects, fold.valid)]) == {0, 1}
        else:
            assert fold.notes


def test_leave_one_subject_out_with_a_quarter_for_validation():
    folds = make_folds("subject-loo", *cohort(9))
    assert [fold.test for fold in folds] == [(f"p/{i:02d}",) for i in range(9)]
    assert all(len(fold.valid) == 2 and len(fold.train) == 6 for fold in folds)


def test_rows_cover_the_windows_of_each_side():
    y, subjects = cohort(5)
    fold = make_folds("subject-loo", y, subjects)[2]
    rows = fold.rows(subjects.astype(object))
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(len(y)))
    assert set(subjects[rows["test"]]) == {"p/02"}


def test_two_training_subjects_spare_none_for_validation():
    for fold in make_folds("subject-loo", *cohort(3)):
        assert fold.valid == ()
        assert "too few" in fold.notes[0]
        assert "threshold 0.5" in fold.notes[0]


def test_validation_subjects_that_would_leave_one_class_are_not_taken():
    subjects = np.repeat(["a", "b", "c", "d"], 4)
    y = np.where(np.isin(subjects, ["a", "b"]), [0, 1, 0, 1] * 4, 0)
    by_test = {fold.test[0]: fold for fold in make_folds("subject-loo", y, subjects)}
    assert by_test["a"].valid == ()  # b alone has seizures, and trains
    assert by_test["c"].valid in {("a",), ("b",), ("a", "d"), ("b", "d")}


def test_the_same_for_the_same_seed_whatever_the_order_of_windows():
    y, subjects = cohort(8)
    order = np.random.default_rng(0).permutation(len(y))
    for cv in ("subject-loo", "subject-kfold-3", "stratified-subject-kfold-3"):
        assert make_folds(cv, y, subjects, random_state=4) == make_folds(cv, y[order], subjects[order], random_state=4)


def test_seeds_depend_on_random_state_and_fold_alone():
    three, four = (make_folds(f"subject-kfold-{n}", *cohort(8), random_state=7) for n in (3, 4))
    assert [f.seed for f in three] == [f.seed for f in four][:3] == [fold_seed(7, i) for i in range(3)]
    seeds = [fold_seed(state, fold) for state in range(20) for fold in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_stratified_folds_share_out_the_seizures():
    subjects = np.repeat([f"p{i}" for i in range(8)], 10)
    y = np.concatenate([[1] * k + [0] * (10 - k) for k in (5, 5, 5, 5, 1, 1, 1, 1)])
    folds = make_folds("stratified-subject-kfold-4", y, subjects, validation_fraction=0)
    assert [int(y[np.isin(subjects, fold.test)].sum()) for fold in folds] == [6] * 4


def test_a_splitter_of_scikit_learn_gets_the_subjects():
    folds = make_folds(LeavePGroupsOut(2), *cohort(5))
    assert len(folds) == 10
    assert all(len(fold.test) == 2 for fold in folds)
    folds = make_folds(GroupShuffleSplit(3, test_size=2, random_state=0), *cohort(6))
    assert len(folds) == 3


@pytest.mark.parametrize("splitter", [KFold(3, shuffle=True, random_state=0), ShuffleSplit(2, random_state=0)])
def test_a_splitter_that_divides_subjects_raises(splitter):
    with pytest.raises(SplitError, match="in training and in test"):
        make_folds(splitter, *cohort(5))


class _Halves:
    def split(self, X, y, groups):
        rows = np.arange(len(X))
        yield rows[groups != "p/00"], rows[groups == "p/00"][:2]


def test_a_splitter_that_leaves_out_windows_of_a_subject_raises():
    with pytest.raises(SplitError, match="leaves out some windows"):
        make_folds(_Halves(), *cohort(4))


@pytest.mark.parametrize(
    ("cv", "n_subjects", "message"),
    [
        ("subject-loo", 1, "at least 2 subjects, found 1"),
        ("subject-loo", 0, "no windows"),
        ("subject-kfold-9", 4, "2 to 4 folds"),
        ("subject-kfold-1", 4, "2 to 4 folds"),
        ("kfold", 4, "no split named 'kfold'; there are subject-loo"),
        (5, 4, "not 5"),
    ],
)
def test_splits_that_cannot_be_made(cv, n_subjects, message):
    with pytest.raises(SplitError, match=message):
        make_folds(cv, *cohort(n_subjects))


def test_a_training_part_of_one_class_raises_before_anything_is_fitted():
    subjects = np.repeat(["a", "b", "c"], 4)
    y = np.where(subjects == "a", [0, 1, 0, 1] * 3, 0)
    with pytest.raises(SplitError, match=r"fold 0 \(test a\).*b, c have only windows of class 0"):
        make_folds("subject-loo", y, subjects)


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_bad_fraction(fraction):
    with pytest.raises(SplitError, match="validation_fraction"):
        make_folds("subject-loo", *cohort(4), validation_fraction=fraction)


def test_check_subjects_names_subject_and_sides():
    with pytest.raises(SplitError, match=r"fold 1: b in validation and in test"):
        check_subjects(["a"], ["b"], ["b", "c"], "fold 1")


def test_biot_paper_by_subject():
    y, subjects, recordings = chbmit()
    first, second = make_folds("biot-paper", y, subjects, recordings=recordings)
    train = tuple(f"chb-mit/{i:02d}" for i in range(1, 20))
    assert first.train == second.train == train
    assert (first.valid, first.test) == (("chb-mit/20",), ("chb-mit/22", "chb-mit/23"))
    assert (second.valid, second.test) == (first.test, first.valid)
    for fold in (first, second):
        assert fold.dropped == ("chb21_01", "chb21_02")
        rows = fold.rows(subjects, recordings)
        used = np.concatenate(list(rows.values()))
        assert not any(recording.startswith("chb21") for recording in recordings[used])
        assert "chb21" in fold.notes[0]
        assert "not those of the published split" in fold.notes[0]
        assert "chb-mit/24" in fold.notes[1]
    test = first.rows(subjects, recordings)["test"]
    assert {r[:5] for r in recordings[test]} == {"chb22", "chb23"}


def test_biot_code_by_subject():
    y, subjects, recordings = chbmit()
    (fold,) = make_folds("biot-code", y, subjects, recordings=recordings)
    assert fold.train == tuple(f"chb-mit/{i:02d}" for i in range(1, 21))
    assert (fold.valid, fold.test) == (("chb-mit/22",), ("chb-mit/23", "chb-mit/24"))
    assert fold.dropped == ("chb21_01", "chb21_02")


def test_chb21_is_dropped_in_the_bids_edition_as_well():
    y, subjects, recordings = chbmit()
    renamed = np.array([f"sub-01_ses-02_run-{r[-2:]}" if r.startswith("chb21") else r for r in recordings])
    assert make_folds("biot-code", y, subjects, recordings=renamed)[0].dropped == (
        "sub-01_ses-02_run-01",
        "sub-01_ses-02_run-02",
    )


def test_fixed_splits_name_the_subjects_that_are_missing():
    y, subjects, recordings = chbmit([1, 2, 3, 20])
    with pytest.raises(SplitError, match=r"'biot-paper' needs all its subjects; missing: chb-mit/04.*chb-mit/23"):
        make_folds("biot-paper", y, subjects, recordings=recordings)


def test_split_all_uses_everybody():
    y, subjects = cohort(8)
    fold = split_all(y, subjects)
    assert sorted({*fold.train, *fold.valid}) == sorted(set(subjects))
    assert fold.valid
    assert fold.test == ()
    assert split_all(y, subjects, validation_fraction=0).valid == ()
    assert split_all(*cohort(2)).valid == ()


def test_fold_as_dict_is_json():
    import json

    fold = make_folds("subject-loo", *cohort(4))[1]
    assert json.loads(json.dumps(fold.as_dict()))["test"] == ["p/01"]
    assert all(a.index + 1 == b.index for a, b in pairwise(make_folds("subject-loo", *cohort(4))))


def test_a_former_name_of_a_split_is_told_the_new_one():
    with pytest.raises(SplitError, match=r"no split named 'person-loo'; it is now 'subject-loo'"):
        make_folds("person-loo", np.tile([0, 1], 4), np.repeat(["a", "b"], 4))


def times_validating(folds):
    found = dict.fromkeys(sorted({name for fold in folds for name in (*fold.train, *fold.valid, *fold.test)}), 0)
    for fold in folds:
        for name in fold.valid:
            found[name] += 1
    return found


@pytest.mark.parametrize("cv", ["subject-loo", "subject-kfold-3", "stratified-subject-kfold-4"])
@pytest.mark.parametrize("n_subjects", [6, 9, 24])
def test_subjects_validate_equally_often(cv, n_subjects):
    for seed in range(4):
        times = times_validating(make_folds(cv, *cohort(n_subjects), random_state=seed)).values()
        assert max(times) - min(times) <= 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(3, 12), st.integers(0, 4)), min_size=5, max_size=9),
    st.sampled_from(["subject-loo", "subject-kfold-3"]),
    st.integers(0, 3),
)
def test_rotation_goes_over_the_subjects_who_can_validate(sizes, cv, seed):
    subjects = np.concatenate([[f"p{i}"] * (a + b) for i, (a, b) in enumerate(sizes)])
    y = np.concatenate([[0] * a + [1] * b for a, b in sizes]).astype(int)
    try:
        folds = make_folds(cv, y, subjects, random_state=seed, validation_fraction=0.1)  # one subject a fold
    except SplitError:
        return
    times = times_validating(folds)
    without = {f"p{i}" for i, (_, b) in enumerate(sizes) if b == 0}
    for fold in folds:
        assert len(fold.valid) <= 1
        assert not without & set(fold.valid)
        told = any(note.startswith("never validating") for note in fold.notes)
        assert told == bool(without and any(other.valid for other in folds))
    # Somebody who has validated twice more than another could have made room in no fold.
    shares = {f"p{i}": b / max(1, sum(b for _, b in sizes)) for i, (_, b) in enumerate(sizes)}
    if not without and cv == "subject-loo" and max(shares.values()) < 0.3 and all(fold.valid for fold in folds):
        assert max(times.values()) - min(times.values()) <= 1


def test_a_subject_with_most_seizures_does_not_leave_training_without():
    subjects = np.repeat([f"p{i}" for i in range(6)], 20)
    y = np.concatenate([[1] * k + [0] * (20 - k) for k in (18, 2, 2, 2, 2, 2)])
    times = times_validating(make_folds("subject-loo", y, subjects))
    assert times.pop("p0") == 0  # 18 of the 26 seizure windows of any fold that could take it
    assert sorted(times.values()) == [1, 1, 1, 1, 2]


def test_the_choice_depends_on_random_state():
    found = {tuple(f.valid for f in make_folds("subject-loo", *cohort(7), random_state=seed)) for seed in range(6)}
    assert len(found) > 1
