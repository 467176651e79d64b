"""Exported models by torch: the graph that ``torch.export`` saved.

Whoever wrote such a file may run code here: ``torch.export.load`` unpickles, evaluates expressions
and calls functions by their names.  So only files that this machine exported are loaded, and those
that a user vouches for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from biot_bd.exceptions import ArtifactError
from biot_bd.export.artifact import Artifact, Run, read_facts
from biot_bd.export.engines._exported import ExportedModel, Runtime
from biot_bd.kept_choices import cache_folder
from biot_bd.runs import read_json, write_json

TRUSTED = "trusted_pt2.json"
VARIABLE = "BIOT_BD_TRUST_PT2"


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
        It is damaged, of another format, or comes from elsewhere.
    """
    model = ExportedModel(Path(folder), Runtime("pt2", ("pt2",), build))
    digest = _digest(model.artifact)
    if digest not in _trusted() and digest != os.environ.get(VARIABLE):
        raise ArtifactError(
            f"{model.artifact.file}: was not exported on this machine, and a pt2 file may run any code; where you trust who wrote it, "
            f"set {VARIABLE}={digest}, or ask for an ONNX export"
        )
    return model


def trust(folder: str | os.PathLike[str]) -> None:
    """Note that this machine exported a model, so that :func:`load_pt2` loads it.

    Parameters
    ----------
    folder : path
        An exported model, just written.
    """
    write_json(_list(), sorted(_trusted() | {_digest(read_facts(folder))}))


def build(file: Path, inputs: Sequence[str], precision: str) -> Run:
    """Return ``run(x, present) -> (probabilities, embedding)`` of torch."""
    module = torch.export.load(file).module()

    def run(x: NDArray[np.float32], present: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        given = {"x": x, "present": present}
        with torch.inference_mode():
            probabilities, embedding = module(*(torch.from_numpy(given[name]) for name in inputs))
        return probabilities.numpy(), embedding.numpy()

    return run


def _digest(artifact: Artifact) -> str:
    """Return the checksum that the manifest names."""
    return artifact.facts["files"][artifact.file.name]


def _list() -> Path:
    return cache_folder() / TRUSTED


def _trusted() -> set[str]:
    """Return the checksums of files that this machine wrote; a damaged list trusts nothing."""
    try:
        found = read_json(_list())
    except (OSError, ValueError):
        return set()
    return {one for one in found if isinstance(one, str)} if isinstance(found, list) else set()
