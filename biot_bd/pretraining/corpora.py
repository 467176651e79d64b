"""Several corpora in one training: their names, their classes, batches of one corpus each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

Shares = Literal["proportional", "equal"]
CORPORA = "corpora"


def corpus_of(subject: str) -> str:
    """Return the name space of a subject, ``"chb-mit"`` of ``"chb-mit/01"``.

    Raises
    ------
    ValueError
        The subject has none.

    Examples
    --------
    >>> from biot_bd.pretraining.corpora import corpus_of
    >>> corpus_of("chb-mit/01")
    'chb-mit'
    """
    name, slash, _ = str(subject).partition("/")
    if not (name and slash):
        raise ValueError(
            f"subject {subject!r} names no corpus; expected subjects such as 'chb-mit/01', as load_dataset and prepare name them"
        )
    return name


@dataclass(frozen=True)
class Corpora:
    """Names of corpora, and how many classes the labels of each have.

    Parameters
    ----------
    names : tuple of str
        Name spaces of subjects, sorted.
    n_classes : tuple of int
        Of each corpus, in that order.

    See Also
    --------
    biot_bd.pretraining.objectives.supervised_multitask.SupervisedMultitask : One head each.

    Examples
    --------
    >>> from biot_bd.pretraining import Corpora
    >>> subjects, labels = ["chb-mit/01", "chb-mit/02", "tuev/01", "tuev/02"], [1, 0, 0, 5]
    >>> corpora = Corpora.of(subjects, labels)
    >>> corpora
    Corpora(names=('chb-mit', 'tuev'), n_classes=(2, 6))
    >>> corpora.targets(subjects, labels)
    array([[0, 1],
           [0, 0],
           [1, 0],
           [1, 5]])
    """

    names: tuple[str, ...]
    n_classes: tuple[int, ...]

    @classmethod
    def of(cls, groups: Sequence[str] | NDArray[Any], y: ArrayLike) -> Corpora:
        """Read them off subjects and labels.

        Parameters
        ----------
        groups : array-like of str, shape (n,)
            Subjects with their name space, e.g. ``"chb-mit/01"``.
        y : array-like of int, shape (n,)
            Labels, from 0; a corpus has as many classes as its highest label says.

        Raises
        ------
        ValueError
            Labels that are no whole numbers from 0, a subject without name space, or a corpus with
            one label alone.
        """
        labels, corpus = _labels(y, len(groups)), np.array([corpus_of(subject) for subject in groups])
        names = tuple(sorted(set(corpus.tolist())))
        for name in names:
            found = np.unique(labels[corpus == name])
            if len(found) < 2:
                raise ValueError(
                    f"corpus {name!r} has the label {found[0]} alone; a head needs two classes: leave the corpus out, or add recordings"
                )
        return cls(names, tuple(int(labels[corpus == name].max()) + 1 for name in names))

    def targets(self, groups: Sequence[str] | NDArray[Any], y: ArrayLike) -> NDArray[np.int64]:
        """Return what the objective is handed: number of the corpus and label in it, (n, 2).

        Raises
        ------
        ValueError
            A corpus that is not among these, or a label beyond its classes.
        """
        labels = _labels(y, len(groups))
        numbers = {name: number for number, name in enumerate(self.names)}
        corpus = [corpus_of(subject) for subject in groups]
        if unknown := sorted(set(corpus) - set(numbers)):
            raise ValueError(f"no head for the corpus {unknown[0]!r}; there are: {', '.join(self.names)}")
        targets = np.column_stack([np.array([numbers[name] for name in corpus], dtype=np.int64), labels])
        beyond = labels >= np.array(self.n_classes)[targets[:, 0]]
        if beyond.any():
            row = int(np.argmax(beyond))
            raise ValueError(
                f"window {row} of {groups[row]} has the label {labels[row]}; its corpus has the classes 0 to {self.n_classes[targets[row, 0]] - 1}"
            )
        return targets


def _labels(y: ArrayLike, n: int) -> NDArray[np.int64]:
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise ValueError(f"expected one label a window, ({n},), found the shape {labels.shape}")
    if n == 0 or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise ValueError("labels must be whole numbers from 0; leave windows without a label out")
    return labels.astype(np.int64)


class CorpusBatches(Sampler[list[int]]):
    """Batches whose windows are all of one corpus, in random order.

    Random numbers come from torch's global generator, which a fit seeds and restart points store.

    Parameters
    ----------
    corpus : array-like of str or int, shape (n,)
        Each window's corpus.
    batch_size : int
    drop_last : bool
        Leave out each corpus's batch that is not full.  A corpus with fewer windows than a batch is
        one batch all the same, and a warning says so.
    shares : {"proportional", "equal"} or mapping of str to float
        ``"proportional"``: every window once an epoch; ``"equal"``: as many batches of each corpus
        as the largest has, windows of the smaller ones coming again in another order.  Weights by
        corpus: as many batches an epoch as with ``"proportional"``, divided by the weights (to the
        nearest whole batch, at least one each); of a corpus that gets fewer batches than it has
        another part comes each epoch, of one that gets more all windows come again.

    Raises
    ------
    ValueError
        A share that there is not, or weights of other corpora than these.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining.corpora import CorpusBatches
    >>> _ = torch.manual_seed(0)
    >>> batches = CorpusBatches([0, 0, 0, 0, 1, 1], batch_size=2)
    >>> sorted(sorted(batch) for batch in batches)[-1], len(batches)
    ([4, 5], 3)
    """

    def __init__(
        self,
        corpus: ArrayLike,
        batch_size: int,
        drop_last: bool = True,
        shares: Shares | Mapping[str, float] = "proportional",
    ) -> None:
        if not isinstance(shares, Mapping):
            check_shares(shares)
        names, numbers = np.unique(np.asarray(corpus), return_inverse=True)
        self.rows = [torch.from_numpy(np.flatnonzero(numbers == number)) for number in range(len(names))]
        self.batch_size, self.drop_last = batch_size, drop_last
        each = [self._n_batches(len(rows)) for rows in self.rows]
        for name, rows in zip(names, self.rows, strict=True):
            if drop_last and len(rows) < batch_size:
                warnings.warn(
                    f"corpus {name} has {len(rows)} training windows, fewer than a batch of {batch_size}: they are one batch",
                    stacklevel=2,
                )
        self.names = tuple(names.tolist())
        self._counts = [max(each)] * len(each) if shares == "equal" else each
        if isinstance(shares, Mapping):
            self._counts = divided(sum(each), _weights_of(shares, self.names))

    def _n_batches(self, n: int) -> int:
        return max(1, n // self.batch_size) if self.drop_last else -(-n // self.batch_size)

    def __len__(self) -> int:
        """Batches an epoch."""
        return sum(self._counts)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the positions of each batch of an epoch."""
        batches = [
            batch for rows, count in zip(self.rows, self._counts, strict=True) for batch in self._of(rows, count)
        ]
        for place in torch.randperm(len(batches)).tolist():
            yield batches[place]

    def _of(self, rows: torch.Tensor, count: int) -> list[list[int]]:
        """Return ``count`` batches of one corpus, each pass over its windows in a new order."""
        found: list[list[int]] = []
        while len(found) < count:
            order = rows[torch.randperm(len(rows))].split(self.batch_size)
            found += [batch.tolist() for batch in order[: self._n_batches(len(rows))]]
        return found[:count]


