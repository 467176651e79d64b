"""What adapters of ``peft`` have in common: put into a module, trained, merged into its weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import nn

from biot_bd.exceptions import MissingExtraError
from biot_bd.training.finetuning.base import Strategy


class Adapter(Strategy):
    """Train what an adapter adds to a few linear maps, and the head; all else is frozen.

    When training ends what was added is merged into the weights, so the fitted and the saved model
    is the plain one, with the same state dict.  A subclass has the parameter ``targets`` and the
    method ``config``.

    See Also
    --------
    LoRA, DoRA, AdaLoRA, IA3 : Those that have names.
    """

    needs_parts = True
    thaws_all = False
    marks: ClassVar[tuple[str, ...]] = ("lora_",)
    """How the names of added parameters begin."""
    targets: Sequence[str]

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
        name = type(self).__name__
        if isinstance(self.targets, str) or not self.targets:
            raise ValueError(
                f"{name}: targets must be a list of ends of names such as ['to_q'], found {self.targets!r}"
            )
        if net.compile:
            raise ValueError(f"{name} changes the model after it was compiled; use compile=False")
        if find_spec("peft") is None:
            raise MissingExtraError(f"finetune={name.lower()!r} needs the package peft: pip install 'biot-bd[lora]'")

    def config(self, module: nn.Module, found: list[str]) -> Any:
        """Return the configuration of ``peft`` for the linear maps of these paths."""
        raise NotImplementedError

    def prepare(self, module: nn.Module) -> bool:
        """Put the adapter into the module.

        Returns
        -------
        bool
            False where it is in it already.

        Raises
        ------
        ValueError
            The module has no linear map of these names.
        """
        if any(self.adds(name) for name, _ in module.named_parameters()):
            return False
        found = self.find(module, self.targets)
        if not found:
            linear = sorted({n.rpartition(".")[2] for n, m in module.named_modules() if isinstance(m, nn.Linear)})
            raise ValueError(
                f"{type(self).__name__}: {type(module).__name__} has no linear map called {' or '.join(self.targets)}; "
                f"its linear maps are called: {', '.join(linear) or 'it has none'}; give targets="
            )
        from peft import inject_adapter_in_model

        trainable = {name for name, p in module.named_parameters() if p.requires_grad}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inject_adapter_in_model(self.config(module, found), module)
        for name, parameter in module.named_parameters():  # peft froze all others; freezing is done elsewhere
            parameter.requires_grad_(self.adds(name) or name.replace(".base_layer.", ".") in trainable)
        return True

    @staticmethod
    def find(module: nn.Module, ends: Sequence[str]) -> list[str]:
        """Return the paths of the linear maps that end so, e.g. ``"to_q"`` or ``"feed.2"``."""
        wanted = tuple(f".{end}" for end in ends)
        return [n for n, m in module.named_modules() if isinstance(m, nn.Linear) and f".{n}".endswith(wanted)]

    def finish(self, module: nn.Module) -> None:
        """Merge what was added into the weights and take the extra modules out."""
        layers = [(n, m) for n, m in module.named_modules() if hasattr(m, "get_base_layer") and hasattr(m, "merge")]
        for path, layer in layers:
            with torch.no_grad():
                layer.merge()
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, layer.get_base_layer())

    def adds(self, name: str) -> bool:
        """Return whether a parameter is one of the adapter's."""
        return any(part.startswith(self.marks) for part in name.split("."))

    def trains(self, name: str, in_head: bool) -> bool:
        """Return True for the head and for what the adapter adds."""
        return in_head or self.adds(name)
