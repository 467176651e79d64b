"""The split that a data set brings itself: train trains, dev validates, eval is tested once."""

from __future__ import annotations

import numpy as np
import pytest
from cohort_files import ELECTRODES, write_cohort_edf

from biot_bd import load_dataset, prepare
from biot_bd.evaluation import SubjectSplit, baseline, cross_validate, make_folds
from biot_bd.exceptions import SplitError
from biot_bd.windows import Windows

AR = [f"EEG {name.upper()}-REF" for name in ELECTRODES]
PATIENTS = {"train": ["aaaaaaaa", "aaaaaaab"], "dev": ["aaaaaaac"], "eval": ["aaaaaaad", "aaaaaaae"]}
SUBJECTS = np.repeat([f"tusz/{p}" for side in PATIENTS.values() for p in side], 4).astype(object)
PARTS = {f"tusz/{p}": {side} for side, patients in PATIENTS.items() for p in patients}


def write_tusz(root, patients):
    for split, names in patients.items():
        for patient in names:
            path = root / "edf" / split / patient / "s001_2010" / "01_tcp_ar" / f"{patient}_s001_t000.edf"
            write_cohort_edf(path, AR, seed=ord(patient[-1]))
            rows = "TERM,0.0,10.0,bckg,1.0\nTERM,10.0,20.0,seiz,1.0\nTERM,20.0,40.0,bckg,1.0\n"
            path.with_suffix(".csv_bi").write_text(
                "# duration = 40.0 secs\nchannel,start_time,stop_time,label,confidence\n" + rows
            )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("official")
    write_tusz(root / "tusz", PATIENTS)
    prepare(load_dataset("tusz", root / "tusz"), root / "store", stride_s=10)
    return root / "store"


def test_the_sides_of_cross_validation_are_those_of_the_folders(store, tmp_path):
    windows = Windows.open(store)
    result = cross_validate(
        baseline("line-length", windows), windows, cv="tusz-official", folder=tmp_path / "run", progress=False
    )
    fold = result.run["splits"][0]
    found = {side: [s.removeprefix("tusz/") for s in fold[side]] for side in ("train", "valid", "test")}
    assert found == {"train": PATIENTS["train"], "valid": PATIENTS["dev"], "test": PATIENTS["eval"]}
    tested = result.predictions.query("part == 'test'")
    assert set(tested["subject"]) == {"tusz/aaaaaaad", "tusz/aaaaaaae"}
    assert (
        "split 'tusz-official': dev validates, eval is tested; test it once, with nothing left to choose"
        in (result.run["notes"])
    )


def test_scikit_learn_gets_the_same_sides(store):
    windows = Windows.open(store)
    split = SubjectSplit("tusz-official")
    assert split.get_n_splits() == split.get_n_splits(windows) == 1
    ((train, test),) = split.split(windows)
    assert set(windows.groups[test]) == {"tusz/aaaaaaad", "tusz/aaaaaaae"}
    assert len(train) + len(test) == len(windows)


def test_a_prepared_store_keeps_its_parts_when_it_is_prepared_again(store):
    before = {entry.recording: entry.split for entry in Windows.open(store).entries}
    assert before["aaaaaaac_s001_t000"] == "dev"
    dataset = load_dataset("tusz", store.parent / "tusz")
    again = prepare(dataset, store, stride_s=10)
    assert {entry.recording: entry.split for entry in again.entries} == before


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "none of these windows is of train, dev, eval"),
        ({s: p for s, p in PARTS.items() if p != {"dev"}}, "none of these windows is of dev"),
        (
            PARTS | {"tusz/aaaaaaad": {"train", "eval"}},
            "tusz/aaaaaaad in eval, train; every subject belongs in one part",
        ),
    ],
)
def test_windows_without_the_parts_are_refused(parts, message):
    y = np.tile([0, 1], len(SUBJECTS) // 2)
    with pytest.raises(SplitError, match=message):
        make_folds("tusz-official", y, SUBJECTS, parts=parts)


def test_subjects_of_no_part_are_used_on_no_side():
    subjects = np.concatenate([SUBJECTS, np.repeat(["clinic/1"], 4)]).astype(object)
    (fold,) = make_folds("tusz-official", np.tile([0, 1], len(subjects) // 2), subjects, parts=PARTS)
    assert "clinic/1" not in {*fold.train, *fold.valid, *fold.test}
    assert fold.notes[1] == "subjects that 'tusz-official' does not use: clinic/1"
