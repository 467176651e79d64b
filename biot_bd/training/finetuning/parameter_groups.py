"""Split a model into head and blocks, and say at which rates they learn and which weights decay."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from braindecode.models import BIOT as BraindecodeBIOT
from torch import nn

from biot_bd.exceptions import ParameterGroupError
from biot_bd.training.finetuning.base import FinetuneOption, Rate

HEAD = "final_layer"
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_TOKENS = re.compile(r"(^|_)(pos|position|positional|cls|token|tokens|pe)(_|$)")


@dataclass(frozen=True)
class Part:
    """A head or a block.

    Parameters
    ----------
    name : str
        ``"head"``, ``"block-3"``, ``"embedding"``, or a path in the model.
    depth : int
        0 is the head, 1 the last block; the first block has the largest depth.
    modules : tuple of str
        Paths of its modules.
    parameters : tuple of str
        Names of its parameters, as in ``named_parameters()``.
    """

    name: str
    depth: int
    modules: tuple[str, ...]
    parameters: tuple[str, ...]


def model_parts(module: nn.Module) -> list[Part]:
    """Split a model into its head and its blocks.

    BIOT (also braindecode's) has the head ``final_layer``, one block a transformer layer, and the
    embedding of frames, channels and positions as first block; the channel attention of
    MultiScaleBIOT is a block between.  Other models need a ``final_layer``
    with parameters, as braindecode's have; what else they hold are the blocks, in order of
    registration: a lone child is opened, and so is a list or sequence, once.  Norms and what has no
    parameters (dropout, pooling) go with the block in front of them.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    list of Part
        By depth: the head, then the blocks from the last to the first.  Every parameter is in one
        part.

    Raises
    ------
    ParameterGroupError
        There is no ``final_layer`` with parameters, or nothing but it.
    """
    head = _head(module)
    blocks = _biot_blocks(module) if isinstance(module, BraindecodeBIOT) else _blocks(module, head)
    names = [name for name, _ in module.named_parameters()]
    owners = {name: _owner(name, blocks) for name in names if not _inside(name, (head,))}
    if not owners:
        raise ParameterGroupError(
            f"{type(module).__name__} has no parameters outside {head!r}: there is nothing to freeze; use finetune='full'"
        )
    parts = [Part("head", 0, (head,), tuple(name for name in names if name not in owners))]
    for depth, number in enumerate(reversed(range(len(blocks))), 1):
        title, modules = blocks[number]
        parts.append(Part(title, depth, modules, tuple(name for name, owner in owners.items() if owner == number)))
    return parts


def whole_model(module: nn.Module) -> list[Part]:
    """Return the whole model as one part, for recipes that need no split."""
    return [Part("model", 0, ("",), tuple(name for name, _ in module.named_parameters()))]


def _biot_blocks(module: Any) -> list[tuple[str, tuple[str, ...]]]:
    layers = "encoder.transformer.layers.layers"
    count = len(module.get_submodule(layers))
    embedding = ("encoder.patch_embedding", "encoder.channel_tokens", "encoder.positional_encoding")
    blocks: list[tuple[str, tuple[str, ...]]] = [("embedding", embedding)]
    if getattr(module.encoder, "channel_attention", None) is not None:
        blocks.append(("channel-attention", ("encoder.channel_attention",)))
    return [*blocks, *((f"block-{i + 1}", (f"{layers}.{i}",)) for i in range(count))]


def _head(module: nn.Module) -> str:
    """Return the path of the outermost ``final_layer`` that has parameters."""
    found = [path for path, child in module.named_modules() if path.rpartition(".")[2] == HEAD and _has_weights(child)]
    if not found:
        raise ParameterGroupError(
            f"{type(module).__name__} cannot be split into a head and blocks: it has no {HEAD!r} with parameters; "
            "use finetune='full' without options by layer, or a model whose last layer is called final_layer"
        )
    return min(found, key=lambda path: path.count("."))


def _blocks(module: nn.Module, head: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return name and module paths of each block, first to last."""
    found: list[tuple[str, list[str]]] = []
    leading: list[str] = []
    for path, child in _children(module, "", head, closed=False):
        if found and (isinstance(child, _NORMS) or not _has_weights(child)):
            found[-1][1].append(path)
        elif _has_weights(child):
            found.append((path, [*leading, path]))
            leading = []
        else:
            leading.append(path)
    return [(path.replace(".", "-"), tuple(paths)) for path, paths in found] or [("model", ())]


def _children(module: nn.Module, path: str, head: str, closed: bool) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that blocks are made of, with their paths.

    ``closed``: inside a list that was opened.
    """
    children = [(f"{path}.{name}".lstrip("."), child) for name, child in module.named_children()]
    children = [(name, child) for name, child in children if name != head]
    alone = sum(_has_weights(child) for _, child in children) == 1
    for name, child in children:
        several = isinstance(child, (nn.Sequential, nn.ModuleList)) and not closed
        own = any(True for _ in child.parameters(recurse=False))
        holds_head = _inside(head, (name,))
        if holds_head or ((alone or several) and not own and any(_has_weights(c) for c in child.children())):
            yield from _children(child, name, head, closed or several)
        else:
            yield name, child


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _inside(name: str, paths: tuple[str, ...]) -> bool:
    return any(not path or name == path or name.startswith(f"{path}.") for path in paths)


def _owner(name: str, blocks: list[tuple[str, tuple[str, ...]]]) -> int:
    """Return the block of a parameter.

    What lies outside of all of them (a class token) belongs to the first.
    """
    return next((i for i, (_, paths) in enumerate(blocks) if _inside(name, paths)), 0)


def undecayed(module: nn.Module) -> set[str]:
    """Return the parameters that weight decay should leave alone.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    set of str
        Biases, weights of norms (all parameters with at most one dimension), tables of embeddings
        (BIOT's channel tokens), and parameters called as positions or tokens.
    """
    found = set()
    for path, child in module.named_modules():
        for name, parameter in child.named_parameters(recurse=False):
            if parameter.ndim <= 1 or isinstance(child, nn.Embedding) or _TOKENS.search(name):
                found.add(f"{path}.{name}" if path else name)
    return found


class LayerDecay(Rate):
    r"""Layer-wise learning-rate decay.

    A part at depth :math:`d` learns with :math:`\lambda^d` times the rate [1]_.

    Parameters
    ----------
    decay : float
        :math:`\lambda`, above 0, at most 1.  The head (depth 0) keeps the full rate, BIOT's
        embedding has depth ``num_layers + 1``.  0.65 is what LaBraM and EEGPT use.

    See Also
    --------
    Discriminative : Two rates only.
    Rate : What it is a kind of.

    References
    ----------
    .. [1] Bao, H. et al. (2022). BEiT: BERT Pre-Training of Image Transformers. ICLR.

    Examples
    --------
    >>> from biot_bd.training.finetuning import LayerDecay
    >>> [LayerDecay(0.5).factor(depth, n_blocks=2) for depth in range(3)]
    [1.0, 0.5, 0.25]
    """

    limits = {"decay": (1e-12, 1.0)}

    def __init__(self, decay: float = 0.65) -> None:
        self.decay = decay

    def factor(self, depth: int, n_blocks: int) -> float:
        """Return ``decay ** depth``."""
        return float(self.decay**depth)


class Discriminative(Rate):
    """Two learning rates: the head at ``lr``, everything else at a part of it.

    Parameters
    ----------
    encoder : float
        Factor on the rate of all blocks.

    See Also
    --------
    LayerDecay : A rate for each block.
    TwoStage : Two rates, one after the other.

    References
    ----------
    .. [1] Howard, J., Ruder, S. (2018). Universal Language Model Fine-tuning for Text
           Classification. ACL.

    Examples
    --------
    >>> from biot_bd.training.finetuning import Discriminative
    >>> [Discriminative(0.1).factor(depth, n_blocks=2) for depth in range(3)]
    [1.0, 0.1, 0.1]
    """

    limits = {"encoder": (0.0, math.inf)}

    def __init__(self, encoder: float = 0.1) -> None:
        self.encoder = encoder

    def factor(self, depth: int, n_blocks: int) -> float:
        """Return 1 for the head and ``encoder`` for the blocks."""
        return 1.0 if depth == 0 else float(self.encoder)


class NoDecay(FinetuneOption):
    """Weight decay on matrices only: not on biases, norms, channel tokens and positions.

    See Also
    --------
    LayerDecay : Lower rates, where this is less decay.
    biot_bd.BIOTClassifier : Takes it as an option of ``finetune``.

    Examples
    --------
    >>> from biot_bd import BIOTClassifier
    >>> BIOTClassifier(finetune=["full", "no-decay"], optimizer__weight_decay=0.01).finetune
    ['full', 'no-decay']
    """
