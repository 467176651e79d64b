"""Exported models by torch: the graph that ``torch.export`` saved."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from biot_bd.export.artifact import Artifact, Run
from biot_bd.export.engines._exported import ExportedModel, Runtime


def load_pt2(folder: str | os.PathLike[str]) -> ExportedModel:
    """Load a model that was exported as ``pt2``, for torch.

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
    """
    return ExportedModel(Path(folder), Runtime("pt2", ("pt2",), build))


def build(artifact: Artifact, precision: str) -> Run:
    """Return ``run(x, present) -> (probabilities, embedding)`` of torch."""
    module = torch.export.load(artifact.file).module()
    inputs = artifact.facts["graph"]["inputs"]

    def run(x: NDArray[np.float32], present: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given = {"x": x, "present": present}
        with torch.inference_mode():
            probabilities, embedding = module(*(torch.from_numpy(given[name]) for name in inputs))
        return probabilities.numpy(), embedding.numpy()

    return run
