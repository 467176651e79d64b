"""Check callbacks and exporters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from biot_bd.testing._base import attempt, build, describe, pickled, require, require_subclass


class _Flat(nn.Module):
    """A linear model over flattened windows."""

    def __init__(self, n_features: int = 80, n_outputs: int = 2) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))


def check_callback(
    callback: type[Callback],
    parameters: Mapping[str, Any] | None = None,
    *,
    net: Any = None,
    X: Any = None,
    y: Any = None,
) -> None:
    """Check a class given to ``register_callbacks``.

    Parameters
    ----------
    callback : type
        A ``skorch.callbacks.Callback`` class.
    parameters : mapping, optional
        Constructor parameters to test with.
    net : skorch.NeuralNet, optional
        Unfitted net to train with the callback; a linear classifier by default.
    X, y : array-like, optional
        What to train on; random windows (32, 4, 20) of two classes by default.

    Raises
    ------
    ConformanceError
        It cannot be cloned or pickled (before and after training), changes its own parameters, or
        stops a short training.

    See Also
    --------
    biot_bd.hookspecs.register_callbacks : The hook for such classes.
    check_objective, check_exporter : Checks of what pretraining and export use.

    Examples
    --------
    >>> from skorch.callbacks import EarlyStopping
    >>> from biot_bd.testing import check_callback
    >>> check_callback(EarlyStopping, {"monitor": "train_loss"})
    """
    name = require_subclass(callback, Callback, "skorch.callbacks.Callback")
    instance = build(callback, parameters)
    before = attempt(f"{name}: get_params", instance.get_params)
    copy = attempt(f"{name}: sklearn.base.clone (every fold gets a clone)", clone, instance)
    pickled(instance, f"{name} before training")
    if net is None:
        net = NeuralNetClassifier(_Flat, criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0)
    if X is None:
        X = np.random.default_rng(0).standard_normal((32, 4, 20)).astype(np.float32)
        y = np.arange(32) % 2
    net = clone(net).set_params(callbacks=[("checked", copy)])
    attempt(f"{name}: training with it", net.fit, X, y)
    trained = dict(net.callbacks_)["checked"]
    changed = [key for key, value in trained.get_params().items() if not _same(value, before[key])]
    require(not changed, f"{name}: training changed the parameters {changed}; keep what is learnt in attributes with _")
    pickled(net, f"{name} in a trained net")
    attempt(f"{name}: clone after training", clone, trained)


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and (repr(a) == repr(b)))


def check_exporter(exporter: Callable[[Any, Path], Any], pipeline: Any, path: Path) -> None:
    """Check a function given to ``register_exporters``.

    Parameters
    ----------
    exporter : callable
        ``(pipeline, path) -> path``.
    pipeline : sklearn.pipeline.Pipeline
        A fitted pipeline that the exporter can write.
    path : pathlib.Path
        Where to write; nothing may exist there.

    Raises
    ------
    ConformanceError
        It does not take ``(pipeline, path)``, returns no path, or nothing is there afterwards, or a
        temporary file is left beside it.

    See Also
    --------
    biot_bd.hookspecs.register_exporters : The hook for such functions.
    biot_bd.runs.atomic_path : Writes a file or folder at once.

    Examples
    --------
    Saving a pipeline is a kind of export; here of a tiny BIOT, trained for one epoch:

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from biot_bd import BIOTClassifier, PercentileScaler, save_pipeline
    >>> from biot_bd.testing import check_exporter
    >>> size = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    >>> classifier = BIOTClassifier(max_epochs=1, train_split=None, verbose=0, **size)
    >>> pipeline = make_pipeline(PercentileScaler(), classifier)
    >>> x = np.random.default_rng(0).standard_normal((8, 4, 800)).astype("float32")
    >>> pipeline = pipeline.fit(x, np.arange(8) % 2)
    >>> check_exporter(save_pipeline, pipeline, Path("model"))
    """
    name = describe(exporter)
    require(callable(exporter), f"{name}: expected a function (pipeline, path) -> path, got {exporter!r}")
    path = Path(path)
    require(not path.exists(), f"{path} exists already; give a new path to test with")
    attempt(f"{name}: its parameters (pipeline, path)", inspect.signature(exporter).bind, pipeline, path)
    pickled(exporter, name)
    neighbours = set(path.parent.iterdir()) if path.parent.is_dir() else set()
    written = attempt(f"{name}(pipeline, {path.name!r})", exporter, pipeline, path)
    require(isinstance(written, (str, Path)), f"{name}: expected the path it wrote, got {type(written).__name__}")
    require(Path(written).exists(), f"{name}: returned {str(written)!r}, where nothing is")
    left = set(path.parent.iterdir()) - neighbours - {Path(written), path}
    require(not left, f"{name}: left {sorted(p.name for p in left)} beside what it wrote")
