"""Write checkpoints in the official layout, with the record that makes them usable and honest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from biot_bd.models.checkpoints.config import ARCHITECTURE
from biot_bd.models.checkpoints.layouts import HEAD
from biot_bd.models.checkpoints.provenance import Provenance, sidecar_of
from biot_bd.models.checkpoints.published import git_blob_id
from biot_bd.runs import atomic_path, write_json

FORMAT = "biot_bd checkpoint"


def save_checkpoint(
    model: Any,
    path: str | os.PathLike[str],
    trained_on: Provenance | Iterable[str],
    *,
    whole: bool = False,
    ch_names: Sequence[str] | None = None,
) -> Path:
    """Write the weights of a BIOT as the official code does, and ``<path>.json`` beside them.

    The sidecar holds what shapes do not show (heads, rate, hop, channels), what the model was
    trained on, and the git blob id of the weights, so that it cannot be taken for the record of
    another file.

    Parameters
    ----------
    model : BIOT
        E.g. ``classifier.module_``.
    path : path
        ``.safetensors`` writes that format, anything else a file of ``torch.save``.
    trained_on : Provenance or iterable of str
        What the model saw, also through the checkpoint it started from
        (``classifier.provenance_``), or the subjects of training and validation.
    whole : bool
        True writes the whole classifier (``biot.`` and ``classifier.clshead.1.``), False the
        encoder alone.
    ch_names : sequence of str, optional
        Channels in the order of the token table; those of ``model.token_names`` by default.

    Returns
    -------
    Path
        The file of weights.

    Raises
    ------
    TypeError
        It is no BIOT.
    ValueError
        ``ch_names`` does not fit the token table.

    See Also
    --------
    load_checkpoint : Reads it.
    biot_bd.save_pipeline : Saves a classifier with the steps before it.

    Examples
    --------
    >>> from biot_bd.models import BIOT, save_checkpoint
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=4, n_times=400, n_outputs=2
    ... )
    >>> path = save_checkpoint(model, "encoder.safetensors", ["my-set/01", "my-set/02"])
    >>> BIOT.from_checkpoint(path, n_outputs=3, n_times=400).load_report.head
    'fresh: the checkpoint has none'
    """
    path = Path(path)
    model = getattr(model, "_orig_mod", model)
    config = model.get_config() if hasattr(model, "get_config") else {}
    if any(key not in config for key in ARCHITECTURE) or bool(getattr(model, "architecture", None)):
        raise TypeError(f"only BIOT can be saved in the official layout, found {type(model).__name__}")
    if isinstance(trained_on, str):
        raise TypeError(f"trained_on must be a Provenance or a list of subjects, found the text {trained_on!r}")
    provenance = trained_on if isinstance(trained_on, Provenance) else Provenance(path.name).extended(trained_on)
    names = ch_names if ch_names is not None else getattr(model, "token_names", None)
    if names is not None and len(names) != model.n_channel_tokens:
        raise ValueError(f"{len(names)} ch_names for a table of {model.n_channel_tokens} channel tokens")
    tensors = _official(model, whole)
    with atomic_path(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(tensors, temporary)
        else:
            torch.save(tensors, temporary)
    sidecar = {
        "format": FORMAT,
        "blob_id": git_blob_id(path),
        "config": {key: config[key] for key in ARCHITECTURE},
        "ch_names": None if names is None else list(names),
        "trained_on": provenance.to_dict(),
    }
    write_json(sidecar_of(path), sidecar)
    return path


def _official(model: Any, whole: bool) -> dict[str, Tensor]:
    prefix = "biot." if whole else ""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    out = {f"{prefix}index": torch.arange(model.n_channel_tokens)}
    for key, value in state.items():
        if key.startswith("encoder."):
            out[prefix + key.removeprefix("encoder.")] = value
        elif whole:
            out[f"classifier.clshead.1.{key.removeprefix(HEAD)}"] = value
    return out
