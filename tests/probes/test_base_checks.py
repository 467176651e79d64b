"""Whatever the probe, windows that are damaged are refused by window and channel."""

import pytest
import torch

from biot_bd import BIOT, registry


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BIOT(n_outputs=2, n_chans=3, n_times=400, sfreq=200, embed_dim=16, num_heads=2, num_layers=1).eval()


@pytest.mark.parametrize("name", registry.probes)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_channel_that_is_partly_no_number_is_refused(name, wrong, model):
    x = torch.randn(2, 3, 400)
    x[1, 2, 7] = wrong
    with pytest.raises(ValueError, match="window 1, channel 2 has values that are not finite"):
        registry.probes[name]()(model, x)


@pytest.mark.parametrize("name", registry.probes)
def test_absent_channels_are_refused_where_the_model_takes_none(name):
    x = torch.randn(2, 3, 400)
    x[0, 1] = torch.nan
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1200, 2)).eval()
    with pytest.raises(ValueError, match="Sequential takes no absent channels, and window 0 lacks channel 1"):
        registry.probes[name]()(plain, x)
