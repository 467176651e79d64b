"""Percentiles taken from stored digital samples, against numpy on the windows as they are read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import prepare
from biot_bd.signals.scaler import window_percentiles


@settings(max_examples=100, deadline=None)
@given(n_times=st.integers(1, 400), q=st.floats(0, 100), top=st.sampled_from([1, 50, 32768]), seed=st.integers(0, 99))
def test_digital_percentiles_are_those_of_numpy(n_times, q, top, seed):
    x = np.random.default_rng(seed).integers(-top, top, (3, 2, n_times), dtype=np.int16)
    expected = np.quantile(np.abs(x.astype(np.float64)), q / 100, axis=-1)
    np.testing.assert_allclose(window_percentiles(x, q), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride_s", [10, 5, 3.3])
def test_stored_percentiles_are_those_of_the_windows_and_flat_channels_have_none(make, tmp_path, stride_s):
    def change(digital):
        digital[2] = 55
        digital[3, : 20 * 256] = 0

    path = make.edf(tmp_path / "a.edf", 90, change=change)
    windows = prepare(make.dataset([(path, "a", "p", [(31, 52)])]), tmp_path / "w", stride_s=stride_s)
    x, found = np.asarray(windows), np.load(tmp_path / "w/percentiles.npy")
    flat = np.isnan(found)
    np.testing.assert_array_equal(flat, ~windows.present)
    assert flat.any(axis=0).sum() == 2
    expected = np.quantile(np.abs(x[~flat]).astype(np.float64), 0.95, axis=-1)
    np.testing.assert_allclose(found[~flat], expected, rtol=1e-6)
