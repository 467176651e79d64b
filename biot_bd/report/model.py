"""A run's saved model, taken apart to look into: its network, its input, its size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from biot_bd.probes.base import Explanation
from biot_bd.training import load_pipeline
from biot_bd.windows import Windows

# Fewer parameters than this and BIOT is called small on every output (the published one has 3.19 million).
FULL_BIOT_PARAMETERS = 3_000_000


@dataclass(frozen=True)
class Model:
    """A saved pipeline, taken apart.

    Parameters
    ----------
    pipeline : estimator
        As :func:`biot_bd.training.load_pipeline` gives it.
    module : torch.nn.Module
        The network, in eval mode.
    name : str
        What it is called on outputs, e.g. ``"small BIOT"``.
    n_parameters : int
        Number of its parameters.
    monitor : str or None
        What early stopping watched in training; None where nothing stopped early.
    """

    pipeline: Any
    module: torch.nn.Module
    name: str
    n_parameters: int
    monitor: str | None = None

    @property
    def size(self) -> str:
        """Name and number of parameters in words."""
        return f"{self.name}, {_count(self.n_parameters)} parameters"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} million" if number >= 1e6 else f"{number:,}"


def module_name(module: torch.nn.Module) -> tuple[str, int]:
    """Return what a network is called on outputs, and its number of parameters."""
    number = sum(parameter.numel() for parameter in module.parameters())
    name = type(module).__name__
    return (f"small {name}" if name == "BIOT" and number < FULL_BIOT_PARAMETERS else name), number


def load_model(folder: Path) -> Model:
    """Load a saved pipeline and find its network.

    Raises
    ------
    ValueError
        The pipeline holds no network, or its files are damaged.
    """
    pipeline = load_pipeline(folder)
    last = pipeline.steps[-1][1] if isinstance(pipeline, Pipeline) else pipeline
    module = getattr(last, "module_", None)
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"{folder}: the last step is a {type(last).__name__} without a network; nothing to look into")
    module = module.eval()
    monitor = getattr(last, "monitor", None) if getattr(last, "patience", None) is not None else None
    return Model(pipeline, module, *module_name(module), monitor)


def model_input(model: Model, windows: Windows) -> tuple[NDArray[np.float32], list[str]]:
    """Return windows as the network gets them, through all steps before it, and the names of their channels.

    Parameters
    ----------
    model : Model
        With its pipeline.
    windows : Windows
        In uV; few, since they are read into memory.

    Returns
    -------
    x : ndarray, shape (n, n_chans, n_times), float32
        NaN in absent channels.
    ch_names : list of str
        After the steps, e.g. those of the montage.
    """
    ready: Any = windows
    if isinstance(model.pipeline, Pipeline):
        for _, step in model.pipeline.steps[:-1]:
            if step is not None and step != "passthrough":
                ready = step.transform(ready)
    x = np.asarray(ready, dtype=np.float32)
    names = getattr(ready, "ch_names", None) or [f"channel {i}" for i in range(x.shape[1])]
    return x, list(names)


def explain_windows(
    model: Model, windows: Windows, probe: Any, target: int | None = None
) -> tuple[Explanation, list[str]]:
    """Run a probe on windows, on the device of the network; return the names of the channels as well."""
    x, ch_names = model_input(model, windows)
    device = next(model.module.parameters()).device
    return probe(model.module, torch.from_numpy(x).to(device), target=target), ch_names
