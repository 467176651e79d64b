"""Two conditions of a group of maps compared, with subjects as units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from biot_bd.models.attention.layout import TokenLayout
from biot_bd.probes.surrogates import SubjectDifference
from biot_bd.runs import to_jsonable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cells = Literal["channel-frame", "channel", "channel-channel"]
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class GroupComparison:
    """How maps differ between two conditions, tested over subjects.

    Parameters
    ----------
    difference : SubjectDifference
        Mean difference, first minus second, by cell, and its p-values, corrected for all cells by
        the largest statistic.
    conditions : tuple of two str
        What was compared, in words.
    subjects : tuple of str
        The subjects that were compared; where not paired those of the first condition, then those
        of the second.
    n_windows : tuple of two int
        Windows behind the two.
    left_out : tuple of str
        Subjects that have windows of one condition only.
    paired : bool
        Whether each subject has both conditions.
    cells : {"channel-frame", "channel", "channel-channel"}
        What a cell is.
    layout : TokenLayout
        Channels and frames.
    what, unit : str
        What differs, and in which unit.
    notes : tuple of str
        Caveats in words.

    See Also
    --------
    MapGroup.compare : Makes one.
    biot_bd.probes.figures.difference_figure : Draws it.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from biot_bd.probes import MapGroup, TokenLayout
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame(
    ...     {"subject": list("aabbccddeeff"), "label": [0, 1] * 6, "band": "all"}
    ... )
    >>> values = rng.normal(size=(12, 2, 1)) / 10 + table["label"].to_numpy()[:, None, None]
    >>> group = MapGroup(table, values, TokenLayout(("C3", "C4"), [0.0], [1.0]), probe="energy")
    >>> found = group.compare("label == 1", "label == 0")
    >>> found.marked().tolist(), round(float(found.difference.smallest_p), 3)
    ([[True], [True]], 0.031)
    """

    difference: SubjectDifference
    conditions: tuple[str, str]
    subjects: tuple[str, ...]
    n_windows: tuple[int, int]
    left_out: tuple[str, ...]
    paired: bool
    cells: Cells
    layout: TokenLayout
    what: str = "importance"
    unit: str = "importance"
    notes: tuple[str, ...] = ()

    def marked(self, alpha: float = ALPHA) -> NDArray[np.bool_]:
        """Return the cells whose corrected p-value is at most ``alpha``."""
        return np.asarray(np.nan_to_num(self.difference.p, nan=1.0) <= alpha)

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON holds them, NaN as null."""
        found = self.difference
        return to_jsonable(
            {
                "conditions": self.conditions,
                "cells": self.cells,
                "paired": self.paired,
                "subjects": self.subjects,
                "left_out": self.left_out,
                "n_windows": self.n_windows,
                "mean": np.asarray(found.mean),
                "p": np.asarray(found.p),
                "n_permutations": found.n_permutations,
                "exact": found.exact,
                "smallest_p": found.smallest_p,
                "ch_names": self.layout.ch_names,
                "notes": self.notes,
            }
        )

    def figure(
        self, *, title: str | None = None, caution: str | None = None, footnote: str | None = None, width_px: int = 1100
    ) -> Figure:
        """Draw the difference, cells beyond the null marked.

        Parameters
        ----------
        title, caution, footnote, width_px
            As for :func:`biot_bd.probes.figures.difference_figure`.
        """
        from biot_bd.probes.figures import difference_figure

        return difference_figure(
            self.difference,
            self.layout,
            cells=self.cells,
            conditions=self.conditions,
            what=self.what,
            unit=self.unit,
            title=title,
            caution=caution,
            footnote=" ".join([*self.notes, *([footnote] if footnote else [])]) or None,
            width_px=width_px,
        )
