"""Attention probes against maps recomputed from the model's own projections."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from braindecode.models import EEGNet
from sklearn.base import clone
from torch import nn

from biot_bd import BIOT, registry
from biot_bd.models import TokenLayout
from biot_bd.probes import AttentionProbe, GradAttentionProbe, QKAttentionProbe, RolloutProbe

pytestmark = pytest.mark.usefixtures("one_thread")
N_LAYERS, N_TOKENS = 4, 4 * 5
LAYERS = tuple(f"encoder.transformer.layers.layers.{i}.0.fn" for i in range(N_LAYERS))
PROBES = [AttentionProbe, QKAttentionProbe, RolloutProbe, GradAttentionProbe]


def biot(seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"n_outputs": 2, "n_chans": 4, "n_times": 600, "embed_dim": 32, "num_heads": 4, "num_layers": N_LAYERS}
    model = BIOT(**sizes | changes).eval()
    for name, value in model.named_parameters():  # untrained projections give nearly uniform maps
        if "to_q" in name or "to_k" in name:
            value.data *= 3
    return model


@pytest.fixture(scope="module")
def model():
    return biot()


@pytest.fixture(scope="module")
def x():
    return torch.randn(5, 4, 600, generator=torch.Generator().manual_seed(1))


class ClassTokenModel(nn.Module):
    """One linear token a second and channel behind a class token, which the head reads."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Linear(200, 16)
        self.start = nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def token_layout(self, n_times=None):
        starts = np.arange(3.0)
        return TokenLayout(("a", "b", "c", "d"), starts, starts + 1, "channel", ("class",), "class")

    def forward(self, x):
        tokens = self.patch(x.unflatten(-1, (3, 200)).flatten(1, 2))
        return self.head(self.encoder(torch.cat([self.start.expand(len(x), -1, -1), tokens], dim=1))[:, 0])


def class_token_model(seed=0):
    torch.manual_seed(seed)
    return ClassTokenModel().eval()


def projections(model, x, layer):
    attention = model.get_submodule(LAYERS[layer])
    seen = []
    hook = attention.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    with torch.no_grad():
        model(x)
        hook.remove()
        return [f(seen[0]).unflatten(-1, (4, 8)).transpose(1, 2).double() for f in (attention.to_q, attention.to_k)]


def exact_by_hand(model, x, layer):
    """P of one layer from its input alone."""
    q, k = projections(model, x, layer)
    return (q.softmax(-1) @ k.softmax(-2).mT).numpy()


def received_by_hand(maps):
    """Mean over heads and queries, token = channel * 5 + frame."""
    return maps.mean(axis=(1, 2)).reshape(len(maps), 4, 5)


def test_attention_received_is_the_mean_over_layers_heads_and_queries(model, x):
    found = AttentionProbe()(model, x)
    expected = np.mean([received_by_hand(exact_by_hand(model, x, layer)) for layer in range(N_LAYERS)], axis=0)
    np.testing.assert_allclose(found.values, expected, atol=1e-7)
    np.testing.assert_allclose(found.values.sum((1, 2)), 1, rtol=1e-5)
    assert (found.probe, found.unit, found.signed, found.target) == ("attention", "share of attention", False, None)
    assert found.layout.frame_start_s.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert found.special is None
    assert tuple(found.info["layers"]) == LAYERS
    assert 0 < found.info["reconstruction_error"] < 1e-5
    assert found.values.std() > 1e-3


@pytest.mark.parametrize(
    ("layers", "numbers"),
    [([1], [1]), (-1, [3]), ("early", [0]), ("late", [3]), (["middle", LAYERS[0]], [0, 2]), (np.int64(2), [2])],
)
def test_layers_by_number_path_and_role(model, x, layers, numbers):
    found = AttentionProbe(layers=layers)(model, x[:2])
    assert tuple(found.info["layers"]) == tuple(LAYERS[number] for number in numbers)
    expected = np.mean([received_by_hand(exact_by_hand(model, x[:2], layer)) for layer in numbers], axis=0)
    np.testing.assert_allclose(found.values, expected, atol=1e-7)


def test_qk_is_softmax_of_scores(model, x):
    found = QKAttentionProbe(layers=[1])(model, x)
    q, k = projections(model, x, 1)
    expected = received_by_hand((q @ k.mT / 8**0.5).softmax(-1).numpy())
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.info["kind"] == "qk"
    assert found.info["reconstruction_error"] is None
    exact = AttentionProbe(layers=[1])(model, x).values
    assert np.corrcoef(found.values.ravel(), exact.ravel())[0, 1] < 0.95


