"""Attention probes against maps recomputed from the model's own projections."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from braindecode.models import CBraMod, EEGConformer, EEGNet
from sklearn.base import clone

from biot_bd import BIOT, registry
from biot_bd.probes import AttentionProbe, QKAttentionProbe, by_channel, received

N_LAYERS, N_TOKENS = 4, 4 * 5


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BIOT(n_outputs=2, n_chans=4, n_times=600, embed_dim=32, num_heads=4, num_layers=N_LAYERS).eval()


@pytest.fixture(scope="module")
def x():
    return torch.randn(5, 4, 600, generator=torch.Generator().manual_seed(1))


def exact_by_hand(model, x, layer):
    """P of one layer from its input alone."""
    attention = model.encoder.transformer.layers.layers[layer][0].fn
    seen = []
    hook = attention.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    with torch.no_grad():
        model(x)
        hook.remove()
        q, k = (f(seen[0]).unflatten(-1, (4, 8)).transpose(1, 2).double() for f in (attention.to_q, attention.to_k))
    return (q.softmax(-1) @ k.softmax(-2).mT).numpy()


def test_exact_maps_of_early_middle_and_late_layers(model, x):
    explanation = AttentionProbe()(model, x)
    assert explanation.dims == ("window", "layer", "query", "key")
    assert explanation.values.shape == (5, 3, N_TOKENS, N_TOKENS)
    assert list(explanation.info["roles"]) == ["early", "middle", "late"]
    assert tuple(explanation.info["roles"].values()) == explanation.layers
    for place, layer in enumerate([0, 2, 3]):
        assert f".{layer}.0.fn" in explanation.layers[place]
        np.testing.assert_allclose(explanation.values[:, place], exact_by_hand(model, x, layer).mean(1), atol=1e-6)
    assert 0 < explanation.info["reconstruction_error"] < 1e-5


def test_all_heads_and_chosen_layers(model, x):
    explanation = AttentionProbe(layers=[-1, 0], heads="all", batch_size=2)(model, x)
    assert explanation.dims == ("window", "layer", "head", "query", "key")
    for place, layer in enumerate([3, 0]):  # in the order asked for
        np.testing.assert_allclose(explanation.values[:, place], exact_by_hand(model, x, layer), atol=1e-6)
    assert len(AttentionProbe(layers="all")(model, x[:1]).layers) == N_LAYERS


def test_batch_size_does_not_matter(model, x):
    values = [AttentionProbe(batch_size=size)(model, x).values for size in (1, 3, 100)]
    np.testing.assert_allclose(values[0], values[1], atol=1e-6)
    np.testing.assert_allclose(values[0], values[2], atol=1e-6)


def test_qk_is_softmax_of_scores(model, x):
    explanation = QKAttentionProbe(layers=[1])(model, x)
    assert explanation.info["kind"] == "qk"
    assert explanation.info["reconstruction_error"] is None
    np.testing.assert_allclose(explanation.values.sum(-1), 1, rtol=1e-5)
    assert np.abs(explanation.values - AttentionProbe(layers=[1])(model, x).values).max() > 1e-3


@pytest.mark.parametrize("probe", [AttentionProbe(), AttentionProbe(heads="all"), QKAttentionProbe()])
def test_absent_channels_are_nan(model, x, probe):
    x = x.clone()
    x[1, 2] = torch.nan
    explanation = probe(model, x)
    absent = np.zeros(N_TOKENS, bool)
    absent[10:15] = True
    window = explanation.values[1]
    assert np.isnan(window[..., absent, :]).all()
    assert np.isnan(window[..., absent]).all()
    np.testing.assert_allclose(window[..., ~absent, :][..., ~absent].sum(-1), 1, rtol=1e-5)
    assert np.isfinite(explanation.values[[0, 2, 3, 4]]).all()
    relevance = received(explanation)
    assert np.isnan(relevance.values[1][..., 2, :]).all()
    np.testing.assert_allclose(np.nanmean(relevance.values, axis=(-1, -2)), 1, rtol=1e-5)
    assert np.isnan(by_channel(explanation)[1][..., 2]).all()


def test_received_attention_by_channel_and_frame(model, x):
    explanation = AttentionProbe()(model, x)
    relevance = received(explanation)
    assert relevance.dims == ("window", "layer", "channel", "frame")
    assert relevance.values.shape == (5, 3, 4, 5)
    assert relevance.layers == explanation.layers
    np.testing.assert_allclose(relevance.values[2, 1, 3, 4], explanation.values[2, 1, :, 19].mean() * 20, rtol=1e-5)
    assert relevance.info["frame_start_s"] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert relevance.info["frame_stop_s"] == [1.0, 1.5, 2.0, 2.5, 3.0]
    np.testing.assert_allclose(by_channel(explanation).sum(-1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="known layout"):
        received(relevance)


@pytest.mark.parametrize(("depth", "roles"), [(1, ["only"]), (2, ["early", "late"])])
def test_shallow_models(depth, roles, x):
    shallow = BIOT(n_outputs=2, n_chans=4, n_times=600, embed_dim=32, num_heads=4, num_layers=depth).eval()
    assert list(AttentionProbe()(shallow, x).info["roles"]) == roles


def test_model_is_left_as_it_was(model, x):
    with torch.no_grad():
        before = model(x)
        AttentionProbe()(model, x)
        assert torch.equal(model(x), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_models_of_braindecode():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        conformer = EEGConformer(n_outputs=2, n_chans=4, n_times=600, sfreq=200).eval()
        folded = CBraMod(n_outputs=2, n_chans=4, n_times=600, sfreq=200).eval()
    x = torch.randn(2, 4, 600)
    explanation = AttentionProbe()(conformer, x)
    assert explanation.sizes["window"] == 2
    assert "n_frames" not in explanation.info
    with pytest.raises(ValueError, match="known layout"):
        received(explanation)
    with pytest.raises(ValueError, match="no single map a window"):
        AttentionProbe(layers="all")(folded, x)
    with pytest.raises(ValueError, match="EEGConformer has none"):
        QKAttentionProbe()(conformer, x)
    with pytest.raises(ValueError, match="EEGNet has no attention"):
        AttentionProbe()(EEGNet(n_outputs=2, n_chans=4, n_times=600).eval(), x)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers": "middle"}, "'early-middle-late', 'all' or a sequence"),
        ({"layers": [4]}, "no attention layer 4; there are 4"),
        ({"layers": ["head"]}, "no attention layer 'head'"),
        ({"layers": [0, -4]}, "each once"),
        ({"layers": []}, "at least one"),
        ({"heads": "max"}, "heads"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_elements": 10}, "max_elements=10"),
    ],
)
def test_bad_parameters_raise(model, x, parameters, message):
    with pytest.raises(ValueError, match=message):
        AttentionProbe(**parameters)(model, x)


def test_bad_input_raises(model, x):
    with pytest.raises(TypeError, match="module_"):
        AttentionProbe()("biot", x)
    with pytest.raises(TypeError, match="ndarray"):
        AttentionProbe()(model, x.numpy())
    with pytest.raises(ValueError, match=r"shape \(n, n_chans, n_times\)"):
        AttentionProbe()(model, x[0])
    with pytest.raises(ValueError, match="n > 0"):
        AttentionProbe()(model, x[:0])
    training = BIOT(n_outputs=2, n_chans=4, n_times=600, embed_dim=32, num_heads=4, num_layers=1).train()
    with pytest.raises(ValueError, match="eval"):
        AttentionProbe()(training, x)


@pytest.mark.parametrize("name", ["attention", "attention-qk"])
def test_registered_cloneable_and_picklable(name):
    probe = registry.probes[name](layers=[0, 2], heads="all")
    for other in (clone(probe), pickle.loads(pickle.dumps(probe))):
        assert other.get_params() == probe.get_params()
        assert type(other) is type(probe)
