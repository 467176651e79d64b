"""Checkpoints of BIOT: read from any published layout, checked to the last tensor, written in the official one.

``load_checkpoint`` reads, :func:`build_model` makes the model, ``BIOT.from_checkpoint`` does both.  What tensor
shapes do not show (heads, rate, hop, the order of channels) comes from the table of known checkpoints, from the
``config.json`` of a folder, from the file's sidecar, or, for the sizes of the published encoders, from the
official code; a file of other sizes without such a record must be given these facts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.exceptions import CheckpointError
from biot_bd.models.checkpoints.config import ARCHITECTURE, Facts, find_files, provenance_of, resolve_facts
from biot_bd.models.checkpoints.layouts import HEAD, map_layout, read_tensors
from biot_bd.models.checkpoints.provenance import Provenance, sidecar_of
from biot_bd.models.checkpoints.published import CHANNELS_16, KNOWN, git_blob_id
from biot_bd.models.checkpoints.report import LoadReport
from biot_bd.models.checkpoints.resolve import check_published_file, find_source, published
from biot_bd.signals.names import canonical_name

_REMEDY = {
    "sfreq": "resample the windows, e.g. Resampler(200)",
    "num_heads": "leave num_heads out",
    "hop_length": "leave hop_length out",
}


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint in memory, under the names of :class:`biot_bd.models.BIOT`.

    Parameters
    ----------
    source : str
        As it was given.
    file : Path
        The file of weights.
    state_dict : dict of str to Tensor
        The encoder, float32, on the CPU.
    head : dict of str to Tensor
        ``weight`` and ``bias`` of the last linear map; empty where the checkpoint has none.
    config : dict
        Constructor arguments that the weights need; ``num_heads`` and ``hop_length`` are None where nobody
        recorded them.
    config_from : str
        Where these are known from.
    ch_names : tuple of str or None
        Channels in the order of the token table.
    provenance : Provenance
    layout, blob_id, published, ignored, unexpected, notes
        See :class:`LoadReport`.
    prefix : str
        What stands in front of the encoder's names in the file.
    """

    source: str
    file: Path
    state_dict: dict[str, Tensor]
    head: dict[str, Tensor]
    config: dict[str, Any]
    config_from: str
    ch_names: tuple[str, ...] | None
    provenance: Provenance
    layout: str
    blob_id: str
    published: str | None = None
    ignored: dict[str, str] = field(default_factory=dict)
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def biot_order(self) -> bool:
        """Whether the token table begins with BIOT's 16 channels in their order."""
        first = (self.ch_names or ())[: len(CHANNELS_16)]
        return [_canonical(name) for name in first] == [_canonical(name) for name in CHANNELS_16]


# --- reading ----------------------------------------------------------------------------------------------


def load_checkpoint(source: str | os.PathLike[str]) -> LoadedCheckpoint:
    """Read a checkpoint.

    Parameters
    ----------
    source : str or path
        A name in :data:`KNOWN`, a file in a published layout, a folder in Hub layout or written by
        ``save_pipeline``, or a Hub repository ``owner/name``.

    Returns
    -------
    LoadedCheckpoint

    Raises
    ------
    FileNotFoundError
        There is no such source.
    OSError
        It must be downloaded and cannot be; see :class:`biot_bd.exceptions.HubError`.
    CheckpointError
        The file is damaged or no BIOT; the message names it in one line.
    ValueError
        A file under a published name has other content.

    See Also
    --------
    biot_bd.models.BIOT.from_checkpoint : Reads and builds in one step.
    save_checkpoint : Writes one.

    Examples
    --------
    >>> from biot_bd.models import BIOT, load_checkpoint, save_checkpoint
    >>> model = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=4, n_times=400, n_outputs=2)
    >>> checkpoint = load_checkpoint(save_checkpoint(model, "mine.ckpt", ["my-set/01"]))
    >>> checkpoint.layout, checkpoint.config["num_heads"], checkpoint.provenance.saw(["my-set/01"])
    ('encoder', 2, ['my-set/01'])
    """
    path = find_source(source)
    file, facts = find_files(path)
    name = published(source, path)
    if name is not None and file.name == KNOWN[name].file:
        check_published_file(name, file)
    layout = map_layout(read_tensors(file), str(file))
    facts = resolve_facts(layout.encoder, facts, KNOWN[name] if name else None, str(file))
    head, ignored = _head_of(layout.head, dict(layout.ignored), facts, name, file)
    state_dict, notes = _as_float32(layout.encoder)
    return LoadedCheckpoint(
        source=str(source),
        file=file,
        state_dict=state_dict,
        head=_as_float32(head)[0],
        config=facts.config,
        config_from=facts.known_from,
        ch_names=facts.ch_names,
        provenance=provenance_of(source),
        layout=layout.name,
        blob_id=git_blob_id(file),
        published=name,
        ignored=ignored,
        unexpected=layout.unexpected,
        notes=notes,
        prefix=layout.prefix,
    )


