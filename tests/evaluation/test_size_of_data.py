"""What of a study grows with its windows: what workers are sent, and how often they are looked at."""

import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest

from biot_bd import load_dataset, prepare
from biot_bd.evaluation import make_folds
from biot_bd.evaluation.data import as_data
from biot_bd.evaluation.uncertainty import _recordings


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    dataset = load_dataset("demo", folder / "edf", n_subjects=3, recordings=2, minutes=2, seed=0)
    return prepare(dataset, folder / "store", stride_s=1)


def test_data_of_windows_reach_a_worker_whole_and_small(windows):
    data = as_data(windows)
    sent = pickle.dumps(data)
    found = pickle.loads(sent)
    assert len(windows) > 600
    assert len(sent) < 3000
    pd.testing.assert_frame_equal(found.table, data.table)
    for name in ("y", "subjects"):
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name))
    for field in dataclasses.fields(data):
        assert type(getattr(found, field.name)) is type(getattr(data, field.name))
    assert (found.facts, found.classes) == (data.facts, data.classes)
    assert found.X.fingerprint == windows.fingerprint


def test_labels_that_the_windows_do_not_know_are_sent(windows):
    y = 1 - windows.y
    found = pickle.loads(pickle.dumps(as_data(windows, y)))
    np.testing.assert_array_equal(found.y, y)


def test_arrays_are_sent_as_they_are():
    X, y, groups = np.random.default_rng(0).normal(size=(8, 2, 10)), np.arange(8) % 2, np.repeat(["a", "b"], 4)
    found = pickle.loads(pickle.dumps(as_data(X, y, groups)))
    np.testing.assert_array_equal(found.X, X)
    assert found.subjects.tolist() == groups.tolist()


def test_a_selection_is_sent_as_its_row_numbers_and_the_whole_as_none(windows):
    half = windows[np.arange(0, len(windows), 2)]
    whole = len(pickle.dumps(windows))
    assert whole < 1000
    assert len(pickle.dumps(half)) < whole + 8 * len(half) + 300


def test_a_subject_is_one_text_however_many_windows_there_are(windows):
    subjects = as_data(windows).subjects
    assert len({id(subject) for subject in subjects}) == len(set(subjects)) == 3
    assert as_data(np.zeros((4, 1, 5)) + 1, [0, 1, 0, 1], [1, 1, 2, 2]).subjects.tolist() == ["1", "1", "2", "2"]


def test_rows_of_a_fold_are_those_of_comparing_every_name():
    rng = np.random.default_rng(0)
    subjects = rng.choice(np.array([f"site/{k:02d}" for k in range(9)], dtype=object), 400)
    for fold in make_folds("subject-kfold-3", np.arange(400) % 2, subjects):
        for side, rows in fold.rows(subjects).items():
            wanted = [row for row, subject in enumerate(subjects) if subject in getattr(fold, side)]
            assert rows.dtype == np.int64
            assert rows.tolist() == wanted


def test_subjects_are_compared_once_a_window_not_once_a_subject():
    class Name(str):
        compared = 0

        def __eq__(self, other):
            Name.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    compared = []
    for n_subjects in (4, 16):
        subjects = np.array([Name(f"s{k % n_subjects:02d}") for k in range(960)], dtype=object)
        fold = make_folds("subject-loo", np.arange(960) // 16 % 2, subjects.astype(str))[0]
        Name.compared = 0
        fold.rows(subjects)
        compared.append(Name.compared)
    assert max(compared) <= 960


def test_recordings_are_numbered_by_subject_and_name():
    table = pd.DataFrame({"subject": ["b", "a", "a", "b", "a"], "recording": ["r1", "r2", None, "r1", "r1"]})
    number, subjects = _recordings(table)
    assert number.tolist() == [3, 2, 0, 3, 1]
    assert subjects.tolist() == ["a", "a", "a", "b"]
