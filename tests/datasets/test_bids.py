"""The BIDS editions: annotations that mne-bids loses, subjects, zeros that mean missing."""

from __future__ import annotations

import mne
import mne_bids
import numpy as np
import pytest
from edf_files import write_edf
from epilepsy2bids.annotations import Annotations
from epilepsy2bids.eeg import Eeg

from biot_bd.datasets import describe_dataset, load_dataset
from biot_bd.datasets.bids import load_chbmit_bids, load_siena
from biot_bd.datasets.recordings import seizures_of
from biot_bd.events.szcore import read_events
from biot_bd.exceptions import RecordingError
from biot_bd.testing import check_dataset
from biot_bd.windows import prepare


def write_recording(root, subject, session, run, events, ch_names=Eeg.BIPOLAR_DBANANA, zero=()):
    """One recording under the names that epilepsy2bids gives, the table by its own writer."""
    folder = root / f"sub-{subject}" / f"ses-{session}" / "eeg"
    stem = f"sub-{subject}_ses-{session}_task-szMonitoring_run-{run:02d}"
    path = write_edf(folder / f"{stem}_eeg.edf", ch_names, seconds=30, seed=run, zero=zero)
    if events is not None:
        Annotations.loadEvents(events, 30).saveTsv(folder / f"{stem}_events.tsv")
    return path


def write_participants(root, *subjects):
    lines = ["participant_id\tage\tsex\tcomment", *(f"sub-{s}\t11\tf\tn/a" for s in subjects)]
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    (root / "dataset_description.json").write_text('{"Name": "CHB-MIT", "BIDSVersion": "1.8.0"}')


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("bids")
    write_participants(root, "01", "02")
    write_recording(root, "01", "01", 0, [])
    write_recording(root, "01", "01", 1, [(5, 17), (20, 30)])
    write_recording(root, "01", "02", 0, [(2, 12)])
    write_recording(root, "02", "01", 0, [], zero=["F7-T3"])
    return root


@pytest.fixture(scope="module")
def dataset(tree):
    return load_dataset("chb-mit-bids", tree)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # sidecars that the edition lacks
def test_mne_bids_still_loses_the_type(tree):
    """The reason for this module; where this fails, mne-bids has learnt to read ``eventType``."""
    path = mne_bids.BIDSPath(root=tree, subject="01", session="01", task="szMonitoring", run="01", suffix="eeg")
    raw = mne_bids.read_raw_bids(path.update(extension=".edf", datatype="eeg"), verbose=False)
    assert set(raw.annotations.description) == {"n/a"}
    assert [extra["eventType"] for extra in raw.annotations.extras] == ["sz", "sz"]


def test_seizures_are_restored(dataset):
    check_dataset(dataset)
    found = {p.description["recording"]: seizures_of(p.raw) for p in dataset.datasets}
    assert found == {
        "sub-01_ses-01_task-szMonitoring_run-00": [],
        "sub-01_ses-01_task-szMonitoring_run-01": [(5.0, 17.0), (20.0, 30.0)],
        "sub-01_ses-02_task-szMonitoring_run-00": [(2.0, 12.0)],
        "sub-02_ses-01_task-szMonitoring_run-00": [],
    }
    assert list(dataset.datasets[0].raw.annotations.description) == ["bckg"]
    assert describe_dataset(dataset)["seizure_s"].tolist() == [32.0, 0.0]


def test_subjects_are_those_of_the_original_edition(dataset):
    rows = [p.description[["subject", "session", "run"]].tolist() for p in dataset.datasets]
    assert rows == [
        ["chb-mit/01", "01", "00"],
        ["chb-mit/01", "01", "01"],
        ["chb-mit/01", "02", "00"],
        ["chb-mit/02", "01", "00"],
    ]
    assert not any(p.raw.preload for p in dataset.datasets)


def test_zero_channels_become_absent(dataset, tmp_path):
    assert all(p.description["zero_is_missing"] is True for p in dataset.datasets)
    windows = prepare(dataset, tmp_path, on_missing="drop")
    index = list(windows.ch_names).index("F7-T7")
    is_second = np.array([subject == "chb-mit/02" for subject in windows.groups])
    assert not windows.present[is_second, index].any()
    assert windows.present[~is_second].all()
    assert np.delete(windows.present[is_second], index, axis=1).all()


def test_subjects(tree):
    for label in ("02", "sub-02", "chb-mit/02"):
        assert list(describe_dataset(load_chbmit_bids(tree, subjects=label))["subject"]) == ["chb-mit/02"]
    with pytest.raises(FileNotFoundError, match="no sub-07 here"):
        load_chbmit_bids(tree, subjects=["01", "07"])
    with pytest.raises(ValueError, match="subjects is empty"):
        load_chbmit_bids(tree, subjects=[])


