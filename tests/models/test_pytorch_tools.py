"""BIOT inside the tools of PyTorch and braindecode, against itself run plainly."""

import copy
import json
import warnings

import mne
import pytest
import torch
from braindecode.models.interpolated import InterpolatedModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import parametrizations, prune

from biot_bd import BIOT
from biot_bd.models import BIOTConfig
from biot_bd.models.biot_scoring import ScoringBIOT

SMALL = {"n_outputs": 2, "n_chans": 5, "n_times": 600, "embed_dim": 32, "num_heads": 4, "num_layers": 2}
TABLE = {"channel_ids": [3, 1, 0, 2, 6], "n_channel_tokens": 7}

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return BIOT(**{**SMALL, **changes}).eval()


def windows(n=3, seed=1, n_chans=5, n_times=600):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def marked(present, seed=1):
    """Windows whose absent channels are NaN throughout."""
    present = torch.as_tensor(present)
    return torch.where(present[..., None], windows(len(present), seed), torch.nan)


MIXED = [[True] * 5, [True, False, True, True, False], [False, False, True, False, False]]
masks = st.lists(st.lists(st.booleans(), min_size=5, max_size=5).filter(any), min_size=1, max_size=5)


def assert_close(found, expected, bound=1e-5):
    assert found.shape == expected.shape
    assert ((found - expected).abs() <= bound * expected.abs().clamp_min(1.0)).all()


# Export and compilers


@pytest.fixture(scope="module")
def model():
    return build(**TABLE)


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["loose", "strict"])
def exported(request, model):
    free = torch.export.Dim("n", min=1, max=512)
    shapes = {"x": {0: free}, "present": {0: free}}
    args = (windows(3), torch.ones(3, 5, dtype=torch.bool))
    return {
        "marks": torch.export.export(model, args[:1], dynamic_shapes={"x": {0: free}}, strict=request.param).module(),
        "mask": torch.export.export(model, args, dynamic_shapes=shapes, strict=request.param).module(),
    }


@settings(max_examples=10, deadline=None)
@given(present=masks, seed=st.integers(0, 9))
def test_an_exported_graph_takes_any_batch_and_masks_exactly(model, exported, present, seed):
    x, present = marked(present, seed), torch.tensor(present)
    with torch.no_grad():
        expected = model(x)
        assert_close(exported["marks"](x), expected)
        assert_close(exported["mask"](x.nan_to_num(7.0), present), expected)


def test_an_exported_graph_gives_no_score_for_bad_windows_and_leaves_the_others_alone(model, exported):
    x = windows(4)
    x[0, 2, 5], x[1], x[2, 0, 0] = torch.nan, torch.nan, torch.inf
    with torch.no_grad():
        found = exported["marks"](x)
        assert found[:3].isnan().all()
        assert_close(found[3:], model(x[3:]))


def test_an_exported_graph_can_be_kept_and_holds_the_weights(tmp_path):
    model = build(num_layers=1)
    program = torch.export.export(model, (windows(2),), strict=False)
    assert set(program.state_dict) == set(model.state_dict())
    torch.export.save(program, tmp_path / "biot.pt2")
    x = marked(MIXED[:2])
    with torch.no_grad():
        assert_close(torch.export.load(tmp_path / "biot.pt2").module()(x), model(x))


@pytest.mark.slow
def test_the_embedding_can_be_exported_too(model):
    shapes = {"x": {0: torch.export.Dim("n")}, "return_features": None}
    program = torch.export.export(model, (windows(3),), {"return_features": True}, dynamic_shapes=shapes)
    x = marked(MIXED)[1:]
    with torch.no_grad():
        found = program.module()(x, return_features=True)["features"]
        assert_close(found, model(x, return_features=True)["features"])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_one_compiled_graph_without_breaks(model, backend):
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    with torch.no_grad():
        for x in (windows(3), marked(MIXED), windows(2)):
            assert_close(compiled(x), model(x))


