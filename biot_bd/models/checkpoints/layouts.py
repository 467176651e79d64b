"""Files of weights and the names they use: every published layout of BIOT becomes braindecode's.

============================  ==============  ========================================
layout                        encoder         heads
============================  ==============  ========================================
``encoder``                   no prefix       none
``official``                  ``biot.``       ``classifier.clshead.1.``
``supervised pretraining``    ``biot.``       ``classifier_<corpus>.clshead.1.``
``unsupervised pretraining``  ``biot.``       ``prediction.0.``, ``prediction.2.``
``braindecode``               ``encoder.``    ``final_layer.classification_head.``
============================  ==============  ========================================

Lightning nests them under ``state_dict`` and puts ``model.`` in front, ``DistributedDataParallel``
puts ``module.`` in front, ``torch.compile`` ``_orig_mod.``; any of these may be combined.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model
from torch import Tensor

from biot_bd.exceptions import CheckpointError, SavedPipelineError

ENCODER_MARK = "patch_embedding.projection.weight"
HEAD = "final_layer.classification_head."
CLASS_TOKEN = "encoder.class_token"
_PREFIX = re.compile(r"((?:(?:model|module|_orig_mod)\.)*)(biot\.|encoder\.|)")
_NESTED = ("state_dict", "model_state_dict", "model")
_HEADS = re.compile(r"(?:classifier\.clshead\.1|final_layer\.classification_head(?:\.1)?)\.(weight|bias)")
_CORPUS_HEAD = re.compile(r"classifier_(\w+)\.clshead\.1\.(weight|bias)")
_PROJECTION = re.compile(r"prediction\.[02]\.(weight|bias)")


@dataclass(frozen=True)
class Layout:
    """Tensors of a file under the names of :class:`biot_bd.models.BIOT`.

    Parameters
    ----------
    name : str
        Which layout the file has.
    prefix : str
        What stands in front of the encoder's names in the file.
    encoder : dict of str to Tensor
        ``"encoder."`` and the name in the encoder.
    head : dict of str to Tensor
        ``weight`` and ``bias`` of the last linear map; empty where the file has none.
    ignored : dict of str to str
        Entries of the file that a model does not take, and why.
    unexpected : tuple of str
        Entries that belong to no known layout.
    """

    name: str
    prefix: str
    encoder: dict[str, Tensor]
    head: dict[str, Tensor] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    unexpected: tuple[str, ...] = ()


# --- reading --------------------------------------------------------------------------------------


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict; nothing in the file is executed.

    Parameters
    ----------
    path : path
        A file of ``torch.save`` or safetensors, told apart by content.

    Returns
    -------
    dict of str to Tensor
        On the CPU; the state dict inside of a training checkpoint.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    CheckpointError
        It is damaged, no file of weights, or holds objects other than plain data and tensors.
    """
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(512)
    _refuse_look_alikes(path, start)
    tensors = _read_safetensors(path) if start[8:9] == b"{" else _read_torch(path)
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(
                f"{path}: {key} holds NaN or infinite values; the file is damaged or training diverged"
            )
    return tensors


def _refuse_look_alikes(path: Path, start: bytes) -> None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise CheckpointError(f"{path}: an empty file, not weights; download it again")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise CheckpointError(f"{path}: a web page, not weights; download the file itself (the link called 'raw')")
    if text.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path}: a pointer of git-lfs, not weights; run 'git lfs pull' or download the file itself"
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: damaged or truncated safetensors ({_line(error)}); download it again"
        ) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"(?:GLOBAL|Unsupported global:?|class) ([\w.]+\.[\w.]+)", str(error))
        if refused and "nsupported" in str(error):
            what = f"it names {refused[1]}, and only plain data and tensors are loaded; save its state dict alone"
        else:
            what = "damaged, or no file of weights; download it again"
        raise CheckpointError(f"{path}: {what}") from error
    # A damaged file makes the reader fail in many ways, all of them the file's fault.
    except Exception as error:
        raise CheckpointError(
            f"{path}: damaged, truncated or no file of weights ({type(error).__name__}: {_line(error)}); download it again"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds {type(content).__name__}, expected a state dict (names and tensors)")
    nested = (content.get(key) for key in _NESTED)
    mappings = (inner for inner in nested if isinstance(inner, Mapping))
    content = next((m for m in mappings if any(isinstance(value, Tensor) for value in m.values())), content)
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor) or not isinstance(key, str)]
    if others or not content:
        found = f"entries that are no tensors: {', '.join(others[:5])}" if others else "nothing"
        raise CheckpointError(f"{path}: expected a state dict, found {found}")
    return dict(content)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]


