"""Scores of events against timescoring itself, closed forms and cases counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

from biot_bd.events import score_events, score_samples
from biot_bd.events.scoring import ScoringParameters, as_intervals

SCORES = {"sensitivity": "sensitivity", "precision": "precision", "f1": "f1", "fa_per_24h": "fpRate"}


@st.composite
def event_sets(draw, sorted_apart=True):
    """Two lists of events in one recording, in tenths of a second; apart and in order, or anyhow."""
    duration = draw(st.integers(600, 72000)) / 10

    def one():
        if sorted_apart:
            cuts = sorted(draw(st.sets(st.integers(0, round(duration * 10)), max_size=16)))
            return [(a / 10, b / 10) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
        starts = draw(st.lists(st.tuples(st.integers(0, round(duration * 10) - 1), st.integers(1, 6000)), max_size=8))
        return [(a / 10, min(duration, (a + n) / 10)) for a, n in starts]

    return one(), one(), duration


def theirs(ref, hyp, duration):
    n = round(duration * 10)
    pair = Annotation(list(ref), 10, n), Annotation(list(hyp), 10, n)
    return EventScoring(*pair), SampleScoring(*pair, fs=1)


@given(event_sets())
@settings(max_examples=300, deadline=None)
def test_scores_equal_timescoring_wherever_those_are_finite(case):
    ref, hyp, duration = case
    for ours, other in zip(
        (score_events(ref, hyp, duration), score_samples(ref, hyp, duration)), theirs(ref, hyp, duration), strict=True
    ):
        assert (ours["tp"], ours["fp"], ours["n_reference"]) == (other.tp, other.fp, other.refTrue)
        for name, attribute in SCORES.items():
            value = getattr(other, attribute)
            if math.isfinite(value):
                assert ours[name] == pytest.approx(value, abs=1e-12)
                assert name not in ours["reasons"]
            else:
                assert ours[name] is None
                assert ours["reasons"][name]


@given(event_sets(sorted_apart=False), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_order_and_overlap_change_nothing(case, random):
    ref, hyp, duration = case

    def joined(events):  # an independent way: a mask of tenths of a second
        mask = np.zeros(round(duration * 10), dtype=bool)
        for onset, offset in events:
            mask[round(onset * 10) : round(offset * 10)] = True
        return Annotation(mask, 10).events if mask.any() else []

    other, _ = theirs(joined(ref), joined(hyp), duration)
    shuffled = [random.sample(events, len(events)) for events in (ref, hyp)]
    ours = score_events(*shuffled, duration)
    assert (ours["tp"], ours["fp"], ours["n_reference"]) == (other.tp, other.fp, other.refTrue)


@given(st.integers(100, 3000), st.integers(20, 200), st.integers(-29, 250))
def test_latency_is_alarm_onset_minus_seizure_onset(onset, length, delay):
    duration = 3600.0
    alarm = (onset + delay, onset + delay + 10)
    found = score_events([(onset, onset + length)], [alarm], duration)
    detected = -10 - 30 < delay < length + 60  # the alarm of 10 s meets the seizure or its tolerance
    assert found["latency_s"] == ([delay] if detected else [])
    assert found["onset_error_s"] == ([abs(delay)] if detected else [])
    assert found["tp"] == int(detected)
    assert found["fp"] == int(not detected)


def test_latency_is_of_the_first_overlapping_alarm_and_by_annotated_seizure():
    # Two seizures 40 s apart: one for timescoring, two annotated ones with their own latencies.
    found = score_events([(1000, 1040), (1080, 1120)], [(1100, 1110), (1012, 1020), (1030, 1035)], 7200)
    assert found["n_reference"] == 1
    assert found["latency_s"] == [12.0, 20.0]
    assert found["onset_error_s"] == [12.0, 20.0]
    assert [s["detected"] for s in found["seizures"]] == [True, True]
    assert score_events([(1000, 1100)], [(950, 1020)], 7200)["latency_s"] == [-50.0]


def test_n_reference_counts_after_merging_and_splitting():
    assert score_events([(100, 150), (200, 250)], [], 3600)["n_reference"] == 1
    assert score_events([(100, 1000)], [], 3600)["n_reference"] == 3


def test_events_that_touch_are_two_where_the_scorer_does_not_merge():
    apart = ScoringParameters(min_between_s=0)
    assert score_events([(100, 200), (200, 300)], [], 3600, parameters=apart)["n_reference"] == 2
    assert score_events([(100, 201), (200, 300)], [], 3600, parameters=apart)["n_reference"] == 1


def test_nothing_detected_and_nothing_to_detect_have_reasons():
    silent = score_events([(10, 20)], [], 3600)
    assert (silent["sensitivity"], silent["precision"], silent["f1"], silent["fa_per_24h"]) == (0.0, None, 0.0, 0.0)
    assert list(silent["reasons"]) == ["precision"]
    healthy = score_events([], [(10, 20), (500, 510)], 43200)
    assert (healthy["sensitivity"], healthy["precision"], healthy["fa_per_24h"]) == (None, 0.0, 4.0)
    assert "no seizure" in healthy["reasons"]["sensitivity"]
    empty = score_events([], [], 60)
    assert set(empty["reasons"]) == {"sensitivity", "precision", "f1"}
    assert empty["latency_s"] == []


def test_false_alarm_time_leaves_out_seizures_and_their_tolerance():
    # Seizure 1000-1100 counts from 970 to 1160: of 900-1200 there remain 70 + 40 s; of 2000-2030 all.
    assert score_events([(1000, 1100)], [(900, 1200), (2000, 2030)], 3600)["false_alarm_s"] == pytest.approx(140)
    assert score_events([], [(0, 3600)], 3600)["false_alarm_s"] == pytest.approx(3600)


@given(
    st.integers(200, 400),
    st.integers(10, 80),
    st.integers(0, 800),
    st.integers(5, 200),
    st.sampled_from([0.0, 0.2, 0.5]),
)
def test_a_least_overlap_counts_for_seizures_as_for_the_scorer(onset, length, alarm, lasts, share):
    parameters = ScoringParameters(min_overlap=share, min_between_s=0)
    hypothesis = [(alarm, min(alarm + lasts, 1000))]
    found = score_events([(onset, onset + length)], hypothesis, 1000, parameters=parameters)
    assert found["seizures"][0]["detected"] == bool(found["tp"])


def test_parameters_and_version_stand_beside_the_score():
    strict = ScoringParameters(tolerance_start_s=0, tolerance_end_s=0)
    found = score_events([(100, 110)], [(120, 130)], 3600, parameters=strict)
    assert (found["tp"], found["fp"], found["latency_s"]) == (0, 1, [])
    assert found["scorer"]["name"] == "timescoring"
    assert found["scorer"]["version"] == "0.0.7"
    assert found["scorer"]["parameters"]["tolerance_end_s"] == 0


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([(20, 20)], "does not end after"),
        ([(20, 10)], "does not end after"),
        ([(50, 70)], "not inside"),
        ([(61, 62)], "not inside"),
        ([(-5, 3)], "not inside"),
        ([(float("nan"), 3)], "not finite"),
    ],
)
def test_impossible_events_are_refused(events, message):
    with pytest.raises(ValueError, match=f"hypothesis.*{message}"):
        score_events([], events, 60)
    with pytest.raises(ValueError, match=f"reference.*{message}"):
        score_samples(events, [], 60)


def test_a_rounded_end_is_the_end_of_the_recording():
    assert as_intervals([(50, 60.01)], 60.0).tolist() == [[50, 60]]
    with pytest.raises(ValueError, match="duration_s"):
        score_events([], [], 0)


@settings(max_examples=200, deadline=None)
@given(
    onset=st.integers(10000, 20000),
    length=st.integers(1, 3000),
    alarm=st.integers(5000, 30000),
    alarm_length=st.integers(1, 3000),
    share=st.sampled_from([0.0, 0.1]),
)
def test_rows_and_counts_agree_to_the_hundredth_of_a_second(onset, length, alarm, alarm_length, share):
    seizures, alarms = [(onset / 100, (onset + length) / 100)], [(alarm / 100, (alarm + alarm_length) / 100)]
    scores = score_events(seizures, alarms, 3600, parameters=ScoringParameters(min_overlap=share))
    (seizure,) = scores["seizures"]
    assert seizure["detected"] == (scores["sensitivity"] == 1.0)


def test_reasons_are_true():
    scores = score_samples([(11.5, 12.5)], [(11.5, 12.5)], 100)
    assert scores["n_reference"] == 0
    assert scores["reasons"] == {
        "sensitivity": "seizures are too short or too badly placed for a sample of the scorer (1 s)",
        "precision": "detections are too short or too badly placed for a sample of the scorer (1 s)",
        "f1": "seizures or detections are too short or too badly placed for a sample of the scorer (1 s)",
    }
    assert score_samples([], [], 100)["reasons"]["sensitivity"] == "no seizure in the reference"
