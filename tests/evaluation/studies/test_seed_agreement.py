"""What a study tells TensorBoard of its seeds."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from biot_bd.evaluation.studies.seed_agreement import write_seed_agreement


def write_log(folder, seed, windows="the same"):
    ratio = torch.rand(4, 4, generator=torch.Generator().manual_seed(seed)) + 0.5
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("attention/windows", windows, 1)
        writer.add_tensor("attention_map/only", ratio, 1)
    return np.log(ratio.double().numpy()).ravel()


def test_folds_of_the_same_data_are_compared_and_others_are_not(tmp_path):
    maps = [write_log(tmp_path / f"biot/seed-{seed}/tensorboard/fold-00", seed) for seed in (3, 4)]
    for seed in (3, 4):
        write_log(tmp_path / f"biot/seed-{seed}/tensorboard/fold-01", seed, windows=f"of seed {seed}")
        (tmp_path / f"length/seed-{seed}").mkdir(parents=True)  # no curves at all
    for _ in range(2):  # the second call takes the place of the first
        write_seed_agreement(tmp_path, ["biot", "length"], (3, 4))
        target = tmp_path / "biot" / "attention-agreement"
        assert [path.name for path in target.iterdir()] == ["fold-00"]
        events = EventAccumulator(str(target / "fold-00")).Reload()
        (point,) = events.Scalars("attention_agreement/only")
        assert point.value == pytest.approx(np.corrcoef(*maps)[0, 1], abs=1e-6)
    assert not (tmp_path / "length" / "attention-agreement").exists()
