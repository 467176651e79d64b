"""Batches of several processes: every window once, the same chance as one process has."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, RandomSampler

from biot_bd.pretraining import BatchRandom
from biot_bd.pretraining.batch_random import PositionRandom
from biot_bd.pretraining.epoch_means import EpochMeans
from biot_bd.training.net.processes import Processes
from biot_bd.training.net.shares import OwnBatches
from biot_bd.training.resume import mixed_seed


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_processes_together_see_what_one_sees(n_windows, batch_size, n, training):
    whole = list(BatchSampler(range(n_windows), batch_size, drop_last=training))
    if training and batch_size < n:
        return
    parts = [OwnBatches(whole, rank, n, training) for rank in range(n)]
    given_out = [list(part) for part in parts]
    for part, batches in zip(parts, given_out, strict=True):
        assert len(part) == len(batches) == len(part.places)
        for place, batch in zip(part.places, batches, strict=True):
            start = place.start if training else 0
            assert whole[place.batch][start : start + place.n] == batch
            assert place.n_all == len(whole[place.batch])
            if not training:  # where the windows lie among all
                assert batch == list(range(place.start, place.start + place.n))
    assert sorted(i for batches in given_out for batch in batches for i in batch) == [i for b in whole for i in b]


def test_too_small_a_batch_for_the_processes_raises():
    with pytest.raises(ValueError, match="a batch of 1 windows cannot be shared by 2 processes"):
        list(OwnBatches([[0, 1], [2]], 0, 2))


def test_a_seed_decides_the_order_whatever_was_drawn_before():
    orders = []
    for before in (1, 2):
        torch.manual_seed(before)
        own = OwnBatches(BatchSampler(RandomSampler(range(20)), 4, drop_last=True))
        own.seed = 7
        orders.append(list(own))
        after = torch.rand(1)
        torch.manual_seed(before)
        assert torch.equal(torch.rand(1), after)  # and nothing is drawn from the caller's numbers
    assert orders[0] == orders[1]


def test_parts_of_a_batch_have_the_numbers_of_the_whole():
    whole, parts = BatchRandom(3, 7), [BatchRandom(3, n, start, 7) for start, n in ((0, 4), (4, 3))]
    for draw in ("uniform", "normal"):
        assert torch.equal(getattr(whole, draw)(2, 3), torch.cat([getattr(part, draw)(2, 3) for part in parts]))
    shared = {tuple(part.shared_uniform(5).tolist()) for part in parts}
    assert shared == {tuple(whole.shared_uniform(5).tolist())}


def test_numbers_of_a_place_do_not_depend_on_the_batch_and_are_uniform():
    whole = PositionRandom(0, 600)
    first, second = whole.uniform(4), whole.normal(4)
    part = PositionRandom(100, 3)
    assert torch.equal(part.uniform(4), first[100:103])
    assert torch.equal(part.normal(4), second[100:103])
    assert part.n == part.n_all == 3
    # Means of 2,400 numbers, four standard errors.
    assert abs(float(first.mean()) - 0.5) < 4 * np.sqrt(1 / 12 / 2400)
    assert abs(float(second.mean())) < 4 / np.sqrt(2400)
    assert len(np.unique(first.numpy())) == 2400


def test_seeds_of_epochs_and_batches_are_apart():
    seeds = [mixed_seed(seed, epoch, batch) for seed in range(5) for epoch in range(5) for batch in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 2**63


def test_means_of_several_processes_are_those_of_all_windows():
    class Two(Processes):
        """The other process saw 3 windows of loss 5."""

        def total(self, sums):
            return {"loss": sums["loss"] + 15.0, "n windows": sums["n windows"] + 3}

    means = EpochMeans()
    means.add({"loss": torch.tensor(1.0)}, n=1)
    assert float(means.means(Two())["loss"]) == 4.0
    assert EpochMeans().means() == {}