@pytest.mark.parametrize("probe", [p() for p in PROBES] + [RolloutProbe(fusion="max"), RolloutProbe(fusion="min")])
def test_an_absent_channel_is_nan_and_the_others_are_as_without_it(model, x, probe):
    small = biot(n_chans=3, channel_ids=[0, 1, 3], n_channel_tokens=4)
    small.load_state_dict(model.state_dict())
    absent = x.clone()
    absent[1, 2] = torch.nan
    target = 1 if isinstance(probe, GradAttentionProbe) else None
    found = probe(model, absent, target)
    alone = probe(small, x[1:2, [0, 1, 3]], target)
    assert np.isnan(found.values[1, 2]).all()
    assert np.isfinite(found.values[[0, 2, 3, 4]]).all()
    np.testing.assert_allclose(found.values[1, [0, 1, 3]], alone.values[0], rtol=1e-3, atol=1e-6)
    if found.unit.startswith("share"):
        np.testing.assert_allclose(np.nansum(found.values, (1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("probe", PROBES)
def test_windows_do_not_depend_on_each_other(model, x, probe):
    together = probe(batch_size=100)(model, x).values
    scale = np.abs(together).max()
    np.testing.assert_allclose(probe(batch_size=2)(model, x).values, together, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(probe()(model, x[[3]]).values[0], together[3], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("probe", PROBES)
def test_the_model_is_left_as_it_was(x, probe):
    model = biot(num_layers=2).requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        before = model(x)
    first = probe()(model, x).values
    with torch.inference_mode():
        second = probe()(model, x.clone()).values
    with torch.no_grad():
        assert torch.equal(model(x), before)
    np.testing.assert_array_equal(first, second)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("probe", [AttentionProbe, RolloutProbe, GradAttentionProbe])
def test_a_class_token_has_its_value_apart(x, probe):
    model = class_token_model()
    found = probe()(model, x)
    assert found.values.shape == (5, 4, 3)
    assert found.special.shape == (5, 1)
    if probe is not AttentionProbe:
        assert found.info["readout"] == "class"
    if found.unit.startswith("share"):
        np.testing.assert_allclose(found.values.sum((1, 2)) + found.special[:, 0], 1, rtol=1e-5)


def test_double_precision_is_that_of_the_model(x):
    model = biot(num_layers=1).double()
    single = AttentionProbe()(model, x)
    assert single.info["reconstruction_error"] < 1e-12
    np.testing.assert_array_equal(single.values, AttentionProbe()(model, x.double()).values)


def test_models_that_cannot_be_asked_say_so(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = nn.TransformerEncoder(nn.TransformerEncoderLayer(600, 4, 32, batch_first=True), 1).eval()
    with pytest.raises(ValueError, match="what its tokens stand for is not known"):
        AttentionProbe()(plain, x)
    with pytest.raises(ValueError, match="ClassTokenModel has none"):
        QKAttentionProbe()(class_token_model(), x)
    with pytest.raises(ValueError, match="not known"):
        AttentionProbe()(EEGNet(n_outputs=2, n_chans=4, n_times=600).eval(), x)
    absent = x.clone()
    absent[3, 1] = torch.nan
    with pytest.raises(ValueError, match="takes no absent channels, and window 3 lacks channel 1"):
        RolloutProbe()(class_token_model(), absent)
    broken = class_token_model()
    broken.patch.weight.data[0] = torch.nan
    with pytest.raises(ValueError, match="window 0 gave values that are no numbers"):
        AttentionProbe()(broken, x)

    class Wrong(ClassTokenModel):
        def token_layout(self, n_times=None):
            return TokenLayout(("a", "b", "c", "d"), [0.0, 1.0], [1.0, 2.0])

    with pytest.raises(ValueError, match="13 queries and 13 keys is not one over the 8 tokens"):
        AttentionProbe()(Wrong().eval(), x)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (AttentionProbe(layers="last"), "no attention layer 'last'; there are numbers 0 to 3"),
        (AttentionProbe(layers=[4]), "no attention layer 4"),
        (AttentionProbe(layers=[True]), "no attention layer True"),
        (AttentionProbe(layers=["final_layer"]), "no attention layer 'final_layer'"),
        (AttentionProbe(layers=[]), "one layer or more"),
        (AttentionProbe(batch_size=0), "batch_size"),
        (AttentionProbe(max_elements=10), "max_elements=10"),
        (GradAttentionProbe(max_elements=10), "max_elements=10"),
        (GradAttentionProbe(output="loss"), "output must be one of"),
        (GradAttentionProbe(readout="max"), "readout must be"),
        (GradAttentionProbe(readout="class"), "no class token"),
        (RolloutProbe(readout="whole"), "readout must be"),
        (RolloutProbe(readout="class"), "no class token"),
        (RolloutProbe(fusion="median"), "fusion must be one of"),
        (RolloutProbe(residual=1.0), "residual must be from 0 to below 1"),
    ],
)
def test_bad_parameters_raise(model, x, probe, message):
    with pytest.raises(ValueError, match=message):
        probe(model, x)


def test_bad_input_raises(model, x):
    with pytest.raises(TypeError, match="module_"):
        AttentionProbe()("biot", x)
    with pytest.raises(TypeError, match="ndarray"):
        AttentionProbe()(model, x.numpy())
    with pytest.raises(ValueError, match=r"shape \(n, n_chans, n_times\)"):
        AttentionProbe()(model, x[0])
    with pytest.raises(ValueError, match="n > 0"):
        AttentionProbe()(model, x[:0])
    with pytest.raises(ValueError, match="eval"):
        AttentionProbe()(biot(num_layers=1).train(), x)
    for target, message in [([0, 1], "one for each of 5 windows"), (2, "class from 0 to 1"), (-1, "class from 0 to 1")]:
        with pytest.raises(ValueError, match=message):
            GradAttentionProbe()(model, x, target)


@pytest.mark.parametrize("name", ["attention", "attention-qk", "rollout", "grad-attention"])
def test_registered_cloneable_and_picklable(name):
    probe = registry.probes[name](batch_size=3)
    assert probe.name == name
    assert probe.needs
    assert "connectivity" not in probe.title
    for other in (clone(probe), pickle.loads(pickle.dumps(probe))):
        assert other.get_params() == probe.get_params()
        assert type(other) is type(probe)