def _head_of(
    head: dict[str, Tensor], ignored: dict[str, str], facts: Facts, name: str | None, file: Path
) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not head:
        return {}, ignored
    if name is not None:  # the published encoders come without; a copy in a full model has a random one
        return {}, ignored | {f"{HEAD}{key}": "head of a published encoder, never trained" for key in head}
    weight, bias = head.get("weight"), head.get("bias")
    fits = weight is not None and bias is not None and weight.ndim == 2 and bias.shape == weight.shape[:1]
    if not fits or weight.shape[1] != facts.config["embed_dim"]:  # type: ignore[union-attr]
        shapes = {key: list(value.shape) for key, value in head.items()}
        raise CheckpointError(
            f"{file}: the head {shapes} does not fit features of size {facts.config['embed_dim']}; "
            "expected weight [n, features] and bias [n]"
        )
    return head, ignored


def _as_float32(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    other = sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.dtype != torch.float32})
    notes = (f"converted from {', '.join(other)} to float32",) if other else ()
    return {key: value.detach().to(torch.float32) for key, value in tensors.items()}, notes


# --- building ---------------------------------------------------------------------------------------------


def build_model(
    checkpoint: LoadedCheckpoint,
    n_outputs: int | None = None,
    *,
    ch_names: Sequence[str] | None = None,
    model_class: Any,
    **parameters: Any,
) -> Any:
    """Build a BIOT with the weights of a checkpoint.

    Parameters
    ----------
    checkpoint : LoadedCheckpoint
    n_outputs : int, optional
        Logits.  None: those of the checkpoint's head (one logit becomes two), 2 where it has none.  A head of
        another size is replaced by a fresh one.
    ch_names : sequence of str, optional
        Names of the input channels; each takes the token of its name.
    model_class : type
        BIOT or a subclass.
    **parameters
        Further constructor arguments of :class:`biot_bd.models.BIOT`; ``channel_ids`` names tokens by number.
        Those that the weights fix (heads, rate, hop, sizes) may be given, and are checked.

    Returns
    -------
    BIOT
        In training mode, with ``load_report`` and ``token_names``.

    Raises
    ------
    CheckpointError
        A parameter contradicts the checkpoint, a channel has no token, or a tensor is missing, unexpected or
        of another shape.
    """
    parameters = {key: value for key, value in parameters.items() if value is not None}
    config = _checked_config(checkpoint, parameters)
    ids, names, notes = _channel_tokens(checkpoint, ch_names, parameters)
    if "n_times" not in parameters and "input_window_seconds" not in parameters:
        parameters["n_times"] = int(10 * config["sfreq"])
    n_outputs, head, said = _choose_head(checkpoint, n_outputs)
    arguments = {**parameters, **config, "n_outputs": n_outputs, "n_chans": len(ids), "channel_ids": ids}
    model = model_class(**arguments)
    report = _report(checkpoint, model, said, dict(zip(names, ids, strict=True)), config, notes)
    if not report.complete:
        error = CheckpointError(f"{checkpoint.file}: {report.problems()}")
        error.report = report  # type: ignore[attr-defined]
        raise error
    rest = {key: value for key, value in model.state_dict().items() if not key.startswith("encoder.")}
    model.load_state_dict({**rest, **checkpoint.state_dict, **head}, strict=True)
    model.load_report, model.token_names = report, checkpoint.ch_names
    return model


