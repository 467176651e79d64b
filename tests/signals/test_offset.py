"""Offsets far larger than the EEG, against a detrending by scipy and EEG without an offset."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.signals import PercentileScaler
from biot_bd.signals.offset import offset_channels, without_offsets


def eeg(shape, seed=0, amplitude_uv=30.0):
    """Noise between 1 and 40 Hz at 200 Hz."""
    sos = scipy.signal.butter(4, [1, 40], "bandpass", fs=200, output="sos")
    x = scipy.signal.sosfiltfilt(sos, np.random.default_rng(seed).standard_normal(shape))
    return amplitude_uv * x / x.std(axis=-1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("q", [50, 95, 100])
def test_what_has_no_offset_is_scaled_by_the_published_formula_bit_by_bit(dtype, q):
    x = (eeg((5, 3, 2000)) + np.array([[0], [20], [-40]])).astype(dtype)
    assert without_offsets(x)[0] is x
    expected = x / (np.quantile(np.abs(x), q / 100, axis=-1, keepdims=True) + 1e-8).astype(dtype)
    np.testing.assert_allclose(PercentileScaler(q).transform(x), expected, rtol=1e-6)
    # Slow waves and artefacts about zero are no offset, however large.
    wave = 500 * np.sin(2 * np.pi * 0.3 * np.arange(2000) / 200)
    assert not offset_channels((x + wave)[:, :1]).any()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 99), st.floats(400, 250_000), st.sampled_from([-1, 1]), st.floats(-60, 60), st.sampled_from([95, 80])
)
def test_any_offset_and_drift_leaves_what_was_scaled_without_them(seed, offset_uv, sign, drift_uv_s, q):
    x = eeg((2, 3, 2000), seed).astype(np.float32)
    seconds = np.arange(2000) / 200 - 5
    ridden = x.copy()
    ridden[1, 2] += (sign * offset_uv + drift_uv_s * seconds).astype(np.float32)
    before = ridden.copy()
    assert np.argwhere(offset_channels(ridden)).tolist() == [[1, 2]]
    out = PercentileScaler(q).transform(ridden)
    np.testing.assert_array_equal(ridden, before)
    expected = PercentileScaler(q).transform(x)
    np.testing.assert_array_equal(np.delete(out.reshape(6, -1), 5, 0), np.delete(expected.reshape(6, -1), 5, 0))
    detrended = PercentileScaler(q).transform(scipy.signal.detrend(x[1:, 2:].astype(np.float64)))
    np.testing.assert_allclose(out[1, 2], detrended[0, 0], atol=2e-3)  # float32 of 250 mV has steps of 0.02 uV


def test_windows_in_steps_are_judged_as_in_microvolts_and_what_is_not_finite_has_none():
    x = eeg((4, 2, 2000))
    x[1, 0] += 700
    x[2, 1] -= 90
    step = np.array([0.25, 0.05])
    digital = np.rint(x / step[:, None]).astype(np.int16)
    np.testing.assert_array_equal(offset_channels(digital, step), offset_channels(x))
    x[1, 0, 3], x[2, 1, 160] = np.nan, np.inf
    assert not offset_channels(x).any()


def test_a_constant_is_flat_and_not_an_offset_with_nothing_on_it():
    x = eeg((1, 2, 2000))
    x[0, 1] = 20_000.0
    out = PercentileScaler(on_bad="drop").transform(x)
    assert np.isnan(out[0, 1]).all()
    assert np.isfinite(out[0, 0]).all()
    with pytest.raises(ValueError, match="flat"):
        PercentileScaler().transform(x)
