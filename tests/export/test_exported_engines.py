"""Engines of exported models: a formula by onnxruntime and OpenVINO is what numpy computes."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from deploy_files import write_edf
from handmade_export import N_TIMES, expected, facts, windows, write_export
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.commands._folders import expect, what_is
from biot_bd.deploy import Detector, read_detection, write_detection_record
from biot_bd.deploy.model import load_model
from biot_bd.deploy.tuning import tune
from biot_bd.exceptions import ArtifactError, MissingExtraError, ReviewError
from biot_bd.export import Probe, write_artifact
from biot_bd.export.artifact import BOUNDS
from biot_bd.export.engines import _exported, pt2
from biot_bd.export.engines.onnx import load_onnx
from biot_bd.export.engines.openvino import load_openvino
from biot_bd.export.engines.pt2 import load_pt2
from biot_bd.signals.montages import BIOT_16
from biot_bd.testing import check_engine

BOTH = pytest.mark.parametrize("load", [load_onnx, load_openvino])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("exported") / "loudness")


def marked(x, present):
    return np.where(present[..., None], x, np.nan)


@BOTH
def test_an_engine_keeps_the_contract(load, written):
    check_engine(load, written)


@BOTH
@pytest.mark.parametrize("n", [0, 1, 7])
def test_probabilities_are_those_of_the_formula_in_batches_of_any_size(load, written, n):
    model = load(written)
    assert model.set_precision("fp32", 3) == ("fp32", [])
    x, present = windows(max(n, 1), seed=1)
    x, present = x[:n], present[:n]
    proba, features = expected(x, present)
    np.testing.assert_allclose(model.classifier.predict_proba(marked(x, present)), proba, atol=1e-6)
    np.testing.assert_allclose(model.classifier.embed(marked(x, present)), features, rtol=1e-5)


def test_an_engine_is_never_given_more_than_a_batch(written, monkeypatch):
    sizes = []

    def build(file, inputs, precision):
        return lambda x, present: (sizes.append(len(x)), *expected(x, present))[1:]

    model = _exported.ExportedModel(written, _exported.Runtime("onnx", ("onnx",), build))
    model.set_precision(None, 4)
    model.classifier.predict_proba(windows(9)[0])
    assert sizes == [4, 4, 4, 1]  # the proof first


def test_bf16_is_another_computation_within_its_bound(written):
    model = load_openvino(written)
    x, present = windows(8, seed=2)
    exact = expected(x, present)[0]
    precision, notes = model.set_precision("bf16", 8)
    found = model.classifier.predict_proba(marked(x, present))
    if precision == "fp32":
        assert notes == ["computed in fp32 instead of bf16: the processor has no fast bf16"]
    else:
        assert notes == ["computed in bf16"]
        assert 1e-6 < np.abs(found - exact).max() < 5e-3
    assert model.set_precision("fp32", 8) == ("fp32", [])  # what is the default of nobody's engine
    assert np.abs(model.classifier.predict_proba(marked(x, present)) - exact).max() < 1e-6


@pytest.mark.parametrize(("load", "precision"), [(load_onnx, "bf16"), (load_openvino, "int8"), (load_onnx, "fp16")])
def test_a_precision_without_proof_is_refused(load, precision, written):
    with pytest.raises(ValueError, match=f"proven for the engine .* not in {precision}; use precision='fp32'"):
        load(written).set_precision(precision, 8)


def test_an_engine_without_proof_and_a_format_of_another_are_refused(tmp_path, written):
    with pytest.raises(ArtifactError, match="a graph of format onnx, the engine pt2 runs pt2; use the engine onnx"):
        load_pt2(written)
    runs = [{"engine": "onnx", "precision": "fp32", "largest_difference": 0.0, "bound": 1e-5}]
    with pytest.raises(ArtifactError, match="not proven for the engine openvino, only for onnx in fp32"):
        load_openvino(write_export(tmp_path / "one", runs=runs))


@BOTH
def test_a_model_that_computes_something_else_is_refused_on_loading(load, tmp_path):
    folder = write_export(tmp_path / "model")
    x, present = windows(4)
    wrong = expected(x, present)[0].astype(np.float32)[:, ::-1]
    write_artifact(folder, facts(), Probe(x, present, wrong))
    with pytest.raises(ArtifactError, match="computes other probabilities here than where it was exported"):
        load(folder).set_precision(None, 8)
    with pytest.raises(ArtifactError, match="computes other probabilities"):
        load(folder).classifier.predict_proba(x)


@BOTH
def test_a_graph_that_is_none_is_one_line(load, tmp_path):
    folder = write_export(tmp_path / "model")
    (folder / "model.onnx").write_bytes(b"no graph")
    x, present = windows(4)
    write_artifact(folder, facts(), Probe(x, present, expected(x, present)[0].astype(np.float32)))
    with pytest.raises(ArtifactError, match=r"model.onnx: the engine \w+ cannot run it") as told:
        load(folder).set_precision(None, 8)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 15, N_TIMES), np.float32), r"expected \(n, 16, 2000\)"),
        (np.zeros((2, 16), np.float32), "expected windows of real numbers"),
        (np.full((1, 16, N_TIMES), np.nan, np.float32), "window 0 has no channel that is present"),
        (np.where(np.arange(N_TIMES) == 5, np.inf, np.ones((1, 16, N_TIMES), np.float32)), "not finite in window 0"),
    ],
)
def test_what_is_no_window_is_refused(x, message, written):
    with pytest.raises(ValueError, match=message):
        load_onnx(written).classifier.predict_proba(x)


def test_a_missing_package_is_named(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime is not installed.*pip install onnxruntime"):
        load_onnx(written).set_precision(None, 8)


def test_threads_obey_the_process_and_the_environment(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    for text, n in (("1", 1), ("1000", cores), ("", cores), ("0", cores), ("two", cores)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert _exported.n_threads() == n


def test_a_detector_finds_the_loud_minute_by_either_engine(written):
    volume = np.where((np.arange(300 * 200) // (60 * 200)) == 2, 40, 5)
    x = (np.random.default_rng(0).standard_normal((16, 300 * 200)) * volume).astype(np.float32)
    found, bounds = {}, []
    for engine, precision in (("auto", None), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "auto")):
        detector = Detector.load(written, engine=engine, precision=precision, smoothing_s=0)
        stream = detector.stream(BIOT_16.ch_names, 200.0)
        stream.push(x)
        found[engine, precision] = stream.finish()
        assert any("model trained on generated data, never for clinical use" in note for note in detector.notes)
        setting = detector.setting()
        assert setting["engine"] in (("onnx", "openvino") if engine == "auto" else (engine,))
        bounds.append(BOUNDS[setting["precision"]])
    first, *others = found.values()
    assert [(event.onset_s, event.offset_s) for event in first.events] == [(120.0, 180.0)]
    for other, bound in zip(others, bounds[1:], strict=True):
        assert [event[:2] for event in other.events] == [event[:2] for event in first.events]
        np.testing.assert_allclose(other.probabilities, first.probabilities, rtol=0, atol=2 * bound)


def test_an_engine_for_saved_models_says_that_it_cannot_load_an_exported_one(written):
    with pytest.raises(FileNotFoundError, match="no saved pipeline here"):
        load_model(written, "torch")


def test_an_idle_session_uses_no_processor(written):
    model = load_onnx(written)
    model.classifier.predict_proba(windows(4)[0])
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


class Loudness(torch.nn.Module):
    def forward(self, x, present):
        features = (x.abs().mean(dim=-1) * present).float()
        logits = torch.stack([-0.1 * features.mean(dim=1), 0.1 * features.mean(dim=1) - 3], dim=1)
        return torch.softmax(logits, dim=1), features


@pytest.fixture
def exported_by_torch(tmp_path, monkeypatch):
    monkeypatch.setenv("BIOT_BD_CACHE", str(tmp_path / "cache"))
    x, present = windows(4)
    batch = torch.export.Dim("n")
    program = torch.export.export(
        Loudness(), (torch.from_numpy(x), torch.from_numpy(present)), dynamic_shapes=({0: batch}, {0: batch})
    )
    folder = tmp_path / "pt2"
    folder.mkdir()
    torch.export.save(program, folder / "model.pt2")
    graph = {**facts()["graph"], "format": "pt2", "files": ["model.pt2"]}
    runs = [{"engine": "pt2", "precision": "fp32", "largest_difference": 0.0, "bound": 1e-5}]
    probe = Probe(x, present, expected(x, present)[0].astype(np.float32))
    write_artifact(folder, facts(graph=graph, runs=runs), probe)
    return folder


@pytest.mark.slow  # torch.export imports for seconds
def test_a_pt2_file_is_loaded_only_where_it_was_made_or_is_vouched_for(exported_by_torch, monkeypatch):
    with pytest.raises(ArtifactError, match=r"a pt2 file may run any code; .* set BIOT_BD_TRUST_PT2=") as told:
        load_pt2(exported_by_torch)
    digest = str(told.value).partition("BIOT_BD_TRUST_PT2=")[2][:64]
    monkeypatch.setenv("BIOT_BD_TRUST_PT2", digest)
    x, present = windows(5, seed=3)
    found = load_pt2(exported_by_torch).classifier.predict_proba(marked(x, present))
    np.testing.assert_allclose(found, expected(x, present)[0], atol=1e-6)
    monkeypatch.delenv("BIOT_BD_TRUST_PT2")
    pt2.trust(exported_by_torch)
    check_engine(load_pt2, exported_by_torch)


def test_neither_torch_nor_a_sender_of_messages_is_imported(written):
    code = (
        "import sys; from biot_bd.deploy import Detector\n"
        f"for engine in ('onnx', 'openvino'): Detector.load({str(written)!r}, engine=engine)\n"
        "print(sorted({'torch', 'braindecode', 'skorch', 'openvino_telemetry'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_record_of_a_detection_names_engine_and_weights(written, tmp_path):
    recording = write_edf(tmp_path / "night.edf", seconds=30)
    found = Detector.load(written, engine="onnx").detect(recording)
    record = read_detection(write_detection_record(tmp_path / "night_detection.json", found, written, patient="night"))
    assert record.detection.setting["engine"] == "onnx"
    assert record.model["weights"] == "0" * 64  # of the saved model, so that tuning it takes these probabilities
    assert record.detection.in_training["recording"] is None


def test_an_exported_model_is_not_tuned_but_its_source(written):
    with pytest.raises(ReviewError, match="an exported model; tune the saved model that it was made of"):
        tune(written, [], reviewer="me")


def test_a_folder_is_told_to_be_an_exported_model(written):
    assert what_is(written) == "an exported model"
    with pytest.raises(FileNotFoundError, match=r"expected a run folder, found an exported model; .*`biot-bd detect"):
        expect(written, "run")


@given(wanted=st.sampled_from([None, "auto", "fp32"]), sizes=st.lists(st.integers(1, 5), max_size=3))
@settings(max_examples=8, deadline=None)
def test_no_order_of_calls_changes_a_result(written, wanted, sizes):
    model = load_onnx(written)
    x, present = windows(5, seed=7)
    model.set_precision(wanted, 64)
    whole = model.classifier.predict_proba(marked(x, present))
    for size in sizes:
        model.set_precision("fp32", size)
        np.testing.assert_allclose(model.classifier.predict_proba(marked(x, present)), whole, atol=1e-6)
