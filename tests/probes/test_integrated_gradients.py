"""Integrated gradients on tokens and signals: closed forms, captum, completeness."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_models import LinearModel, TokenModel
from numpy.testing import assert_allclose

from biot_bd import BIOT
from biot_bd.exceptions import MissingExtraError
from biot_bd.models import token_site
from biot_bd.probes import InputIGProbe, SaliencyProbe, TokenIGProbe
from biot_bd.probes.baselines import phase_surrogate
from biot_bd.probes.path_integral import integrated_gradients


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BIOT(n_outputs=2, n_chans=3, n_times=600, embed_dim=16, num_heads=2, num_layers=2).double().eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(3, 3, 600, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def margin(logits):
    return logits[:, 1] - logits[:, 0]


def test_on_tokens_equal_to_captum_s(model, x):
    found = TokenIGProbe(steps=12, batch_size=5)(model, x, 1)
    site = token_site(model)
    tokens = site.read(model, x).detach()
    start = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
    captum = IntegratedGradients(lambda t: margin(site.run(model, x.repeat(len(t) // 3, 1, 1), t)))
    expected = captum.attribute(tokens, start, n_steps=12, method="riemann_middle")
    assert_allclose(found.values.reshape(3, -1), expected.sum(-1).detach(), rtol=1e-4, atol=1e-9)
    assert found.info["completeness_error"] < 1e-4
    assert_allclose(
        found.info["difference"], (margin(model(x)) - margin(site.run(model, x, start))).detach(), atol=1e-9
    )
    assert_allclose(found.values.sum((1, 2)), found.info["difference"], atol=1e-4)


def test_on_tokens_in_closed_form():
    model, x = TokenModel().eval(), torch.randn(2, 3, 200)
    found = TokenIGProbe()(model, x, 0)
    head = (model.head[0] - model.head[1]).detach().numpy() / 13  # the mean is over 12 tokens and the class token
    pieces = x.numpy().reshape(2, 3, 4, 50)
    expected = (pieces - pieces.mean((1, 2), keepdims=True)) @ head
    assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)
    background = torch.randn(5, 3, 200)
    start = background.numpy().reshape(-1, 50).mean(0)
    for given_as in (background, background.numpy()):
        found = TokenIGProbe(background=given_as)(model, x, 0)
        assert_allclose(found.values, (pieces - start) @ head, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"background must be windows of shape \(m, 3, 200\)"):
        TokenIGProbe(background=background[:, :2])(model, x)


def test_absent_channels_leave_the_mean(model, x):
    lacking = x.clone()
    lacking[:, 1] = torch.nan
    torch.manual_seed(0)
    without = BIOT(
        n_outputs=2, n_chans=2, n_times=600, embed_dim=16, num_heads=2, num_layers=2, channel_ids=[0, 2],
        n_channel_tokens=3,
    ).double().eval()  # fmt: skip
    without.load_state_dict(model.state_dict())
    for probe in (TokenIGProbe(), InputIGProbe(n_baselines=1)):
        assert_allclose(probe(model, lacking).values[:, [0, 2]], probe(without, x[:, [0, 2]]).values, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 40), st.integers(0, 99))
def test_any_batches_give_the_same(n_windows, steps, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    start, stop = torch.randn(2, n_windows, 2, 3, generator=generator, dtype=torch.float64)

    def score(points, rows):
        assert len(points) <= batch_size
        return (points**2).sum((1, 2)) * (rows + 1)

    found = torch.cat(list(integrated_gradients(score, start, stop, steps, batch_size)))
    rows = torch.arange(1, n_windows + 1)[:, None, None]
    assert_allclose(found, rows * (stop**2 - start**2), rtol=1e-9, atol=1e-12)  # slopes are linear: one step is exact


@pytest.mark.parametrize("baseline", ["phase-surrogate", "interictal-mean", "zero"])
@pytest.mark.filterwarnings("ignore:baseline='zero'")
def test_on_signals_in_closed_form(baseline):
    model, x = LinearModel().eval(), torch.randn(2, 3, 200)
    background = torch.randn(4, 3, 200) if baseline == "interictal-mean" else None
    found = InputIGProbe(baseline, background=background, n_baselines=4, steps=3)(model, x, 1)
    weight = (model.weight[1] - model.weight[0]).detach()
    start = {
        "phase-surrogate": lambda: torch.stack([phase_surrogate(x, seed) for seed in range(4)]).mean(0),
        "interictal-mean": lambda: background.mean(0),
        "zero": lambda: torch.zeros(()),
    }[baseline]()
    assert_allclose(found.values, weight * (x - start), rtol=1e-4, atol=1e-5)
    assert found.info["completeness_error_relative"] < 1e-5
    assert found.info["baseline"] == baseline


def test_zero_warns(model, x):
    with pytest.warns(UserWarning, match="dead channel"):
        InputIGProbe("zero", steps=2)(model, x[:1])


def test_a_background_lacks_what_windows_lack(model, x):
    background = x.clone()
    background[0, 1] = torch.nan
    background[1:] = torch.nan
    with pytest.raises(ValueError, match=r"none of the 3 windows of background= has all channels"):
        InputIGProbe("interictal-mean", background=background)(model, x)
    lacking = x.clone()
    lacking[:, 1] = torch.nan
    found = InputIGProbe("interictal-mean", background=background, steps=2)(model, lacking)
    assert found.info["n_baselines"] == 1
    assert np.isnan(found.values[:, 1]).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 41), st.integers(0, 99))
def test_a_surrogate_has_other_phases_and_the_same_spectra(n_times, seed):
    x = torch.randn(2, 3, n_times, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[1, 0] = torch.nan
    found = phase_surrogate(x, seed)
    assert torch.isnan(found[1, 0]).all()
    there = ~x.isnan()
    before, after = (np.fft.rfft(t[there].reshape(5, n_times).numpy()) for t in (x, found))
    assert_allclose(np.abs(after), np.abs(before), atol=1e-9)
    assert_allclose(after[0] * after[1].conj(), before[0] * before[1].conj(), atol=1e-8)  # of channels, too
    assert_allclose(phase_surrogate(x[:1, [2]], seed), found[:1, [2]], atol=1e-12)
    assert not torch.allclose(found[0], x[0])


def test_saliency_is_captum_s_and_numpy_s(model, x):
    found = SaliencyProbe(batch_size=2)(model, x, 1)
    expected = Saliency(lambda t: margin(model(t))).attribute(x.clone().requires_grad_())
    assert_allclose(found.values, expected.detach(), rtol=1e-6)
    linear = LinearModel().eval()
    found = SaliencyProbe()(linear, x[..., :200].float(), 0)
    assert_allclose(found.values[2], (linear.weight[0] - linear.weight[1]).detach().abs(), rtol=1e-5)
    assert not found.signed


def test_without_captum_the_extra_is_named(monkeypatch, model, x):
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'biot-bd\[explain\]'"):
        SaliencyProbe()(model, x)
    TokenIGProbe(steps=1)(model, x[:1])  # needs none
