"""BIOT's own pretraining task: a window with frames left out is told from other windows."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from biot_bd.models.token_stages import TokenSizes, TokenStages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.embedding_std import embedding_std
from biot_bd.pretraining.info_nce import info_nce, top1
from biot_bd.pretraining.micro_batches import in_micro_batches
from biot_bd.pretraining.objective import Objective
from biot_bd.pretraining.present_tokens import read_out_present
from biot_bd.pretraining.whole_batch import of_whole_batch


class BIOTContrastive(Objective):
    """Contrast a view with frames left out and the whole window, as BIOT was pretrained.

    Both views go through one encoder, each with dropout of its own.  In the masked view each
    channel keeps a random number of its frames, half of them to all but one; the choice is drawn a
    batch and shared by its windows, as in the official code [1]_.  A head of two layers (Linear,
    GELU, Linear) follows the masked view alone, and :func:`biot_bd.pretraining.info_nce` compares.
    The order of kept frames, random in the official code, does not matter: tokens carry their time.

    Parameters
    ----------
    sizes : TokenSizes
        At least 2 frames.
    temperature : float
        Of :func:`biot_bd.pretraining.info_nce`.
    micro_batch : int, optional
        Windows that pass through the model at a time.  Their activations are computed again in the
        backward pass: the memory of a few windows for a third more time; loss and gradients are
        those of the whole batch, to rounding.  None: the whole batch at once.

    Raises
    ------
    ValueError
        A window has one frame, of which half cannot be kept, or a parameter is impossible.

    See Also
    --------
    biot_bd.Pretrainer : Trains by it: ``Pretrainer("biot", objective="biot-contrastive")``.

    Notes
    -----
    What it tells: ``loss``; ``chance``, the loss of equal embeddings, ``ln n``; ``skill``, ``1 -
    loss / chance``; ``top1``, the share of windows whose partner is the nearest; ``embedding_std``
    (:func:`biot_bd.pretraining.embedding_std`); ``kept``, the share of tokens in the masked view.

    The official code gives a corpus with other channels an offset into the table of channel tokens;
    here ``channel_ids`` of :class:`biot_bd.models.BIOT` name the rows.

    References
    ----------
    .. [1] Yang, C., Westover, M. B., Sun, J. (2023). BIOT: Biosignal Transformer for Cross-data
       Learning in the Wild. NeurIPS 36. Code: https://github.com/ycq091044/BIOT

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT, token_stages
    >>> from biot_bd.pretraining import BatchRandom
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=800, n_outputs=2
    ... )
    >>> stages = token_stages(model)
    >>> objective = BIOTContrastive(stages.sizes)
    >>> sorted(objective(stages, torch.randn(4, 2, 800), BatchRandom(0, n=4)))
    ['embedding_std', 'kept', 'log_n', 'loss', 'top1']
    """

    across_windows = True

    def __init__(self, sizes: TokenSizes, temperature: float = 0.2, micro_batch: int | None = None) -> None:
        super().__init__(sizes)
        if sizes.n_frames < 2:
            raise ValueError("biot-contrastive keeps half of the frames of a window, which has one; use longer windows")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        whole_number = isinstance(micro_batch, int) and not isinstance(micro_batch, bool) and micro_batch > 0
        if not (whole_number or micro_batch is None):
            raise ValueError(
                f"micro_batch must be a positive number of windows or None (whole batch), got {micro_batch!r}"
            )
        self.temperature, self.micro_batch = temperature, micro_batch
        dim = sizes.embed_dim
        self.predictor = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, tokens: TokenStages, x: Tensor, rng: BatchRandom) -> dict[str, Tensor]:
        """Return the loss, the share of right partners, and the spread of embeddings.

        Parameters
        ----------
        tokens, x, rng
            As for :meth:`biot_bd.pretraining.Objective.forward`.

        Returns
        -------
        dict of str to Tensor

        Raises
        ------
        ValueError
            A training batch is of one window, which has nothing to be told from.
        """
        if self.training and rng.n_all < 2:
            raise ValueError(
                "biot-contrastive tells the windows of a batch apart, and this has one; take another batch_size, or "
                "iterator_train__drop_last=True"
            )
        kept = self.kept_frames(rng)
        masked, whole = (of_whole_batch(view, rng) for view in self.views(tokens, x, kept))
        loss = info_nce(masked, whole, self.temperature)
        return {
            "loss": loss,
            "top1": top1(masked, whole),
            "embedding_std": embedding_std(whole),
            "kept": kept.float().mean(),
            "log_n": loss.new_tensor(math.log(rng.n_all)),
        }

    def kept_frames(self, rng: BatchRandom) -> Tensor:
        """Draw which tokens of a batch stay: half to all but one of each channel's.

        Parameters
        ----------
        rng : BatchRandom

        Returns
        -------
        Tensor of bool, shape (n_chans, n_frames)
        """
        n_chans, n_frames = self.sizes.n_chans, self.sizes.n_frames
        least = n_frames // 2
        n_kept = least + (rng.shared_uniform(n_chans) * (n_frames - least)).long()
        rank = rng.shared_uniform(n_chans, n_frames).argsort(dim=1).argsort(dim=1)
        return rank < n_kept[:, None]

    def views(self, tokens: TokenStages, x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings that are compared.

        Parameters
        ----------
        tokens, x
            As for :meth:`forward`.
        kept : Tensor of bool, shape (n_chans, n_frames)
            Tokens of the masked view.

        Returns
        -------
        masked, whole : Tensor, float32, shape (n, embed_dim)
            The masked view behind its head.
        """
        x, present = tokens.present(x)
        chosen = kept.flatten().nonzero()[:, 0]
        there = tokens.token_mask(present)

        def views(x: Tensor, there: Tensor | None) -> tuple[Tensor, Tensor]:
            embedded = tokens.embed(tokens.patches(x))
            some = tokens.place(embedded).flatten(1, 2)[:, chosen]
            masked = read_out_present(tokens, some, None if there is None else there[:, chosen], chosen)
            whole = read_out_present(tokens, tokens.place(embedded).flatten(1, 2), there)
            return self.predictor(masked).float(), whole.float()

        masked, whole = in_micro_batches(views, self.micro_batch, x, there)
        return masked, whole

    def derive(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the loss at chance, and the skill over it."""
        chance = float(means["log_n"])
        if not chance:
            raise ValueError("biot-contrastive was asked about batches of one window only, which contrast with nothing")
        return {"chance": chance, "skill": 1 - float(means["loss"]) / chance}
