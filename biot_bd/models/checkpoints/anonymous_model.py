"""A model's folder without names, dates and paths, so that it can be given to others.

Needs neither torch nor what reads models: every file of a saved or exported model but its weights
and graphs is JSON.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biot_bd.models.checkpoints.anonymous_facts import replaced_names, rewritten
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, sha256
from biot_bd.runs import read_json, write_json

_KEPT = (".safetensors", ".json", ".onnx", ".xml", ".bin", ".npz", ".data", ".pt2")
_MARK = "anonymous"


def anonymise_model(folder: str | os.PathLike[str], *, hashes: bool = False) -> None:
    """Rewrite the folder of a saved model, a version of it or an exported one in place.

    Subjects and recordings become numbers, the same in all files; salted digests of recordings
    stay, so that the guard against contamination goes on.  Paths, dates, names of reviewers and
    hashes that names went into go, and so do files that are no part of the model: curves of
    TensorBoard, which name the machine, notes and pages.  Weights and graphs stay as they are.

    Parameters
    ----------
    folder : path
        A copy of the model's folder: what is left out is gone.
    hashes : bool
        Keep fingerprints of windows and study, for a model of anonymous windows: no name went into
        them, and by them a training finds what it has done.

    Raises
    ------
    FileNotFoundError
        There is no such folder, or it holds no JSON file.
    ValueError
        A file is no JSON.

    See Also
    --------
    biot_bd.models.Provenance.without_names : What becomes of the record of training.

    Examples
    --------
    >>> from biot_bd.models import anonymise_model
    >>> from biot_bd.runs import read_json, write_json
    >>> path = write_json(
    ...     "mine/pipeline.json", {"record": {"subjects": {"train": ["clinic/Smith"]}}}
    ... )
    >>> anonymise_model("mine")
    >>> read_json(path)["record"]["subjects"]["train"][0][-12:], read_json(path)["anonymous"]
    ('/subject-001', True)
    """
    root = Path(folder)
    _drop_others(root)
    paths = sorted(root.rglob("*.json"))
    if not paths:
        raise FileNotFoundError(f"{root}: no saved or exported model here; expected a folder with pipeline.json")
    files = {path: read_json(path) for path in paths if not _is_of_braindecode(path)}
    names = replaced_names(files.values())
    for path, found in files.items():
        if path.name != ARTIFACT:
            write_json(path, _marked(path, rewritten(found, names, hashes=hashes)))
    for path in [path for path in files if path.name == ARTIFACT]:
        new = rewritten({**files[path], "files": {}}, names, hashes=hashes)
        write_json(path, _marked(path, {**new, "files": _checksums(path, files[path].get("files", {}))}))


def _marked(path: Path, facts: Any) -> Any:
    """Say in the descriptions of a model that it is anonymous."""
    if not isinstance(facts, dict) or path.name not in ("pipeline.json", ARTIFACT):
        return facts
    return {**facts, _MARK: True}


def is_anonymous_model(facts: Any) -> bool:
    """Return whether a model's description (``pipeline.json``, ``artifact.json``) says so.

    That of one whose windows were anonymous says it in its record.
    """
    if not isinstance(facts, Mapping):
        return False
    data = (facts.get("record") or {}).get("data") or {}
    return facts.get(_MARK) is True or data.get(_MARK) is True


def _is_of_braindecode(path: Path) -> bool:
    """Return whether it is the ``config.json`` that plain braindecode reads: sizes, channels."""
    return path.name == "config.json"


def _drop_others(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if path.name in ("tensorboard", "restart"):
                shutil.rmtree(path)
            elif not any(path.iterdir()):
                path.rmdir()
        elif path.is_symlink() or path.suffix not in _KEPT:
            path.unlink()


def _checksums(path: Path, before: Any) -> Any:
    """Return the SHA-256 of the files that an exported model names, as they are now."""
    if not isinstance(before, dict) or not all(isinstance(one, str) for one in before.values()):
        return before
    return {name: sha256(path.parent / name) for name in before if (path.parent / name).is_file()}
