"""A patient's page: what it draws is what decided, and what it says is what is known."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import mne
import numpy as np
import pytest
from deploy_files import write_edf
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape
from test_detection_record import Loudness

from biot_bd.deploy import Detector, curve_of
from biot_bd.deploy.counted_notes import counted_notes, said_once
from biot_bd.deploy.decided_curve import DecidedCurve
from biot_bd.deploy.detector import Detection
from biot_bd.deploy.eeg_views import EegReader, detected_montage, neighbourhoods
from biot_bd.deploy.operating_point import in_words, operating_point_of
from biot_bd.deploy.page_drawings import curve_path, overview_of, sessions_of, still_of, ticks_of
from biot_bd.deploy.patient_page import MOST_EVENTS, PAGE_BYTES, PagePart, write_page
from biot_bd.events.detector import Event, EventDetector
from biot_bd.events.types import RecordingScores
from biot_bd.io.recordings import open_recording, read_excerpt
from biot_bd.signals.montages import BIOT_16


def drawn(path):
    """The value that a path of horizontal and vertical steps has over each unit, NaN where it is not drawn."""
    values, x, y = {}, None, None
    for letter, numbers in re.findall(r"([MHV])([^MHV]*)", path):
        if letter == "M":
            x, y = map(float, numbers.split())
        elif letter == "V":
            y = float(numbers)
        else:
            for unit in range(round(x), round(float(numbers))):
                values[unit] = 1 - y / 100
            x = float(numbers)
    return values


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40))
def test_the_drawn_line_is_the_curve_second_by_second(values):
    known = np.array([value is not None for value in values])
    curve = DecidedCurve(np.arange(len(values), dtype=float), np.array([v or 0.0 for v in values]), known)
    line = drawn(curve_path(curve, 1.0))
    assert sorted(line) == np.flatnonzero(known).tolist()
    for second, value in line.items():
        assert value == pytest.approx(curve.values[second], abs=5e-4)


def test_a_long_curve_keeps_its_extremes():
    rng = np.random.default_rng(0)
    n = 28800
    curve = DecidedCurve(np.arange(n, dtype=float), rng.random(n), np.arange(n) % 9000 < 8000)
    path = curve_path(curve, 1000 / n)
    assert len(path) < 40_000
    heights = [1 - float(y) / 100 for y in re.findall(r"V([\d.e-]+)", path)]
    shown = curve.values[curve.known]
    assert (min(heights), max(heights)) == pytest.approx((shown.min(), shown.max()), abs=1e-3)
    assert path.count("M") == 4


def found_in(source):
    events = EventDetector(window_s=10, smoothing_s=10, min_duration_s=3, merge_gap_s=0, threshold=0.5, target=None)
    return Detector(Loudness(), events, stride_s=1).detect(source)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    path = write_edf(tmp_path_factory.mktemp("page") / "a<b>&.edf", seconds=400, loud=(150, 190))
    return found_in(path)


def page_of(folder, *detections, **options):
    parts = [PagePart(one, **options) for one in detections]
    return write_page(folder / "p.html", "p <1>", parts, [], "m&m").read_text()


def embedded(page):
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]


def test_an_event_starts_where_the_drawn_line_reaches_the_threshold(night):
    overview = overview_of(night, curve_of(night))
    (event,) = night.events
    scale = 1000 / night.duration_s
    ((left, width),) = overview.events
    assert (left / scale, (left + width) / scale) == pytest.approx(event[:2], abs=1e-6)
    x, y, crossing, highest = 0.0, 0.0, None, 0.0
    for letter, numbers in re.findall(r"([MHV])([^MHV]*)", overview.curve):
        if letter == "M":
            x, y = map(float, numbers.split())
        elif letter == "H":
            x = float(numbers)
        else:
            y = float(numbers)
            if crossing is None and y <= overview.threshold:
                crossing = x
        highest = max(highest, 1 - y / 100)
    assert crossing / scale == pytest.approx(event.onset_s, abs=0.01)
    assert f"{highest:.2f}" == f"{event.confidence:.2f}"


def test_the_page_says_what_was_found_and_escapes_names(night, tmp_path):
    odd = replace(night, notes=["label </script><b>bold</b>"])
    page = page_of(tmp_path, odd)
    assert "<strong>1 event</strong> in 7 min of 1 recording" in page
    assert "<b>bold" not in page
    assert "a<b>" not in page
    assert str(escape("label </script><b>bold</b>")) in page
    assert f">{night.events[0].confidence:.2f}</td>" in page
    assert "headers of anonymised files often hold invented dates" in page
    assert "p &lt;1&gt;" in page
    assert not re.search("https?://", page)
    (shown,) = embedded(page)
    (event,) = shown["about"]["events"]
    assert (event["onset_s"], event["offset_s"]) == night.events[0][:2]
    (piece,) = shown["pieces"]
    assert piece["start_s"] == night.events[0].onset_s - 60


def test_only_the_neighbourhood_is_read(night, monkeypatch):
    recording = open_recording(night.source)
    reader = EegReader(recording, detected_montage(night))
    asked = []

    def watched(recording, names, start_s, stop_s):
        asked.append((start_s, stop_s))
        return read_excerpt(recording, names, start_s, stop_s)

    monkeypatch.setattr("biot_bd.deploy.eeg_views.read_excerpt", watched)
    (piece,) = reader.read(100.0, 130.0)
    assert asked == [(100.0, 130.0)]
    assert (piece.sfreq, piece.values_uv.shape) == (128.0, (16, 30 * 128))
    assert piece.ch_names == BIOT_16.ch_names
    # The samples are those of the file, without what 128 Hz cannot hold.
    raw = mne.io.read_raw_edf(night.source, verbose="error").resample(128.0, verbose="error")
    theirs = raw.get_data(picks=["FP1-F7"], start=100 * 128, stop=130 * 128)[0] * 1e6
    inner = slice(128, -128)
    ours = piece.values_uv[0]
    assert np.corrcoef(ours[inner], theirs[inner])[0, 1] > 0.99


@settings(max_examples=50, deadline=None)
@given(spans=st.lists(st.tuples(st.floats(0, 900), st.floats(0.5, 80)), max_size=8))
def test_neighbourhoods_hold_every_event_and_do_not_meet(spans):
    events = [(a, min(a + length, 1000.0)) for a, length in spans]
    found = neighbourhoods(events, 1000.0)
    assert all(any(s <= max(a - 60, 0) and min(b + 60, 1000) <= t for s, t in found) for a, b in events)
    assert all(0 <= s < t <= 1000 for s, t in found)
    assert all(t < s for (_, t), (s, _) in pairwise(found))


@pytest.mark.slow
def test_many_events_stay_within_the_size(tmp_path):
    x = np.cumsum(np.random.default_rng(0).normal(0, 8e-6, (16, 128 * 3000)), axis=1)
    raw = mne.io.RawArray(x, mne.create_info(list(BIOT_16.ch_names), 128.0, "eeg"), verbose="error")
    raw.export(tmp_path / "n.edf", verbose="error", physical_range="channelwise")
    events = [Event(at, at + 20.0, 0.9) for at in np.arange(50.0, 2950, 100)]
    few = Detection(
        str(tmp_path / "n.edf"),
        events,
        np.arange(0.0, 2990, 10),
        np.full(299, 0.2),
        10.0,
        10.0,
        3000.0,
        128.0,
        dict(zip(BIOT_16.ch_names, BIOT_16.ch_names, strict=True)),
        [],
        found_in(raw.crop(0, 30)).setting,
        segments=[(0.0, 3000.0)],
    )
    page = page_of(tmp_path, few)
    assert 1_000_000 < len(page.encode()) < PAGE_BYTES + 50_000 <= 5_000_000
    assert f"around the first {MOST_EVENTS} of 29 events" in page
    assert page.count("data-event=") == MOST_EVENTS


def test_a_recording_that_is_gone_leaves_a_page_without_its_eeg(night, tmp_path):
    page = page_of(tmp_path, replace(night, source=str(tmp_path / "gone.edf")))
    assert "The EEG is not shown: " in page
    assert "gone.edf" in page
    assert "data-eeg-viewer aria" not in page


def test_training_and_generated_data_are_notices(night, tmp_path):
    plain = page_of(tmp_path, night)
    assert 'class="notice strong"' not in plain
    trained = replace(night, in_training={"recording": True, "subject": "clinic/1"})
    assert "This model was trained on this recording" in page_of(tmp_path, trained)
    assert "A subject of this name trained the model" in page_of(
        tmp_path, replace(night, in_training={"recording": False, "subject": "clinic/1"})
    )
    # The second is how it was said before, in records of detections.
    for told in (
        "demonstration: model trained on generated data, never for clinical use (a <small> BIOT)",
        "model trained on generated data: not for patients",
    ):
        generated = page_of(tmp_path, replace(night, notes=[told]))
        assert generated.count("trained on generated data") == 1
        assert generated.count('class="notice strong"') == 1
        assert "<small>" not in generated


def at(night, hours, duration_s=None):
    start = datetime(2020, 3, 2, 22, tzinfo=UTC) + timedelta(hours=hours)
    length_s = duration_s or night.duration_s
    return replace(night, start_time=start, duration_s=length_s, segments=[(0.0, length_s)])


def test_a_night_by_the_clock(night):
    one, two, later = at(night, 0.5), at(night, 3), at(night, 20)
    first, second = sessions_of([later, two, one])  # in any order
    assert first.title == "2020-03-02 22:30 to 2020-03-03 01:06"
    assert second.title == "2020-03-03 18:00 to 18:06"
    # Hours of the clock: 22 to 2; both recordings have one event each.
    assert [n for *_, n in first.bars] == [1, 0, 0, 1]
    assert [tick.text for tick in first.ticks] == [
        "22:00",
        "22:30",
        "23:00",
        "23:30",
        "00:00",
        "00:30",
        "01:00",
        "01:30",
        "02:00",
    ]
    onset_s = night.events[0].onset_s
    assert first.events[0][0] == pytest.approx(1000 * (1800 + onset_s) / (4 * 3600))
    # Recordings at one time, or without one, stand one behind another.
    for clash in ([at(night, 0), at(night, 0)], [one, replace(two, start_time=None)]):
        (behind,) = sessions_of(clash)
        assert not behind.by_clock
        assert behind.events[1][0] - behind.events[0][0] == pytest.approx(500)


def test_ticks_are_few_and_say_the_clock():
    ticks = ticks_of(0, 28800, datetime(2020, 3, 2, 22, 30, tzinfo=UTC))
    assert [(tick.text, tick.clock) for tick in ticks[:2]] == [("0:00:00", "22:30"), ("1:00:00", "23:30")]
    assert len(ticks) == 9
    assert len(ticks_of(0, 37.2, None)) <= 9


def test_a_still_shows_ten_seconds_from_before_the_onset(night):
    reader = EegReader(open_recording(night.source), detected_montage(night))
    still = still_of(reader.read(90, 250), night.events[0].onset_s)
    assert (still.n_samples, still.onset, len(still.rows)) == (500, pytest.approx(100), 16)
    name, path = still.rows[0]
    assert name == "Fp1-F7"
    assert len(re.findall(r"-?\d+", path.partition("l")[2])) == 2 * 499
    assert still_of([], 100.0) is None


def test_notes_are_said_once():
    found = counted_notes((f"{n}.edf", ["same", "same", *(["own"] if n == 3 else [])]) for n in range(24))
    assert [said_once(note, 24) for note in found] == ["same (all 24 recordings)", "3.edf: own"]
    assert said_once(counted_notes([("a", ["x"])])[0], 1) == "x"
    assert said_once(counted_notes([("a", ["x"]), ("b", ["x"]), ("c", [])])[0], 3) == "x (2 of 3 recordings)"


def test_an_operating_point_says_on_what_it_was_chosen():
    n = 600
    truth = [(100.0, 160.0), (400.0, 460.0)]
    proba = np.full(n // 10, 0.1)
    proba[10:16] = proba[40:46] = 0.9
    one = RecordingScores("a", "s/1", proba, np.arange(0.0, n, 10), float(n), truth)
    fitted = EventDetector(window_s=10).fit([one])
    point = operating_point_of(fitted, {})
    assert point["chosen_on"] == {"n_subjects": 1, "n_seizures": 2, "hours": n / 3600}
    words = in_words(point, fitted.threshold_)
    assert "chosen on validation recordings: 1 subject, 2 seizures, 0.17 h." in words
    assert "found 2 of 2 seizures, with 0 false alarms; few seizures" in words
    assert "set by hand" in in_words(operating_point_of(fitted, {"threshold": 0.3}), 0.3)
    assert "not chosen on any recording; nothing" in in_words(operating_point_of(EventDetector(), {}), 0.5)
    kept = EventDetector(window_s=10).fit([])
    assert "0.5, not chosen on any recording (no validation recordings" in in_words(operating_point_of(kept, {}), 0.5)
    assert "unknown" in in_words(None, 0.5)
