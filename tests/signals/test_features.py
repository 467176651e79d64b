"""Features against closed forms and against numpy alone."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.signals import SignalInfo
from biot_bd.signals.features import BANDS, BATCH, BandPower, FillAbsent, LineLength

RATE = 200.0
T = np.arange(2000) / RATE


class Lazy:
    """Windows that only give themselves in batches, and count what is asked for."""

    def __init__(self, x, sfreq=RATE):
        self.x, self.largest = x, 0
        self.info = SignalInfo(tuple(f"c{i}" for i in range(x.shape[1])), sfreq, x.shape[2], "uV")
        self.shape = x.shape

    def __len__(self):
        return len(self.x)

    def map(self, step):
        raise AssertionError("features are arrays")

    def read(self, indices):
        self.largest = max(self.largest, len(indices))
        return self.x[indices]


def sine(amplitude, frequency, phase=0.3):
    return amplitude * np.sin(2 * np.pi * frequency * T + phase)


@pytest.mark.parametrize("window", ["hann", "boxcar"])
@pytest.mark.parametrize(("frequency", "band"), [(2.0, 0), (6.0, 1), (10.0, 2), (20.0, 3), (40.0, 4)])
def test_a_sine_has_half_its_squared_amplitude_in_its_band(window, frequency, band):
    x = np.stack([sine(7.0, frequency), sine(0.5, frequency)])[None]
    power = BandPower(log=False, sfreq=RATE, window=window).fit(x).transform(x).reshape(2, len(BANDS))
    np.testing.assert_allclose(power[:, band], [7.0**2 / 2, 0.5**2 / 2], rtol=1e-6)
    assert np.delete(power, band, axis=1).max() < 1e-6


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 1000))
def test_bands_that_cover_everything_hold_the_variance(seed, scale):
    x = scale * np.random.default_rng(seed).standard_normal((3, 2, 400))
    bands = (("low", 0, 30), ("high", 30, 101))
    step = BandPower(bands, segment_s=2.0, window="boxcar", log=False, sfreq=RATE)
    power = step.fit(x).transform(x).reshape(3, 2, 2)
    np.testing.assert_allclose(power.sum(axis=-1), x.var(axis=-1), rtol=1e-5)


def test_power_equals_a_spectrum_written_out_by_hand():
    x = np.random.default_rng(0).standard_normal((1, 1, 2000)) * 20
    taper = np.sin(np.pi * np.arange(400) / 400) ** 2
    total = np.zeros(201)
    for start in range(0, 1601, 200):
        piece = x[0, 0, start : start + 400]
        spectrum = np.abs(np.fft.rfft((piece - piece.mean()) * taper)) ** 2 / (RATE * (taper**2).sum())
        spectrum[1:-1] *= 2
        total += spectrum / 9
    expected = [total[int(2 * low) : int(2 * high)].sum() * 0.5 for _, low, high in BANDS]
    found = BandPower(sfreq=RATE).fit(x).transform(x)[0]
    np.testing.assert_allclose(found, np.log10(expected), rtol=1e-5)


@pytest.mark.parametrize("slope", [0.25, -3.0])
def test_a_ramp_has_its_slope_as_line_length(slope):
    x = (slope * np.arange(300) + 5)[None, None]
    assert LineLength(log=False).fit(x).transform(x)[0, 0] == pytest.approx(abs(slope), rel=1e-6)
    assert LineLength().fit(x).transform(x)[0, 0] == pytest.approx(np.log10(abs(slope)), rel=1e-5)


def test_line_length_of_a_triangle_wave_and_of_silence():
    x = np.stack([np.abs(np.arange(401) % 20 - 10.0), np.full(401, 3.0)])[None]
    np.testing.assert_allclose(LineLength(log=False).fit(x).transform(x), [[1.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(LineLength().fit(x).transform(x), [[0.0, -12.0]], atol=1e-6)


@pytest.mark.parametrize("step", [BandPower(sfreq=RATE), BandPower(sfreq=RATE, summary=("mean",)), LineLength()])
def test_arrays_epochs_and_lazy_windows_agree(step):
    x = np.random.default_rng(1).standard_normal((BATCH + 7, 2, 400)).astype(np.float32) * 30
    names = ["A", "B"]
    epochs = mne.EpochsArray(x.astype(float) * 1e-6, mne.create_info(names, RATE, "eeg"), verbose="error")
    lazy = Lazy(x)
    expected = step.fit(x).transform(x)
    assert expected.dtype == np.float32
    assert expected.shape == (len(x), len(step.get_feature_names_out()))
    np.testing.assert_allclose(step.fit(lazy).transform(lazy), expected, rtol=1e-6)
    np.testing.assert_allclose(step.fit(epochs).transform(epochs), expected, rtol=1e-4, atol=1e-5)
    assert lazy.largest == BATCH


def test_an_absent_channel_is_nan_and_left_out_of_summaries():
    x = np.random.default_rng(2).standard_normal((4, 3, 400)) * [[[1], [10], [100]]]
    x[1, 2] = np.nan
    each = LineLength(log=False).fit(x).transform(x)
    assert np.isnan(each[1]).tolist() == [False, False, True]
    both = LineLength(log=False, summary=("median", "max")).fit(x).transform(x)
    np.testing.assert_allclose(both[0], [np.median(each[0]), each[0].max()], rtol=1e-6)
    np.testing.assert_allclose(both[1], [each[1, :2].mean(), each[1, 1]], rtol=1e-6)
    x[0] = np.nan
    with pytest.raises(ValueError, match="no channel"):
        LineLength(summary=("max",)).fit(x).transform(x)


def test_columns_have_names():
    lazy = Lazy(np.ones((1, 2, 400)))
    assert list(LineLength().fit(lazy).get_feature_names_out()) == ["c0 line length", "c1 line length"]
    names = BandPower(summary=("max",)).fit(lazy).get_feature_names_out()
    assert list(names) == [f"max {name}" for name, _, _ in BANDS]
    assert BandPower(sfreq=RATE).fit(np.ones((1, 2, 400))).get_feature_names_out()[5] == "channel 1 delta"


def test_part_of_a_channel_not_finite_raises():
    x = np.ones((3, 2, 400))
    x[2, 1, 7] = np.inf
    with pytest.raises(ValueError, match="window 2 channel 1"):
        LineLength().fit(x).transform(x)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (BandPower(), "sampling rate"),
        (BandPower(sfreq=50.0), "gamma"),
        (BandPower((("x", 8, 4),), sfreq=RATE), "low < high"),
        (BandPower((("x", 4.1, 4.4),), sfreq=RATE), "holds no bin"),
        (BandPower((), sfreq=RATE), "empty"),
        (BandPower(sfreq=-1.0), "positive"),
        (BandPower(sfreq=RATE, segment_s=0), "two samples"),
        (LineLength(summary="mean"), "tuple"),
        (LineLength(summary=("min",)), "median"),
    ],
)
def test_parameters_that_make_no_sense_raise(step, message):
    with pytest.raises(ValueError, match=message):
        step.fit(np.ones((2, 2, 400)))


def test_other_windows_than_in_fit_raise():
    x = np.ones((2, 2, 400))
    with pytest.raises(ValueError, match="n_times 400, found 300"):
        LineLength().fit(x).transform(x[..., :300])
    with pytest.raises(ValueError, match="sfreq"):
        LineLength().fit(Lazy(x)).transform(Lazy(x, 100.0))
    with pytest.raises(ValueError, match="leave sfreq out"):
        BandPower(sfreq=100.0).fit(Lazy(x))
    with pytest.raises(ValueError, match="shape"):
        LineLength().fit(np.ones((2, 400)))


def test_fill_absent_gives_zeros_and_keeps_the_rest():
    x = np.random.default_rng(3).standard_normal((3, 2, 50)).astype(np.float32)
    x[1, 0] = np.nan
    before = x.copy()
    out = FillAbsent().fit(x).transform(x)
    np.testing.assert_array_equal(out[1, 0], 0)
    np.testing.assert_array_equal(np.delete(out.reshape(6, 50), 2, axis=0), np.delete(x.reshape(6, 50), 2, axis=0))
    np.testing.assert_array_equal(x, before)
    assert out.dtype == np.float32
    with pytest.raises(ValueError, match="finite"):
        FillAbsent(np.nan).fit(x)
