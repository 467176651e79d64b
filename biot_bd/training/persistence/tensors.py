"""The arrays of a composite model: all in one file of weights, each under the name of its part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from biot_bd.exceptions import SavedPipelineError
from biot_bd.training.persistence.values import from_json, to_json

SMALL = 16
"""Arrays of at most so many values stand in the description."""
_KINDS = "bif"  # dtypes that torch knows, too


class Tensors:
    """Tensors by name, under the prefix of the part that is being written.

    Parameters
    ----------
    prefix : str
        Of the part, e.g. ``"embedder."``.
    tensors : dict, optional
        Shared by all parts.
    """

    def __init__(self, prefix: str = "", tensors: dict[str, torch.Tensor] | None = None) -> None:
        self.prefix = prefix
        self.tensors: dict[str, torch.Tensor] = {} if tensors is None else tensors

    def inside(self, name: str) -> Tensors:
        """Return the same for a part inside."""
        return Tensors(f"{self.prefix}{name}.", self.tensors)

    def add(self, name: str, value: torch.Tensor) -> None:
        """Add a copy of a tensor."""
        self.tensors[f"{self.prefix}{name}"] = value.detach().cpu().clone().contiguous()

    def written(self, value: Any, name: str) -> Any:
        """Write a fitted attribute as JSON; large arrays in it become tensors.

        Raises
        ------
        SavedPipelineError
            It has no such form.
        """
        if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS and value.size > SMALL:
            self.add(name, torch.from_numpy(np.ascontiguousarray(value)))
            return {"$tensor": name}
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {"$dict": [[key, self.written(inner, f"{name}.{key}")] for key, inner in value.items()]}
        if isinstance(value, (list, tuple)) and any(isinstance(inner, np.ndarray) for inner in value):
            items = [self.written(inner, f"{name}.{number}") for number, inner in enumerate(value)]
            return {"$tuple": items} if isinstance(value, tuple) else items
        return to_json(value)


def read_tensors(path: Path, prefix: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a part.

    Parameters
    ----------
    path : Path
        File of safetensors.
    prefix : str
        Of the part.

    Raises
    ------
    SavedPipelineError
        The file is damaged, or a value is not finite.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            found = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise SavedPipelineError(f"{path}: damaged weights ({error}); copy the folder again") from error
    for name, values in found.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise SavedPipelineError(f"{path}: {prefix}{name} holds NaN or infinite values; the file is damaged")
    return found


def read_back(value: Any, tensors: Mapping[str, NDArray[Any]]) -> Any:
    """Return the attribute that :meth:`Tensors.written` wrote.

    Raises
    ------
    SavedPipelineError
        It names a tensor that the file lacks, or has no such form.
    """
    if isinstance(value, list):
        return [read_back(inner, tensors) for inner in value]
    if isinstance(value, dict) and list(value) == ["$tensor"]:
        if value["$tensor"] not in tensors:
            raise SavedPipelineError(f"the file of weights lacks {value['$tensor']!r}; copy the whole folder again")
        return tensors[value["$tensor"]]
    if isinstance(value, dict) and list(value) == ["$dict"]:
        return {from_json(key): read_back(inner, tensors) for key, inner in value["$dict"]}
    if isinstance(value, dict) and list(value) == ["$tuple"]:
        return tuple(read_back(inner, tensors) for inner in value["$tuple"])
    return from_json(value)
