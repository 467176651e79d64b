"""Counts at every threshold, against the scorer called once a threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.events import score_events
from biot_bd.events.intervals import merge
from biot_bd.events.threshold_sweep import Cells, sweep_thresholds


def counts_by_scorer(recordings, threshold):
    """Return tp, fp and the number of seizures by one call of the scorer a recording."""
    out = np.zeros(3, dtype=int)
    for one in recordings:
        duration = len(one.values) * one.cell_s
        alarms = [(k * one.cell_s, (k + 1) * one.cell_s) for k in np.flatnonzero(np.asarray(one.values) >= threshold)]
        hypothesis, _ = merge(np.reshape(alarms, (-1, 2)))
        scores = score_events(one.reference, hypothesis, duration)
        out += [scores["tp"], scores["fp"], scores["n_reference"]]
    return out.tolist()


@st.composite
def recordings(draw):
    cell_s = draw(st.sampled_from([1.0, 2.5, 10.0, 45.0]))
    out = []
    for number in range(draw(st.integers(1, 2))):
        levels = draw(st.sampled_from([3, 1000]))
        values = draw(st.lists(st.integers(0, levels), min_size=1, max_size=60))
        last = len(values) * cell_s
        events = draw(st.lists(st.tuples(st.floats(0, 0.95), st.floats(0.01, 0.5)), max_size=3))
        reference = [
            (round(a * last, 1), min(last, round(a * last, 1) + max(0.2, round(b * last, 1)))) for a, b in events
        ]
        reference = [(on, off) for on, off in reference if off > on]
        out.append(Cells(f"rec{number}", np.array(values) / levels, cell_s, reference))
    return out


@settings(max_examples=150, deadline=None)
@given(recordings())
def test_a_sweep_counts_what_the_scorer_counts_at_each_threshold(made):
    sweep = sweep_thresholds(made)
    assert sweep.thresholds.tolist() == sorted({float(v) for one in made for v in one.values}, reverse=True)
    for threshold, tp, fp in zip(sweep.thresholds, sweep.tp, sweep.fp, strict=True):
        assert [tp, fp, sweep.n_reference] == counts_by_scorer(made, threshold)


def test_the_best_sensitivity_at_a_rate_is_the_best_of_all_thresholds_that_keep_it():
    rng = np.random.default_rng(3)
    made = [Cells("rec", rng.random(360), 10.0, [(600, 660), (1800, 1830), (3000, 3060)])]
    sweep = sweep_thresholds(made)
    rates = sweep.fp / sweep.hours
    lowest = max(i for i, fp in enumerate(sweep.fp) if fp == sweep.fp.max())  # below it alarms grow together
    assert lowest < len(rates) - 1
    for wanted in [0.0, 0.5, 1.0, 2.0, 7.0, 100.0]:
        allowed = sweep.tp[: lowest + 1][rates[: lowest + 1] <= wanted]
        assert sweep.best_sensitivity([wanted])[0] == max([0, *allowed]) / 3


def test_a_sweep_of_a_recording_without_seizures_has_no_sensitivity():
    sweep = sweep_thresholds([Cells("rec", [0.1, 0.2], 10.0, [])])
    assert np.isnan(sweep.best_sensitivity([1.0])[0])
    assert sweep.fp.tolist() == [1, 1]


def test_cells_beyond_the_end_of_a_recording_raise_no_alarm():
    sweep = sweep_thresholds([Cells("rec", [0.1, 0.2, 0.9], 10.0, [], duration_s=20.0)])
    assert sweep.fp.tolist() == [0, 1, 1]
    assert sweep.hours == pytest.approx(20 / 3600)


@pytest.mark.parametrize("values", [[np.nan], [[0.1]]])
def test_values_that_are_no_row_of_numbers_are_refused(values):
    with pytest.raises(ValueError, match=r"recording rec: values must be finite"):
        sweep_thresholds([Cells("rec", values, 10.0, [])])
