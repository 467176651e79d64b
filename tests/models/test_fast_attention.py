"""The fast transformer against the modules it stands in for and against braindecode, on random shapes."""

import copy
import io
import pickle
import warnings

import numpy as np
import peft
import pytest
import torch
from braindecode.models import BIOT as BraindecodeBIOT
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import parametrizations

from biot_bd import BIOT, record_attention
from biot_bd.models import fast_attention
from biot_bd.models.encoder import linear_attn
from biot_bd.models.fast_inference import infer
from biot_bd.models.inference_plan import PrecisionPlan

SMALL = {"n_outputs": 2, "n_chans": 5, "n_times": 600, "embed_dim": 32, "num_heads": 4, "num_layers": 2}
FIRST = "encoder.transformer.layers.layers.0.0.fn"

pytestmark = pytest.mark.usefixtures("one_thread")


def build(cls=BIOT, seed=0, **changes):
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return cls(**{**SMALL, **changes}).eval()


def windows(n=3, n_chans=5, n_times=600, seed=1):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def by_modules(model, x, present=None):
    """Run the transformer's own modules on the same tokens: the slow truth."""
    with torch.no_grad():
        tokens = model.encoder.tokens(x.nan_to_num())
        mask = None if present is None else present.repeat_interleave(tokens.shape[1] // x.shape[1], dim=1)
        out = model.encoder.transformer(tokens, input_mask=mask)
        mean = out.mean(1) if mask is None else (out * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return model.final_layer(mean)


def assert_close(found, expected, bound=1e-5):
    assert found.shape == expected.shape
    assert ((found - expected).abs() <= bound * expected.abs().clamp_min(1.0)).all()


shapes = st.fixed_dictionaries(
    {
        "n_chans": st.integers(1, 23),
        "n_times": st.integers(200, 900),
        "num_layers": st.integers(1, 3),
        "num_heads": st.sampled_from([1, 2, 4, 8]),
        "hop_length": st.sampled_from([50, 100, 133]),
    }
)


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(1, 9), st.sampled_from([None, 1, 2, 3, 4, 8]), st.integers(0, 9))
def test_equals_braindecode_on_random_shapes(shape, n, micro_batch, seed):
    ours, theirs = build(seed=seed, **shape), build(BraindecodeBIOT, **shape)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.inference_plan = PrecisionPlan("fp32", micro_batch)
    x = windows(n, shape["n_chans"], shape["n_times"], seed)
    with torch.no_grad():
        expected = theirs(x)
        assert_close(ours(x), expected)
    assert_close(ours(x).detach(), expected)  # the differentiable path


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=5, max_size=5).filter(any), min_size=1, max_size=7),
    st.sampled_from([None, 1, 3]),
    st.sampled_from(["fp32", "bf16", "fp16"]),
)
def test_masked_batches_equal_the_modules(masks, micro_batch, precision):
    model, present = build(), torch.tensor(masks)
    x = torch.where(present[..., None], windows(len(masks)), torch.nan)
    expected = by_modules(model, x, present)
    model.inference_plan = PrecisionPlan(precision, micro_batch)
    with torch.no_grad():
        assert_close(model(x), expected, 1e-5 if precision == "fp32" else 2e-2)
    assert_close(model(x).detach(), expected)


@pytest.mark.parametrize("n", [7, 8, 9, 16, 17])
def test_micro_batches_leave_no_window_out_at_their_borders(n):
    model, x = build(), windows(n)
    model.inference_plan = PrecisionPlan("fp32", 8)
    with torch.no_grad():
        whole = model(x)
        assert_close(whole, torch.cat([model(x[i : i + 1]) for i in range(n)]))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 5),
    st.integers(1, 40),
    st.integers(1, 3),
    st.sampled_from([1, 2, 4, 8]),
    st.booleans(),
    st.integers(0, 9),
)
def test_inference_in_place_equals_the_differentiable_way_to_double_rounding(n, tokens, depth, heads, masked, seed):
    model = build(seed=seed, num_layers=depth, num_heads=heads).double()
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # biases as large as weights
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=drawn, dtype=torch.float64))
    layers = fast_attention.fast_layers(model.encoder.transformer, linear_attn)
    x = torch.randn(n, tokens, 32, generator=drawn, dtype=torch.float64)
    mask = torch.rand(n, tokens, generator=drawn) < 0.7 if masked else None
    if mask is not None:
        mask[:, 0] = True
    with torch.no_grad():
        expected = fast_attention.encode(layers, x, mask)
        assert_close(infer(layers, x.clone(), mask), expected, bound=1e-11)


def test_inference_in_place_refuses_a_layout_that_it_cannot_overwrite():
    layers = fast_attention.fast_layers(build().encoder.transformer, linear_attn)
    with torch.no_grad(), pytest.raises(RuntimeError, match="view"):
        infer(layers, torch.randn(7, 3, 32).transpose(0, 1))


