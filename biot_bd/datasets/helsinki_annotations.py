"""The annotations of the Helsinki neonatal set: three experts, one value a second and recording.

References
----------
Stevenson, N. J., Tapani, K., Lauronen, L., Vanhatalo, S. (2019). A dataset of neonatal EEG
recordings with seizure annotations. Scientific Data 6, 190039. https://doi.org/10.1038/sdata.2019.39
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.exceptions import RecordingError
from biot_bd.io.mat_elements import check_mat

EXPERTS = ("A", "B", "C")
CONSENSUS = {"all": 3, "majority": 2, "any": 1}
"""How many of the three experts must see a seizure."""

Vectors = dict[int, NDArray[np.bool_]]


def read_expert(path: str | os.PathLike[str]) -> Vectors:
    r"""Read what one expert says of every recording.

    Parameters
    ----------
    path : path-like
        ``annotations_2017_A.csv`` (a column a recording, empty cells behind its end) or
        ``annotations_2017_A.mat`` (a cell a recording, whatever the variable is called).

    Returns
    -------
    dict of int to ndarray of bool
        Number of the recording -> whether there is a seizure, one value a second.

    Raises
    ------
    RecordingError
        ``bad-annotation``: the file is of another form, or a value is neither 0 nor 1.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "annotations_2017_A.csv")
    ...     _ = path.write_text("1,2\n0,0\n1,1\n1,\n")
    ...     found = read_expert(path)
    >>> {number: vector.astype(int).tolist() for number, vector in found.items()}
    {1: [0, 1, 1], 2: [0, 1]}
    """
    path = Path(path)
    columns = _of_mat(path) if path.suffix.lower() == ".mat" else _of_csv(path)
    return {number: _checked(values, number, path) for number, values in columns.items()}


def _of_csv(path: Path) -> dict[int, NDArray[np.float64]]:
    try:
        table = pd.read_csv(path, encoding="utf-8-sig", skip_blank_lines=False)
        names = [re.fullmatch(r"(?:eeg)?(\d+)", str(name).strip(), re.IGNORECASE) for name in table.columns]
        if not all(names):
            raise ValueError(f"columns are {', '.join(map(str, table.columns[:3]))}, ..., expected 1, 2, ... 79")
        values = table.to_numpy(np.float64)
    except ValueError as error:
        raise _fault(path, str(error)) from error
    return {int(match[1]): values[:, i] for i, match in enumerate(names) if match}


def _of_mat(path: Path) -> dict[int, NDArray[np.float64]]:
    from scipy.io import loadmat

    try:
        check_mat(path)
        variables = {name: v for name, v in loadmat(path).items() if not name.startswith("__")}
        cells = [v for v in variables.values() if isinstance(v, np.ndarray) and v.dtype == object]
        if len(cells) != 1:
            raise ValueError(f"variables are {', '.join(variables)}; expected one cell array of vectors")
        found = [np.asarray(cell, dtype=np.float64) for cell in cells[0].ravel()]
    except Exception as error:  # SciPy fails in many ways on damaged files
        raise _fault(path, str(error)) from error
    if wrong := [i for i, vector in enumerate(found, start=1) if vector.size != max(vector.shape, default=0)]:
        raise _fault(path, f"cell {wrong[0]} is of shape {found[wrong[0] - 1].shape}; expected one value a second")
    return {number: vector.ravel() for number, vector in enumerate(found, start=1)}


def _checked(values: NDArray[np.float64], number: int, path: Path) -> NDArray[np.bool_]:
    """Cut what is empty behind the end, and check the rest."""
    known = np.flatnonzero(~np.isnan(values))
    values = values[: known[-1] + 1 if len(known) else 0]
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        raise _fault(path, f"recording {number}, second {wrong[0]}: {values[wrong[0]]:g}; expected 0 or 1")
    return values == 1


def _fault(path: Path, message: str) -> RecordingError:
    return RecordingError("bad-annotation", f"{path}: {message}; download the annotations again")


def agreed(vectors: Mapping[str, NDArray[np.bool_]], consensus: str) -> NDArray[np.bool_]:
    """Return the seconds that enough experts call a seizure, as far as all of them looked.

    Parameters
    ----------
    vectors : mapping of str to ndarray of bool
        By expert, of one recording.
    consensus : {"all", "majority", "any", "A", "B", "C"}
        All three, two at least, one at least, or one expert alone.

    Returns
    -------
    ndarray of bool
        As long as the shortest of the vectors that count: what lies behind is unknown.

    Examples
    --------
    >>> votes = {"A": [1, 1, 0, 0], "B": [1, 1, 0], "C": [1, 0, 0, 0]}
    >>> votes = {expert: np.array(vector, dtype=bool) for expert, vector in votes.items()}
    >>> [agreed(votes, rule).astype(int).tolist() for rule in ("all", "majority", "A")]
    [[1, 0, 0], [1, 1, 0], [1, 1, 0, 0]]
    """
    chosen = [vectors[consensus]] if consensus in EXPERTS else list(vectors.values())
    shortest = min(map(len, chosen))
    counted: NDArray[np.int_] = np.sum([vector[:shortest] for vector in chosen], axis=0, dtype=int)
    return counted >= (1 if consensus in EXPERTS else CONSENSUS[consensus])


def runs_of(seconds: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Return (onset_s, offset_s) of each run of true seconds.

    Examples
    --------
    >>> runs_of(np.array([0, 1, 1, 0, 1], dtype=bool))
    [(1.0, 3.0), (4.0, 5.0)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seconds, [False]]).astype(np.int8)))
    return [(float(onset), float(offset)) for onset, offset in edges.reshape(-1, 2)]
