"""Who attends to whom, as links between channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biot_bd.probes.figures._scales import FLAT

WORDS = "blue: less than an even share of attention; orange: more (times an even share)"


@dataclass(frozen=True)
class Links:
    """Attention between channels as times an even share.

    Parameters
    ----------
    ratio : ndarray, shape (n_chans, n_chans)
        Rows attend to columns; 1 is what each would get if none were preferred; NaN for absent
        channels.
    ch_names : tuple of str
        Names.
    """

    ratio: NDArray[np.float64]
    ch_names: tuple[str, ...]

    @classmethod
    def of(cls, matrix: ArrayLike, ch_names: Sequence[str]) -> Links:
        """Check a matrix of attention.

        Raises
        ------
        ValueError
            It is not square, does not fit the names, is negative, knows a channel in part, or its
            rows do not sum to 1.
        """
        values = np.array(matrix, dtype=float)
        n = len(ch_names)
        if values.shape != (n, n):
            raise ValueError(f"expected a matrix of shape ({n}, {n}) for {n} channels, got {values.shape}")
        known = np.isfinite(values)
        present = known.any(axis=1)
        if not np.array_equal(known, present[:, None] & present[None, :]):
            raise ValueError("a channel must be absent (NaN) in its whole row and column, or in none of them")
        if (values[known] < 0).any():
            raise ValueError(
                "attention is never below 0; for differences of two matrices use biot_bd.probes.figures.difference_figure"
            )
        sums = values[present].sum(axis=1, where=known[present])
        if present.any() and np.abs(sums - 1).max() > 0.01:
            raise ValueError(
                f"rows of attention sum to 1, these to {sums.min():.3g} to {sums.max():.3g}; divide each by its sum"
            )
        return cls(values * present.sum(), tuple(map(str, ch_names)))

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which channels are known, shape (n_chans,)."""
        return np.isfinite(np.diagonal(self.ratio))

    def pairs(self) -> list[tuple[int, int, float]]:
        """Return all links (from, to, ratio) between different channels, strongest first."""
        n = len(self.ch_names)
        rows, columns = np.nonzero(np.isfinite(self.ratio) & ~np.eye(n, dtype=bool))
        ratios = self.ratio[rows, columns]
        return [(int(rows[k]), int(columns[k]), float(ratios[k])) for k in np.argsort(-ratios, kind="stable")]

    def strongest(self, most: int) -> list[tuple[int, int, float]]:
        """Return the strongest links between different channels.

        Raises
        ------
        ValueError
            Fewer than one is asked for.
        """
        if most < 1:
            raise ValueError(f"ask for 1 link or more, got {most}")
        return self.pairs()[:most]

    def received(self) -> NDArray[np.float64]:
        """Return what each channel gets from the others, times an even share, shape (n_chans,)."""
        others = np.where(np.eye(len(self.ch_names), dtype=bool), np.nan, self.ratio)
        known = np.isfinite(others).sum(axis=0)
        return np.where(known > 0, np.nansum(others, axis=0) / np.maximum(known, 1), np.nan)

    def flat_note(self) -> str | None:
        """Say so where no link differs from an even share."""
        known = self.ratio[np.isfinite(self.ratio)]
        most = np.abs(known - 1).max() if known.size else 0.0
        if known.size == 0 or most >= FLAT:
            return None
        return f"All links are within {100 * most:.2g} % of an even share: no channel is preferred."
