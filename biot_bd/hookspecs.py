"""What a plugin may add: one hook a registry, all of one shape.

A plugin is any module (or object) with functions marked by :data:`hookimpl`; it is found through
the entry-point group ``biot_bd``.  Each hook is called once with ``register(name, obj)``, where
``obj`` is the thing itself or its import path ``"package.module:attribute"``, resolved when first
asked for.  Hooks are historic: a plugin that is registered late is called at once.
"""

from collections.abc import Callable

from pluggy import HookimplMarker, HookspecMarker

PROJECT = "biot_bd"

hookspec = HookspecMarker(PROJECT)
#: Marks a function of a plugin as the implementation of the hook that has its name.
hookimpl = HookimplMarker(PROJECT)

#: What a hook gets: ``register(name, obj)``; for models also ``contract=``.
Register = Callable[..., None]

__all__ = [
    "Register",
    "hookimpl",
    "register_callbacks",
    "register_datasets",
    "register_engines",
    "register_exporters",
    "register_frozen_probes",
    "register_label_rules",
    "register_losses",
    "register_metrics",
    "register_model_stores",
    "register_models",
    "register_montages",
    "register_objectives",
    "register_probes",
    "register_readers",
]


@hookspec(historic=True)
def register_datasets(register: Register) -> None:
    """Add data sets: ``(root, **options) -> BaseConcatDataset`` of recordings.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.datasets : Where they are found by name.
    biot_bd.testing.check_dataset : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_datasets(register):
    ...     register("ward", "my_package.ward:load_ward")
    """


@hookspec(historic=True)
def register_readers(register: Register) -> None:
    """Add formats of recordings: a :class:`biot_bd.io.Reader` says which files, and opens them.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.readers : Where they are found by name.
    biot_bd.testing.check_reader : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_readers(register):
    ...     register("edf-under-rec", "my_package.readers:EDF_UNDER_REC")
    """


@hookspec(historic=True)
def register_montages(register: Register) -> None:
    """Add montages: a :class:`biot_bd.signals.Montage`, named channels, referential or bipolar.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.montages : Where they are found by name.
    biot_bd.testing.check_montage : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_montages(register):
    ...     register("temporal-4", "my_package.montages:TEMPORAL")
    """


@hookspec(historic=True)
def register_label_rules(register: Register) -> None:
    """Add label rules: classes whose instances turn events into a table of labelled windows.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.label_rules : Where they are found by name.
    biot_bd.testing.check_label_rule : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_label_rules(register):
    ...     register("any-overlap", "my_package.rules:AnyOverlap")
    """


@hookspec(historic=True)
def register_models(register: Register) -> None:
    """Add models: ``nn.Module`` classes whose constructor takes braindecode's signal parameters.

    Parameters
    ----------
    register : callable
        ``register(name, obj, contract=None)``: ``obj`` itself, or its import path, and what it
        expects of its input, a :class:`biot_bd.models.ModelContract` or its import path, which
        :class:`biot_bd.BIOTClassifier` checks before it trains.

    See Also
    --------
    biot_bd.registry.models : Where they are found by name; ``registry.models.contract(name)``.
    biot_bd.testing.check_model : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_models(register):
    ...     register("band-power", "my_package.models:BandPower")
    ...     register("big", "my_package.models:Big", contract="my_package.models:BIG_CONTRACT")
    """


@hookspec(historic=True)
def register_losses(register: Register) -> None:
    """Add losses: ``nn.Module`` classes over logits (n, n_outputs) and integer targets (n,).

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.losses : Where they are found by name.
    biot_bd.testing.check_loss : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_losses(register):
    ...     register("brier", "my_package.losses:Brier")
    """


@hookspec(historic=True)
def register_metrics(register: Register) -> None:
    """Add metrics: a :class:`biot_bd.evaluation.Metric` over targets and probabilities.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.metrics : Where they are found by name.
    biot_bd.testing.check_metric : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_metrics(register):
    ...     register("brier", "my_package.metrics:BRIER")
    """


@hookspec(historic=True)
def register_probes(register: Register) -> None:
    """Add probes: classes whose instances explain ``(model, x, target)``.

    They answer with a :class:`biot_bd.probes.TokenMap`.  A class may say ``title``, words for
    clinicians on its pictures, and ``needs``, a frozenset of what a model must have:
    ``"attention"``, ``"linear-attention"``, ``"tokens"``, ``"gradients"``.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.probes : Where they are found by name.
    biot_bd.testing.check_probe : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_probes(register):
    ...     register("gradient", "my_package.probes:Gradient")
    """


@hookspec(historic=True)
def register_callbacks(register: Register) -> None:
    """Add training callbacks: ``skorch.callbacks.Callback`` classes.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.callbacks : Where they are found by name.
    biot_bd.testing.check_callback : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_callbacks(register):
    ...     register("stop-when-diverged", "my_package.callbacks:StopWhenDiverged")
    """


@hookspec(historic=True)
def register_objectives(register: Register) -> None:
    """Add pretraining objectives: subclasses of :class:`biot_bd.pretraining.Objective`.

    An objective is built as ``cls(sizes, **parameters)`` for the tokens of a model, makes its own
    heads, and is called as ``objective(tokens, x, rng) -> {"loss": ..., logs}``; ``Pretrainer`` and
    ``biot-bd pretrain`` take it by name.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.pretraining.Objective : What each of its methods is asked.
    biot_bd.registry.objectives : Where they are found by name.
    biot_bd.testing.check_objective : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_objectives(register):
    ...     register("denoise", "my_package.objectives:Denoise")
    """


@hookspec(historic=True)
def register_exporters(register: Register) -> None:
    """Add exporters: ``(pipeline, path) -> path`` functions that write a model for deployment.

    ``pipeline`` is a fitted pipeline, the folder of a saved one, or what
    ``biot_bd.export.exporters.source_of`` gives.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.exporters : Where they are found by name.
    biot_bd.testing.check_exporter : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_exporters(register):
    ...     register("card", "my_package.export:export_card")
    """


@hookspec(historic=True)
def register_engines(register: Register) -> None:
    """Add engines: ``(folder) -> model`` functions that load a saved model for the detector.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.engines : Where they are found by name.
    biot_bd.testing.check_engine : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_engines(register):
    ...     register("my-runtime", "my_package.engine:load_model")
    """


@hookspec(historic=True)
def register_frozen_probes(register: Register) -> None:
    """Add probes over frozen embeddings: scikit-learn classifiers that an ``Embedder`` feeds.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.frozen_probes : Where they are found by name.
    biot_bd.testing.check_frozen_probe : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_frozen_probes(register):
    ...     register("centroid", "my_package.probes:NearestCentroid")
    """


@hookspec(historic=True)
def register_model_stores(register: Register) -> None:
    """Add stores of models: subclasses of :class:`biot_bd.deploy.ModelStore`.

    Parameters
    ----------
    register : callable
        ``register(name, obj)``: ``obj`` itself, or its import path.

    See Also
    --------
    biot_bd.registry.model_stores : Where they are found by name.
    biot_bd.testing.check_model_store : Checks one in a plugin's tests.

    Examples
    --------
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_model_stores(register):
    ...     register("department", "my_package.store:DepartmentStore")
    """
