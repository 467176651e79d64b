"""Which recordings are found, and where their results go."""

from pathlib import Path

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.deploy.recording_files import find_items, page_paths


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


NAMES = st.text("aAbB\u00fc\u00dc\u00f6\u00df \u738b\u4f1f._-&", min_size=1, max_size=6).filter(
    lambda n: n.strip(". ") != ""
)


@settings(max_examples=40, deadline=None)
@given(names=st.sets(NAMES, min_size=1, max_size=8))
def test_any_patients_have_a_page_and_files_each_on_any_disk(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("p")
    touch(root, *(f"{name}/x.edf" for name in names if not name.startswith(".")))
    names = {name for name in names if not name.startswith(".")}
    if not names:
        return
    items = find_items([root])
    pages = page_paths(items, Path("out"))
    assert set(pages) == names == {item.patient for item in items}
    for paths in (list(pages.values()), [item.output(Path("out"), "_events.tsv") for item in items]):
        assert len({str(path).lower() for path in paths}) == len(names)
    assert all(page.name.isascii() and "/" not in page.name for page in pages.values())
    for name in names:
        if name.isascii() and name.replace("-", "").isalnum() and sum(n.lower() == name.lower() for n in names) == 1:
            assert pages[name].name == f"{name}_report.html"


def test_names_that_a_disk_may_take_for_one(tmp_path):
    touch(tmp_path, "M\u00fcller/x.edf", "m\u00fcller/x.edf", "M\u00f6ller/x.edf", "P1/y.edf", "p1/y.edf", "p 1/y.edf")
    items = find_items([tmp_path])
    assert [str(i.stem) for i in items if i.patient in ("M\u00f6ller", "p 1")] == ["M\u00f6ller/x", "p 1/y"]
    changed = {str(i.stem.parent): i.stem.name for i in items if "-" in i.stem.name}
    assert set(changed) == {"M\u00fcller", "m\u00fcller", "P1", "p1"}
    assert len({name.lower() for name in changed.values()}) == 4
