"""The rate of a source by its stamps: found whatever the pieces, never where only jitter, gaps or losses are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.deploy.live.clock import StreamClock
from biot_bd.deploy.live.rate import RateMeter

SFREQ = 250.0


def stamps(share=0.0, seconds=200, start_s=0.0, sfreq=SFREQ):
    """Return stamps of a source that is faster than ``sfreq`` by this share."""
    rate = sfreq * (1 + share)
    return start_s + np.arange(round(seconds * rate)) / rate


def clocked(times, size, jitter_s=0.2, sfreq=SFREQ):
    """Return the clock behind all stamps, and its jumps."""
    clock, jumps = StreamClock(sfreq, jitter_s), []
    for begin in range(0, len(times), size):
        pieces = clock.split(times[begin : begin + size])
        assert [piece[0] for piece in pieces] == [0, *(piece[1] for piece in pieces[:-1])]
        jumps += [jump for _, _, jump in pieces if jump is not None]
    return clock, jumps


@settings(max_examples=12, deadline=None)
@given(
    percent=st.floats(0.5, 5),
    sign=st.sampled_from([-1, 1]),
    size=st.integers(20, 400),
    start_s=st.sampled_from([0.0, 3e5]),
    sfreq=st.sampled_from([125.0, 250.0, 512.0]),
    jitter_s=st.sampled_from([0.0, 0.03]),
    seed=st.integers(0, 99),
)
def test_a_steady_other_rate_is_measured_and_is_no_gap(percent, sign, size, start_s, sfreq, jitter_s, seed):
    true = stamps(sign * percent / 100, 100, start_s, sfreq)
    times = true + np.random.default_rng(seed).uniform(-jitter_s, jitter_s, len(true))
    clock, jumps = clocked(times, size, sfreq=sfreq)
    assert jumps == []
    assert clock.is_measured
    assert clock.rate_hz == pytest.approx(sfreq * (1 + sign * percent / 100), rel=3e-4)
    # Against the count at the nominal rate, from the stamps alone.
    assert clock.drift_s == pytest.approx(true[-1] - start_s - (len(true) - 1) / sfreq, abs=0.02 + jitter_s)


@pytest.mark.parametrize("percent", [-5, -2.3, 0.6, 3])
def test_stamps_made_of_the_nominal_rate_within_a_piece(percent):
    # As liblsl stamps a chunk: its end by the clock, the samples before it by the nominal rate.
    true = stamps(percent / 100).copy()
    size = 64
    for begin in range(0, len(true), size):
        part = true[begin : begin + size]
        part[:] = part[-1] - np.arange(len(part))[::-1] / SFREQ
    clock, jumps = clocked(true, size)
    assert jumps == []
    assert clock.rate_hz == pytest.approx(SFREQ * (1 + percent / 100), rel=3e-4)


@settings(max_examples=8, deadline=None)
@given(
    jitter_s=st.floats(0, 0.08),
    drift=st.floats(-2e-4, 2e-4),
    size=st.integers(20, 400),
    burst=st.integers(2, 9),
    seed=st.integers(0, 99),
)
def test_jitter_bursts_and_quartz_are_no_other_rate(jitter_s, drift, size, burst, seed):
    times = stamps(drift)
    pieces = np.arange(len(times)) // 40
    times = times + np.random.default_rng(seed).uniform(-jitter_s, jitter_s, pieces[-1] + 1)[pieces]
    times = times + np.where(pieces % burst == 0, 0.05, 0)
    clock, jumps = clocked(times, size)
    assert (clock.is_measured, clock.rate_hz, jumps) == (False, SFREQ, [])


@settings(max_examples=8, deadline=None)
@given(lost_s=st.floats(0.25, 4), every_s=st.floats(2, 30), size=st.integers(20, 400))
def test_samples_lost_again_and_again_are_gaps(lost_s, every_s, size):
    times = stamps()
    n = int((len(times) - 1) / SFREQ / every_s)
    times = times + np.arange(len(times)) // int(every_s * SFREQ) * lost_s
    clock, jumps = clocked(times, size)
    assert not clock.is_measured
    assert len(jumps) >= n
    assert {jump.kind for jump in jumps} == {"gap"}


@pytest.mark.parametrize("percent", [-2.3, 4])
def test_a_gap_of_a_slow_or_fast_source_is_found(percent):
    times = stamps(percent / 100, 120)
    place = len(times) // 2
    times = times + np.where(np.arange(len(times)) >= place, 3.0, 0)
    clock, (jump,) = clocked(times, 50)
    assert jump.kind == "gap"
    assert jump.seconds == pytest.approx(3, abs=0.02)
    assert clock.rate_hz == pytest.approx(SFREQ * (1 + percent / 100), rel=3e-4)


def test_a_rate_that_changes_is_followed():
    first, second = stamps(0.01, 100), stamps(0.04, 100)
    times = np.concatenate([first, first[-1] + 1 / SFREQ / 1.04 + second])
    clock, jumps = clocked(times, 50)
    assert jumps == []
    assert clock.rate_hz == pytest.approx(SFREQ * 1.04, rel=3e-4)


def test_a_short_pause_of_the_sender_is_no_rate():
    times = stamps()
    # Samples wait, up to 0.19 s, and are then stamped as they should have been.
    late = np.interp(times, [60, 64, 66], [0, 0.19, 0])
    assert clocked(times + late, 25)[0].is_measured is False


def test_the_line_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    times = 5e4 + stamps(0.02, 30) + rng.normal(0, 0.01, round(30 * SFREQ * 1.02))
    times = times[: len(times) // 62 * 62]
    meter = RateMeter(SFREQ)
    for piece in np.split(times, 62):
        meter.add(piece)
    line = meter.line()
    slope, first = np.polyfit(np.arange(len(times)), times - 5e4, 1)
    assert line.rate_hz == pytest.approx(1 / slope, rel=1e-4)
    assert line.next_s - 5e4 == pytest.approx(first + slope * len(times), abs=2e-3)
    assert RateMeter(SFREQ).line() is None
