"""PercentileScaler: BIOT's formula, numpy's percentiles, bad channels, the published inputs."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biot_bd.signals import MontageMapper, PercentileScaler, Resampler, SignalInfo, resample_fft_window, scaler
from biot_bd.signals.scaler import window_percentiles
from biot_bd.testing import check_transformer


def info(x, unit="uV", names=None):
    return SignalInfo(names, None, x.shape[2], unit, x.shape[1])


@pytest.fixture
def x():
    return 40 * np.random.default_rng(0).standard_normal((7, 4, 2000))


@pytest.mark.parametrize("scaler", [PercentileScaler(), PercentileScaler(50, "drop"), PercentileScaler(100)], ids=repr)
def test_it_keeps_the_contract(scaler):
    check_transformer(scaler)


@pytest.mark.parametrize("q", [95, 50, 99.9, 100, 0.1])
def test_the_formula_is_biots(x, q):
    scale = np.quantile(np.abs(x), q / 100, axis=-1, keepdims=True, method="linear")
    np.testing.assert_allclose(PercentileScaler(q).transform(x), x / (scale + 1e-8), rtol=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    x=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 40)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    q=st.one_of(st.just(95), st.floats(0.01, 100)),
)
def test_percentiles_are_numpys(x, q):
    expected = np.quantile(np.abs(x), q / 100, axis=-1, method="linear")
    made = window_percentiles(x, q)
    assert made.dtype == x.dtype
    # numpy interpolates in the dtype of the data, so neighbours of very different size round differently there.
    largest = np.abs(x).max(axis=-1, initial=0.0)
    assert (np.abs(made - expected) <= 1e-6 * np.maximum(expected, 0.1 * largest)).all()


@settings(max_examples=150, deadline=None)
@given(
    x=hnp.arrays(np.int16, st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 300))),
    q=st.one_of(st.just(95), st.floats(0.01, 100)),
)
def test_percentiles_of_stored_values_are_numpys(x, q):
    before = x.copy()
    expected = np.quantile(np.abs(x.astype(np.float64)), q / 100, axis=-1, method="linear")
    np.testing.assert_allclose(window_percentiles(x, q), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(x, before)


@settings(max_examples=30, deadline=None)
@given(
    dtype=st.sampled_from([np.uint16, np.float32, np.float64]),
    n_times=st.integers(513, 5000),
    tail=st.integers(1, 204),
    largest=st.sampled_from([0, 1, 5, 300, 60_000]),
    seed=st.integers(0, 99),
)
def test_both_ways_of_selecting_give_the_values_at_their_places(dtype, n_times, tail, largest, seed):
    x = np.random.default_rng(seed).integers(0, largest + 1, (2, 3, n_times)).astype(dtype)
    lower = n_times - tail
    ordered = np.sort(x, axis=-1)
    expected = ordered[..., lower], ordered[..., min(lower + 1, n_times - 1)]
    for select in (scaler._by_sorting, scaler._by_partition):
        for made, wanted in zip(select(x.copy(), lower), expected, strict=True):
            np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("pays", [True, False])
@pytest.mark.parametrize("n_times", [2000, 2560, 3001])
def test_percentiles_are_numpys_whichever_way_is_quicker_here(pays, n_times, monkeypatch):
    monkeypatch.setattr(scaler, "_sorting_pays", lambda *what: pays)
    x = np.random.default_rng(n_times).integers(-3000, 3000, (5, 4, n_times)).astype(np.int16)
    x[1, 1, 7], x[2, 2] = -32768, -32768
    expected = np.quantile(np.abs(x.astype(np.float64)), 0.95, axis=-1)
    np.testing.assert_allclose(window_percentiles(x, 95), expected, rtol=1e-12)
    spoilt = x.astype(np.float32)
    spoilt[0, 0, 3], spoilt[3, 1, 5], spoilt[4, 2] = np.nan, np.inf, np.nan
    made = window_percentiles(spoilt, 95)
    assert np.isnan(made[[0, 3, 4], [0, 1, 2]]).all()
    assert np.isfinite(made).sum() == made.size - 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_percentiles_of_eeg_like_windows_agree_to_1e_6(x, dtype):
    expected = np.quantile(np.abs(x.astype(dtype)), 0.95, axis=-1)
    np.testing.assert_allclose(window_percentiles(x.astype(dtype), 95), expected, rtol=1e-6)


def spoilt(x):
    """Four windows with one bad channel each, and where."""
    x[0, 1] = 5.0  # a constant offset
    x[1, 2, 40:] = 0.0  # the percentile is zero though the channel is not
    x[2, 3, 7] = np.nan
    x[3, 0, 7] = -np.inf
    bad = np.zeros(x.shape[:2], bool)
    bad[[0, 1, 2, 3], [1, 2, 3, 0]] = True
    return bad


def test_bad_channels_raise_by_default_and_are_named(x):
    spoilt(x)
    names = ("Fp1", "Fp2", "C3", "C4")
    with pytest.raises(ValueError, match="flat") as caught:
        PercentileScaler().apply(x, np.ones(x.shape[:2], bool), info(x, names=names))
    for part in ("window 0 channel Fp2", "window 1 channel C3", "window 2 channel C4", "window 3 channel Fp1"):
        assert part in str(caught.value)


def test_bad_channels_are_dropped_and_the_rest_is_scaled(x):
    expected = PercentileScaler().transform(x)
    bad = spoilt(x)
    out, present = PercentileScaler(on_bad="drop").apply(x, np.ones(x.shape[:2], bool), info(x))
    np.testing.assert_array_equal(present, ~bad)
    assert np.isnan(out[bad]).all()
    np.testing.assert_array_equal(out[~bad], expected[~bad])


def test_a_warning_names_what_is_dropped(x):
    bad = spoilt(x)
    with pytest.warns(UserWarning, match="window 0 channel 1"):
        out = PercentileScaler(on_bad="warn").transform(x)
    np.testing.assert_array_equal(np.isnan(out).all(axis=-1), bad)


def test_an_offset_does_not_hide_a_flat_channel(x):
    x[0, 1] = 5.0
    x[4, 2] = np.nan
    there = ~np.isnan(x).all(axis=-1)
    with pytest.raises(ValueError, match="window 0 channel 1;"):
        PercentileScaler().apply(x, there, info(x))
    out, present = PercentileScaler(on_bad="drop").apply(x, there, info(x))
    assert sorted(zip(*np.nonzero(~present), strict=True)) == [(0, 1), (4, 2)]
    assert np.isnan(out[~present]).all()


def test_absent_channels_are_not_bad(x):
    x[:, 2] = np.nan
    out = PercentileScaler().transform(x)
    assert np.isnan(out[:, 2]).all()
    assert np.isfinite(out[:, [0, 1, 3]]).all()


def test_a_channel_that_moves_only_between_the_looked_at_samples_is_not_flat():
    x = np.zeros((1, 1, 2000))
    x[0, 0, np.arange(2000) % 64 != 0] = 20
    assert np.isfinite(PercentileScaler().transform(x)).all()


def test_volts_in_an_array_are_noticed(x):
    with pytest.raises(ValueError, match="volts"):
        PercentileScaler().transform(x * 1e-6)


def test_scaling_twice_raises_and_epochs_give_an_array(x):
    with pytest.raises(ValueError, match="already"):
        PercentileScaler().output_info(info(x, unit=None))
    epochs = mne.EpochsArray(x * 1e-6, mne.create_info(4, 200.0, "eeg"), verbose="error")
    out = PercentileScaler().transform(epochs)
    assert isinstance(out, np.ndarray)
    np.testing.assert_allclose(out, PercentileScaler().transform(x), rtol=1e-9)


@pytest.mark.parametrize("q", [0, -1, 101, "95", None, np.nan])
def test_impossible_percentiles_raise(x, q):
    with pytest.raises(ValueError, match="q must be"):
        PercentileScaler(q).transform(x)


def test_unknown_on_bad_raises(x):
    with pytest.raises(ValueError, match="'ignore'"):
        PercentileScaler(on_bad="ignore").transform(x)


@pytest.mark.parametrize("step_uv", [0.4, 0.05])
def test_rounding_to_the_steps_of_a_store_moves_the_output_within_the_stated_bound(x, step_uv):
    rounded = np.rint(x / step_uv) * step_uv
    p = np.quantile(np.abs(x), 0.95, axis=-1, keepdims=True)
    scaled = PercentileScaler().transform(x)
    # With the percentiles of the signals as they were: half a step, in units of the percentile.
    made = rounded / (p + 1e-8)
    assert (np.abs(made - scaled) <= step_uv / 2 / p * (1 + 1e-9)).all()
    # With those of the rounded signals the percentile moves by up to half a step as well.
    made = PercentileScaler().transform(rounded)
    assert (np.abs(made - scaled) <= (1 + np.abs(made)) * step_uv / 2 / p * (1 + 1e-9)).all()


@pytest.mark.parametrize("way", ["steps", "fft-window"])
def test_the_published_inputs_come_out_of_the_edf_through_float32(shared, way):
    raw = mne.io.read_raw_edf(shared / "data" / "chbmit-excerpts" / "chb01" / "chb01_03.edf", verbose="error")
    microvolts = (raw.get_data() * 1e6).astype(np.float32)
    golden = np.load(shared / "golden" / "chbmit-official-rule-inputs.npz")
    assert len(golden.files) == 4
    for key in golden.files:
        start = int(key.rpartition("-")[2])
        x = microvolts[None, :, start : start + 2560]
        x = MontageMapper("biot-16", raw.ch_names).transform(x)
        x = Resampler(200, sfreq_in=256).transform(x) if way == "steps" else resample_fft_window(x, 2000)
        made = PercentileScaler(95).transform(x)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made[0], golden[key], atol=2e-6, rtol=0)
