"""What a folder holds, against counts made by other means, and against what `prepare` does."""

import re
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from deploy_files import save_edf
from edf_files import BIPOLAR, entry, write_case, write_edf
from gap_files import write_with_pause
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import load_dataset, prepare
from biot_bd.datasets import inspect_folder
from biot_bd.windows.store import read_manifest

TABLE = "onset\tduration\teventType\n"


def one(folder, *given, **options):
    (facts,) = inspect_folder(folder, *given, **options)
    return facts


def seconds_of(path):
    """Length by the bytes of the header alone."""
    head = path.read_bytes()[:256]
    return int(head[236:244]) * float(head[244:252])


# The shared folders


def test_summaries_without_their_files(shared):
    root = shared / "data/chbmit-annotations"
    texts = {path.name[:5]: path.read_text() for path in root.glob("*-summary.txt")}
    listed = Counter({case: len(re.findall(r"^File Name:", text, re.M)) for case, text in texts.items()})
    seizures = sum(int(n) for text in texts.values() for n in re.findall(r"Number of Seizures in File:\s*(\d+)", text))
    facts = one(root)
    assert facts.dataset == "chb-mit"
    assert facts.stops_prepare
    assert not facts.used
    outcomes = Counter(o.outcome for o in facts.recordings)
    unlisted = len((root / "RECORDS").read_text().split()) - listed.total()
    assert outcomes == {"missing-file": listed.total(), "unlisted": unlisted}
    assert unlisted == 10
    table = facts.subjects()
    assert len(table) == len(texts) - 1  # chb21 is chb01 again
    assert table.set_index("subject")["left_out"]["chb-mit/01"] == listed["chb01"] + listed["chb21"]
    assert table["seizures_left_out"].sum() == seizures == 198


def test_excerpts(shared):
    root = shared / "data/chbmit-excerpts"
    facts, paths = one(root), sorted(root.rglob("*.edf"))
    assert (facts.dataset, facts.stops_prepare, facts.left_out) == ("chb-mit", False, [])
    assert [o.path for o in sorted(facts.used, key=lambda o: o.path)] == list(map(str, paths))
    for found in facts.used:
        assert found.duration_s == seconds_of(Path(found.path))
        assert (found.format, found.sfreqs, found.units, found.labels_from) == ("EDF", (256.0,), ("uV",), "summary")
        assert (len(found.found), found.derived, found.missing) == (16, (), ())
    table = facts.subjects()
    assert table["subject"].tolist() == ["chb-mit/01", "chb-mit/02", "chb-mit/03"]
    assert table["seizure_s"].sum() == 278  # README
    ictal = [o for o in facts.used if not o.recording.endswith("_pre") and o.recording != "chb01_01"]
    assert table["seizures"].sum() == len(ictal)


def test_referential_recordings_without_labels(shared):
    facts = one(shared / "data/eegmmidb")
    assert facts.dataset == "recordings-folder"
    assert [(o.recording, o.outcome, o.subject) for o in facts.recordings] == [
        (name, "unlisted", "eegmmidb/eegmmidb") for name in ("S001R01", "S001R02", "S001R03")
    ]
    for found in facts.recordings:
        assert (found.sfreq, found.n_channels, len(found.derived), found.labels_from) == (160.0, 64, 16, "none")
        assert found.duration_s == seconds_of(Path(found.path))
    told = " ".join(facts.hints)
    assert "3 recordings lie directly in the folder and count as one subject" in told
    assert "--option unlisted=background" in told
    subject = one(shared / "data/eegmmidb", "recordings-folder", options={"subject": r"^(S\d+)R"}).recordings[0].subject
    assert subject == "eegmmidb/S001"
    used = one(shared / "data/eegmmidb", "recordings-folder", options={"unlisted": "background"})
    assert (len(used.used), used.stops_prepare) == (3, False)


def test_odd_files(shared):
    facts = one(shared / "data/edf-oddities")
    found = {o.recording: o for o in facts.recordings}
    assert len(found) == len(list((shared / "data/edf-oddities").iterdir())) == 8
    assert {o.outcome for o in facts.recordings} == {"unlisted"}
    assert found["test"].format == "BDF"
    assert found["MB0400FU"].format == "EDF+D"
    assert "missing-channels" in found["duplicate_channel_labels"].notes[-1]
    assert len(found["test_uneven_samp"].sfreqs) > 1


