"""An engine that does not come back is refused, not waited for; harmless stand-ins take its place."""

import json
import sys

import pytest
from small_pipeline import save_small_pipeline

from biot_bd.exceptions import ExportGateError
from biot_bd.export import answers, export


def stand_in(folder, text):
    """Return a program that takes Python's place."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("text", "said"), [("sleep 5", "no answer within 0.3 s"), ("kill -11 $$", "signal 11")])
def test_silence_and_signals_are_refusals(tmp_path, monkeypatch, text, said):
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path, text))
    with pytest.raises(ExportGateError, match=f"openvino in bf16: .*{said}"):
        answers.check_answers(tmp_path / "x.onnx", ["x"], "openvino", "bf16", 4, 400, limit_s=0.3)


def test_what_an_engine_says_in_words_is_left_to_the_gates(tmp_path):
    answers.check_answers(tmp_path / "missing.onnx", ["x"], "openvino", "fp32", 4, 400)


def test_the_other_engines_and_precisions_are_kept(tmp_path, monkeypatch):
    def silent(file, inputs, engine, precision, *sizes):
        raise ExportGateError(f"{engine} in {precision}: gave no answer")

    monkeypatch.setattr(export, "check_answers", silent)
    monkeypatch.setattr(export, "_precisions", lambda engine, own: [own, "bf16"] if engine == "openvino" else [own])
    save_small_pipeline(tmp_path / "model")
    folder = export.export_model(tmp_path / "model", tmp_path / "out", format="onnx")
    manifest = json.loads((folder / "artifact.json").read_text())
    assert {(run["engine"], run["precision"]) for run in manifest["runs"]} == {
        ("onnx", "fp32"),
        ("openvino", "fp32"),
    }
    assert manifest["gates"]["openvino bf16"] == {
        "passed": False,
        "reason": "openvino in bf16: gave no answer",
    }
