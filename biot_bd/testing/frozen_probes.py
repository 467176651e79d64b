"""Check probes over frozen embeddings: classifiers that an ``Embedder`` feeds."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd import registry
from biot_bd.signals.subject_array import SubjectArray
from biot_bd.testing._base import attempt, build, describe, pickled, refused, require

SUBJECTS, OF_EACH = 6, 20


def check_frozen_probe(
    probe_class: type, parameters: Mapping[str, Any] | None = None, *, n_features: int = 6, n_tokens: int = 4
) -> None:
    """Check a class given to ``register_frozen_probes``.

    Parameters
    ----------
    probe_class : type
        The class to register.
    parameters : mapping, optional
        Constructor parameters to test with.
    n_features, n_tokens : int
        Sizes of the made-up embeddings; tokens where the class says ``pooling = "tokens"``.

    Raises
    ------
    ConformanceError
        It cannot be cloned, pickled or, where it is registered, saved; ``chosen_`` or
        ``converged_`` is missing; its probabilities are none, depend on the windows beside or on
        the run, or do not tell classes that lie far apart; ``head`` says something else; it changes
        its input, or takes embeddings that are not finite, or one class.

    See Also
    --------
    biot_bd.hookspecs.register_frozen_probes : The hook for such classes.
    biot_bd.embedding.FrozenProbe : A base that keeps the contract.

    Examples
    --------
    >>> from biot_bd.embedding import RidgeProbe
    >>> from biot_bd.testing import check_frozen_probe
    >>> check_frozen_probe(RidgeProbe)
    >>> from sklearn.naive_bayes import GaussianNB
    >>> check_frozen_probe(GaussianNB)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    biot_bd.exceptions.ConformanceError: GaussianNB: after fit it has no chosen_...
    """
    name = describe(probe_class)
    probe = build(probe_class, parameters)
    _check_copies(probe, name)
    pooling = getattr(probe_class, "pooling", "mean")
    require(pooling in ("mean", "tokens"), f"{name}: pooling must be 'mean' or 'tokens', found {pooling!r}")
    shape = (n_features,) if pooling == "mean" else (n_tokens, n_features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that does not converge says so, which is right
        for labels in ((0, 1), ("background", "seizure"), (0, 1, 2)):
            _check_fit(probe, name, shape, np.array(labels))
        _check_refusals(probe, name, shape)
        if registry.frozen_probes.name_of(probe_class) is not None:
            _check_saved(probe, name, pooling)


def _made(shape: tuple[int, ...], labels: NDArray[Any], seed: int = 0) -> tuple[SubjectArray, NDArray[Any]]:
    """Return embeddings of classes that lie far apart, and their labels."""
    rng = np.random.default_rng(seed)
    n = SUBJECTS * OF_EACH
    y = np.arange(n) % len(labels)
    x = rng.normal(size=(n, *shape))
    for k in range(len(labels)):
        x[y == k, ..., k] += 6
    groups = [f"made-up/{i // OF_EACH:02d}" for i in range(n)]
    return SubjectArray(x.astype(np.float32), groups), labels[y]


def _check_copies(probe: Any, name: str) -> None:
    from sklearn.base import clone

    copy = attempt(f"{name}: sklearn.base.clone", clone, probe)
    require(repr(copy.get_params()) == repr(probe.get_params()), f"{name}: a clone has other parameters")
    pickled(probe, name)


def _check_fit(probe: Any, name: str, shape: tuple[int, ...], labels: NDArray[Any]) -> None:
    from sklearn.base import clone

    case = f"{name}, classes {', '.join(map(str, labels))}"
    X, y = _made(shape, labels)
    before = np.array(X)
    fitted = attempt(f"{case}: fit", clone(probe).fit, X, y)
    require(np.array_equal(np.asarray(X), before), f"{case}: fit changed the embeddings in place")
    for attribute in ("classes_", "chosen_", "converged_", "predict_proba"):
        require(hasattr(fitted, attribute), f"{name}: after fit it has no {attribute}")
    require(
        np.asarray(fitted.classes_).tolist() == sorted(labels.tolist()), f"{case}: classes_ are not the sorted labels"
    )
    require(isinstance(fitted.converged_, bool | np.bool_), f"{case}: converged_ must be True or False")
    require(
        isinstance(fitted.chosen_, Mapping) and {"parameter", "value", "reason"} <= set(fitted.chosen_),
        f"{case}: chosen_ must be a mapping with 'parameter', 'value' and 'reason'",
    )
    new, truth = _made(shape, labels, seed=1)
    proba = _proba(fitted, case, new, len(labels))
    right = float((np.asarray(fitted.classes_)[proba.argmax(axis=1)] == truth).mean())
    require(right > 0.8, f"{case}: {right:.0%} of windows right where classes lie far apart")
    alone = np.concatenate([_proba(fitted, case, new[i : i + 1], len(labels)) for i in range(5)])
    require(np.allclose(alone, proba[:5], atol=1e-5), f"{case}: probabilities depend on the windows that stand beside")
    again = _proba(attempt(f"{case}: fit", clone(probe).fit, X, y), case, new, len(labels))
    require(np.allclose(again, proba, atol=1e-5), f"{case}: two fits on the same windows differ; set random_state")
    _check_head(fitted, case, new, proba)


def _proba(fitted: Any, case: str, X: Any, n_classes: int) -> NDArray[Any]:
    proba = np.asarray(attempt(f"{case}: predict_proba", fitted.predict_proba, X))
    require(
        proba.shape == (len(X), n_classes),
        f"{case}: predict_proba gave shape {proba.shape}, expected {(len(X), n_classes)}",
    )
    sums = np.isfinite(proba).all() and (proba >= 0).all() and np.allclose(proba.sum(axis=1), 1, atol=1e-4)
    require(sums, f"{case}: rows of predict_proba must be finite, not negative, and sum to 1")
    return proba


def _check_head(fitted: Any, case: str, X: Any, proba: NDArray[Any]) -> None:
    if not hasattr(fitted, "head"):
        return  # then it is scored, but not exported
    import torch

    head = attempt(f"{case}: head", fitted.head)
    with torch.no_grad():
        logits = attempt(f"{case}: head()(x)", head, torch.from_numpy(np.array(X, dtype=np.float32)))
    require(
        np.allclose(logits.softmax(dim=1).numpy(), proba, atol=1e-5),
        f"{case}: the softmax of head()(x) is not what predict_proba says",
    )


def _check_refusals(probe: Any, name: str, shape: tuple[int, ...]) -> None:
    from sklearn.base import clone

    X, y = _made(shape, np.array([0, 1]))
    broken = X.copy()
    broken[3] = np.inf
    refused(f"{name}: fit on embeddings that are not finite", ValueError, clone(probe).fit, broken, y)
    refused(f"{name}: fit on one class", ValueError, clone(probe).fit, X, np.zeros(len(X), int))
    fitted = attempt(f"{name}: fit without subjects", clone(probe).fit, np.asarray(X), y)
    refused(f"{name}: predict_proba of embeddings that are not finite", ValueError, fitted.predict_proba, broken)


def _check_saved(probe: Any, name: str, pooling: str) -> None:
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline

    from biot_bd.embedding import Embedder
    from biot_bd.training import load_pipeline, save_pipeline

    x, y = np.random.default_rng(0).normal(size=(24, 2, 400)).astype(np.float32), np.arange(24) % 2
    size = {"embed_dim": 8, "num_heads": 2, "num_layers": 1}
    embedder = Embedder("biot", module_params=size, pooling=pooling, device="cpu")
    pipeline = make_pipeline(embedder, clone(probe)).fit(x, y)
    with tempfile.TemporaryDirectory() as folder:
        attempt(f"{name}: save_pipeline behind an Embedder", save_pipeline, pipeline, Path(folder))
        again = attempt(f"{name}: load_pipeline", load_pipeline, Path(folder))
    require(
        np.allclose(again.predict_proba(x), pipeline.predict_proba(x), atol=1e-6),
        f"{name}: other probabilities after it was saved and loaded; keep what fit learnt in plain attributes and arrays",
    )
