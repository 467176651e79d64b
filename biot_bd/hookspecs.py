"""What a plugin may add: one hook a registry, all of one shape.

A plugin is any module (or object) with functions marked by :data:`hookimpl`; it is found through the
entry-point group ``biot_bd``.  Each hook is called once with ``register(name, obj)``, where ``obj`` is
the thing itself or its import path ``"package.module:attribute"``, resolved when first asked for.
Hooks are historic: a plugin that is registered late is called at once.
"""

from collections.abc import Callable
from typing import Any

from pluggy import HookimplMarker, HookspecMarker

PROJECT = "biot_bd"

hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)

Register = Callable[[str, Any], None]


@hookspec(historic=True)
def register_datasets(register: Register) -> None:
    """Datasets: ``(root, **options) -> braindecode.datasets.BaseConcatDataset`` of recordings."""


@hookspec(historic=True)
def register_readers(register: Register) -> None:
    """Readers: a :class:`biot_bd.io.readers.Reader` (endings, probe of the bytes, how to open)."""


@hookspec(historic=True)
def register_montages(register: Register) -> None:
    """Montages: a :class:`biot_bd.signals.montages.Montage` (named channels, referential or bipolar)."""


@hookspec(historic=True)
def register_label_rules(register: Register) -> None:
    """Label rules: a class whose instances turn events into a table of labelled windows."""


@hookspec(historic=True)
def register_models(register: Register) -> None:
    """Models: an ``nn.Module`` class whose constructor takes braindecode's signal parameters."""


@hookspec(historic=True)
def register_losses(register: Register) -> None:
    """Losses: an ``nn.Module`` class over logits (n, n_classes) and integer targets (n,)."""


@hookspec(historic=True)
def register_metrics(register: Register) -> None:
    """Metrics: a :class:`biot_bd.evaluation.metrics.window_metrics.Metric` over targets and probabilities."""


@hookspec(historic=True)
def register_probes(register: Register) -> None:
    """Probes: a class whose instances explain ``(model, x, target)``; see :mod:`biot_bd.probes.base`."""


@hookspec(historic=True)
def register_callbacks(register: Register) -> None:
    """Callbacks: a ``skorch.callbacks.Callback`` class."""


@hookspec(historic=True)
def register_objectives(register: Register) -> None:
    """Objectives: self-supervised pretraining tasks."""


@hookspec(historic=True)
def register_exporters(register: Register) -> None:
    """Exporters: ``(pipeline, path) -> path`` functions that write a fitted model for deployment."""


@hookspec(historic=True)
def register_engines(register: Register) -> None:
    """Engines: ``(folder) -> model`` functions that load a saved model to compute probabilities, for the detector."""
