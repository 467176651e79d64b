"""Time stamps: what is a gap, what is a clock that was set, what is neither."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.deploy.live.clock import StreamClock

SFREQ = 250.0


def jumps(times, sizes, received=None, jitter_s=0.2):
    """Return where in ``times`` jumps were found, and the jumps, feeding pieces of these sizes in turn."""
    clock, found, begin, number = StreamClock(SFREQ, jitter_s), [], 0, 0
    while begin < len(times):
        stop = min(len(times), begin + sizes[number % len(sizes)])
        came = None if received is None else received[stop - 1]
        pieces = clock.split(times[begin:stop], came)
        assert pieces[0][0] == 0
        assert pieces[-1][1] == stop - begin
        assert all(a[1] == b[0] for a, b in pairwise(pieces))
        found += [(begin + start, jump) for start, _, jump in pieces if jump is not None]
        begin, number = stop, number + 1
    return found


@settings(max_examples=60, deadline=None)
@given(
    place=st.integers(1, 4000),
    gap=st.integers(75, 5000),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_a_gap_is_found_where_it_is_whatever_the_pieces(place, gap, sizes, seed):
    index = np.arange(5000) + np.where(np.arange(5000) >= place, gap, 0)
    times = 7.0 + index / SFREQ + np.random.default_rng(seed).uniform(-0.02, 0.02, 5000)
    ((where, jump),) = jumps(times, sizes)
    assert (where, jump.kind) == (place, "gap")
    assert jump.seconds == pytest.approx(gap / SFREQ, abs=0.05)


@pytest.mark.parametrize("size", [1, 32, 5000])
def test_jitter_and_a_wrong_rate_are_no_gaps(size):
    n = 250 * 600
    # One sample in ten thousand too slow makes 60 ms in ten minutes, one in a hundred and fifty makes four seconds.
    for rate in (SFREQ, SFREQ * 0.9999, SFREQ / 1.003):
        times = np.arange(n) / rate + np.random.default_rng(0).uniform(-0.05, 0.05, n)
        clock = StreamClock(SFREQ)
        for begin in range(0, n, size if size > 1 else 50):
            ((_, _, jump),) = clock.split(times[begin : begin + (size if size > 1 else 50)])
            assert jump is None
        assert clock.drift_s == pytest.approx(n / rate - n / SFREQ, abs=0.2)


def test_bursts_of_a_slow_sender_are_no_gaps():
    # Stamped on arrival: each piece of 40 samples has stamps of its end, some pieces late by 100 ms and the next ones not.
    times = np.concatenate([k * 0.16 + np.arange(40) / SFREQ + (0.1 if k % 7 == 0 else 0) for k in range(200)])
    assert jumps(times, [40]) == []


def test_a_clock_set_back():
    times = np.concatenate([np.arange(1000) / SFREQ + 500, np.arange(1000) / SFREQ + 100])
    ((where, jump),) = jumps(times, [64])
    assert (where, jump.kind) == (1000, "backward")
    assert jump.seconds == pytest.approx(-404)


@pytest.mark.parametrize("backlog_s", [0.0, 3.0])
def test_a_clock_set_forward_is_no_gap(backlog_s):
    stamps = np.arange(2000) / SFREQ
    received = 1e4 + stamps + 0.05 + backlog_s * (stamps > 2)  # the program is slow after two seconds
    set_forward = stamps + np.where(np.arange(2000) >= 1000, 60.0, 0)
    ((where, jump),) = jumps(set_forward, [50], received)
    assert (where, jump.kind, round(jump.seconds, 3)) == (1000, "forward", 60)
    # The same stamps, with the minute really gone by.
    late = received + np.where(np.arange(2000) >= 1000, 60.0, 0)
    ((where, jump),) = jumps(set_forward, [50], late)
    assert (where, jump.kind, round(jump.seconds, 3)) == (1000, "gap", 60)


def test_stamps_that_are_no_numbers_count_as_expected():
    times = np.arange(1000) / SFREQ
    times[[0, 1, 500, 999]] = np.nan
    assert jumps(times, [100]) == []
    assert jumps(np.full(100, np.nan), [10]) == []


@pytest.mark.parametrize("bad", [0, -1, float("nan")])
def test_wrong_parameters(bad):
    with pytest.raises(ValueError, match="positive"):
        StreamClock(SFREQ, bad)
    with pytest.raises(ValueError, match="positive"):
        StreamClock(bad)
