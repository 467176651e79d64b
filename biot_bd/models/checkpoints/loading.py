"""Checkpoints of BIOT: read from any published layout, checked to the last tensor, written in
the official one.

``load_checkpoint`` reads, :func:`build_model` makes the model, ``BIOT.from_checkpoint`` does both.
What tensor shapes do not show (heads, rate, hop, the order of channels) comes from the table of
known checkpoints, from the ``config.json`` of a folder, from the file's sidecar, or, for the sizes
of the published encoders, from the official code; a file of other sizes without such a record must
be given these facts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.exceptions import CheckpointError
from biot_bd.models.checkpoints.config import ARCHITECTURE, Facts, find_files, provenance_of, resolve_facts
from biot_bd.models.checkpoints.layouts import CLASS_TOKEN, HEAD, Layout, map_layout, read_tensors
from biot_bd.models.checkpoints.provenance import Provenance, sidecar_of
from biot_bd.models.checkpoints.published import CHANNELS_16, by_blob_id, git_blob_id, listed
from biot_bd.models.checkpoints.report import LoadReport
from biot_bd.models.checkpoints.resolve import check_published_file, find_source
from biot_bd.signals.names import canonical_name

_MAY_BE_FRESH = (CLASS_TOKEN, "encoder.channel_attention.")
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
    blob_id : str
        Git blob id of that file.
    published : str or None
        Name in ``KNOWN`` where the file is that checkpoint.
    layout : Layout
        Its tensors, float32, on the CPU.
    facts : Facts
        Constructor arguments that the weights need, and channels; ``num_heads`` and ``hop_length``
        are None where nobody recorded them.
    provenance : Provenance
        What it was trained on.
    notes : tuple of str
        See :class:`LoadReport`.
    """

    source: str
    file: Path
    blob_id: str
    published: str | None
    layout: Layout
    facts: Facts
    provenance: Provenance
    notes: tuple[str, ...]


# --- reading --------------------------------------------------------------------------------------


def load_checkpoint(source: str | os.PathLike[str]) -> LoadedCheckpoint:
    """Read a checkpoint.

    Parameters
    ----------
    source : str or path
        A name in :data:`biot_bd.models.KNOWN`, a file in a published layout, a folder in Hub layout
        or written by ``save_pipeline``, or a Hub repository ``owner/name``.

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
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=4, n_times=400, n_outputs=2
    ... )
    >>> checkpoint = load_checkpoint(save_checkpoint(model, "mine.ckpt", ["my-set/01"]))
    >>> (
    ...     checkpoint.layout.name,
    ...     checkpoint.facts.config["num_heads"],
    ...     checkpoint.provenance.saw(["my-set/01"]),
    ... )
    ('encoder', 2, ['my-set/01'])
    """
    path = find_source(source)
    file, facts = find_files(path)
    known = listed(source) or (by_blob_id(git_blob_id(path)) if path.is_file() else None)
    if known is not None and file.name == known.file:
        check_published_file(known, file)
    layout = map_layout(read_tensors(file), str(file))
    facts = resolve_facts(layout.encoder, facts, known, str(file))
    encoder, notes = _as_float32(layout.encoder)
    layout = replace(_with_fitting_head(layout, facts, known is not None, file), encoder=encoder)
    name = known.name if known else None
    return LoadedCheckpoint(str(source), file, git_blob_id(file), name, layout, facts, provenance_of(source), notes)


def _with_fitting_head(layout: Layout, facts: Facts, is_published: bool, file: Path) -> Layout:
    if is_published:  # the published encoders come without; a copy in a full model has a random one
        ignored = layout.ignored | {f"{HEAD}{key}": "head of a published encoder, never trained" for key in layout.head}
        return replace(layout, head={}, ignored=ignored)
    shapes = {key: list(value.shape) for key, value in layout.head.items()}
    weight, size = shapes.get("weight", []), facts.config["embed_dim"]
    if shapes and (len(weight) != 2 or weight[1] != size or shapes.get("bias") != weight[:1]):
        raise CheckpointError(
            f"{file}: the head {shapes} does not fit features of size {size}; expected weight [n, features] and bias [n]"
        )
    return replace(layout, head=_as_float32(layout.head)[0])


