"""Save and load fitted pipelines as ``config.json`` and safetensors, without pickle.

``config.json`` names classes by registry or by import path and holds their parameters (see
:mod:`biot_bd.training.persistence.values` for what it may name); weights lie in ``<step>-<digest>.safetensors``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline

from biot_bd import registry
from biot_bd.exceptions import SavedPipelineError
from biot_bd.runs import atomic_path, environment, to_jsonable, write_json
from biot_bd.training.classifier.biot_classifier import BIOTClassifier
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.persistence.folder import (
    CONFIG,
    FORMAT,
    VERSION,
    checked_weights,
    load_transformer,
    read_config,
    sha256,
)
from biot_bd.training.persistence.values import class_from_json, class_to_json, from_json, to_json
from biot_bd.training.resume import seeded

NOT_SAVED = ("log_dir", "restart_dir")
"""Parameters of the classifier that belong to one run, not to the model; loaded as None."""


# --- saving -----------------------------------------------------------------------------------------------


def _save_step(name: str, step: Any, folder: Path) -> dict[str, Any]:
    """Describe an estimator; weights go into ``folder``."""
    if step is None or step == "passthrough":
        return {"name": name, "kind": "passthrough"}
    if isinstance(step, Pipeline):
        if step.memory is not None:
            raise SavedPipelineError(f"step {name!r}: a pipeline with memory= cannot be saved; set memory=None")
        return {"name": name, "kind": "pipeline", "steps": [_save_step(n, s, folder) for n, s in step.steps]}
    try:
        if isinstance(step, BIOTClassifier):
            return {"name": name, "kind": "classifier", **_save_classifier(name, step, folder)}
        if not isinstance(step, (BaseEstimator, TransformerMixin)) or not hasattr(step, "transform"):
            raise SavedPipelineError(
                "is not a transformer; pipelines of transformers that end in BIOTClassifier can be saved"
            )
        params = step.get_params(deep=False)
        fitted = {k: v for k, v in vars(step).items() if k not in params}
        return {
            "name": name,
            "kind": "transformer",
            "class": class_to_json(type(step)),
            "params": {k: to_json(v) for k, v in params.items()},
            "fitted": {k: to_json(v) for k, v in fitted.items()},
        }
    except SavedPipelineError as error:
        raise SavedPipelineError(f"step {name!r} ({type(step).__name__}): {error}") from error


def _save_classifier(name: str, net: BIOTClassifier, folder: Path) -> dict[str, Any]:
    if not hasattr(net, "facts_"):
        raise SavedPipelineError("is not fitted")
    try:
        fitted = net.facts_.as_dict()
    except ValueError as error:
        raise SavedPipelineError(str(error)) from error
    params = {k: None if k in NOT_SAVED else v for k, v in net.get_params(deep=False).items()}
    if isinstance(params["module"], torch.nn.Module):
        raise SavedPipelineError(
            "has a module that is an instance; give its class or registered name and module__ parameters"
        )
    encoded = {}
    for key, value in params.items():
        try:
            encoded[key] = to_json(value)
        except SavedPipelineError as error:
            raise SavedPipelineError(f"parameter {key}: {error}") from error
    file, digest = _save_weights(re.sub(r"[^\w-]", "_", name), net.module_, folder)
    return {
        "class": class_to_json(type(net)),
        "params": encoded,
        "fitted": fitted,
        "weights": {"file": file, "sha256": digest},
    }


def _save_weights(name: str, module: torch.nn.Module, folder: Path) -> tuple[str, str]:
    """Write weights under a name that says their content, so that an old config never meets new weights."""
    module = getattr(module, "_orig_mod", module)
    draft = folder / f"{name}.safetensors"
    with atomic_path(draft) as temporary:
        save_model(module, str(temporary))
        digest = sha256(temporary)
    final = folder / f"{name}-{digest[:12]}.safetensors"
    os.replace(draft, final)
    return final.name, digest


def save_pipeline(pipeline: Any, folder: str | os.PathLike[str], record: dict[str, Any] | None = None) -> Path:
    """Save a fitted pipeline.

    Parameters
    ----------
    pipeline : Pipeline or BIOTClassifier
        Fitted; the last step must be a :class:`BIOTClassifier`, the others transformers.
    folder : path
        Made where needed.  A pipeline saved there before is replaced; other files stay.
    record : dict, optional
        Facts about the model as JSON holds them (training subjects, data set, label rule, threshold); see
        :func:`read_record`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    SavedPipelineError
        A step, named, is not fitted or cannot be written as plain data; nothing is changed on disk then.
    TypeError
        ``record`` has no JSON form.

    Notes
    -----
    ``log_dir`` and ``restart_dir`` belong to the run and are not saved.
    """
    folder = Path(folder)
    last = pipeline
    while isinstance(last, Pipeline):
        name, last = last.steps[-1]
        if not isinstance(last, (Pipeline, BIOTClassifier)):
            raise SavedPipelineError(
                f"step {name!r} ({type(last).__name__}): the last step must be a BIOTClassifier to be saved"
            )
    if not isinstance(last, BIOTClassifier):
        raise SavedPipelineError(
            f"{type(pipeline).__name__}: only BIOTClassifier, and pipelines that end in it, can be saved"
        )
    record = to_jsonable(record or {})
    folder.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in folder.glob("*.safetensors")}
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    try:
        config["pipeline"] = _save_step("biotclassifier", pipeline, folder)
        config |= {"record": record, "environment": environment()}
        write_json(folder / CONFIG, config)
    except BaseException:
        for path in folder.glob("*.safetensors"):
            if path.name not in before:
                path.unlink(missing_ok=True)
        raise
    used = set(_weight_files(config["pipeline"]))
    for name in before - used:
        if re.fullmatch(r"[\w-]+-[0-9a-f]{12}\.safetensors", name):
            (folder / name).unlink(missing_ok=True)
    return folder


def _weight_files(spec: dict[str, Any]) -> list[str]:
    own = [spec["weights"]["file"]] if "weights" in spec else []
    return own + [file for step in spec.get("steps", ()) for file in _weight_files(step)]


# --- loading ----------------------------------------------------------------------------------------------


def load_pipeline(folder: str | os.PathLike[str]) -> Any:
    """Load what :func:`save_pipeline` saved.

    Parameters
    ----------
    folder : path
        The folder.

    Returns
    -------
    Pipeline or BIOTClassifier
        Fitted, with the same probabilities; ``record_`` holds the record.

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.
    SavedPipelineError
        A file is damaged or missing, or names a class that may not be loaded.
    biot_bd.exceptions.UnknownNameError
        A plugin that the pipeline needs is not installed.
    """
    folder = Path(folder)
    config = read_config(folder)
    try:
        # Building a module draws random weights that are replaced at once.
        with seeded(0):
            pipeline = _load_step(config["pipeline"], folder)
    except (KeyError, TypeError, AttributeError) as error:
        if isinstance(error, registry.UnknownNameError):
            raise
        raise SavedPipelineError(f"{folder / CONFIG}: damaged ({type(error).__name__}: {error})") from error
    pipeline.record_ = config.get("record", {})
    return pipeline


def _load_step(spec: dict[str, Any], folder: Path) -> Any:
    kind = spec["kind"]
    if kind == "passthrough":
        return "passthrough"
    if kind == "pipeline":
        return Pipeline([(step["name"], _load_step(step, folder)) for step in spec["steps"]])
    if kind not in ("classifier", "transformer"):
        raise SavedPipelineError(f"{folder / CONFIG}: unknown kind of step {kind!r}")
    if kind == "transformer":
        return load_transformer(spec)
    params = {k: from_json(v) for k, v in spec["params"].items()}
    if "mixed_precision" in params:  # the parameter's name until precision took its place
        params["precision"] = params.pop("mixed_precision") or "fp32"
    net = class_from_json(spec["class"])(**params)
    _restore_classifier(net, spec, folder)
    return net


def _restore_classifier(net: BIOTClassifier, spec: dict[str, Any], folder: Path) -> None:
    path = checked_weights(spec, folder)
    net._restore(FittedFacts.from_dict(spec["fitted"]))
    module = getattr(net.module_, "_orig_mod", net.module_)
    try:
        load_model(module, path, strict=True, device=str(net.device))
    except (RuntimeError, SafetensorError) as error:
        raise SavedPipelineError(f"{path}: the weights do not fit the model ({error})") from error
    net.module_.eval()
