"""What kinds of estimators a saved pipeline may hold.

Rooms above this one have embedders, probes and ensembles; a class says itself what it is saved as,
so that nothing here imports them.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline

from biot_bd import registry
from biot_bd.training.classifier.biot_classifier import BIOTClassifier

EMBEDDER, PROBE, ENSEMBLE = "embedder", "probe", "ensemble"


def kind_of(step: Any) -> str | None:
    """Return what an estimator is saved as, None where it cannot be.

    Parameters
    ----------
    step : estimator

    Returns
    -------
    str or None
        ``"passthrough"``, ``"pipeline"``, ``"classifier"``, ``"transformer"``, ``"embedder"``,
        ``"probe"`` or ``"ensemble"``.  A class with the attribute ``saved_as`` says it; a
        registered frozen probe is one.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return "passthrough"
    if not isinstance(step, (BaseEstimator, TransformerMixin)):
        return None
    if isinstance(step, Pipeline):
        return "pipeline"
    if isinstance(step, BIOTClassifier):
        return "classifier"
    said = getattr(type(step), "saved_as", None)
    if said in (EMBEDDER, PROBE, ENSEMBLE):
        return str(said)
    if registry.frozen_probes.name_of(type(step)) is not None:
        return PROBE
    return "transformer" if hasattr(step, "transform") else None


def is_saved(pipeline: Any) -> bool:
    """Return whether a pipeline ends in what can be saved: a ``BIOTClassifier``, a probe behind an
    ``Embedder``, or an ensemble of these.

    Parameters
    ----------
    pipeline : estimator
        Fitted or not.
    """
    before = None
    while isinstance(pipeline, Pipeline):
        behind = [step for _, step in pipeline.steps[:-1] if kind_of(step) != "passthrough"]
        before, pipeline = (behind[-1] if behind else before), pipeline.steps[-1][1]
    kind = kind_of(pipeline)
    if kind == ENSEMBLE:
        return is_saved(pipeline.estimator)
    return kind == "classifier" or (kind == PROBE and kind_of(before) == EMBEDDER)
