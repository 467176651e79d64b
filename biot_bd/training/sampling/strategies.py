"""Which training windows an epoch holds: ``BIOTClassifier(sampler=...)``.

A sampler is called once a fit as ``sampler(y, subjects)`` with the targets and the subjects of the *training*
windows, and returns a ``torch.utils.data.Sampler`` of positions among them, so that a validation or test window
cannot be drawn.  The classifier iterates it once an epoch.  Random numbers come from torch's global generator,
which ``fit`` seeds and restart points store: epochs repeat under ``random_state``, and a fit that was killed goes on
with the very epoch it would have had.

=========================  ================================
name                       stands for
=========================  ================================
``class-balanced``         ``ClassBalanced()``
``subject-balanced``        ``SubjectBalanced()``
``class-subject-balanced``  ``ClassBalanced(by_subject=True)``
``background-subsample``   ``BackgroundSubsample()``
``page-shuffle``           all windows, each once, in the order of :class:`biot_bd.windows.page_shuffle.PageShuffle`
=========================  ================================

``page-shuffle`` is taken without being asked for where the windows lie in files that are larger than the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from biot_bd.training._validation import did_you_mean
from biot_bd.training.sampling.samplers import BackgroundEpochs, WeightedEpochs

# --- samplers ---------------------------------------------------------------------------------------------


def _probabilities(strata: NDArray[np.int64], strength: float) -> NDArray[np.float64]:
    """Return the probability of each window if a stratum of n windows is drawn with one proportional to n^(1 - strength)."""
    counts = np.bincount(strata).astype(float)
    weight = np.where(counts > 0, np.power(np.maximum(counts, 1), 1 - strength), 0)
    return (weight / weight.sum() / np.maximum(counts, 1))[strata]


def _check_weighted(name: str, strength: Any, epoch_size: Any) -> None:
    if not isinstance(strength, Real) or not 0 <= float(strength) <= 1:
        raise ValueError(f"{name}: strength must lie between 0 (as the data are) and 1 (balanced), found {strength!r}")
    if epoch_size is None:
        return
    is_number = isinstance(epoch_size, Real) and not isinstance(epoch_size, bool)
    if not is_number or not math.isfinite(epoch_size) or epoch_size <= 0:
        raise ValueError(
            f"{name}: epoch_size must be a number of windows (int), a share of the training windows (float), or None, "
            f"found {epoch_size!r}"
        )


def _draws(epoch_size: Any, n: int) -> int:
    if epoch_size is None:
        return n
    return int(epoch_size) if isinstance(epoch_size, Integral) else max(1, round(float(epoch_size) * n))


@dataclass(frozen=True)
class ClassBalanced:
    r"""Every class equally often, drawn with replacement.

    Parameters
    ----------
    by_subject : bool
        Whether, within each class, all subjects who have windows of it are equally likely (so a subject with one short
        seizure counts as much as one with many).  Otherwise all windows of a class are.
    strength : float
        1 balances, 0 leaves the frequencies as they are: a class of n windows is drawn with a probability
        proportional to ``n ** (1 - strength)``.
    epoch_size : int, float or None
        Draws an epoch: a number, a share of the number of training windows, or (None) as many as these.

    Raises
    ------
    ValueError
        A parameter out of range.

    Notes
    -----
    With :math:`n_c` windows of class c, :math:`n_{cp}` of them of subject p and :math:`m_c` subjects who have some, a
    window is drawn with probability :math:`P_c / n_c`, or :math:`P_c / (m_c n_{cp})` with ``by_subject``, where
    :math:`P_c = n_c^{1-s} / \sum_k n_k^{1-s}`.  With rare seizures an epoch repeats each of them many times.

    See Also
    --------
    SubjectBalanced : Balances subjects, not classes.
    BackgroundSubsample : Takes every seizure once and little of the background.

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

    @property
    def needs_subjects(self) -> bool:
        """Whether subjects must be known."""
        return self.by_subject

    def __call__(self, y: NDArray[np.int64], subjects: NDArray[Any] | None = None) -> WeightedEpochs:
        """Return epochs over windows with targets ``y`` and ``subjects``, both of shape ``(n,)``."""
        labels = np.asarray(y, dtype=np.int64)
        p = _probabilities(labels, self.strength)
        if self.by_subject:
            who = _subject_codes(subjects, len(labels), "ClassBalanced(by_subject=True)")
            of_class = np.bincount(labels, weights=p)
            table = np.zeros((len(of_class), int(who.max()) + 1))
            np.add.at(table, (labels, who), 1)
            p = (of_class / np.maximum((table > 0).sum(axis=1), 1))[labels] / table[labels, who]
        return WeightedEpochs(p, _draws(self.epoch_size, len(labels)), labels, int(labels.max()) + 1)


