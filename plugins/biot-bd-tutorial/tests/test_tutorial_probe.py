"""The probe keeps the contract of biot_bd, and finds what a model was made to look at."""

import numpy as np
import pytest
import torch
from torch import nn

from biot_bd import registry
from biot_bd.testing import check_probe
from biot_bd_tutorial.patch_occlusion import PatchOcclusion


def test_found_by_name():
    assert registry.probes["patch-occlusion"] is PatchOcclusion
    assert registry.probes.owner("patch-occlusion") == "tutorial"


class OnePatch(nn.Module):
    """Scores class 1 by the mean of one channel from sample 10 to 20 alone; an absent one counts for nothing."""

    accepts_absent_channels = True

    def forward(self, x):
        z = x[:, 2, 10:20].mean(dim=-1).nan_to_num(0.0)
        return torch.stack([torch.zeros_like(z), z], dim=1)


@pytest.fixture
def bump():
    """Windows (4, 5, 30) with 1 where the model looks, and a straight line through 0 there without it."""
    x = torch.zeros(4, 5, 30)
    x[:, 2, 10:20] = 1.0
    return x


def test_only_the_patch_that_counts_is_found(bump):
    found = PatchOcclusion(n_frames=3, batch_size=4)(OnePatch().eval(), bump)
    expected = np.zeros((4, 5, 3))
    expected[:, 2, 1] = torch.sigmoid(torch.tensor(1.0)).item() - 0.5
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.target == (1,) * 4
    other = PatchOcclusion(n_frames=3)(OnePatch().eval(), bump, target=0)
    np.testing.assert_allclose(other.values, -expected, atol=1e-6)


def test_a_straight_line_takes_the_place_of_a_stretch(bump):
    """Taking a stretch of a straight line away changes nothing, in the middle; at the ends the nearest sample stays."""
    ramp = torch.arange(30.0).expand(1, 5, 30)
    found = PatchOcclusion(n_frames=3)(OnePatch().eval(), ramp, target=1)
    np.testing.assert_allclose(found.values, 0.0, atol=1e-6)
    signal = torch.arange(30.0)
    PatchOcclusion._draw_line(signal, 20, 30)
    assert signal[19:].tolist() == [19.0] * 11


def test_absent_channels_are_nan_and_seconds_are_known_where_the_model_knows_them(bump):
    bump[1, 0] = torch.nan
    model = OnePatch().eval()
    assert not PatchOcclusion(n_frames=3)(model, bump).layout.knows_time
    model.sfreq = 10.0
    found = PatchOcclusion(n_frames=3)(model, bump)
    assert np.argwhere(np.isnan(found.by_channel())).tolist() == [[1, 0]]
    assert (found.layout.frame_start_s.tolist(), found.layout.frame_stop_s.tolist()) == ([0, 1, 2], [1, 2, 3])


def test_the_probe_keeps_the_contract():
    check_probe(PatchOcclusion)
    check_probe(PatchOcclusion, {"n_frames": 3, "batch_size": 2}, model=OnePatch())


def test_the_probe_refuses_what_it_cannot_do(bump):
    with pytest.raises(ValueError, match="n_frames must be 1 to 30, the samples of a window; got 31"):
        PatchOcclusion(n_frames=31)(OnePatch().eval(), bump)
    with pytest.raises(ValueError, match="Sequential gives one output"):
        PatchOcclusion()(nn.Sequential(nn.Flatten(), nn.Linear(150, 1)).eval(), bump)
