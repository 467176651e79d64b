"""One encoder, one head a corpus: supervised pretraining on several labelled corpora."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.models.token_stages import TokenSizes, TokenStages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.corpora import CorpusBatches, Shares, check_shares
from biot_bd.pretraining.embedding_std import embedding_std
from biot_bd.pretraining.objective import Objective
from biot_bd.pretraining.present_tokens import read_out_present
from biot_bd.pretraining.whole_batch import of_whole_batch


class SupervisedMultitask(Objective):
    """Classify windows of several corpora, each by a head of its own behind one encoder [1]_.

    Each batch is of one corpus, so losses of corpora add up over the batches of an epoch.  Corpora
    with other channels go into one montage that holds the channels of all; those that a corpus has
    not are absent (NaN throughout) and get no attention, and a channel keeps its channel token.

    Parameters
    ----------
    sizes : TokenSizes
        Of the model's tokens.
    corpora : sequence of str
        Names of the corpora; :class:`biot_bd.Pretrainer` reads them off the subjects.
    n_classes : sequence of int
        Classes of each corpus's labels.
    weights : sequence of float, optional
        Of the corpora's losses; None: 1 each.
    shares : {"proportional", "equal"}
        How corpora share an epoch, see :class:`biot_bd.pretraining.corpora.CorpusBatches`.

    Raises
    ------
    ValueError
        Names, classes and weights of different numbers, or values that they cannot have.

    See Also
    --------
    biot_bd.pretraining.Corpora : Reads corpora off subjects and labels.

    Notes
    -----
    Logs: ``accuracy``, ``embedding_std``, ``chance`` (entropy of the labels within their corpora,
    weighted as the loss: what somebody scores who knows how frequent they are), ``skill`` (1 - loss
    / chance; left out where chance is 0), and of each corpus ``loss_NAME``, ``accuracy_NAME`` and
    ``chance_NAME``.

    References
    ----------
    .. [1] Yang, C., Westover, M. B., Sun, J. (2023). BIOT: Biosignal Transformer for Cross-data
       Learning in the Wild. NeurIPS.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT
    >>> from biot_bd.pretraining import BatchRandom
    >>> from biot_bd.pretraining.objectives.supervised_multitask import SupervisedMultitask
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... )
    >>> stages = model.token_stages()
    >>> objective = SupervisedMultitask(stages.sizes, ("chb-mit", "tuev"), (2, 6))
    >>> targets = torch.tensor([[1, 0], [1, 5]])
    >>> told = objective(stages, torch.randn(2, 2, 400), BatchRandom(1, n=2), targets)
    >>> objective.derive(told)["chance_tuev"]  # ln 2: two labels, equally frequent
    0.693...
    """

    supervised = True

    def __init__(
        self,
        sizes: TokenSizes,
        corpora: Sequence[str] = (),
        n_classes: Sequence[int] = (),
        weights: Sequence[float] | None = None,
        shares: Shares = "proportional",
    ) -> None:
        super().__init__(sizes)
        weights = [1.0] * len(corpora) if weights is None else list(weights)
        _check(corpora, n_classes, weights)
        check_shares(shares)
        self.corpora, self.n_classes, self.shares = tuple(corpora), tuple(n_classes), shares
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.heads = nn.ModuleList(nn.Sequential(nn.ELU(), nn.Linear(sizes.embed_dim, n)) for n in n_classes)

    def batches(self, targets: NDArray[np.int64], batch_size: int, drop_last: bool) -> CorpusBatches:
        """Return batches of one corpus each.

        Parameters
        ----------
        targets : ndarray of int, shape (n, 2)
            Of the training windows.
        batch_size : int
        drop_last : bool
            Leave out batches that are not full.
        """
        return CorpusBatches(np.array(self.corpora)[targets[:, 0]], batch_size, drop_last, self.shares)

    def forward(
        self, tokens: TokenStages, x: Tensor, rng: BatchRandom, targets: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Score a batch.

        Parameters
        ----------
        tokens : TokenStages
        x : Tensor, shape (n, n_chans, n_times)
        rng : BatchRandom
            Of the batch; no chance is needed.
        targets : Tensor of int, shape (n, 2)
            Number of the corpus and label in it.

        Raises
        ------
        ValueError
            No targets.
        """
        if targets is None:
            raise ValueError("supervised-multitask learns from labels: fit(X, y), or Windows with labels")
        embedding = self._embedding(tokens, x)
        corpus, label = targets[:, 0], targets[:, 1]
        losses, right = embedding.new_zeros(len(x), dtype=torch.float32), torch.zeros_like(corpus, dtype=torch.bool)
        for number, head in enumerate(self.heads):
            # Every head has a part in every loss, as distributed training waits for all gradients.
            logits, own = head(embedding).float(), corpus == number
            asked = label.masked_fill(~own, 0)
            losses = losses + torch.where(own, F.cross_entropy(logits, asked, reduction="none"), 0.0)
            right = right | (own & (logits.argmax(1) == asked))
        weights: Any = self.weights
        return {
            "loss": (losses * weights[corpus]).mean(),
            "accuracy": right.float().mean(),
            "embedding_std": embedding_std(of_whole_batch(embedding.detach(), rng)),
            **self._by_corpus(losses.detach(), right, targets),
        }

    def _embedding(self, tokens: TokenStages, x: Tensor) -> Tensor:
        x, present = tokens.present(x)
        return read_out_present(tokens, tokens.tokens(x), tokens.token_mask(present))

    def _by_corpus(self, losses: Tensor, right: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return sums by corpus over the number of windows of the batch, (n_corpora, ...)."""
        own = F.one_hot(targets[:, 0], len(self.corpora)).float() / len(targets)
        labels = F.one_hot(targets[:, 1], max(self.n_classes)).float()
        return {
            "corpus_loss": (own * losses[:, None]).sum(0),
            "corpus_right": (own * right[:, None]).sum(0),
            "corpus_labels": (own[:, :, None] * labels[:, None]).sum(0),
        }

    def derive(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Return loss, accuracy and chance of each corpus, and chance and skill of all."""
        share = means["corpus_labels"].sum(1)
        entropy = _entropy(means["corpus_labels"] / share[:, None].clamp(min=torch.finfo(torch.float32).tiny))
        weights: Any = self.weights
        told: dict[str, float] = {}
        weighted = weights.to(share) * share
        for number, name in enumerate(self.corpora):
            if share[number] > 0:
                told[f"loss_{name}"] = float(means["corpus_loss"][number] / share[number])
                told[f"accuracy_{name}"] = float(means["corpus_right"][number] / share[number])
                told[f"chance_{name}"] = float(entropy[number])
        chance, loss = float(weighted @ entropy), float(weights.to(share) @ means["corpus_loss"])
        told["chance"] = chance
        if chance > 0:
            told["skill"] = 1 - loss / chance
        return told


def _entropy(shares: Tensor) -> Tensor:
    """Return the entropy of each row in nats."""
    return -torch.special.xlogy(shares, shares).sum(-1)


def _check(corpora: Sequence[str], n_classes: Sequence[int], weights: Sequence[float]) -> None:
    if isinstance(corpora, str) or not corpora:
        raise ValueError(f"expected names of corpora, e.g. ('chb-mit', 'tuev'), found {corpora!r}")
    if len(set(corpora)) != len(corpora):
        raise ValueError(f"corpora must have different names, found {', '.join(corpora)}")
    if not len(corpora) == len(n_classes) == len(weights):
        raise ValueError(
            f"expected one number of classes and one weight a corpus ({len(corpora)}), found {len(n_classes)} and {len(weights)}"
        )
    if min(n_classes) < 2 or not min(weights) > 0:
        raise ValueError(
            f"n_classes must be 2 or more and weights positive; found {tuple(n_classes)} and {tuple(weights)}"
        )
