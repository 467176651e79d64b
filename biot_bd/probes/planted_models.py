"""Models trained on planted evidence, by seed; kept, where there is a folder for it."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from biot_bd.kept_choices import cache_folder
from biot_bd.models.biot import BIOT
from biot_bd.probes.planted import PlantedTask
from biot_bd.runs import atomic_path, fingerprint
from biot_bd.training import BIOTClassifier

SMALL_BIOT = {"embed_dim": 64, "num_heads": 4, "num_layers": 4, "drop_prob": 0.1, "att_layer_drop_prob": 0.1}
"""A BIOT that learns the task in some 45 seconds of one core."""
LEARNT = 0.9
"""Accuracy on new windows from which on a model counts as having learnt the task."""
SEEDS = (0, 1, 2)


@dataclass(frozen=True, eq=False)
class PlantedModel:
    """A model that learnt a planted task.

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode.
    task : PlantedTask
        What it was trained on.
    seed : int
        Of its weights, windows and training.
    accuracy : float
        On 200 windows that it has not seen.

    See Also
    --------
    train_planted : Makes them.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.probes import PlantedModel, PlantedTask
    >>> PlantedModel(torch.nn.Identity(), PlantedTask(), seed=0, accuracy=0.5).learnt
    False
    """

    model: nn.Module
    task: PlantedTask
    seed: int
    accuracy: float

    @property
    def learnt(self) -> bool:
        """Whether the model tells the classes apart: else no probe can find what it goes by."""
        return self.accuracy >= LEARNT


def train_planted(
    module: type[nn.Module] = BIOT,
    *,
    seeds: Sequence[int] = SEEDS,
    task: PlantedTask | None = None,
    parameters: Mapping[str, Any] | None = None,
    max_epochs: int = 20,
    n_windows: int = 800,
    batch_size: int = 32,
    lr: float = 2e-3,
    folder: str | os.PathLike[str] | None = None,
) -> tuple[PlantedModel, ...]:
    """Train a small model on planted evidence, once a seed.

    Parameters
    ----------
    module : type of torch.nn.Module
        Whose constructor takes ``n_chans``, ``n_times``, ``n_outputs``, ``sfreq`` as far as it
        needs them.
    seeds : sequence of int
        One model each.
    task : PlantedTask, optional
        None: the default one.
    parameters : mapping, optional
        Of the constructor.  None: those of a small BIOT, and the class's own for others.
    max_epochs, n_windows, batch_size : int
        Of the training: AdamW, a warm-up and a cosine, cross-entropy, on the CPU.
    lr : float
        Highest learning rate.
    folder : path, optional
        Where trained weights are kept, and found by the next call of the same kind.  None: nowhere.

    Returns
    -------
    tuple of PlantedModel

    See Also
    --------
    PlantedTask : The windows.
    evaluate : Tests probes on these models.

    Examples
    --------
    >>> from biot_bd.probes import PlantedTask, train_planted
    >>> size = {"embed_dim": 8, "num_heads": 2, "num_layers": 1}
    >>> (small,) = train_planted(seeds=[0], parameters=size, max_epochs=1, n_windows=64)
    >>> small.seed, small.model.training
    (0, False)
    """
    task = task or PlantedTask()
    if parameters is None:
        parameters = SMALL_BIOT if issubclass(module, BIOT) else {}
    built = _signal_facts(module, task) | dict(parameters)
    settings = {"max_epochs": max_epochs, "n_windows": n_windows, "batch_size": batch_size, "lr": lr}
    return tuple(_planted_model(module, built, settings, task, seed, folder) for seed in seeds)


def kept_planted_models(seeds: Sequence[int] = SEEDS) -> tuple[PlantedModel, ...]:
    """Return small BIOTs for the default task, trained on this machine once and kept in
    ``$BIOT_BD_CACHE/planted``.

    Parameters
    ----------
    seeds : sequence of int
        One model each.

    Returns
    -------
    tuple of PlantedModel
    """
    return train_planted(seeds=seeds, folder=cache_folder() / "planted")


def _signal_facts(module: type[nn.Module], task: PlantedTask) -> dict[str, Any]:
    """Return what the constructor wants to know of the signals."""
    facts = {
        "n_chans": task.n_chans, "n_times": task.n_times, "n_outputs": 2, "sfreq": task.sfreq,
        "input_window_seconds": task.n_times / task.sfreq,
    }  # fmt: skip
    wanted = inspect.signature(module).parameters
    return {name: value for name, value in facts.items() if name in wanted}


def _planted_model(
    module: type[nn.Module],
    built: dict[str, Any],
    settings: dict[str, Any],
    task: PlantedTask,
    seed: int,
    folder: str | os.PathLike[str] | None,
) -> PlantedModel:
    kept = None if folder is None else _file(Path(folder), module, built, settings, task, seed)
    valid = task.single(200, random_state=10_000 + seed)
    model = None if kept is None else _stored(kept, module, built)
    if model is None:
        model = _trained(module, built, settings, task, seed)
        if kept is not None:
            _keep(model, kept)
    with torch.no_grad():
        said = torch.cat([model(part).argmax(dim=1).cpu() for part in valid.x.split(50)]).numpy()
    return PlantedModel(model, task, seed, float(np.mean(said == valid.y)))


def _keep(model: nn.Module, file: Path) -> None:
    """Write weights; where that cannot be, the next call trains anew."""
    try:
        with atomic_path(file) as temporary:
            save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, temporary)
    except OSError as error:
        warnings.warn(f"{file}: weights of the planted task are not kept ({error})", stacklevel=4)


def _file(
    folder: Path, module: type[nn.Module], built: dict[str, Any], settings: dict[str, Any], task: PlantedTask, seed: int
) -> Path:
    name = f"{module.__module__}.{module.__qualname__}"
    facts = [name, {key: repr(value) for key, value in built.items()}, settings, asdict(task), torch.__version__]
    return folder / f"{module.__name__}-{fingerprint(facts)}-seed-{seed}.safetensors"


def _stored(file: Path, module: type[nn.Module], built: dict[str, Any]) -> nn.Module | None:
    """Return the model of a file; None where there is none, or another version wrote it."""
    if not file.is_file():
        return None
    model = module(**built)
    try:
        model.load_state_dict(load_file(file), strict=True)
    except (RuntimeError, SafetensorError):  # trained anew and written over
        return None
    return model.eval()


def _trained(
    module: type[nn.Module], built: dict[str, Any], settings: dict[str, Any], task: PlantedTask, seed: int
) -> nn.Module:
    train = task.single(settings["n_windows"], random_state=seed)
    net = BIOTClassifier(
        module,
        criterion="cross-entropy",
        lr=settings["lr"],
        max_epochs=settings["max_epochs"],
        batch_size=settings["batch_size"],
        train_split=None,
        patience=None,
        random_state=seed,
        device="cpu",
        schedule="cosine",
        gradient_clip_norm=1.0,
        **{f"module__{name}": value for name, value in built.items()},
    )
    return net.fit(train.x.numpy(), train.y).module_.eval()
