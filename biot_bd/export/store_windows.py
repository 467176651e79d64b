"""Windows of the subjects that a model was trained and validated on, as its graph takes them."""

from __future__ import annotations

import os

import numpy as np

from biot_bd.exceptions import ExportError
from biot_bd.export.source import ExportSource
from biot_bd.windows import Windows


def windows_of_parts(source: ExportSource, store: str | os.PathLike[str]) -> tuple[Windows, Windows]:
    """Return the training and the validation windows of a model.

    Subjects that only tested it are in neither.

    Parameters
    ----------
    source : ExportSource
        The model; it says its subjects.
    store : path
        Prepared windows.

    Returns
    -------
    train, valid : Windows
        The montage's channels in microvolts.

    Raises
    ------
    FileNotFoundError
        No prepared windows are there.
    ExportError
        The model names no validation subjects, some subjects are not in the store, or its windows
        are others than those that the model takes.
    """
    windows = Windows.open(store)
    if source.mapper is not None:
        windows = windows.map(source.mapper)
    expected, found = source.info, windows.info
    for name in ("ch_names", "sfreq", "n_times", "unit"):
        wanted, there = getattr(expected, name), getattr(found, name)
        if wanted != there:
            raise ExportError(
                f"{store}: the model takes windows with {name}={wanted}, these have {there}; prepare them alike"
            )
    there = {str(subject) for subject in windows.groups}
    parts = {"training": source.subjects("train"), "validation": source.subjects("valid")}
    for part, subjects in parts.items():
        if not subjects:
            raise ExportError(
                f"{source.folder}: does not say its {part} subjects, so nobody can tell which windows of {store} may "
                "be used; export it without a store"
            )
        if lacking := [one for one in subjects if one not in there]:
            raise ExportError(
                f"{store}: has no windows of {', '.join(lacking)}, {part} subject{'s' * (len(lacking) > 1)} of the model; "
                "name the windows that it was made from"
            )
    train, valid = (windows[np.isin(windows.groups, subjects)] for subjects in parts.values())
    return train, valid
