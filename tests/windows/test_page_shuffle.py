"""PageShuffle: a permutation, repeatable, close to uniform as its closed form says, local in the files."""

import numpy as np
import pytest
from scipy.stats import kstest

from biot_bd import prepare
from biot_bd.windows import page_shuffle
from biot_bd.windows.page_shuffle import PageShuffle, beyond_memory, memory_limit


@pytest.fixture(scope="module")
def windows(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    items = [(make.edf(folder / f"{i}.edf", 60, i), f"r{i}", f"p/{i}", [(12, 27)]) for i in range(3)]
    return prepare(make.dataset(items), folder / "w", window_s=2, stride_s=0.25)


@pytest.mark.parametrize(("block", "buffer"), [(1, 1), (8, 64), (64, 128), (7, 50), (1000, 3), (5, 10**6)])
def test_every_window_comes_once(windows, block, buffer):
    sampler = PageShuffle(windows, block, buffer, seed=0)
    for _ in range(3):
        assert sorted(sampler) == list(range(len(windows)))
    assert len(sampler) == len(windows)


def test_positions_in_a_selection(windows):
    rows = np.random.default_rng(0).permutation(len(windows))[:100]
    sampler = PageShuffle(windows, 8, 32, positions=rows)
    assert sorted(sampler) == list(range(100))
    shuffled = windows[np.random.default_rng(1).permutation(len(windows))]
    assert sorted(PageShuffle(shuffled, 8, 32)) == list(range(len(windows)))
    assert list(PageShuffle(windows, positions=[])) == []


def test_epochs_repeat_and_go_on(windows):
    first = PageShuffle(windows, 8, 64, seed=3)
    epochs = [list(first) for _ in range(3)]
    again = PageShuffle(windows, 8, 64, seed=3)
    assert [list(again) for _ in range(3)] == epochs
    assert epochs[0] != epochs[1]
    resumed = PageShuffle(windows, 8, 64, seed=3)
    resumed.epoch = 2
    assert list(resumed) == epochs[2]
    assert list(PageShuffle(windows, 8, 64, seed=4)) != epochs[0]


def test_the_place_of_a_window_is_uniform(windows):
    sampler = PageShuffle(windows, 8, 64, seed=0)
    places = np.empty((400, len(windows)))
    for epoch in places:
        epoch[list(sampler)] = np.arange(len(windows))
    for window in (0, 5, len(windows) // 2, len(windows) - 1):
        assert kstest((places[:, window] + 0.5) / len(windows), "uniform").pvalue > 1e-3


def test_batches_mix_as_the_closed_form_says(windows):
    k, m, batch = 8, 88, 44
    n = len(windows) // m * m
    chosen = windows[:n]
    sampler = PageShuffle(chosen, k, m, seed=1)
    pairs = []
    for _ in range(150):
        order = np.array(list(sampler)).reshape(-1, batch)
        # Which block a window was in depends on the epoch's start: count pairs of every distance below k instead,
        # of which a share of (k - d) / k lies in one block.
        distance = np.abs(order[:, :, None] - order[:, None, :])
        near = (distance > 0) & (distance < k)
        pairs.append(near.sum() / 2 / len(order))
    together = batch * (batch - 1) / 2 * (k - 1) / (m - 1)
    # Pairs that are near but of two blocks meet only by chance.
    share = (k - 1) / 2 / (k - 1)
    apart = batch * (batch - 1) / 2 * 2 * (k - 1) * (1 - share) / n
    assert np.mean(pairs) == pytest.approx(together + apart, rel=0.06)


def test_a_buffer_reads_few_regions(windows):
    order = np.array(list(PageShuffle(windows, 32, 96, seed=0)))
    for buffer in np.array_split(order, -(-len(order) // 96)):
        regions = 1 + int((np.diff(np.sort(windows.places[buffer])) > 2 * 400).sum())
        assert regions <= 96 / 32 + 2  # its blocks, and those that were cut at its ends
    spread = np.random.default_rng(0).permutation(len(order))[:96]
    assert (np.diff(np.sort(windows.places[spread])) > 50).sum() > 20


def test_the_next_buffer_is_asked_for(windows, monkeypatch):
    asked = []
    monkeypatch.setattr(type(windows), "will_need", lambda self, rows: asked.append(set(rows.tolist())))
    order = list(PageShuffle(windows, 8, 100, seed=0))
    sizes = [len(part) for part in np.array_split(order, -(-len(order) // 100))]
    assert asked == [set(order[a : a + n]) for a, n in zip(np.cumsum(sizes[:-1]), sizes[1:], strict=True)]


def test_asking_ahead_changes_nothing_that_is_read(windows):
    before = windows.read([3, 200])
    windows.will_need(np.arange(len(windows)))
    windows.will_need([])
    np.testing.assert_array_equal(windows.read([3, 200]), before)
    with pytest.raises(IndexError):
        windows.will_need([len(windows)])


def test_a_store_is_beyond_memory_by_its_files(windows, monkeypatch):
    files = sum(p.stat().st_size for p in (windows.folder / "signals").glob("*.npy"))
    assert files - 3 * 256 < windows.nbytes < files
    assert memory_limit() > windows.nbytes
    assert not beyond_memory(windows)
    monkeypatch.setattr(page_shuffle, "memory_limit", lambda: windows.nbytes - 1)
    assert beyond_memory(windows)
    assert not beyond_memory(windows[:10])  # in one of the files
    assert not beyond_memory(np.zeros((3, 4, 5)))


def test_sizes_are_checked(windows):
    with pytest.raises(ValueError, match="at least 1"):
        PageShuffle(windows, 0)
    with pytest.raises(ValueError, match="at least 1"):
        PageShuffle(windows, 8, 0)
