"""Micro-batches that compute their activations again, against one pass over the same parts."""

import pytest
import torch
from torch import nn

from biot_bd.pretraining.micro_batches import in_micro_batches


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.GELU(), nn.Linear(8, 3))


def across_windows(z):
    return torch.logsumexp(z @ z.T, dim=1).mean()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_dropout_is_the_same_when_activations_are_computed_again(size):
    net, x = network(), torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    gradients = []
    for way in ("kept", "again"):
        net.zero_grad()
        torch.manual_seed(2)
        parts = x.split(size)
        z = (
            torch.cat([net(part) for part in parts])
            if way == "kept"
            else in_micro_batches(lambda part: (net(part),), size, x)[0]
        )
        across_windows(z).backward()
        gradients.append([p.grad.clone() for p in net.parameters()] + [torch.rand(1)])  # random numbers go on alike
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_no_more_than_one_micro_batch_is_ever_computed_at_a_time():
    net, x, sizes = network(), torch.randn(7, 4), []

    def watched(part, extra):
        assert extra is None
        sizes.append(len(part))
        return (net(part),)

    (z,) = in_micro_batches(watched, 3, x, None)
    assert sizes == [3, 3, 1]
    across_windows(z).backward()
    assert sorted(sizes) == [1, 1, 3, 3, 3, 3]
    del sizes[:]
    with torch.no_grad():
        in_micro_batches(watched, 3, x, None)
        in_micro_batches(watched, None, x, None)
    assert sizes == [3, 3, 1, 7]


@pytest.mark.parametrize(("size", "widths"), [(None, {2, 50}), (2, {2})])
def test_only_inputs_are_kept_where_activations_are_computed_again(size, widths):
    wide, x, kept = nn.Sequential(nn.Linear(2, 50), nn.GELU(), nn.Linear(50, 3)), torch.randn(6, 2), set()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.add(t.shape[-1]) or t, lambda t: t):
        in_micro_batches(lambda part: (wide(part * 1.0),), size, x.requires_grad_())
    assert kept - {2, 3} == widths - {2}


def test_masks_go_with_their_windows():
    x, mask = torch.arange(6.0)[:, None], torch.tensor([True, False] * 3)
    product, number = in_micro_batches(lambda a, m: (a * m[:, None], m.long()), 4, x, mask)
    assert product[:, 0].tolist() == [0, 0, 2, 0, 4, 0]
    assert number.tolist() == [1, 0] * 3