def fill_module(module: torch.nn.Module, path: Path, device: str = "cpu", prefix: str = "") -> None:
    """Load the weights of a saved pipeline into the module that they are of.

    ``prefix`` is what their names begin with in a file of several parts.  Raise SavedPipelineError
    if they are not of the module.
    """
    try:
        if prefix:
            with safe_open(path, framework="pt", device=device) as file:
                names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
                module.load_state_dict({name.removeprefix(prefix): file.get_tensor(name) for name in names})
        else:
            load_model(module, path, strict=True, device=device)
    except (RuntimeError, SafetensorError) as error:
        raise SavedPipelineError(f"{path}: the weights do not fit the model ({_line(error)})") from error
    for name, value in module.state_dict().items():
        # A sum is finite where all values are, and costs the least.
        if value.is_floating_point() and not bool(value.sum().isfinite()) and not bool(value.isfinite().all()):
            raise SavedPipelineError(f"{path}: {name} holds NaN or infinite values; the file is damaged")


# --- names ----------------------------------------------------------------------------------------


def map_layout(tensors: Mapping[str, Tensor], where: str) -> Layout:
    """Sort the tensors of a file by what they are.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        As :func:`read_tensors` returns them.
    where : str
        The file, for messages.

    Returns
    -------
    Layout

    Raises
    ------
    CheckpointError
        No encoder of BIOT, or several, is in it.
    """
    outer, inner = _encoder_prefix(tensors, where)
    prefix = outer + inner
    encoder: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    unexpected: list[str] = []
    for key, value in tensors.items():
        name = key.removeprefix(outer)
        if key == f"{prefix}index":
            if value.ndim != 1 or not torch.equal(value.long(), torch.arange(len(value))):
                raise CheckpointError(f"{where}: {key} is not 0, 1, ..., so its channel tokens are in another order")
            ignored[key] = "numbers of the channel tokens, 0, 1, ..."
        elif match := _HEADS.fullmatch(name):
            head[match[1]] = value
        elif match := _CORPUS_HEAD.fullmatch(name):
            ignored[key] = f"head of supervised pretraining ({match[1]})"
        elif _PROJECTION.fullmatch(name):
            ignored[key] = "projection of contrastive pretraining"
        elif key.startswith(prefix):
            encoder[f"encoder.{key.removeprefix(prefix)}"] = value
        else:
            unexpected.append(key)
    return Layout(_name(inner, outer, head, ignored), prefix, encoder, head, ignored, tuple(unexpected))


def _encoder_prefix(tensors: Mapping[str, Tensor], where: str) -> tuple[str, ...]:
    """Return what wraps the model, and the encoder's own prefix in it."""
    found = [key.removesuffix(ENCODER_MARK) for key in tensors if key.endswith(ENCODER_MARK)]
    if len(found) > 1:
        raise CheckpointError(f"{where}: holds {len(found)} encoders ({', '.join(found)}); keep one of them")
    if not found:
        some = ", ".join(list(tensors)[:4])
        raise CheckpointError(
            f"{where}: 0 of its {len(tensors)} tensors are of a BIOT encoder (no ...{ENCODER_MARK}; found {some}, ...)"
        )
    known = _PREFIX.fullmatch(found[0])
    if known is None:
        raise CheckpointError(
            f"{where}: the encoder lies under {found[0]!r}, which no published layout has; "
            "save it under 'biot.', 'encoder.' or no prefix"
        )
    return known.groups()


def _name(inner: str, outer: str, head: Mapping[str, Tensor], ignored: Mapping[str, str]) -> str:
    why = " ".join(ignored.values())
    if "head of supervised" in why:
        name = "supervised pretraining"
    elif "projection" in why:
        name = "unsupervised pretraining"
    elif inner == "encoder.":
        name = "braindecode"
    else:
        name = "official" if head or inner else "encoder"
    return f"{name} under {outer!r}" if outer else name