def test_headers_of_several_data_sets(shared):
    root = shared / "data/epilepsy2bids-headers"
    facts = {Path(f.path).name: f for f in inspect_folder(root)}
    assert {name: f.dataset for name, f in facts.items()} == {
        "chbmit": "chb-mit",
        "seizeit": "recordings-folder",
        "siena": "recordings-folder",
    }
    for name in ("seizeit", "siena"):
        paths = list((root / name).rglob("*.edf"))
        assert len(facts[name].recordings) == len(paths)
        assert {o.subject for o in facts[name].recordings} == {f"{name}/{path.parent.name}" for path in paths}
    tables = len(list((root / "seizeit").rglob("*_a1.tsv")))
    assert any(hint.startswith(f"{tables} tables belong to no recording") for hint in facts["seizeit"].hints)
    assert any("Seizures-list-PN00.txt" in hint for hint in facts["siena"].hints)
    outcomes = Counter(o.outcome for o in facts["chbmit"].recordings)
    listed = {
        file
        for summary in (root / "chbmit").rglob("*-summary.txt")
        for file in re.findall(r"^File Name:\s*(\S+)", summary.read_text(), re.M)
    }
    on_disk = {path.name for path in (root / "chbmit").rglob("*.edf")}
    assert outcomes["missing-file"] == len(listed - on_disk)
    assert outcomes["bad-annotation"] + outcomes["too-short"] == len(on_disk)


# One judgement with `prepare`


