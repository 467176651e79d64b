"""Exported models by OpenVINO: its own format, and ONNX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.export.artifact import Run
from biot_bd.export.engines._exported import ExportedModel, Runtime, n_threads, need
from biot_bd.export.telemetry import no_telemetry


def load_openvino(folder: str | os.PathLike[str]) -> ExportedModel:
    """Load an exported model, OpenVINO's or ONNX, for OpenVINO.

    Parameters
    ----------
    folder : path
        Written by :func:`biot_bd.export_model`.

    Returns
    -------
    ExportedModel

    Raises
    ------
    FileNotFoundError
        No exported model is there.
    biot_bd.exceptions.ArtifactError
        It is damaged, or of another format.
    biot_bd.exceptions.MissingExtraError
        OpenVINO is not installed (when the model first computes).
    """
    return ExportedModel(Path(folder), Runtime("openvino", ("openvino", "onnx"), build, has))


def has(precision: str) -> bool:
    """Return whether this processor computes in a precision; float32 and int8 it always does."""
    return not precision.endswith("bf16") or "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def build(file: Path, inputs: Sequence[str], precision: str) -> Run:
    """Return ``run(x, present) -> (probabilities, embedding)`` of OpenVINO."""
    core = _core()
    settings = {
        # Unasked, OpenVINO computes in bf16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "bf16" if precision.endswith("bf16") else "f32",
        "INFERENCE_NUM_THREADS": n_threads(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Else two processes of one thread each sit on one and the same processor.
        "ENABLE_CPU_PINNING": False,
    }
    with no_telemetry():
        request = core.compile_model(core.read_model(str(file)), "CPU", settings).create_infer_request()

    def run(x: NDArray[np.float32], present: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given = {"x": x, "present": present}
        found = request.infer({name: given[name] for name in inputs}, share_inputs=True)
        return np.array(found["probabilities"]), np.array(found["embedding"])

    return run


def _core() -> Any:
    with no_telemetry():
        return need("openvino").Core()
