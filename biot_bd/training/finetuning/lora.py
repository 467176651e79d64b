"""Low-rank adaptation through ``peft`` (the extra ``lora``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from biot_bd.training.finetuning.adapters import Adapter


class LoRA(Adapter):
    r"""Train low-rank updates of a few linear maps, and the head.

    Every other weight is frozen [1]_.

    A map :math:`W` becomes :math:`W + \frac{\alpha}{r} B A` with :math:`A` of shape (r, in),
    :math:`B` of shape (out, r), :math:`B = 0` at first.  When training ends the updates are added
    to the weights, so the fitted and the saved model is the plain one, with the same state dict.

    Parameters
    ----------
    r : int
        Rank.
    alpha : float
        Scale of the update.
    dropout : float
        Dropout in front of :math:`A`.
    targets : sequence of str
        Ends of the names of the linear maps; by default queries and values, which makes ``4 * 512
        * r * num_layers`` trainable numbers of a BIOT at ``embed_dim=256``, beside the head, or the
        one map of queries, keys and values that vision transformers have.

    See Also
    --------
    DoRA, AdaLoRA, IA3 : Other things to add to linear maps.
    LinearProbe : The head alone.
    Full : All weights.

    Notes
    -----
    Blocks with updates keep their dropout; blocks without are in eval mode, and norms with running
    statistics are so everywhere.

    References
    ----------
    .. [1] Hu, E. J. et al. (2022). LoRA: Low-Rank Adaptation of Large Language Models. ICLR.

    Examples
    --------
    >>> from biot_bd.training.finetuning import LoRA
    >>> LoRA(r=4).trains("encoder.to_q.lora_A.weight", in_head=False)
    True
    """

    limits = {"r": (1, math.inf), "alpha": (0.0, math.inf), "dropout": (0.0, 1.0)}

    def __init__(
        self,
        r: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        targets: Sequence[str] = ("to_q", "to_v", "qkv"),
    ) -> None:
        self.r = r
        self.alpha = alpha
        self.dropout = dropout
        self.targets = targets

    def config(self, module: nn.Module, found: list[str]) -> Any:
        """Return the configuration of ``peft`` for the linear maps of these paths."""
        from peft import LoraConfig

        scale: Any = float(self.alpha)  # peft says int, and takes any number
        return LoraConfig(r=int(self.r), lora_alpha=scale, lora_dropout=float(self.dropout), target_modules=found)
