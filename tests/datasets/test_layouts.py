"""Which data set a folder looks like, by names alone."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import registry
from biot_bd.datasets import find_layouts, recognised_by


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0")


def bids(folder, title):
    touch(folder / "participants.tsv", folder / "sub-01" / "eeg" / "sub-01_eeg.edf")
    (folder / "dataset_description.json").write_text(json.dumps({"Name": title}))


MAKERS = {
    "chb-mit": lambda folder: touch(folder / "chb01" / "chb01-summary.txt"),
    "chb-mit-flat": lambda folder: touch(folder / "chb07-summary.txt"),
    "chb-mit-bids": lambda folder: bids(folder, "CHB-MIT Scalp EEG Database"),
    "siena": lambda folder: bids(folder, "Siena Scalp EEG Database"),
    "other-bids": lambda folder: bids(folder, "A clinic"),
    "demo": lambda folder: touch(folder / "demo.json", folder / "demo01" / "demo01_01.edf"),
    "store": lambda folder: touch(folder / "manifest.json", folder / "signals" / "x.edf"),
    "run": lambda folder: touch(folder / "run.json", folder / "folds" / "x.edf"),
    "model": lambda folder: touch(folder / "pipeline.json", folder / "model.safetensors"),
    "plain": lambda folder: touch(folder / "P1" / "a.edf", folder / "P2" / "b.vhdr"),
    "nothing": lambda folder: touch(folder / "notes.docx", folder / "._a.edf"),
}
READ_BY = {name: name for name in ("chb-mit", "chb-mit-bids", "siena", "demo")} | {
    "chb-mit-flat": "chb-mit",
    "other-bids": "recordings-folder",
    "plain": "recordings-folder",
}
PLAIN = ("plain", "nothing")


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "nothing"])
def test_each_layout_is_told_by_its_names(tmp_path, kind):
    MAKERS[kind](tmp_path)
    (found,) = find_layouts(tmp_path)
    assert (found.path, found.dataset) == (tmp_path, READ_BY.get(kind))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(sorted(MAKERS)), min_size=1), st.booleans())
def test_of_any_subfolders_each_is_told(kinds, deeper):
    with tempfile.TemporaryDirectory() as base:
        root = Path(base) / "inner" if deeper else Path(base)
        for name, kind in kinds.items():
            MAKERS[kind](root / name)
        found = [(layout.path, layout.dataset) for layout in find_layouts(base)]
        expected = [(root / name, READ_BY.get(kind)) for name, kind in sorted(kinds.items()) if kind != "nothing"]
        if all(kind in PLAIN for kind in kinds.values()):  # one folder of recordings
            expected = [(Path(base), "recordings-folder")] if expected else []
        assert found == expected


def test_recordings_beside_data_sets_are_told(tmp_path):
    MAKERS["chb-mit"](tmp_path / "chbmit")
    touch(tmp_path / "own.edf")
    known, loose = find_layouts(tmp_path)
    assert (known.dataset, loose.dataset) == ("chb-mit", None)
    assert "1 recording beside" in loose.why


def test_what_is_no_folder_is_an_error(tmp_path):
    touch(tmp_path / "a.edf")
    with pytest.raises(NotADirectoryError, match="is a file; expected a folder"):
        find_layouts(tmp_path / "a.edf")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_layouts(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.warns(UserWarning, match="leads back|searched where it lies"):
        assert [layout.dataset for layout in find_layouts(tmp_path)] == ["recordings-folder"]


def ini_of(word):
    """Recognise folders with ``ward.ini`` that holds a word."""

    def looks_like(folder):
        path = folder / "ward.ini"
        return f"ward.ini of {word}" if path.is_file() and word in path.read_text() else ""

    return looks_like


@recognised_by(ini_of("ward 1"))
def load_ward(root):
    raise NotImplementedError


class Ward2:
    """A loader that is a class."""

    looks_like = staticmethod(ini_of("ward"))


def fail(folder):
    raise RuntimeError("out of order")


@pytest.fixture
def plugged(monkeypatch):
    """Register data sets for one test."""

    def add(**loaders):
        for name, loader in loaders.items():
            monkeypatch.setitem(registry.datasets._objects, name, loader)
            monkeypatch.setitem(registry.datasets._owners, name, "a plugin")

    len(registry.datasets)  # all plugins are there
    return add


def test_a_plugin_says_how_its_folders_look(tmp_path, plugged):
    plugged(ward=load_ward)
    MAKERS["chb-mit"](tmp_path / "chbmit")
    touch(tmp_path / "a" / "ward.ini", tmp_path / "a" / "x.edf", tmp_path / "b" / "ward.ini", tmp_path / "b" / "y.edf")
    (tmp_path / "a" / "ward.ini").write_text("ward 1")
    found = [(layout.path.name, layout.dataset, layout.why.split(",")[0]) for layout in find_layouts(tmp_path)]
    assert found == [
        ("a", "ward", "ward.ini of ward 1"),
        ("b", "recordings-folder", "1 recording"),
        ("chbmit", "chb-mit", "1 case of CHB-MIT as on PhysioNet: chb01"),
    ]


def test_two_data_sets_that_take_a_folder_for_theirs_are_both_named(tmp_path, plugged):
    plugged(ward=load_ward, wards=Ward2)
    (tmp_path / "ward.ini").write_text("ward 1")
    (layout,) = find_layouts(tmp_path)
    assert layout.dataset is None
    assert "ward (ward.ini of ward 1); wards (ward.ini of ward): say which" in layout.why
    (tmp_path / "ward.ini").write_text("ward 7")
    (layout,) = find_layouts(tmp_path)
    assert layout.dataset == "wards"


@pytest.mark.parametrize("broken", [recognised_by(fail)(lambda root: None), "no_such_package.ward:load"])
def test_a_plugin_that_fails_is_warned_of_and_the_others_are_asked(tmp_path, plugged, broken):
    plugged(broken=broken)
    MAKERS["siena"](tmp_path)
    with pytest.warns(UserWarning, match="data set 'broken'"):
        (layout,) = find_layouts(tmp_path)
    assert layout.dataset == "siena"
