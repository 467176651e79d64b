"""FixedScaler and Standardizer, against arithmetic and scikit-learn."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from biot_bd.signals import FixedScaler, PercentileScaler, SignalInfo, Standardizer
from biot_bd.testing import check_transformer

UV = SignalInfo(("Fp1", "Fp2"), 200.0, 50, "uV")


def windows(seed=0, dtype=np.float32):
    return (np.random.default_rng(seed).normal(3, 40, (3, 2, 50))).astype(dtype)


@given(st.floats(1e-3, 1e6), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=20, deadline=None)
def test_microvolts_are_divided(divisor, dtype):
    x = windows(dtype=dtype)
    out = FixedScaler(divisor).transform(x)
    assert out.dtype == dtype
    np.testing.assert_allclose(out * divisor, x, rtol=1e-5)


def test_each_channel_of_a_window_has_mean_0_and_deviation_1():
    x = windows(dtype=np.float64)
    out = Standardizer().transform(x)
    expected = StandardScaler().fit_transform(x.reshape(6, 50).T).T.reshape(x.shape)
    np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(Standardizer(clip=1.5).transform(x), expected.clip(-1.5, 1.5), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("step", [FixedScaler(), Standardizer(), Standardizer(15)])
def test_absent_channels_stay_absent_and_others_do_not_change(step):
    x = windows()
    with_gap = x.copy()
    with_gap[1, 0] = np.nan
    out = step.transform(with_gap)
    assert np.isnan(out[1, 0]).all()
    np.testing.assert_array_equal(
        np.delete(out.reshape(6, 50), 2, 0), np.delete(step.transform(x).reshape(6, 50), 2, 0)
    )


def test_the_output_says_how_it_was_scaled():
    said = [
        step.output_info(UV).scale for step in (FixedScaler(), FixedScaler(1000), Standardizer(), PercentileScaler(95))
    ]
    assert said == ["uV/100", "uV/1000", "z-score", "percentile-95"]
    for step in (FixedScaler(), Standardizer()):
        with pytest.raises(ValueError, match="scaled already"):
            step.output_info(PercentileScaler().output_info(UV))
    with pytest.raises(ValueError, match="are not scaled, but scale is"):
        SignalInfo(None, None, 50, "uV", 2, "z-score")


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (FixedScaler(0), "positive number of microvolts"),
        (FixedScaler(float("inf")), "positive number of microvolts"),
        (FixedScaler("100"), "positive number of microvolts"),
        (FixedScaler(True), "positive number of microvolts"),
        (Standardizer(-1), "clip must be None or a positive number"),
        (Standardizer(float("nan")), "clip must be None or a positive number"),
    ],
)
def test_parameters_are_checked(step, match):
    with pytest.raises(ValueError, match=match):
        step.transform(windows())


def test_a_flat_channel_is_no_noise_to_blow_up():
    x = windows()
    x[2, 1] = 7.0
    with pytest.raises(ValueError, match=r"flat within 0.001 uV: window 2 channel 1"):
        Standardizer().transform(x)
    with pytest.raises(ValueError, match="volts"):
        Standardizer().transform(windows() * 1e-9)


def test_epochs_in_volts_become_scaled_arrays():
    x = windows(dtype=np.float64)
    epochs = mne.EpochsArray(x * 1e-6, mne.create_info(["Fp1", "Fp2"], 200.0, "eeg"), verbose="error")
    np.testing.assert_allclose(FixedScaler().transform(epochs), x / 100, rtol=1e-9)


@pytest.mark.parametrize("step", [FixedScaler(50), Standardizer(15)])
def test_they_keep_to_the_contract_of_transformers(step):
    check_transformer(step)
