"""What a folder holds, against counts made by other means, and against what `prepare` does."""

import json
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

from biot_bd import load_dataset, prepare, registry
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
    assert one(shared / "data/eegmmidb").dataset == "eegmmidb"
    facts = one(shared / "data/eegmmidb", "recordings-folder")
    assert [(o.recording, o.outcome, o.subject, o.if_labelled) for o in facts.recordings] == [
        (name, "unlisted", "eegmmidb/eegmmidb", "loaded") for name in ("S001R01", "S001R02", "S001R03")
    ]
    for found in facts.recordings:
        assert (found.sfreq, found.n_channels, len(found.derived), found.labels_from) == (160.0, 64, 16, "none")
        assert found.duration_s == seconds_of(Path(found.path))
    told = " ".join(facts.hints)
    assert (
        "3 recordings lie directly in the folder and count as one subject, and their names begin alike (S001)" in told
    )
    assert "--option unlisted=background takes 3 without labels" in told
    assert facts.can_take_unlisted
    subject = one(shared / "data/eegmmidb", "recordings-folder", options={"subject": r"^(S\d+)R"}).recordings[0].subject
    assert subject == "eegmmidb/S001"
    used = one(shared / "data/eegmmidb", "recordings-folder", options={"unlisted": "background"})
    assert (len(used.used), used.stops_prepare, used.can_take_unlisted) == (3, False, False)


def test_odd_files(shared):
    facts = one(shared / "data/edf-oddities")
    found = {o.recording: o for o in facts.recordings}
    assert len(found) == len(list((shared / "data/edf-oddities").iterdir())) == 8
    assert {o.outcome for o in facts.recordings} == {"unlisted"}
    assert found["test"].format == "BDF"
    assert found["MB0400FU"].format == "EDF+D"
    assert Counter(o.if_labelled for o in facts.recordings) == {"loaded": 2, "too-short": 4, "missing-channels": 2}
    assert found["duplicate_channel_labels"].notes[-1].startswith("missing-channels: ")
    assert len(found["test_uneven_samp"].sfreqs) > 1
    assert facts.can_take_unlisted


def test_headers_of_several_data_sets(shared):
    root = shared / "data/epilepsy2bids-headers"
    facts = {Path(f.path).name: f for f in inspect_folder(root)}
    assert {name: f.dataset for name, f in facts.items()} == {
        "chbmit": "chb-mit",
        "seizeit": "seizeit1",
        "siena": "siena-physionet",
    }
    assert {o.subject for o in facts["seizeit"].recordings} == {"seizeit1/64", "seizeit1/83"}
    # Files of 2 s, whose seizures by the list lie behind their ends; subject_info.csv names 14 patients.
    assert Counter(o.outcome for o in facts["siena"].recordings) == {"bad-annotation": 7, "missing-file": 12}
    assert {o.subject for o in facts["siena"].recordings if o.path} == {"siena/00", "siena/16"}
    for name, found in ((n, inspect_folder(root / n, "recordings-folder")[0]) for n in ("seizeit", "siena")):
        paths = list((root / name).rglob("*.edf"))
        assert len(found.recordings) == len(paths)
        assert {o.subject for o in found.recordings} == {f"{name}/{path.parent.name}" for path in paths}
        tables = len(list((root / name).rglob("*_a1.tsv")))
        assert any(hint.startswith(f"{tables} tables belong to no recording") for hint in found.hints) == bool(tables)
    assert any("Seizures-list-PN00.txt" in hint for hint in found.hints)
    outcomes = Counter(o.outcome for o in facts["chbmit"].recordings)
    listed = {
        file
        for summary in (root / "chbmit").rglob("*-summary.txt")
        for file in re.findall(r"^File Name:\s*(\S+)", summary.read_text(), re.M)
    }
    on_disk = {path.name for path in (root / "chbmit").rglob("*.edf")}
    assert outcomes["missing-file"] == len(listed - on_disk)
    assert outcomes["bad-annotation"] + outcomes["too-short"] == len(on_disk)