def _as_float32(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    other = sorted({str(t.dtype).removeprefix("torch.") for t in tensors.values() if t.dtype != torch.float32})
    notes = (f"converted from {', '.join(other)} to float32",) if other else ()
    return {key: value.detach().to(torch.float32) for key, value in tensors.items()}, notes


# --- building -------------------------------------------------------------------------------------


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
        Logits.  None: those of the checkpoint's head (one logit becomes two), 2 where it has none.
        A head of another size is replaced by a fresh one.
    ch_names : sequence of str, optional
        Names of the input channels; each takes the token of its name.
    model_class : type
        BIOT or a subclass.
    **parameters
        Further constructor arguments of :class:`biot_bd.models.BIOT`; ``channel_ids`` names tokens
        by number.  Those that the weights fix (heads, rate, hop, sizes) may be given, and are
        checked.

    Returns
    -------
    BIOT
        In training mode, with ``load_report`` and ``token_names``.

    Raises
    ------
    CheckpointError
        A parameter contradicts the checkpoint, a channel has no token, or a tensor is missing,
        unexpected or of another shape.
    """
    parameters = {key: value for key, value in parameters.items() if value is not None}
    if CLASS_TOKEN in checkpoint.layout.encoder:
        parameters.setdefault("class_token", True)
    parameters |= _checked_scales(checkpoint, parameters, model_class)
    config = _checked_config(checkpoint, parameters)
    ids, names, notes = _channel_tokens(checkpoint, ch_names, parameters)
    if parameters.get("class_token") and CLASS_TOKEN not in checkpoint.layout.encoder:
        notes += ("the class token is fresh: the checkpoint has none",)
    if "n_times" not in parameters and "input_window_seconds" not in parameters:
        parameters["n_times"] = int(10 * config["sfreq"])
    n_outputs, head, said = _choose_head(checkpoint, n_outputs)
    arguments = {**parameters, **config, "n_outputs": n_outputs, "n_chans": len(ids), "channel_ids": ids}
    model = model_class(**arguments)
    encoder, more = model.adapted(checkpoint.layout.encoder)
    checkpoint, notes = replace(checkpoint, layout=replace(checkpoint.layout, encoder=encoder)), notes + more
    report = _report(checkpoint, model, said, dict(zip(names, ids, strict=True)), config, notes)
    if not report.complete:
        error = CheckpointError(f"{checkpoint.file}: {report.problems()}")
        error.report = report  # type: ignore[attr-defined]
        raise error
    rest = {k: v for k, v in model.state_dict().items() if not k.startswith("encoder.") or k.startswith(_MAY_BE_FRESH)}
    model.load_state_dict({**rest, **encoder, **head}, strict=True)
    model.load_report, model.token_names = report, checkpoint.facts.ch_names
    return model


def _checked_scales(checkpoint: LoadedCheckpoint, given: Mapping[str, Any], model_class: Any) -> dict[str, Any]:
    """Return what the weights of a MultiScaleBIOT need more than those of BIOT; raise where the
    model has other scales.
    """
    scales = checkpoint.facts.scales
    if not scales:
        return {}
    if not model_class.architecture:
        raise CheckpointError(
            f"{checkpoint.source}: weights of a MultiScaleBIOT, which {model_class.__name__} cannot take; "
            "use module='multi-scale-biot', or MultiScaleBIOT.from_checkpoint"
        )
    factors = given.get("scale_factors")
    if factors is not None and list(factors) != list(scales["scale_factors"]):
        raise CheckpointError(
            f"{checkpoint.source}: scale_factors={tuple(factors)} but the checkpoint needs {tuple(scales['scale_factors'])}"
        )
    return {**scales, **{key: value for key, value in given.items() if key in scales}}


def _checked_config(checkpoint: LoadedCheckpoint, given: Mapping[str, Any]) -> dict[str, Any]:
    config = dict(checkpoint.facts.config)
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
        raise CheckpointError(f"{checkpoint.source}: {'; '.join(wrong)} (known from: {checkpoint.facts.known_from})")
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
    size, known = int(checkpoint.facts.config["n_channel_tokens"]), checkpoint.facts.ch_names
    n_chans = parameters.get("n_chans")
    if n_chans is None and parameters.get("chs_info") is not None:
        n_chans = len(parameters["chs_info"])
    if ch_names is not None and n_chans is not None and len(ch_names) != n_chans:
        raise CheckpointError(f"{checkpoint.source}: {len(ch_names)} channel names for n_chans={n_chans}")
    given = parameters.get("channel_ids")
    n = n_chans if n_chans is not None or ch_names is None else len(ch_names)
    if given is not None:
        ids = [int(i) for i in given]
        if n is not None and len(ids) != n:
            raise CheckpointError(f"{checkpoint.source}: {len(ids)} channel_ids for {n} channels")
        notes: tuple[str, ...] = ("channel tokens as given by channel_ids",)
    elif ch_names is not None and known is not None:
        ids, notes = _tokens_by_name(checkpoint.source, list(ch_names), known), ()
    else:
        ids = list(range(size if n is None else n))
        biot_order = [*map(_canonical, (known or ())[:16])] == [*map(_canonical, CHANNELS_16)]
        if len(ids) == size:
            notes = () if n_chans is None else ("channels without names: taken in the token table's order",)
        elif ch_names is None and len(ids) == 16 and biot_order:
            notes = ("16 channels without names: taken in the order of BIOT's 16",)
        else:
            raise CheckpointError(
                f"{checkpoint.source}: has tokens for {size} channels, and the data have {len(ids)} "
                f"{'' if known else 'that cannot be matched '}without names; "
                "say which token each channel takes with channel_ids="
            )
    return ids, list(ch_names) if ch_names is not None else [_token_name(known, i) for i in ids], notes


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
    head = checkpoint.layout.head
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
    found = {key: tuple(value.shape) for key, value in checkpoint.layout.encoder.items()}
    wanted = {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if key.startswith("encoder.") and (key in found or not key.startswith(_MAY_BE_FRESH))
    }
    taken = [key for key in wanted if found.get(key) == wanted[key]]
    if not head.startswith("fresh"):
        taken += [f"{HEAD}{key}" for key in ("weight", "bias")]
    return LoadReport(
        source=checkpoint.source,
        layout=checkpoint.layout.name,
        blob_id=checkpoint.blob_id,
        published=checkpoint.published,
        matched=tuple(taken),
        missing=tuple(key for key in wanted if key not in found),
        unexpected=tuple(checkpoint.layout.prefix + key.removeprefix("encoder.") for key in found if key not in wanted)
        + checkpoint.layout.unexpected,
        shapes={key: (found[key], wanted[key]) for key in wanted if key in found and found[key] != wanted[key]},
        ignored=checkpoint.layout.ignored,
        head=head,
        channels=channels,
        config={**config, "known_from": checkpoint.facts.known_from},
        provenance=checkpoint.provenance,
        notes=checkpoint.notes + notes,
    )
