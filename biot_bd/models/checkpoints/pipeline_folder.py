"""The folder of a saved pipeline: its description, and the weights that belong to it.

``pipeline.json`` describes the pipeline (format 2; format 1 called it ``config.json``).
``model.safetensors`` holds the weights, beside the ``config.json`` of the Hub layout where the
module has one.  A description names its weights by checksum.  While a model is replaced, new
weights lie under a name with their checksum until the new description stands, so a process killed
at any point leaves a description and the weights that it means.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biot_bd.exceptions import SavedPipelineError
from biot_bd.runs import read_json

FORMAT = "biot_bd pipeline"
PIPELINE = "pipeline.json"
ARTIFACT = "artifact.json"
"""What describes an exported model (:mod:`biot_bd.export.artifact`) or a registered version."""
REGISTERED = "biot_bd registered model"
"""The ``format`` in the ``artifact.json`` of a version of the model registry."""
CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def description_file(folder: Path) -> Path | None:
    """Return the file that describes a saved pipeline, or None where the folder holds none."""
    if (folder / PIPELINE).is_file():
        return folder / PIPELINE
    if (folder / CONFIG).is_file():
        config = read_json(folder / CONFIG)
        if isinstance(config, Mapping) and config.get("format") == FORMAT:
            return folder / CONFIG
    return None


def is_exported(folder: Path) -> bool:
    """Return whether a folder holds an exported model, which nobody mistakes for a version of the
    model registry: that is a saved model with an ``artifact.json`` of its own.
    """
    if not (folder / ARTIFACT).is_file():
        return False
    if not (folder / PIPELINE).is_file():
        return True
    try:
        found = read_json(folder / ARTIFACT)
    except ValueError:
        return True  # who reads it says what is wrong
    return not (isinstance(found, Mapping) and found.get("format") == REGISTERED)


def classifier_spec(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a description of any format says of its last step."""
    spec = description.get("pipeline") or {}
    while spec.get("kind") == "pipeline" and spec.get("steps"):
        spec = spec["steps"][-1]
    return spec


def steps_of(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the steps of nested pipelines one behind another, those that do nothing left out."""
    if spec["kind"] == "pipeline":
        return [one for step in spec["steps"] for one in steps_of(step)]
    return [] if spec["kind"] == "passthrough" else [spec]


def inner_specs(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all steps of a description at any depth: also the model of an embedder, and the steps
    of the members of an ensemble, each behind what holds it.
    """
    found = []
    for step in steps_of(spec):
        found.append(step)
        for inner in (*([step["classifier"]] if "classifier" in step else ()), *step.get("members", ())):
            found += inner_specs(inner)
    return found


def prefix_of(spec: Mapping[str, Any]) -> str:
    """Return what the names of a step's tensors begin with in the file of weights."""
    return str((spec.get("weights") or {}).get("prefix") or "")


def draft_name(name: str, digest: str) -> str:
    """Return the name of weights whose description does not stand yet."""
    return f"{Path(name).stem}-{digest[:12]}{Path(name).suffix}"


def weights_file(folder: Path, spec: Mapping[str, Any]) -> Path:
    """Return the file of weights that the description of a classifier means.

    Raises
    ------
    SavedPipelineError
        It is missing, or not what was written.
    """
    weights = spec.get("weights") or {}
    if not isinstance(weights, Mapping):
        raise SavedPipelineError(
            f"{folder}: weights: expected an object, found {weights!r}; copy the whole folder again"
        )
    name, digest = weights.get("file"), weights.get("sha256")
    if (
        not isinstance(name, str)
        or Path(name).name != name
        or not isinstance(digest, str)
        or not re.fullmatch("[0-9a-f]{64}", digest)
    ):
        raise SavedPipelineError(f"{folder}: a saved pipeline whose weights are missing; copy the whole folder again")
    found = [path for path in (folder / draft_name(name, digest), folder / name) if path.is_file()]
    if not found:
        raise SavedPipelineError(f"{folder / name}: the weights are missing; copy the whole folder again")
    if sha256(found[0]) != digest:
        raise SavedPipelineError(f"{found[0]}: the weights are damaged (checksum differs); copy the folder again")
    return found[0]


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
