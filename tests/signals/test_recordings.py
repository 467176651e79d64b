"""Steps on whole recordings, through braindecode's Preprocessor."""

import json

import mne
import numpy as np
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from braindecode.preprocessing import Preprocessor, preprocess

from biot_bd.exceptions import MissingChannelsError
from biot_bd.signals import BandPass, MontageMapper, Notch, PercentileScaler, Resampler
from biot_bd.signals.montages import BIOT_16, Montage
from biot_bd.signals.recordings import apply_step


@pytest.fixture
def raw(shared):
    found = mne.io.read_raw_edf(shared / "data" / "chbmit-excerpts" / "chb01" / "chb01_03.edf", verbose="error")
    found.set_annotations(mne.Annotations([5.0], [3.0], ["sz"], orig_time=found.info["meas_date"]))
    return found


STEPS = [
    MontageMapper("biot-16"),
    MontageMapper("biot-18", on_missing="drop"),
    Resampler(200),
    BandPass(0.5, 70),
    Notch(60),
]


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_a_recording_gives_what_one_long_window_gives(raw, step):
    preprocessor = step.as_preprocessor()
    assert isinstance(preprocessor, Preprocessor)
    before = raw.copy()
    made = preprocessor.apply(raw)
    epochs = mne.EpochsArray(raw.get_data()[None], raw.info, proj=False, verbose="error")
    window = step.transform(epochs)
    np.testing.assert_allclose(made.get_data() * 1e6, window.get_data(copy=True)[0] * 1e6, atol=1e-9)
    assert made.ch_names == window.ch_names
    assert made.info["sfreq"] == window.info["sfreq"]
    # The recording that was given stays what it was.
    assert raw.ch_names == before.ch_names
    np.testing.assert_array_equal(raw.get_data(), before.get_data())


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_annotations_and_dates_stay(raw, step):
    made = step.apply_to_raw(raw)
    assert made.info["meas_date"] == raw.info["meas_date"]
    assert list(made.annotations.description) == ["sz"]
    assert made.annotations.onset[0] - made.first_time == pytest.approx(5.0)
    assert made.annotations.duration[0] == pytest.approx(3.0)


def test_a_cropped_recording_keeps_its_annotations_in_place(raw):
    cropped = raw.copy().crop(3.0, 20.0)
    made = Resampler(200).apply_to_raw(cropped)
    onset = made.annotations.onset[0] - made.first_time
    assert onset == pytest.approx(2.0, abs=1 / 200)
    assert made.n_times == -(-cropped.n_times * 25 // 32)


def test_braindecode_runs_and_describes_them(raw):
    dataset = BaseConcatDataset([RawDataset(raw, {"subject": "chb-mit/01"})])
    steps = [MontageMapper("biot-16"), Resampler(200), BandPass(0.5, 70)]
    preprocess(dataset, [step.as_preprocessor() for step in steps])
    made = dataset.datasets[0].raw
    assert tuple(made.ch_names) == BIOT_16.ch_names
    assert made.info["sfreq"] == 200.0


@pytest.mark.parametrize("step", [*STEPS, MontageMapper(BIOT_16), Notch((50, 60))], ids=repr)
def test_they_can_be_written_as_json_and_read_again(raw, step):
    preprocessor = step.as_preprocessor()
    text = json.dumps(preprocessor.serialize())
    again = Preprocessor.deserialize(json.loads(text))
    np.testing.assert_array_equal(again.apply(raw).get_data(), preprocessor.apply(raw).get_data())


def test_epochs_of_braindecode_go_through_the_same_preprocessor(raw):
    epochs = mne.make_fixed_length_epochs(raw, 10.0, preload=True, verbose="error")
    made = Resampler(200).as_preprocessor().apply(epochs)
    np.testing.assert_array_equal(made.get_data(copy=True), Resampler(200).transform(epochs).get_data(copy=True))


def test_only_what_the_montage_needs_is_read(raw):
    extra = raw.copy().load_data().rename_channels({"FZ-CZ": "ECG"})
    extra._data[extra.ch_names.index("ECG")] = np.nan  # a fault in a channel that nobody asked for
    assert MontageMapper("biot-16").apply_to_raw(extra).get_data().shape[0] == 16


def test_a_recording_that_lacks_electrodes_raises_naming_them(raw):
    with pytest.raises(MissingChannelsError, match="missing electrodes: C3, A2, C4, A1"):
        MontageMapper("biot-18").as_preprocessor().apply(raw)


def test_scaling_is_no_step_for_recordings(raw):
    assert not hasattr(PercentileScaler(), "as_preprocessor")
    with pytest.raises(ValueError, match="no step for recordings"):
        apply_step(raw, "biot_bd.signals.scaler:PercentileScaler")


def test_parameters_that_do_not_exist_raise(raw):
    with pytest.raises(TypeError, match="sfreqq"):
        apply_step(raw, "biot_bd.signals.resampler:Resampler", sfreqq=200)


def test_a_montage_without_a_name_travels_as_it_is(raw):
    own = Montage("own", ("T7-T8", "F7-T7"), "bipolar")
    with pytest.raises(MissingChannelsError, match="T7-T8"):
        MontageMapper(own).as_preprocessor().apply(raw)
