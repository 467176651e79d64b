"""Windows in the memory of a device: the numbers of the memory maps to the digit, shared, refused where there is no room."""

import gc
import multiprocessing
import pickle
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset

from biot_bd import PercentileScaler, Resampler, Windows, prepare
from biot_bd.exceptions import DeviceMemoryError
from biot_bd.training.input_data import SignalData
from biot_bd.windows import device_signals
from biot_bd.windows.device_signals import (
    WindowsAsRead,
    WindowsOfSignals,
    free_device_signals,
    put_windows,
    windows_there,
)
from biot_bd.windows.stored_signals import StoredSignals
from biot_bd.windows.torch_dataset import HeldDataset, OnDevice, WindowNumbers, collate_windows


@pytest.fixture(autouse=True)
def nothing_left():
    free_device_signals()
    yield
    free_device_signals()


@pytest.fixture
def windows(make, tmp_path):
    """Overlapping windows of two recordings; one lacks a channel."""

    def flat(digital):
        digital[3] = 0

    files = [
        make.edf(tmp_path / f"{name}.edf", seconds, seed, change)
        for seed, (name, seconds, change) in enumerate([("a", 40, None), ("b", 30, flat)])
    ]
    source = make.dataset([(files[0], "a", "p/0", [(3, 20)]), (files[1], "b", "p/1", [(5, 12)])])
    return prepare(source, tmp_path / "w", stride_s=2)


def read_there(there, rows):
    return there.take(torch.as_tensor(rows)).numpy()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_chans=st.integers(1, 4),
    n_times=st.integers(1, 30),
    longer=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    n=st.integers(1, 50),
)
def test_windows_are_cut_from_the_signals_one_behind_the_other(seed, n_chans, n_times, longer, n):
    rng = np.random.default_rng(seed)
    files = [rng.integers(-(2**15), 2**15, (n_chans, n_times + more)).astype(np.int16) for more in longer]
    begins = np.cumsum([0, *(x.shape[1] for x in files)])
    which = rng.integers(0, len(files), n)
    start = np.array([rng.integers(0, longer[i] + 1) for i in which])
    scales = rng.uniform(1e-3, 2, (n, n_chans)).astype(np.float32)
    scales[rng.random(scales.shape) < 0.2] = np.nan
    stored = StoredSignals("key", (n_chans, begins[-1]), begins[which] + start, scales, n_times, lambda: iter(files))
    there = device_signals._of_signals(stored, torch.device("cpu"))
    rows = rng.integers(0, n, 20)
    cut = np.array([files[which[i]][:, start[i] : start[i] + n_times] for i in rows])
    np.testing.assert_array_equal(read_there(there, rows), cut.astype(np.float32) * scales[rows][..., None])
    assert there.nbytes == stored.nbytes


@pytest.mark.parametrize("steps", [[], [PercentileScaler()]], ids=["microvolts", "scaled"])
def test_they_are_those_of_the_store_to_the_digit(windows, steps):
    for step in steps:
        windows = windows.map(step)
    selection = windows[::-1][:17]
    assert not selection.present.all()
    for part in (windows, selection, selection[:1]):
        there = put_windows(part, "cpu", True)
        assert isinstance(there, WindowsOfSignals)
        rows = np.random.default_rng(0).integers(0, len(part), 30)
        np.testing.assert_array_equal(read_there(there, rows), part.read(rows))


def test_overlapping_windows_folds_and_other_labels_share_one_copy(windows):
    first, second = (put_windows(part, "cpu", True) for part in (windows[:5], windows[5:].map(PercentileScaler())))
    relabelled = windows.relabel("overlap", window_s=4, stride_s=1)
    third = put_windows(relabelled, "cpu", True)
    assert first.signals is second.signals is third.signals
    np.testing.assert_array_equal(read_there(third, [0, 30]), relabelled.read([0, 30]))
    samples = sum(recording.n_samples for recording in windows.entries)
    assert first.signals.nbytes == 2 * 16 * samples < relabelled.read(range(len(relabelled))).nbytes / 4