def _checked_config(checkpoint: LoadedCheckpoint, given: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(checkpoint.config)
    wrong = []
    for key in ARCHITECTURE:
        if key not in given:
            continue
        if config.get(key) is None:
            config[key] = given[key]
        elif float(given[key]) != float(config[key]):
            text = f"{key}={given[key]:g} but the checkpoint needs {config[key]:g}"
            wrong.append(f"{text} ({_REMEDY[key]})" if key in _REMEDY else text)
    if wrong:
        raise CheckpointError(f"{checkpoint.source}: {'; '.join(wrong)} (known from: {checkpoint.config_from})")
    unknown = [key for key in ARCHITECTURE if config.get(key) is None]
    if unknown:
        raise CheckpointError(
            f"{checkpoint.source}: nothing records {' and '.join(unknown)} of these weights, and shapes do not show it; "
            f'give {", ".join(f"{key}=" for key in unknown)}, or write {{"config": {{...}}}} into {sidecar_of(checkpoint.file)}'
        )
    return config


def _channel_tokens(
    checkpoint: LoadedCheckpoint, ch_names: Sequence[str] | None, parameters: Mapping[str, Any]
) -> tuple[list[int], list[str], tuple[str, ...]]:
    """Return token and name of each input channel, and what to say of it."""
    size, known = int(checkpoint.config["n_channel_tokens"]), checkpoint.ch_names
    n_chans = parameters.get("n_chans")
    if n_chans is None and parameters.get("chs_info") is not None:
        n_chans = len(parameters["chs_info"])
    if ch_names is not None and n_chans is not None and len(ch_names) != n_chans:
        raise CheckpointError(f"{checkpoint.source}: {len(ch_names)} channel names for n_chans={n_chans}")
    given = parameters.get("channel_ids")
    if given is not None:
        ids = [int(i) for i in given]
        expected = n_chans if n_chans is not None else len(ids if ch_names is None else ch_names)
        if len(ids) != expected:
            raise CheckpointError(f"{checkpoint.source}: {len(ids)} channel_ids for {expected} channels")
        names = list(ch_names) if ch_names is not None else [_token_name(known, i) for i in ids]
        return ids, names, ("channel tokens as given by channel_ids",)
    if ch_names is not None and known is not None:
        return _tokens_by_name(checkpoint.source, list(ch_names), known), list(ch_names), ()
    n = n_chans if n_chans is not None else len(ch_names) if ch_names is not None else size
    names = list(ch_names) if ch_names is not None else [_token_name(known, i) for i in range(n)]
    if n == size:
        return (
            list(range(n)),
            names,
            () if n_chans is None else ("channels without names: taken in the token table's order",),
        )
    if ch_names is None and n == 16 and checkpoint.biot_order:
        return list(range(n)), names, ("16 channels without names: taken in the order of BIOT's 16",)
    raise CheckpointError(
        f"{checkpoint.source}: has tokens for {size} channels, and the data have {n} {'' if known else 'that cannot be matched '}"
        "without names; say which token each channel takes with channel_ids="
    )


def _token_name(known: tuple[str, ...] | None, token: int) -> str:
    return known[token] if known is not None and 0 <= token < len(known) else f"token {token}"


def _tokens_by_name(source: str, wanted: list[str], known: tuple[str, ...]) -> list[int]:
    tokens = {_canonical(name): i for i, name in enumerate(known)}
    unknown = [name for name in wanted if _canonical(name) not in tokens]
    if unknown:
        raise CheckpointError(
            f"{source}: no channel token for {', '.join(unknown)}; there are {', '.join(known)}: "
            "put a MontageMapper in front, drop these channels, or name tokens with channel_ids="
        )
    ids = [tokens[_canonical(name)] for name in wanted]
    twice = sorted({wanted[i] for i, token in enumerate(ids) if ids.count(token) > 1})
    if twice:
        raise CheckpointError(f"{source}: the channels {', '.join(twice)} stand for one token; keep one of them")
    return ids


def _canonical(name: str) -> str:
    return canonical_name(name) or name.strip().upper()


def _choose_head(checkpoint: LoadedCheckpoint, n_outputs: int | None) -> tuple[int, dict[str, Tensor], str]:
    """Return the number of logits, the tensors of the head (none: fresh) and what to say of it."""
    head = checkpoint.head
    if not head:
        return (2 if n_outputs is None else n_outputs), {}, "fresh: the checkpoint has none"
    size = len(head["bias"])
    if n_outputs == size or (n_outputs is None and size > 1):
        return size, {f"{HEAD}{key}": value for key, value in head.items()}, f"of the checkpoint ({size} logits)"
    if size == 1 and n_outputs in (None, 2):
        # softmax([0, z])[1] = sigmoid(z): the same probability of class 1.
        two = {f"{HEAD}{key}": torch.cat([torch.zeros_like(value), value]) for key, value in head.items()}
        return 2, two, "of the checkpoint (its one logit z became the two logits 0, z)"
    return int(n_outputs or 2), {}, f"fresh: n_outputs={n_outputs}, and that of the checkpoint has {size}"


def _report(
    checkpoint: LoadedCheckpoint,
    model: nn.Module,
    head: str,
    channels: dict[str, int],
    config: dict[str, Any],
    notes: tuple[str, ...],
) -> LoadReport:
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items() if key.startswith("encoder.")}
    found = {key: tuple(value.shape) for key, value in checkpoint.state_dict.items()}
    taken = [key for key in wanted if found.get(key) == wanted[key]]
    if not head.startswith("fresh"):
        taken += [f"{HEAD}{key}" for key in ("weight", "bias")]
    return LoadReport(
        source=checkpoint.source,
        layout=checkpoint.layout,
        blob_id=checkpoint.blob_id,
        published=checkpoint.published,
        matched=tuple(taken),
        missing=tuple(key for key in wanted if key not in found),
        unexpected=tuple(checkpoint.prefix + key.removeprefix("encoder.") for key in found if key not in wanted)
        + checkpoint.unexpected,
        shapes={key: (found[key], wanted[key]) for key in wanted if key in found and found[key] != wanted[key]},
        ignored=checkpoint.ignored,
        head=head,
        channels=channels,
        config={**config, "known_from": checkpoint.config_from},
        provenance=checkpoint.provenance,
        notes=checkpoint.notes + notes,
    )
