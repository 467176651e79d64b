"""Save and load what was pretrained, as JSON and safetensors, without pickle.

``pretraining.json`` names classes by registry or public address, as saved pipelines do (see
:mod:`biot_bd.training.persistence.values`), and its files by checksum; it is written last, so a
folder that has it is whole.  What the other files are says
:mod:`biot_bd.models.checkpoints.pretraining_folder`.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from sklearn.pipeline import Pipeline
from skorch.exceptions import NotInitializedError
from torch import nn

from biot_bd import registry
from biot_bd.exceptions import CheckpointError, SavedPipelineError, UnknownNameError
from biot_bd.json_values import DAMAGE
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints.layouts import fill_module
from biot_bd.models.checkpoints.pipeline_folder import CONFIG, WEIGHTS, sha256
from biot_bd.models.checkpoints.pretrained_model import own_config
from biot_bd.models.checkpoints.pretraining_folder import (
    FORMAT,
    HISTORY,
    OBJECTIVES,
    PRETRAINING,
    VERSION,
    checked_file,
    read_pretraining,
)
from biot_bd.models.checkpoints.provenance import Provenance, sidecar_of
from biot_bd.pretraining.corpora import Corpora
from biot_bd.pretraining.pretrainer import Pretrainer
from biot_bd.runs import atomic_path, environment, make_folder, read_json, to_jsonable, write_json
from biot_bd.training._validation import uncompiled
from biot_bd.training.input_data import InputInfo
from biot_bd.training.persistence.bounded_build import bounded_build
from biot_bd.training.persistence.description import add_learnt, settings_to_json
from biot_bd.training.persistence.run_settings import NOT_SAVED, without_run_settings
from biot_bd.training.persistence.steps import load_step
from biot_bd.training.persistence.values import build, class_to_json, inside, to_json
from biot_bd.training.pretrained import token_names
from biot_bd.training.resume import seeded

# --- saving ---------------------------------------------------------------------------------------


def save_pretraining(
    pipeline: Any, folder: str | os.PathLike[str], record: dict[str, Any] | None = None, *, generated: bool = False
) -> Path:
    """Save what was pretrained: the model without its head, the objectives, the steps in front.

    Parameters
    ----------
    pipeline : Pipeline or Pretrainer
        Fitted; the last step must be a :class:`biot_bd.Pretrainer`, the others transformers.
    folder : path
        Made where needed.  A pretraining saved there before is replaced; other files stay.
    record : dict, optional
        Further facts as JSON holds them.
    generated : bool
        Whether the recordings were made by a program; every output of the model says so.

    Returns
    -------
    Path
        The folder.  ``BIOTClassifier(module, pretrained=folder)`` starts from it, and so does
        ``from_pretrained`` of the model's class.

    Raises
    ------
    SavedPipelineError
        A step is not fitted, or something in it (``step__parameter``) cannot be written as plain
        data; nothing is changed on disk then.
    TypeError
        ``record`` has no JSON form.

    See Also
    --------
    load_pretraining : Loads it again.
    biot_bd.models.provenance_of : Whose recordings the model saw.

    Notes
    -----
    ``log_dir`` and ``restart_dir`` belong to the run and are not saved, nor is the state of the
    optimizer.  Who is killed while an earlier pretraining is replaced leaves a folder that no
    reader takes for either.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from biot_bd import PercentileScaler, Pretrainer
    >>> from biot_bd.pretraining import load_pretraining, save_pretraining
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 400)).astype("float32")
    >>> net = Pretrainer(
    ...     "biot",
    ...     "biot-contrastive",
    ...     module__embed_dim=8,
    ...     module__num_heads=2,
    ...     module__num_layers=1,
    ...     max_epochs=1,
    ...     batch_size=4,
    ...     train_split=None,
    ...     device="cpu",
    ...     random_state=0,
    ... )
    >>> pipeline = make_pipeline(PercentileScaler(), net).fit(x)
    >>> again = load_pretraining(save_pretraining(pipeline, "run"))
    >>> bool((again.transform(x) == pipeline.transform(x)).all())
    True
    """
    folder = Path(folder)
    net = _fitted_last_of(pipeline)
    description = _described(pipeline, net, to_jsonable(record or {}), generated)
    backbone = uncompiled(net.module_).backbone
    config = _hub_config(backbone)
    make_folder(folder)
    (folder / PRETRAINING).unlink(missing_ok=True)
    modules = {WEIGHTS: backbone, OBJECTIVES: uncompiled(net.module_).objectives}
    description["files"] = {name: _write_tensors(module, folder / name) for name, module in modules.items()}
    write_json(folder / CONFIG, config)
    write_json(folder / HISTORY, [_without_batches(row) for row in net.history])
    seen = net.provenance_.to_dict()
    del seen["source"]  # the folder itself, wherever it lies
    write_json(sidecar_of(folder), seen)
    write_json(folder / PRETRAINING, description | {"environment": environment()})
    return folder


def check_pretraining_savable(pipeline: Any) -> None:
    """Raise where a pipeline could not be saved once it is fitted, before anything is fitted.

    Parameters
    ----------
    pipeline : Pipeline or Pretrainer
        Need not be fitted.

    Raises
    ------
    SavedPipelineError
        Names the parameter (``step__parameter``), what it is, and what to take instead.
    """
    _settings(pipeline, _last_of(pipeline))


def _last_of(pipeline: Any) -> Pretrainer:
    """Return the Pretrainer that a pipeline ends in."""
    last = pipeline.steps[-1][1] if isinstance(pipeline, Pipeline) else pipeline
    if not isinstance(last, Pretrainer):
        raise SavedPipelineError(
            f"{type(last).__name__}: only Pretrainer, and pipelines that end in it, can be saved as a pretraining"
        )
    return last


def _fitted_last_of(pipeline: Any) -> Pretrainer:
    """Return the Pretrainer that a pipeline ends in; raise where it is not fitted."""
    last = _last_of(pipeline)
    try:
        last.check_is_fitted()
    except NotInitializedError as error:
        raise SavedPipelineError(f"{type(last).__name__} is not fitted") from error
    return last


def _settings(pipeline: Any, net: Pretrainer) -> tuple[list[dict[str, Any]] | None, dict[str, Any]]:
    """Describe the steps in front (None: there is no pipeline) and the Pretrainer, as given."""
    in_pipeline = isinstance(pipeline, Pipeline)
    name = pipeline.steps[-1][0] if in_pipeline else "pretrainer"
    try:
        steps = []
        for before, step in pipeline.steps[:-1] if in_pipeline else ():
            with inside(before):
                steps.append(settings_to_json(before, step))
        with inside(name):
            trainer = _trainer_to_json(net)
    except SavedPipelineError as error:
        raise SavedPipelineError(str(error)) from error.__cause__
    return (steps if in_pipeline else None), {"name": name, **trainer}


def _described(pipeline: Any, net: Pretrainer, record: dict[str, Any], generated: bool) -> dict[str, Any]:
    steps, trainer = _settings(pipeline, net)
    for spec, (name, step) in zip(steps or (), pipeline.steps[:-1] if steps else (), strict=True):
        with inside(name):
            add_learnt(spec, step)
    return {
        "format": FORMAT,
        "version": VERSION,
        "state": "finished",
        "steps": steps,
        "pretrainer": trainer,
        "model": _model_to_json(net),
        "objective": dict(uncompiled(net.module_).weights),
        "input_info": to_jsonable(net.input_info_.as_dict()),
        "train_subjects": list(net.train_subjects_),
        "valid_subjects": list(net.valid_subjects_),
        "n_epochs": len(net.history),
        "seed": net.seed_,
        "precision": net.precision_,
        "corpora": to_jsonable(asdict(net.corpora_)) if hasattr(net, "corpora_") else None,
        "generated": generated,
        "record": record,
    }


def _trainer_to_json(net: Pretrainer) -> dict[str, Any]:
    """Write class and parameters; of these only what differs from the class's defaults."""
    usual = type(net)().get_params(deep=False)
    given = {name: value for name, value in net.get_params(deep=False).items() if not name.startswith("_")} | NOT_SAVED
    written = {}
    for name, value in given.items():
        if name in usual and (value is usual[name] or (type(value) is type(usual[name]) and value == usual[name])):
            continue
        if name == "module" and isinstance(value, nn.Module):
            value = type(value)
        with inside(name):
            written[name] = to_json(value)
    return {"class": class_to_json(type(net)), "parameters": written}


