"""Digests tell every change of a tensor; the watch tells most, at once."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from biot_bd.models import BIOT
from biot_bd.models.weight_identity import WeightsWatch, weight_digests


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 21), st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
def test_one_bit_of_one_number_tells(place, dtype):
    weights = nn.ParameterDict({"a": torch.ones(2, 5), "b": torch.ones(12)}).to(dtype)
    before = weight_digests(weights)
    assert weight_digests(copy.deepcopy(weights)) == before
    name, flat = ("a", place) if place < 10 else ("b", place - 10)
    with torch.no_grad():
        bits = weights[name].view(-1).view(torch.uint8)
        bits[flat * bits.numel() // weights[name].numel()] ^= 1
    assert {key for key, value in weight_digests(weights).items() if value != before[key]} == {name}


@pytest.mark.parametrize("change", [lambda t: t.double(), lambda t: t.reshape(4, 3), lambda t: -t])
def test_dtype_shape_and_values_tell(change):
    first, other = nn.ParameterDict({"a": torch.ones(3, 4)}), nn.ParameterDict({"a": change(torch.ones(3, 4))})
    assert weight_digests(first)["a"] != weight_digests(other)["a"]


def test_tensors_of_other_kinds_have_digests():
    net = model()
    assert set(weight_digests(net.to("meta"))) == set(weight_digests(model()))
    buffers = nn.Module()
    buffers.register_buffer("sparse", torch.eye(3).to_sparse())
    buffers.register_buffer("scalar", torch.tensor(True))
    buffers.register_buffer("empty", torch.empty(0))
    buffers.register_buffer("complex", torch.ones(2, dtype=torch.complex64))
    before = weight_digests(buffers)
    buffers.sparse = torch.eye(3).mul(2).to_sparse()
    assert {name for name, value in weight_digests(buffers).items() if value != before[name]} == {"sparse"}


CHANGES = {
    "in place": lambda net: net[0].weight.detach().add_(1),
    "load_state_dict": lambda net: net.load_state_dict(net.state_dict()),
    "replaced layer": lambda net: setattr(net, "2", copy.deepcopy(net[2])),
    "replaced tensor": lambda net: setattr(net[0], "bias", nn.Parameter(torch.zeros(4))),
    "another layer": lambda net: net.append(nn.Linear(2, 2)),
    "buffers": lambda net: net.train()(torch.randn(5, 3)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_watch_sees(change):
    net = model()
    watch = WeightsWatch(net)
    net(torch.randn(5, 3))
    net.train().eval().requires_grad_(False)
    assert watch.untouched(net)
    change(net)
    assert not watch.untouched(net)


def test_inference_tensors_can_be_watched():
    with torch.inference_mode():
        net = model()
    assert WeightsWatch(net).untouched(net)


def test_a_reset_head_is_where_the_old_one_was_and_known_as_fresh():
    net = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=4, n_times=400, n_outputs=2).double().eval()
    assert net.fresh_head is None
    net.reset_head(3)
    assert not any(part.training for part in net.modules())
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert net.fresh_head == weight_digests(net.final_layer)
    assert net(torch.randn(2, 4, 400, dtype=torch.float64)).shape == (2, 3)
