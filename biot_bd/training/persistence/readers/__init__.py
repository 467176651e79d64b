"""Readers of saved pipelines.

One a format version, each giving the description as the newest format has it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from biot_bd.exceptions import SavedPipelineError
from biot_bd.json_values import DAMAGE
from biot_bd.models.checkpoints.pipeline_folder import FORMAT, PIPELINE, description_file
from biot_bd.runs import read_json
from biot_bd.training.persistence.readers import version1, version2, version3

READERS = {1: version1.read, 2: version2.read, 3: version3.read}


def read_description(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the description of a saved pipeline says, in the words and addresses of the
    newest format.

    Nothing that it names is imported.

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.
    SavedPipelineError
        It is of another format, or damaged.
    """
    folder = Path(folder)
    file = description_file(folder)
    if file is None:
        raise FileNotFoundError(f"{folder}: no saved pipeline here (no {PIPELINE})")
    try:
        description = read_json(file)
    except ValueError as error:
        raise SavedPipelineError(str(error)) from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise SavedPipelineError(f"{file}: not written by save_pipeline")
    version = description.get("version")
    reader = READERS.get(version) if type(version) is int else None
    if reader is None:
        known = f"{', '.join(map(str, list(READERS)[:-1]))} and {max(READERS)}"
        raise SavedPipelineError(
            f"{file}: of format version {description.get('version')}; this biot_bd reads {known}: install a newer one"
        )
    try:
        return reader(description)
    except DAMAGE as error:
        if isinstance(error, SavedPipelineError):
            raise type(error)(f"{file}: {error}") from error
        raise SavedPipelineError(f"{file}: damaged ({type(error).__name__}: {error})") from error


def damaged_model(folder: Path, error: BaseException) -> SavedPipelineError:
    """Return the error of a folder for what went wrong while it was loaded."""
    if isinstance(error, SavedPipelineError):
        return error if str(folder) in str(error) else type(error)(f"{folder}: {error}")
    what = " ".join(str(error).split())[:300]
    return SavedPipelineError(f"{folder}: the saved pipeline is damaged ({type(error).__name__}: {what})")


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the record that :func:`save_pipeline` was given, without loading the model.

    Parameters
    ----------
    folder : path
        The folder of the saved pipeline.

    Returns
    -------
    dict
        Empty where none was given.

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.
    SavedPipelineError
        It is of another format.

    See Also
    --------
    save_pipeline : Writes it.
    load_pipeline : The model; it has the record as ``record_``.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.training import BIOTClassifier, read_record, save_pipeline
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    >>> net = BIOTClassifier(
    ...     "shallow", max_epochs=1, train_split=None, device="cpu", random_state=0
    ... )
    >>> net = net.fit(x, [0, 1] * 4, groups=["a"] * 4 + ["b"] * 4)
    >>> read_record(save_pipeline(net, "model", record={"made_for": "an example"}))
    {'made_for': 'an example'}
    """
    return read_description(folder).get("record") or {}
