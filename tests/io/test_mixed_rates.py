"""Channels of several rates in one EDF or BDF file: each is read at its own, exactly, in any block."""

import edfio
import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.io.channel_readers import EdfReader, open_reader, rate_of

RANGE = (-3276.8, 3276.7)


def write(path, rates, seconds, record_s, seed=0):
    """Write channels of whole tenths of a microvolt; return them in uV, by name."""
    rng = np.random.default_rng(seed)
    truth = {name: rng.integers(-3000, 3000, seconds * rate) / 10 for name, rate in rates.items()}
    make, edf = (edfio.BdfSignal, edfio.Bdf) if path.suffix == ".bdf" else (edfio.EdfSignal, edfio.Edf)
    digital = {} if path.suffix == ".bdf" else {"digital_range": (-32768, 32767)}
    signals = [
        make(truth[name], rate, label=name, physical_dimension="uV", physical_range=RANGE, **digital)
        for name, rate in rates.items()
    ]
    edf(signals, data_record_duration=record_s, annotations=[edfio.EdfAnnotation(1, 1, "sz")]).write(path)
    return truth


def read(reader, edges):
    """Read all channels in blocks that end at ``edges``."""
    parts = []
    for start, stop in zip([0, *edges], [*edges, reader.n_samples], strict=True):
        x = np.empty((len(reader.ch_names), stop - start), np.float32)
        block = reader.block(start, stop)
        for index, row in enumerate(x):
            block.read(index, row)
        parts.append(x)
    return np.concatenate(parts, axis=1)


@settings(max_examples=25, deadline=None)
@given(
    eeg=st.sampled_from([128, 200, 256]),
    others=st.lists(st.sampled_from([1, 10, 400, 500, 512]), min_size=1, max_size=3),
    record_s=st.sampled_from([1, 2, 10]),
    ending=st.sampled_from([".edf", ".bdf"]),
    cuts=st.lists(st.floats(0.01, 0.99), max_size=4),
    place=st.integers(0, 3),
)
def test_eeg_beside_faster_and_slower_channels(tmp_path_factory, eeg, others, record_s, ending, cuts, place):
    names = [(f"X{i}", rate) for i, rate in enumerate(others)]
    names[place:place] = [("Fp1", eeg), ("F3", eeg)]
    path = tmp_path_factory.mktemp("mixed") / f"a{ending}"
    truth = write(path, dict(names), 40, record_s)
    raw = (mne.io.read_raw_bdf if ending == ".bdf" else mne.io.read_raw_edf)(path, verbose="error")
    reader = open_reader(raw, ["F3", "Fp1"])
    assert (reader.sfreq, reader.n_samples) == (eeg, 40 * eeg) == (rate_of(raw, ["F3", "Fp1"]), 40 * eeg)
    x = read(reader, sorted({round(cut * reader.n_samples) for cut in cuts}))
    assert np.abs(x - [truth["F3"], truth["Fp1"]]).max() < 2e-3


def test_the_fast_reader_reads_an_edf_of_several_rates(tmp_path):
    write(tmp_path / "a.edf", {"ECG": 500, "Fp1": 200}, 40, 10)
    reader = open_reader(mne.io.read_raw_edf(tmp_path / "a.edf", verbose="error"), ["Fp1"])
    assert isinstance(reader, EdfReader)
    assert reader.scales is not None


def test_renamed_picked_and_repeated_channels(tmp_path):
    truth = write(tmp_path / "a.edf", {"ECG": 500, "Fp1": 200, "T8-P8": 200, "F3": 200, "T8-P9": 200}, 40, 10)
    data = (tmp_path / "a.edf").read_bytes().replace(b"T8-P9", b"T8-P8")
    (tmp_path / "a.edf").write_bytes(data)
    raw = mne.io.read_raw_edf(tmp_path / "a.edf", verbose="error")
    raw.pick(["F3", "Fp1", "T8-P8-1"]).rename_channels({"F3": "here"})
    reader = open_reader(raw, ["Fp1", "here", "T8-P8-1"])
    assert reader.ch_names == ("Fp1", "here", "T8-P8-1")
    assert np.abs(read(reader, [1000]) - [truth["Fp1"], truth["F3"], truth["T8-P9"]]).max() < 2e-3


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 9999), max_size=5), slow=st.sampled_from([125, 200, 250]))
def test_needed_channels_of_two_rates_do_not_depend_on_the_blocks(tmp_path_factory, cuts, slow):
    path = tmp_path_factory.mktemp("two") / "a.edf"
    write(path, {"ECG": 1000, "Fp1": 500, "F3": slow}, 20, 4)
    raw = mne.io.read_raw_edf(path, verbose="error")
    whole = read(open_reader(raw, ["F3", "Fp1"]), [])
    assert whole.shape == (2, 20 * 500)
    assert np.array_equal(read(open_reader(raw, ["F3", "Fp1"]), sorted(set(cuts))), whole)


def test_a_slower_needed_channel_is_where_it_belongs(tmp_path):
    t = {"ECG": np.arange(40 * 1000) / 1000, "Fp1": np.arange(40 * 500) / 500, "F3": np.arange(40 * 200) / 200}
    signals = [
        edfio.EdfSignal(
            500 * np.sin(2 * np.pi * 3 * v), len(v) // 40, label=k, physical_dimension="uV", physical_range=RANGE
        )
        for k, v in t.items()
    ]
    edfio.Edf(signals, data_record_duration=4).write(tmp_path / "a.edf")
    reader = open_reader(mne.io.read_raw_edf(tmp_path / "a.edf", verbose="error"), ["F3", "Fp1"])
    x = read(reader, [777, 5000])
    inner = slice(500, -500)
    assert np.abs(x[0] - x[1])[inner].max() < 1.0


@pytest.mark.parametrize("first_s", [3.0, 7.3])
def test_a_crop_that_was_not_loaded(tmp_path, first_s):
    truth = write(tmp_path / "a.edf", {"ECG": 400, "Fp1": 200}, 40, 10)
    raw = mne.io.read_raw_edf(tmp_path / "a.edf", verbose="error").crop(first_s, 21.3, include_tmax=False)
    reader = open_reader(raw, ["Fp1"])
    first = round(first_s * 200)
    assert reader.n_samples == round(21.3 * 200) - first
    assert np.abs(read(reader, [100, 2000])[0] - truth["Fp1"][first : first + reader.n_samples]).max() < 2e-3