ANNOTATIONS = ("EDF Annotations", "BDF Annotations")


def header_of(path):
    """Read an EDF or BDF header by its bytes: kind, seconds, labels, units, samples a second."""
    with path.open("rb") as file:
        head = file.read(256)
        n = int(head[252:256])
        rest = file.read(256 * n).decode("latin-1")

    def field(at, width):
        return [rest[at * n + i * width : at * n + (i + 1) * width].strip() for i in range(n)]

    record_s = float(head[244:252])
    kind = head[192:197].decode() if head[192:197] in (b"EDF+C", b"EDF+D") else "BDF" if head[0] == 255 else "EDF"
    rates = [int(count) / record_s for count in field(216, 8)]
    return kind, int(head[236:244]) * record_s, field(0, 16), field(96, 8), rates


def test_headers_are_told_as_their_bytes_have_them(shared):
    looked_at = 0
    for root in ("chbmit-excerpts", "edf-oddities", "eegmmidb", "epilepsy2bids-headers"):
        for facts in inspect_folder(shared / "data" / root):
            for found in facts.recordings:
                if found.path is None:
                    assert found.outcome == "missing-file"
                    continue
                kind, seconds, labels, units, rates = header_of(Path(found.path))
                signals = [i for i, label in enumerate(labels) if label not in ANNOTATIONS]
                assert found.format == kind
                assert found.duration_s == pytest.approx(seconds)
                assert found.sfreqs == tuple(sorted({rates[i] for i in signals}))
                assert found.sfreq in found.sfreqs
                assert set(found.units) <= {units[i] or "blank" for i in signals}
                dummies = facts.dataset == "chb-mit" and found.is_used
                assert found.n_channels <= len(signals) if dummies else found.n_channels == len(signals)
                looked_at += 1
    assert looked_at == 30 + 8 + 3 + 24 + 7 + 12


# Subjects of a flat folder


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["pat{:02d}_night", "S{:03d}R", "{}-", "case_{}."]), st.integers(1, 4), st.integers(1, 3))
def test_the_pattern_that_is_proposed_makes_the_subjects_that_are_told(form, n_subjects, n_runs):
    names = [form.format(i) + str(k) for i in range(1, n_subjects + 1) for k in range(n_runs)]
    with tempfile.TemporaryDirectory() as base:
        for name in names:
            write_edf(Path(base, f"{name}.edf"), BIPOLAR[:2], seconds=1)
        facts = one(base)
        assert len({o.subject for o in facts.recordings}) == 1
        (hint,) = [hint for hint in facts.hints if "subject" in hint]
        proposed = re.search(r"'subject=(.+)' would make (\d+) subjects", hint)
        if n_subjects == 1 or len(names) == 1:
            assert proposed is None
            return
        assert int(proposed[2]) == n_subjects
        told = one(base, "recordings-folder", options={"subject": proposed[1]})
        assert sorted(Counter(o.subject for o in told.recordings).values()) == [n_runs] * n_subjects


# One judgement with `prepare`