def outcomes_of_prepare(folder, store, name="recordings-folder"):
    """Return what the store's manifest says became of each recording."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = load_dataset(name, folder, on_error="skip")
        prepare(dataset, store, on_error="skip")
    manifest = read_manifest(store)
    said = {row["recording"]: row["outcome"] for row in manifest["outcomes"]}
    return said | {row["recording"]: row["outcome"] for row in manifest["failures"]}


KINDS = {
    "sound": "loaded",
    "short": "too-short",
    "few": "missing-channels",
    "slow": "failed",
    "unlabelled": "unlisted",
    "outside": "bad-annotation",
    "damaged": "unreadable",
    "paused": "loaded",
}


def write_kind(folder, kind):
    path = folder / f"{kind}.edf"
    names = BIPOLAR[:3] if kind == "few" else BIPOLAR[:18]
    table = TABLE + "1\t4\tsz\n"
    if kind == "paused":
        x = np.random.default_rng(0).normal(0, 30, (18, 30 * 200))
        write_with_pause(folder / "made", "edf+c", x, names, 15 * 200, 60.0)
        next((folder / "made").iterdir()).rename(path)
        (folder / "made").rmdir()
    else:
        write_edf(path, names, seconds=8 if kind == "short" else 20, sfreq=16 if kind == "slow" else 256)
    if kind == "damaged":
        path.write_bytes(path.read_bytes()[:300])
    if kind == "outside":
        table += "900\t10\tsz\n"
    if kind != "unlabelled":
        path.with_name(f"{kind}_events.tsv").write_text(table)


@settings(max_examples=6, deadline=None)
@given(st.sets(st.sampled_from(sorted(KINDS))))
def test_doctor_and_prepare_agree_on_any_folder(kinds):
    kinds = {"sound", *kinds}
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base, "P1")
        folder.mkdir()
        for kind in kinds:
            write_kind(folder, kind)
        facts = one(base)
        found = {o.recording.removeprefix("P1__"): o.outcome for o in facts.recordings}
        assert found == {kind: KINDS[kind] for kind in kinds}
        assert facts.stops_prepare == bool(kinds & {"short", "few", "slow", "outside", "damaged"})
        made = outcomes_of_prepare(base, Path(base, "P1", ".store"))
        assert {name.removeprefix("P1__"): outcome for name, outcome in made.items()} == found
        paused = [o for o in facts.recordings if o.recording == "P1__paused"]
        assert [o.gaps for o in paused] == ([[(15.0, 75.0)]] if paused else [])


def test_missing_channels_are_as_on_missing_says(tmp_path):
    write_kind(tmp_path, "few")
    (refused,) = one(tmp_path).recordings
    assert (refused.outcome, refused.found, len(refused.missing)) == (
        "missing-channels",
        ("Fp1-F7", "F7-T7", "T7-P7"),
        13,
    )
    dropped = one(tmp_path, on_missing="drop")
    assert (len(dropped.used), dropped.stops_prepare) == (1, False)


def test_units_that_are_not_known_are_told(tmp_path):
    path = write_edf(tmp_path / "a.edf", BIPOLAR[:16])
    content = path.read_bytes()
    at = 256 + 96 * 16  # units of the signals, 8 bytes each
    path.write_bytes(content[:at] + b"furlong ".ljust(8) + content[at + 8 :])
    (found,) = one(tmp_path, "recordings-folder", options={"unlisted": "background"}).recordings
    assert found.outcome == "missing-channels"
    assert list(found.unusable) == ["FP1-F7"]
    assert "furlong" in found.detail


def test_samples_tell_of_electrodes(tmp_path):
    rng = np.random.default_rng(0)
    names = "Fp1 F7 T7 P7 O1 Fp2 F8 T8 P8 O2 F3 C3 P3 F4 C4 P4".split()
    x = rng.normal(0, 30, (16, 30 * 200)).clip(-250, 250)
    x[3] = 0
    x[4] += 500
    x[5, 200 * 10 : 200 * 20] = 7
    save_edf(tmp_path / "a.edf", names, x, 200)
    options = {"unlisted": "background"}
    (quick,) = one(tmp_path, "recordings-folder", options=options).recordings
    assert not [note for note in quick.notes if "zero" in note]
    (found,) = one(tmp_path, "recordings-folder", options=options, samples=True).recordings
    told = "\n".join(found.notes)
    assert "zero throughout: P7" in told
    assert "flat, in so many of 3 windows of 10 s: Fp2 (1)" in told
    assert (
        "an offset far larger than the EEG, taken off before scaling, in so many of 3 windows of 10 s: O1 (3)" in told
    )


# Folders as they are


def test_files_that_a_summary_lists_are_missing_and_the_rest_is_used(tmp_path):
    write_case(tmp_path, "chb01", {"chb01_01.edf": [(2, 9)], "chb01_02.edf": [(1, 3), (5, 6)]}, ["chb01_01.edf"])
    facts = one(tmp_path)
    assert [(o.recording, o.outcome, o.n_seizures) for o in facts.recordings] == [
        ("chb01_01", "missing-channels", 1),
        ("chb01_02", "missing-file", 2),
    ]
    assert facts.subjects()["seizures_left_out"].tolist() == [3]


def test_nothing_is_written_into_a_folder_of_demo_recordings(tmp_path):
    load_dataset("demo", tmp_path, n_subjects=2, recordings=1, minutes=1)
    (gone,) = tmp_path.glob("demo02/*.edf")
    gone.unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    facts = one(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert (facts.dataset, facts.generated) == ("demo", True)
    assert [o.outcome for o in facts.recordings] == ["loaded", "missing-file"]


def test_a_data_set_that_cannot_be_understood_is_told(tmp_path):
    write_case(tmp_path, "chb01", {"chb01_01.edf": []}, [])
    summary = tmp_path / "chb01/chb01-summary.txt"
    summary.write_text(summary.read_text() + entry("chb01_01.edf"))
    facts = one(tmp_path)
    assert "chb01_01.edf is listed twice" in facts.error
    assert facts.stops_prepare
    write_edf(tmp_path / "other/P1/day1/a.edf")
    told = one(tmp_path / "other", "recordings-folder", options={"unlisted": "background"})
    assert "not certain which of the folders" in told.error


def test_a_folder_without_recordings_has_no_layout(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    assert inspect_folder(tmp_path) == []


def test_options_need_a_data_set(tmp_path):
    with pytest.raises(ValueError, match="name it"):
        inspect_folder(tmp_path, options={"subject": "(x)"})
    with pytest.raises(TypeError, match="has no option"):
        inspect_folder(tmp_path, "siena", options={"namespace": "x"})
