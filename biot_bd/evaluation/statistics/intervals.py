"""Intervals that resample subjects, and then the recordings of each.

The two-level percentile bootstrap.

Windows of one subject resemble each other, so the subject is the unit, never the window.  A cohort
is a sample of subjects, and each subject's recordings are a sample of that subject's days.  A
resample draws as many subjects as there are, with replacement, and for each subject drawn as many
recordings as that subject has, with replacement; a subject drawn twice gets two draws of
recordings.  Intervals are percentiles of the resampled scores.  It is the one method behind all
tables.

What is scored adds up over recordings (windows by label and probability; events hit, missed and
false), so a resample is a weighted sum of recordings, and all resamples are computed at once: see
:mod:`biot_bd.evaluation.statistics.resampled_scores`.

References
----------
Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (hierarchical data:
both levels with replacement).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biot_bd.runs import to_jsonable

METHOD = "percentile bootstrap"
SUBJECTS = "subjects"
RESAMPLED = "subjects, then recordings within subjects"
RECORDINGS = "recordings of one subject"
N_RESAMPLES = 999
FEW = 10
"""Below this many subjects bootstrap intervals are noticeably too narrow, and outputs say so."""

Scores = NDArray[np.float64]
Weighted = Callable[[NDArray[np.int64], NDArray[np.int64]], Scores]
"""``score(rows, weights)``: scores ``(n_resamples,)`` of recordings ``rows``, taken ``weights
(n_resamples, n_rows)`` times.
"""


DEGENERATE = "all resamples give the same score, which tells no range: there is no interval"
_WIDTH = 1e-12  # rounding of sums that are the same


class Counted(TypedDict):
    """What an exact interval was made of: ``n`` of ``of``, or ``n`` in so many hours."""

    n: int
    of: int | None
    hours: float | None


@dataclass(frozen=True)
class Interval:
    """A score with a percentile interval over resampled subjects and recordings, and how it was
    made.

    Attributes
    ----------
    value : float or None
        The score itself; None where it is undefined.
    low, high : float or None
        Ends of the interval; None where there is none (``notes`` say why).
    level : float
        Confidence level, e.g. 0.95.
    method : str
        What it is, for the tables: :data:`METHOD`.
    resampled : str
        What was drawn with replacement.
    n_subjects, n_recordings : int
        How many there are to draw from.
    n_resamples : int
        Resamples drawn.
    n_undefined : int
        Resamples without a score (nobody with a seizure among them, say), which are left out.
    random_state : int
        Seed of the draws.
    notes : tuple of str
        What a reader must know of this interval.
    counted : dict or None
        Of an exact interval of a count, what was counted; None for intervals of resamples.

    See Also
    --------
    macro_interval : Makes one of a score for each subject.

    Examples
    --------
    >>> from biot_bd.evaluation import macro_interval
    >>> macro_interval({"site/01": 0.7}).notes
    ('one subject: there is no interval over subjects',)
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    resampled: str
    n_subjects: int
    n_recordings: int
    n_resamples: int
    n_undefined: int
    random_state: int
    notes: tuple[str, ...] = ()
    counted: Counted | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON holds them."""
        return {**asdict(self), "notes": list(self.notes)}


class Draws:
    """The draws of a two-level bootstrap, made once and shared by all scores of a study.

    Parameters
    ----------
    subjects : array of shape (n_recordings,)
        Subject of each recording.
    n_resamples : int, default=999
    random_state : int, default=0

    Raises
    ------
    ValueError
        There are no recordings, or a parameter is out of range.

    Notes
    -----
    Each subject's recordings are resampled ``n_resamples`` times.  A subject that a resample draws
    gets one of these, chosen at random, which is a draw of recordings as good as a fresh one, and
    spares scoring it anew.
    """

    def __init__(self, subjects: ArrayLike, *, n_resamples: int = N_RESAMPLES, random_state: int = 0) -> None:
        check_options(0.5, n_resamples)
        found = np.asarray(subjects).astype(str)
        if found.ndim != 1 or len(found) == 0:
            raise ValueError(f"the bootstrap needs the subject of one recording or more, found shape {found.shape}")
        self.n_resamples, self.random_state, self.n_recordings = n_resamples, random_state, len(found)
        self.rows = {str(subject): np.flatnonzero(found == subject) for subject in np.unique(found)}
        rng = np.random.default_rng(random_state)
        self.within = {
            subject: rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=n_resamples)
            for subject, rows in self.rows.items()
        }
        shape = (n_resamples, len(self.rows))
        self._chosen = rng.integers(len(self.rows), size=shape)
        self._pick = rng.integers(n_resamples, size=shape)

    @property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(self.rows)

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        """How often each resample holds each recording, shape ``(n_resamples, n_recordings)``."""
        out = np.zeros((self.n_resamples, self.n_recordings), dtype=np.int64)
        for index, (subject, rows) in enumerate(self.rows.items()):
            drawn = self._chosen == index
            resample, column = np.nonzero(drawn)
            np.add.at(out, (resample[:, None], rows), self.within[subject][self._pick[resample, column]])
        return out

    def pooled(self, score: Weighted) -> Scores:
        """Return the scores of all recordings of a resample taken together, NaN where undefined."""
        return score(np.arange(self.n_recordings), self.weights)

    def by_subject(self, score: Weighted) -> dict[str, Scores]:
        """Return each subject's scores over draws of that subject's recordings, NaN where
        undefined.
        """
        return {subject: score(rows, self.within[subject]) for subject, rows in self.rows.items()}

    def macro(self, scores: Mapping[str, Scores]) -> Scores:
        """Return the means over the subjects of a resample.

        Subjects without a score are left out, as in the mean itself.

        Parameters
        ----------
        scores : mapping of str to ndarray, shape (n_resamples,)
            Of :meth:`by_subject`.
        """
        table = np.stack([scores[subject] for subject in self.rows])
        drawn = table[self._chosen, self._pick]
        known = np.isfinite(drawn)
        n = known.sum(axis=1)
        return np.where(n > 0, np.where(known, drawn, 0).sum(axis=1) / np.maximum(n, 1), np.nan)

    def interval(
        self,
        value: float | None,
        scores: Scores,
        *,
        level: float = 0.95,
        resampled: str = RESAMPLED,
        n_scored: int | None = None,
    ) -> Interval:
        """Return the interval of :meth:`pooled` or :meth:`macro` scores around ``value``.

        ``n_scored`` are the subjects for whom the score is defined; all by default.
        """
        n_scored = self.n_subjects if n_scored is None else n_scored
        notes = list(few_subjects(n_scored)) if n_scored else []
        if n_scored == 1:
            notes, scores = ["one subject: there is no interval over subjects"], np.full(self.n_resamples, np.nan)
        elif n_scored and self.n_recordings == self.n_subjects and resampled == RESAMPLED:
            notes.append("one recording a subject: only subjects vary from resample to resample")
        facts = (self.n_subjects, self.n_recordings, self.random_state)
        return interval_of(value, scores, level, resampled, *facts, notes, count=n_scored > 1)

    def interval_within(self, subject: str, value: float | None, scores: Scores, *, level: float = 0.95) -> Interval:
        """Return the interval of one subject's score over draws of that subject's recordings
        alone.
        """
        n, notes = len(self.rows[subject]), []
        if n < 2:
            notes, scores = ["one recording: there is no interval over recordings"], np.full(len(scores), np.nan)
        elif n < 5:
            notes.append(f"only {n} recordings: the interval is too narrow")
        return interval_of(value, scores, level, RECORDINGS, 1, n, self.random_state, notes, count=n > 1)


def interval_of(
    value: float | None,
    scores: Scores,
    level: float,
    resampled: str,
    n_subjects: int,
    n_recordings: int,
    random_state: int,
    notes: list[str],
    *,
    count: bool = True,
) -> Interval:
    """Return the percentile interval of resampled scores.

    Undefined ones are counted (unless ``count`` is False), never NaN.

    Raises
    ------
    ValueError
        ``level`` is out of range.
    """
    check_options(level, max(len(scores), 99))
    finite = scores[np.isfinite(scores)]
    n_undefined = len(scores) - len(finite) if count else 0
    notes = list(notes)
    low = high = None
    # A value that pandas or numpy hands over may be NaN in place of None.
    value = None if pd.isna(value) else float(value)
    if value is None:
        notes.append("the score is undefined")
    elif len(finite):
        low, high = (float(end) for end in np.quantile(finite, [(1 - level) / 2, (1 + level) / 2]))
        if high - low <= _WIDTH:
            low = high = None
            notes.append(DEGENERATE)
    if n_undefined:
        notes.append(f"undefined in {n_undefined} of {len(scores)} resamples, which are left out")
    return Interval(
        value,
        low,
        high,
        to_jsonable(level),
        METHOD,
        resampled,
        n_subjects,
        n_recordings,
        len(scores),
        n_undefined,
        to_jsonable(random_state),
        tuple(notes),
    )


def macro_interval(
    scores: ArrayLike | Mapping[str, float | None] | pd.Series,
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    random_state: int = 0,
) -> Interval:
    """Return the mean over subjects with an interval that resamples subjects.

    Where each has one score and no recordings.

    Parameters
    ----------
    scores : array of shape (n_subjects,), mapping or Series
        One score a subject; NaN or None where it is undefined: such subjects are left out.
    level : float, default=0.95
        Confidence level.
    n_resamples : int, default=999
        How often subjects are drawn.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    Interval
        Without ends for fewer than two subjects.

    Raises
    ------
    ValueError
        A parameter is out of range, or scores are not of shape (n_subjects,).

    See Also
    --------
    biot_bd.evaluation.assess : Intervals of all scores of a run, which resample recordings, too.

    Examples
    --------
    >>> from biot_bd.evaluation import macro_interval
    >>> interval = macro_interval({"site/01": 0.7, "site/02": 0.9, "site/03": 0.8})
    >>> interval.method, interval.resampled, round(interval.value, 3)
    ('percentile bootstrap', 'subjects', 0.8)
    """
    check_options(level, n_resamples)
    known = scores_by_subject(scores).dropna()
    if len(known) == 0:
        undefined = np.full(n_resamples, np.nan)
        return interval_of(
            None, undefined, level, SUBJECTS, 0, 0, random_state, ["defined for no subject"], count=False
        )
    draws = Draws(known.index.to_numpy(), n_resamples=n_resamples, random_state=random_state)
    table = {str(subject): np.full(n_resamples, value) for subject, value in known.items()}
    return draws.interval(float(known.mean()), draws.macro(table), level=level, resampled=SUBJECTS)


def few_subjects(n: int) -> tuple[str, ...]:
    """Return what a reader must know of an interval from so few subjects; nothing from ten on."""
    if n >= FEW:
        return ()
    return (f"{n} subjects are few: a bootstrap interval is too narrow then, and one subject can decide it",)


def notes_by_score(notes: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """Bring the notes of several scores together: what holds for all once, the rest by score.

    Parameters
    ----------
    notes : iterable of (str, iterable of str)
        What a score is called, and its notes.

    Returns
    -------
    list of str
        Without doubles, in the order given.

    Examples
    --------
    >>> from biot_bd.evaluation.statistics.intervals import notes_by_score
    >>> notes_by_score([("AUC-PR", ["3 subjects are few"]), ("AUROC", ["4 subjects are few"])])
    ['AUC-PR: 3 subjects are few', 'AUROC: 4 subjects are few']
    >>> notes_by_score([("AUC-PR", ["one seed"]), ("AUROC", ["one seed"])])
    ['one seed']
    """
    scores: dict[str, None] = {}
    said: dict[str, dict[str, None]] = {}
    for score, own in notes:
        scores[score] = None
        for note in own:
            said.setdefault(note, {})[score] = None
    return [note if len(of) == len(scores) else f"{', '.join(of)}: {note}" for note, of in said.items()]


def check_options(level: float, n_resamples: int) -> None:
    """Raise ValueError where a parameter of an interval is out of range."""
    if isinstance(level, bool) or not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    if isinstance(n_resamples, bool) or not isinstance(n_resamples, Integral) or n_resamples < 99:
        raise ValueError(f"n_resamples must be a whole number of at least 99, got {n_resamples!r}")


def scores_by_subject(scores: Any) -> pd.Series:
    """Return scores by subject, float64, NaN where undefined."""
    series = scores if isinstance(scores, pd.Series) else pd.Series(scores, dtype=object)
    if series.ndim != 1 or not series.index.is_unique:
        raise ValueError("scores need one value a subject, of shape (n_subjects,)")
    found = pd.Series(pd.to_numeric(series, errors="raise"), dtype="float64")
    if np.isinf(found).any():
        raise ValueError(f"the score of {found.index[np.isinf(found)][0]} is not finite")
    return found
