"""Models that learn the planted task: kept by what made them, trained anew where a file is damaged."""

import pytest
import torch
from torch import nn

from biot_bd import BIOT
from biot_bd.probes import PlantedTask, train_planted
from biot_bd.probes.planted_models import kept_planted_models

TINY = {"parameters": {"embed_dim": 8, "num_heads": 2, "num_layers": 1}, "max_epochs": 1, "n_windows": 64}


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_models_are_repeatable_by_seed_and_kept(tmp_path):
    first, second = train_planted(seeds=[0, 1], folder=tmp_path, **TINY)
    assert isinstance(first.model, BIOT)
    assert not first.model.training
    assert not torch.equal(weights(first.model), weights(second.model))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    written = [file.stat().st_mtime_ns for file in files]
    (again,) = train_planted(seeds=[0], folder=tmp_path, **TINY)
    assert [file.stat().st_mtime_ns for file in files] == written
    assert torch.equal(weights(again.model), weights(first.model))
    assert again.accuracy == first.accuracy
    (anew,) = train_planted(seeds=[0], **TINY)
    assert torch.equal(weights(anew.model), weights(first.model))
    train_planted(seeds=[0], folder=tmp_path, **TINY, lr=1e-2)  # another training, another file
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_file_is_written_anew(tmp_path):
    (first,) = train_planted(seeds=[0], folder=tmp_path, **TINY)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\x00" * 100)
    (again,) = train_planted(seeds=[0], folder=tmp_path, **TINY)
    assert torch.equal(weights(again.model), weights(first.model))
    assert file.stat().st_size > 100


def test_a_folder_that_cannot_be_written_costs_only_the_next_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="not kept"):
        (found,) = train_planted(seeds=[0], folder=tmp_path / "file", **TINY)
    assert found.seed == 0


class ByPower(nn.Module):
    """Another class: it wants no rate."""

    def __init__(self, n_chans, n_outputs):
        super().__init__()
        self.head = nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        return self.head(x.std(dim=-1))


def test_a_class_of_ones_own_learns_the_task():
    (found,) = train_planted(ByPower, seeds=[3], max_epochs=15, lr=0.1, n_windows=200, task=PlantedTask(burst_s=2.0))
    assert isinstance(found.model, ByPower)
    assert found.learnt


@pytest.mark.slow
def test_the_small_biot_learns_the_task(monkeypatch, tmp_path):
    monkeypatch.setenv("BIOT_BD_CACHE", str(tmp_path))
    (found,) = kept_planted_models(seeds=[0])
    assert found.accuracy > 0.97
    assert len(list((tmp_path / "planted").iterdir())) == 1
