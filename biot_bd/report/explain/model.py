"""A saved model taken apart: its steps, its network, what it says of windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from biot_bd.signals.base import WindowTransformer
from biot_bd.signals.info import SignalInfo
from biot_bd.signals.scaler import PercentileScaler
from biot_bd.training import load_pipeline
from biot_bd.training.persistence.networks import network_pipeline

# Fewer parameters than this and BIOT is called small on every output (the published one has 3.19
# million).
FULL_BIOT_PARAMETERS = 3_000_000


@dataclass(frozen=True)
class Model:
    """A saved pipeline, taken apart.

    Parameters
    ----------
    pipeline : estimator
        As :func:`biot_bd.training.load_pipeline` gives it; a composite as one network.
    module : torch.nn.Module
        The network, in eval mode.
    monitor : str or None
        What early stopping watched in training; None where nothing stopped early.
    """

    pipeline: Any
    module: torch.nn.Module
    monitor: str | None = None

    @property
    def size(self) -> str:
        """Name and number of parameters in words."""
        name, number = module_name(self.module)
        return f"{name}, {f'{number / 1e6:.2f} million' if number >= 1e6 else f'{number:,}'} parameters"

    @property
    def classifier(self) -> Any:
        """The last step."""
        return self.pipeline.steps[-1][1] if isinstance(self.pipeline, Pipeline) else self.pipeline

    @property
    def steps(self) -> list[Any]:
        """The steps before it that do something."""
        steps = [step for _, step in self.pipeline.steps[:-1]] if isinstance(self.pipeline, Pipeline) else []
        return [step for step in steps if step is not None and step != "passthrough"]

    @property
    def seizure_column(self) -> int:
        """Column of ``predict_proba`` that is the probability of a seizure."""
        labels = np.asarray(self.classifier.classes_).tolist()
        return labels.index(getattr(self.classifier, "positive_label_", 1 if 1 in labels else labels[-1]))

    @property
    def classes(self) -> tuple[str, ...]:
        """What each output of the network stands for, in words."""
        facts = getattr(self.classifier, "facts_", None)
        labels = getattr(facts, "classes", self.classifier.classes_)
        seizure = np.asarray(self.classifier.classes_).tolist()[self.seizure_column]
        others = "no seizure" if len(labels) == 2 else None
        return tuple("seizure" if one == seizure else others or f"class {one}" for one in np.asarray(labels).tolist())


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
    pipeline = network_pipeline(load_pipeline(folder))
    last = pipeline.steps[-1][1] if isinstance(pipeline, Pipeline) else pipeline
    module = getattr(last, "module_", None)
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"{folder}: the last step is a {type(last).__name__} without a network; nothing to look into")
    module = module.eval()
    monitor = getattr(last, "monitor", None) if getattr(last, "patience", None) is not None else None
    return Model(pipeline, module, monitor)


def device_of(module: torch.nn.Module) -> torch.device:
    """Return where a network computes."""
    return next(module.parameters(), torch.empty(0)).device


@dataclass(frozen=True)
class Signal:
    """Windows in memory, with what is known of them.

    Parameters
    ----------
    x : ndarray of float32, shape (n, n_chans, n_times)
        NaN in absent channels.
    info : SignalInfo
        Channels, rate, unit.
    """

    x: NDArray[np.float32]
    info: SignalInfo

    @property
    def ch_names(self) -> tuple[str, ...]:
        """Names of the channels; numbers where nobody says."""
        return self.info.ch_names or tuple(f"channel {i}" for i in range(self.x.shape[1]))


def signal_of(windows: Any) -> Signal:
    """Return a few windows of a store as they are, read into memory."""
    return Signal(np.asarray(windows, dtype=np.float32), windows.info)


def model_input(model: Model, signal: Signal) -> Signal:
    """Return windows as the network gets them, through all steps before it.

    Parameters
    ----------
    model : Model
        With its pipeline.
    signal : Signal
        In uV.

    Returns
    -------
    Signal
        Scaled; its channels are those after the steps, e.g. those of the montage.

    Raises
    ------
    ValueError
        A step is no signal step, or cannot work on these windows.
    """
    return _through(model, signal, in_uv=False)


def model_input_uv(model: Model, signal: Signal) -> Signal:
    """Return windows as the network gets them, but in microvolts: as far as the steps keep the
    unit.
    """
    return _through(model, signal, in_uv=True)


def _through(model: Model, signal: Signal, *, in_uv: bool) -> Signal:
    x, info = signal.x, signal.info
    present = ~np.isnan(x).all(axis=2)
    for step in model.steps:
        if not isinstance(step, WindowTransformer):
            raise ValueError(
                f"{type(step).__name__} is no signal step, so what it gives the network cannot be explained"
            )
        if isinstance(step, PercentileScaler):  # a channel without signal is absent, as for a detector
            step = clone(step).set_params(on_bad="drop")
        made = step.output_info(info)
        if in_uv and made.unit != "uV":
            break
        if not step.is_identity(info):
            x, present = step.apply(x, present, info)
        info = made
    return Signal(np.asarray(x, dtype=np.float32), info)


def seizure_probability(model: Model, signal: Signal) -> NDArray[np.float64]:
    """Return the probability of a seizure of windows in uV, shape (n,)."""
    proba = model.classifier.predict_proba(model_input(model, signal).x)
    return np.asarray(proba, dtype=float)[:, model.seizure_column]
