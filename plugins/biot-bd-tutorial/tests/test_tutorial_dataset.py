"""The data set keeps the contract of biot_bd, doctor recognises it, and every fault is named."""

import numpy as np
import pandas as pd
import pytest

import biot_bd
from biot_bd import registry
from biot_bd.datasets import inspect_folder
from biot_bd.testing import check_dataset
from biot_bd_tutorial.csv_folder import load_csv_folder

SFREQ = 100.0


@pytest.fixture
def folder(tmp_path):
    """Three recordings of two subjects, 60 s, two channels; b1 is all seizure from 10 s to 25 s."""
    rng = np.random.default_rng(0)
    for name in ("a1", "a2", "b1"):
        table = pd.DataFrame(rng.standard_normal((6000, 2)) * 30.0, columns=["Fp1-F7", "F7-T7"])
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    pd.DataFrame(
        {
            "recording": ["a1", "a2", "b1"],
            "subject": ["01", "01", "02"],
            "session": ["1", "2", "1"],
            "run": ["1", "1", "1"],
            "sfreq": [SFREQ] * 3,
        }
    ).to_csv(tmp_path / "recordings.csv", index=False)
    pd.DataFrame({"recording": ["b1"], "onset_s": [10.0], "duration_s": [15.0]}).to_csv(
        tmp_path / "events.csv", index=False
    )
    return tmp_path


def test_found_by_name():
    assert registry.datasets["csv-folder"] is load_csv_folder
    assert registry.datasets.owner("csv-folder") == "tutorial"


def test_the_data_set_keeps_the_contract(folder):
    check_dataset(load_csv_folder(folder))
    check_dataset(biot_bd.load_dataset("csv-folder", folder))


def test_doctor_recognises_its_folders(folder):
    (facts,) = inspect_folder(folder)
    assert (facts.dataset, facts.why) == ("csv-folder", "recordings.csv and events.csv")
    assert [(o.recording, o.subject, o.n_seizures) for o in facts.recordings] == [
        ("a1", "csv-folder/01", 0),
        ("a2", "csv-folder/01", 0),
        ("b1", "csv-folder/02", 1),
    ]
    assert [o.duration_s for o in facts.recordings] == [60.0] * 3
    assert facts.recordings[0].found == ("Fp1-F7", "F7-T7")


def test_subjects_volts_and_seizures(folder):
    dataset = load_csv_folder(folder, namespace="ward")
    assert [part.description["subject"] for part in dataset.datasets] == ["ward/01", "ward/01", "ward/02"]
    raw = dataset.datasets[2].raw
    expected = pd.read_csv(folder / "b1.csv").to_numpy().T * 1e-6
    np.testing.assert_allclose(raw.get_data(), expected, rtol=1e-12)
    assert raw.info["sfreq"] == SFREQ
    assert [(a["onset"], a["duration"], a["description"]) for a in raw.annotations] == [(10.0, 15.0, "sz")]
    assert len(dataset.datasets[0].raw.annotations) == 0


def test_every_recording_has_an_outcome(folder):
    (folder / "a1.csv").unlink()
    (folder / "a2.csv").write_text("Fp1-F7,F7-T7\n1,oops\n")
    (folder / "stray.csv").write_text("Fp1-F7\n1\n")
    dataset = load_csv_folder(folder)
    check_dataset(dataset)
    found = dataset.outcomes.set_index("recording")
    assert found["outcome"].to_dict() == {"a1": "missing-file", "a2": "unreadable", "b1": "loaded", "stray": "unlisted"}
    assert "a2.csv: not a table of numbers" in found.loc["a2", "detail"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("events.csv", "recording,onset_s\nb1,1\n", r"events\.csv: the columns \['duration_s'\] are missing"),
        ("events.csv", "recording,onset_s,duration_s\nzz,1,1\n", r"events\.csv: recordings \['zz'\] are not in"),
        (
            "events.csv",
            "recording,onset_s,duration_s\nb1,55,10\n",
            r"b1\.csv: seizures .*not inside the recording of 60 s",
        ),
        ("recordings.csv", "recording,subject,session,run,sfreq\nb1,1,1,1,100\nb1,1,1,1,100\n", r"\['b1'\] occur more"),
        ("b1.csv", "Fp1-F7\n1\n\n2\nnan\n", None),
    ],
)
def test_faults_are_named(folder, file, text, message):
    (folder / file).write_text(text)
    if message is None:
        outcomes = load_csv_folder(folder).outcomes.set_index("recording")
        assert outcomes.loc["b1", "outcome"] == "unreadable"
        return
    with pytest.raises(ValueError, match=message):
        load_csv_folder(folder)


def test_a_missing_table_and_an_empty_folder(folder):
    for path in folder.glob("[ab]?.csv"):
        path.unlink()
    with pytest.raises(ValueError, match="none of 3 recordings could be loaded"):
        load_csv_folder(folder)
    (folder / "events.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"events\.csv is missing; it needs the columns recording, onset_s"):
        load_csv_folder(folder)
