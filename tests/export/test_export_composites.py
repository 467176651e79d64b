"""The graph of a composite says what its pipeline says; engines run it, and the folder names its parts."""

import numpy as np
import pytest
import torch
from small_composites import PROBES, fitted, probed, seeds

from biot_bd import save_pipeline
from biot_bd.deploy import Detector
from biot_bd.export import export_model
from biot_bd.export.artifact import read_artifact
from biot_bd.export.gate_inputs import make_inputs
from biot_bd.export.graph import ExportGraph
from biot_bd.export.source import read_source

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = {
    "linear": "biot, linear probe",
    "ridge": "biot, ridge probe",
    "knn": "biot, knn probe",
    "mlp": "biot, mlp probe",
    "attention-pool": "biot, attention-pool probe",
    "seeds": "2 x biot",
    "seeds of probes": "2 x biot, linear probe",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Every composite: fitted, where it was saved, windows."""
    made = {name: fitted(probed(name)) for name in PROBES}
    made["seeds"], made["seeds of probes"] = fitted(seeds()), fitted(seeds(of_probes=True))
    root = tmp_path_factory.mktemp("composites")
    record = {"subjects": {"train": ["p0"], "valid": ["p9"], "test": []}}
    return {
        name: (one, save_pipeline(one, root / name, record=record), windows) for name, (one, windows) in made.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_the_pipeline(name, models):
    pipeline, folder, windows = models[name]
    source = read_source(folder)
    assert source.model == NAMES[name]
    # The windows of a test that come out of a member's embedder are bare: then the record says it.
    assert source.subjects("train") == (("p0",) if name == "seeds of probes" else ("p0", "p1", "p2", "p3"))
    assert source.subjects("valid") == ("p9",)
    made = make_inputs(source.n_chans, source.n_times, float(source.info.sfreq), True)
    graph = ExportGraph(source)
    with torch.inference_mode():
        found, embedding = graph(torch.from_numpy(made.x), torch.from_numpy(made.present))
    np.testing.assert_allclose(found.numpy(), source.probabilities(made.x, made.present), atol=1e-5)
    usable = ~np.isnan(found.numpy()).any(axis=1)
    absent_tokens = name == "attention-pool"  # they are NaN in its embedding
    assert np.isnan(embedding.numpy()[usable]).any() == absent_tokens
    direct = source.probabilities(windows.x, windows.present)
    np.testing.assert_allclose(direct, pipeline.predict_proba(windows), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "format"), [("linear", "onnx"), ("knn", "onnx"), ("seeds", "openvino"), ("mlp", "pt2")]
)
def test_engines_run_it_within_their_bounds(name, format, models, tmp_path):
    for package in ("onnxruntime", "openvino"):
        pytest.importorskip(package)
    _, folder, windows = models[name]
    exported = export_model(folder, tmp_path / "out", format=format)
    artifact = read_artifact(exported)
    assert artifact.facts["model"] == NAMES[name]
    assert artifact.facts["source"]["weights_sha256"] == read_source(folder).spec["weights"]["sha256"]
    own = [run for run in artifact.facts["runs"] if run["precision"] == "fp32"]
    assert own
    assert all(run["largest_difference"] <= 1e-5 for run in own)
    detector = Detector.load(exported, precision="fp32")
    assert detector.scorer.montage.ch_names == windows.info.ch_names
