"""Fitted pipelines as JSON: the settings of every step, and what ``fit`` left in it."""

from __future__ import annotations

from typing import Any

import torch

from biot_bd.exceptions import SavedPipelineError
from biot_bd.training._validation import uncompiled
from biot_bd.training.classifier.biot_classifier import BIOTClassifier
from biot_bd.training.persistence.kinds import EMBEDDER, ENSEMBLE, PROBE, is_saved, kind_of
from biot_bd.training.persistence.run_settings import NOT_SAVED
from biot_bd.training.persistence.tensors import Tensors
from biot_bd.training.persistence.values import class_to_json, inside, to_json

RECORD = "record_"
"""What loading adds to the last step."""
_SEEN = "_seen"
"""Windows that a probe was fitted on, which guard it only in the process that did."""
_NOT_OF_EMBEDDER: dict[str, Any] = {"cache": None, "engine": "torch", "progress": False}
_NOT_OF_ENSEMBLE: dict[str, Any] = {"estimator": None, "n_jobs": None}
"""Parameters that belong to the machine, or follow from the members."""


def check_end(pipeline: Any) -> Any:
    """Return the estimator that a pipeline ends in.

    Raises
    ------
    SavedPipelineError
        It is none that can be saved.
    """
    where, last = type(pipeline).__name__, pipeline
    while kind_of(last) == "pipeline":
        name, last = last.steps[-1]
        where = f"step {name!r} ({type(last).__name__}): the last step cannot be saved"
    if not is_saved(pipeline):
        raise SavedPipelineError(
            f"{where}: only BIOTClassifier, probes behind an Embedder, ensembles of these, and pipelines that end in one of "
            "them, can be saved"
        )
    return last


def described(pipeline: Any, tensors: Tensors | None = None, *, learnt: bool) -> dict[str, Any]:
    """Describe a pipeline, with or without what ``fit`` left in it.

    Parameters
    ----------
    pipeline : estimator
        As :func:`check_end` lets it pass.
    tensors : Tensors, optional
        Gets weights and arrays of a composite; those of a plain classifier are written from its
        module.
    learnt : bool
        Whether it is fitted.

    Raises
    ------
    SavedPipelineError
        Names what cannot be written (``step__parameter``).
    """
    try:
        with inside():
            spec = settings_to_json("biotclassifier", pipeline)
            if learnt:
                add_learnt(spec, pipeline, tensors)
    except SavedPipelineError as error:
        raise SavedPipelineError(str(error)) from error.__cause__
    return spec


def settings_to_json(name: str, step: Any) -> dict[str, Any]:
    """Describe an estimator as it was given, fitted or not."""
    kind = kind_of(step)
    if kind == "passthrough":
        return {"name": name, "kind": kind}
    if kind == "pipeline":
        if step.memory is not None:
            with inside("memory"):
                raise SavedPipelineError(
                    f"found {step.memory!r}; a pipeline that keeps its steps cannot be saved, set None"
                )
        return {"name": name, "kind": kind, "steps": [_inner_to_json(n, s) for n, s in step.steps]}
    if kind == "classifier":
        return {"name": name, "kind": kind, **_classifier_to_json(step)}
    if kind == ENSEMBLE:
        with inside("estimator"):
            settings_to_json("estimator", step.estimator)  # raises where no member could be written
    if kind is None:
        raise SavedPipelineError(
            f"found {type(step).__name__}, which is not a transformer; "
            "pipelines of transformers that end in BIOTClassifier can be saved"
        )
    left_out: dict[str, Any] = _NOT_OF_EMBEDDER if kind == EMBEDDER else _NOT_OF_ENSEMBLE if kind == ENSEMBLE else {}
    given = {key: value for key, value in left_out.items() if key in step.get_params(deep=False)}
    return {"name": name, "kind": kind, "class": class_to_json(type(step)), "params": _written(step, **given)}


def _inner_to_json(name: str, step: Any) -> dict[str, Any]:
    with inside(name):
        return settings_to_json(name, step)


