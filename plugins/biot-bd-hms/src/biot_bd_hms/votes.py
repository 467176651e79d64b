"""Windows with the votes of the experts: an annotation holds the votes, a label rule reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biot_bd_hms.layout import CLASSES, LABELLED_S

_TEXT = re.compile(r"^votes((?: \d+){6})$")


def votes_text(votes: Sequence[int]) -> str:
    """Return the description of an annotation that holds votes, in the order of ``CLASSES``.

    Examples
    --------
    >>> from biot_bd_hms.votes import votes_text
    >>> votes_text([3, 0, 0, 0, 0, 1])
    'votes 3 0 0 0 0 1'
    """
    return "votes " + " ".join(str(int(n)) for n in votes)


def votes_in(text: str) -> list[int] | None:
    """Return the votes that a description holds, None where it holds none.

    Examples
    --------
    >>> from biot_bd_hms.votes import votes_in
    >>> votes_in("votes 3 0 0 0 0 1"), votes_in("eyes closed")
    ([3, 0, 0, 0, 0, 1], None)
    """
    found = _TEXT.match(text)
    return None if found is None else [int(number) for number in found[1].split()]


@dataclass(frozen=True)
class HMSVotes:
    """One window for each row of ``train.csv``, labelled by the share of the votes.

    The window is the middle of the 50 s that the experts saw: the 10 s that they judged, or what
    they saw around them.  Windows of overlapping rows overlap.  ``label`` is the class with most
    votes, the first of several; ``target_0`` ... ``target_5`` are the shares.

    Parameters
    ----------
    window_s : float
        Length of the windows in seconds: 10 (what was judged) to 50 (what was seen).
    min_votes : int
        Rows with fewer votes are left out.

    Attributes
    ----------
    classes : tuple of str
        Names by label.
    needs_annotations, labels_nothing : bool
        The rule reads annotations and no seizure.

    Raises
    ------
    ValueError
        A parameter is out of range.

    Examples
    --------
    >>> from biot_bd_hms.votes import HMSVotes
    >>> votes = [(20.0, 10.0, "votes 3 0 0 0 0 1")]
    >>> table = HMSVotes()(10000, 200.0, [], annotations=votes)
    >>> table[["start_sample", "n_samples", "label", "target_0", "target_5"]].iloc[0].tolist()
    [4000.0, 2000.0, 0.0, 0.75, 0.25]
    """

    window_s: float = LABELLED_S
    min_votes: int = 1

    name: ClassVar[str] = "hms-votes"
    classes: ClassVar[tuple[str, ...]] = CLASSES
    needs_annotations: ClassVar[bool] = True
    labels_nothing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_window(self.window_s)
        if isinstance(self.min_votes, bool) or not isinstance(self.min_votes, int) or self.min_votes < 1:
            raise ValueError(f"min_votes must be a whole number of at least 1, got {self.min_votes!r}")

    def __call__(
        self,
        n_samples: int,
        sfreq: float,
        events: ArrayLike,
        window_s: float = LABELLED_S,
        stride_s: float = LABELLED_S,
        annotations: Iterable[tuple[float, float, str]] = (),
    ) -> pd.DataFrame:
        """Return the windows of one recording.

        Parameters
        ----------
        n_samples : int
            Length of the recording.
        sfreq : float
            Its rate in Hz.
        events : array-like, shape (n_events, 2)
            Onset and offset of seizures in seconds, for ``seizure_fraction``; the data set names
            none.
        window_s, stride_s : float
            Length of a window in seconds; a stride means nothing here.
        annotations : iterable of (onset_s, duration_s, description)
            Those with votes count.

        Returns
        -------
        pandas.DataFrame
            One row a window: ``start_sample``, ``n_samples``, ``label``, ``kind``,
            ``seizure_fraction`` and a share a class.
        """
        rows = [(on + lasts / 2, found) for on, lasts, text in annotations if (found := votes_in(text)) is not None]
        votes = np.array([found for _, found in rows], dtype=np.int64).reshape(-1, len(CLASSES))
        length = round(window_s * sfreq)
        start = np.rint([middle_s * sfreq - length / 2 for middle_s, _ in rows]).astype(np.int64)
        enough = votes.sum(axis=1) >= self.min_votes
        inside = (start >= 0) & (start + length <= n_samples)
        kept = enough & inside
        targets = votes[kept] / votes[kept].sum(axis=1, keepdims=True)
        table = _table(start[kept], length, targets.argmax(axis=1), "votes", events, n_samples, sfreq)
        notes = [f"{n} windows left out, {why}" for n, why in self._lost(enough, inside) if n]
        table = table.assign(**{f"target_{k}": share for k, share in enumerate(targets.T)})
        table.attrs["notes"] = notes
        return table

    def _lost(self, enough: NDArray[np.bool_], inside: NDArray[np.bool_]) -> list[tuple[int, str]]:
        return [
            (int((~enough).sum()), f"fewer than {self.min_votes} votes"),
            (int((enough & ~inside).sum()), "they would leave the recording"),
        ]


@dataclass(frozen=True)
class HMSMiddle:
    """One window in the middle of each recording, without a label: what a submission predicts.

    Parameters
    ----------
    window_s : float
        Length of the window in seconds, that of the training windows.

    Attributes
    ----------
    classes : tuple of str
        Names by label; the label of all windows is 0 and means nothing.
    labels_nothing : bool
        Says so.

    Raises
    ------
    ValueError
        ``window_s`` is out of range.

    Examples
    --------
    >>> from biot_bd_hms.votes import HMSMiddle
    >>> HMSMiddle()(10000, 200.0, [])[["start_sample", "n_samples"]].iloc[0].tolist()
    [4000, 2000]
    """

    window_s: float = LABELLED_S

    name: ClassVar[str] = "hms-middle"
    labels_nothing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_window(self.window_s)

    def __call__(
        self,
        n_samples: int,
        sfreq: float,
        events: ArrayLike,
        window_s: float = LABELLED_S,
        stride_s: float = LABELLED_S,
    ) -> pd.DataFrame:
        """Return the window of one recording, none where it is shorter; see :class:`HMSVotes`."""
        length = round(window_s * sfreq)
        start = np.array([(n_samples - length) // 2] if n_samples >= length else [], dtype=np.int64)
        return _table(start, length, 0, "middle", events, n_samples, sfreq)


def _check_window(window_s: float) -> None:
    if not LABELLED_S <= window_s <= 50.0:
        raise ValueError(f"window_s must lie between 10 (what was judged) and 50 (what was seen), got {window_s!r}")


def _table(
    start: NDArray[np.int64], length: int, label: ArrayLike, kind: str, events: ArrayLike, n_samples: int, sfreq: float
) -> pd.DataFrame:
    """Return the columns that every rule returns."""
    ictal = np.zeros(n_samples + 1, dtype=np.int64)
    for onset_s, offset_s in np.asarray(events, dtype=np.float64).reshape(-1, 2):
        ictal[1:][round(onset_s * sfreq) : round(offset_s * sfreq)] = 1
    ictal = np.cumsum(ictal)
    return pd.DataFrame(
        {
            "start_sample": start,
            "n_samples": np.full(len(start), length, dtype=np.int64),
            "label": np.broadcast_to(np.asarray(label, dtype=np.int64), start.shape).copy(),
            "kind": np.full(len(start), kind, dtype=object),
            "seizure_fraction": (ictal[start + length] - ictal[start]) / max(length, 1),
        }
    )