@pytest.mark.slow
def test_compiled_training_has_the_gradients_of_the_plain_one():
    torch._dynamo.reset()
    found = []
    for backend in (None, "aot_eager"):
        trained = build(drop_prob=0.0, att_layer_drop_prob=0.0).train()
        run = trained if backend is None else torch.compile(trained, fullgraph=True, backend=backend)
        run(marked(MIXED)).square().sum().backward()
        found.append([p.grad for p in trained.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * max(1.0, float(a.abs().max())))


def test_tracers_record_the_mask(model):
    graph = make_fx(lambda x: model(x))(windows(3))
    named = build(n_chans=None, chs_info=[{"ch_name": f"C{i}"} for i in range(5)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        traced = torch.jit.trace(named, windows(3))
    x = marked(MIXED)
    with torch.no_grad():
        assert_close(graph(x), model(x))
        assert_close(traced(x), named(x))
        assert_close(traced(x[1:2]), named(x[1:2]))


# torch.func


@settings(max_examples=8, deadline=None)
@given(present=masks, with_gradients=st.booleans())
def test_vmap_over_windows_equals_the_batch(model, present, with_gradients):
    x = marked(present)
    with torch.set_grad_enabled(with_gradients):
        assert_close(torch.func.vmap(lambda window: model(window[None])[0])(x).detach(), model(x).detach())


def test_vmap_gives_no_score_for_a_bad_window(model):
    x = windows(2)
    x[0, 1, 4] = torch.nan
    found = torch.func.vmap(lambda window: model(window[None])[0])(x)
    assert found[0].isnan().all()
    assert_close(found[1:], model(x[1:]))


def test_gradients_of_each_window_equal_those_of_a_loop():
    model, x, y = build(**TABLE), marked(MIXED), torch.tensor([0, 1, 1])
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters, window, label):
        logits = torch.func.functional_call(model, parameters, (window[None],))
        return torch.nn.functional.cross_entropy(logits, label[None])

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    for i in range(3):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in model.named_parameters():
            torch.testing.assert_close(
                found[name][i], p.grad, rtol=1e-4, atol=1e-6 * max(1.0, float(p.grad.abs().max()))
            )
    assert (found["final_layer.classification_head.bias"].std(dim=0) > 0).all()


def test_vmap_in_training_obeys_its_randomness():
    model = build(drop_prob=0.5).train()
    x = windows(1).expand(4, -1, -1)
    runs = {}
    for randomness in ("same", "different"):
        with torch.no_grad():
            runs[randomness] = torch.func.vmap(lambda w: model(w[None])[0], randomness=randomness)(x)
    assert torch.allclose(runs["same"], runs["same"][:1].expand(4, -1), atol=1e-5)
    assert len({round(float(v), 3) for v in runs["different"][:, 0]}) == 4
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(lambda w: model(w[None])[0])(x)


def test_an_ensemble_runs_in_one_call():
    members = [build(seed) for seed in range(3)]
    state = torch.func.stack_module_state(members)
    skeleton = copy.deepcopy(members[0]).to("meta")
    x = marked(MIXED)
    with torch.no_grad():
        found = torch.func.vmap(lambda p, b: torch.func.functional_call(skeleton, (p, b), (x,)))(*state)
        for member, out in zip(members, found, strict=True):
            assert_close(out, member(x))


@pytest.mark.parametrize("with_gradients", [True, False])
def test_derivatives_by_input_agree_in_both_modes(model, with_gradients):
    x, direction = marked(MIXED), windows(3, seed=5)
    rows = torch.func.jacrev(model)(x)  # (window, logit, window, channel, sample)
    with torch.set_grad_enabled(with_gradients):
        forward = torch.func.jvp(model, (x,), (direction,))[1].detach()
    assert_close((rows * direction).sum((-1, -2, -3)), forward, bound=1e-3)
    own = rows[range(3), :, range(3)].transpose(1, 2)
    assert (own[x.isnan().all(-1)] == 0).all()
    assert (own[~x.isnan().all(-1)] != 0).any()


# Tensors without values


def test_meta_tensors_give_shapes():
    with torch.device("meta"):
        model = BIOT(**SMALL)
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {"meta"}
    x = torch.empty(7, 5, 600, device="meta")
    assert model(x).shape == (7, 2)
    with torch.no_grad():
        assert model.eval()(x).shape == (7, 2)
    assert copy.deepcopy(build()).to("meta")(x, return_features=True)["features"].shape == (7, 32)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        assert build()(torch.zeros(2, 5, 600)).shape == (2, 2)
    with pytest.raises(ValueError, match="n_times=600"):
        model(torch.empty(7, 5, 601, device="meta"))


@pytest.mark.parametrize("way", ["to_empty", "assign"])
def test_a_model_built_without_memory_takes_weights_and_its_own_channels(model, way):
    with torch.device("meta"):
        other = BIOT(**SMALL, **TABLE)
    if way == "to_empty":
        other.to_empty(device="cpu")
        other.load_state_dict(model.state_dict())
    else:
        other.load_state_dict(model.state_dict(), assign=True)
    assert other.encoder.index.tolist() == TABLE["channel_ids"]
    assert other.encoder.index.device.type == "cpu"
    x = marked(MIXED)
    with torch.no_grad():
        assert torch.equal(other.eval()(x), model(x))


def test_loading_on_another_device_moves_the_channels_along(model):
    with torch.device("meta"):
        weights = BIOT(**SMALL, **TABLE).state_dict()
    other = build(**TABLE)
    other.load_state_dict(weights, assign=True)
    assert other.encoder.index.is_meta


# Copies with other weights, layers or types


@pytest.mark.filterwarnings("ignore")
def test_dynamic_quantisation_stays_near():
    model, x = build(), marked(MIXED)
    small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {torch.nn.Linear}, dtype=torch.qint8)
    assert type(small.encoder.patch_embedding.projection) is not torch.nn.Linear
    with torch.no_grad():
        found, expected = small(x), model(x)
    assert 0 < (found.softmax(1) - expected.softmax(1)).abs().max() < 0.05
    with pytest.raises(ValueError, match="channel 1: 1 of 600 samples are NaN"):
        small(windows(1).index_put((torch.tensor(0), torch.tensor(1), torch.tensor(2)), torch.tensor(torch.nan)))


def test_parametrised_and_pruned_layers_take_part():
    model, x = build(), marked(MIXED)
    projection, head = model.encoder.patch_embedding.projection, model.final_layer.classification_head
    parametrizations.weight_norm(head)
    prune.l1_unstructured(projection, "weight", 0.5)
    plain = build()
    plain.final_layer.classification_head.weight.data = head.weight.detach()
    plain.encoder.patch_embedding.projection.weight.data = projection.weight.detach()
    assert (projection.weight == 0).float().mean() == pytest.approx(0.5, abs=0.01)
    with torch.no_grad():
        assert_close(model(x), plain(x))
        assert_close(copy.deepcopy(plain)(x), plain(x), bound=0)


def test_averaged_and_checkpointed_models_are_the_model(model):
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    x = windows(2).requires_grad_()
    with torch.no_grad():
        assert torch.equal(averaged(x), model(x))
    torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False).sum().backward()
    found, x.grad = x.grad, None
    model(x).sum().backward()
    assert torch.equal(found, x.grad)


