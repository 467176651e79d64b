"""A class token and tokens left out in training, against BIOT's own modules run by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import BIOT
from biot_bd.models import record_attention, save_checkpoint
from biot_bd.models.inference_plan import PrecisionPlan

SMALL = {"n_outputs": 2, "n_chans": 5, "n_times": 600, "embed_dim": 32, "num_heads": 4, "num_layers": 2}


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return BIOT(**{**SMALL, "class_token": True, **changes}).eval()


def windows(n=3, n_chans=5, n_times=600, seed=1):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def by_hand(model, x, tokens=None):
    """The transformer's own modules on the class token and the others; the head on the first."""
    tokens = model.encoder.tokens(x)[:, 1:] if tokens is None else tokens
    first = model.encoder.class_token.expand(len(x), 1, -1)
    return model.final_layer(model.encoder.transformer(torch.cat([first, tokens], dim=1))[:, 0])


def test_every_path_reads_the_class_token():
    model, x = build(), windows(20)
    expected = by_hand(model, x)
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)  # fast, with gradients
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)  # inference
        model.inference_plan = PrecisionPlan("bf16", 4)
        torch.testing.assert_close(model(x), expected, atol=0.05, rtol=0.05)
        model.inference_plan = PrecisionPlan("fp32", 8)
        hook = model.encoder.transformer.register_forward_hook(lambda *args: None)  # the modules themselves
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
        hook.remove()
        features = model(x, return_features=True)
    assert features["cls_token"] is features["features"]
    torch.testing.assert_close(torch.func.vmap(lambda w: model(w[None])[0])(x), expected, atol=1e-5, rtol=1e-5)


def test_the_class_token_learns_and_decides():
    model, x = build(), windows()
    model(x).sum().backward()
    assert model.encoder.class_token.grad.abs().max() > 0
    before = model(x)
    with torch.no_grad():
        model.encoder.class_token.zero_()
    assert (model(x) - before).abs().max() > 1e-3


def test_all_other_weights_and_the_state_dict_are_as_without():
    plain, model = build(class_token=False).state_dict(), build().state_dict()
    assert set(model) == {*plain, "encoder.class_token"}
    assert all(torch.equal(model[name], plain[name]) for name in plain)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True), st.booleans())
def test_absent_channels_are_as_if_they_were_not_there(present, grad):
    present = sorted(present)
    model, x = build(), windows()
    smaller = build(1, n_chans=len(present), channel_ids=present, n_channel_tokens=5)
    smaller.load_state_dict(model.state_dict())
    holes = torch.full_like(x, torch.nan)
    holes[:, present] = x[:, present]
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(model(holes), smaller(x[:, present]), atol=1e-5, rtol=1e-5)


def test_the_layout_says_so_and_maps_have_the_token():
    model, x = build(), windows(2)
    layout = model.token_layout()
    assert (layout.special, layout.readout, layout.n_tokens) == (("class",), "class", 1 + 5 * 5)
    assert model.encoder.tokens(x).shape[1] == layout.n_tokens
    with torch.no_grad(), record_attention(model) as trace:
        logits = model(x)
    torch.testing.assert_close(logits, by_hand(model, x), atol=1e-5, rtol=1e-5)
    assert trace.maps[0].shape == (2, 4, 26, 26)
    assert trace.maps.layouts[0].readout == "class"
    assert trace.channel_matrix().shape == (2, 2, 5, 5)
    np.testing.assert_allclose(trace.channel_matrix().sum(axis=-1), 1)


def test_a_checkpoint_without_one_leaves_it_fresh_and_says_so(shared):
    golden = shared / "golden" / "biot-official-layout-16.ckpt"
    plain, model = (BIOT.from_checkpoint(golden, class_token=wanted) for wanted in (None, True))
    assert plain.encoder.class_token is None
    assert "the class token is fresh: the checkpoint has none" in model.load_report.notes
    assert model.load_report.complete
    assert model.encoder.class_token.std() > 0.5
    assert all(torch.equal(v, model.encoder.state_dict()[k]) for k, v in plain.encoder.state_dict().items())


def test_a_checkpoint_with_one_brings_it(tmp_path):
    model = build()
    path = save_checkpoint(model, tmp_path / "w.safetensors", ["set/01"])
    found = BIOT.from_checkpoint(path, n_times=600)
    assert torch.equal(found.encoder.class_token, model.encoder.class_token)
    assert found.load_report.notes == ()
    with pytest.raises(ValueError, match=r"unexpected: class_token"):
        BIOT.from_checkpoint(path, n_times=600, class_token=False)