def _model_to_json(net: Pretrainer) -> dict[str, Any]:
    backbone = uncompiled(net.module_).backbone
    cls = type(backbone)
    names = token_names(backbone, net.input_info_.ch_names) if isinstance(backbone, BIOT) else net.input_info_.ch_names
    with inside("module"):
        written = class_to_json(cls)
    return {
        "name": registry.models.name_of(cls) or f"{cls.__module__}:{cls.__qualname__}",
        "class": written,
        "config": to_jsonable(_hub_config(backbone)),
        "token_names": None if names is None else list(names),
        "n_parameters": sum(parameter.numel() for parameter in backbone.parameters()),
    }


def _hub_config(backbone: nn.Module) -> dict[str, Any]:
    """Return the model's parameters as ``from_config`` of its class takes them."""
    get_config = getattr(backbone, "get_config", None)
    if get_config is None:
        raise SavedPipelineError(
            f"{type(backbone).__name__} has no get_config(), so nobody could build it again; derive it from "
            "braindecode.models.base.EEGModuleMixin"
        )
    config: dict[str, Any] = get_config()
    return config


def _without_batches(row: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = to_jsonable({key: value for key, value in row.items() if key != "batches"})
    return told


def _write_tensors(module: nn.Module, path: Path) -> str:
    """Write a module's tensors, each on its own; return the file's checksum."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(state, str(temporary))
    return sha256(path)


# --- loading --------------------------------------------------------------------------------------


def load_pretraining(folder: str | os.PathLike[str]) -> Any:
    """Load what :func:`save_pretraining`, or ``biot-bd pretrain``, saved.

    Parameters
    ----------
    folder : path
        Of this version's format or a former one.

    Returns
    -------
    Pipeline or Pretrainer
        Fitted: it transforms, reconstructs and is trained on by ``partial_fit``; ``record_`` holds
        the record.

    Raises
    ------
    FileNotFoundError
        There is no pretraining.
    CheckpointError
        A file is damaged, missing, or of another program.
    SavedPipelineError
        It names a class that may not be loaded.
    biot_bd.exceptions.UnknownNameError
        A plugin that it needs is not installed.

    See Also
    --------
    save_pretraining : Writes the folder, with an example.
    biot_bd.BIOTClassifier : Starts from it with ``pretrained=folder``.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import Pretrainer
    >>> from biot_bd.pretraining import load_pretraining, save_pretraining
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 400)).astype("float32")
    >>> sizes = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1}
    >>> net = Pretrainer(
    ...     "biot", "biot-contrastive", batch_size=4, max_epochs=1, train_split=None, **sizes
    ... )
    >>> net = net.fit(x, groups=["a"] * 4 + ["b"] * 4)
    >>> again = load_pretraining(save_pretraining(net, "run", {"made_for": "an example"}))
    >>> (
    ...     again.record_,
    ...     again.train_subjects_,
    ...     len(again.partial_fit(x, groups=["c"] * 8).history),
    ... )
    ({'made_for': 'an example'}, ('a', 'b'), 2)
    """
    folder = Path(folder)
    description = read_pretraining(folder)
    try:
        with seeded(0):  # building a module draws random weights that are replaced at once
            steps = load_steps(folder)
            net = _load_net(description, folder)
    except UnknownNameError as error:
        raise UnknownNameError(f"{folder}: {error}") from error
    except (CheckpointError, SavedPipelineError) as error:
        raise error if str(folder) in str(error) else type(error)(f"{folder}: {error}") from error
    except DAMAGE as error:
        told = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder}: the pretraining is damaged ({type(error).__name__}: {told})") from error
    loaded = net if description["steps"] is None else Pipeline([*steps, (description["pretrainer"]["name"], net)])
    loaded.record_ = description["record"]
    return loaded


def load_steps(folder: str | os.PathLike[str]) -> list[tuple[str, Any]]:
    """Return the fitted transformers that stand before a pretrained model, with their names.

    Raises
    ------
    FileNotFoundError, CheckpointError, SavedPipelineError
        As :func:`load_pretraining`.
    """
    folder = Path(folder)
    return [(step["name"], load_step(step, folder)) for step in read_pretraining(folder)["steps"] or ()]


def _load_net(description: dict[str, Any], folder: Path) -> Pretrainer:
    parameters, left_out = without_run_settings(description["pretrainer"]["parameters"])
    if left_out:
        warnings.warn(
            f"{folder}: left out, as it belongs to the run that pretrained: {', '.join(left_out)}; "
            "set it anew where you train on",
            stacklevel=3,
        )
    net = build(description["pretrainer"]["class"], parameters)
    if not isinstance(net, Pretrainer):
        raise CheckpointError(f"{folder}: what pretrained is a {type(net).__name__}, expected a Pretrainer")
    weights, objectives = (checked_file(folder, description, name) for name in (WEIGHTS, OBJECTIVES))
    net.input_info_ = InputInfo.from_dict(dict(description["input_info"]))
    if description["corpora"] is not None:
        net.corpora_ = Corpora(**{name: tuple(values) for name, values in description["corpora"].items()})
    net._module_config = own_config(description["model"]["config"])
    try:
        with bounded_build(folder, weights):
            net.initialize()
    finally:
        net._module_config = None
    module = uncompiled(net.module_)
    fill_module(module.backbone, weights, str(net.device))
    fill_module(module.objectives, objectives, str(net.device))
    if isinstance(module.backbone, BIOT):
        names = description["model"]["token_names"]
        module.backbone.token_names = None if names is None else tuple(names)
    module.eval()
    net.seed_, net.precision_ = description["seed"], description["precision"]
    net.history_ = type(net.history)({"batches": [], **row} for row in read_json(folder / HISTORY))
    net.train_subjects_, net.valid_subjects_ = map(
        tuple, (description["train_subjects"], description["valid_subjects"])
    )
    sidecar = sidecar_of(folder)
    net.provenance_ = (
        Provenance.from_dict(read_json(sidecar), str(folder))
        if sidecar.is_file()
        else Provenance(str(folder), (), False)
    )
    return net
