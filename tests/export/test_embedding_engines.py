"""Embeddings by the second output of an exported graph are those of torch."""

import pickle

import numpy as np
import pytest
from small_pipeline import few_windows

from biot_bd import Embedder
from biot_bd.embedding.graph_engine import GraphEngine
from biot_bd.exceptions import ExportGateError

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = {"embed_dim": 16, "num_heads": 2, "num_layers": 2}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture(scope="module")
def x():
    made = few_windows().x / 3
    made[1, 2] = np.nan
    return made


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_engine_gives_the_embeddings_of_torch(engine, x, graphs):
    exact = Embedder(module_params=SIZE, device="cpu").fit_transform(x)
    found = Embedder(module_params=SIZE, device="cpu", engine=engine, cache=graphs).fit_transform(x)
    assert found.shape == exact.shape
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())


def test_a_graph_is_written_once_and_the_embedder_goes_to_other_processes(x, graphs, monkeypatch):
    first = Embedder(module_params=SIZE, device="cpu", engine="onnx", cache=graphs).fit(x)
    monkeypatch.setattr("biot_bd.embedding.graph_engine.registry", None)  # nothing is exported again
    second = Embedder(module_params=SIZE, device="cpu", engine="onnx", cache=graphs).fit(x)
    expected = first.transform(x)
    assert np.array_equal(second.transform(x), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(first)).transform(x), expected)


def test_a_model_without_masks_has_a_graph_without_them(graphs):
    x = few_windows().x
    exact, found = (
        Embedder("eegnet", device="cpu", engine=one, cache=graphs).fit_transform(x) for one in ("torch", "onnx")
    )
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())


def test_a_graph_that_computes_something_else_is_refused(x, graphs):
    embedder = Embedder(module_params=SIZE, device="cpu", engine="onnx", cache=graphs).fit(x)
    folder = embedder.network_.graph.folder
    with pytest.raises(ExportGateError, match="differ from those of torch"):
        GraphEngine(embedder.classifier_, "onnx", folder, lambda x: 1.01 * embedder.network_.graph(x))


@pytest.mark.parametrize(
    ("given", "said"), [({"layer": 0}, "layer"), ({"pooling": "tokens"}, "pooling"), ({"precision": "bf16"}, "fp32")]
)
def test_what_a_graph_does_not_give_is_refused(given, said, x):
    with pytest.raises(ValueError, match=f"engine='onnx'.*{said}"):
        Embedder(module_params=SIZE, device="cpu", engine="onnx", **given).fit(x)
