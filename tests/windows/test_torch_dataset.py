import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from biot_bd import PercentileScaler, prepare
from biot_bd.windows.torch_dataset import Batch, WindowsDataset, collate_windows


@pytest.fixture
def windows(small, tmp_path):
    return prepare(small, tmp_path / "w").map(PercentileScaler())


def test_a_loader_gives_what_the_windows_hold(windows):
    dataset = WindowsDataset(windows, windows.y)
    order = torch.Generator().manual_seed(0)
    loader = DataLoader(dataset, batch_size=8, shuffle=True, generator=order, collate_fn=collate_windows)
    expected = DataLoader(
        list(zip(np.asarray(windows), windows.y, strict=True)),
        batch_size=8,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
    )
    for (x, y), (x_expected, y_expected) in zip(loader, expected, strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(x, x_expected)
        assert torch.equal(y, y_expected)


def test_single_windows_and_subsets(windows):
    dataset = WindowsDataset(windows, windows.y)
    x, y = dataset[3]
    assert torch.equal(x, torch.from_numpy(windows[3]))
    assert int(y) == windows.y[3]
    x, y = next(iter(DataLoader(Subset(dataset, [9, 4]), batch_size=2, collate_fn=collate_windows)))
    assert torch.equal(x, torch.from_numpy(windows.read([9, 4])))
    assert y.tolist() == windows.y[[9, 4]].tolist()


def test_only_ready_batches_pass_unchanged(windows):
    batch = WindowsDataset(windows).__getitems__([0, 1])
    assert isinstance(batch, Batch)
    assert collate_windows(batch) is batch
    assert batch[1].tolist() == [0, 0]
    x, y = collate_windows([(torch.zeros(3), 1), (torch.ones(3), 0)])
    assert x.shape == (2, 3)
    assert y.tolist() == [1, 0]


def test_in_worker_processes(windows):
    loader = DataLoader(WindowsDataset(windows), batch_size=16, num_workers=1, collate_fn=collate_windows)
    found = torch.cat([x for x, _ in loader])
    assert torch.equal(found, torch.from_numpy(np.asarray(windows)))


def test_targets_fit_the_windows(windows):
    with pytest.raises(ValueError, match="one target a window"):
        WindowsDataset(windows, np.zeros(3))
