"""Preparation of recordings with pauses: segment by segment, windows and seizures at their true times."""

import edfio
import mne
import numpy as np
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from gap_files import NOT_TOLD, TOLD, write_with_pause

from biot_bd import Windows, load_dataset, prepare
from biot_bd.datasets.recordings import set_seizures
from biot_bd.io.recordings import open_recording
from biot_bd.signals.montages import BIOT_16

RATE, CUT_S, LENGTH_S = 256, 60, 130
NAMES = BIOT_16.ch_names


@pytest.fixture(scope="module")
def x_uv():
    rng = np.random.default_rng(0)
    t = np.arange(LENGTH_S * RATE) / RATE
    return 60 * np.sin(2 * np.pi * rng.uniform(1, 20, (16, 1)) * t) + rng.normal(0, 5, (16, len(t)))


def dataset_of(raw, seizures=()):
    set_seizures(raw, seizures, where="test")
    return BaseConcatDataset([RawDataset(raw, {"recording": "r", "subject": "t/1"})])


def in_memory(x_uv):
    return mne.io.RawArray(x_uv * 1e-6, mne.create_info(list(NAMES), RATE, "eeg"), verbose="error")


@pytest.mark.parametrize("kind", [*TOLD, *NOT_TOLD])
@pytest.mark.parametrize("resample", ["fft", "polyphase", "fft-window"])
@pytest.mark.filterwarnings("ignore:.*boundary.*:RuntimeWarning")
def test_each_segment_is_what_it_is_by_itself(tmp_path, x_uv, kind, resample):
    gap_s = 20 if kind == "skips" else 3600
    begins_s = CUT_S + (gap_s if kind in TOLD else 0)
    path = write_with_pause(tmp_path / "in", kind, x_uv, NAMES, CUT_S * RATE, gap_s, RATE)
    seizure = (begins_s + 20.0, begins_s + 35.0)
    options = {"resample": resample, "dtype": "float32"}
    both = prepare(dataset_of(open_recording(path).raw, [seizure]), tmp_path / "both", **options)
    first = prepare(dataset_of(in_memory(x_uv[:, : CUT_S * RATE])), tmp_path / "first", **options)
    second = prepare(dataset_of(in_memory(x_uv[:, CUT_S * RATE :]), [(20.0, 35.0)]), tmp_path / "second", **options)
    starts = np.concatenate([first.metadata["start_s"], second.metadata["start_s"] + begins_s])
    assert np.allclose(both.metadata["start_s"], starts)
    assert np.array_equal(both.y, np.concatenate([first.y, second.y]))
    assert both.y.sum() > 0
    everything = np.arange(len(both))
    alone = np.concatenate([first.read(np.arange(len(first))), second.read(np.arange(len(second)))])
    assert np.abs(both.read(everything) - alone).max() < 0.6  # a step of the coarsest format
    assert both.seizures[["onset_s", "offset_s"]].to_numpy().tolist() == [list(seizure)]
    # The store says the same when it is opened and labelled anew.
    again = Windows.open(tmp_path / "both").relabel("overlap", stride_s=2)
    ends = again.metadata["stop_s"]
    assert ((ends <= CUT_S + 1e-6) | (again.metadata["start_s"] >= begins_s - 1e-6)).all()


def test_a_seizure_across_a_pause_labels_both_sides(tmp_path, x_uv):
    path = write_with_pause(tmp_path / "in", "edf+d", x_uv, NAMES, CUT_S * RATE, 100, RATE)
    windows = prepare(dataset_of(open_recording(path).raw, [(55.0, 165.0)]), tmp_path / "store", stride_s=10)
    labelled = windows.metadata[windows.y == 1]["start_s"].tolist()
    assert labelled == [50.0, 160.0]
    assert windows.seizures[["onset_s", "offset_s"]].to_numpy().tolist() == [[55.0, 165.0]]


def test_a_recording_of_short_pieces_has_no_window(tmp_path, x_uv):
    path = write_with_pause(tmp_path / "in", "edf+d", x_uv[:, : 15 * RATE], NAMES, 8 * RATE, 100, RATE)
    with pytest.raises(ValueError, match=r"lasts 8 s \(2048 samples\), shorter than a window of 10 s"):
        prepare(dataset_of(open_recording(path).raw), tmp_path / "store")


def test_a_pause_that_becomes_known_prepares_the_recording_anew(tmp_path, x_uv):
    path = write_with_pause(tmp_path / "in", "edf+c", x_uv, NAMES, CUT_S * RATE, 100, RATE)
    plain = mne.io.read_raw_edf(path, preload=True, verbose="error")
    prepare(dataset_of(plain), tmp_path / "store")
    assert prepare(dataset_of(open_recording(path).raw), tmp_path / "store").metadata["stop_s"].max() == 230.0


@pytest.mark.parametrize(("ecg_hz", "record_s"), [(None, 10), (500, 10), (500, 1), (400, 4), (512, 1)])
def test_eeg_beside_a_faster_channel_is_where_it_belongs(tmp_path, ecg_hz, record_s):
    rng, seconds = np.random.default_rng(0), 600
    t = np.arange(seconds * 200) / 200
    x = rng.normal(0, 5, (16, len(t)))
    for k in range(5, seconds, 10):
        x[1] += 200 * np.exp(-(((t - k) / 0.05) ** 2))
    form = {"physical_dimension": "uV", "physical_range": (-3200, 3200)}
    signals = [edfio.EdfSignal(row, 200, label=name, **form) for name, row in zip(NAMES, x, strict=True)]
    if ecg_hz:
        signals.append(edfio.EdfSignal(rng.normal(0, 100, seconds * ecg_hz), ecg_hz, label="ECG", **form))
    (tmp_path / "in/sub-01").mkdir(parents=True)
    seizure = edfio.EdfAnnotation(100, 50, "sz")
    edfio.Edf(signals, data_record_duration=record_s, annotations=[seizure]).write(tmp_path / "in/sub-01/a.edf")
    windows = prepare(load_dataset("edf-folder", tmp_path / "in"), tmp_path / "store")
    whole = windows.read(np.flatnonzero(windows.metadata["start_s"] % 10 == 0))
    assert np.abs(whole[:, 1]).argmax(axis=1) / 200 == pytest.approx(5.0, abs=0.02)
    assert np.abs(whole[0] - x[:, :2000]).max() < 0.2
