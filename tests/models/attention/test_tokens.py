"""Tokens read where they enter, put back, replaced and dropped."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_transformers import NAMES, small_transformer, small_windows
from torch import nn

from biot_bd.models import TokenSite, record_attention, token_site

WITH_SITE = [name for name in NAMES if name != "CTNet"]
CLASS_TOKENS = ["BIOT", "BIOT, class token"]


def first(output):
    return output[0] if isinstance(output, tuple) else output


def hooks_of(model):
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", WITH_SITE)
def test_their_own_tokens_change_nothing(name, grad):
    model, x = small_transformer(name), small_windows()
    site = token_site(model)
    with torch.set_grad_enabled(grad):
        expected = model(x)
        tokens = site.read(model, x)
        found = site.run(model, x, tokens)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert tokens.shape[:2] == (2, site.layout(model, 600).n_tokens)
    assert not any(hooks_of(model))


@pytest.mark.parametrize("name", WITH_SITE)
def test_gradients_equal_finite_differences(name):
    model, x = small_transformer(name).double(), small_windows(1).double()
    site = token_site(model)
    tokens = site.read(model, x).detach().requires_grad_()
    site.run(model, x, tokens)[0, 1].backward()
    place = (0, tokens.shape[1] // 2, 3)
    moved = []
    for sign in (1, -1):
        changed = tokens.detach().clone()
        changed[place] += sign * 1e-5
        with torch.no_grad():
            moved.append(site.run(model, x, changed)[0, 1].item())
    assert tokens.grad[place].item() == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-4, abs=1e-9)
    assert tokens.grad.abs().max() > 0


@pytest.mark.parametrize("grad", [False, True])
def test_dropping_the_tokens_of_a_channel_is_its_absence(grad):
    model, x = small_transformer("BIOT").double(), small_windows().double()
    site = token_site(model)
    layout = site.layout(model, 600)
    absent = x.clone()
    absent[:, 1] = torch.nan
    with torch.set_grad_enabled(grad):
        expected = model(absent)
        for kept in (torch.as_tensor(layout.channel != 1), torch.as_tensor((layout.channel != 1).nonzero()[0])):
            found = site.run(model, x, site.read(model, x), kept)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
        # Absent channels keep their mask, whatever their tokens are.
        tokens = site.read(model, absent)
        tokens[:, layout.tokens(channel=1)] = 100
        torch.testing.assert_close(site.run(model, absent, tokens), expected, rtol=0, atol=1e-13)
        # Its first frame dropped besides.
        kept = torch.as_tensor(layout.frame != 0)
        here, there = (
            site.run(model, absent, tokens, kept),
            site.run(model, x, tokens, kept & torch.as_tensor(layout.channel != 1)),
        )
    torch.testing.assert_close(here, there, rtol=0, atol=1e-13)
    assert (here - expected).abs().max() > 1e-6


@given(st.sets(st.integers(0, 2), min_size=1), st.sets(st.integers(0, 2), min_size=1), st.sampled_from(CLASS_TOKENS))
@settings(max_examples=15, deadline=None)
def test_any_channels_dropped_or_absent(kept, present, name):
    model, x = small_transformer(name).double(), small_windows(1).double()
    site = token_site(model)
    tokens, channel = site.read(model, x), torch.as_tensor(site.layout(model, 600).channel)
    here, both = x.clone(), x.clone()
    here[:, [c for c in range(3) if c not in present]] = torch.nan
    both[:, [c for c in range(3) if c not in kept & present]] = torch.nan
    chosen = torch.isin(channel, torch.tensor([-1, *kept]))
    with torch.no_grad():
        if not kept & present:
            if name == "BIOT":
                with pytest.raises(ValueError, match="keeps tokens of absent channels only"):
                    site.run(model, here, tokens, chosen)
            return
        torch.testing.assert_close(site.run(model, here, tokens, chosen), model(both), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "name", ["BIOT", "BIOT, class token", "BIOT of braindecode", "LaBraM", "PBT", "STEEGFormer", "MSVTNet", "BENDR"]
)
def test_another_choice_for_each_window(name):
    model, x = small_transformer(name), small_windows()
    site = token_site(model)
    n_special = site.layout(model, 600).n_special
    special = list(range(n_special))
    kept = torch.tensor([[*special, n_special + 1, n_special], [*special, n_special + 3, n_special + 2]])
    with torch.no_grad():
        tokens = site.read(model, x)
        both = site.run(model, x, tokens, kept)
        for window in range(2):
            alone = slice(window, window + 1)
            one = site.run(model, x[alone], tokens[alone], kept[window])
            torch.testing.assert_close(both[alone], one, rtol=0, atol=1e-6)
        # Dropped tokens do not matter, kept ones do.
        other = tokens.clone()
        other[:, n_special + 4 :] += 1
        assert torch.equal(site.run(model, x, other, kept), both)
        other[:, n_special : n_special + 4] += torch.randn(tokens.shape[-1])
        assert not torch.allclose(site.run(model, x, other, kept), both)


@pytest.mark.parametrize("name", ["CBraMod", "EEGConformer", "EEGDINO"])
def test_models_that_need_all_tokens_say_so(name):
    model, x = small_transformer(name), small_windows()
    site = token_site(model)
    assert not site.drops
    with pytest.raises(ValueError, match=r"needs all of its tokens.*put other tokens in their place"):
        site.run(model, x, site.read(model, x), torch.tensor([0]))


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (torch.tensor([], dtype=torch.long), "no token is kept"),
        (torch.zeros(10, dtype=torch.bool), "no token is kept"),
        (torch.tensor([0, 10]), "0 to 9"),
        (torch.tensor([0, -1]), "0 to 9"),
        (torch.tensor([0, 0]), "each once"),
        (torch.tensor([0.0]), "each once"),
        (torch.ones(3, dtype=torch.bool), r"bool tensor of shape \(10,\)"),
        (torch.zeros(3, 1, dtype=torch.long), r"or \(2, k\)"),
        (torch.tensor([1, 2]), r"leaves out a special token \(class\)"),
    ],
)
def test_bad_choices_raise(kept, message):
    model, x = small_transformer("LaBraM"), small_windows()
    site = token_site(model)
    tokens = torch.zeros(2, 10, 200)
    with pytest.raises(ValueError, match=message):
        site.run(model, x, tokens, kept)
    assert not any(hooks_of(model))


def test_other_mistakes_raise():
    model, x = small_transformer("BIOT"), small_windows()
    site = token_site(model)
    tokens = site.read(model, x)
    for wrong in (tokens[:1], tokens[:, 1:], tokens[0]):
        with pytest.raises(ValueError, match=r"must have shape \(2, 15, features\)"):
            site.run(model, x, wrong)
    x[1, 1] = torch.nan
    with pytest.raises(ValueError, match="window 1 keeps tokens of absent channels only"):
        site.run(model, x, tokens, torch.tensor([5, 6]))
    with pytest.raises(ValueError, match="Identity: where its tokens enter is not known"):
        token_site(nn.Identity())
    with pytest.raises(AttributeError):
        TokenSite("nowhere").read(model, x)
    with pytest.raises(ValueError, match="without calling its module 'head'"):
        TokenSite("head").read(Unused(), x)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Identity()

    def forward(self, x):
        return x


class Wrong(nn.Identity):
    def token_site(self):
        return "blocks.0"


def test_a_model_brings_its_own_site():
    with pytest.raises(TypeError, match="must give a TokenSite, gave str"):
        token_site(Wrong())


@pytest.mark.parametrize("name", ["BIOT", "PBT"])
def test_attention_is_recorded_with_other_tokens(name):
    model, x = small_transformer(name), small_windows()
    site = token_site(model)
    with torch.no_grad():
        tokens = site.read(model, x)
        with record_attention(model) as plain:
            model(x)
        with record_attention(model) as trace:
            site.run(model, x, tokens, torch.arange(6))
        with record_attention(model) as whole:
            site.run(model, x, tokens)
    assert [record.shape[-1] for record in trace] == [6, 6]
    for one, other in zip(plain, whole, strict=True):
        torch.testing.assert_close(one.weights, other.weights)