@dataclass(frozen=True)
class SubjectBalanced:
    """Every subject equally often, drawn with replacement.

    Parameters
    ----------
    strength : float
        1 balances, 0 leaves the frequencies as they are: a subject with n windows is drawn with a probability
        proportional to ``n ** (1 - strength)``.
    epoch_size : int, float or None
        As in :class:`ClassBalanced`.

    Raises
    ------
    ValueError
        A parameter out of range.

    Notes
    -----
    The classes of a subject stay as frequent among the subject's windows as they are.

    See Also
    --------
    ClassBalanced : Balances classes, and subjects within them.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.training import SubjectBalanced
    >>> epochs = SubjectBalanced()(np.array([0, 0, 0, 1]), np.array(["a", "a", "a", "b"], dtype=object))
    >>> epochs.class_counts.tolist()
    [2.0, 2.0]
    """

    strength: float = 1.0
    epoch_size: int | float | None = None

    def __post_init__(self) -> None:
        _check_weighted("SubjectBalanced", self.strength, self.epoch_size)

    @property
    def needs_subjects(self) -> bool:
        """Subjects must be known."""
        return True

    def __call__(self, y: NDArray[np.int64], subjects: NDArray[Any] | None = None) -> WeightedEpochs:
        """Return epochs over windows with targets ``y`` and ``subjects``, both of shape ``(n,)``."""
        labels = np.asarray(y, dtype=np.int64)
        p = _probabilities(_subject_codes(subjects, len(labels), "SubjectBalanced"), self.strength)
        return WeightedEpochs(p, _draws(self.epoch_size, len(labels)), labels, int(labels.max()) + 1)


@dataclass(frozen=True)
class BackgroundSubsample:
    """All seizure windows and, in each epoch anew, a subsample of background.

    For data sets of hundreds of hours: an epoch is as long as its subsample, and the background changes from epoch to
    epoch, so that in the end much of it has been seen.

    Parameters
    ----------
    ratio : float
        Background windows an epoch for each window of another class.
    by_subject : bool
        Whether subjects give equally many background windows (as far as they have them); otherwise all background
        windows are equally likely.
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
        if not isinstance(self.ratio, Real) or not math.isfinite(self.ratio) or self.ratio <= 0:
            raise ValueError(
                f"BackgroundSubsample: ratio must be positive (background windows for each other window), found {self.ratio!r}"
            )
        if not isinstance(self.background, Integral) or isinstance(self.background, bool) or self.background < 0:
            raise ValueError(
                f"BackgroundSubsample: background must be a position among the classes, found {self.background!r}"
            )

    @property
    def needs_subjects(self) -> bool:
        """Whether subjects must be known."""
        return self.by_subject

    def __call__(self, y: NDArray[np.int64], subjects: NDArray[Any] | None = None) -> BackgroundEpochs:
        """Return epochs over windows with targets ``y`` and ``subjects``, both of shape ``(n,)``."""
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
            who = _subject_codes(subjects, len(labels), "BackgroundSubsample(by_subject=True)")[rest]
            strata = [rest[who == subject] for subject in np.unique(who)]
        wanted = min(len(rest), max(1, round(self.ratio * len(kept))))
        return BackgroundEpochs(kept, strata, wanted, labels, int(labels.max()) + 1)


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


# --- for the classifier -----------------------------------------------------------------------------------


def _subject_codes(subjects: ArrayLike | None, n: int, sampler: str) -> NDArray[np.int64]:
    """Return a number for the subject of each window.

    Raises
    ------
    ValueError
        Subjects are unknown.
    """
    if subjects is None:
        raise ValueError(
            f"{sampler} needs the subject of each training window, and the data carry none: use Windows, or pass "
            "fit(X, y, groups=subjects)"
        )
    names = np.asarray(subjects, dtype=object)
    if names.shape != (n,):
        raise ValueError(f"{sampler}: subjects must be one a window, expected shape ({n},), found {names.shape}")
    codes, found = pd.factorize(names)  # a look a subject, not a window: there may be millions
    missing = codes < 0
    if "" in found:
        missing |= codes == list(found).index("")
    if missing.any():
        raise ValueError(f"{sampler}: training window {int(np.argmax(missing))} has no subject ({names[missing][0]!r})")
    return np.unique([str(subject) for subject in found], return_inverse=True)[1].reshape(-1)[codes]


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
        Subjects are needed and unknown; or the sampler returns something that has no length or cannot be iterated.
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
        From :func:`make_epochs`.  A sampler of somebody else's may say it in ``class_counts``; otherwise, and for None,
        it is what the training windows hold.
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
