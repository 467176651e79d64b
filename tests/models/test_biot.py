"""BIOT against braindecode's BIOT, the official code's numbers, and itself without the absent channels."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from braindecode.models import BIOT as BraindecodeBIOT
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import BIOT

SMALL = {"n_outputs": 2, "n_chans": 5, "n_times": 600, "embed_dim": 32, "num_heads": 4, "num_layers": 2}


def build(cls, seed=0, **changes):
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # braindecode's remarks on other rates
        return cls(**{**SMALL, **changes}).eval()


def windows(n=3, n_chans=5, n_times=600, seed=1, scale=1.0):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed)) * scale


def assert_equal_in_float32(found, expected):
    """The bound against braindecode: 1e-5 * max(1, |logit|)."""
    assert ((found - expected).abs() <= 1e-5 * expected.abs().clamp_min(1.0)).all()


CONFIGS = [
    {},
    {"n_outputs": 5, "n_chans": 1, "num_layers": 1},
    {"n_chans": 16, "n_times": 2000, "embed_dim": 256, "num_heads": 8, "num_layers": 4},
    {"n_chans": 3, "n_times": 640, "sfreq": 256, "hop_length": 128},
    {"n_chans": 2, "n_times": 501, "sfreq": 100, "hop_length": 33},
    {"n_chans": 4, "n_times": 150},  # shorter than a second: one frame of the whole window
    {"input_window_seconds": 3.0, "n_times": None, "activation": torch.nn.ReLU},
]


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("batch", [1, 5])
def test_equals_braindecode(config, batch, threads):
    ours, theirs = build(BIOT, seed=0, **config), build(BraindecodeBIOT, seed=1, **config)
    theirs.load_state_dict(ours.state_dict())
    x = windows(batch, ours.n_chans, ours.n_times)
    with torch.no_grad():
        assert_equal_in_float32(ours(x), theirs(x))
        features, expected = ours(x, return_features=True), theirs(x, return_features=True)
    assert_equal_in_float32(features["features"], expected["features"])
    assert features["cls_token"] is None


def test_state_dict_goes_both_ways_and_equal_seeds_give_equal_weights():
    ours, theirs = build(BIOT), build(BraindecodeBIOT)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())
    other = build(BIOT, seed=5)
    other.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(build(BIOT, seed=6).state_dict(), strict=True)


def test_training_mode_has_the_same_distribution():
    ours, theirs = build(BIOT, drop_prob=0.3).train(), build(BraindecodeBIOT, drop_prob=0.3).train()
    theirs.load_state_dict(ours.state_dict())
    x = windows(1).expand(4000, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        a, b = ours(x)[:, 0], theirs(x)[:, 0]
    assert a.std() > 0
    assert abs(a.mean() - b.mean()) < 4 * torch.sqrt((a.var() + b.var()) / len(a))
    assert abs(a.std() / b.std() - 1) < 0.1


def test_token_dropout_defaults_to_the_official_tenth():
    assert build(BIOT).encoder.positional_encoding.dropout.p == 0.1


def test_official_encoder_gives_the_official_embedding(shared):
    state = torch.load(shared / "golden" / "biot-official-layout-16.ckpt", weights_only=True)
    golden = np.load(shared / "golden" / "biot-official-layout-16.npz")
    model = build(BIOT, n_chans=16, n_times=2000, embed_dim=256, num_heads=8, num_layers=4)
    state.pop("index")
    model.encoder.load_state_dict(state, strict=True)
    with torch.no_grad():
        embedding = model(torch.from_numpy(golden["x"]), return_features=True)["features"].numpy()
    np.testing.assert_allclose(embedding, golden["embedding"], rtol=0, atol=1e-5 * np.abs(golden["embedding"]).max())


def test_official_lightning_file_gives_embedding_and_logit(shared):
    state = torch.load(shared / "golden" / "biot-official-lightning-18-depth2.ckpt", weights_only=True)["state_dict"]
    golden = np.load(shared / "golden" / "biot-official-lightning-18-depth2.npz")
    encoder = {k.removeprefix("model.biot."): v for k, v in state.items() if k.startswith("model.biot.")}
    encoder.pop("index")
    model = build(BIOT, n_outputs=1, n_chans=18, n_times=golden["x"].shape[2], embed_dim=256, num_heads=8)
    model.encoder.load_state_dict(encoder, strict=True)
    head = {k: v for k, v in state.items() if k.startswith("model.classifier.") and not k.endswith("index")}
    weight = next(v for k, v in head.items() if k.endswith("weight"))
    bias = next(v for k, v in head.items() if k.endswith("bias"))
    model.final_layer.classification_head.load_state_dict({"weight": weight, "bias": bias})
    x = torch.from_numpy(golden["x"])
    with torch.no_grad():
        np.testing.assert_allclose(
            model(x, return_features=True)["features"], golden["embedding"], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(model(x), golden["logit"], rtol=1e-4, atol=1e-5)


# Absent channels


def assert_equal_to_rounding(found, expected):
    assert (found - expected).abs().max() < 1e-6 * max(1.0, float(expected.abs().max()))


def without(model, x, present):
    """Run one window on the present channels alone: the independent truth."""
    kept = np.flatnonzero(present).tolist()
    ids = [model.channel_ids[i] for i in kept]
    small = build(BIOT, n_chans=len(kept), channel_ids=ids, n_channel_tokens=model.n_channel_tokens)
    small.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        return small(x[None, kept], return_features=True)["features"][0]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5).filter(any), min_size=1, max_size=4))
def test_masking_equals_dropping_in_mixed_batches(masks):
    model = build(BIOT)
    present = torch.tensor(masks)
    x = windows(len(masks))
    marked = torch.where(present[..., None], x, torch.nan)
    with torch.no_grad():
        by_mark = model(marked, return_features=True)["features"]
        by_mask = model(x, present=present, return_features=True)["features"]
    expected = torch.stack([without(model, x[i], present[i].numpy()) for i in range(len(x))])
    assert_equal_to_rounding(by_mark, expected)
    assert torch.equal(by_mark, by_mask)


def test_zero_filling_is_another_result():
    model, x = build(BIOT), windows(1)
    gone = x.clone()
    gone[:, 2] = torch.nan
    with torch.no_grad():
        assert (model(gone) - model(gone.nan_to_num())).abs().max() > 1e-4


def test_mark_and_mask_add_up():
    model, x = build(BIOT), windows(2)
    present = torch.ones(2, 5, dtype=torch.bool)
    present[0, 1] = False
    both = x.clone()
    both[0, 3] = torch.nan
    expected = without(model, x[0], np.array([1, 0, 1, 0, 1], bool))
    with torch.no_grad():
        found = model(both, present=present, return_features=True)["features"][0]
    assert_equal_to_rounding(found, expected)


def test_all_present_mask_changes_nothing():
    model, x = build(BIOT), windows(2)
    with torch.no_grad():
        assert torch.equal(model(x, present=torch.ones(2, 5, dtype=torch.bool)), model(x))


def test_bad_values_in_a_channel_declared_absent_do_not_matter():
    model, x = build(BIOT), windows(1)
    present = torch.tensor([[True, False, True, True, True]])
    broken = x.clone()
    broken[0, 1, :10] = torch.inf
    with torch.no_grad():
        assert torch.equal(model(broken, present=present), model(x, present=present))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_gradients_stay_finite_and_are_zero_at_absent_channels(mode):
    model = getattr(build(BIOT), mode)()
    x = windows(2)
    x[0, 2] = torch.nan
    x.requires_grad_()
    model(x).square().sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad[0, 2] == 0).all()
    assert (x.grad[1, 2] != 0).any()
    # Everything learns, token rows of absent channels included where another window has them.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_partial_nan_names_window_and_channel():
    model = build(BIOT, n_chans=None, chs_info=[{"ch_name": f"C{i}-P{i}", "kind": "eeg"} for i in range(5)])
    x = windows(3)
    x[2, 1, 10:14] = torch.nan
    with pytest.raises(ValueError, match=r"window 2 .*channel 1 \(C1-P1\): 4 of 600 samples are NaN"):
        model(x)


def test_infinite_value_raises():
    x = windows(2)
    x[1, 0, 5] = torch.inf
    with pytest.raises(ValueError, match=r"window 1 .*channel 0.*1 infinite"):
        build(BIOT)(x)


def test_window_without_channels_raises():
    x = windows(2)
    x[1] = torch.nan
    with pytest.raises(ValueError, match=r"window 1 .*no channel present"):
        build(BIOT)(x)


# Channel ids and the token table


def test_channel_ids_choose_rows_of_the_token_table():
    big = build(BIOT)
    ids = [4, 0, 2]
    small = build(BIOT, n_chans=3, channel_ids=ids, n_channel_tokens=5)
    small.load_state_dict(big.state_dict(), strict=True)
    x = windows(2)
    with torch.no_grad():  # the order of channels does not matter, the ids do
        expected = big(x, present=torch.tensor([[True, False, True, False, True]] * 2))
        assert_equal_to_rounding(small(x[:, ids]), expected)
        assert (small(x[:, [0, 2, 4]]) - expected).abs().max() > 1e-4


def test_table_larger_than_the_channels():
    model = build(BIOT, n_channel_tokens=18)
    assert model.state_dict()["encoder.channel_tokens.weight"].shape == (18, 32)
    assert model.channel_ids == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_ids": [0, 1]}, "one token for each of the 5 channels"),
        ({"channel_ids": [0, 1, 2, 3, 3]}, "each once"),
        ({"channel_ids": [0, 1, 2, 3, 16]}, "n_channel_tokens, e.g. 17"),
        ({"channel_ids": [0, 1, 2, 3, -1]}, "outside the token table"),
        ({"n_channel_tokens": 4}, "outside the token table"),
        ({"num_heads": 5}, "multiple of num_heads=5"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"n_times": 200_000}, "positions for 1000"),
    ],
)
def test_impossible_sizes_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        build(BIOT, **changes)


# Shapes


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 4, 600), r"\(n, 5, 600\), got \(2, 4, 600\)"),
        (torch.zeros(5, 600), r"got \(5, 600\)"),
        (torch.zeros(2, 5, 768), r"3 s at 200 Hz.*768 samples; resample"),
        (torch.zeros(2, 5, 100), "100 samples"),
        (torch.zeros(2, 5, 600, dtype=torch.int64), "floating-point"),
    ],
)
def test_wrong_input_says_what_was_expected(x, message):
    with pytest.raises(ValueError, match=message):
        build(BIOT)(x)


@pytest.mark.parametrize("present", [torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 5)])
def test_wrong_mask_raises(present):
    with pytest.raises(ValueError, match="bool tensor of shape"):
        build(BIOT)(windows(2), present=present)


def test_token_layout_says_where_tokens_come_from():
    model = build(BIOT, n_times=1000)
    layout = model.token_layout()
    assert (layout.n_chans, layout.n_frames, layout.n_tokens) == (5, 9, 45)
    assert model.encoder.n_frames(model.n_times) == 9
    assert layout.channel.tolist() == [c for c in range(5) for _ in range(9)]
    np.testing.assert_allclose(layout.start_s[:3], [0, 0.5, 1.0])
    np.testing.assert_allclose(layout.stop_s - layout.start_s, 1.0)
    assert layout.stop_s.max() == 5.0
    assert model.token_layout(400).n_frames == 3
    # The truth from the model itself: a change of the signal changes just the tokens that cover it.
    x = windows(1, n_times=1000)
    y = x.clone()
    y[0, 2, 420:430] += 1  # 2.1 s
    with torch.no_grad():
        changed = (model.encoder.tokens(x) != model.encoder.tokens(y)).any(-1)[0].numpy()
    expected = (layout.channel == 2) & (layout.start_s <= 2.1) & (layout.stop_s > 2.1)
    assert (changed == expected).all()
    with pytest.raises(ValueError, match="at least one frame, 200 samples; got 100"):
        model.token_layout(100)


# Copies, configurations, heads, graphs


def test_pickle_and_deepcopy_keep_the_outputs():
    model, x = build(BIOT, n_channel_tokens=7), windows()
    x[0, 1] = torch.nan
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(other(x), model(x))


def test_config_goes_through_json_and_takes_braindecodes():
    model = build(BIOT, n_chans=3, channel_ids=[2, 0, 6], n_channel_tokens=7)
    config = json.loads(json.dumps(model.get_config()))
    other = BIOT.from_config(config)
    assert other.get_config() == model.get_config()
    assert tuple(other.channel_ids) == (2, 0, 6)
    assert BIOT.from_config(build(BraindecodeBIOT).get_config()).n_chans == 5


def test_reset_head_keeps_the_config_true():
    model = build(BIOT)
    model.reset_head(4)
    assert model(windows()).shape == (3, 4)
    assert model.get_config()["n_outputs"] == 4


def test_half_precision_input_and_autocast():
    model, x = build(BIOT), windows()
    x[0, 1] = torch.nan
    with torch.no_grad():
        expected = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model(x).float(), expected, rtol=0, atol=0.05)
        torch.testing.assert_close(model(x.bfloat16()), expected, rtol=0, atol=0.05)
