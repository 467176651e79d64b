"""Low-rank adaptation through ``peft`` (the extra ``lora``)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from biot_bd.exceptions import MissingExtraError
from biot_bd.training.finetuning.base import Strategy


class LoRA(Strategy):
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

    needs_parts = True
    thaws_all = False
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

    def check(self, net: Any) -> None:
        """Raise if a parameter is out of range, ``peft`` is missing, or the model is to be
        compiled.

        Raises
        ------
        MissingExtraError
            ``peft`` is not installed.
        ValueError
            A parameter is out of range.
        """
        super().check(net)
        if isinstance(self.targets, str) or not self.targets:
            raise ValueError(f"LoRA: targets must be a list of ends of names such as ['to_q'], found {self.targets!r}")
        if net.compile:
            raise ValueError("LoRA changes the model after it was compiled; use compile=False")
        if find_spec("peft") is None:
            raise MissingExtraError("finetune='lora' needs the package peft: pip install 'biot-bd[lora]'")

    def prepare(self, module: nn.Module) -> bool:
        """Put the updates into the module.

        Returns
        -------
        bool
            False where they are in it already.

        Raises
        ------
        ValueError
            The module has no linear map of these names.
        """
        if any(".lora_A." in name for name, _ in module.named_parameters()):
            return False
        ends = tuple(self.targets)
        found = [n for n, m in module.named_modules() if isinstance(m, nn.Linear) and n.rpartition(".")[2] in ends]
        if not found:
            linear = sorted({n.rpartition(".")[2] for n, m in module.named_modules() if isinstance(m, nn.Linear)})
            raise ValueError(
                f"LoRA: {type(module).__name__} has no linear map called {' or '.join(ends)}; "
                f"its linear maps are called: {', '.join(linear) or 'it has none'}; give targets="
            )
        from peft import LoraConfig, inject_adapter_in_model

        trainable = {name for name, p in module.named_parameters() if p.requires_grad}
        scale: Any = float(self.alpha)  # peft says int, and takes any number
        config = LoraConfig(r=int(self.r), lora_alpha=scale, lora_dropout=float(self.dropout), target_modules=found)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inject_adapter_in_model(config, module)
        for name, parameter in module.named_parameters():  # peft froze all but the updates; freezing is done elsewhere
            parameter.requires_grad_("lora_" in name or name.replace(".base_layer.", ".") in trainable)
        return True

    def finish(self, module: nn.Module) -> None:
        """Add the updates to the weights and take the extra modules out."""
        for path, layer in [(n, m) for n, m in module.named_modules() if hasattr(m, "lora_A")]:
            with torch.no_grad():
                layer.merge()
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, layer.get_base_layer())

    def trains(self, name: str, in_head: bool) -> bool:
        """Return True for the head and for the updates."""
        return in_head or ".lora_" in name
