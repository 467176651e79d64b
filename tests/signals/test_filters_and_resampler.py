"""Resampler, BandPass and Notch as steps on windows."""

import mne
import numpy as np
import pytest
import scipy.signal

from biot_bd.signals import BandPass, Notch, Resampler, SignalInfo
from biot_bd.testing import check_transformer


def tone(f, n=5000, sfreq=250.0):
    return 20 * np.sin(2 * np.pi * f * np.arange(n) / sfreq + 0.3)


def info(x, sfreq):
    return SignalInfo(None, sfreq, x.shape[2], "uV", x.shape[1])


@pytest.mark.parametrize(
    "step",
    [
        Resampler(200, sfreq_in=256),
        Resampler(256, sfreq_in=250),
        Resampler(200, sfreq_in=200),
        BandPass(1, 40, sfreq_in=250),
        BandPass(None, 40, sfreq_in=250, method="iir"),
        BandPass(5, None, sfreq_in=250, phase="minimum"),
        Notch(50, sfreq_in=250),
        Notch((50, 100), sfreq_in=250, notch_widths=2.0),
    ],
    ids=repr,
)
def test_they_keep_the_contract(step):
    check_transformer(step)


def test_resampling_a_window_is_the_published_way():
    x = np.random.default_rng(0).standard_normal((3, 2, 2560))
    np.testing.assert_allclose(Resampler(200, 256).transform(x), scipy.signal.resample(x, 2000, axis=-1), atol=1e-12)


def test_the_rate_comes_from_the_data_or_the_parameter_and_must_agree():
    x = np.zeros((1, 2, 2560))
    assert Resampler(200).output_info(info(x, 256.0)) == SignalInfo(None, 200.0, 2000, "uV", 2)
    assert Resampler(200, 256).output_info(info(x, None)).n_times == 2000
    for step in (Resampler(200), BandPass(1, 40), Notch(50)):
        with pytest.raises(ValueError, match=f"{type(step).__name__}.*sfreq_in"):
            step.transform(x)
    for step in (Resampler(200, 250), BandPass(1, 40, 250), Notch(50, 250)):
        with pytest.raises(ValueError, match=r"sfreq_in=250 Hz, but the data carry 256.0 Hz"):
            step.output_info(info(x, 256.0))


def test_resampling_to_the_same_rate_is_left_out():
    x = np.zeros((1, 2, 2560))
    assert Resampler(200).is_identity(info(x, 200.0))
    assert not Resampler(200).is_identity(info(x, 256.0))


def test_epochs_get_the_new_rate():
    x = np.stack([tone(3, 2560, 256.0), tone(9, 2560, 256.0)])[None]
    epochs = mne.EpochsArray(x * 1e-6, mne.create_info(2, 256.0, "eeg"), tmin=-1.0, verbose="error")
    out = Resampler(200).transform(epochs)
    assert (out.info["sfreq"], len(out.times), out.tmin) == (200.0, 2000, -1.0)
    np.testing.assert_allclose(out.get_data(copy=True) * 1e6, Resampler(200, 256).transform(x), atol=1e-9)
    assert epochs.info["sfreq"] == 256.0


def test_band_pass_keeps_and_removes_what_it_should():
    x = np.stack([tone(f) for f in (0.5, 10.0, 80.0)])[None]
    out = BandPass(5, 40, sfreq_in=250).transform(x)[0, :, 1000:-1000]
    inner = x[0, :, 1000:-1000]
    assert np.abs(out[[0, 2]]).max() < 0.02 * 20
    np.testing.assert_allclose(out[1], inner[1], atol=0.02 * 20)


def test_notch_removes_the_line_only():
    x = np.stack([tone(50.0), tone(100.0), tone(40.0)])[None]
    out = Notch((50, 100), sfreq_in=250).transform(x)[0, :, 1200:-1200]
    assert np.abs(out[:2]).max() < 0.05 * 20
    np.testing.assert_allclose(out[2], x[0, 2, 1200:-1200], atol=0.02 * 20)


def test_absent_channels_are_not_filtered_into_others():
    x = np.random.default_rng(0).standard_normal((2, 3, 2500))
    whole = BandPass(1, 40, 250).transform(x)
    x[1, 1] = np.nan
    out = BandPass(1, 40, 250).transform(x)
    assert np.isnan(out[1, 1]).all()
    out[1, 1] = whole[1, 1]
    np.testing.assert_allclose(out, whole, atol=1e-12)
    assert np.isnan(Notch(50, 250).transform(np.full((1, 2, 2500), np.nan))).all()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (BandPass(None, None), "l_freq, h_freq or both"),
        (BandPass(40, 1), "below h_freq"),
        (BandPass(0, 40), "l_freq=0"),
        (BandPass(1, 125), "h_freq=125"),
        (Notch(()), "freqs"),
        (Notch((50, 130)), "130"),
        (Resampler(0), "sfreq_out"),
    ],
)
def test_impossible_parameters_raise(step, message):
    with pytest.raises(ValueError, match=message):
        step.output_info(SignalInfo(None, 250.0, 2500, "uV", 3))
