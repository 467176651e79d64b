"""BIOT without braindecode: the state dict and the logits of the full model."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from biot_bd.models import BIOT
from biot_bd.models.biot_scoring import ScoringBIOT


@st.composite
def sizes(draw):
    n_chans, sfreq, heads = draw(st.integers(1, 5)), draw(st.integers(8, 40)), draw(st.sampled_from([1, 2, 4]))
    n_tokens = n_chans + draw(st.integers(0, 3))
    return {
        "embed_dim": heads * draw(st.sampled_from([2, 4, 6])),
        "num_heads": heads,
        "num_layers": draw(st.integers(1, 3)),
        "sfreq": sfreq,
        "hop_length": draw(st.integers(1, sfreq)),
        "n_times": sfreq + draw(st.integers(0, 90)),
        "n_outputs": draw(st.integers(1, 3)),
        "channel_ids": draw(st.permutations(range(n_tokens)))[:n_chans],
        "n_channel_tokens": n_tokens,
        "activation": draw(st.sampled_from([nn.ELU, nn.ReLU])),
    }


def pair(options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # braindecode warns of other rates than 200 Hz
        full = BIOT(**options, n_chans=len(options["channel_ids"])).eval()
    scoring = ScoringBIOT(**options)
    scoring.load_state_dict(full.state_dict())
    return full, scoring


@given(options=sizes(), seed=st.integers(0, 99), n=st.integers(1, 4), data=st.data())
@settings(deadline=None, max_examples=40)
def test_equals_the_full_model_on_random_shapes(options, seed, n, data):
    torch.manual_seed(seed)
    full, scoring = pair(options)
    assert list(scoring.state_dict()) == list(full.state_dict())
    x = torch.randn(n, len(options["channel_ids"]), options["n_times"])
    for i in range(n):
        absent = data.draw(st.sets(st.integers(0, x.shape[1] - 1), max_size=x.shape[1] - 1))
        x[i, list(absent)] = torch.nan
    with torch.no_grad():
        wanted = full(x)
        torch.testing.assert_close(scoring(x), wanted, atol=1e-5, rtol=1e-5)
    assert wanted.isfinite().all()


def test_finite_windows_whose_sum_overflows_are_complete_ones():
    options = sizes_of_one()
    full, scoring = pair(options)
    x = torch.full((1, 2, 40), 3e37)
    assert x.sum().isinf()
    with torch.no_grad():
        torch.testing.assert_close(scoring(x), full(x), equal_nan=True)


def sizes_of_one(**changes):
    options = {"embed_dim": 8, "num_heads": 2, "num_layers": 1, "sfreq": 20, "hop_length": 10, "n_times": 40}
    return {**options, "n_outputs": 2, "channel_ids": [0, 1], "n_channel_tokens": 2, **changes}


@pytest.mark.parametrize("changes", [{"n_times": 19}, {"hop_length": 21}])
def test_sizes_that_the_full_model_adapts_are_refused(changes):
    with pytest.raises(ValueError, match=r"use biot_bd\.models\.BIOT"):
        ScoringBIOT(**sizes_of_one(**changes))


def test_it_is_in_eval_mode_and_draws_no_random_numbers():
    state = torch.get_rng_state()
    assert not any(module.training for module in ScoringBIOT(**sizes_of_one()).modules())
    assert torch.equal(torch.get_rng_state(), state)
