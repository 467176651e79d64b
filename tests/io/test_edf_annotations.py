"""Annotations of EDF+ by the standard: what MNE and edfio pass over is read, or said."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import load_dataset
from biot_bd.events import read_event_file
from biot_bd.exceptions import RecordingError
from biot_bd.io import open_recording
from biot_bd.io.edf_times import edf_annotations, edf_timeline, unread_annotations, written_annotations
from biot_bd.io.segments import annotations_of

SFREQ, RECORDS, TAL_BYTES = 64, 20, 400


def write(path, texts=(), kind="EDF+C", starts=range(RECORDS), record_s="1", at=RECORDS - 1, first=False):
    """Write two channels; ``texts`` (bytes) stand behind the time stamp of record ``at``."""
    spr = [SFREQ, SFREQ, TAL_BYTES // 2]
    labels, units = ["Fp1", "Fp2", "EDF Annotations"], ["uV", "uV", ""]
    if first:
        spr, labels, units = ([one[-1], *one[:-1]] for one in (spr, labels, units))

    def fields(values, width):
        return b"".join(str(value).encode().ljust(width) for value in values)

    head = b"0".ljust(8) + b"X X X X".ljust(80) + b"Startdate 02-MAR-2020 X X X".ljust(80) + b"02.03.2010.11.12"
    head += b"1024".ljust(8) + kind.encode().ljust(44) + str(len(starts)).encode().ljust(8)
    head += record_s.encode().ljust(8) + b"3".ljust(4)
    head += (
        fields(labels, 16) + fields([""] * 3, 80) + fields(units, 8) + fields([-3200] * 3, 8) + fields([3200] * 3, 8)
    )
    head += fields([-32768] * 3, 8) + fields([32767] * 3, 8) + fields([""] * 3, 80) + fields(spr, 8)
    head += fields([""] * 3, 32)
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(head)
        for i, start in enumerate(starts):
            tal = f"{start:+g}".encode() + b"\x14\x14\0" + (b"".join(texts) if i == at else b"")
            parts = [rng.integers(-900, 900, 2 * SFREQ).astype("<i2").tobytes(), tal.ljust(TAL_BYTES, b"\0")]
            file.write(b"".join(parts[::-1] if first else parts))
    return path


GOOD = [
    (b"+5\x153\x14sz\x14\0", (5.0, 8.0, "sz")),
    (b"+5\x153\x14Seizure\nleft temporal\x14\0", (5.0, 8.0, "Seizure\nleft temporal")),
    (b"+5.25\x15.5\x14seizure\x14\0", (5.25, 5.75, "seizure")),
    (b"+5\x153\x14sz\0", (5.0, 8.0, "sz")),
    (b"+5\x15\x14note\x14\0", (5.0, 5.0, "note")),
    (b"+5\x153\x14a\x14sz\x14\0", (5.0, 8.0, "sz")),
    (b"+5\x153\x14\xff sz\x14\0", (5.0, 8.0, "\ufffd sz")),
    ("+5\x153\x14Änderung\x14\0".encode(), (5.0, 8.0, "Änderung")),
]
BAD = [
    b"+5,5\x153\x14sz\x14\0", b"5\x153\x14sz\x14\0", b"+5\x15nan\x14sz\x14\0", b"+5\x15-3\x14sz\x14\0", b"+1e1\x153\x14sz\x14\0",
    b"+5\x15\x153\x14sz\x14\0", b"+\x153\x14sz\x14\0", b"+00:00:05\x153\x14sz\x14\0", b"+5 s\x153\x14sz\x14\0",
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), GOOD)
@pytest.mark.parametrize("first", [False, True])
def test_what_the_standard_knows_is_read_in_every_way(tmp_path, text, expected, first):
    path = write(tmp_path / "x.edf", [text], first=first)
    assert expected in written_annotations(path)
    raw = open_recording(path).raw
    assert expected in [(onset, onset + length, words) for onset, length, words in annotations_of(raw)]
    if "sz" in expected[2].split() or "eizure" in expected[2]:
        assert read_event_file(path).events[0][:2] == expected[:2]


@pytest.mark.parametrize("text", BAD)
def test_a_seizure_without_a_time_is_one_line_in_every_way(tmp_path, text):
    (tmp_path / "p1").mkdir()
    path = write(tmp_path / "p1/x.edf", [b"+1\x152\x14sz\x14\0", text])
    with pytest.raises(RecordingError, match=r"x\.edf: the annotation '.*' has no time as EDF\+ writes it"):
        read_event_file(path)
    with pytest.raises(RecordingError, match=r"x\.edf: the annotation '.*' has no time as EDF\+ writes it"):
        load_dataset("recordings-folder", tmp_path)
    assert any("without a time as EDF+ writes it" in note for note in open_recording(path).notes)


def test_other_texts_without_a_time_are_noted(tmp_path):
    path = write(tmp_path / "x.edf", [b"+1,5\x14eyes open\x14\0", b"+3\x152\x14sz\x14\0"])
    found = read_event_file(path)
    assert [event[:2] for event in found.events] == [(3.0, 5.0)]
    assert found.notes == ("1 annotation without a time as EDF+ writes it, not read; the first is '+1,5 eyes open'",)


WORDS = st.text(st.characters(exclude_characters="\0\x14\x15@", exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 1999), st.none() | st.integers(0, 500), WORDS), max_size=6),
    bad=st.lists(st.sampled_from(BAD), max_size=3),
    late=st.sampled_from([0, 0.5, 3600]),
    gap=st.sampled_from([0, 100]),
    first=st.booleans(),
)
def test_any_annotations_stand_at_their_time_or_are_said(tmp_path_factory, rows, bad, late, gap, first):
    tals = [
        f"+{at / 100 + late:g}".encode() + (b"" if long is None else b"\x15%g" % (long / 100)) + b"\x14" + text.encode() + b"\x14\0"
        for at, long, text in rows
    ]  # fmt: skip
    starts = [i + late + (gap if i >= 10 else 0) for i in range(RECORDS)]
    path = write(tmp_path_factory.mktemp("x") / "x.edf", [*tals, *bad], "EDF+D", starts, first=first)
    expected = sorted((at / 100, (at + (long or 0)) / 100, text) for at, long, text in rows)
    found = sorted(written_annotations(path))
    assert [row[2] for row in found] == [row[2] for row in expected]
    np.testing.assert_allclose([row[:2] for row in found], [row[:2] for row in expected], atol=1e-6)
    assert len(unread_annotations(path)) == len(bad)
    line = edf_timeline(path)
    assert len(edf_annotations(path, line)) == len(rows)


def test_mne_still_passes_over_texts_of_two_lines(tmp_path):
    path = write(tmp_path / "x.edf", [GOOD[1][0]])
    assert len(mne.io.read_raw_edf(path, verbose="error").annotations) == 0


@pytest.mark.parametrize("onset", [15, 150])
def test_a_seizure_that_passes_the_end_is_an_error_as_in_a_table(tmp_path, onset):
    (tmp_path / "p1").mkdir()
    path = write(tmp_path / "p1/x.edf", [b"+%d\x1510\x14sz\x14\0" % onset], "EDF+D", [*range(10), *range(10, 20)])
    with pytest.raises(RecordingError, match=r"seizure from \d+ s to \d+ s is not inside the recording of 20 s"):
        load_dataset("recordings-folder", tmp_path)
    assert any("annotation" in note and "'sz'" in note for note in open_recording(path).notes)
    path.with_name("x_events.tsv").write_text(f"onset\tduration\teventType\n{onset}\t10\tsz\n")
    with pytest.raises(RecordingError, match=r"seizure from \d+ s to \d+ s is not inside the recording of 20 s"):
        load_dataset("recordings-folder", tmp_path)


@pytest.mark.parametrize("kind", ["EDF+D", "edf+d", "EDF+C", "", "EDF+F", "EDF"])
def test_stamps_tell_of_pauses_whatever_the_header_calls_the_file(tmp_path, kind):
    starts = [i + (100 if i >= 10 else 0) for i in range(RECORDS)]
    recording = open_recording(write(tmp_path / "x.edf", kind=kind, starts=starts))
    assert [segment.start_s for segment in recording.timeline.segments] == [0.0, 110.0]


@settings(max_examples=40, deadline=None)
@given(
    record_s=st.sampled_from(
        ["nan", "inf", "-inf", "-1", "0", "-0", "1e-308", "1e308", "9999999", "1_0", "0x1", "1,0", "", "1 s"]
    )
    | st.floats(1.2, 1e6).map("{:.6g}".format),
    kind=st.sampled_from(["EDF+C", "EDF+D"]),
)
def test_a_duration_of_records_that_is_none_or_not_theirs_is_one_line(tmp_path_factory, record_s, kind):
    path = write(tmp_path_factory.mktemp("x") / "x.edf", kind=kind, record_s=record_s[:8])
    with pytest.raises(
        ValueError, match=r"x\.edf: (the header is not that of an EDF|records last .* by their time stamps)"
    ) as told:
        open_recording(path)
    assert "\n" not in str(told.value)
