"""The chunk-fed chain: the same windows as ``prepare`` makes, whatever the chunks."""

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from deploy_files import ELECTRODES, write_edf
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import load_dataset, prepare
from biot_bd.deploy.signal_chain import SignalChain
from biot_bd.deploy.stream_resampling import fir_delay_s, make_stream
from biot_bd.io.recordings import open_recording, read_blocks
from biot_bd.signals import resample_fft, resample_polyphase
from biot_bd.signals.montages import BIOT_16, plan_montage


def run(plan, x, sfreq, causal, chunk, stride_s=5.0, limit=7):
    chain = SignalChain(plan, sfreq, 200, 10, stride_s, causal)
    batches = []

    def drain():
        while (batch := chain.pop(limit)) is not None:
            batches.append(batch)

    for start in range(0, x.shape[1], chunk):
        chain.push(x[:, start : start + chunk])
        drain()
    chain.finish()
    drain()
    return (
        np.concatenate([b.x for b in batches]),
        np.concatenate([b.present for b in batches]),
        np.concatenate([b.start_s for b in batches]),
    )


@pytest.mark.parametrize("sfreq", [256, 100, 500, 173.61])
def test_windows_are_those_of_prepare(tmp_path, sfreq):
    rng = np.random.default_rng(1)
    n = int(sfreq * 700) + 13
    # Smooth, as EEG is: 1/f, and nothing near the wall of the resampling.
    spectrum = np.fft.rfft(rng.standard_normal((19, n)))
    f = np.fft.rfftfreq(n, 1 / sfreq)
    spectrum *= np.where((f > 0.5) & (f < 0.8 * min(sfreq, 200) / 2), 1 / np.maximum(f, 0.5), 0)
    x = np.fft.irfft(spectrum, n)
    x *= 40 / x.std()
    raw = mne.io.RawArray(x / 1e6, mne.create_info([f"EEG {e}-REF" for e in ELECTRODES], sfreq, "eeg"), verbose="error")
    raw._data[3, int(50 * sfreq) : int(75 * sfreq)] = 1e-5  # P3 flat: P3-O1 and C3-P3 are not
    raw._data[[5, 0], int(200 * sfreq) : int(225 * sfreq)] = 1e-5  # Fp1-F7 is flat
    dataset = BaseConcatDataset([RawDataset(raw, pd.Series({"subject": "a", "recording": "r"}))])
    windows = prepare(dataset, tmp_path / "store", stride_s=5, dtype="float32")
    plan = plan_montage(BIOT_16, raw.ch_names)
    recording = open_recording(raw)
    blocks = np.concatenate(list(read_blocks(recording, plan.needed)), axis=1)
    ours, present, start_s = run(plan, blocks, sfreq, False, 10_007)
    n_grid = len(windows)
    np.testing.assert_array_equal(present[:n_grid], windows.present)
    assert not present[:n_grid, 0].all()
    np.testing.assert_allclose(start_s[:n_grid], windows.metadata["start_s"], atol=1e-9)
    wanted = windows.read(np.arange(n_grid))
    if sfreq == 173.61:
        # The common period is minutes, so there are no segments to align to; the whole joins its end to its start.
        inner = (start_s[:n_grid] > 10) & (start_s[:n_grid] < n / sfreq - 20)
        np.testing.assert_allclose(ours[:n_grid][inner], wanted[inner], atol=0.2, equal_nan=True)
    else:
        np.testing.assert_allclose(ours[:n_grid], wanted, atol=1e-3, equal_nan=True)
    # The tail is covered by one window more, aligned to the end.
    assert len(ours) == n_grid + 1
    assert start_s[-1] == pytest.approx(n / sfreq - 10, abs=1 / sfreq)


def test_windows_of_a_file_are_those_of_the_int16_store(tmp_path):
    path = write_edf(tmp_path / "sub-01_eeg.edf", seconds=400, seed=2)
    store = prepare(load_dataset("edf-folder", tmp_path, unlisted="background"), tmp_path / "store")
    recording = open_recording(path)
    plan = plan_montage(BIOT_16, recording.raw.ch_names)
    x = np.concatenate(list(read_blocks(recording, plan.needed)), axis=1)
    ours, *_ = run(plan, x, recording.sfreq, False, 4096)
    stored = store.tables[0].recordings[0]
    assert stored.dtype == "int16"
    error = np.abs(ours[: len(store)] - store.read(np.arange(len(store)))).max(axis=(0, 2))
    assert (error <= 0.5 * np.array(stored.steps_uv) + 1e-4).all()


@settings(max_examples=25, deadline=None)
@given(
    sfreq=st.sampled_from([256, 250, 100, 200, 512, 199.9, 173.61]),
    causal=st.booleans(),
    cuts=st.lists(st.integers(1, 4000), min_size=1, max_size=40),
    holes=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 11_000), st.integers(1, 900)), max_size=3),
    seed=st.integers(0, 5),
)
def test_result_does_not_depend_on_the_chunks(sfreq, causal, cuts, holes, seed):
    x = np.random.default_rng(seed).standard_normal((2, 12_000)).astype(np.float32) + 50
    for channel, start, length in holes:
        x[channel, start : start + length] = np.nan
    whole, pieces = make_stream(2, sfreq, 200, causal), make_stream(2, sfreq, 200, causal)
    once = np.concatenate([whole.push(x), whole.finish()], axis=1)
    got, start = [], 0
    for cut in cuts:
        got.append(pieces.push(x[:, start : start + cut]))
        start += cut
    got += [pieces.push(x[:, start:]), pieces.finish()]
    np.testing.assert_array_equal(np.concatenate(got, axis=1), once)


