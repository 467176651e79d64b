"""Nearest training windows of frozen embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.embedding.frozen_probes.base import FrozenProbe, Learnt, Standardised, standard

_LEAST = 1e-6  # share of a class without a neighbour: its logarithm stays finite


class KNNProbe(FrozenProbe):
    """Votes of the most similar training windows.

    Similarity is the cosine of standardised embeddings; a neighbour's vote is
    ``exp(cosine / temperature)``, times the weight of its class, as in [1]_ but for the weight.

    Parameters
    ----------
    k : int or sequence of int
        Neighbours, the largest number first; validation subjects choose.  More than there are
        training windows means all of them.
    temperature : float
        How fast votes fall with distance.
    train_split : {"subject"}, callable or None
        Who validates.
    validation_fraction : float
        Share of the windows that validate.
    random_state : int or None
        Of the split; None counts as 0.
    seen_subjects : {"raise", "warn", "allow"}
        When it shall predict other windows of subjects that it was fitted on, as in
        :class:`biot_bd.BIOTClassifier`.

    See Also
    --------
    sklearn.neighbors.KNeighborsClassifier : The same votes, with ``weights=`` a function.
    LinearProbe : Logistic regression.

    References
    ----------
    .. [1] Wu, Z., Xiong, Y., Yu, S. X., & Lin, D. (2018). Unsupervised feature learning via
       non-parametric instance discrimination. CVPR.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.embedding import KNNProbe
    >>> y = np.tile([0, 1], 40)
    >>> x = np.random.default_rng(0).normal(size=(80, 3)) + 3 * y[:, None]
    >>> KNNProbe(k=5).fit(x, y).score(x, y) > 0.9
    True
    """

    _parameter = "k"

    def __init__(
        self,
        k: int | Sequence[int] = (200, 100, 50, 20, 10, 5),
        *,
        temperature: float = 0.07,
        train_split: Any = "subject",
        validation_fraction: float = 0.2,
        random_state: int | None = None,
        seen_subjects: str = "raise",
    ) -> None:
        self.k, self.temperature = k, temperature
        self.train_split, self.validation_fraction = train_split, validation_fraction
        self.random_state = random_state
        self.seen_subjects = seen_subjects

    def _learn(self, x: NDArray[np.float32], codes: NDArray[np.int64], weights: NDArray[Any], value: Any) -> Learnt:
        if value < 1 or value != int(value):
            raise ValueError(f"k must be a whole number of neighbours from 1, found {value!r}")
        mean, std = standard(x)
        z = (x - mean) / std
        z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
        votes = np.zeros((len(x), len(self.classes_)), np.float32)
        votes[np.arange(len(x)), codes] = weights
        arrays: dict[str, NDArray[Any]] = {"bank": z.astype(np.float32), "votes": votes, "mean": mean, "std": std}
        return Learnt(arrays | {"k": np.array(min(int(value), len(x)))})

    def _head(self, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
        return _Neighbours(arrays, self.temperature)


class _Neighbours(nn.Module):
    """Embeddings to the logarithm of the share of votes for each class."""

    bank: Tensor
    votes: Tensor

    def __init__(self, arrays: Mapping[str, NDArray[Any]], temperature: float) -> None:
        super().__init__()
        for name in ("bank", "votes"):
            self.register_buffer(name, torch.from_numpy(np.asarray(arrays[name], np.float32)))
        self.standardised = Standardised(arrays["mean"], arrays["std"])
        self.k, self.temperature = int(arrays["k"]), temperature

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, ``(n, n_classes)``."""
        z = self.standardised(x)
        z = z / z.norm(dim=1, keepdim=True).clamp_min(1e-12)
        cosine, places = torch.topk(z @ self.bank.T, self.k, dim=1, sorted=True)
        # Votes relative to the nearest one: the exponential of 1 / temperature may be large.
        vote = ((cosine - cosine[:, :1]) / self.temperature).exp()
        shares = (vote[..., None] * self.votes[places]).sum(dim=1)
        shares = shares / shares.sum(dim=1, keepdim=True)
        return (shares + _LEAST).log()
