"""Targets are standardised by what the docs say; nothing else changes."""

import pytest
import torch

from biot_bd.pretraining import TargetScale


@pytest.fixture
def content():
    return torch.randn(3, 2, 6, 5, generator=torch.Generator().manual_seed(0)) * 4 + 7


@pytest.fixture
def visible():
    shown = torch.ones(3, 2, 6, dtype=torch.bool)
    shown[:, :, 2:4] = False
    shown[0, 1] = False
    return shown


def test_by_channel_the_mean_is_of_visible_tokens_and_the_spread_of_all(content, visible):
    target = TargetScale.of(content, visible, "channel").target(content)
    assert torch.allclose(target.square().mean((2, 3)), torch.ones(3, 2), atol=1e-5)
    assert torch.allclose(target[1, :, visible[1, 0]].mean((1, 2)), torch.zeros(2), atol=1e-5)
    # A channel that is hidden throughout is centred by the window's other channel.
    expected = content[0, 1] - content[0, 0, visible[0, 0]].mean()
    assert torch.allclose(target[0, 1], expected / expected.square().mean().sqrt(), atol=1e-5)


def test_by_token_targets_are_layer_norms(content, visible):
    target = TargetScale.of(content, visible, "token").target(content)
    assert torch.allclose(target, torch.nn.functional.layer_norm(content, (5,), eps=1e-6))


def test_by_channel_a_guess_is_scaled_as_its_target(content, visible):
    scale = TargetScale.of(content, visible, "channel")
    assert torch.equal(scale.guess(content), scale.target(content))


def test_by_token_a_guess_has_no_level_and_keeps_its_smoothness(content, visible):
    scale = TargetScale.of(content, visible, "token")
    flat = torch.full_like(content, 3.0)
    assert not scale.guess(flat).any()
    spread = content[1, 0, visible[1, 0]].var(1, correction=0).mean().sqrt()
    assert torch.allclose(
        scale.guess(content)[1, 0], (content[1, 0] - content[1, 0].mean(-1, keepdim=True)) / spread, atol=1e-4
    )


def test_without_a_scale_nothing_changes(content, visible):
    scale = TargetScale.of(content, visible, None)
    assert scale.target(content) is content
    assert scale.guess(content) is content


def test_a_scale_that_there_is_not_is_refused(content, visible):
    with pytest.raises(ValueError, match="'channel', 'token' or None; found 'window'"):
        TargetScale.of(content, visible, "window")
