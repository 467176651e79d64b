import copy

import numpy as np
import pytest
import torch
from small_pipeline import save_small_pipeline

from biot_bd.exceptions import ExportError
from biot_bd.export.biot_graph import BIOTGraph, biot_graph
from biot_bd.export.gate_inputs import make_inputs
from biot_bd.export.graph import ExportGraph, _Wrapped
from biot_bd.export.source import read_source
from biot_bd.models import BIOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_pipeline(tmp_path_factory.mktemp("graph") / "model")


def run(graph, x, present):
    given = (torch.from_numpy(x), torch.from_numpy(present))[: len(graph.input_names)]
    with torch.inference_mode():
        return [out.numpy() for out in graph(*given)]


def test_the_graph_gives_the_pipeline_s_probabilities(folder):
    source = read_source(folder)
    graph = ExportGraph(source)
    assert type(graph.network) is BIOTGraph
    assert graph.input_names == ["x", "present"]
    made = make_inputs(4, 400, 200.0, n_plain=16)
    probabilities, embedding = run(graph, made.x, made.present)
    np.testing.assert_allclose(probabilities, source.probabilities(made.x, made.present), atol=1e-5)
    assert embedding.shape == (len(made.x), 16)
    assert np.isfinite(embedding).all()


def test_what_stands_in_absent_channels_does_not_matter(folder):
    graph, made = ExportGraph(read_source(folder)), make_inputs(4, 400, 200.0, n_plain=8)
    rows = made.of_kind("absent channels")
    filled = np.where(made.present[rows][..., None], made.x[rows], np.float32(1e6))
    first, second = (run(graph, x, made.present[rows]) for x in (made.x[rows], filled))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_a_window_without_a_usable_channel_has_no_probability(folder):
    graph = ExportGraph(read_source(folder))
    x = np.random.default_rng(0).normal(size=(3, 4, 400)).astype(np.float32)
    present = np.ones((3, 4), bool)
    x[0], present[1] = 7, False
    for out in run(graph, x, present):
        assert np.isnan(out[:2]).all()
        assert np.isfinite(out[2]).all()


def test_columns_are_in_the_order_of_sorted_labels(tmp_path):
    # "seizure" sorts behind "background" and before "wake": its output is last, its column is not.
    source = read_source(save_small_pipeline(tmp_path / "m", labels=["wake", "seizure"], classes=("wake", "seizure")))
    assert source.outputs.tolist() == ["wake", "seizure"]
    made = make_inputs(4, 400, 200.0, n_plain=4)
    found, _ = run(ExportGraph(source), made.x, made.present)
    np.testing.assert_allclose(found, source.probabilities(made.x, made.present), atol=1e-5)


@pytest.mark.parametrize("hop", [100, 200, 80, 130])
def test_any_hop_has_a_graph(hop):
    torch.manual_seed(0)
    model = BIOT(
        embed_dim=16, num_heads=4, num_layers=2, n_chans=3, n_times=900, n_outputs=2, hop_length=hop, channel_ids=[4, 0, 2],
        n_channel_tokens=5,
    ).eval()  # fmt: skip
    x = torch.randn(4, 3, 900)
    present = torch.tensor([[True] * 3, [True, False, True], [False, False, True], [True] * 3])
    with torch.no_grad():
        x = torch.where(present[..., None], x, 0.0)
        logits, embedding = biot_graph(model)(x, present)
        expected = model(x, present, return_features=True)["features"]
        torch.testing.assert_close(embedding, expected, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(logits, model(x, present), atol=2e-6, rtol=1e-5)


def test_the_official_numbers(shared):
    known = np.load(shared / "golden/biot-official-lightning-18-depth2.npz")
    model = BIOT.from_checkpoint(
        shared / "golden/biot-official-lightning-18-depth2.ckpt", n_times=known["x"].shape[2]
    ).eval()
    x = torch.from_numpy(known["x"])
    with torch.no_grad():
        logits, embedding = biot_graph(model)(x, torch.ones(x.shape[:2], dtype=torch.bool))
    np.testing.assert_allclose(embedding, known["embedding"], atol=1e-4)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], known["logit"][:, 0], atol=1e-4)


def test_who_changes_the_modules_gets_the_modules(folder):
    source = read_source(folder)
    changed = copy.deepcopy(source.module)
    changed.encoder.transformer.register_forward_hook(lambda *_: None)
    assert biot_graph(changed) is None
    made = make_inputs(4, 400, 200.0, n_plain=4)
    x = torch.from_numpy(np.where(made.x > 1e3, 0, made.x) / 50)
    present = torch.from_numpy(made.present)
    with torch.inference_mode():
        for a, b in zip(biot_graph(source.module)(x, present), _Wrapped(changed, True)(x, present), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_models_of_braindecode_are_called_as_they_are(tmp_path):
    source = read_source(save_small_pipeline(tmp_path / "m", module="shallow"))
    graph = ExportGraph(source)
    assert graph.input_names == ["x"]
    made = make_inputs(4, 400, 200.0, absent_channels=False, n_plain=8)
    found, embedding = run(graph, made.x, made.present)
    np.testing.assert_allclose(found, source.probabilities(made.x, made.present), atol=1e-5)
    assert embedding.ndim == 2
    flat = made.x.copy()
    flat[1, 2] = 3
    found, _ = run(graph, flat, made.present)
    assert np.isnan(found[1]).all()
    assert np.isfinite(np.delete(found, 1, axis=0)).all()


def test_a_network_that_shows_no_embedding_is_refused():
    with pytest.raises(ExportError, match="Linear: has no final_layer"):
        _Wrapped(torch.nn.Linear(2, 2), False)


def test_models_that_cannot_be_exported_say_why(tmp_path):
    from biot_bd import BIOTClassifier, save_pipeline

    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 2, 400)).astype(np.float32)
    net = BIOTClassifier("shallow", max_epochs=1, train_split=None, device="cpu", random_state=0, verbose=0)
    with pytest.raises(ExportError, match="fitted on bare arrays"):
        read_source(save_pipeline(net.fit(x, [0, 1] * 4), tmp_path / "arrays"))
