"""Which files of a saved model belong to a version, and their copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biot_bd.deploy.saved_weights import saved_weights
from biot_bd.deploy.version_folder import CARD, EXPORTS, MODEL_FILES, OWN_FILES, check_files, is_version, read_version
from biot_bd.exceptions import ModelRegistryError
from biot_bd.export.artifact import read_artifact
from biot_bd.models.checkpoints.pipeline_folder import (
    ARTIFACT,
    FORMAT,
    PIPELINE,
    WEIGHTS,
    classifier_spec,
    inner_specs,
    is_exported,
    weights_file,
)
from biot_bd.runs import read_json

OF_THE_TRAINING = ("tensorboard", "checkpoints")
"""Folders that a training leaves beside its model, which no version holds."""
KNOWN_FORMATS = (2, 3)


@dataclass(frozen=True)
class ModelContents:
    """The files of a saved model.

    Parameters
    ----------
    folder : Path
        The saved model.
    files : dict of str to Path
        Path in a version -> the file that is copied there.
    left_out : list of str
        What lies there and is not part of a version.
    """

    folder: Path
    files: dict[str, Path]
    left_out: list[str]

    def copy_to(self, folder: Path) -> None:
        """Copy the files, never linking them, with the mode of any new file there."""
        for name, source in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def model_contents(model: str | os.PathLike[str], anonymous: bool = False) -> ModelContents:
    """Return the files of a saved model, after looking at what kind of folder it is.

    Parameters
    ----------
    model : path
        Folder of :func:`biot_bd.save_pipeline`, or a version of a registry.
    anonymous : bool
        Whether names of folders that somebody chose are left out.

    Returns
    -------
    ModelContents

    Raises
    ------
    FileNotFoundError
        No saved model is there.
    ModelRegistryError
        It is an exported model, one of an old format, or holds files that are no part of a model.
    ValueError
        It, or what it was exported to, is damaged.
    """
    folder = Path(model)
    if is_exported(folder):
        raise ModelRegistryError(
            f"{folder}: an exported model; register the saved model that it was made of: what lies in its {EXPORTS}/ goes along"
        )
    if not (folder / PIPELINE).is_file():
        raise FileNotFoundError(f"{folder}: no saved model here (no {PIPELINE}); `biot-bd train` makes one")
    description = read_json(folder / PIPELINE)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ModelRegistryError(f"{folder / PIPELINE}: not written by save_pipeline")
    if description.get("version") not in KNOWN_FORMATS:
        raise ModelRegistryError(
            f"{folder / PIPELINE}: of format version {description.get('version')!r}, a registry takes "
            f"{' and '.join(map(str, KNOWN_FORMATS))}; load it and save it again with the newest biot_bd"
        )
    weights = weights_file(folder, classifier_weights(description))
    files = {WEIGHTS: weights}
    left_out = []
    if is_version(folder):  # its results go along, so it must be the model that they are of
        check_files(read_version(folder))
        passed: tuple[str, ...] = (ARTIFACT, *OWN_FILES)
    else:
        passed = (CARD,)
    for path in sorted(folder.iterdir()):
        name = path.name
        if path == weights or name in passed:
            continue
        if name in MODEL_FILES and path.is_file():
            files.setdefault(name, path)
        elif name == EXPORTS and path.is_dir():
            files |= dict(_exported(path, folder, anonymous))
        elif name.startswith(".") or (name in OF_THE_TRAINING and path.is_dir()):
            left_out.append(name)
        else:
            raise ModelRegistryError(
                f"{path}: no part of a saved model, so nobody knows whether it belongs to the version; move it away"
            )
    return ModelContents(folder, files, [] if anonymous else left_out)


def classifier_weights(description: dict[str, Any]) -> dict[str, Any]:
    """Return what a description says of its last step, or the first part that has weights."""
    last = classifier_spec(description)
    if last.get("weights"):
        return last
    return next((dict(one) for one in inner_specs(description.get("pipeline") or {}) if one.get("weights")), last)


def _exported(exports: Path, model: Path, anonymous: bool) -> Iterator[tuple[str, Path]]:
    """Yield the files of a model's exported engines, which must be of its very weights."""
    weights = saved_weights(model)
    for number, folder in enumerate(sorted(exports.iterdir())):
        if folder.name.startswith("."):
            continue
        if not folder.is_dir():
            raise ModelRegistryError(f"{folder}: no exported model; move it away")
        artifact = read_artifact(folder)
        if artifact.facts["source"]["weights_sha256"] != weights:
            raise ModelRegistryError(
                f"{folder}: exported from other weights than those of {model}; export it again (`biot-bd export`), or delete it"
            )
        graph = artifact.facts["graph"]
        target = f"{graph['format']}-{graph['precision']}-{number}" if anonymous else folder.name
        named = {ARTIFACT, *artifact.facts["files"]}
        for path in sorted(folder.iterdir()):
            if path.name not in named:
                raise ModelRegistryError(
                    f"{path}: no file of the exported model ({ARTIFACT} does not name it); move it away"
                )
            yield f"{EXPORTS}/{target}/{path.name}", path
