"""The folder of a pretrained model, as ``biot-bd pretrain`` leaves it.

``pretraining.json`` describes it and is written last; ``model.safetensors`` holds the model without
its head, ``objectives.safetensors`` the heads of the objectives, ``config.json`` the model's
parameters as the Hub has them, ``trained_on.json`` whose recordings it saw.  Read here, below the
rooms that train, because classifiers start from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from biot_bd.exceptions import CheckpointError
from biot_bd.json_values import check_values, naming
from biot_bd.models.checkpoints.pipeline_folder import WEIGHTS, sha256
from biot_bd.runs import read_json

FORMAT = "biot_bd pretraining"
VERSION = 1
PRETRAINING = "pretraining.json"
OBJECTIVES = "objectives.safetensors"
HISTORY = "history.json"


class Input(TypedDict):
    """Windows that a model was pretrained on."""

    n_chans: int
    n_times: int
    ch_names: list[str] | None
    sfreq: float | None
    unit: str
    scale: str | None


class Model(TypedDict):
    """The pretrained model: ``class`` as a saved pipeline names one, and its parameters."""

    name: str
    config: dict[str, Any]
    token_names: list[str] | None
    n_parameters: int


class Trainer(TypedDict):
    """The step that pretrained: its parameters that are not its defaults, as JSON holds them."""

    name: str
    parameters: dict[str, Any]


class Corpora(TypedDict):
    """Corpora with labels that a supervised objective learnt from."""

    names: list[str]
    n_classes: list[int]


class Description(TypedDict):
    """What ``pretraining.json`` says, in the words of the newest format."""

    state: str
    steps: list[dict[str, Any]] | None
    pretrainer: Trainer
    model: Model
    objective: dict[str, float]
    input_info: Input
    train_subjects: list[str]
    valid_subjects: list[str]
    n_epochs: int
    seed: int
    precision: str
    corpora: Corpora | None
    generated: bool
    files: dict[str, str]
    record: dict[str, Any]
    environment: NotRequired[dict[str, Any]]


def is_pretraining(folder: Path) -> bool:
    """Return whether a folder holds a pretrained model."""
    return (folder / PRETRAINING).is_file()


def read_pretraining(folder: Path) -> dict[str, Any]:
    """Return the description of a pretrained model; nothing that it names is imported.

    Parameters
    ----------
    folder : Path
        Written by :func:`biot_bd.pretraining.save_pretraining` or ``biot-bd pretrain``.

    Returns
    -------
    dict
        Of the form :class:`Description`.

    Raises
    ------
    FileNotFoundError
        There is none.
    CheckpointError
        It is damaged, of another program, or of a newer version.
    """
    file = folder / PRETRAINING
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: no pretrained model here (no {PRETRAINING})")
    try:
        stored = read_json(file)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    with naming(file, CheckpointError):
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise CheckpointError(f"{file}: not written by biot-bd pretrain")
        version = stored.get("version")
        reader = READERS.get(version) if type(version) is int else None
        if reader is None:
            known = ", ".join(map(str, READERS))
            raise CheckpointError(
                f"{file}: of format version {version!r}; this biot_bd reads {known}: install a newer one"
            )
        return reader(stored)


def _version1(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a description of format 1, which is the newest."""
    check_values(stored, Description)
    if not isinstance(stored["model"].get("class"), dict) or not isinstance(stored["pretrainer"].get("class"), dict):
        raise ValueError("model.class and pretrainer.class must name classes")
    if stored["state"] != "finished":
        raise ValueError(f"state: expected 'finished', found {stored['state']!r}")
    return stored


READERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _version1}
"""How each version becomes the newest."""


def checked_file(folder: Path, description: dict[str, Any], name: str = WEIGHTS) -> Path:
    """Return a file of weights of a pretrained model.

    Raises
    ------
    CheckpointError
        It is missing, or not the one that was written with the description.
    """
    path, wanted = folder / name, description["files"].get(name)
    if wanted is None or not path.is_file():
        raise CheckpointError(f"{path}: the weights are missing; copy the whole folder again")
    if sha256(path) != wanted:
        raise CheckpointError(f"{path}: the weights are damaged (checksum differs); copy the folder again")
    return path
