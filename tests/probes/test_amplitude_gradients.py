"""Amplitude gradients against braindecode's and closed forms."""

import numpy as np
import pytest
import torch
from braindecode.visualization import amplitude_gradients
from linear_models import LinearModel
from numpy.testing import assert_allclose

from biot_bd import BIOT
from biot_bd.probes import AmplitudeGradientsProbe
from biot_bd.signals.features import BANDS


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BIOT(n_outputs=2, n_chans=3, n_times=600, embed_dim=16, num_heads=2, num_layers=2).eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(3, 3, 600, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_equal_to_braindecode_s(model, x, scale):
    found = AmplitudeGradientsProbe(scale, batch_size=2)(model, x, 1)
    model.requires_grad_(False)  # theirs would leave gradients on the parameters
    slopes = amplitude_gradients(model, x.numpy())
    model.requires_grad_(True)
    slopes = (slopes[1] - slopes[0]) * len(x)
    if scale == "relative":
        slopes = slopes * np.abs(np.fft.rfft(x.numpy()))
    freqs_hz = np.fft.rfftfreq(600, 1 / 200)
    for number, (_, low, high) in enumerate(BANDS):
        inside = slopes[..., (freqs_hz >= low) & (freqs_hz < high)]
        expected = inside.sum(-1) if scale == "relative" else inside.mean(-1)
        assert_allclose(found.values[:, number, :, 0], expected, rtol=2e-3, atol=1e-6)


def test_relative_gradients_of_all_bands_are_a_linear_score():
    model, x = LinearModel().eval(), torch.randn(2, 3, 200)
    found = AmplitudeGradientsProbe(bands=[("slow", 0, 8), ("fast", 8, 51)])(model, x, 0)
    weight = (model.weight[0] - model.weight[1]).detach()
    assert_allclose(found.without_bands().by_channel(), (weight * x).sum(-1), rtol=1e-3, atol=1e-4)
    # The band of a single frequency is the score of the signal's part there.
    spectrum = torch.fft.rfft(x)
    spectrum[..., torch.arange(101) != 12] = 0
    part = (weight * torch.fft.irfft(spectrum, n=200)).sum(-1)
    found = AmplitudeGradientsProbe(bands=[("6 Hz", 5.9, 6.1)])(model, x, 0)
    assert_allclose(found.values[:, 0, :, 0], part, rtol=1e-3, atol=1e-4)


def test_wrong_scale():
    with pytest.raises(ValueError, match="scale must be 'relative' or 'absolute'"):
        AmplitudeGradientsProbe("log")(LinearModel().eval(), torch.randn(1, 3, 200))