def test_other_stores_and_steps_lie_there_as_they_are_read(windows, tmp_path, make):
    float32 = prepare(
        make.dataset([(make.edf(tmp_path / "c.edf", 40, 5), "c", "p/2", [(1, 4)])]), tmp_path / "f", dtype="float32"
    )
    x = np.random.default_rng(0).normal(size=(6, 2, 9))
    for other in (float32, windows.map(PercentileScaler(90)), windows.map(Resampler(100)), SignalData(x)):
        there = put_windows(other, "cpu", True)
        assert isinstance(there, WindowsAsRead)
        rows = np.array([5, 0, 0, 3])
        np.testing.assert_array_equal(read_there(there, rows), other.read(rows))
    assert windows_there(windows, "cpu") is None  # they are for one fit


def test_corpora_with_other_channels_lie_in_one_set_of_rows(windows, make, tmp_path):
    edf = make.edf(tmp_path / "d.edf", 30, 7)
    other = prepare(make.dataset([(edf, "d", "q/1", [(3, 9)])]), tmp_path / "o", montage="double-banana-18")
    mixed = Windows.mix([windows, other]).map(PercentileScaler())
    assert len(mixed.ch_names) == 18
    there = put_windows(mixed, "cpu", True)
    assert isinstance(there, WindowsOfSignals)
    np.testing.assert_array_equal(read_there(there, np.arange(len(mixed))), mixed.read(np.arange(len(mixed))))


def test_they_stay_for_the_next_fit_until_another_store_comes(windows, make, tmp_path):
    assert windows_there(windows, "cpu") is None
    signals = weakref.ref(put_windows(windows, "cpu", True).signals)
    gc.collect()
    assert windows_there(windows[3:9], "cpu").signals is signals()
    edf = make.edf(tmp_path / "e.edf", 20, 3)
    other = prepare(make.dataset([(edf, "e", "q/2", [(3, 9)])]), tmp_path / "other")
    put_windows(other, "cpu", True)
    gc.collect()
    assert signals() is None
    assert windows_there(windows, "cpu") is None
    free_device_signals()
    assert windows_there(other, "cpu") is None


def test_unasked_only_a_gpu_with_room_gets_them(windows, monkeypatch):
    needed = windows.stored_signals().nbytes
    assert put_windows(windows, "cpu", "auto") is None
    assert put_windows(windows, "cpu", False) is None
    assert put_windows(windows[:0], "cpu", True) is None
    made = []
    monkeypatch.setattr(device_signals, "exact_device", lambda device: torch.device("cuda", 0))
    monkeypatch.setattr(device_signals, "_of_signals", lambda stored, device: made.append(device))
    for free, n_made in ((None, 0), (int(3.9 * needed), 0), (int(4.1 * needed), 1)):
        monkeypatch.setattr(device_signals, "free_memory", lambda device, free=free: free)
        put_windows(windows, "cuda", "auto")
        assert len(made) == n_made


def test_what_does_not_fit_is_refused_with_numbers(windows, monkeypatch):
    monkeypatch.setattr(device_signals, "free_memory", lambda device: windows.stored_signals().nbytes)
    with pytest.raises(
        DeviceMemoryError, match=r"need 0\.00\d+ GiB on cpu, of which .* are free .*take 'auto' or False"
    ):
        put_windows(windows, "cpu", True)


def _numbers(dataset, queue):
    batch = dataset.__getitems__([1, 0])[0]
    with pytest.raises(RuntimeError, match="of another process"):
        batch.unpack()
    queue.put(pickle.dumps(batch))


@pytest.mark.slow
def test_another_process_hands_out_numbers_and_this_one_gathers(windows):
    there = put_windows(windows, "cpu", True)
    dataset = HeldDataset(windows, None, None, there)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_numbers, args=(dataset, queue))
    process.start()
    batch = pickle.loads(queue.get(timeout=120))
    process.join()
    assert batch.there is there
    np.testing.assert_array_equal(batch.unpack().numpy(), windows.read([1, 0]))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_come_out_of_a_loader_as_others_do(windows, num_workers):
    windows, y = windows.map(PercentileScaler()), np.arange(len(windows))
    dataset = Subset(HeldDataset(windows, y, None, put_windows(windows, "cpu", True)), range(len(windows) - 1, -1, -1))
    loader = DataLoader(dataset, batch_size=7, collate_fn=collate_windows, num_workers=num_workers)
    assert isinstance(next(iter(loader))[0], WindowNumbers)
    x, targets = zip(*OnDevice(loader, "cpu"), strict=True)
    np.testing.assert_array_equal(torch.cat(x), np.asarray(windows)[::-1])
    assert torch.cat(targets).tolist() == y[::-1].tolist()
