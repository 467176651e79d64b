"""MontageMapper: arrays, Epochs, absent channels, interpolation."""

import mne
import numpy as np
import pytest
from sklearn.base import clone

from biot_bd.exceptions import MissingChannelsError, UnknownNameError
from biot_bd.signals import MontageMapper, SignalInfo
from biot_bd.signals.interpolation import spline_weights
from biot_bd.signals.montages import BIOT_16, SZCORE_19, Montage
from biot_bd.testing import check_transformer

TEN_TWENTY = list(SZCORE_19.ch_names)


def info(names, n_times=20, unit="uV"):
    return SignalInfo(tuple(names), 200.0, n_times, unit)


@pytest.fixture
def x():
    return 30 * np.random.default_rng(0).standard_normal((5, 19, 20))


@pytest.mark.parametrize(
    "mapper",
    [
        MontageMapper("biot-16", TEN_TWENTY),
        MontageMapper("szcore-19", TEN_TWENTY),
        MontageMapper("biot-18", TEN_TWENTY, on_missing="drop"),
        MontageMapper("double-banana-18", TEN_TWENTY[:-2], on_missing="interpolate"),
        MontageMapper(Montage("one", ("T8-T7",), "bipolar"), [f"EEG {e}-REF" for e in TEN_TWENTY]),
    ],
    ids=repr,
)
def test_it_keeps_the_contract(mapper):
    check_transformer(mapper)


def test_names_may_come_from_the_data_or_the_parameter_but_must_agree(x):
    made, _ = MontageMapper("biot-16").apply(x, np.ones((5, 19), bool), info(TEN_TWENTY))
    np.testing.assert_array_equal(made, MontageMapper("biot-16", TEN_TWENTY).transform(x))
    with pytest.raises(ValueError, match="without names"):
        MontageMapper("biot-16").transform(x)
    with pytest.raises(ValueError, match="18 channels, the input has 19"):
        MontageMapper("biot-16", TEN_TWENTY[1:]).transform(x)
    turned = TEN_TWENTY[::-1]
    with pytest.raises(ValueError, match="disagrees"):
        MontageMapper("biot-16", turned).output_info(info(TEN_TWENTY))


def test_the_same_electrode_names_in_epochs(x):
    epochs = mne.EpochsArray(x * 1e-6, mne.create_info([f"EEG {e}" for e in TEN_TWENTY], 200.0, "eeg"), verbose="error")
    out = MontageMapper("biot-16").transform(epochs)
    assert tuple(out.ch_names) == BIOT_16.ch_names
    np.testing.assert_allclose(
        out.get_data(copy=True) * 1e6, MontageMapper("biot-16", TEN_TWENTY).transform(x), atol=1e-9
    )


def test_dropped_channels_are_nan_and_keep_their_place(x):
    names = [*TEN_TWENTY[:-1], "ECG"]  # P8 is missing
    made, present = MontageMapper("biot-16", on_missing="drop").apply(x, np.ones((5, 19), bool), info(names))
    gone = [i for i, pair in enumerate(BIOT_16.pairs) if "P8" in pair]
    assert len(gone) == 2
    assert np.isnan(made[:, gone]).all()
    np.testing.assert_array_equal(present, np.isfinite(made).all(axis=-1))
    assert present.sum() == 5 * 14


def test_nothing_usable_raises_even_with_drop(x):
    with pytest.raises(MissingChannelsError, match="Fp1"):
        MontageMapper("biot-16", on_missing="drop").output_info(info([f"X{i}" for i in range(19)]))


def test_a_channel_absent_in_some_windows_is_absent_only_there(x):
    whole = MontageMapper("biot-16", TEN_TWENTY, on_missing="drop").transform(x)
    x[2, TEN_TWENTY.index("O1")] = np.nan
    made = MontageMapper("biot-16", TEN_TWENTY, on_missing="drop").transform(x)
    gone = [i for i, pair in enumerate(BIOT_16.pairs) if "O1" in pair]
    assert np.isnan(made[2, gone]).all()
    made[2, gone] = whole[2, gone]
    np.testing.assert_array_equal(made, whole)
    # on_missing is about channels that the input does not have; absence passes through, as in an identical montage.
    np.testing.assert_array_equal(MontageMapper("biot-16", TEN_TWENTY).transform(x)[2, gone], np.full((2, 20), np.nan))


def test_a_window_with_too_few_electrodes_to_interpolate_is_named(x):
    x[3, 4:] = np.nan
    with pytest.raises(MissingChannelsError, match=r"window 3: .*at least 10 of the 19"):
        MontageMapper("szcore-19", TEN_TWENTY, on_missing="interpolate").transform(x)