def test_gradients_equal_those_of_the_modules():
    x, found = windows(), []
    for plain in (False, True):
        model = build(att_layer_drop_prob=0.0, drop_prob=0.0).train()
        if plain:
            model.encoder.transformer.register_forward_hook(lambda *args: None)
        assert (fast_attention.fast_layers(model.encoder.transformer, linear_attn) is None) == plain
        model(x).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * max(1.0, float(b.abs().max())))


def test_frozen_parameters_get_no_gradient():
    model = build().train()
    attention = model.get_submodule(FIRST)
    attention.to_k.requires_grad_(False)
    for autocast in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            model(windows()).square().sum().backward()
        assert attention.to_k.weight.grad is None
        assert attention.to_q.weight.grad.abs().sum() > 0


def test_double_precision_is_kept():
    model = build().double()
    x = windows().double()
    theirs = build(BraindecodeBIOT).double()
    theirs.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert model(x).dtype == torch.float64
        torch.testing.assert_close(model(x), theirs(x), rtol=0, atol=1e-12)


def test_a_model_converted_to_bfloat16_computes_in_it():
    model, x = build(), windows()
    with torch.no_grad():
        expected = model(x)
        model.bfloat16()
        found = model(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05)


# Half precision, and its copies


@settings(max_examples=10, deadline=None)
@given(shapes, st.sampled_from(["bf16", "fp16"]), st.integers(0, 5))
def test_half_precision_stays_near(shape, precision, seed):
    model = build(seed=seed, **shape)
    x = windows(3, shape["n_chans"], shape["n_times"], seed)
    with torch.no_grad():
        expected = model(x)
        model.inference_plan = PrecisionPlan(precision, 2)
        found = model(x)
    assert found.dtype == torch.float32
    assert (found.softmax(1) - expected.softmax(1)).abs().max() < 1e-2
    assert not torch.equal(found, expected)


@torch.no_grad()
def optimiser_step(model):
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    torch.optim.SGD(model.parameters(), lr=0.1).step()


