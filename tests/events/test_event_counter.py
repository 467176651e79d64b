import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.events import curve
from biot_bd.events.event_counter import EventCounter, joined
from biot_bd.events.intervals import OVERLAPPING, merge
from biot_bd.events.operating_point import CURVE_COLUMNS, TimeLine, candidates
from biot_bd.events.scoring import ScoringParameters, event_counts
from biot_bd.events.types import RecordingScores

DURATION_S = 4000


def apart(pairs, gap=0):
    found = [(onset, min(onset + length, DURATION_S)) for onset, length in pairs if onset < DURATION_S]
    return merge(np.array(found).reshape(-1, 2), gap)[0]


seconds = st.lists(st.tuples(st.integers(0, DURATION_S - 1), st.integers(1, 900)), max_size=12)
hundredths = st.lists(
    st.tuples(st.integers(0, 100 * DURATION_S - 1), st.integers(1, 70_000)).map(lambda p: (p[0] / 100, p[1] / 100)),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(hundredths, seconds)
def test_counts_are_those_of_timescoring(seizures, events):
    reference, hypothesis = apart(seizures, OVERLAPPING).astype(float), apart(events).astype(np.int64)
    wanted = event_counts(reference, hypothesis.astype(float), DURATION_S, ScoringParameters())
    found = EventCounter(reference, DURATION_S).counts(hypothesis)
    assert found == {name: wanted[name] for name in ("tp", "fp", "n_reference")}


@settings(max_examples=100, deadline=None)
@given(seconds, st.integers(0, 200))
def test_events_are_joined_as_merge_joins_them(events, gap):
    found = apart(events).astype(np.int64)
    np.testing.assert_array_equal(joined(found, gap), merge(found, gap)[0])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=60), st.sampled_from([1.0, 0.75, 0.3]))
def test_runs_at_many_thresholds_are_those_of_one_call_each(values, fraction):
    line, thresholds = np.array(values, dtype=float) / 8, np.arange(1, 10) / 8
    for threshold, runs in zip(thresholds, curve.runs_at(line, thresholds, fraction), strict=True):
        np.testing.assert_array_equal(runs, curve.find_runs(line, threshold, threshold * fraction, 1))


def test_a_time_line_counts_what_one_call_a_recording_adds_up_to():
    rng = np.random.default_rng(0)
    recordings, lines = [], []
    for number in range(3):
        n = 900 + 300 * number
        lines.append(np.repeat(rng.random(n // 10).round(2), 10))
        seizures = [(200.0 + 10 * number, 260.5), (700.0, 1100.0 + number)][: number + 1]
        seizures = [(on, min(off, n)) for on, off in seizures]
        recordings.append(RecordingScores(f"r{number}", "s", lines[-1][::10], np.arange(0, n, 10.0), n, seizures))
    line = TimeLine(recordings)
    thresholds = candidates(line.place(lines))
    grid = [
        {"release_fraction": r, "min_duration_s": d, "merge_gap_s": g}
        for r, d, g in [(1.0, 0.0, 0.0), (0.75, 10.0, 30.0), (1.0, 20.0, 30.0)]
    ]
    for setting, points in zip(grid, line.points(line.place(lines), thresholds, grid), strict=True):
        for threshold, point in zip(thresholds, points, strict=True):
            sums = dict.fromkeys(("tp", "fp", "n_reference"), 0)
            for recording, values in zip(recordings, lines, strict=True):
                release = threshold * setting["release_fraction"]
                runs = curve.find_runs(values, threshold, release, max(1, int(setting["min_duration_s"])))
                events = merge(runs, setting["merge_gap_s"])[0].astype(float)
                reference = np.array(recording.reference, dtype=float).reshape(-1, 2)
                counts = event_counts(reference, events, recording.duration_s, ScoringParameters())
                sums = {name: sums[name] + counts[name] for name in sums}
            assert {name: point[name] for name in sums} == sums
            assert list(point) == list(CURVE_COLUMNS)


def test_a_share_of_overlap_is_refused():
    with pytest.raises(ValueError, match=r"min_overlap must be 0, got 0\.5"):
        EventCounter(np.zeros((0, 2)), 100, ScoringParameters(min_overlap=0.5))
