"""Estimators made again of their descriptions and of the file of weights beside them."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from biot_bd.exceptions import SavedPipelineError
from biot_bd.models.checkpoints.layouts import fill_module
from biot_bd.models.checkpoints.pipeline_folder import prefix_of, weights_file
from biot_bd.training._validation import uncompiled
from biot_bd.training.classifier.biot_classifier import BIOTClassifier
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.persistence.bounded_build import bounded_build
from biot_bd.training.persistence.kinds import EMBEDDER, ENSEMBLE, PROBE, kind_of
from biot_bd.training.persistence.run_settings import without_run_settings
from biot_bd.training.persistence.sizes import check_sizes
from biot_bd.training.persistence.tensors import read_back, read_tensors
from biot_bd.training.persistence.values import build, load_transformer


def load_step(spec: dict[str, Any], folder: Path) -> Any:
    """Build a step, or a pipeline of steps, of its description.

    Parameters
    ----------
    spec : dict
        In the newest format.
    folder : Path
        Of the saved pipeline.

    Raises
    ------
    SavedPipelineError
        It is not what ``save_pipeline`` wrote.
    """
    kind = spec["kind"]
    if kind == "passthrough":
        return "passthrough"
    if kind == "pipeline":
        made = Pipeline([(step["name"], load_step(step, folder)) for step in spec["steps"]])
        _check_pairs(made, folder)
        return made
    if kind == "transformer":
        return load_transformer(spec)
    if kind == "classifier":
        return _load_classifier(spec, folder)
    if kind in (EMBEDDER, PROBE, ENSEMBLE):
        made = {EMBEDDER: _load_embedder, PROBE: _load_probe, ENSEMBLE: _load_ensemble}[kind](spec, folder)
        if kind_of(made) != kind:
            raise SavedPipelineError(f"{folder}: step {spec['name']} is a {type(made).__name__}, which is no {kind}")
        return made
    raise SavedPipelineError(f"{folder}: the saved pipeline has an unknown kind of step {kind!r}")


def _load_classifier(spec: dict[str, Any], folder: Path) -> BIOTClassifier:
    path = weights_file(folder, spec)
    check_sizes(spec, path)
    params, left_out = without_run_settings(spec["params"])
    if left_out:
        warnings.warn(
            f"{folder}: left out, as it belongs to the run that trained the model: {', '.join(left_out)}; "
            "set it anew where you train on",
            stacklevel=2,
        )
    net = build(spec["class"], params)
    if not isinstance(net, BIOTClassifier):
        raise SavedPipelineError(f"{folder}: the classifier is a {type(net).__name__}, expected a BIOTClassifier")
    facts = FittedFacts.from_dict(spec["fitted"])
    if net.pretrained is not None and facts.module_config is None:
        raise SavedPipelineError(
            f"{folder}: the model started from {net.pretrained!r} and does not say its own sizes; loading a model reads "
            "no other file: train it again"
        )
    with bounded_build(folder, path):
        net._restore(facts)
    fill_module(uncompiled(net.module_), path, str(net.device), prefix_of(spec))
    net.module_.eval()
    net._note_weights()
    return net


def _load_embedder(spec: dict[str, Any], folder: Path) -> Any:
    net = load_step(spec["classifier"], folder)
    embedder = build(spec["class"], spec["params"])
    if kind_of(embedder) == EMBEDDER:
        embedder._restore(net)
    return embedder


def _load_probe(spec: dict[str, Any], folder: Path) -> Any:
    path = weights_file(folder, spec)
    probe = build(spec["class"], spec["params"])
    tensors = read_tensors(path, prefix_of(spec))
    for name, value in spec["fitted"]["attributes"].items():
        setattr(probe, name, read_back(value, tensors))
    return probe


def _load_ensemble(spec: dict[str, Any], folder: Path) -> Any:
    ensemble = build(spec["class"], spec["params"])
    members = [load_step(member, folder) for member in spec["members"]]
    tensors = read_tensors(weights_file(folder, spec), f"{prefix_of(spec)}fitted.")
    for name, value in spec["fitted"]["attributes"].items():
        setattr(ensemble, name, read_back(value, tensors))
    ensemble.members_, ensemble.estimator = members, clone(members[0])
    return ensemble


def _check_pairs(pipeline: Pipeline, folder: Path) -> None:
    """Raise where a probe does not take what the embedder in front of it gives."""
    steps = [step for _, step in pipeline.steps if kind_of(step) != "passthrough"]
    for embedder, probe in pairwise(steps):
        if kind_of(embedder) != EMBEDDER or kind_of(probe) != PROBE:
            continue
        found = probe.predict_proba(np.zeros((1, *embedder.embedding_shape_), np.float32))
        if np.shape(found) != (1, len(probe.classes_)):
            raise SavedPipelineError(
                f"{folder}: the probe gives probabilities of shape {np.shape(found)} for {len(probe.classes_)} classes"
            )
