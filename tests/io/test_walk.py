"""One walk over folders: what is taken for a recording or a table, what is left alone, what is named."""

import os

import edfio
import numpy as np
import pytest
from deploy_files import save_edf
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.io.walk import OTHER_MODALITIES, find_recordings, find_tables, is_other_modality


def names(root, found):
    return [one.path.relative_to(root).as_posix() for one in found if one.fault is None]


def faults(root, found):
    return {one.path.relative_to(root).as_posix(): one.fault for one in found if one.fault is not None}


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"0")


def test_company_is_left_alone(tmp_path):
    touch(
        tmp_path, "a/x.edf", "a/._x.edf", ".hidden/y.edf", "derivatives/z.edf", "a/Sourcedata/z.edf", "a/x_events.edf",
        "a/x_annot.fif", "a/b-epo.fif", "a/notes.txt", "a/x.json", "b.BDF", "c.vhdr", "c.eeg", "d.lay", "d.dat", "e.nedf", "f.set",
        "f.fdt", "g.cnt", "h_raw.fif", "i.fif.gz", "j.data",
    )  # fmt: skip
    touch(tmp_path, "k.mff/signal1.bin", "k.mff/info.edf", "l.mefd/x.edf")
    found = find_recordings(tmp_path)
    assert faults(tmp_path, found) == {}
    assert sorted(names(tmp_path, found)) == sorted(
        "a/x.edf b.BDF c.vhdr d.lay e.nedf f.set g.cnt h_raw.fif i.fif.gz k.mff l.mefd".split()
    )


def test_formats_that_share_an_ending_are_told_by_their_bytes_or_company(tmp_path):
    touch(tmp_path, "a.eeg", "b.data", "c.data", "c.head", "d.dat")
    (tmp_path / "e.EEG").write_bytes(b"EEG-1200A V01.00")
    (tmp_path / "f.dat").write_bytes(b"BCI2000V= 1.1 ")
    assert names(tmp_path, find_recordings(tmp_path)) == ["c.data", "e.EEG", "f.dat"]


def test_other_modalities_of_bids_are_no_recordings(tmp_path):
    stem = "sub-001/ses-01/{}/sub-001_ses-01_task-szMonitoring_run-01_{}.edf"
    touch(tmp_path, *(stem.format(kind, kind) for kind in ("eeg", "ecg", "emg", "mov", "ieeg")))
    assert names(tmp_path, find_recordings(tmp_path)) == [stem.format(kind, kind) for kind in ("eeg", "ieeg")]


@given(st.sampled_from(sorted(OTHER_MODALITIES)), st.sampled_from(["edf", "bdf", "tsv.gz", "EDF"]))
def test_a_suffix_counts_only_in_a_bids_name(suffix, ending):
    assert is_other_modality(f"sub-01_task-x_{suffix}.{ending}")
    assert not is_other_modality(f"night_{suffix}.{ending}")
    assert not is_other_modality(f"sub-01_acq-{suffix}_eeg.{ending}")


def test_files_of_annotations_only_are_no_recordings(tmp_path):
    edfio.Edf([], annotations=[edfio.EdfAnnotation(0, 30, "Sleep stage W")]).write(tmp_path / "x-Hypnogram.edf")
    save_edf(tmp_path / "x-PSG.edf", ["Fp1"], np.ones((1, 640)), 64)
    assert names(tmp_path, find_recordings(tmp_path)) == ["x-PSG.edf"]


def test_our_own_stores_runs_and_models_are_left_alone(tmp_path):
    touch(
        tmp_path,
        "store/manifest.json",
        "store/signals/a.edf",
        "run/run.json",
        "run/folds/00/x_events.tsv",
        "a_events.tsv",
    )
    touch(tmp_path, "mine/manifest.json", "mine/b_events.tsv", "a.edf")
    assert names(tmp_path, find_recordings(tmp_path)) == ["a.edf"]
    assert names(tmp_path, find_tables(tmp_path)) == ["a_events.tsv", "mine/b_events.tsv"]
    assert names(tmp_path / "run/folds", find_tables(tmp_path / "run/folds")) == ["00/x_events.tsv"]  # it was named


