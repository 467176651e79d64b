"""DeepLIFT holds where its rules reach, and is refused where they do not."""

import copy

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from biot_bd import BIOT
from biot_bd.probes import DeepLIFTProbe
from biot_bd.probes.baselines import phase_surrogate


def test_on_a_network_of_relu_it_adds_up():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 4, 9), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 92, 2)).eval()
    x = torch.randn(3, 3, 100)
    found = DeepLIFTProbe(batch_size=2)(model, x, 1)
    assert found.info["completeness_error_relative"] < 1e-4
    with torch.no_grad():
        starts = torch.stack([model(phase_surrogate(x, seed)) for seed in range(4)]).mean(0)
        difference = model(x) - starts
    assert_allclose(found.values.sum((1, 2)), difference[:, 1] - difference[:, 0], rtol=1e-3, atol=1e-4)


def test_on_biot_it_is_refused_and_leaves_nothing():
    torch.manual_seed(0)
    model = BIOT(n_outputs=2, n_chans=3, n_times=600, embed_dim=16, num_heads=2, num_layers=2).eval()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    weights = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match=r"DeepLIFT is wrong on this BIOT: its attributions miss \d+% of the logit margin"
    ):
        DeepLIFTProbe()(model, torch.randn(4, 3, 600))
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
