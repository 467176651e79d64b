"""The folder of a saved pipeline: its ``config.json``, checked weights, and fitted transformers."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from biot_bd.exceptions import SavedPipelineError
from biot_bd.runs import read_json
from biot_bd.training.persistence.values import class_from_json, from_json

FORMAT = "biot_bd pipeline"
VERSION = 1
CONFIG = "config.json"


def read_config(folder: Path) -> dict[str, Any]:
    """Return what ``config.json`` says; raises as :func:`read_record` does."""
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder}: no saved pipeline here (no {CONFIG})")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise SavedPipelineError(f"{folder / CONFIG}: not written by save_pipeline")
    if config.get("version") != VERSION:
        raise SavedPipelineError(
            f"{folder / CONFIG}: of format version {config.get('version')}; this biot_bd reads {VERSION}"
        )
    return config


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the record that :func:`save_pipeline` was given.

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.
    SavedPipelineError
        It is of another format.
    """
    return read_config(Path(folder)).get("record", {})


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_weights(spec: dict[str, Any], folder: Path) -> Path:
    """Return the file of weights of a saved classifier.

    Raises
    ------
    SavedPipelineError
        It is missing, or not what was written.
    """
    name, digest = spec["weights"]["file"], spec["weights"]["sha256"]
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise SavedPipelineError(f"{path}: the weights are missing; copy the whole folder again")
    if sha256(path) != digest:
        raise SavedPipelineError(f"{path}: the weights are damaged (checksum differs); copy the folder again")
    return path


def load_transformer(spec: dict[str, Any]) -> Any:
    """Build a fitted transformer of its saved step."""
    step = class_from_json(spec["class"])(**{k: from_json(v) for k, v in spec["params"].items()})
    for key, value in spec["fitted"].items():
        setattr(step, key, from_json(value))
    return step
