"""Event tables whose numbers or types say nothing: one line with file and row, before anything is scored."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.events import read_event_file
from biot_bd.events.folders import score_folders
from biot_bd.exceptions import RecordingError

HEAD = "onset\tduration\teventType\trecordingDuration\n"


def table(folder, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "a_events.tsv"
    path.write_text(HEAD + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "word", ["Szene", "szintigraphy", "szfoo", "sz end", "seizure end", "sz?", "sz: none", "non-sz", "Anfall"]
)
def test_types_are_judged_by_whole_words(tmp_path, word):
    path = table(tmp_path, (10, 5, "sz", 600), (60, 20, word, 600))
    with pytest.raises(RecordingError, match=r"a_events\.tsv, line 3: unknown eventType"):
        read_event_file(path)


@pytest.mark.parametrize(
    "word", ["sz", "SZ", "sz_foc_ia", "sz_gen_m_tonicClonic", "Seizure", "focal seizure", "fnsz", "sz-foc"]
)
def test_types_of_seizures_are_taken(tmp_path, word):
    assert [event[:2] for event in read_event_file(table(tmp_path, (60, 20, word, 600))).events] == [(60.0, 80.0)]


@pytest.mark.parametrize(
    ("onset", "duration"),
    [
        ("60", "-20"),
        ("1e308", "1e308"),
        ("1e999", "1"),
        ("60", "inf"),
        ("n/a", "20"),
        ("60", "n/a"),
        ("60,5", "20"),
        ("1 060", "20"),
    ],
)
def test_times_that_are_none_are_told_with_file_and_row_before_scoring(tmp_path, onset, duration):
    table(tmp_path / "ref", (10, 5, "sz", 600), (onset, duration, "sz", 600))
    table(tmp_path / "hyp", (10, 5, "sz", 600))
    with pytest.raises(RecordingError, match=r"ref/a_events\.tsv, line 3: ") as told:
        score_folders(tmp_path / "ref", tmp_path / "hyp")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("length", [0, -1, -1e300])
def test_a_recording_without_length_is_told(tmp_path, length):
    with pytest.raises(RecordingError, match=r"a_events\.tsv: the recording lasts .* by this file"):
        read_event_file(table(tmp_path, (60, 20, "sz", length)))


@settings(max_examples=15, deadline=None)
@given(length=st.floats(3e6, 1e308))
def test_a_length_that_would_take_all_memory_is_told(tmp_path_factory, length):
    folder = tmp_path_factory.mktemp("x")
    for name in ("ref", "hyp"):
        table(folder / name, (60, 20, "sz", f"{length:.6g}"))
    with pytest.raises(ValueError, match=r"recording a: the recording lasts .* at most 2678400 s"):
        score_folders(folder / "ref", folder / "hyp")


@settings(max_examples=100, deadline=None)
@given(onset=st.floats(-1e308, 1e308), duration=st.floats(-1e308, 1e308), first=st.sampled_from(["sz", "bckg"]))
def test_events_are_finite_and_do_not_end_before_they_begin_or_are_told(tmp_path_factory, onset, duration, first):
    path = table(tmp_path_factory.mktemp("x"), (10, 5, first, 600), (repr(onset), repr(duration), "sz", 600))
    if duration >= 0 and math.isfinite(onset + duration):
        assert (onset, onset + duration) in [event[:2] for event in read_event_file(path).events]
    else:
        with pytest.raises(RecordingError, match=r"a_events\.tsv, line 3: "):
            read_event_file(path)
