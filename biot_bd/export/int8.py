"""int8 that the gates let through: calibrated on training subjects, tried with ever less of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import ExportError, ExportGateError
from biot_bd.export.int8_plans import plans
from biot_bd.windows import Windows

N_CALIBRATION = 256
"""Windows to calibrate on, half of them with seizures where there are so many."""
MOST_BACKGROUND = 2048
"""Background windows of validation subjects that gates look at; seizures are all kept."""
_BATCH = 8
_FORMATS = {"openvino": "biot_bd.export.int8_openvino", "onnx": "biot_bd.export.int8_onnx"}


def quantise(
    folder: Path,
    format: str,
    inputs: Sequence[str],
    windows: Windows,
    prove: Callable[[list[str]], dict[str, Any]],
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Replace a graph in float by one in int8 that passes the gates.

    Parameters
    ----------
    folder : Path
        With the graph; its files are replaced.
    format : {"openvino", "onnx"}
        The graph's.
    inputs : sequence of str
        Names of its inputs, ``"x"`` and, where it takes absent channels, ``"present"``.
    windows : Windows
        Of training subjects, in microvolts: what is calibrated on is chosen from them.
    prove : callable
        ``(left_in_float) -> facts`` of the graph that now is in the folder; raises
        :class:`ExportGateError` where it may not be used.
    say : callable
        Told in a line what is being done.

    Returns
    -------
    dict
        The facts of the first try that passed, ``facts["gates"]["tries"]`` with what was tried
        before and why it failed.

    Raises
    ------
    ExportError
        int8 cannot be made of this format.
    ExportGateError
        All tries failed.
    biot_bd.exceptions.MissingExtraError
        A package that quantises is not installed.

    See Also
    --------
    biot_bd.export.int8_plans.plans : What is tried, in which order.
    """
    if format not in _FORMATS:
        raise ExportError(
            f"int8: not for format {format!r}: torch's own int8 scales a whole batch at once, so that a loud window moves "
            f"the others; take {' or '.join(map(repr, sorted(_FORMATS, reverse=True)))}"
        )
    tool = import_module(_FORMATS[format])
    batches = calibration_batches(windows, inputs)
    tries: list[dict[str, str]] = []
    with TemporaryDirectory(prefix=".float-", dir=folder) as kept:
        for file in folder.glob("model.*"):
            shutil.move(file, Path(kept) / file.name)
        source = Path(kept) / tool.FILE
        for number, plan in enumerate(plans(tool.operations(source)), start=1):
            say(f"int8, try {number}: {plan}")
            tool.quantise(source, folder / tool.FILE, plan.int8, batches)
            try:
                facts = prove(list(plan.left_in_float))
            except ExportGateError as error:
                tries.append({"tried": str(plan), "failed": str(error)})
                continue
            facts["gates"] = {**facts["gates"], "tries": [*tries, {"tried": str(plan), "failed": ""}]}
            return facts
    told = "; ".join(f"{one['tried']}: {one['failed']}" for one in tries)
    raise ExportGateError(f"int8: none of {len(tries)} tries passed the gates, export without int8 ({told})")


def calibration_batches(
    windows: Windows, inputs: Sequence[str], n: int = N_CALIBRATION, seed: int = 0
) -> list[dict[str, NDArray[Any]]]:
    """Return windows of all subjects and both labels as a graph takes them, in batches.

    Parameters
    ----------
    windows : Windows
        To choose from.
    inputs : sequence of str
        Names of the graph's inputs.
    n : int
        How many windows.
    seed : int
        Of the choice.

    Returns
    -------
    list of dict
        Inputs by name, 8 windows each.

    See Also
    --------
    balanced_rows : Chooses them.
    """
    rows = balanced_rows(windows.y, windows.groups, n, seed)
    batches = []
    for start in range(0, len(rows), _BATCH):
        x = windows.read(rows[start : start + _BATCH])
        present = np.asarray(~np.isnan(x).all(axis=-1))
        given = {"x": np.where(present[..., None], x, np.float32(0)), "present": present}
        batches.append({name: given[name] for name in inputs})
    return batches


def balanced_rows(y: NDArray[Any], groups: NDArray[Any], n: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose rows so that labels, and the subjects of each, take part as evenly as they can.

    Parameters
    ----------
    y : ndarray, shape (n_windows,)
        Labels.
    groups : ndarray, shape (n_windows,)
        Subjects.
    n : int
        How many rows; all where there are no more.
    seed : int
        Of the choice within a label and subject.

    Returns
    -------
    ndarray of int, sorted

    See Also
    --------
    calibration_batches : Reads them.

    Examples
    --------
    >>> y = np.array([0] * 90 + [1] * 10)
    >>> rows = balanced_rows(y, np.arange(100) % 2, 30)
    >>> np.bincount(y[rows]).tolist()
    [20, 10]
    """
    order = np.random.default_rng(seed).permutation(len(y))
    turns = np.empty((2, len(y)), np.int64)  # among windows of the label and subject, then of the label
    for label in np.unique(y):
        mine = order[np.asarray(y)[order] == label]
        for subject in np.unique(groups[mine]):
            rows = mine[groups[mine] == subject]
            turns[0, rows] = np.arange(len(rows))
        ranked = mine[np.argsort(turns[0, mine], kind="stable")]
        turns[1, ranked] = np.arange(len(ranked))
    return np.sort(np.argsort(turns[1], kind="stable")[:n])


def gate_windows(windows: Windows, most_background: int = MOST_BACKGROUND, seed: int = 0) -> Windows:
    """Return validation windows for the gates: all with seizures, a seeded choice of the others.

    Parameters
    ----------
    windows : Windows
        Of validation subjects.
    most_background : int
        Background windows that are kept at most.
    seed : int
        Of the choice.

    Returns
    -------
    Windows
        A selection, in the order of ``windows``.

    See Also
    --------
    biot_bd.export.check_export : Looks at them.
    """
    background = np.flatnonzero(windows.y == 0)
    if len(background) <= most_background:
        return windows
    dropped = np.random.default_rng(seed).permutation(background)[most_background:]
    return windows[np.setdiff1d(np.arange(len(windows)), dropped)]
