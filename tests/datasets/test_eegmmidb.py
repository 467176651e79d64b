"""EEGMMIDB: the real files of one subject, and written ones with the documented oddities."""

import shutil

import edfio
import mne
import numpy as np
import pytest

from biot_bd import load_dataset, prepare
from biot_bd.datasets import describe_dataset, find_layouts
from biot_bd.datasets.eegmmidb import CLASSES_OF_RUN, load_eegmmidb
from biot_bd.exceptions import EmptyDatasetError, RecordingError
from biot_bd.signals import Montage
from biot_bd.testing import check_dataset
from biot_bd.windows import Annotated

CHANNELS = ["C3..", "Cz..", "C4..", "Fp1.", "T9.."]


def write_run(folder, subject, run, sfreq=160, trial_s=4.1, marks=("T0", "T2", "T0", "T1")):
    """Write a run as PhysioNet does: EDF+ with marks T0, T1, T2, channels padded with dots."""
    rng = np.random.default_rng(subject * 100 + run)
    signals = [
        edfio.EdfSignal(
            rng.normal(0, 30, 30 * sfreq), sfreq, label=name, physical_dimension="uV", physical_range=(-8092, 8092)
        )
        for name in CHANNELS
    ]
    if run < 3:
        rows = [edfio.EdfAnnotation(0, 30, "T0")]
    else:
        rows = [edfio.EdfAnnotation(k * trial_s, trial_s, mark) for k, mark in enumerate(marks)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"S{subject:03d}R{run:02d}.edf"
    edfio.Edf(signals, annotations=rows).write(path)
    return path


@pytest.fixture
def root(tmp_path):
    for run in (1, 2, 3, 6):
        write_run(tmp_path / "S001", 1, run)
    write_run(tmp_path / "S002", 2, 4)
    return tmp_path


def test_the_real_files_give_tasks_and_named_channels(shared, tmp_path):
    folder = shared / "data/eegmmidb"
    dataset = load_dataset("eegmmidb", folder)
    check_dataset(dataset)
    assert [part.description["recording"] for part in dataset.datasets] == ["S001R01", "S001R02", "S001R03"]
    assert {part.description["subject"] for part in dataset.datasets} == {"eegmmidb/001"}
    texts = [set(part.raw.annotations.description) for part in dataset.datasets]
    assert texts == [{"eyes-open"}, {"eyes-closed"}, {"rest", "left-fist", "right-fist"}]
    raw, plain = dataset.datasets[2].raw, mne.io.read_raw_edf(folder / "S001R03.edf", verbose="error")
    assert raw.ch_names[:6] == ["FC5", "FC3", "FC1", "FCz", "FC2", "FC4"]
    assert len(raw.ch_names) == 64
    np.testing.assert_array_equal(raw.get_data(stop=500), plain.get_data(stop=500))
    meaning = {"rest": "T0", "left-fist": "T1", "right-fist": "T2"}
    assert [meaning[text] for text in raw.annotations.description] == list(plain.annotations.description)
    np.testing.assert_allclose(raw.annotations.onset, plain.annotations.onset)
    assert describe_dataset(dataset)["seizures"].tolist() == [0]
    rule = Annotated(classes=("eyes-open", "eyes-closed"))
    montage = Montage("central", ("C3", "Cz", "C4"), "referential")
    windows = prepare(dataset, tmp_path / "w", montage=montage, labels=rule, window_s=4, stride_s=4)
    assert np.bincount(windows.y).tolist() == [15, 15]  # 60 s each
    assert find_layouts(folder)[0].dataset == "eegmmidb"


def test_runs_say_what_marks_mean(root):
    dataset = load_eegmmidb(root)
    check_dataset(dataset)
    texts = {p.description["recording"]: list(p.raw.annotations.description) for p in dataset.datasets}
    assert texts == {
        "S001R01": ["eyes-open"],
        "S001R02": ["eyes-closed"],
        "S001R03": ["rest", "right-fist", "rest", "left-fist"],
        "S001R06": ["rest", "imagined-both-feet", "rest", "imagined-both-fists"],
        "S002R04": ["rest", "imagined-right-fist", "rest", "imagined-left-fist"],
    }
    assert [p.description["task"] for p in dataset.datasets] == ["rest", "rest", "movement", "imagery", "imagery"]
    assert dataset.datasets[0].raw.ch_names == ["C3", "Cz", "C4", "Fp1", "T9"]
    assert sorted(CLASSES_OF_RUN) == list(range(1, 15))


def test_subjects_and_runs_are_chosen(root):
    for subject in (2, "2", "S002", "eegmmidb/002"):
        assert [p.description["recording"] for p in load_eegmmidb(root, subjects=subject).datasets] == ["S002R04"]
    assert len(load_eegmmidb(root, runs=[3, 4]).datasets) == 2
    with pytest.raises(FileNotFoundError, match=r"S001R04.edf not here; download=True"):
        load_eegmmidb(root, subjects=1, runs=4)
    with pytest.raises(ValueError, match="expected 1 to 109"):
        load_eegmmidb(root, subjects=110)
    with pytest.raises(ValueError, match="whole numbers from 1 to 14"):
        load_eegmmidb(root, runs=15)


def test_files_at_another_rate_or_with_other_trials_are_left_out_by_name(root):
    write_run(root / "S003", 3, 3, sfreq=128, trial_s=5.125)
    write_run(root / "S089", 89, 3)
    with pytest.warns(UserWarning, match="2 of 7 recordings have another rate or other trials"):
        dataset = load_eegmmidb(root)
    left_out = dataset.outcomes.query("outcome == 'irregular'").set_index("recording")["detail"]
    assert left_out["S003R03"] == "rate 128 Hz instead of 160 Hz; trials of 5.125 to 5.125 s instead of 4.1 s"
    assert left_out["S089R03"] == "published work leaves this subject out"
    kept = load_eegmmidb(root, irregular="keep")
    assert len(kept.datasets) == 7
    assert "128 Hz" in kept.outcomes.set_index("recording")["detail"]["S003R03"]


def test_marks_of_another_run_are_refused(root):
    shutil.copy(root / "S001/S001R03.edf", root / "S001/S001R01.edf")
    with pytest.raises(RecordingError, match=r"S001R01.edf: marks T1, T2; expected T0 in run 1"):
        load_eegmmidb(root)
    dataset = load_eegmmidb(root, on_error="skip")
    assert dataset.outcomes["outcome"].tolist().count("bad-annotation") == 1
    assert len(dataset.datasets) == 4


def test_a_damaged_file_is_named(root):
    path = root / "S002/S002R04.edf"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(RecordingError, match=r"S002R04.edf"):
        load_eegmmidb(root, subjects=2)
    with pytest.raises(EmptyDatasetError):
        load_eegmmidb(root, subjects=2, on_error="skip")


def test_a_file_that_is_there_twice_is_told(root):
    shutil.copytree(root / "S002", root / "copy/S002")
    with pytest.raises(ValueError, match=r"S002R04.edf is there twice"):
        load_eegmmidb(root)


def test_mne_downloads_only_what_is_missing(root, monkeypatch):
    asked = []

    def load_data(subjects, runs, path, **_):
        asked.append((subjects, runs))
        for run in runs:
            write_run(root / "MNE-eegbci-data/files/eegmmidb/1.0.0/S002", subjects, run)

    monkeypatch.setattr(mne.datasets.eegbci, "load_data", load_data)
    dataset = load_eegmmidb(root, subjects=2, runs=[3, 4], download=True)
    assert asked == [(2, [3])]
    assert [p.description["recording"] for p in dataset.datasets] == ["S002R03", "S002R04"]
    with pytest.raises(ValueError, match="download=True needs subjects"):
        load_eegmmidb(root, download=True)
