"""What tokens stand for, by experiment: change one sample of one channel and see what moves."""

import numpy as np
import pytest
import torch
from small_transformers import N_CHANS, N_TIMES, NAMES, SFREQ, small_transformer, small_windows
from torch import nn

from biot_bd.models import TokenLayout, attention_layers, layout_of, record_attention, token_site

#: Normalisation over all tokens, or a place by convolution, moves others a little.
BLURRED = {"BENDR", "CBraMod", "EEGDINO", "LaBraM", "LaBraM, mean"}

ADAPTERS = {
    "BENDR": "mha",
    "BIOT": "linear",
    "BIOT of braindecode": "linear",
    "BIOT, class token": "linear",
    "CBraMod": "mha",
    "EEGDINO": "product",
    "LaBraM": "product",
    "LaBraM, mean": "product",
    "MSVTNet": "mha",
    "MultiScaleBIOT": "linear",
    "MultiScaleBIOT, channels": "sdpa, linear",
}


def tokens_of(name, model, x):
    if name != "CTNet":  # no site: tokens also go around its transformer
        return token_site(model).read(model, x)
    seen = []
    hook = model.trans.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(x)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_sample_moves_the_tokens_that_cover_it(name):
    model, x = small_transformer(name).double(), small_windows(1).double()
    layout = layout_of(model)
    with torch.no_grad():
        before = tokens_of(name, model, x)
        assert before.shape[1] == layout.n_tokens
        for channel, sample in [(0, 50), (1, 310), (2, 477)]:
            changed = x.clone()
            changed[0, channel, sample] += 1
            moved = (tokens_of(name, model, changed) - before).norm(dim=-1)[0].numpy()
            covers = (layout.start_s <= sample / SFREQ) & (sample / SFREQ < layout.stop_s)
            expected = np.flatnonzero(covers & (layout.channel == (0 if layout.n_chans == 1 else channel)))
            if name in BLURRED:
                assert moved.argmax() in expected
            else:
                assert np.flatnonzero(moved > 1e-12).tolist() == expected.tolist()
            assert len(expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_map_knows_its_tokens(name):
    model = small_transformer(name)
    with torch.no_grad(), record_attention(model) as trace:
        model(small_windows())
    assert attention_layers(model, small_windows()) == trace.layers
    assert {record.adapter for record in trace} == set(ADAPTERS.get(name, "sdpa").split(", "))
    for record, weights in zip(trace, trace.maps, strict=True):
        assert record.layout is not None
        assert weights.shape[0] == record.n_windows == 2
        assert weights.shape[-2:] == (record.layout.n_tokens,) * 2
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_special_tokens_and_what_heads_read():
    found = {name: layout_of(small_transformer(name)) for name in NAMES}
    assert {name: (layout.special, layout.readout) for name, layout in found.items() if layout.special} == {
        "BIOT, class token": (("class",), "class"),
        "BENDR": (("start",), "class"),
        "LaBraM": (("class",), "class"),
        "LaBraM, mean": (("class",), "mean"),
        "MSVTNet": (("class",), "class"),
        "MultiScaleBIOT": (("class",), "class"),
        "PBT": (("class",), "class"),
        "STEEGFormer": (("class",), "mean"),
    }
    assert found["STEEGFormer"].order == "frame"
    assert found["LaBraM"].ch_names == ("Fp1", "Cz", "O2")
    assert found["EEGConformer"].ch_names == ("all channels",)
    assert found["CBraMod"].ch_names == ("channel 0", "channel 1", "channel 2")


def test_global_tokens_join_behind_a_layer():
    model = small_transformer("EEGDINO")
    with torch.no_grad(), record_attention(model) as trace:
        model(small_windows())
    assert [layout.n_special for layout in trace.maps.layouts] == [0, 0, 1]


def test_the_layout_of_a_module_that_folds_belongs_to_it():
    model, x = small_transformer("CBraMod"), small_windows()
    with torch.no_grad(), record_attention(model) as trace:
        model(x)
    assert [record.folded for record in trace] == ["frame", "channel"] * 2
    layout = layout_of(model)
    for place, (record, weights) in enumerate(zip(trace, trace.maps, strict=True)):
        same = (layout.channel if record.folded == "channel" else layout.frame)[:, None]
        assert (weights[:, :, same != same.T] == 0).all()
        # One block by hand: the second window's last frame, or last channel.
        block = weights[1][:, layout.tokens(**{record.folded: 2})][..., layout.tokens(**{record.folded: 2})]
        assert torch.equal(block, record.weights[3 + 2])
        by_hand = weights.double().mean(1).mean(1).numpy()
        np.testing.assert_allclose(trace.maps.received(place), layout.grid(by_hand), atol=1e-6)
        np.testing.assert_allclose(trace.maps.mean_heads(place), weights.mean(1), atol=1e-6)


def test_interpolating_models_have_tokens_of_their_own_channels():
    from braindecode.models import CBraMod, InterpolatedModel
    from mne.channels import make_standard_montage

    places = make_standard_montage("standard_1020").get_positions()["ch_pos"]
    infos = {name: {"ch_name": name, "kind": "eeg", "loc": places[name]} for name in ("Fp1", "Fp2", "C3", "C4", "O1")}
    cls = InterpolatedModel(CBraMod, [infos[name] for name in ("C3", "C4", "O1")])
    model = cls(list(infos.values()), 2, 400, sfreq=200, dim_feedforward=16, n_layer=1, nhead=2).eval()
    assert layout_of(model).ch_names == ("C3", "C4", "O1")


def test_frames_of_a_model_without_rate_are_not_known_in_seconds():
    from braindecode.models import EEGConformer

    model = EEGConformer(n_outputs=2, n_chans=3, n_times=600, n_filters_time=8, num_layers=1, num_heads=2)
    assert not layout_of(model).knows_time


def test_unknown_and_wrong_layouts():
    class Own(nn.Identity):
        def token_layout(self, n_times=None):
            return TokenLayout(("C3",), [0.0], [n_times / 100])

    class Wrong(nn.Identity):
        def token_layout(self, n_times=None):
            return 5

    assert layout_of(nn.Identity()) is None
    assert layout_of(Own(), 300).stop_s.tolist() == [3.0]
    with pytest.raises(TypeError, match="must give a TokenLayout, gave int"):
        layout_of(Wrong())
    with pytest.raises(ValueError, match="what its tokens stand for is not known"):
        token_site(small_transformer("BIOT")).layout(nn.Identity())
    assert small_windows().shape[1:] == (N_CHANS, N_TIMES)