def test_missing_tables_and_participants_are_named(tmp_path):
    write_participants(tmp_path, "01", "05")
    write_recording(tmp_path, "01", "01", 0, [(1, 9)])
    write_recording(tmp_path, "01", "01", 1, None)
    with pytest.warns(UserWarning, match="chb-mit: ") as caught:
        dataset = load_chbmit_bids(tmp_path)
    assert dataset.outcomes["outcome"].tolist() == ["loaded", "unlisted", "missing-file"]
    assert dataset.outcomes["recording"].tolist()[2] == "sub-05"
    messages = "\n".join(str(w.message) for w in caught)
    assert "have no event table" in messages
    assert "sub-05" in messages
    with pytest.warns(UserWarning, match="sub-05"):
        both = load_chbmit_bids(tmp_path, unlisted="background")
    assert [seizures_of(p.raw) for p in both.datasets] == [[(1.0, 9.0)], []]


def test_impossible_tables(tmp_path):
    write_participants(tmp_path, "01")
    write_recording(tmp_path, "01", "01", 0, [(1, 9)])
    write_recording(tmp_path, "01", "01", 1, [(25, 35)])
    with pytest.raises(RecordingError, match=r"run-01_events\.tsv: seizure from 25 s to 35 s is not inside"):
        load_chbmit_bids(tmp_path)
    with pytest.warns(UserWarning, match="impossible annotations"):
        dataset = load_chbmit_bids(tmp_path, on_error="skip")
    assert dataset.outcomes["outcome"].tolist() == ["loaded", "bad-annotation"]


def test_siena_is_referential(tmp_path):
    write_participants(tmp_path, "00")
    write_recording(tmp_path, "00", "01", 0, [(3, 13)], Eeg.ELECTRODES_10_20)
    dataset = load_siena(tmp_path)
    check_dataset(dataset)
    assert dataset.datasets[0].description["subject"] == "siena/00"
    assert seizures_of(dataset.datasets[0].raw) == [(3.0, 13.0)]
    assert dataset.datasets[0].raw.ch_names == list(Eeg.ELECTRODES_10_20)


def test_roots_that_are_no_bids(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"participants\.tsv is not there"):
        load_chbmit_bids(tmp_path)
    write_participants(tmp_path, "01")
    with pytest.raises(FileNotFoundError, match="no recordings below sub-"):
        load_chbmit_bids(tmp_path)
    write_recording(tmp_path, "01", "01", 0, []).write_bytes(b"nonsense")
    with pytest.raises(RecordingError, match=r"run-00_eeg\.edf: the header is not that of an EDF"):
        load_chbmit_bids(tmp_path)
    (tmp_path / "participants.tsv").write_text("who\n01\n")
    with pytest.raises(ValueError, match=r"has no column .*participant_id"):
        load_chbmit_bids(tmp_path)


def test_event_tables_agree_with_epilepsy2bids(tmp_path):
    path = tmp_path / "a_events.tsv"
    Annotations.loadEvents([(1.25, 9.5), (12, 13)], 30).saveTsv(path)
    ours = [(e.onset_s, e.onset_s + e.duration_s) for e in read_events(path)]
    assert ours == [tuple(event) for event in Annotations.loadTsv(path).getEvents()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty; expected a line of columns"),
        (
            "onset,duration,eventType\n1,2,sz\n",
            "other characters stand between the cells than are expected, which are tabs in .tsv",
        ),
        ("onset\tduration\ttype\n1\t2\tsz\n", "has no column eventType"),
        ("onset\tduration\teventType\n1\tn/a\tsz\n", "line 2: duration is 'n/a', which is no number; expected seconds"),
        ("onset\tduration\teventType\n1\t2\tsz\n3\t4\tn/a\n", "line 3: eventType is 'n/a'"),
        ("onset\tduration\teventType\n1\t2\t\n", "eventType is ''"),
    ],
)
def test_broken_event_tables(tmp_path, text, message):
    path = tmp_path / "a_events.tsv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=message) as caught:
        read_events(path)
    assert str(path) in str(caught.value)
    assert caught.value.outcome == "bad-annotation"


def test_types_of_seizures_are_kept(tmp_path):
    write_participants(tmp_path, "01")
    path = write_recording(tmp_path, "01", "01", 0, None)
    rows = ["onset\tduration\teventType", "20\t5\tsz_foc_ia", "0\t30\tbckg", "2\t3\tsz_gen_m_tonicClonic", "9\t1\timpd"]
    path.with_name(path.name.replace("_eeg.edf", "_events.tsv")).write_text("\n".join(rows) + "\n")
    annotations = load_chbmit_bids(tmp_path).datasets[0].raw.annotations
    assert list(zip(annotations.onset, annotations.duration, annotations.description, strict=True)) == [
        (0.0, 30.0, "bckg"),
        (2.0, 3.0, "sz_gen_m_tonicClonic"),
        (9.0, 1.0, "impd"),
        (20.0, 5.0, "sz_foc_ia"),
    ]
    assert isinstance(annotations, mne.Annotations)
