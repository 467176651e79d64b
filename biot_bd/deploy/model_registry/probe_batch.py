"""The probe batch of a version: a few generated windows, and what the model gives for them."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from biot_bd.deploy.model import WindowModel, load_by
from biot_bd.deploy.signal_chain import WindowBatch
from biot_bd.exceptions import ModelRegistryError
from biot_bd.export.artifact import Probe
from biot_bd.export.gate_inputs import make_inputs

OF_EACH_KIND = 1
N_PLAIN = 4
WITHOUT_CHANNELS = ("absent channels", "one channel only", "flat channels")
"""Kinds of windows in which a channel is absent, or has no signal."""
_BITS = np.uint32(0xFFFFE000)  # ten of the mantissa: a file of half the size


def open_window_model(folder: str | os.PathLike[str], engine: str, precision: str | None = None) -> WindowModel:
    """Load a model of any number of classes by an engine.

    Parameters
    ----------
    folder : path
        A saved model, or what it was exported to.
    engine : str
        In ``biot_bd.registry.engines``.
    precision : str or None
        One of the engine's; None: its own.

    Returns
    -------
    WindowModel

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`biot_bd.deploy.model.load_model`.
    """

    def build(found: object) -> WindowModel:
        if precision is not None and hasattr(found, "set_precision"):
            found.set_precision(precision, N_PLAIN)
        return WindowModel(found.steps, found.classifier)  # type: ignore[attr-defined]  # what an engine gives

    return load_by(engine, folder, build)


def compute(model: WindowModel, x: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return probabilities ``(n, n_classes)`` of windows in microvolts."""
    absent_as_nan = np.where(present[:, :, None], x, np.float32(np.nan))
    return model.probabilities(WindowBatch(absent_as_nan, present, np.arange(len(x), dtype=np.float64)))


def make_probe(model: WindowModel) -> tuple[Probe, bool]:
    """Make the probe batch of a model: EEG-like windows and odd ones, some without channels.

    Parameters
    ----------
    model : WindowModel
        What gives the probabilities.

    Returns
    -------
    probe : Probe
    absent_channels : bool
        Whether the model takes windows in which channels are absent; without, all are there.

    Raises
    ------
    ValueError
        The model gives no probability for a window with signal in all its channels.
    """
    n_chans = len(model.montage.ch_names)
    inputs = make_inputs(n_chans, model.n_times, model.sfreq, n_plain=N_PLAIN)
    x, present = (inputs.x.view(np.uint32) & _BITS).view(np.float32), inputs.present
    rows = np.concatenate([inputs.of_kind(kind)[:OF_EACH_KIND] for kind in dict.fromkeys(inputs.kinds)])
    full = np.array([row for row in rows if inputs.kinds[row] not in WITHOUT_CHANNELS])
    found = compute(model, x[full], present[full])
    try:
        found = compute(model, x[rows], present[rows])
    except ValueError:  # it takes none: its probabilities of whole windows are above
        rows = full
    return Probe(x[rows], present[rows], np.asarray(found, dtype=np.float32)), len(rows) > len(full)


def difference(model: WindowModel, probe: Probe) -> float:
    """Return the largest difference of a probability to those of a probe batch.

    Raises
    ------
    ModelRegistryError
        The model gives other numbers of windows or classes, or a value that is not finite.
    """
    found = compute(model, probe.x, probe.present)
    if found.shape != probe.probabilities.shape or not np.isfinite(found).all():
        raise ModelRegistryError(
            f"gives probabilities of shape {found.shape}, finite: {bool(np.isfinite(found).all())}; the probe batch has "
            f"{probe.probabilities.shape}"
        )
    return float(np.abs(found - probe.probabilities).max())