def _weights_of(weights: Mapping[str, float], names: Sequence[Any]) -> list[float]:
    """Return the weight of each corpus, where there is one for each and no other."""
    check_weights(weights)
    if set(weights) != {str(name) for name in names}:
        raise ValueError(
            f"weights are for the corpora {', '.join(sorted(weights))}, and the training windows are of "
            f"{', '.join(map(str, names))}; give one weight for each (a corpus is the name space of its subjects)"
        )
    return [float(weights[str(name)]) for name in names]


def check_weights(weights: Mapping[str, float]) -> None:
    """Raise ``ValueError`` where weights of corpora are not positive numbers."""
    wrong = {
        name: w
        for name, w in weights.items()
        if isinstance(w, bool) or not isinstance(w, (int, float)) or not 0 < w < np.inf
    }
    if wrong or not weights:
        raise ValueError(
            f"weights of corpora must be finite numbers > 0, e.g. {{'chb-mit': 2, 'siena': 1}}; found {wrong or weights}"
        )


def divided(total: int, weights: Sequence[float]) -> list[int]:
    """Divide whole things by weights: the nearest whole numbers of the same sum, at least 1 each.

    By largest remainders; the first of equal ones gets more.

    Examples
    --------
    >>> from biot_bd.pretraining.corpora import divided
    >>> divided(10, [2.0, 1.0]), divided(3, [100.0, 1.0, 1.0])
    ([7, 3], [1, 1, 1])
    """
    total = max(total, len(weights))
    exact = np.array(weights, np.float64) / sum(weights) * total
    counts = np.maximum(np.floor(exact).astype(np.int64), 1)
    while counts.sum() != total:
        lacking = exact - counts
        if counts.sum() < total:
            counts[np.argmax(lacking)] += 1
        else:
            counts[np.argmin(np.where(counts > 1, lacking, np.inf))] -= 1
    return counts.tolist()


def check_shares(shares: str) -> None:
    """Raise ``ValueError`` where corpora are asked to share an epoch in a way that there is not."""
    if shares not in get_args(Shares):
        raise ValueError(f"shares must be 'proportional' or 'equal', found {shares!r}")