# --- tokens left out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("absent", [False, True])
def test_tokens_are_really_left_out(class_token, absent):
    model = build(class_token=class_token, token_drop_prob=0.4, drop_prob=0.0, att_layer_drop_prob=0.0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x = windows(1)
    if absent:
        x[:, 1] = torch.nan
    torch.manual_seed(3)
    found = model(x)
    torch.manual_seed(3)
    kept = torch.rand(1, 25 + class_token)[0] >= 0.4
    if class_token:
        kept[0] = True
    if absent:
        kept[class_token + 5 : class_token + 10] = False
    assert 5 < kept.sum() < 20
    tokens = model.encoder.tokens(x.nan_to_num())[:, kept]
    read = model.encoder.transformer(tokens)
    expected = model.final_layer(read[:, 0] if class_token else read.mean(dim=1))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_prediction_and_frozen_embeddings_leave_none_out():
    model, x = build(class_token=False, token_drop_prob=0.9), windows()
    torch.testing.assert_close(model(x), build(class_token=False)(x))
    model.train()
    model.encoder.positional_encoding.eval()
    state = torch.get_rng_state()
    model.encoder.drop_tokens(model.encoder.tokens(x), None)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_window_never_loses_all_tokens():
    model = build(class_token=False, token_drop_prob=0.99, n_chans=1, n_times=400).train()
    mask = model.encoder.drop_tokens(torch.zeros(2000, 3, 32), None)
    counts = mask.sum(dim=1)
    assert counts.min() == 1
    assert (counts == 3).float().mean() > 0.9  # where chance would have taken all three


def test_no_share_is_refused():
    with pytest.raises(ValueError, match="0 to below 1, got 1"):
        build(token_drop_prob=1)


# --- in a classifier ---------------------------------------------------------------------------------------


def test_a_saved_classifier_has_it_in_every_way_of_loading_and_in_a_graph(tmp_path):
    from small_pipeline import few_windows, save_small_pipeline

    from biot_bd import load_pipeline, load_scorer
    from biot_bd.export.gate_inputs import make_inputs
    from biot_bd.export.graph import ExportGraph
    from biot_bd.export.source import read_source
    from biot_bd.signals import IgnoreChannels, PercentileScaler

    steps = [IgnoreChannels(["F7-T7"]), PercentileScaler()]
    options = {"module__class_token": True, "module__token_drop_prob": 0.2}
    folder = save_small_pipeline(tmp_path / "model", steps=steps, **options)
    assert not (folder / "config.json").exists()  # braindecode's BIOT has no class token
    pipeline, scorer, windows = load_pipeline(folder), load_scorer(folder), few_windows()
    assert pipeline[-1].module_.encoder.token_drop_prob == 0.2
    assert scorer.without_braindecode
    expected = pipeline.predict_proba(windows)
    np.testing.assert_allclose(scorer.predict_proba(windows), expected, atol=1e-6)
    changed = windows.x.copy()
    changed[:, 1] = 0
    windows.x = changed
    np.testing.assert_allclose(pipeline.predict_proba(windows), expected, atol=1e-6)
    source, made = read_source(folder), make_inputs(4, 400, 200.0, n_plain=8)
    with torch.inference_mode():
        found, embedding = ExportGraph(source)(torch.from_numpy(made.x), torch.from_numpy(made.present))
    np.testing.assert_allclose(found, source.probabilities(made.x, made.present), atol=1e-5)
    assert embedding.shape[1] == 16
    # A checkpoint with a class token brings it without a word.
    again = BIOT.from_checkpoint(folder)
    assert torch.equal(again.encoder.class_token, pipeline[-1].module_.encoder.class_token)
    started = save_small_pipeline(tmp_path / "second", pretrained=str(folder), module__drop_prob=0.0)
    loaded = load_pipeline(started)
    assert loaded[-1].module_.encoder.class_token is not None
    np.testing.assert_allclose(
        load_scorer(started).predict_proba(few_windows()), loaded.predict_proba(few_windows()), atol=1e-6
    )


@pytest.mark.slow
def test_its_graph_can_be_exported(tmp_path):
    from small_pipeline import save_small_pipeline

    from biot_bd.export.graph import ExportGraph
    from biot_bd.export.source import read_source

    folder = save_small_pipeline(tmp_path / "model", module__class_token=True)
    graph = ExportGraph(read_source(folder))
    x = torch.randn(7, 4, 400)
    present = torch.ones(7, 4, dtype=torch.bool)
    present[2, 1] = False
    found = graph.program().module()(x, present)
    torch.testing.assert_close(found, graph(x, present), atol=1e-5, rtol=1e-5)