def test_an_absent_derivation_is_made_from_its_electrodes_where_they_are_there():
    names = ["T7-T8", "T7-REF", "T8-REF"]
    x = np.random.default_rng(0).standard_normal((2, 3, 20))
    x[1, 0] = np.nan
    made = MontageMapper(Montage("own", ("T7-T8",), "bipolar"), names).transform(x)
    np.testing.assert_array_equal(made[0, 0], x[0, 0])
    np.testing.assert_array_equal(made[1, 0], x[1, 1] - x[1, 2])


def test_a_window_with_no_channel_at_all_stays_so(x):
    x[1] = np.nan
    made = MontageMapper("biot-16", TEN_TWENTY, on_missing="drop").transform(x)
    assert np.isnan(made[1]).all()
    assert np.isfinite(made[[0, 2, 3, 4]]).all()


def test_interpolation_equals_mne_on_the_same_recording(x):
    gone = ["T8", "Pz"]
    signals = np.hstack(list(x))
    names = [e for e in TEN_TWENTY if e not in gone]
    raw = mne.io.RawArray(signals * 1e-6, mne.create_info(TEN_TWENTY, 200.0, "eeg"), verbose="error")
    template = "colin27_1005" if "colin27_1005" in mne.channels.get_builtin_montages() else "standard_1005"
    raw.set_montage(template, verbose="error")
    raw.info["bads"] = gone
    expected = raw.interpolate_bads(verbose="error").get_data() * 1e6
    kept = [TEN_TWENTY.index(e) for e in names]
    made = MontageMapper("szcore-19", names, on_missing="interpolate").transform(signals[kept][None])[0]
    np.testing.assert_allclose(made, expected, atol=1e-6)
    # The other way to lose an electrode: it is there and absent in this window.
    absent = signals[None].copy()
    absent[0, [TEN_TWENTY.index(e) for e in gone]] = np.nan
    np.testing.assert_allclose(
        MontageMapper("szcore-19", TEN_TWENTY, on_missing="interpolate").transform(absent)[0], expected, atol=1e-6
    )


def test_bipolar_channels_from_interpolated_electrodes_are_their_differences(x):
    names = [e for e in TEN_TWENTY if e != "T8"]
    kept = [TEN_TWENTY.index(e) for e in names]
    electrodes = MontageMapper("szcore-19", names, on_missing="interpolate").transform(x[:, kept])
    made = MontageMapper("biot-16", names, on_missing="interpolate").transform(x[:, kept])
    expected = MontageMapper("biot-16", TEN_TWENTY).transform(electrodes)
    np.testing.assert_allclose(made, expected, atol=1e-9)


def test_interpolated_weights_of_a_constant_potential_add_to_one():
    weights = spline_weights(tuple(e for e in TEN_TWENTY if e != "Cz"), ("Cz",))
    assert weights.shape == (1, 18)
    assert weights.sum() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("names", [list(BIOT_16.ch_names[:-1]), TEN_TWENTY[:5]])
def test_interpolation_needs_referential_electrodes_in_number(names):
    with pytest.raises(MissingChannelsError, match="referential recording with at least"):
        MontageMapper("biot-16", names, on_missing="interpolate").output_info(info(names))


def test_it_costs_nothing_where_the_channels_are_right_already():
    assert MontageMapper("biot-16").is_identity(info(BIOT_16.ch_names))
    assert not MontageMapper("biot-16").is_identity(info([n.upper() for n in BIOT_16.ch_names]))
    assert not MontageMapper("biot-16").is_identity(info(BIOT_16.ch_names[::-1]))
    assert not MontageMapper("szcore-19").is_identity(info(BIOT_16.ch_names))


def test_scaled_signals_may_be_chosen_from_but_not_subtracted():
    scaled = info(TEN_TWENTY, unit=None)
    assert MontageMapper("szcore-19").output_info(scaled).unit is None
    with pytest.raises(ValueError, match="before PercentileScaler"):
        MontageMapper("biot-16").output_info(scaled)


def test_parameters_are_checked_when_used_not_before():
    mapper = clone(MontageMapper("biot-61", on_missing="ignore"))
    with pytest.raises(ValueError, match="'ignore'"):
        mapper.output_info(info(TEN_TWENTY))
    with pytest.raises(UnknownNameError, match="did you mean 'biot-1"):
        MontageMapper("biot-61").output_info(info(TEN_TWENTY))
    with pytest.raises(TypeError, match="list"):
        MontageMapper(["Fp1"]).output_info(info(TEN_TWENTY))
