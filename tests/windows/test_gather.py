"""The gather, packed batches and their memory against the slow truth: float64 numpy on the stored values."""

import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from biot_bd import MontageMapper, PercentileScaler, Resampler, Windows, prepare
from biot_bd.training.input_data import SignalData
from biot_bd.windows import gather as reading
from biot_bd.windows.gather import Located, in_threads
from biot_bd.windows.torch_dataset import OnDevice, PackedDataset, PackedWindows, WindowsDataset, collate_windows


@pytest.fixture
def threads(monkeypatch):
    """Read with three threads, whatever the machine has."""
    monkeypatch.setattr(reading, "_threads", lambda pid: 3)


@st.composite
def batches(draw):
    """Recordings of random lengths, windows of them in any order and repeated, some channels absent."""
    n_chans, n_times = draw(st.integers(1, 5)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtypes = draw(st.lists(st.sampled_from([np.int16, np.float32]), min_size=1, max_size=3))
    if draw(st.booleans()):
        dtypes = [dtypes[0]] * len(dtypes)
    files = [
        rng.integers(-(2**15), 2**15, (n_chans, n_times + int(rng.integers(0, 90)))).astype(dtype) for dtype in dtypes
    ]
    which = rng.integers(0, len(files), draw(st.integers(0, 150)))
    start = [int(rng.integers(0, files[i].shape[1] - n_times + 1)) for i in which]
    scales = rng.uniform(1e-3, 2, (len(which), n_chans)).astype(np.float32)
    scales[rng.random(scales.shape) < 0.2] = np.nan
    return [files[i] for i in which], start, scales, n_times


def truth(signals, start, scales, n_times):
    windows = [x[:, a : a + n_times].astype(np.float64) for x, a in zip(signals, start, strict=True)]
    return np.array(windows).reshape(len(start), scales.shape[1], n_times) * scales[..., None].astype(np.float64)


@settings(max_examples=80, deadline=None)
@given(batch=batches(), n_threads=st.integers(1, 4))
def test_the_gather_is_the_product(batch, n_threads):
    signals, start, scales, n_times = batch
    expected = truth(*batch)
    located = Located(signals, start, [n_times] * len(start), scales, n_times)
    out = np.full(expected.shape, 7, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_threads", lambda pid: n_threads)
        assert located.read(out) is out
        np.testing.assert_allclose(out, expected, rtol=1e-6)
        if located.packed == np.int16:
            values = np.empty(expected.shape, np.int16)
            factors = located.read_packed(values)
            np.testing.assert_array_equal(values * factors[..., None], out)
    if len({id(x) for x in signals}) == 1:
        n = len(start)
        again = Located([signals[0]] * n, list(start), [n_times] * n, scales, n_times).read(np.empty_like(out))
        np.testing.assert_array_equal(again, out)


@settings(max_examples=80, deadline=None)
@given(batch=batches().filter(lambda b: b[3] > 20), q=st.one_of(st.just(95.0), st.floats(5, 100)))
def test_percentiles_on_reading_are_numpys(batch, q):
    signals, start, steps, n_times = batch
    signals = [x.astype(np.int16) for x in signals]
    x = truth(signals, start, steps, n_times)
    expected = x / (np.quantile(np.abs(x), q / 100, axis=-1, keepdims=True) + 1e-8)
    located = Located(signals, start, [n_times] * len(start), steps, n_times, q)
    out = located.read(np.empty(x.shape, np.float32))
    if out is not None:  # else a channel may be flat, and the scaler decides
        np.testing.assert_allclose(out, expected, rtol=2e-6)


def test_work_is_shared_out_in_order(threads):
    for n in (0, 1, 31, 63, 64, 97, 256, 1000):
        pieces = in_threads(n, lambda first, stop: (first, stop))
        assert [i for first, stop in pieces for i in range(first, stop)] == list(range(n))
        assert len(pieces) == (min(3, n // 32) or bool(n))


def test_an_error_in_a_thread_is_raised(threads):
    def part(first, stop):
        if first:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        in_threads(256, part)


@pytest.fixture
def stores(small, tmp_path):
    """The same recordings as int16, as float32, and resampled window by window."""
    return {
        "int16": prepare(small, tmp_path / "int16"),
        "float32": prepare(small, tmp_path / "float32", dtype="float32"),
        "fft-window": prepare(small, tmp_path / "fft", resample="fft-window"),
    }


STEPS = {
    "microvolts": [],
    "cached": [PercentileScaler(95)],
    "exact": [PercentileScaler(90)],
    "resampled": [Resampler(100), PercentileScaler(95)],
    "mapped": [MontageMapper("double-banana-18", on_missing="drop")],
}


@pytest.mark.parametrize("dtype", ["int16", "float32", "fft-window"])
@pytest.mark.parametrize("steps", STEPS)
def test_every_way_to_a_batch_gives_the_same(stores, dtype, steps, threads):
    windows = stores[dtype]
    array = np.asarray(windows)
    expected = array
    present = ~np.isnan(array).all(axis=-1)
    info = windows.info
    for step in STEPS[steps]:
        expected, present = step.apply(expected, present, info)
        info = step.output_info(info)
        windows = windows.map(step)
    order = np.random.default_rng(0).integers(0, len(windows), 100)
    close = {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(windows.read(order), expected[order], **close)
    out = np.empty((100, *windows.shape[1:]), np.float32)
    assert windows.read(order, out) is out
    np.testing.assert_allclose(out, expected[order], **close)
    values, scales = windows.read_packed(order)
    assert (values.dtype == np.int16) == (dtype == "int16" and steps in ("microvolts", "cached", "exact"))
    np.testing.assert_allclose(values * scales[..., None], expected[order], **close)
    assert windows.always_finite == (values.dtype == np.int16)
    packed = PackedWindows(torch.from_numpy(values), torch.from_numpy(scales)).to("cpu", non_blocking=True)
    np.testing.assert_allclose(packed.unpack().numpy(), expected[order], **close)
    np.testing.assert_array_equal(packed.values.numpy(), values)  # unpacking changes nothing in place
    assert len(packed) == 100


def test_out_must_fit(stores):
    windows = stores["int16"]
    for out in (
        np.empty((2, 16, 2000)),
        np.empty((3, 16, 2000), np.float32),
        np.empty((2, 16, 4000), np.float32)[..., ::2],
    ):
        with pytest.raises(ValueError, match="out must be contiguous float32"):
            windows.read([0, 1], out)


def test_a_flat_channel_is_still_told_when_percentiles_are_computed_on_reading(make, tmp_path):
    def spoil(digital):
        digital[3, 10 * 256 : 21 * 256 - 700] = 0  # nearly, but not all, of the window from 10 s: its median is 0

    source = make.dataset([(make.edf(tmp_path / "a.edf", 60, 0, spoil), "a", "p/0", [])])
    windows = prepare(source, tmp_path / "w", stride_s=10, sfreq=256)
    assert windows.present.all()
    with pytest.raises(ValueError, match="flat"):
        windows.map(PercentileScaler(50)).read(np.arange(6))
    dropped = windows.map(PercentileScaler(50, on_bad="drop"))
    x = dropped.read(np.arange(6))
    assert np.isnan(x[1, 3]).all()
    assert np.isnan(x).sum() == 2560
    values, scales = dropped.read_packed(np.arange(6))
    np.testing.assert_array_equal(values * scales[..., None], x)


def test_batches_of_several_stores(stores, make, tmp_path):
    other = prepare(make.dataset([(make.edf(tmp_path / "z.edf", 30, 9), "z", "q/1", [(3, 20)])]), tmp_path / "z")
    both = Windows.concat([stores["int16"], other]).map(PercentileScaler())
    order = np.random.default_rng(1).permutation(len(both))
    parts = np.concatenate([np.asarray(w.map(PercentileScaler())) for w in (stores["int16"], other)])
    np.testing.assert_array_equal(both.read(order), parts[order])
    mixed = Windows.concat([stores["int16"], stores["float32"]])
    expected = np.concatenate([np.asarray(stores["int16"]), np.asarray(stores["float32"])])
    order = np.random.default_rng(1).permutation(len(mixed))
    np.testing.assert_array_equal(mixed.read(order), expected[order])


def test_memory_is_used_again_only_when_nothing_refers_to_it(stores):
    windows = stores["int16"].map(PercentileScaler())
    dataset = WindowsDataset(windows)
    rows = np.arange(40)
    first = dataset.__getitems__(rows)[0]
    address, kept = first.data_ptr(), first[3, 2:4]
    expected = kept.clone()
    del first
    second = dataset.__getitems__(rows[::-1].copy())[0]
    assert second.data_ptr() != address  # a view of the first is still in use
    assert torch.equal(kept, expected)
    del kept
    third = dataset.__getitems__(rows)[0]
    assert third.data_ptr() == address
    np.testing.assert_array_equal(third, windows.read(rows))
    np.testing.assert_array_equal(second, windows.read(rows[::-1]))
    assert pickle.loads(pickle.dumps(dataset)).__getitems__(rows)[0].shape == (40, 16, 2000)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("wrap", [lambda windows: windows, SignalData], ids=["windows", "classifier"])
def test_packed_batches_come_out_of_a_loader_as_others_do(stores, num_workers, wrap):
    windows = stores["int16"].map(PercentileScaler())
    y = np.arange(len(windows))
    loader = DataLoader(
        PackedDataset(wrap(windows), y), batch_size=16, collate_fn=collate_windows, num_workers=num_workers
    )
    batches = OnDevice(loader, "cpu")
    assert len(batches) == len(loader)
    assert batches.batch_size == 16
    x, targets = zip(*batches, strict=True)
    np.testing.assert_allclose(torch.cat(x), np.asarray(windows), rtol=1e-6)
    assert torch.cat(targets).tolist() == y.tolist()
    assert isinstance(next(iter(loader))[0], PackedWindows)


def _thread_count(queue):
    queue.put(reading._threads(-1))


def test_workers_read_in_one_thread():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_thread_count, args=(queue,))
    process.start()
    assert queue.get(timeout=120) == 1
    process.join()
