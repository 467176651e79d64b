"""Rescaled activations, (IA)3, through ``peft`` (the extra ``lora``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from biot_bd.training.finetuning.adapters import Adapter


class IA3(Adapter):
    """Train factors on keys, values and inner activations, and the head.

    Every other weight is frozen [1]_.  When training ends the factors are multiplied into the
    weights, so the fitted and the saved model is the plain one, with the same state dict.

    Parameters
    ----------
    targets : sequence of str
        Ends of the names of linear maps whose outputs get a factor each; by default keys and
        values, or the one map of queries, keys and values that vision transformers have.
    feedforward : sequence of str
        Ends of the names of linear maps whose inputs get a factor each: the second of a feedforward
        block.  A BIOT at ``embed_dim=256`` has ``(256 + 256 + 1024) * num_layers`` of both.

    See Also
    --------
    LoRA : Updates of low rank in place of factors.

    Notes
    -----
    Factors are 1 at first, and take no weight decay, which would pull them to 0.

    References
    ----------
    .. [1] Liu, H. et al. (2022). Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper
           than In-Context Learning. NeurIPS.

    Examples
    --------
    >>> from biot_bd.training.finetuning import IA3
    >>> IA3().trains("encoder.to_v.ia3_l.default", in_head=False)
    True
    """

    marks: ClassVar[tuple[str, ...]] = ("ia3_",)

    def __init__(
        self,
        targets: Sequence[str] = ("to_k", "to_v", "qkv"),
        feedforward: Sequence[str] = ("w2", "linear2", "feed.2"),
    ) -> None:
        self.targets = targets
        self.feedforward = feedforward

    def check(self, net: Any) -> None:
        """Raise as :meth:`Adapter.check` does, and where ``feedforward`` is a text."""
        super().check(net)
        if isinstance(self.feedforward, str):
            raise ValueError(f"IA3: feedforward must be a list of ends of names, found {self.feedforward!r}")

    def config(self, module: nn.Module, found: list[str]) -> Any:
        """Return the configuration of ``peft`` for the linear maps of these paths."""
        from peft import IA3Config

        inner = self.find(module, self.feedforward) if self.feedforward else []
        return IA3Config(target_modules=[*found, *inner], feedforward_modules=inner)

    def decays(self, name: str) -> bool:
        """Return False for the factors."""
        return not self.adds(name)