def _written(step: Any, **instead: Any) -> dict[str, Any]:
    """Write the parameters of an estimator."""
    written = {}
    for name, value in step.get_params(deep=False).items():
        with inside(name):
            written[name] = to_json(instead.get(name, value))
    return written


def _classifier_to_json(net: BIOTClassifier) -> dict[str, Any]:
    if isinstance(net.module, torch.nn.Module):
        with inside("module"):
            raise SavedPipelineError(
                f"found an instance of {type(net.module).__name__}; give its class or registered name and module__ parameters"
            )
    return {"class": class_to_json(_plain_class(net)), "params": _written(net, **NOT_SAVED)}


def _plain_class(net: BIOTClassifier) -> type:
    """Return the class without skorch's ``AccelerateMixin``, which belongs to one run."""
    cls = type(net)
    mixed = [base for base in cls.__mro__ if any(b.__module__ == "skorch.hf" for b in base.__mro__)]
    return next(base for base in cls.__mro__ if base not in mixed)


def add_learnt(spec: dict[str, Any], step: Any, tensors: Tensors | None = None) -> None:
    """Write what ``fit`` left in an estimator into its description, arrays into ``tensors``.

    Parameters
    ----------
    spec : dict
        Of :func:`settings_to_json`; changed.
    step : estimator
        Fitted.
    tensors : Tensors, optional
        Gets weights and arrays; None: those of a classifier are left out, and there is nothing else
        that has any.
    """
    kind = spec["kind"]
    if kind == "pipeline":
        for inner, (name, one) in zip(spec["steps"], step.steps, strict=True):
            with inside(name):
                add_learnt(inner, one, None if tensors is None else tensors.inside(name))
    elif kind == "classifier":
        step._follow_weights()
        if step.facts_.stale is None:
            step._check_built()
        spec["fitted"] = step.facts_.as_dict()
        if tensors is not None:
            spec["weights"] = {"prefix": tensors.prefix}
            for name, value in uncompiled(step.module_).state_dict().items():
                tensors.add(name, value)
    elif kind == "transformer":
        spec["fitted"] = {}
        for name, value in _attributes(step, spec).items():
            with inside(name):
                spec["fitted"][name] = to_json(value)
    elif kind in (EMBEDDER, PROBE, ENSEMBLE):
        if tensors is None:
            raise SavedPipelineError(f"found {type(step).__name__} in the place of a transformer")
        spec["weights"] = {"prefix": tensors.prefix}
        {EMBEDDER: _add_embedder, PROBE: _add_probe, ENSEMBLE: _add_ensemble}[kind](spec, step, tensors)


def _attributes(step: Any, spec: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in vars(step).items() if name not in (*spec["params"], RECORD, _SEEN)}


def _add_embedder(spec: dict[str, Any], step: Any, tensors: Tensors) -> None:
    net = step.classifier_
    spec["classifier"] = settings_to_json("classifier", net)
    add_learnt(spec["classifier"], net, tensors)


def _add_probe(spec: dict[str, Any], step: Any, tensors: Tensors) -> None:
    attributes = {}
    for name, value in _attributes(step, spec).items():
        with inside(name):
            attributes[name] = tensors.written(value, name)
    spec["fitted"] = {"train_subjects": list(getattr(step, "train_subjects_", ())), "attributes": attributes}


def _add_ensemble(spec: dict[str, Any], step: Any, tensors: Tensors) -> None:
    spec["members"] = []
    for number, member in enumerate(step.members_):
        with inside(f"member {number}"):
            one = settings_to_json(f"member-{number}", member)
            add_learnt(one, member, tensors.inside(f"members.{number}"))
            spec["members"].append(one)
    attributes = {}
    for name, value in _attributes(step, spec).items():
        if name != "members_":
            with inside(name):
                attributes[name] = tensors.inside("fitted").written(value, name)
    spec["fitted"] = {"train_subjects": list(getattr(step, "train_subjects_", ())), "attributes": attributes}
