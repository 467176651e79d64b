"""Save and load fitted pipelines as ``config.json`` and safetensors, without pickle.

``config.json`` names classes by registry or by import path and holds their parameters; weights lie in
``<step>-<digest>.safetensors``.  On loading only classes are built that are registered, or that belong to
biot_bd, a plugin, scikit-learn's transformers, torch's and braindecode's modules, torch's optimizers and
skorch's callbacks: a file cannot name anything else.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import torch
from braindecode.augmentation import Transform
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback

from biot_bd import registry
from biot_bd.runs import atomic_path, environment, read_json, to_jsonable, write_json
from biot_bd.training.augmentation import transform_parameters
from biot_bd.training.classifier import BIOTClassifier
from biot_bd.training.inputs import InputInfo
from biot_bd.training.pretrained import restore_facts, restore_module, saved_facts
from biot_bd.training.restart import seeded
from biot_bd.training.splits import FixedPersons, PersonValidSplit

__all__ = ["SavedPipelineError", "load_pipeline", "read_record", "save_pipeline"]

FORMAT = "biot_bd pipeline"
VERSION = 1
CONFIG = "config.json"
NOT_SAVED = ("log_dir", "restart_dir")
"""Parameters of the classifier that belong to one run, not to the model; loaded as None."""

_SAFE_PACKAGES: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("biot_bd.", (object,)),
    ("sklearn.", (TransformerMixin,)),
    ("torch.optim.", (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)),
    ("torch.nn.", (torch.nn.Module,)),
    ("braindecode.models.", (torch.nn.Module,)),
    ("braindecode.augmentation.", (Transform,)),
    ("skorch.callbacks.", (Callback,)),
)
_KINDS = ("models", "losses", "callbacks", "montages")


class SavedPipelineError(ValueError):
    """A pipeline cannot be saved as plain data, or a saved one is damaged; the message says which step or file."""


# --- classes ----------------------------------------------------------------------------------------------


def _class_to_json(cls: type) -> dict[str, Any]:
    for kind in _KINDS:
        name = registry.registries[kind].name_of(cls)
        if name is not None:
            return {"$registered": [kind, name]}
    path = f"{cls.__module__}:{cls.__qualname__}"
    if not _is_safe(path, cls):
        raise SavedPipelineError(
            f"{path} is neither registered nor part of biot_bd, a plugin, scikit-learn's transformers, torch, braindecode or skorch; "
            "register it through a plugin (register_models, register_losses or register_callbacks) to save it"
        )
    return {"$class": path}


def _plugin_packages() -> tuple[str, ...]:
    return tuple(f"{point.module.partition('.')[0]}." for point in entry_points(group=registry.PLUGINS_GROUP))


def _safe_bases(path: str) -> tuple[type, ...]:
    module, _, name = path.partition(":")
    if not re.fullmatch(r"[\w.]+", module) or not re.fullmatch(r"\w+(\.\w+)*", name):
        return ()
    for prefix, bases in (*_SAFE_PACKAGES, *((package, (object,)) for package in _plugin_packages())):
        if f"{module}.".startswith(prefix):
            return bases
    return ()


def _is_safe(path: str, cls: Any) -> bool:
    """Return whether a path is of a listed package, names a class of the listed kind, and is where that class is defined."""
    bases = _safe_bases(path)
    return (
        bool(bases)
        and isinstance(cls, type)
        and issubclass(cls, bases)
        and f"{cls.__module__}:{cls.__qualname__}" == path
        and (is_dataclass(cls) or issubclass(cls, _SAFE_KINDS))
    )


_SAFE_KINDS: tuple[type, ...] = (
    BaseEstimator,
    torch.nn.Module,
    torch.optim.Optimizer,
    torch.optim.lr_scheduler.LRScheduler,
    Callback,
    FixedPersons,
    PersonValidSplit,
)


def _class_from_json(spec: dict[str, Any]) -> Any:
    if "$registered" in spec:
        kind, name = spec["$registered"]
        if kind not in _KINDS:
            raise SavedPipelineError(f"the saved pipeline names a registry {kind!r}; known are {', '.join(_KINDS)}")
        return registry.registries[kind][name]
    path = str(spec.get("$class"))
    if not _safe_bases(path):  # before anything is imported
        raise SavedPipelineError(
            f"the saved pipeline names {path!r}, which may not be loaded; it was not written by save_pipeline"
        )
    module, _, qualname = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SavedPipelineError(
            f"the saved pipeline needs {path!r}, which this installation lacks: {error}"
        ) from error
    if not _is_safe(path, found):
        raise SavedPipelineError(
            f"the saved pipeline names {path!r}, which may not be loaded; it was not written by save_pipeline"
        )
    return found


# --- values -----------------------------------------------------------------------------------------------


def _to_json(value: Any) -> Any:
    """Write a parameter or fitted attribute as JSON that :func:`_from_json` reads back."""
    if isinstance(value, np.generic):
        return {"$scalar": [value.dtype.str, _to_json(value.item())]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple):
        return {"$tuple": [_to_json(v) for v in value]}
    if isinstance(value, list):
        return [_to_json(v) for v in value]
    if isinstance(value, dict):
        return {"$dict": [[_to_json(k), _to_json(v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return {"$array": [value.dtype.str, list(value.shape), [_to_json(v) for v in value.ravel().tolist()]]}
    if isinstance(value, np.dtype) and value.kind in "biufU":
        return {"$dtype": value.str}
    if isinstance(value, type):
        return _class_to_json(value)
    return _object_to_json(value)


def _object_to_json(value: Any) -> dict[str, Any]:
    for kind in _KINDS:
        name = registry.registries[kind].name_of(value)
        if name is not None:
            return {"$value_of": [kind, name]}
    if isinstance(value, (FixedPersons, PersonValidSplit)):
        params = dict(vars(value))
    elif isinstance(value, (BaseEstimator, Callback)):
        params = value.get_params(deep=False)
    elif isinstance(value, Transform):
        params = _transform_parameters(value)
    elif is_dataclass(value):
        params = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    else:
        raise SavedPipelineError(f"{value!r} ({type(value).__name__}) cannot be written as plain data")
    return {"$object": _class_to_json(type(value)), "params": {k: _to_json(v) for k, v in params.items()}}


def _transform_parameters(transform: Transform) -> dict[str, Any]:
    try:
        return transform_parameters(transform)
    except ValueError as error:
        raise SavedPipelineError(str(error)) from error


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "$object" in value:
        return _class_from_json(value["$object"])(**{k: _from_json(v) for k, v in value["params"].items()})
    if "$class" in value or "$registered" in value:
        return _class_from_json(value)
    (tag, content), *_ = value.items()
    if tag == "$value_of":
        return _class_from_json({"$registered": content})
    if tag == "$float":
        return float(content)
    if tag == "$tuple":
        return tuple(_from_json(v) for v in content)
    if tag == "$dict":
        return {_from_json(k): _from_json(v) for k, v in content}
    if tag == "$scalar":
        return np.dtype(content[0]).type(_from_json(content[1]))
    if tag == "$array":
        dtype, shape, numbers = content
        return np.array([_from_json(v) for v in numbers], dtype=np.dtype(dtype)).reshape(shape)
    if tag == "$dtype":
        return np.dtype(content)
    raise SavedPipelineError(f"the saved pipeline holds an unknown entry {tag!r}; it was written by another version")


# --- estimators -------------------------------------------------------------------------------------------


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
            "class": _class_to_json(type(step)),
            "params": {k: _to_json(v) for k, v in params.items()},
            "fitted": {k: _to_json(v) for k, v in fitted.items()},
        }
    except SavedPipelineError as error:
        raise SavedPipelineError(f"step {name!r} ({type(step).__name__}): {error}") from error


def _save_classifier(name: str, net: BIOTClassifier, folder: Path) -> dict[str, Any]:
    if not net.__sklearn_is_fitted__() or not hasattr(net, "input_info_"):
        raise SavedPipelineError("is not fitted")
    params = {k: None if k in NOT_SAVED else v for k, v in net.get_params(deep=False).items()}
    if isinstance(params["module"], torch.nn.Module):
        raise SavedPipelineError(
            "has a module that is an instance; give its class or registered name and module__ parameters"
        )
    classes = net.classes_
    fitted = {
        "input_info": net.input_info_.as_dict(),
        "classes": _to_json(classes),
        "class_weight": net.class_weight_,
        "class_counts": net.class_counts_,
        "threshold": net.threshold_,
        "train_persons": list(net.train_persons_),
        "valid_persons": list(net.valid_persons_),
        "n_epochs": len(net.history),
        "compute": net.compute_report_,
        **saved_facts(net),
    }
    encoded = {}
    for key, value in params.items():
        try:
            encoded[key] = _to_json(value)
        except SavedPipelineError as error:
            raise SavedPipelineError(f"parameter {key}: {error}") from error
    file, digest = _save_weights(re.sub(r"[^\w-]", "_", name), net.module_, folder)
    return {
        "class": _class_to_json(type(net)),
        "params": encoded,
        "fitted": to_jsonable(fitted),
        "weights": {"file": file, "sha256": digest},
    }


def _save_weights(name: str, module: torch.nn.Module, folder: Path) -> tuple[str, str]:
    """Write weights under a name that says their content, so that an old config never meets new weights."""
    module = getattr(module, "_orig_mod", module)
    draft = folder / f"{name}.safetensors"
    with atomic_path(draft) as temporary:
        save_model(module, str(temporary))
        digest = _sha256(temporary)
    final = folder / f"{name}-{digest[:12]}.safetensors"
    os.replace(draft, final)
    return final.name, digest


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_pipeline(pipeline: Any, folder: str | os.PathLike[str], record: dict[str, Any] | None = None) -> Path:
    """Save a fitted pipeline.

    Parameters
    ----------
    pipeline : Pipeline or BIOTClassifier
        Fitted; the last step must be a :class:`BIOTClassifier`, the others transformers.
    folder : path
        Made where needed.  A pipeline saved there before is replaced; other files stay.
    record : dict, optional
        Facts about the model as JSON holds them (training persons, data set, label rule, threshold); see
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


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder}: no saved pipeline here (no {CONFIG})")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise SavedPipelineError(f"{folder / CONFIG}: not written by save_pipeline")
    if config.get("version") != VERSION:
        raise SavedPipelineError(
            f"{folder / CONFIG}: of format version {config.get('version')}; this biot_bd reads {VERSION}"
        )
    return config


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the record that :func:`save_pipeline` was given.

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.
    SavedPipelineError
        It is of another format.
    """
    return _read_config(Path(folder)).get("record", {})


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
    biot_bd.registry.UnknownNameError
        A plugin that the pipeline needs is not installed.
    """
    folder = Path(folder)
    config = _read_config(folder)
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
    cls = _class_from_json(spec["class"])
    params = {k: _from_json(v) for k, v in spec["params"].items()}
    if kind == "classifier" and "mixed_precision" in params:  # the parameter's name until compute took its place
        params["compute"] = params.pop("mixed_precision") or "fp32"
    step = cls(**params)
    if kind == "classifier":
        _restore_classifier(step, spec, folder)
    else:
        for key, value in spec["fitted"].items():
            setattr(step, key, _from_json(value))
    return step


