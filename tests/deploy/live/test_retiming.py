"""Interpolation at steps that are not whole samples, against sines, whatever the pieces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.deploy.live.retiming import HALF, Retimer

SFREQ = 200.0


def retimed(x, step, sizes=(64,)):
    retimer, parts, begin, number = Retimer(len(x)), [], 0, 0
    while begin < x.shape[1]:
        size = sizes[number % len(sizes)]
        parts.append(retimer.push(x[:, begin : begin + size], step))
        begin, number = begin + size, number + 1
    return np.concatenate([*parts, retimer.finish(step)], axis=1)


@settings(max_examples=12, deadline=None)
@given(share=st.floats(-0.06, 0.06), hz=st.floats(0.5, 0.4 * SFREQ), sizes=st.lists(st.integers(9, 900), min_size=1))
def test_a_sine_stays_where_it_is_in_time(share, hz, sizes):
    rate = SFREQ * (1 + share)
    times = np.arange(2000) / rate
    x = np.float32([np.sin(2 * np.pi * hz * times), 1000 + np.cos(2 * np.pi * hz * times)])
    y = retimed(x, 1 + share, sizes)
    assert y.shape[1] == pytest.approx(2000 / (1 + share), abs=1)
    there = np.arange(y.shape[1]) / SFREQ
    inside = slice(2 * HALF, -2 * HALF)
    np.testing.assert_allclose(y[0, inside], np.sin(2 * np.pi * hz * there)[inside], atol=0.02)
    np.testing.assert_allclose(y[1, inside], 1000 + np.cos(2 * np.pi * hz * there)[inside], atol=0.02)
    np.testing.assert_allclose(y, retimed(x, 1 + share, (len(times),)), atol=1e-3)


def test_flat_channels_stay_flat_to_the_bit_and_what_is_missing_stays_missing():
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(0, 30, (4, 1000)))
    x[1], x[2] = 7.1, x[0]
    x[3, 500:600] = np.nan
    y = retimed(x, 1.023)
    assert (y[1] == np.float32(7.1)).all()
    np.testing.assert_array_equal(y[0], y[2])
    missing = np.flatnonzero(np.isnan(y[3])) * 1.023
    assert (missing.min(), missing.max()) == (pytest.approx(500, abs=HALF + 1), pytest.approx(600, abs=HALF + 1))
    assert len(missing) == pytest.approx((100 + 2 * HALF) / 1.023, abs=3)
    assert np.isfinite(y[:3]).all()


def test_at_the_same_rate_nothing_changes():
    x = np.float32(np.random.default_rng(0).normal(0, 30, (2, 300)))
    np.testing.assert_allclose(retimed(x, 1.0), x, atol=1e-4)


def test_what_waits_is_half_the_filter():
    retimer = Retimer(1)
    assert retimer.push(np.zeros((1, 100), np.float32), 1.0).shape[1] == 100 - HALF
    assert retimer.finish(1.0).shape[1] == HALF