def test_links_that_lead_nowhere_are_named(tmp_path):
    touch(tmp_path, "sub-01/a.edf")
    (tmp_path / "sub-02").mkdir()
    (tmp_path / "sub-02/a.edf").symlink_to("../.git/annex/objects/xx/MD5E-s1--2.edf/MD5E-s1--2.edf")
    (tmp_path / "sub-02/b.edf").symlink_to("b.edf")
    (tmp_path / "sub-02/notes.txt").symlink_to("gone.txt")  # no recording, nobody's business
    os.mkfifo(tmp_path / "sub-02/pipe.edf")
    found = find_recordings(tmp_path)
    assert names(tmp_path, found) == ["sub-01/a.edf"]
    told = faults(tmp_path, found)
    assert "git annex get" in told["sub-02/a.edf"]
    assert "leads back to itself" in told["sub-02/b.edf"]
    assert "named pipe" in told["sub-02/pipe.edf"]
    assert len(told) == 3


def test_folders_in_loops_end_and_are_named_and_folders_elsewhere_are_searched_once(tmp_path):
    root = tmp_path / "root"
    touch(root, "a/x.edf", "z/y.edf")
    touch(tmp_path, "elsewhere/far.edf")
    (root / "a/up").symlink_to("..")
    (root / "b").symlink_to("z")
    (root / "c").symlink_to("../elsewhere")
    (root / "d").symlink_to("../elsewhere")
    (tmp_path / "elsewhere/home").symlink_to("../root")
    (tmp_path / "elsewhere/top").symlink_to("..")
    with pytest.warns(UserWarning, match="link") as told:
        found = find_recordings(root)
    assert names(root, found) == ["a/x.edf", "c/far.edf", "z/y.edf"]
    assert len(found) == 3
    named = [str(one.message).split(":")[0] for one in told]
    assert sorted(named) == sorted(str(root / link) for link in ("a/up", "b", "c/home", "c/top", "d"))


def test_the_output_is_not_searched(tmp_path):
    touch(tmp_path, "a.edf", "out/b.edf")
    assert names(tmp_path, find_recordings(tmp_path, skip=[tmp_path / "out"])) == ["a.edf"]


def test_tables_of_bids_with_another_purpose_are_no_events(tmp_path):
    touch(
        tmp_path, "participants.tsv", "sub-1/eeg/sub-1_channels.tsv", "sub-1/eeg/sub-1_events.tsv", "sub-1/sub-1_scans.tsv",
        "sub-1/eeg/sub-1_electrodes.tsv", "aaa_t000.csv_bi", "plain.tsv", "._plain.tsv", "x.csv", "derivatives/p.tsv",
    )  # fmt: skip
    assert names(tmp_path, find_tables(tmp_path)) == ["aaa_t000.csv_bi", "plain.tsv", "sub-1/eeg/sub-1_events.tsv"]


PARTS = st.lists(st.sampled_from(["a", "b.mff", ".git", "derivatives", "sub-01", "Ü x"]), max_size=3)
FILES = st.sampled_from(
    ["x.edf", "._x.edf", "sub-01_ecg.edf", "sub-01_eeg.bdf", "y.fif", "y-ave.fif", "z.txt", "x_events.edf"]
)
TAKEN = {"x.edf", "sub-01_eeg.bdf", "y.fif"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(PARTS, FILES), max_size=8))
def test_the_walk_finds_exactly_what_the_rule_says_of_any_tree(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree", numbered=True)
    touch(root, *("/".join([*parts, name]) for parts, name in tree))
    expected = set()
    for parts, name in tree:
        if any(part in (".git", "derivatives") for part in parts[: (parts + ["b.mff"]).index("b.mff")]):
            continue
        if "b.mff" in parts:  # a recording itself, nothing in it is one
            expected.add("/".join(parts[: parts.index("b.mff") + 1]))
        elif name in TAKEN:
            expected.add("/".join([*parts, name]))
    found = find_recordings(root)
    assert set(names(root, found)) == expected
    assert len(found) == len(expected)


def test_a_folder_that_cannot_be_searched_is_named(tmp_path):
    touch(tmp_path, "a.edf")
    (found,) = find_recordings(tmp_path / "gone")
    assert found.fault == "cannot be opened (No such file or directory)"