def _restore_classifier(net: BIOTClassifier, spec: dict[str, Any], folder: Path) -> None:
    name, digest = spec["weights"]["file"], spec["weights"]["sha256"]
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise SavedPipelineError(f"{path}: the weights are missing; copy the whole folder again")
    if _sha256(path) != digest:
        raise SavedPipelineError(f"{path}: the weights are damaged (checksum differs); copy the folder again")
    fitted = spec["fitted"]
    net.input_info_ = InputInfo.from_dict(fitted["input_info"])
    net.classes_inferred_ = _from_json(fitted["classes"])
    net.class_weight_, net.class_counts_ = fitted["class_weight"], fitted["class_counts"]
    net.threshold_ = fitted["threshold"]
    net.train_persons_, net.valid_persons_ = tuple(fitted["train_persons"]), tuple(fitted["valid_persons"])
    restore_facts(net, fitted)
    net.initialize()
    restore_module(net, fitted)
    net._restore_plans(fitted.get("compute"))
    module = getattr(net.module_, "_orig_mod", net.module_)
    try:
        load_model(module, path, strict=True, device=str(net.device))
    except (RuntimeError, SafetensorError) as error:
        raise SavedPipelineError(f"{path}: the weights do not fit the model ({error})") from error
    net.module_.eval()
