"""Time in warning and improvement over chance, against alarms that are moved, and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_events import random_events
from scipy.stats import binom

from biot_bd.events import ScoredRecording, score_chance, score_events
from biot_bd.events.chance import at_least, chance_of_hit


def moved(events, shift, duration):
    """Return events moved around a recording, cut at its end."""
    out = []
    for onset, offset in events:
        onset, offset = (onset + shift) % duration, (onset + shift) % duration + offset - onset
        out += [(onset, offset)] if offset <= duration else [(onset, duration), (0.0, offset - duration)]
    return [(a, b) for a, b in out if b > a]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 500), st.floats(1, 200))
def test_the_chance_of_a_hit_is_the_share_of_shifts_that_hit(seed, length):
    _, alarms, duration = random_events(seed, 1200.0)
    if not alarms:
        return
    onset = 300.0
    shifts = np.arange(0, duration, 0.5)
    hits = [any(a < onset + length and b > onset for a, b in moved(alarms, shift, duration)) for shift in shifts]
    assert chance_of_hit(alarms, [length], duration)[0] == pytest.approx(np.mean(hits), abs=0.03)


def test_equal_chances_give_the_binomial_distribution():
    assert at_least(3, [0.2] * 7) == pytest.approx(binom.sf(2, 7, 0.2))
    assert at_least(0, []) == 1.0


def test_blind_alarms_are_significant_as_rarely_as_they_should_be():
    """P values of alarms at random places: at most 5 % lie below .05."""
    rng = np.random.default_rng(0)
    seizures = [(t, t + 20.0) for t in (500, 2500, 4500, 6500, 8500)]
    values = []
    for _ in range(300):
        alarms = [(t, t + 30.0) for t in np.sort(rng.choice(250, 12, replace=False)) * 40.0]
        one = ScoredRecording("r", "s", seizures, moved(alarms, rng.uniform(0, 10000), 10000.0), 10000.0)
        values.append(score_chance([one])["pooled"]["p_value"])
    assert np.mean(np.array(values) < 0.05) <= 0.06


def test_scores_are_sums_over_a_subjects_recordings_and_means_over_subjects():
    made = [
        ScoredRecording("a1", "s/a", [(1000, 1010)], [(1000, 1100)], 4000.0),
        ScoredRecording("a2", "s/a", [(1000, 1010)], [], 4000.0),
        ScoredRecording("b1", "s/b", [], [(0, 400)], 4000.0),
    ]
    found = score_chance(made)
    first, second = found["subjects"].values()
    assert (first["time_in_warning"], first["n_seizures"], first["n_detected"]) == (0.0125, 2, 1)
    assert first["improvement_over_chance"] == pytest.approx(0.5 - 0.05 / 2)
    assert (second["improvement_over_chance"], second["reason"]) == (None, "no seizure in the reference")
    assert found["macro"]["time_in_warning"]["value"] == pytest.approx((0.0125 + 0.1) / 2)
    assert found["macro"]["improvement_over_chance"]["n_subjects"] == 1


def test_detection_is_that_of_the_scorer():
    for seed in range(10):
        reference, hypothesis, duration = random_events(seed)
        pooled = score_chance([ScoredRecording("r", "s", reference, hypothesis, duration)])["pooled"]
        rows = score_events(reference, hypothesis, duration)["seizures"]
        assert (pooled["n_seizures"], pooled["n_detected"]) == (len(rows), sum(row["detected"] for row in rows))


def test_an_alarm_that_never_ends_is_no_better_than_chance():
    pooled = score_chance([ScoredRecording("r", "s", [(1000, 1010)], [(0, 4000)], 4000.0)])["pooled"]
    assert (pooled["time_in_warning"], pooled["improvement_over_chance"], pooled["p_value"]) == (1.0, 0.0, 1.0)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="no recordings"):
        score_chance([])
    with pytest.raises(ValueError, match="recording r: "):
        score_chance([ScoredRecording("r", "s", [(5, 4)], [], 10.0)])