CHANGES = {
    "optimiser": optimiser_step,
    "load_state_dict": lambda model: model.load_state_dict(build(seed=3).state_dict()),
    "data assigned": lambda model: setattr(
        model.get_submodule(FIRST).to_v.weight, "data", model.get_submodule(FIRST).to_v.weight.data * 3
    ),
    "data in place": lambda model: model.get_submodule(FIRST).to_v.weight.data.mul_(3),
    "one number": lambda model: model.get_submodule(FIRST).to_v.weight.data[3].view(-1)[5:6].fill_(60.0),
    "numpy view": lambda model: np.multiply(
        model.get_submodule(FIRST).to_v.weight.detach().numpy(),
        3,
        out=model.get_submodule(FIRST).to_v.weight.detach().numpy(),
    ),
    "moving average": lambda model: [
        p.data.mul_(0.5).add_(q.data, alpha=0.5)
        for p, q in zip(model.parameters(), build(seed=3).parameters(), strict=True)
    ],
    "layer replaced": lambda model: setattr(model.get_submodule(FIRST), "to_v", torch.nn.Linear(32, 32, bias=False)),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("change", CHANGES)
def test_no_path_uses_weights_that_have_changed(change, precision):
    model, x = build(), windows(8)  # enough tokens for packed products
    model.inference_plan = PrecisionPlan(precision, 2)
    with torch.no_grad():
        before = model(x)
        CHANGES[change](model)
        after, expected = model(x), by_modules(model, x)
    assert (before - expected).abs().max() > 5e-3
    assert_close(after, expected, 1e-5 if precision == "fp32" else 5e-3 * max(1.0, float(expected.abs().max())))


def test_copies_of_weights_follow_conversion_and_are_kept_while_nothing_changes():
    model, x = build(), windows()
    model.inference_plan = PrecisionPlan("bf16", 2)
    with torch.no_grad():
        model(x)
        copies = model.encoder._copies[torch.bfloat16]
        model(x)
        assert model.encoder._copies[torch.bfloat16] is copies
        model.double()
        assert model(x.double()).dtype == torch.float64
        assert model.encoder._copies[torch.bfloat16] is not copies


def test_copies_keep_the_plan_and_leave_copies_of_weights_behind():
    model, x = build(), windows()
    keys = list(model.state_dict())
    model.inference_plan = PrecisionPlan("bf16", 2)
    with torch.no_grad():
        expected = model(x)
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        for other in (
            pickle.loads(pickle.dumps(model)),
            copy.deepcopy(model),
            torch.load(buffer, weights_only=False),
        ):
            assert other.encoder._copies == {}
            assert other.inference_plan == PrecisionPlan("bf16", 2)
            assert torch.equal(other(x), expected)
    assert list(model.state_dict()) == keys
    assert build().inference_plan.precision == "fp32"  # the plan belongs to one model


def test_overflow_of_half_precision_is_computed_again_in_full():
    model, x = build(), windows(5)
    model.get_submodule(FIRST).to_v.weight.data *= 1e6
    with torch.no_grad():
        expected = model(x)
        assert expected.isfinite().all()
        model.inference_plan = PrecisionPlan("fp16", 2)
        torch.testing.assert_close(model(x), expected)


def test_plan_is_obeyed_only_in_eval_mode_without_gradients():
    model, x = build(drop_prob=0.0, att_layer_drop_prob=0.0), windows()
    model.inference_plan = PrecisionPlan("bf16", 2)
    full = by_modules(model, x)
    assert_close(model(x).detach(), full)
    with torch.no_grad():
        assert (model(x) - full).abs().max() > 1e-5
        assert_close(model.train()(x), full)


# Who observes or replaces modules gets the modules


def is_fast(model):
    return fast_attention.fast_layers(model.encoder.transformer, linear_attn) is not None


@pytest.mark.parametrize("part", ["", ".to_q", ".to_out", ".dropout"])
def test_hooks_are_called_once_a_batch(part):
    model, x, calls = build(), windows(20), []
    expected = by_modules(model, x)
    hook = model.get_submodule(FIRST + part).register_forward_hook(lambda module, args, out: calls.append(len(out)))
    assert not is_fast(model)
    with torch.no_grad():
        assert_close(model(x), expected)
    assert calls == [20]
    hook.remove()
    assert is_fast(model)


def test_a_hook_changes_what_it_changes():
    model, x = build(), windows()
    with torch.no_grad():
        expected = model(x)
        model.encoder.patch_embedding.register_forward_hook(lambda module, args, out: out * 0)
        assert (model(x) - expected).abs().max() > 1e-3


def test_a_replaced_forward_and_a_parametrised_weight_are_honoured():
    model, x = build(), windows()
    layer = model.get_submodule(FIRST)
    parametrizations.weight_norm(layer.to_q)
    assert not is_fast(model)
    assert_close(model(x).detach(), by_modules(model, x))
    other = build()
    other.get_submodule(FIRST).to_v.forward = lambda x: x * 0
    assert not is_fast(other)
    assert_close(other(x).detach(), by_modules(other, x))


def test_recording_sees_one_map_a_batch_whatever_the_plan():
    model, x = build(), windows(20)
    for precision in ("fp32", "bf16"):
        model.inference_plan = PrecisionPlan(precision, 8)
        with torch.no_grad(), record_attention(model) as trace:
            model(x)
        assert [len(record.weights) for record in trace] == [20, 20]
        assert is_fast(model)


def test_low_rank_adapters_take_part():
    model, x = build(), windows()
    with torch.no_grad():
        before = model(x)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    assert not is_fast(model)
    with torch.no_grad():
        found = adapted.eval()(x)
        assert (found - before).abs().max() > 1e-3
        assert_close(found, by_modules(model, x))
        merged = adapted.merge_and_unload()
        assert is_fast(merged)
        assert_close(merged(x), found)


def test_functional_call_uses_the_parameters_it_is_given():
    model, other, x = build(), build(seed=4), windows()
    with torch.no_grad():
        found = torch.func.functional_call(model, dict(other.state_dict()), (x,))
        assert_close(found, other(x))


# Dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_has_the_distribution_of_torch(p, dtype):
    torch.manual_seed(0)
    x = torch.full((101, 1001), 3.0, dtype=dtype, requires_grad=True)
    y = fast_attention.dropout(x, p, True)
    dropped = (y == 0).float()
    n = x.numel()
    assert abs(float(dropped.mean()) - p) < 4 * (p * (1 - p) / n) ** 0.5
    assert y.dtype == dtype
    kept = y[y != 0].float()
    assert torch.allclose(kept, torch.full_like(kept, 3 / (1 - p)), rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    y.float().sum().backward()
    assert torch.equal(x.grad == 0, y == 0)
    # Neighbours share a random number, and must not share their fate.
    together = float((dropped.view(-1)[:-1] * dropped.view(-1)[1:]).mean())
    assert abs(together - p * p) < 5 * (p * p / n) ** 0.5


def test_dropout_obeys_the_seed_and_does_nothing_where_it_should_not():
    x = torch.randn(7, 5)
    torch.manual_seed(1)
    a = fast_attention.dropout(x, 0.3, True)
    b = fast_attention.dropout(x, 0.3, True)
    torch.manual_seed(1)
    assert torch.equal(fast_attention.dropout(x, 0.3, True), a)
    assert not torch.equal(a, b)
    assert fast_attention.dropout(x, 0.3, False) is x
    assert fast_attention.dropout(x, 0.0, True) is x
    assert (fast_attention.dropout(x, 1.0, True) == 0).all()
