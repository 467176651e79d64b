"""A report or an explanation on windows that are not those of the run says so in one line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from biot_bd import Windows, cross_validate, load_dataset, prepare
from biot_bd.evaluation.data import other_windows
from biot_bd.report import write_report
from biot_bd.runs import read_json
from biot_bd.windows import Overlap


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    recordings = load_dataset("demo", root / "recordings", n_subjects=3, recordings=1, minutes=1)
    windows = prepare(recordings, root / "windows")
    cross_validate(DummyClassifier(), windows, folder=root / "run", progress=False)
    return root


@pytest.mark.filterwarnings("error")
def test_the_runs_own_windows_are_drawn_wherever_they_lie(root, tmp_path):
    moved = shutil.copytree(root / "windows", tmp_path / "w")
    assert "not those that this run" not in write_report(root / "run", windows=Windows.open(moved)).read_text()
    data = read_json(root / "run" / "run.json")["data"]
    assert other_windows(data, Windows.open(moved)[np.arange(12)]) is None


def test_windows_that_were_prepared_otherwise_since_are_told(root, tmp_path):
    recordings = load_dataset("demo", root / "recordings")
    windows = prepare(recordings, tmp_path / "w", labels=Overlap(min_overlap_s=2))
    with pytest.warns(UserWarning, match=r"run: the prepared windows at .*w are not those that this run"):
        page = write_report(root / "run", windows=windows).read_text()
    assert "not those that this run was made from" in page
    old, new = (Windows.open(folder).tables[0].fingerprint for folder in (root / "windows", tmp_path / "w"))
    told = other_windows({"tables": [old]}, windows)
    assert old in told
    assert new in told


def test_runs_of_before_say_nothing(root):
    assert other_windows({"fingerprint": "0" * 16}, Windows.open(root / "windows")) is None