def outcomes_of_prepare(folder, store, name="recordings-folder", on_missing="raise"):
    """Return what the store says became of each recording, and its manifest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = load_dataset(name, folder, on_error="skip") if name != "demo" else load_dataset(name, folder)
        prepare(dataset, store, on_error="skip", on_missing=on_missing)
    manifest = read_manifest(store)
    rows = [*manifest["outcomes"], *manifest["failures"]]
    return {row["recording"]: (row["outcome"], row["detail"]) for row in rows}, manifest


def assert_agree(facts, said):
    """The outcomes, and why a recording is left out; what is noted of a loaded one is among its notes."""
    assert {o.recording: o.outcome for o in facts.recordings} == {name: outcome for name, (outcome, _) in said.items()}
    for found in facts.recordings:
        if found.is_used:
            assert said[found.recording][1] in ["", *found.notes]
        else:
            assert found.detail == said[found.recording][1]


def write_chbmit(root):
    files = {f"chb01_{i:02d}.edf": [(2, 9)] for i in (1, 2, 3, 4, 5)} | {"chb01_06.edf": [(900, 950)]}
    write_case(root, "chb01", files, [])
    (root / "RECORDS").write_text("chb01/chb01_01.edf\nchb01/chb01_08.edf\n")
    folder = root / "chb01"
    for i, names in ((1, BIPOLAR), (2, BIPOLAR[:5]), (5, BIPOLAR), (6, BIPOLAR), (7, BIPOLAR)):
        write_edf(folder / f"chb01_{i:02d}.edf", names, seconds=9.5 if i == 5 else 20)
    (folder / "chb01_04.edf").write_bytes((folder / "chb01_01.edf").read_bytes()[:400])
    write_edf(root / "chb02" / "chb02_01.edf", BIPOLAR)
    outcomes = "loaded missing-channels missing-file unreadable too-short bad-annotation unlisted unlisted".split()
    return {f"chb01_{i:02d}": outcome for i, outcome in enumerate(outcomes, 1)} | {"chb02_01": "no-summary"}


def write_bids(root, title):
    folder, expected = root / "sub-01" / "eeg", {}
    for run, outcome in enumerate(("loaded", "unlisted", "bad-annotation", "unreadable", "missing-channels")):
        stem = f"sub-01_task-szMonitoring_run-{run:02d}"
        path = write_edf(folder / f"{stem}_eeg.edf", BIPOLAR[:3] if outcome == "missing-channels" else BIPOLAR)
        rows = "1\t400\tsz\n" if outcome == "bad-annotation" else "1\t4\tsz\n"
        if outcome != "unlisted":
            (folder / f"{stem}_events.tsv").write_text(TABLE + rows)
        if outcome == "unreadable":
            path.write_bytes(path.read_bytes()[:300])
        expected[stem] = outcome
    (folder / "sub-01_task-szMonitoring_run-09_eeg.edf").symlink_to("../../.git/annex/objects/x/MD5E-s1--x.edf")
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    (root / "dataset_description.json").write_text(json.dumps({"Name": title}))
    return expected | {"sub-01_task-szMonitoring_run-09": "missing-file"}


LAYOUTS = {
    "chb-mit": write_chbmit,
    "chb-mit-bids": lambda root: write_bids(root, "CHB-MIT") | {"sub-02": "missing-file"},
    "siena": lambda root: write_bids(root, "Siena Scalp EEG") | {"sub-02": "missing-file"},
    "recordings-folder": lambda root: write_bids(root, "A clinic"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_doctor_and_prepare_agree_on_every_layout_and_reason(tmp_path, layout):
    expected = LAYOUTS[layout](tmp_path / "data")
    facts = one(tmp_path / "data")
    assert facts.dataset == layout
    said, _ = outcomes_of_prepare(tmp_path / "data", tmp_path / "store", layout)
    assert {name: outcome for name, (outcome, _) in said.items()} == expected
    assert_agree(facts, said)


def test_doctor_and_prepare_agree_on_generated_recordings(tmp_path):
    load_dataset("demo", tmp_path / "data", n_subjects=2, recordings=1, minutes=1)
    facts = one(tmp_path / "data")
    said, manifest = outcomes_of_prepare(tmp_path / "data", tmp_path / "store", "demo")
    assert_agree(facts, said)
    assert facts.generated == manifest["generated"]


SCALP = "Fp1 F7 T7 P7 O1 Fp2 F8 T8 P8 O2 F3 C3 P3 F4 C4 P4".split()
ODDITIES = ("unit", "range", "contacts", "missing")


def write_odd(path, oddities, electrode):
    """Write a recording with odd channels; return the electrodes that nobody can use."""
    names = [name for name in SCALP if "missing" not in oddities or name != "O2"]
    n_scalp = len(names)
    names += [f"A{i}" for i in range(1, 9)] if "contacts" in oddities else []
    x = np.random.default_rng(0).normal(0, 30, (len(names), 20 * 200)).clip(-799, 799)
    save_edf(path, names, x, 200)
    content, n = bytearray(path.read_bytes()), len(names)
    gone = {"O2"} if "missing" in oddities else set()
    for oddity, (at, value) in {"unit": (96, b"furlong"), "range": (104, b"800")}.items():
        if oddity in oddities:
            place = (electrode + (oddity == "range")) % n_scalp
            start = 256 + at * n + 8 * place
            content[start : start + 8] = value.ljust(8)
            gone.add(names[place])
    path.write_bytes(content)
    path.with_name(f"{path.stem}_events.tsv").write_text(TABLE + "1\t4\tsz\n")
    return gone


@settings(max_examples=5, deadline=None)
@given(st.sets(st.sampled_from(ODDITIES), min_size=1), st.integers(0, 14))
def test_doctor_and_prepare_agree_on_what_cannot_be_used(oddities, electrode):
    with tempfile.TemporaryDirectory() as base:
        gone = write_odd(Path(base, "P1", "a.edf"), oddities, electrode)
        montage = registry.montages["biot-16"].ch_names
        without = [name for name in montage if gone & set(name.split("-"))]
        (strict,) = one(base).recordings
        (found,) = one(base, on_missing="drop").recordings
        assert strict.outcome == ("missing-channels" if without else "loaded")
        assert sorted(found.missing) == sorted(without)
        assert set(found.unusable) == gone - ({"O2"} if "missing" in oddities else set())
        _, manifest = outcomes_of_prepare(base, Path(base, ".store"), on_missing="drop")
        (entry_,) = manifest["recordings"]
        present = dict(zip(manifest["ch_names"], entry_["present"], strict=True))
        assert [name for name in montage if not present[name]] == without
        assert any("contacts" in note for note in found.notes) == ("contacts" in oddities)


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


@settings(max_examples=4, deadline=None)
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
        said, _ = outcomes_of_prepare(base, Path(base, "P1", ".store"))
        assert_agree(facts, said)
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


def test_own_recordings_with_names_of_chbmit_are_told_who_reads_them(tmp_path):
    path = write_edf(tmp_path / "chb01/chb01_01.edf", BIPOLAR)
    facts = one(tmp_path)
    assert (facts.dataset, facts.used) == ("chb-mit", [])
    assert not [hint for hint in facts.hints if "recordings-folder" in hint]  # of CHB-MIT itself it would be wrong
    path.with_name("chb01_01_events.tsv").write_text(TABLE + "1\t4\tsz\n")
    (hint,) = [hint for hint in one(tmp_path).hints if "recordings-folder" in hint]
    assert hint.startswith("1 event table in it")
    assert f"`biot-bd doctor recordings-folder {tmp_path}`" in hint
    assert len(one(tmp_path, "recordings-folder").used) == 1


def test_files_that_a_summary_lists_are_missing_and_the_rest_is_used(tmp_path):
    write_case(tmp_path, "chb01", {"chb01_01.edf": [(2, 9)], "chb01_02.edf": [(1, 3), (5, 6)]}, ["chb01_01.edf"])
    facts = one(tmp_path)
    assert [(o.recording, o.outcome, o.n_seizures) for o in facts.recordings] == [
        ("chb01_01", "missing-channels", 1),
        ("chb01_02", "missing-file", 2),
    ]
    assert facts.subjects()["seizures_left_out"].tolist() == [3]


def test_seizures_that_end_before_they_begin_have_no_length(tmp_path):
    write_case(tmp_path, "chb01", {"chb01_01.edf": [(9, 3), (2, 5)], "chb01_02.edf": [(9, 3)]}, ["chb01_01.edf"])
    assert [(o.outcome, o.n_seizures, o.seizure_s) for o in one(tmp_path).recordings] == [
        ("bad-annotation", 2, 3.0),
        ("missing-file", 1, 0.0),
    ]


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
