"""Whether the sizes that a description names are those of its weights: asked before anything is
built, of the file's header alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from biot_bd.exceptions import SavedPipelineError
from biot_bd.models.checkpoints.pipeline_folder import prefix_of

MOST = {"n_times": 10_000_000, "sfreq": 1_000_000, "hop_length": 10_000_000, "max_seq_len": 10_000_000}
MOST_OTHERS = 100_000
"""Sizes of a network above which building would take a machine's memory whatever the weights."""
MOST_SAMPLES = 2**28  # a window of 1 GiB in float32
COUNTS = ("embed_dim", "num_heads", "num_layers", "n_channel_tokens", "n_outputs", "hop_length", "n_chans", "n_times")
"""Of which a network has at least one."""
_LAYER = re.compile(r"encoder\.transformer\.layers\.layers\.(\d+)\..*")
_ENCODER, _HEAD = "encoder.patch_embedding.projection.weight", "final_layer.classification_head.weight"
_TOKENS = "encoder.channel_tokens.weight"
_OF_BIOT = ("embed_dim", "num_layers", "n_channel_tokens", "n_outputs")


def check_sizes(spec: Mapping[str, Any], weights: Path) -> None:
    """Raise where a classifier's description asks for a network that its weights are not of.

    Parameters
    ----------
    spec : mapping
        Step of the classifier, in the newest format; the kinds of its values were checked.
    weights : Path
        Its file.

    Raises
    ------
    SavedPipelineError
        The message names the size, its place and both numbers; or the file is no safetensors.
    """
    info = spec["fitted"]["input_info"]
    for where, name, value in _declared(spec):
        most = MOST.get(name, MOST_OTHERS)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if not -most <= value <= most:
            raise SavedPipelineError(f"{where} is {value!r}, and no network of at most {most:,} has it")
        if name in COUNTS and value < 1:
            raise SavedPipelineError(f"{where} must be at least 1, found {value!r}")
    if info["sfreq"] is not None and not info["sfreq"] > 0:
        raise SavedPipelineError(f"input_info.sfreq must be a positive number or null, found {info['sfreq']!r}")
    names = info["ch_names"]
    if names is not None and len(names) != info["n_chans"]:
        raise SavedPipelineError(f"input_info.n_chans is {info['n_chans']}, but there are {len(names)} ch_names")
    if info["n_chans"] * info["n_times"] > MOST_SAMPLES:
        raise SavedPipelineError(
            f"input_info names windows of {info['n_chans']} channels and {info['n_times']} samples, above {MOST_SAMPLES:,} values"
        )
    found = _sizes_of_biot(weight_shapes(weights, prefix_of(spec)))
    for where, name, value in _declared(spec):
        if name in found and value is not None and found[name] != value:
            raise SavedPipelineError(f"{where} is {value!r}, but the weights in {weights.name} have {found[name]}")
    config = spec["fitted"].get("module_config") or {}
    for name in COUNTS:
        given, built = spec["params"].get(f"module__{name}"), config.get(name)
        if given is not None and built is not None and given != built:
            raise SavedPipelineError(f"parameter module__{name} is {given!r}, but module_config.{name} is {built!r}")


def weight_shapes(path: Path, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a file of safetensors whose name begins with ``prefix``,
    by the rest of its name; the tensors are not read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise SavedPipelineError(f"{path}: damaged weights ({error}); copy the folder again") from error


def _declared(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield place, name and value of the numbers that decide how large a network becomes."""
    for key, value in spec["params"].items():
        if key.startswith(("module__", "criterion__")):
            yield f"parameter {key}", key.rpartition("__")[2], value
    fitted = spec["fitted"]
    yield from ((f"module_config.{name}", name, value) for name, value in (fitted.get("module_config") or {}).items())
    yield from ((f"input_info.{name}", name, fitted["input_info"][name]) for name in ("n_chans", "n_times", "sfreq"))


def _sizes_of_biot(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return what the weights of a BIOT say of its sizes; nothing of another network."""
    if len(shapes.get(_ENCODER, ())) != 2 or len(shapes.get(_TOKENS, ())) != 2:
        return {}
    layers = {int(match[1]) for name in shapes if (match := _LAYER.fullmatch(name))}
    head = shapes.get(_HEAD, ())
    sizes = shapes[_ENCODER][0], len(layers), shapes[_TOKENS][0], head[0] if len(head) == 2 else None
    return {name: size for name, size in zip(_OF_BIOT, sizes, strict=True) if size is not None}
