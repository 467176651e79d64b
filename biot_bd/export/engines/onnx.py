"""Exported models by onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.export.artifact import Run
from biot_bd.export.engines._exported import ExportedModel, Runtime, n_threads, need


def load_onnx(folder: str | os.PathLike[str]) -> ExportedModel:
    """Load an exported ONNX model for onnxruntime.

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
        onnxruntime is not installed (when the model first computes).
    """
    return ExportedModel(Path(folder), Runtime("onnx", ("onnx",), build))


def build(file: Path, inputs: Sequence[str], precision: str) -> Run:
    """Return ``run(x, present) -> (probabilities, embedding)`` of onnxruntime."""
    ort: Any = need("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that waits in a loop for the next window costs a whole processor in a live stream.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run(x: NDArray[np.float32], present: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given = {"x": x, "present": present}
        probabilities, embedding = session.run(["probabilities", "embedding"], {name: given[name] for name in inputs})
        return probabilities, embedding

    return run