# Braindecode's tools


@pytest.mark.parametrize("activation", [torch.nn.ELU, torch.nn.ReLU])
def test_config_builds_our_model_out_of_json(activation):
    config = BIOTConfig(**SMALL, **TABLE, activation=activation, sfreq=200)
    model = BIOTConfig.model_validate(json.loads(config.model_dump_json())).create_instance()
    assert type(model) is BIOT
    assert type(model.final_layer.activation_layer) is activation
    assert model.channel_ids == tuple(TABLE["channel_ids"])
    assert {p.shape for p in model.parameters()} == {p.shape for p in build(**TABLE).parameters()}


def test_config_refuses_what_the_model_does_not_know():
    with pytest.raises(ValueError, match="chanel_ids"):
        BIOTConfig(**SMALL, chanel_ids=[0])
    with pytest.raises(ValueError, match="n_times"):
        BIOTConfig(n_outputs=2, n_chans=5)


def test_the_hubs_layout_keeps_channels_and_a_new_head(tmp_path):
    model = build(**TABLE)
    model.reset_head(4)
    model.save_pretrained(tmp_path)
    other = BIOT.from_pretrained(tmp_path).eval()
    assert other.get_config() == model.get_config()
    x = marked(MIXED)
    with torch.no_grad():
        assert torch.equal(other(x), model(x))


def test_interpolation_in_front_sees_other_channels_than_the_model():
    montage = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]

    sources = ["Fp1", "Fp2", "F7", "F8", "T7", "T8", "O1", "O2"]

    def infos(names):
        return [{"ch_name": name, "kind": "eeg", "loc": montage[name]} for name in names]

    cls = InterpolatedModel(BIOT, infos(["Fp1", "F3", "C3", "P3", "O1"]))
    torch.manual_seed(0)
    model = cls(**(SMALL | {"n_chans": None}), chs_info=infos(sources), sfreq=200).eval()
    plain = build()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("interpolation")})
    x = windows(2, n_chans=8)
    with torch.no_grad():
        assert_close(model(x), plain(model.interpolation_layer(x)))
    assert (model.n_chans, model.token_layout().n_chans) == (8, 5)
    x[0, 1] = torch.nan  # the weights of the interpolation spread it over all channels: no window is left
    with pytest.raises(ValueError, match="window 0 of the batch has no channel present"):
        model(x)


# Scoring without braindecode


def test_the_scoring_model_can_be_traced_and_mapped_too(model):
    scoring = ScoringBIOT(
        **{k: SMALL[k] for k in ("embed_dim", "num_heads", "num_layers", "n_times", "n_outputs")},
        **TABLE,
        sfreq=200,
        hop_length=100,
    )
    scoring.load_state_dict(model.state_dict())
    x = marked(MIXED)
    with torch.no_grad():
        assert_close(scoring(x), model(x))
        assert_close(make_fx(lambda x: scoring(x))(windows(3))(x), model(x))
        assert_close(torch.func.vmap(lambda window: scoring(window[None])[0])(x), model(x))
        assert scoring.to("meta")(x.to("meta")).shape == (3, 2)
