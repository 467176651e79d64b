"""The generated windows are what they are called."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.export.gate_inputs import LOUDER, make_inputs


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), st.integers(200, 1200), st.integers(1, 9), st.booleans(), st.integers(0, 5))
def test_windows_of_any_size_are_finite_repeatable_and_have_a_channel(n_chans, n_times, n_plain, absent, seed):
    made, again = (make_inputs(n_chans, n_times, 200.0, absent, n_plain, seed) for _ in range(2))
    assert made.x.dtype == np.float32
    assert made.x.shape == (len(made.kinds), n_chans, n_times)
    assert np.array_equal(made.x, again.x)
    assert made.kinds == again.kinds
    assert np.isfinite(made.x).all()
    assert made.present.any(axis=1).all()
    assert not made.x[~made.present].any()
    assert made.present.all() or absent


def test_kinds():
    made = make_inputs(6, 2000, 200.0)
    level = np.percentile(np.abs(made.x), 95, axis=-1)
    plain = level[made.of_kind("EEG-like")]
    assert plain.min() > 3
    assert plain.max() < 600
    assert (level[made.of_kind("loud")] > 3 * LOUDER).all()
    assert (level[made.of_kind("faint")] < 1).all()
    assert (np.abs(made.x[made.of_kind("large offset")].mean(axis=-1)) > 500).all()
    assert (made.present[made.of_kind("one channel only")].sum(axis=1) == 1).all()
    assert (~made.present[made.of_kind("absent channels")]).any()
    flat = np.ptp(made.x[made.of_kind("flat channels")], axis=-1) == 0
    assert flat.any(axis=1).all()
    assert not flat.all(axis=1).any()


def test_the_spectrum_falls_as_that_of_eeg():
    made = make_inputs(8, 2000, 200.0, n_plain=60)
    power = (np.abs(np.fft.rfft(made.x[1:60:2])) ** 2).mean(axis=(0, 1))
    freqs = np.fft.rfftfreq(2000, 1 / 200)
    slow, fast = (power[(freqs > low) & (freqs < 2 * low)].mean() for low in (2, 32))
    assert slow / fast == pytest.approx(16, rel=0.4)
