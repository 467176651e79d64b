"""Which recordings are found, and where their results go."""

from pathlib import Path

import mne
import numpy as np
import pytest

from biot_bd.deploy.recording_files import find_items


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_bids_tree(tmp_path):
    touch(
        tmp_path,
        "dataset_description.json",
        "sub-02/ses-01/eeg/sub-02_ses-01_task-szMonitoring_run-00_eeg.edf",
        "sub-02/ses-01/eeg/sub-02_ses-01_task-szMonitoring_run-00_events.tsv",
        "sub-01/ses-01/eeg/sub-01_ses-01_task-rest_eeg.vhdr",
        "sub-01/ses-01/eeg/sub-01_ses-01_task-rest_eeg.eeg",
        "sub-01/ses-01/eeg/sub-01_ses-01_task-rest_eeg.vmrk",
        "derivatives/x/sub-01/eeg/sub-01_task-rest_eeg.edf",
        ".git/x.edf",
        "out/sub-01/ses-01/eeg/sub-01_ses-01_task-rest_events.edf",
    )
    items = find_items([tmp_path], skip=[tmp_path / "out"])
    assert [item.patient for item in items] == ["sub-01", "sub-02"]
    assert items[1].output(Path("out"), "_events.tsv") == Path(
        "out/sub-02/ses-01/eeg/sub-02_ses-01_task-szMonitoring_run-00_events.tsv"
    )
    assert items[0].output(Path("out"), "_events.tsv") == Path(
        "out/sub-01/ses-01/eeg/sub-01_ses-01_task-rest_events.tsv"
    )


def test_a_folder_of_folders_and_files(tmp_path):
    touch(tmp_path, "chb01/chb01_03.edf", "chb02/deep/A.EDF", "b.bdf", "b.txt", "b_events.edf", "raw.fif.gz")
    items = find_items([tmp_path])
    assert [(str(i.stem), i.patient) for i in items] == [
        ("b", tmp_path.name),
        ("chb01/chb01_03", "chb01"),
        ("chb02/deep/A", "deep"),
        ("raw", tmp_path.name),
    ]


def test_two_recordings_of_one_result(tmp_path):
    touch(tmp_path, "x/a.edf", "x/a.bdf", "y/a.edf")
    with pytest.raises(ValueError, match="would both be written to a_events"):
        find_items([tmp_path / "x"])
    with pytest.raises(ValueError, match="would both be written to a_events"):
        find_items([tmp_path / "x" / "a.edf", tmp_path / "y" / "a.edf"])
    (once,) = find_items([tmp_path / "y", tmp_path / "y" / "a.edf"])
    assert once.path == tmp_path / "y" / "a.edf"


def test_nothing_there(tmp_path):
    touch(tmp_path, "x.txt")
    with pytest.raises(FileNotFoundError, match="holds no recording"):
        find_items([tmp_path])
    # A file that is missing is told when its turn comes.
    assert find_items([tmp_path / "no.edf"])[0].path == tmp_path / "no.edf"


@pytest.mark.parametrize("naming", ["neuromag", "bids"])
def test_a_recording_in_several_fif_files_is_one(tmp_path, naming):
    raw = mne.io.RawArray(np.zeros((16, 60_000)), mne.create_info(16, 256, "eeg"), verbose="error")
    name = "sub-01_eeg.fif" if naming == "bids" else "a_eeg.fif"
    raw.save(tmp_path / name, split_size="2MB", split_naming=naming, verbose="error")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) > 1
    (item,) = find_items([tmp_path])
    assert mne.io.read_raw(item.path, verbose="error").n_times == 60_000
    # A file that is only named so is a recording of its own.
    raw.crop(0, 1).save(tmp_path / "b_eeg.fif", verbose="error")
    raw.save(tmp_path / "b_eeg-7.fif", verbose="error")
    assert {i.path.name for i in find_items([tmp_path])} == {item.path.name, "b_eeg.fif", "b_eeg-7.fif"}
