"""Percentiles taken from stored digital samples, against numpy on the windows as they are read."""

import numpy as np
import pytest

from biot_bd import prepare


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