@pytest.mark.parametrize("sfreq", [256, 100, 500, 160, 1000, 173.61])
def test_streams_are_the_functions_of_the_whole(sfreq):
    n = int(sfreq * 900)
    x = np.cumsum(np.random.default_rng(0).standard_normal((2, n)), axis=1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    causal, blocks = make_stream(2, sfreq, 200, True), make_stream(2, sfreq, 200, False)
    scale = x.std()
    got = np.concatenate([causal.push(x), causal.finish()], axis=1)
    np.testing.assert_allclose(got, resample_polyphase(x, sfreq, 200), atol=1e-5 * scale)
    if sfreq != 173.61:
        got = np.concatenate([blocks.push(x[:, :5000]), blocks.push(x[:, 5000:]), blocks.finish()], axis=1)
        np.testing.assert_allclose(got, resample_fft(x, sfreq, 200), atol=2e-6 * scale)


def test_causal_output_knows_nothing_beyond_the_delay():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 5000)).astype(np.float32)
    other = x.copy()
    other[:, 3000:] = rng.standard_normal(2000)
    made = [make_stream(1, 256, 200, True).push(v) for v in (x, other)]
    delay_s = fir_delay_s(256, 200)
    assert delay_s == pytest.approx(0.05)
    known = int((3000 / 256 - delay_s) * 200)
    np.testing.assert_array_equal(made[0][:, :known], made[1][:, :known])
    assert (made[0][:, known + 25 : known + 60] != made[1][:, known + 25 : known + 60]).any()


@pytest.mark.parametrize("causal", [False, True])
def test_memory_holds_minutes_only(causal):
    plan = plan_montage(BIOT_16, BIOT_16.ch_names)
    chain = SignalChain(plan, 256, 200, 10, 5, causal)
    x = np.random.default_rng(0).standard_normal((16, 2560)).astype(np.float32)
    largest = 0
    for _ in range(400):
        chain.push(x)
        while chain.pop(8) is not None:
            pass
        kept = [chain._source, chain._signal, chain._stream._buffer]
        largest = max(largest, sum(buffer._data.nbytes for buffer in kept))
    assert largest < 64 * 2**20


def test_not_finite_and_flat_channels_are_absent_in_their_windows():
    plan = plan_montage(BIOT_16, BIOT_16.ch_names)
    x = np.random.default_rng(0).standard_normal((16, 256 * 60)).astype(np.float32)
    x[2, 256 * 12] = np.inf
    x[7, : 256 * 21] = 3.0
    x[:, 256 * 40 : 256 * 55] = np.nan
    for causal in (False, True):
        made, present, start_s = run(plan, x, 256, causal, 1000)
        expected = np.ones_like(present)
        stop_s = start_s + 10
        expected[(start_s <= 12) & (stop_s > 12), 2] = False
        expected[stop_s <= 21, 7] = False
        expected[(start_s < 55) & (stop_s > 40)] = False
        np.testing.assert_array_equal(present, expected)
        assert np.isnan(made[~present]).all()
        assert np.isfinite(made[present]).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), stride_s=st.sampled_from([0.7, 3.0, 5.0, 25.0]), limit=st.sampled_from([1, 5, 64]))
def test_a_channel_is_absent_where_a_loop_over_its_samples_says_so(seed, stride_s, limit):
    rng = np.random.default_rng(seed)
    plan = plan_montage(BIOT_16, [f"{name}-REF" for name in BIOT_16.electrodes])
    x = rng.standard_normal((len(plan.needed), 200 * 45)).astype(np.float32)
    for channel in rng.integers(0, len(x), 4):
        begin, length = rng.integers(0, 8000), rng.choice([1, 1999, 2000, 2001, 4000])
        held = rng.choice([np.nan, np.inf, 3.0, x[channel - 1, 0]])
        x[channel, begin : begin + length] = held
        if rng.random() < 0.5:  # joined with its neighbour, and moving
            x[channel, begin : begin + length] = x[channel - 1, begin : begin + length]
    made, present, start_s = run(plan, x, 200, False, 1700, stride_s, limit)
    derived = plan.apply(x)
    uses = [[plan.needed.index(plan.ch_names[s]) for s in channel.sources] for channel in plan.channels]
    for row, start in enumerate(np.rint(start_s * 200).astype(int)):
        window, of_montage = x[:, start : start + 2000], derived[:, start : start + 2000]
        faulty = ~np.isfinite(window).all(axis=1) | (window == window[:, :1]).all(axis=1)
        moving = (of_montage != of_montage[:, :1]).any(axis=1)
        expected = [not faulty[sources].any() and moving[i] for i, sources in enumerate(uses)]
        assert present[row].tolist() == expected
        assert np.isnan(made[row][~present[row]]).all()
        assert np.isfinite(made[row][present[row]]).all()


def test_what_cannot_be():
    plan = plan_montage(BIOT_16, BIOT_16.ch_names)
    for window_s, stride_s in ((0, 5), (10, 0), (10, float("nan")), (10, 1e-4)):
        with pytest.raises(ValueError, match=r"window_s|stride_s"):
            SignalChain(plan, 256, 200, window_s, stride_s)
    chain = SignalChain(plan, 256, 200, 10, 5)
    chain.finish()
    assert chain.pop() is None
    with pytest.raises(ValueError, match="finished"):
        chain.push(np.zeros((16, 10)))
