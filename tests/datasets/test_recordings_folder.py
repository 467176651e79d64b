"""Any folder of EDF or BDF files."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from edf_files import write_edf
from gap_files import TOLD, write_with_pause
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import registry
from biot_bd.datasets import load_dataset
from biot_bd.datasets.recordings import seizures_of
from biot_bd.datasets.recordings_folder import load_recordings_folder
from biot_bd.deploy.recording_files import find_items
from biot_bd.exceptions import RecordingError
from biot_bd.io import timeline_of
from biot_bd.io.readers import Reader
from biot_bd.io.recordings import open_recording
from biot_bd.io.walk import searched_endings
from biot_bd.testing import check_dataset

TABLE = "onset\tduration\teventType\n{}\n"


def label(path, rows="5\t10\tsz", suffix="_events.tsv"):
    path.with_name(path.stem.removesuffix("_eeg") + suffix).write_text(TABLE.format(rows))


def test_tables_annotations_and_none(tmp_path):
    root = tmp_path / "clinic A"
    label(write_edf(root / "p1" / "a.edf"))
    label(write_edf(root / "p1" / "b.EDF"), "0\t20\tbckg", ".tsv")
    write_edf(root / "p2" / "inside.edf", annotations=[(3, 4, "sz"), (8, 2, "sz_foc"), (1, 0, "eyes open")])
    write_edf(root / "p2" / "calm.edf", annotations=[(0, 20, "bckg")])
    write_edf(root / "p2" / "nothing.edf")
    with pytest.warns(UserWarning, match="1 of 5 recordings have no labels: left out: p2__nothing"):
        dataset = load_dataset("edf-folder", root)
    check_dataset(dataset)
    assert {p.description["recording"]: seizures_of(p.raw) for p in dataset.datasets} == {
        "p1__a": [(5.0, 15.0)],
        "p1__b": [],
        "p2__calm": [],
        "p2__inside": [(3.0, 7.0), (8.0, 10.0)],
    }
    assert [p.description["subject"] for p in dataset.datasets] == ["clinic-A/p1"] * 2 + ["clinic-A/p2"] * 2
    assert "eyes open" in dataset.datasets[3].raw.annotations.description
    assert dataset.outcomes.set_index("recording")["outcome"]["p2__nothing"] == "unlisted"
    everything = load_recordings_folder(root, unlisted="background")
    assert len(everything.datasets) == 5
    assert "taken as free of seizures" in everything.outcomes.set_index("recording")["detail"]["p2__nothing"]


def test_the_table_outweighs_annotations_in_the_file(tmp_path):
    label(write_edf(tmp_path / "p" / "a.edf", annotations=[(1, 2, "sz")]), "12\t3\tsz")
    assert seizures_of(load_recordings_folder(tmp_path).datasets[0].raw) == [(12.0, 15.0)]


def test_bids_names(tmp_path):
    path = write_edf(tmp_path / "sub-07" / "ses-02" / "eeg" / "sub-07_ses-02_task-x_run-03_eeg.edf")
    label(path)
    description = load_recordings_folder(tmp_path, namespace="clinic").datasets[0].description
    assert description[["subject", "session", "run", "recording"]].tolist() == [
        "clinic/07",
        "02",
        "03",
        "sub-07_ses-02_task-x_run-03",
    ]


def test_subjects_from_path_folder_or_expression(tmp_path):
    for name in ("clinic/sub-a1/night/x.edf", "P_ID64/P_ID64_r2.edf", "flat.edf"):
        label(write_edf(tmp_path / name))
    subjects = {
        p.description["recording"]: p.description["subject"]
        for p in load_recordings_folder(tmp_path, namespace="n").datasets
    }
    assert subjects == {
        "clinic__sub-a1__night__x": "n/a1",
        "P_ID64__P_ID64_r2": "n/P_ID64",
        "flat": f"n/{tmp_path.name}",
    }
    one = load_recordings_folder(tmp_path / "P_ID64", namespace="n", subject=r"P_ID(\d+)_r")
    assert one.datasets[0].description["subject"] == "n/64"
    with pytest.raises(ValueError, match=r"flat\.edf: the subject is not found by subject="):
        load_recordings_folder(tmp_path, subject=r"(ID\d+|sub-\w+)")
    with pytest.raises(ValueError, match="put the subject in parentheses"):
        load_recordings_folder(tmp_path, subject=r"ID\d+")
    with pytest.raises(ValueError, match="not a regular expression"):
        load_recordings_folder(tmp_path, subject="(")


def test_a_folder_of_days_is_not_taken_for_a_subject(tmp_path):
    for name in ("P01/day1/a.edf", "P01/day2/a.edf", "P02/day1/a.edf"):
        label(write_edf(tmp_path / name))
    with pytest.raises(
        ValueError, match=r"a\.edf: not certain which of the folders P01, day1 is the subject.*subject="
    ) as e:
        load_recordings_folder(tmp_path, on_error="skip")
    assert "\n" not in str(e.value)
    for pattern, subjects in {"^([^/]+)/": ["P01", "P01", "P02"], "([^/]+)/[^/]+$": ["day1", "day2", "day1"]}.items():
        assert pattern in str(e.value)
        dataset = load_recordings_folder(tmp_path, namespace="n", subject=pattern)
        assert [p.description["subject"] for p in dataset.datasets] == [f"n/{subject}" for subject in subjects]


@pytest.mark.parametrize(
    ("word", "known"),
    [("seizure", "sz"), ("Seizure", "sz"), ("SZ", "sz"), ("SZ_Foc", "sz_Foc"), ("seiz", "sz"), ("sz_gen", "sz_gen")],
)
def test_seizures_in_other_spellings(tmp_path, word, known):
    label(write_edf(tmp_path / "p" / "table.edf"), f"5\t10\t{word}\n0\t5\tBckg")
    write_edf(tmp_path / "p" / "inside.edf", annotations=[(5, 10, word), (0, 5, "BCKG"), (1, 0, "Eyes open")])
    inside, table = load_recordings_folder(tmp_path).datasets
    for part in (inside, table):
        assert seizures_of(part.raw) == [(5.0, 15.0)]
        assert {"bckg", known} <= set(part.raw.annotations.description)
    assert "Eyes open" in inside.raw.annotations.description


@pytest.mark.parametrize("word", ["ictal", "aura", "seizure-free", "Seizure end", "background"])
def test_unknown_event_types_are_not_background(tmp_path, word):
    label(write_edf(tmp_path / "p" / "a.edf"), f"0\t5\tbckg\n5\t10\t{word}")
    message = rf"a_events\.tsv, line 3: unknown eventType '{word}'; expected sz .*seizure.*bckg, impd"
    with pytest.raises(RecordingError, match=message) as error:
        load_recordings_folder(tmp_path)
    assert error.value.outcome == "bad-annotation"


def test_other_annotations_in_the_file_mean_nothing(tmp_path):
    write_edf(tmp_path / "p" / "a.edf", annotations=[(0, 5, "seizure-free"), (6, 5, "ictal?"), (0, 20, "bckg")])
    assert seizures_of(load_recordings_folder(tmp_path).datasets[0].raw) == []


def test_marks_of_begin_and_end_are_one_seizure_and_channels_are_joined(tmp_path):
    write_edf(tmp_path / "p" / "a.edf", annotations=[(5, 0, "Seizure start"), (12, 0, "Seizure end"), (1, 2, "szene")])
    write_edf(tmp_path / "p" / "b.edf", annotations=[(5, 6, "Seizure@@FP1-F7"), (6, 8, "Seizure@@F7-T7")])
    pair, channels = load_recordings_folder(tmp_path).datasets
    assert seizures_of(pair.raw) == [(5.0, 12.0)]
    assert seizures_of(channels.raw) == [(5.0, 14.0)]
    assert set(pair.raw.annotations.description) == {"sz", "other: szene"}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([(5, 0, "Seizure start")], "'Seizure start' at 5 s has no end"),
        ([(5, 0, "Sz end"), (8, 4, "sz")], "'Sz end' at 5 s ends what has no begin"),
    ],
)
def test_marks_that_do_not_pair_are_told(tmp_path, rows, what):
    write_edf(tmp_path / "p" / "a.edf", annotations=rows)
    write_edf(tmp_path / "p" / "b.edf", annotations=[(5, 5, "sz")])
    with pytest.warns(UserWarning, match="impossible annotations"):
        dataset = load_recordings_folder(tmp_path, on_error="skip")
    told = dataset.outcomes.set_index("recording").loc["p__a"]
    assert told["outcome"] == "bad-annotation"
    assert f"a.edf: the annotation {what}" in told["detail"]


def test_what_is_not_clear_is_said_and_own_words_make_it_clear(tmp_path):
    write_edf(tmp_path / "p" / "a.edf", annotations=[(5, 5, "Anfall"), (12, 3, "seizure?")])
    write_edf(tmp_path / "p" / "b.edf", annotations=[(0, 5, "bckg"), (12, 3, "Seizure, fell")])
    with pytest.warns(UserWarning, match="have no labels"):
        before = load_recordings_folder(tmp_path).outcomes
    assert before["outcome"].tolist() == ["unlisted", "loaded"]
    assert "'seizure?'" in before["detail"][0]
    assert "'Seizure, fell'" in before["detail"][1]
    dataset = load_recordings_folder(tmp_path, seizure_words=["anfall", "seizure, fell"])
    assert [seizures_of(part.raw) for part in dataset.datasets] == [[(5.0, 10.0)], [(12.0, 15.0)]]
    assert "'seizure?'" in dataset.outcomes["detail"][0]
    assert dataset.outcomes["detail"][1] == ""


def discontinuous(path, from_record=None, gap_s=100):
    """Say EDF+D in the header; records from ``from_record`` on begin ``gap_s`` later."""
    data = bytearray(path.read_bytes())
    assert data[192:197] == b"EDF+C"
    data[196:197] = b"D"
    if from_record is not None:
        for number in range(from_record, 20):
            old, new = f"+{number}\x14\x14\0\0\0".encode(), f"+{number + gap_s}\x14\x14".encode()
            assert data.count(old) == 1
            at = data.index(old)
            data[at : at + len(old)] = new.ljust(len(old), b"\0")
    path.write_bytes(data)


def test_gaps_in_edf_plus_d_are_read_and_such_without_times_refused(tmp_path):
    for name in ("whole", "gap", "silent"):
        path = write_edf(tmp_path / "p" / f"{name}.edf", annotations=[(0, 20, "bckg")])
        discontinuous(path, {"gap": 10}.get(name))
    silent = path.read_bytes().replace(b"EDF Annotations ", b"EKG             ")
    path.write_bytes(silent)
    with pytest.raises(RecordingError, match=r"silent\.edf: is EDF\+D without a signal of annotations"):
        load_recordings_folder(tmp_path)
    with pytest.warns(UserWarning, match="1 of 3 recordings cannot be read"):
        dataset = load_recordings_folder(tmp_path, on_error="skip")
    rows = dataset.outcomes.set_index("recording")
    assert rows["outcome"].to_dict() == {"p__gap": "loaded", "p__silent": "unreadable", "p__whole": "loaded"}
    lines = {part.description["recording"]: timeline_of(part.raw) for part in dataset.datasets}
    assert lines["p__gap"].gaps == [(10.0, 110.0)]
    assert lines["p__whole"].is_continuous


@pytest.mark.parametrize("kind", [b"EDF+D", b"EDF+C"])
def test_seizures_behind_a_gap_keep_their_time_and_their_samples(tmp_path, kind):
    path = write_edf(tmp_path / "p" / "table.edf", annotations=[(0, 20, "bckg")])
    discontinuous(path, 10)
    path.write_bytes(path.read_bytes().replace(b"EDF+D", kind))
    label(path, "115\t4\tsz")
    (part,) = load_recordings_folder(tmp_path).datasets
    assert seizures_of(part.raw) == [(115.0, 119.0)]
    assert (part.raw.annotations.onset[0], part.raw.annotations.duration[0]) == (15.0, 4.0)


@pytest.mark.parametrize("kind", TOLD)
def test_a_table_counts_pauses_in_every_format_and_leaves_them_where_they_are(tmp_path, kind):
    gap_s = 20 if kind == "skips" else 3600
    x_uv = np.random.default_rng(0).normal(0, 30, (2, 40 * 200))
    path = write_with_pause(tmp_path / "p1", kind, x_uv, ["Fp1", "F7"], 25 * 200, gap_s)
    label(path, f"5\t10\tsz\n{gap_s + 30}\t6\tsz_foc")
    (part,) = load_recordings_folder(tmp_path).datasets
    assert timeline_of(part.raw).gaps == [pytest.approx((25, 25 + gap_s), abs=1e-6)]
    assert np.allclose(seizures_of(part.raw), [(5, 15), (gap_s + 30, gap_s + 36)])


@pytest.mark.parametrize("onset", [-8, 21, 500])
def test_a_seizure_outside_is_an_error_in_a_table_and_in_the_file_alike(tmp_path, onset):
    path = write_edf(tmp_path / "p1" / "a.edf", annotations=[(0, 20, "bckg"), (onset, 5, "sz")])
    message = f"seizure from {onset} s to {onset + 5} s is not inside the recording of 20 s"
    with pytest.raises(RecordingError, match=message):
        load_recordings_folder(tmp_path)
    label(path, f"{onset}\t5\tsz")
    with pytest.raises(RecordingError, match=message):
        load_recordings_folder(tmp_path)


@pytest.mark.parametrize("options", [{"subject": 1}, {"namespace": 1.5}])
def test_options_of_a_wrong_type(tmp_path, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}=1.*: expected a text, e.g. "):
        load_recordings_folder(tmp_path, **options)


def test_names_that_clash(tmp_path):
    for name in ("a/sub-1_eeg.edf", "b/sub-1_eeg.edf"):
        label(write_edf(tmp_path / name))
    with pytest.raises(ValueError, match="are both called 'sub-1'"):
        load_recordings_folder(tmp_path)


def test_two_tables_for_one_recording(tmp_path):
    path = write_edf(tmp_path / "p" / "a.edf")
    label(path)
    label(path, suffix=".tsv")
    with pytest.raises(RecordingError, match=r"several event tables: a\.tsv, a_events\.tsv"):
        load_recordings_folder(tmp_path)


def test_no_labels_at_all_and_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no recording; files of these endings are looked for"):
        load_recordings_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_recordings_folder(tmp_path / "nowhere")
    write_edf(tmp_path / "a.edf")
    write_edf(tmp_path / ".hidden" / "b.edf")
    with pytest.raises(ValueError, match=r"none of 1 recordings has labels .*a_events\.tsv.*unlisted='background'"):
        load_recordings_folder(tmp_path)


def test_damaged_and_truncated_files(tmp_path):
    whole = write_edf(tmp_path / "a.edf")
    label(whole)
    cut = tmp_path / "cut.edf"
    cut.write_bytes(whole.read_bytes()[:-2000])
    label(cut)
    (tmp_path / "bad.edf").write_bytes(b"0       not a header")
    with pytest.raises(RecordingError, match=r"bad\.edf: the header is not"):
        load_recordings_folder(tmp_path)
    with pytest.warns(UserWarning, match="cannot be read"):
        dataset = load_recordings_folder(tmp_path, on_error="skip")
    rows = dataset.outcomes.set_index("recording")
    assert rows["outcome"].to_dict() == {"a": "loaded", "bad": "unreadable", "cut": "loaded"}
    assert (
        rows["detail"]["cut"] == "cut short: the header declares 20 records, the file holds 18; what is there was used"
    )
    (tmp_path / "bad.edf").unlink()
    label(cut, "15\t5\tsz")
    with pytest.raises(
        RecordingError, match=r"cut_events\.tsv: seizure from 15 s to 20 s is not inside the recording of 18 s"
    ):
        load_recordings_folder(tmp_path)


def test_bdf(tmp_path):
    x = np.random.default_rng(0).normal(0, 30, 256 * 20)
    signal = edfio.BdfSignal(x, 256, label="Fp1", physical_dimension="uV", physical_range=(-800, 800))
    edfio.Bdf([signal]).write(tmp_path / "a.bdf")
    label(tmp_path / "a.bdf")
    raw = load_recordings_folder(tmp_path).datasets[0].raw
    np.testing.assert_allclose(raw.get_data()[0] * 1e6, x, atol=2e-4)


@pytest.mark.parametrize("folder", ["edf-oddities", "epilepsy2bids-headers", "eegmmidb"])
def test_real_odd_files_load(shared, tmp_path, folder):
    shutil.copytree(shared / "data" / folder, tmp_path / folder)
    dataset = load_recordings_folder(tmp_path / folder, unlisted="background", subject=r"([^/]+)\.\w+$")
    files = [p for p in (tmp_path / folder).rglob("*") if p.suffix.lower() in (".edf", ".bdf")]
    assert len(dataset.datasets) == len(files)
    assert set(dataset.outcomes["outcome"]) == {"loaded"}
    for part in dataset.datasets:
        assert part.raw[:, :10][0].shape == (len(part.raw.ch_names), 10)
        assert seizures_of(part.raw) == []


# What `detect` reads, `recordings-folder` can train on

HEADS = {"bdf": b"\xffBIOSEMI", "ant": b"RIFF", "bci2000": b"HeaderLen= 100", "nihon-kohden": b"EEG-1100A V01.00"}
WRITTEN = {"edf+d": ".edf", "bdf+d": ".bdf", "brainvision": ".vhdr", "eeglab": ".set", "persyst": ".lay", "fif": ".fif"}


def read_stand_in(path):
    """Read what no test can write: noise, and where it came from."""
    x = np.random.default_rng(0).normal(0, 3e-5, (16, 20 * 200))
    return mne.io.RawArray(x, mne.create_info([f"E{i}" for i in range(16)], 200.0, "eeg"), verbose="error")


@pytest.fixture
def stand_ins(monkeypatch):
    """Let every reader but those of EDF and BDF read noise; endings, probes and company stay theirs."""
    for name, reader in registry.readers.items():
        if registry.readers.owner(name) == registry.BUILTIN:
            monkeypatch.setitem(registry.readers._objects, name, dataclasses.replace(reader, read=read_stand_in))
        else:  # probes of plugins are their own matter
            monkeypatch.delitem(registry.readers._objects, name)
            monkeypatch.delitem(registry.readers._owners, name)
    abc = Reader((".abc",), lambda head: head.startswith(b"ABC"), read_stand_in)
    monkeypatch.setitem(registry.readers._objects, "abc", abc)
    monkeypatch.setitem(registry.readers._owners, "abc", "a plugin")


def found_by_both(root):
    """Return what `detect` would work on and what the data set loads, as paths; both open each."""
    items = [item.path for item in find_items([root])]
    parts = load_dataset("recordings-folder", root, unlisted="background", subject="^([^/]+)/").datasets
    for item, part in zip(sorted(items), sorted(parts, key=lambda p: p.description["path"]), strict=True):
        raw = open_recording(item).raw
        assert (raw.n_times, raw.ch_names) == (part.raw.n_times, part.raw.ch_names)
    return sorted(map(str, items)), sorted(part.description["path"] for part in parts)


def test_every_ending_that_is_looked_for_is_found_by_both(tmp_path, stand_ins):
    expected = []
    for name, reader in registry.readers.items():
        for ending in reader.endings:
            path = tmp_path / "P1" / f"{name}-{ending.strip('.')}{ending}"
            file = path / "inside" if reader.folder else path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(HEADS.get(name, b"ABC" if name == "abc" else b"0") + b" " * 100)
            if reader.beside:
                path.with_suffix(reader.beside).write_text("beside")
            if reader.search != "never":
                expected.append(str(path))
    assert {ending for path in expected for ending in searched_endings() if path.endswith(ending)} == set(
        searched_endings()
    )
    assert len(expected) > 20
    assert found_by_both(tmp_path) == (sorted(expected), sorted(expected))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.sampled_from(sorted(WRITTEN)), min_size=1, max_size=6, unique=True))
def test_files_of_any_formats_are_found_by_both(kinds):
    names = "Fp1 F7 T7 P7 O1 Fp2 F8 T8 P8 O2 F3 C3 P3 F4 C4 P4".split()
    x = np.random.default_rng(0).normal(0, 30, (16, 12 * 200))
    with tempfile.TemporaryDirectory() as base:
        expected = sorted(
            str(write_with_pause(Path(base, f"P-{kind[:3]}"), kind, x, names, 6 * 200, 30.0)) for kind in kinds
        )
        assert found_by_both(Path(base)) == (expected, expected)
        assert [path.rpartition(".")[2] for path in expected] == [
            WRITTEN[kind].strip(".") for kind in sorted(kinds, key=lambda kind: f"P-{kind[:3]}")
        ]


def test_the_former_name_does_the_same(tmp_path):
    label(write_edf(tmp_path / "p" / "a.edf"))
    old, new = (load_dataset(name, tmp_path) for name in ("edf-folder", "recordings-folder"))
    assert registry.datasets["edf-folder"] is registry.datasets["recordings-folder"]
    assert old.outcomes.equals(new.outcomes)
    assert old.datasets[0].description.equals(new.datasets[0].description)
