"""SKELETON (owner A): what a search leaves in its run folder, read again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class SearchRecord:
    """SKELETON; the attributes are fixed.

    Attributes
    ----------
    folder : Path
    facts : dict
        Content of ``search.json``: ``version``, ``engine`` (``{"name", "parameters"}``), ``grid``
        (parameter -> list of values as text, or the distribution as text), ``inner_cv``,
        ``scoring`` (name of the metric that chooses), ``candidates`` (``[{"number", "params"}]``,
        params as JSON values or text).
    trials : pandas.DataFrame
        One row a fit: ``fold``, ``candidate``, ``rung``, ``inner``, ``score`` (Float64), ``reason``
        (why undefined, or empty), ``state`` (finished, pruned, failed), ``wall_s``.
    table : pandas.DataFrame
        One row a (fold, candidate): ``fold``, ``candidate``, one column a parameter (its name),
        ``mean``, ``std``, ``n_defined``, ``n_inner``, ``rung``, ``rank``, ``state``, ``chosen``.
    """

    folder: Path
    facts: dict[str, Any]
    trials: pd.DataFrame
    table: pd.DataFrame

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> SearchRecord:
        """SKELETON."""
        raise NotImplementedError
