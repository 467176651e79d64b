"""Which training windows an epoch holds: ``BIOTClassifier(sampler=...)``.

A sampler is called once a fit as ``sampler(y, subjects)`` with the targets and the subjects of the
*training* windows, and returns a ``torch.utils.data.Sampler`` of positions among them, so that a
validation or test window cannot be drawn.  The classifier iterates it once an epoch.  Random
numbers come from torch's global generator, which ``fit`` seeds and restart points store: epochs
repeat under ``random_state``, and a fit that was killed goes on with the very epoch it would have
had.

==========================  =================================================
name                        stands for
==========================  =================================================
``class-balanced``          ``ClassBalanced()``
``subject-balanced``        ``SubjectBalanced()``
``class-subject-balanced``  ``ClassBalanced(by_subject=True)``
``background-subsample``    ``BackgroundSubsample()``
``page-shuffle``            all windows, each once, in the order of
                            ``biot_bd.windows.page_shuffle.PageShuffle``
==========================  =================================================

``page-shuffle`` is taken without being asked for where the windows lie in files that are larger
than the memory.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler, WeightedRandomSampler

from biot_bd.training._validation import did_you_mean, subject_codes

# --- epochs ---------------------------------------------------------------------------------------

MOST_WEIGHTS = 2**24
"""``torch.multinomial`` takes no more categories."""


class WeightedEpochs(WeightedRandomSampler):
    """Draw windows with replacement, each with a probability of its own.

    Parameters
    ----------
    probabilities : ndarray, shape (n,)
        Of each training window at every draw; they sum to 1.
    epoch_size : int, float or None
        Draws an epoch: a number, a share of the windows, or (None) as many as these.
    y : ndarray of int, shape (n,)
        Targets.

    Attributes
    ----------
    class_counts : ndarray, shape (n_classes,)
        Expected number of windows of each class in an epoch.

    Raises
    ------
    ValueError
        More windows than ``torch.multinomial`` can draw from.
    """

    def __init__(
        self, probabilities: NDArray[np.float64], epoch_size: int | float | None, y: NDArray[np.int64]
    ) -> None:
        if len(y) > MOST_WEIGHTS:
            raise ValueError(
                f"torch draws from at most {MOST_WEIGHTS} weighted windows, found {len(y)}; "
                "use sampler='background-subsample', which has no limit, or a longer stride"
            )
        n = len(y) if epoch_size is None else epoch_size
        n = int(n) if isinstance(n, Integral) else max(1, round(float(n) * len(y)))
        super().__init__(torch.from_numpy(probabilities), n, replacement=True)  # type: ignore[arg-type]
        self.class_counts = n * np.bincount(y, weights=probabilities)


class BackgroundEpochs(Sampler[int]):
    """All windows of the other classes and a fresh subsample of background, in random order.

    Parameters
    ----------
    kept : ndarray of int
        Positions that every epoch holds.
    background : list of ndarray of int
        Positions of background windows, one array a stratum (a subject, or all).
    n_background : int
        Background windows an epoch, at most as many as there are; shared equally among the strata,
        and what one stratum lacks goes to the others.  None is drawn twice in an epoch.
    y : ndarray of int, shape (n,)
        Targets.

    Attributes
    ----------
    class_counts : ndarray, shape (n_classes,)
        Number of windows of each class in every epoch.
    level, remainder : int
        Each stratum gives ``min(size, level)`` windows, and ``remainder`` of those that hold more,
        chosen by chance in each epoch, give one more.
    """

    def __init__(
        self, kept: NDArray[np.int64], background: list[NDArray[np.int64]], n_background: int, y: NDArray[np.int64]
    ) -> None:
        self.kept = torch.from_numpy(kept)
        self.background = [torch.from_numpy(stratum) for stratum in background]
        sizes = np.array([len(stratum) for stratum in background])
        self.level, self.remainder = _equal_shares(sizes, n_background)
        self.larger = torch.from_numpy(np.flatnonzero(sizes > self.level))
        self.n_background = n_background
        self.class_counts = np.bincount(y[kept], minlength=int(y.max()) + 1).astype(float)
        self.class_counts[y[background[0][0]]] = n_background

    def __len__(self) -> int:
        return len(self.kept) + self.n_background

    def __iter__(self) -> Iterator[int]:
        extra = set(self.larger[torch.randperm(len(self.larger))[: self.remainder]].tolist())
        drawn = [
            stratum[torch.randperm(len(stratum))[: self.level + (number in extra)]]
            for number, stratum in enumerate(self.background)
        ]
        epoch = torch.cat([self.kept, *drawn])
        yield from epoch[torch.randperm(len(epoch))].tolist()


def _equal_shares(sizes: NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """Return the largest level with ``sum(min(size, level)) <= wanted``, and what is left of
    ``wanted``.
    """
    level = bisect_right(range(int(sizes.max()) + 1), wanted, key=lambda most: np.minimum(sizes, most).sum()) - 1
    return level, wanted - int(np.minimum(sizes, level).sum())


# --- samplers -------------------------------------------------------------------------------------


def _probabilities(strata: NDArray[np.int64], strength: float) -> NDArray[np.float64]:
    """Return the probability of each window if a stratum of n windows is drawn with one
    proportional to n^(1 - strength).
    """
    counts = np.bincount(strata).astype(float)
    weight = np.where(counts > 0, np.power(np.maximum(counts, 1), 1 - strength), 0)
    return (weight / weight.sum() / np.maximum(counts, 1))[strata]


def _check_weighted(name: str, strength: Any, epoch_size: Any) -> None:
    if not isinstance(strength, Real) or not 0 <= float(strength) <= 1:
        raise ValueError(f"{name}: strength must lie between 0 (as the data are) and 1 (balanced), found {strength!r}")
    is_number = isinstance(epoch_size, Real) and not isinstance(epoch_size, bool)
    if epoch_size is not None and not (is_number and 0 < epoch_size < math.inf):
        raise ValueError(
            f"{name}: epoch_size must be a number of windows (int), a share of the training windows (float), or None, "
            f"found {epoch_size!r}"
        )


@dataclass(frozen=True)
class ClassBalanced:
    r"""Every class equally often, drawn with replacement.

    Parameters
    ----------
    by_subject : bool
        Whether, within each class, all subjects who have windows of it are equally likely (so a
        subject with one short seizure counts as much as one with many).  Otherwise all windows of a
        class are.
    strength : float
        1 balances, 0 leaves the frequencies as they are: a class of n windows is drawn with a
        probability proportional to ``n ** (1 - strength)``.
    epoch_size : int, float or None
        Draws an epoch: a number, a share of the number of training windows, or (None) as many as
        these.

    Raises
    ------
    ValueError
        A parameter out of range.

    See Also
    --------
    SubjectBalanced : Balances subjects, not classes.
    BackgroundSubsample : Takes every seizure once and little of the background.

    Notes
    -----
    With :math:`n_c` windows of class c, :math:`n_{cp}` of them of subject p and :math:`m_c`
    subjects who have some, a window is drawn with probability :math:`P_c / n_c`, or :math:`P_c /
    (m_c n_{cp})` with ``by_subject``, where :math:`P_c = n_c^{1-s} / \sum_k n_k^{1-s}`.  With rare
    seizures an epoch repeats each of them many times.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.training import ClassBalanced
    >>> epochs = ClassBalanced()(np.array([0] * 8 + [1, 1]))
    >>> len(epochs), epochs.class_counts.tolist()
    (10, [5.0, 5.0])
    """

    by_subject: bool = False
    strength: float = 1.0
    epoch_size: int | float | None = None

    def __post_init__(self) -> None:
        _check_weighted("ClassBalanced", self.strength, self.epoch_size)

    def __call__(self, y: NDArray[np.int64], subjects: NDArray[Any] | None = None) -> WeightedEpochs:
        """Return epochs over windows with targets ``y`` and ``subjects``, both of shape
        ``(n,)``.
        """
        labels = np.asarray(y, dtype=np.int64)
        p = _probabilities(labels, self.strength)
        if self.by_subject:
            _, who = subject_codes(subjects, len(labels), "ClassBalanced(by_subject=True)")
            of_class = np.bincount(labels, weights=p)
            table = np.zeros((len(of_class), int(who.max()) + 1))
            np.add.at(table, (labels, who), 1)
            p = (of_class / np.maximum((table > 0).sum(axis=1), 1))[labels] / table[labels, who]
        return WeightedEpochs(p, self.epoch_size, labels)


@dataclass(frozen=True)
class SubjectBalanced:
    """Every subject equally often, drawn with replacement.

    Parameters
    ----------
    strength : float
        1 balances, 0 leaves the frequencies as they are: a subject with n windows is drawn with a
        probability proportional to ``n ** (1 - strength)``.
    epoch_size : int, float or None
        As in :class:`ClassBalanced`.

    Raises
    ------
    ValueError
        A parameter out of range.

    See Also
    --------
    ClassBalanced : Balances classes, and subjects within them.

    Notes
    -----
    The classes of a subject stay as frequent among the subject's windows as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.training import SubjectBalanced
    >>> epochs = SubjectBalanced()(
    ...     np.array([0, 0, 0, 1]), np.array(["a", "a", "a", "b"], dtype=object)
    ... )
    >>> epochs.class_counts.tolist()
    [2.0, 2.0]
    """

    strength: float = 1.0
    epoch_size: int | float | None = None

    def __post_init__(self) -> None:
        _check_weighted("SubjectBalanced", self.strength, self.epoch_size)

    def __call__(self, y: NDArray[np.int64], subjects: NDArray[Any] | None = None) -> WeightedEpochs:
        """Return epochs over windows with targets ``y`` and ``subjects``, both of shape
        ``(n,)``.
        """
        labels = np.asarray(y, dtype=np.int64)
        p = _probabilities(subject_codes(subjects, len(labels), "SubjectBalanced")[1], self.strength)
        return WeightedEpochs(p, self.epoch_size, labels)


@dataclass(frozen=True)
class BackgroundSubsample:
    """All seizure windows and, in each epoch anew, a subsample of background.

    For data sets of hundreds of hours: an epoch is as long as its subsample, and the background
    changes from epoch to epoch, so that in the end much of it has been seen.

    Parameters
    ----------
    ratio : float
        Background windows an epoch for each window of another class.
    by_subject : bool
        Whether subjects give equally many background windows (as far as they have them); otherwise
        all background windows are equally likely.
    background : int
        Position of the background among the classes.

    Raises
    ------
    ValueError
        A parameter out of range; when called, no window of background or none of another class.

    See Also
    --------
    ClassBalanced : Draws with replacement.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.training import BackgroundSubsample
    >>> epochs = BackgroundSubsample(ratio=2)(np.array([0] * 9 + [1]))
    >>> len(epochs), epochs.class_counts.tolist()
    (3, [2.0, 1.0])
    """

    ratio: float = 10.0
    by_subject: bool = False
    background: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.ratio, Real) or not 0 < self.ratio < math.inf:
            raise ValueError(
                f"BackgroundSubsample: ratio must be positive (background windows for each other window), found {self.ratio!r}"
            )
        if not isinstance(self.background, Integral) or isinstance(self.background, bool) or self.background < 0:
            raise ValueError(
                f"BackgroundSubsample: background must be a position among the classes, found {self.background!r}"
            )

    def __call__(self, y: NDArray[np.int64], subjects: NDArray[Any] | None = None) -> BackgroundEpochs:
        """Return epochs over windows with targets ``y`` and ``subjects``, both of shape
        ``(n,)``.
        """
        labels = np.asarray(y, dtype=np.int64)
        is_background = labels == self.background
        kept, rest = np.flatnonzero(~is_background), np.flatnonzero(is_background)
        if not len(kept) or not len(rest):
            raise ValueError(
                f"BackgroundSubsample needs windows of background (class number {self.background}) and of another class, "
                f"found {len(rest)} and {len(kept)}"
            )
        strata = [rest]
        if self.by_subject:
            who = subject_codes(subjects, len(labels), "BackgroundSubsample(by_subject=True)")[1][rest]
            strata = [rest[who == subject] for subject in np.unique(who)]
        wanted = min(len(rest), max(1, round(self.ratio * len(kept))))
        return BackgroundEpochs(kept, strata, wanted, labels)


def _page_shuffle(y: NDArray[np.int64], subjects: NDArray[Any] | None = None) -> Any:
    """Say what is missing: the classifier makes these epochs itself, from the windows."""
    raise ValueError(f"sampler={PAGE_SHUFFLE!r} is for Windows, which lie in files; leave it out for arrays and Epochs")


PAGE_SHUFFLE = "page-shuffle"
SAMPLERS: dict[str, Callable[..., Sampler[int]]] = {
    "class-balanced": ClassBalanced(),
    "subject-balanced": SubjectBalanced(),
    "class-subject-balanced": ClassBalanced(by_subject=True),
    "background-subsample": BackgroundSubsample(),
    PAGE_SHUFFLE: _page_shuffle,
}
"""What ``sampler`` takes by name."""


# --- for the classifier ---------------------------------------------------------------------------


def resolve_sampler(sampler: Any) -> Callable[..., Any] | None:
    """Return the object that a ``sampler`` parameter stands for.

    Parameters
    ----------
    sampler : None, str or callable
        A name in :data:`SAMPLERS`, or an object called as ``sampler(y, subjects)``.

    Raises
    ------
    ValueError
        An unknown name, or something else.
    """
    if sampler is None:
        return None
    if isinstance(sampler, str):
        if sampler in SAMPLERS:
            return SAMPLERS[sampler]
        hint = did_you_mean(sampler, SAMPLERS)
        raise ValueError(f"sampler={sampler!r} is not known; there are {', '.join(SAMPLERS)}{hint}")
    if isinstance(sampler, type) or not callable(sampler):
        raise ValueError(
            f"sampler must be None, a name ({', '.join(SAMPLERS)}) or an object such as ClassBalanced() that is called "
            f"as sampler(y, subjects), found {sampler!r}"
        )
    return sampler


def make_epochs(sampler: Any, y: NDArray[np.int64], subjects: NDArray[Any] | None) -> Any:
    """Return the torch sampler of a fit, or None where ``sampler`` is None.

    Parameters
    ----------
    sampler : None, str or callable
        See :func:`resolve_sampler`.
    y : ndarray of int, shape (n,)
        Targets of the training windows, positions in the classes.
    subjects : ndarray of object, shape (n,), or None
        Their subjects.

    Returns
    -------
    torch.utils.data.Sampler or None
        Of positions between 0 and ``n - 1``.

    Raises
    ------
    ValueError
        Subjects are needed and unknown; or the sampler returns something that has no length or
        cannot be iterated.
    """
    chosen = resolve_sampler(sampler)
    if chosen is None:
        return None
    epochs = chosen(y, subjects)
    if not hasattr(epochs, "__iter__") or not hasattr(epochs, "__len__"):
        raise ValueError(
            f"sampler {sampler!r} must return a torch Sampler with a length, found {type(epochs).__name__}"
        )
    if len(epochs) == 0:
        raise ValueError(f"sampler {sampler!r}: an epoch of {len(y)} training windows would be empty")
    return epochs


def class_counts(epochs: Any, y: NDArray[np.int64], n_classes: int) -> list[float]:
    """Return how many windows of each class an epoch holds (expected where it is drawn by chance).

    Parameters
    ----------
    epochs : Sampler or None
        From :func:`make_epochs`.  A sampler of somebody else's may say it in ``class_counts``;
        otherwise, and for None, it is what the training windows hold.
    y : ndarray of int, shape (n,)
        Targets of the training windows.
    n_classes : int

    Returns
    -------
    list of float or int, length n_classes
    """
    known = getattr(epochs, "class_counts", None)
    if known is None:
        return np.bincount(y, minlength=n_classes).tolist()
    return [*np.asarray(known, dtype=float).tolist(), *[0.0] * n_classes][:n_classes]
