"""Counts of events against one reference, as often as wanted, without masks of samples.

A search for an operating point counts the same recordings at thousands of settings.  There
``timescoring`` makes masks of every tenth of a second for each; here the annotated seizures are
merged, split and widened once, and what remains are look-ups in sorted times.  The counts are
those of the package.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from biot_bd.events.scoring import RATE_HZ, ScoringParameters, event_extents

Ints = NDArray[np.int64]


class EventCounter:
    """Count detected seizures and false alarms by the rules of ``timescoring``.

    Parameters
    ----------
    reference : ndarray of shape (n, 2)
        Annotated seizures in seconds, ascending and apart.
    duration_s : float
        Length of the recording.
    parameters : ScoringParameters, optional
        SzCORE's by default; ``min_overlap`` must be 0 (any overlap).

    Raises
    ------
    ValueError
        ``min_overlap`` is not 0, or the recording is too long to be scored.

    See Also
    --------
    biot_bd.events.scoring.event_counts : One count, by the package itself.

    Examples
    --------
    >>> import numpy as np
    >>> counter = EventCounter(np.array([[100.0, 130.0]]), 3600)
    >>> counter.counts(np.array([[105, 140], [900, 1500]]))
    {'tp': 1, 'fp': 2, 'n_reference': 1}
    """

    def __init__(
        self, reference: NDArray[np.float64], duration_s: float, parameters: ScoringParameters | None = None
    ) -> None:
        parameters = parameters or ScoringParameters()
        if parameters.min_overlap != 0:
            raise ValueError(f"any overlap is counted: min_overlap must be 0, got {parameters.min_overlap!r}")
        self._gap_s, self._longest_s = parameters.min_between_s, parameters.max_event_s
        extents = event_extents(reference, duration_s, parameters)
        samples = np.array([[round(at * RATE_HZ) for at in pair] for pair in extents], dtype=np.int64).reshape(-1, 2)
        self.n_reference = len(samples)
        # What has no sample of the scorer is never found.
        self._start, self._stop = samples[samples[:, 0] < samples[:, 1]].T

    def counts(self, events: Ints) -> dict[str, int]:
        """Count events.

        Parameters
        ----------
        events : ndarray of shape (n, 2), int64
            Onset and offset in whole seconds, ascending, apart, and inside the recording.

        Returns
        -------
        dict
            ``tp``, ``fp`` and ``n_reference``.
        """
        start, stop = joined(events, math.nextafter(self._gap_s, 0)).T
        n_pieces = np.maximum(np.ceil((stop - start) / self._longest_s).astype(np.int64), 1)
        whole = np.repeat(np.arange(len(start)), n_pieces)
        nth = np.arange(len(whole)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
        begin = start[whole] + nth * self._longest_s
        end = np.minimum(begin + self._longest_s, stop[whole])
        false = ~_meet(begin * RATE_HZ, end * RATE_HZ, self._start, self._stop)
        found = _meet(self._start, self._stop, start * RATE_HZ, stop * RATE_HZ)
        return {"tp": int(found.sum()), "fp": int(false.sum()), "n_reference": self.n_reference}


def joined(events: Ints, gap: float) -> Ints:
    """Join events at most ``gap`` apart; they are ascending and apart already.

    :func:`biot_bd.events.intervals.merge` takes them in any order, and sorts.
    """
    new = events[1:, 0] - events[:-1, 1] > gap
    if not len(events) or new.all():
        return events
    edge = np.ones(1, dtype=bool)
    return np.stack([events[np.append(edge, new), 0], events[np.append(new, edge), 1]], axis=1)


def _meet(start: NDArray, stop: NDArray, other_start: NDArray, other_stop: NDArray) -> NDArray[np.bool_]:
    """Return which intervals share time with any other; starts and stops of the others ascend."""
    at = np.searchsorted(other_stop, start, side="right")  # the first that ends later
    return np.append(other_start, np.inf)[at] < stop
