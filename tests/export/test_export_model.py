import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_pipeline import save_small_pipeline

from biot_bd import registry
from biot_bd.exceptions import ExportError, ExportGateError, MissingExtraError
from biot_bd.export import export as export_module
from biot_bd.export import export_model
from biot_bd.export.artifact import read_artifact
from biot_bd.export.gates import Check, GateReport
from biot_bd.export.graph import ExportGraph
from biot_bd.export.source import read_source


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_small_pipeline(tmp_path_factory.mktemp("export") / "model")
    (folder / "events.json").write_text("{}")
    return folder


@pytest.fixture
def engine(model, monkeypatch):
    """Both engines as torch would run the graph, which takes no export; ``engine.change`` spoils it."""
    graph = ExportGraph(read_source(model))
    fake = SimpleNamespace(change=lambda p: p, fault=None)

    def build(file, inputs, precision):
        assert file.is_file()
        if fake.fault is not None:
            raise fake.fault

        def run(x, present):
            with torch.inference_mode():
                found = graph(torch.from_numpy(x), torch.from_numpy(present))
            return fake.change(found[0].numpy()), found[1].numpy()

        return run

    fake.build, fake.has = build, lambda precision: True

    def write(source, path):
        path.mkdir()
        (path / "model.onnx").write_bytes(b"graph")
        return path

    monkeypatch.setattr(export_module, "_engine", lambda name: fake)
    assert "onnx" in registry.exporters
    monkeypatch.setitem(registry.exporters._objects, "onnx", write)
    return fake


def test_the_folder_of_an_exported_model(model, engine, tmp_path):
    told = []
    folder = export_model(model, tmp_path / "out", say=told.append)
    assert {path.name for path in folder.iterdir()} == {"artifact.json", "events.json", "model.onnx", "probe.npz"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    facts = read_artifact(folder).facts
    saved = json.loads((model / "pipeline.json").read_text())
    assert facts["model"] == "biot"
    assert facts["validation"] == "none"
    assert facts["input"]["ch_names"] == ["Fp1-F7", "F7-T7", "T7-P7", "P7-O1"]
    assert facts["input"]["scale"] == "percentile-95"
    assert (facts["input"]["sfreq"], facts["input"]["n_times"], facts["input"]["window_s"]) == (200, 400, 2)
    weights = saved["pipeline"]["steps"][-1]["weights"]["sha256"]
    assert facts["source"]["weights_sha256"] == weights
    assert facts["source"]["folder_name"] == "model"
    assert [(run["engine"], run["precision"]) for run in facts["runs"]] == [
        ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"),
    ]  # fmt: skip
    assert all(run["largest_difference"] <= run["bound"] for run in facts["runs"])
    assert told[0] == "writing the graph (onnx)"
    assert told[-1] == "proving it: openvino in bf16"
    probe = read_artifact(folder).probe()
    source = read_source(model)
    assert (probe.probabilities == source.probabilities(probe.x, probe.present)).all()
    assert not probe.present.all()


def test_what_fails_a_gate_is_not_written(model, engine, tmp_path):
    engine.change = lambda p: np.stack([p[:, 0] - 1e-4, p[:, 1] + 1e-4], axis=1)
    with pytest.raises(ExportGateError, match=r"onnx in fp32: .*may not be used"):
        export_model(model, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_an_engine_that_cannot_run_the_graph_is_told(model, engine, tmp_path):
    engine.fault = RuntimeError("no such operation")
    with pytest.raises(ExportGateError, match=r"onnx in fp32: cannot run the graph .RuntimeError: no such operation"):
        export_model(model, tmp_path / "out")
    engine.fault = MissingExtraError("onnxruntime is not installed")
    with pytest.raises(MissingExtraError):
        export_model(model, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_precision_that_fails_is_left_out_and_told(model, engine, tmp_path):
    build = engine.build
    engine.build = lambda file, inputs, precision: (
        build(file, inputs, precision)
        if precision == "fp32"
        else lambda x, present: (np.full((len(x), 2), 0.5), x[:, 0])
    )
    facts = read_artifact(export_model(model, tmp_path / "out")).facts
    assert [(run["engine"], run["precision"]) for run in facts["runs"]] == [("onnx", "fp32"), ("openvino", "fp32")]
    assert facts["gates"]["openvino bf16"]["passed"] is False
    assert "openvino in bf16" in facts["gates"]["openvino bf16"]["reason"]


def test_only_exported_models_are_replaced_and_only_when_asked(model, engine, tmp_path, monkeypatch):
    report = GateReport("fp32", (Check("difference", "nothing", 1e-5, 0.0, True),))
    monkeypatch.setattr(export_module, "check_export", lambda *args, **options: report)
    folder = export_model(model, tmp_path / "out")
    with pytest.raises(ExportError, match="an exported model is there; overwrite=True"):
        export_model(model, folder)
    (folder / "events.json").unlink()
    export_model(model, folder, overwrite=True)
    assert (folder / "events.json").is_file()
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ExportError, match="exists and is no exported model"):
        export_model(model, other, overwrite=True)


def test_what_is_asked_in_vain(model, tmp_path):
    with pytest.raises(ExportError, match="int8 needs store="):
        export_model(model, tmp_path / "out", int8=True)
    with pytest.raises(ValueError, match=r"no exporters named 'onx'.*did you mean 'onnx'"):
        export_model(model, tmp_path / "out", format="onx")
    with pytest.raises(FileNotFoundError):
        export_model(tmp_path / "nothing", tmp_path / "out")
    assert not any(tmp_path.iterdir())
