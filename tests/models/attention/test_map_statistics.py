"""Entropy and effective rank of attention maps, against scipy, numpy and maps that are known by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from biot_bd.models import BIOT, effective_rank, entropy, record_attention


def random_maps(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.3), shape[:-1]))


@pytest.fixture(scope="module")
def records():
    torch.manual_seed(0)
    model = BIOT(embed_dim=16, num_heads=2, num_layers=2, n_chans=3, n_times=400, n_outputs=2).eval()
    x = torch.randn(2, 3, 400)
    x[1, 2] = torch.nan
    with torch.no_grad(), record_attention(model) as trace:
        model(x)
    return trace.maps.records


def test_maps_that_are_known_by_hand():
    halves = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]])
    maps = torch.stack([torch.full((4, 4), 0.25), torch.eye(4), halves])
    assert entropy(maps).tolist() == pytest.approx([1, 0, 0.5])
    assert effective_rank(maps).tolist() == pytest.approx([1, 4, 2])
    assert entropy(torch.ones(1, 1)).item() == 0


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 7))
@settings(max_examples=15, deadline=None)
def test_they_are_those_of_scipy_and_numpy(seed, n_queries, n_keys):
    maps = random_maps(seed, 2, n_queries, n_keys)
    expected = stats.entropy(maps.numpy(), axis=-1).mean(axis=-1) / np.log(n_keys)
    np.testing.assert_allclose(entropy(maps), expected, atol=1e-12)
    sizes = np.linalg.svd(maps.numpy(), compute_uv=False)
    np.testing.assert_allclose(effective_rank(maps), np.exp(stats.entropy(sizes, axis=-1)), rtol=1e-9)
    order = np.random.default_rng(seed).permutation(n_keys)
    np.testing.assert_allclose(effective_rank(maps[..., order]), effective_rank(maps), rtol=1e-9)


def test_absent_tokens_count_neither_as_queries_nor_as_keys():
    maps = random_maps(0, 1, 2, 3, 3)
    wide = torch.full((1, 2, 4, 4), torch.nan, dtype=torch.float64)
    there = [0, 2, 3]
    wide[:, :, torch.tensor(there)[:, None], torch.tensor(there)] = maps
    present = torch.tensor([[True, False, True, True]])
    for function in (entropy, effective_rank):
        np.testing.assert_allclose(function(wide, present), function(maps), rtol=1e-12)
        with pytest.raises(ValueError, match="not finite"):
            function(wide)


def test_a_record_of_linear_attention_gives_those_of_its_map_without_absent_channels(records):
    for record in records:
        for function in (entropy, effective_rank):
            found = function(record)
            np.testing.assert_allclose(found[0], function(record.weights[0].double()), rtol=1e-6)
            left = record.weights[1][:, record.key_mask[1]][:, :, record.key_mask[1]].double()
            np.testing.assert_allclose(found[1], function(left), rtol=1e-6)
        assert (effective_rank(record) <= 8 + 1e-9).all()  # features of a head


@pytest.mark.parametrize("wrong", [torch.ones(3), torch.ones(2, 2, dtype=torch.int64), np.ones((2, 2))])
def test_what_is_no_map_is_refused(wrong):
    for function in (entropy, effective_rank):
        with pytest.raises(ValueError, match="expected attention maps"):
            function(wrong)
    with pytest.raises(ValueError, match="present must be"):
        entropy(torch.ones(2, 3, 3), torch.ones(2, 4, dtype=torch.bool))
