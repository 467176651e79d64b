"""Occlusion of tokens, channels and rhythms against models in closed form and signals cut by hand."""

import numpy as np
import pytest
import torch
from linear_models import AbsentLinearModel, LinearModel, TokenModel
from numpy.testing import assert_allclose

from biot_bd import BIOT
from biot_bd.probes import BandOcclusionProbe, ChannelOcclusionProbe, TokenOcclusionProbe
from biot_bd.probes.band_occlusion import without_bands
from biot_bd.probes.baselines import phase_surrogate
from biot_bd.signals.features import BANDS


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BIOT(n_outputs=2, n_chans=3, n_times=600, embed_dim=16, num_heads=2, num_layers=2).eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(2, 3, 600, generator=torch.Generator().manual_seed(1))


def margin(logits):
    return (logits[:, 1] - logits[:, 0]).detach()


def pieces_of(x, model):
    """Scores of the pieces of a token model, and of its class token."""
    head = (model.head[1] - model.head[0]).detach()
    return (x.unflatten(-1, (4, 50)) @ head).numpy(), (model.first[0] @ head).detach().numpy()


@pytest.mark.parametrize(("by", "axes"), [("token", ()), ("channel", (2,)), ("frame", (1,))])
@pytest.mark.parametrize("special", [(), ("class",)])
def test_dropped_tokens_in_closed_form(by, axes, special):
    model, x = TokenModel(special=special).eval(), torch.randn(2, 3, 200)
    found = TokenOcclusionProbe(by, batch_size=3)(model, x, 1)
    pieces, first = pieces_of(x, model)
    total = pieces.sum((1, 2), keepdims=True) + first.sum()
    n_tokens = 12 + len(special)
    left_out = pieces.sum(axes, keepdims=True) if axes else pieces
    n_left = n_tokens - pieces.size / left_out.size
    assert found.info == {"by": by, "fill": "dropped"}
    assert_allclose(found.values, total / n_tokens - (total - left_out) / n_left, atol=1e-5)


def test_the_mean_token_where_none_can_be_dropped():
    model, x = TokenModel(drops=False).eval(), torch.randn(2, 3, 200)
    pieces, _ = pieces_of(x, model)
    for by, axes in (("token", ()), ("channel", (2,)), ("frame", (1,))):
        found = TokenOcclusionProbe(by)(model, x, 1)
        assert found.info["fill"] == "mean-token"
        moved = pieces - pieces.mean((1, 2), keepdims=True)
        assert_allclose(found.values, (moved.sum(axes, keepdims=True) if axes else moved) / 13, atol=1e-5)
    with pytest.raises(ValueError, match="needs all of its tokens"):
        TokenOcclusionProbe(fill="dropped")(model, x)


def test_dropping_a_channel_s_tokens_is_its_absence(model, x):
    dropped = TokenOcclusionProbe("channel")(model, x)
    absent = ChannelOcclusionProbe(batch_size=4)(model, x)
    assert_allclose(dropped.by_channel(), absent.by_channel(), atol=1e-6)
    assert absent.info == {"fill": "absent"}
    by_hand = x.clone()
    by_hand[:, 1] = torch.nan
    signs = np.where(np.array(absent.target) == 1, 1, -1)
    assert_allclose(absent.values[:, 1, 0], signs * (margin(model(x)) - margin(model(by_hand))).numpy(), atol=1e-6)


def test_nothing_left_raises(x):
    torch.manual_seed(0)
    short = BIOT(n_outputs=2, n_chans=3, n_times=200, embed_dim=16, num_heads=2, num_layers=1).eval()
    with pytest.raises(ValueError, match="window 0 has nothing left without one frame"):
        TokenOcclusionProbe("frame")(short, x[..., :200])
    alone = x[..., :200].clone()
    alone[1, 1:] = torch.nan
    with pytest.raises(ValueError, match="window 1 has nothing left without one channel"):
        TokenOcclusionProbe("channel")(short, alone)
    assert TokenOcclusionProbe("frame", fill="mean-token")(short, x[..., :200]).values.shape == (2, 1, 1)


