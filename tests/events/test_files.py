"""Files of events: what is written is read back, by us and by the libraries that others use."""

from datetime import UTC, datetime, timedelta

import mne
import numpy as np
import pandas as pd
import pytest
from epilepsy2bids.annotations import Annotations
from epilepsy2bids.load_annotations import tuh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biot_bd.datasets.recordings import seizures_of
from biot_bd.events import Event
from biot_bd.events.files import (
    FORMATS,
    from_annotations,
    read_event_file,
    to_annotations,
    write_event_file,
)
from biot_bd.events.szcore import read_events

EVENTS = [Event(3.0, 13.25, 0.75), Event(60.0, 100.0, 0.5)]
SUFFIXES = {"tsv": ".tsv", "csv_bi": ".csv_bi", "edf": ".edf", "mne": "_annot.fif"}
START = datetime(2026, 3, 4, 5, 6, 7)


@pytest.mark.parametrize("format", list(FORMATS))
@pytest.mark.parametrize("events", [EVENTS, []])
@pytest.mark.parametrize("start", [None, START])
def test_round_trip(tmp_path, format, events, start):
    path = tmp_path / f"rec_1{SUFFIXES[format]}"
    write_event_file(path, events, 120.5, start=start)
    back = read_event_file(path)
    assert [e[:2] for e in back.events] == [e[:2] for e in events]
    if format in ("tsv", "csv_bi"):
        assert [e.confidence for e in back.events] == [e.confidence for e in events]
    else:
        assert all(e.confidence is None for e in back.events)
    assert back.duration_s == 120.5
    assert back.start == start
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@given(st.sets(st.integers(0, 36_000), max_size=12), st.sampled_from(list(FORMATS)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_events_come_back_to_a_hundredth_of_a_second(tmp_path, cuts, format):
    cuts = sorted(cuts)
    events = [Event(a / 100 * 10, b / 100 * 10, 0.5) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    path = write_event_file(tmp_path / f"any{SUFFIXES[format]}", events, 3600.0)
    back = read_event_file(path).events
    assert len(back) == len(events)
    for found, event in zip(back, events, strict=True):
        assert found[:2] == pytest.approx(event[:2], abs=0.0051)


@pytest.mark.parametrize("start", [None, START])
@pytest.mark.parametrize("events", [EVENTS, [], [Event(1.005, 1.009, 1.0), Event(2.0, 3.999, None)]])
def test_the_tsv_is_what_epilepsy2bids_writes(tmp_path, events, start):
    ours = write_event_file(tmp_path / "ours.tsv", events, 120.5, start=start)
    table = Annotations.loadEvents([(e.onset_s, max(e.offset_s, e.onset_s + 0.01)) for e in events], 120.5)
    for row, event in zip(table.events, events, strict=False):
        row["confidence"] = "n/a" if event.confidence is None else event.confidence
    for row in table.events:
        row["dateTime"] = start or "n/a"
    table.saveTsv(str(tmp_path / "theirs.tsv"))
    assert ours.read_bytes() == (tmp_path / "theirs.tsv").read_bytes()


def test_epilepsy2bids_and_our_data_sets_read_the_tsv(tmp_path):
    path = write_event_file(tmp_path / "a.tsv", EVENTS, 120.5, start=START)
    theirs = Annotations.loadTsv(str(path))
    assert theirs.getEvents() == [(3.0, 13.25), (60.0, 100.0)]
    assert [e["confidence"] for e in theirs.events] == [0.75, 0.5]
    assert {(e["dateTime"], e["recordingDuration"]) for e in theirs.events} == {(START, 120.5)}
    assert [(e.onset_s, e.duration_s, e.kind) for e in read_events(path)] == [(3, 10.25, "sz"), (60, 40, "sz")]


@settings(max_examples=30, deadline=None)
@given(
    spans=st.lists(st.tuples(st.floats(0, 90), st.floats(0.001, 9)), max_size=3),
    confidence=st.none() | st.floats(0, 1),
    start=st.none() | st.just(START),
)
def test_a_tsv_has_the_bytes_that_epilepsy2bids_writes(tmp_path_factory, spans, confidence, start):
    folder = tmp_path_factory.getbasetemp()
    events = [Event(100 * k + onset, 100 * k + onset + length, confidence) for k, (onset, length) in enumerate(spans)]
    theirs = Annotations.loadEvents([(e.onset_s, max(e.offset_s, e.onset_s + 0.01)) for e in events], 400.0)
    for row in theirs.events:
        row["dateTime"] = start or "n/a"
        if events and confidence is not None:
            row["confidence"] = confidence
    theirs.saveTsv(str(folder / "theirs.tsv"))
    ours = write_event_file(folder / "ours.tsv", events, 400.0, start=start)
    assert ours.read_bytes() == (folder / "theirs.tsv").read_bytes()


def test_nothing_found_is_one_background_row(tmp_path):
    path = write_event_file(tmp_path / "a.tsv", [], 120.5)
    theirs = Annotations.loadTsv(str(path))
    assert theirs.getEvents() == []
    assert [(e["eventType"].value, e["onset"], e["duration"]) for e in theirs.events] == [("bckg", 0.0, 120.5)]
    columns = "onset duration eventType confidence channels dateTime recordingDuration".split()
    assert list(pd.read_csv(path, sep="\t").columns) == columns


def test_epilepsy2bids_reads_the_csv_bi(tmp_path):
    write_event_file(tmp_path / "a.csv_bi", EVENTS, 120.5)
    spans, types, confidence, _ = tuh._loadSeizures(str(tmp_path / "a.edf"))
    assert spans == [(0, 3), (3, 13.25), (13.25, 60), (60, 100), (100, 120.5)]
    assert [t.value for t in types] == ["bckg", "sz", "bckg", "sz", "bckg"]
    assert confidence == [1, 0.75, 1, 0.5, 1]


def test_a_published_csv_bi_is_read(tmp_path):
    text = (
        "# version = csv_v1.0.0\n# bname = aaaaaaac_s001_t000\n# duration = 301.00 secs\n"
        "# montage_file = nedc_eas_default_montage.txt\n#\n"
        "channel,start_time,stop_time,label,confidence\n"
        "TERM,0.0000,36.8868,bckg,1.0000\nTERM,36.8868,183.3055,seiz,1.0000\nTERM,183.3055,301.0000,bckg,1.0000\n"
    )
    path = tmp_path / "a.csv_bi"
    path.write_text(text)
    back = read_event_file(path)
    assert back.events == [(36.8868, 183.3055, 1.0)]
    assert back.duration_s == 301.0
    path.write_text(text.replace("seiz", "artf"))
    with pytest.raises(ValueError, match=r"a\.csv_bi.*artf"):
        read_event_file(path)


def test_mne_reads_the_edf_and_annotations_go_onto_a_recording(tmp_path):
    path = write_event_file(tmp_path / "a.edf", EVENTS, 120.5, start=START)
    found = mne.read_annotations(path)
    assert [(a["onset"], a["duration"], a["description"]) for a in found][:2] == [(3, 10.25, "sz"), (60, 40, "sz")]
    raw = mne.io.RawArray([[0.0] * 1205], mne.create_info(["a"], 10, "eeg"), verbose="ERROR")
    raw.set_annotations(to_annotations(EVENTS))
    assert [e[:2] for e in from_annotations(raw.annotations).events] == [(3, 13.25), (60, 100)]
    assert len(to_annotations([])) == 0


@settings(max_examples=12, deadline=None)
@given(
    first_s=st.integers(0, 200),
    dated=st.booleans(),
    onset=st.integers(0, 60),
    way=st.sampled_from(["raw", "start", "file"]),
)
def test_events_stand_at_their_time_on_a_recording_that_was_cropped(tmp_path_factory, first_s, dated, onset, way):
    raw = mne.io.RawArray(np.zeros((1, 3000)), mne.create_info(["a"], 10, "eeg"), verbose="ERROR")
    raw.set_meas_date(START.replace(tzinfo=UTC) if dated else None).crop(first_s, first_s + 90)
    start = START + timedelta(seconds=first_s) if dated else None
    events = [(onset, onset + 20)]
    if way == "file":
        path = write_event_file(tmp_path_factory.mktemp("c") / "c_annot.fif", events, 90.1, start=start)
        found = mne.read_annotations(path)
    elif way == "raw":
        found = to_annotations(events, 90.1, orig_time=raw.annotations.orig_time, start_time=start)
    else:
        found = to_annotations(events, 90.1, start_time=start)
    raw.set_annotations(found)
    assert seizures_of(raw)[0] == pytest.approx((onset, onset + 20))
    if dated:
        told = from_annotations(raw.annotations, start_time=start)
        assert told.events[0][:2] == pytest.approx((onset, onset + 20))
        assert told.start == start


def test_what_cannot_be_written_or_read_is_named(tmp_path):
    with pytest.raises(ValueError, match="overlap"):
        write_event_file(tmp_path / "a.tsv", [(0, 10), (5, 20)], 60)
    with pytest.raises(ValueError, match="not inside"):
        write_event_file(tmp_path / "a.tsv", [(50, 70)], 60)
    with pytest.raises(ValueError, match="ending"):
        write_event_file(tmp_path / "a.doc", [], 60)
    with pytest.raises(ValueError, match="no format"):
        write_event_file(tmp_path / "a.xls", [], 60, format="xls")
    with pytest.raises(FileNotFoundError, match=r"a\.tsv"):
        read_event_file(tmp_path / "a.tsv")
    (tmp_path / "b.tsv").write_text("onset\tduration\teventType\n1\t2\tparty\n")
    with pytest.raises(ValueError, match=r"b\.tsv.*party"):
        read_event_file(tmp_path / "b.tsv")
    assert not (tmp_path / "a.tsv").exists()
    for name in ("c.edf", "c_annot.fif", "c.csv_bi"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=rf"{name}"):
            read_event_file(tmp_path / name)


def test_the_last_part_of_a_second_keeps_a_length(tmp_path):
    path = write_event_file(tmp_path / "a.tsv", [(99.0, 99.002, 0.9)], 99.002)
    assert Annotations.loadTsv(str(path)).events[0]["duration"] == 0.01
