"""Maps reduced over tokens, against sums written out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biot_bd.models.attention.maps import attention_received, channel_attention, early_middle_late

CHANS, FRAMES = 3, 4
N = CHANS * FRAMES


def maps(*lead, seed=0):
    weights = np.random.default_rng(seed).random((*lead, N, N))
    return weights / weights.sum(-1, keepdims=True)


@given(st.integers(1, 60))
def test_chosen_layers_are_in_order_and_span_the_depth(depth):
    chosen = early_middle_late(depth)
    numbers = list(chosen.values())
    assert numbers == sorted(set(numbers))
    assert len(chosen) == min(depth, 3)
    assert (numbers[0], numbers[-1]) == (0, depth - 1)
    assert list(chosen) == {1: ["only"], 2: ["early", "late"]}.get(depth, ["early", "middle", "late"])


def test_no_layer_raises():
    with pytest.raises(ValueError, match="one attention layer or more"):
        early_middle_late(0)


def test_uniform_attention_is_received_as_one():
    uniform = np.full((2, N, N), 1 / N)
    np.testing.assert_allclose(attention_received(uniform, CHANS, FRAMES), 1.0)
    np.testing.assert_allclose(channel_attention(uniform, CHANS, FRAMES), 1 / CHANS)


def test_against_sums_written_out():
    weights = maps(2, 3)
    received = attention_received(torch.from_numpy(weights), CHANS, FRAMES)
    between = channel_attention(weights, CHANS, FRAMES)
    assert received.shape == (2, 3, CHANS, FRAMES)
    assert between.shape == (2, 3, CHANS, CHANS)
    token = 1 * FRAMES + 2
    expected = N * np.mean([weights[1, 2, q, token] for q in range(N)])
    assert received[1, 2, 1, 2] == pytest.approx(expected, rel=1e-5)
    pairs = [[weights[1, 2, 2 * FRAMES + i, 0 * FRAMES + j] for j in range(FRAMES)] for i in range(FRAMES)]
    assert between[1, 2, 2, 0] == pytest.approx(np.mean([sum(row) for row in pairs]))
    np.testing.assert_allclose(between.sum(-1), 1)
    np.testing.assert_allclose(received.mean((-1, -2)), 1, rtol=1e-5)


def test_absent_channels_are_left_out():
    kept = np.r_[0:FRAMES, 2 * FRAMES : N]
    small = maps(seed=1)[: len(kept), : len(kept)]
    small /= small.sum(-1, keepdims=True)
    whole = np.full((N, N), np.nan)
    whole[np.ix_(kept, kept)] = small
    received = attention_received(whole, CHANS, FRAMES)
    between = channel_attention(whole, CHANS, FRAMES)
    assert np.isnan(received[1]).all()
    np.testing.assert_allclose(received[[0, 2]], attention_received(small, 2, FRAMES))
    assert np.isnan(between[1]).all()
    assert np.isnan(between[:, 1]).all()
    np.testing.assert_allclose(between[np.ix_([0, 2], [0, 2])], channel_attention(small, 2, FRAMES))


@pytest.mark.parametrize("function", [attention_received, channel_attention])
def test_wrong_layout_raises(function):
    with pytest.raises(ValueError, match="5 channels x 4 frames has 20 queries"):
        function(maps(), 5, 4)