def test_a_channel_of_a_linear_model():
    x = torch.randn(2, 3, 200)
    weight = (LinearModel().weight[1] - LinearModel().weight[0]).detach()
    found = ChannelOcclusionProbe()(AbsentLinearModel().eval(), x, 1)
    assert_allclose(found.by_channel(), (weight * x).sum(-1), rtol=1e-4, atol=1e-4)
    found = ChannelOcclusionProbe(n_surrogates=2, random_state=5)(LinearModel().eval(), x, 1)
    instead = (phase_surrogate(x, 5) + phase_surrogate(x, 6)) / 2
    assert_allclose(found.by_channel(), (weight * (x - instead)).sum(-1), rtol=1e-4, atol=1e-4)
    assert found.info == {"fill": "phase-surrogate", "n_surrogates": 2}


def test_a_band_of_a_linear_model():
    x = torch.randn(2, 3, 200)
    weight = (LinearModel().weight[1] - LinearModel().weight[0]).detach()
    bands = [("slow", 0, 8), ("fast", 8, 60)]
    found = BandOcclusionProbe(bands)(LinearModel().eval(), x, 1)
    assert found.bands == ("slow", "fast")
    # Bands of all frequencies share out a linear score wholly.
    assert_allclose(found.without_bands().by_channel(), (weight * x).sum(-1), rtol=1e-4, atol=1e-4)
    without = without_bands(x, bands, 100.0)[1]
    assert_allclose(found.values[:, 1, :, 0], (weight * (x - without)).sum(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("phase", [0.0, 0.7, 2.0])
def test_a_band_s_sine_goes_and_others_stay(phase):
    t = np.arange(2000) / 200
    sines = {name: np.sin(2 * np.pi * hz * t + phase) for name, hz in zip("δθαβγ", (2, 6, 10, 20, 40), strict=True)}
    x = torch.as_tensor(sum(sines.values()))[None, None]
    for sine, left in zip(sines.values(), without_bands(x, BANDS, 200.0), strict=True):
        expected = sum(sines.values()) - sine
        assert np.abs(left[0, 0].numpy() - expected)[200:-200].max() < 0.1


def test_a_drift_does_not_leak_into_bands():
    drift = np.linspace(-5, 5, 2000)
    spectrum = np.fft.rfft(drift)
    freqs_hz = np.fft.rfftfreq(2000, 1 / 200)
    for (_, low, high), left in zip(BANDS, without_bands(torch.tensor(drift)[None, None], BANDS, 200.0), strict=True):
        plain = np.fft.irfft(np.where((freqs_hz >= low) & (freqs_hz < high), 0, spectrum), n=2000)
        lost, lost_plainly = (np.abs(drift - rest).max() for rest in (left[0, 0].numpy(), plain))
        assert lost < 0.2 * lost_plainly  # which jumps from the window's end to its start


def test_bands_that_cannot_be_shown():
    x = torch.randn(1, 3, 200)
    for bands, message in (
        ([("high", 60, 80)], "band 'high' .60 to 80 Hz. holds no frequency"),
        ([("odd", 8, 4)], "needs edges 0 <= low < high"),
        ([], "bands needs one"),
    ):
        with pytest.raises(ValueError, match=message):
            BandOcclusionProbe(bands)(LinearModel().eval(), x)
    with pytest.raises(ValueError, match="Flat does not know its sampling frequency: give the probe sfreq="):
        BandOcclusionProbe()(Flat().eval(), x)
    assert BandOcclusionProbe(sfreq=200)(Flat().eval(), x).values.shape == (1, 5, 3, 1)


class Flat(torch.nn.Module):
    def forward(self, x):
        return x.mean(dim=-1)[:, :2]
