"""Save and load fitted pipelines as JSON and safetensors, without pickle.

``pipeline.json`` names classes by registry or by public address and holds their parameters (see
:mod:`biot_bd.training.persistence.values` for what it may name).  ``model.safetensors`` holds the
weights; where the module is one of braindecode's, ``config.json`` beside it is the Hub layout that
plain braindecode loads.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import braindecode.models
import torch
from safetensors.torch import save_model
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from biot_bd.exceptions import SavedPipelineError, UnknownNameError
from biot_bd.json_values import DAMAGE
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints.pipeline_folder import (
    CONFIG,
    FORMAT,
    PIPELINE,
    WEIGHTS,
    classifier_spec,
    description_file,
    draft_name,
    inner_specs,
    sha256,
)
from biot_bd.runs import atomic_path, environment, make_folder, to_jsonable, write_json
from biot_bd.training._validation import uncompiled
from biot_bd.training.classifier.biot_classifier import BIOTClassifier
from biot_bd.training.persistence.description import check_end, described
from biot_bd.training.persistence.readers import damaged_model, read_description
from biot_bd.training.persistence.steps import load_step
from biot_bd.training.persistence.tensors import Tensors
from biot_bd.training.resume import seeded

VERSION = 2
COMPOSITE_VERSION = 3
"""Of what holds more than one part with weights: who knows version 2 alone cannot read it."""
_OWN_WEIGHTS = re.compile(r"[\w-]+-[0-9a-f]{12}\.safetensors")
"""Drafts, and weights as format 1 named them."""


# --- saving ---------------------------------------------------------------------------------------


def save_pipeline(pipeline: Any, folder: str | os.PathLike[str], record: dict[str, Any] | None = None) -> Path:
    """Save a fitted pipeline.

    Parameters
    ----------
    pipeline : Pipeline or BIOTClassifier
        Fitted; the last step must be a :class:`BIOTClassifier`, a probe behind an
        :class:`~biot_bd.Embedder`, or a :class:`~biot_bd.ensembles.SeedEnsemble` of these; the
        others transformers.
    folder : path
        Made where needed.  A pipeline saved there before is replaced; other files stay.
    record : dict, optional
        Facts about the model as JSON holds them (training subjects, data set, label rule,
        threshold); see :func:`read_record`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    SavedPipelineError
        A step is not fitted, or something in it (``step__parameter``) cannot be written as plain
        data; nothing is changed on disk then.
    TypeError
        ``record`` has no JSON form.

    See Also
    --------
    check_savable : Tells beforehand.
    load_pipeline : Load it again.
    load_scorer : Load it to score windows and nothing else.

    Notes
    -----
    ``log_dir`` and ``restart_dir`` belong to the run and are not saved.  A process that is killed
    while it saves leaves the former model or the new one, never a mixture.

    A probe's model and its arrays, and the members of an ensemble, lie in the one file of weights,
    so the folder needs neither the checkpoint nor a cache of embeddings.

    Where the module is BIOT (with a token for each channel) or another model of braindecode, the
    folder is also a Hub repository: ``braindecode.models.BIOT.from_pretrained(folder)`` loads the
    module.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from biot_bd import BIOTClassifier, PercentileScaler, load_pipeline, save_pipeline
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    >>> net = BIOTClassifier(
    ...     "shallow", max_epochs=1, train_split=None, device="cpu", random_state=0
    ... )
    >>> pipeline = make_pipeline(PercentileScaler(), net).fit(x, [0, 1] * 4)
    >>> folder = save_pipeline(pipeline, "model", record={"data": "noise"})
    >>> sorted(path.name for path in folder.iterdir())
    ['config.json', 'model.safetensors', 'pipeline.json']
    >>> bool((load_pipeline(folder).predict_proba(x) == pipeline.predict_proba(x)).all())
    True
    """
    folder = Path(folder)
    last = check_end(pipeline)
    plain = isinstance(last, BIOTClassifier)
    if plain and not hasattr(last, "facts_"):
        raise SavedPipelineError(f"{type(last).__name__} is not fitted")
    if not plain:
        _check_fitted(last)
    tensors = None if plain else Tensors()
    spec = described(pipeline, tensors, learnt=True)
    version = VERSION if plain else COMPOSITE_VERSION
    description = {"format": FORMAT, "version": version, "pipeline": spec, "record": to_jsonable(record or {})}
    hub_class, hub_config = hub_layout(uncompiled(last.module_)) if plain else (None, None)
    make_folder(folder)
    draft, digest = _write_draft(uncompiled(last.module_).state_dict() if tensors is None else tensors.tensors, folder)
    if plain:
        classifier_spec(description)["weights"] = {"file": WEIGHTS, "sha256": digest, "hub_class": hub_class}
    else:
        for one in inner_specs(spec):
            if "weights" in one:
                one["weights"].update(file=WEIGHTS, sha256=digest)  # type: ignore[attr-defined]  # plain dicts
    before = {path for path in folder.glob("*.safetensors") if _OWN_WEIGHTS.fullmatch(path.name)} - {draft}
    replaces = description_file(folder) is not None
    if not replaces:  # what declares a new model comes last
        _place_weights(draft, hub_config)
    try:
        write_json(folder / PIPELINE, description | {"environment": environment()})
    except BaseException:
        for path in (draft,) if replaces else (folder / WEIGHTS, folder / CONFIG):
            path.unlink(missing_ok=True)
        raise
    if replaces:  # the new description stands and finds the draft
        _place_weights(draft, hub_config)
    for path in before:
        path.unlink(missing_ok=True)
    return folder


def _check_fitted(last: Any) -> None:
    try:
        check_is_fitted(last)
    except NotFittedError as error:
        raise SavedPipelineError(str(error)) from error


def _write_draft(tensors: Mapping[str, torch.Tensor], folder: Path) -> tuple[Path, str]:
    """Write weights under a name that says their content; return the file and its checksum."""
    unnamed = folder / draft_name(WEIGHTS, "0" * 12)
    with atomic_path(unnamed) as temporary:
        # A view of a larger memory (as vector_to_parameters leaves) is written as what it shows.
        state = {k: v.clone() if v.untyped_storage().nbytes() > v.nbytes else v for k, v in tensors.items()}
        save_model(SimpleNamespace(state_dict=lambda: state), str(temporary))  # type: ignore[arg-type]
        digest = sha256(temporary)
    draft = folder / draft_name(WEIGHTS, digest)
    os.replace(unnamed, draft)
    return draft, digest


def _place_weights(draft: Path, hub_config: dict[str, Any] | None) -> None:
    """Give weights their name, beside the ``config.json`` of the Hub layout.

    No ``config.json`` ever stands beside weights of another save.
    """
    folder = draft.parent
    (folder / WEIGHTS).unlink(missing_ok=True)
    if hub_config is None:
        (folder / CONFIG).unlink(missing_ok=True)
    else:
        write_json(folder / CONFIG, hub_config)
    os.replace(draft, folder / WEIGHTS)


def check_savable(pipeline: Any) -> None:
    """Raise where a pipeline could not be saved once it is fitted, before anything is fitted.

    Parameters
    ----------
    pipeline : Pipeline or BIOTClassifier
        Need not be fitted.  What its transformers will learn is not known yet.

    Raises
    ------
    SavedPipelineError
        Names the parameter (``step__parameter``), what it is, and what to take instead.

    See Also
    --------
    save_pipeline : Writes in the same way.

    Examples
    --------
    >>> from skorch.callbacks import EarlyStopping, LRScheduler
    >>> from biot_bd import BIOTClassifier
    >>> from biot_bd.training import check_savable
    >>> check_savable(BIOTClassifier(callbacks=[EarlyStopping()]))
    >>> rates = LRScheduler("LambdaLR", lr_lambda=lambda epoch: 0.9**epoch)
    >>> check_savable(BIOTClassifier(callbacks=[("rates", rates)]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    biot_bd.exceptions.SavedPipelineError: callbacks__rates__lr_lambda: found the function ...
    """
    check_end(pipeline)
    described(pipeline, learnt=False)


def hub_layout(module: Any) -> tuple[str | None, dict[str, Any] | None]:
    """Return the class of braindecode that loads a module, and its ``config.json``.

    Parameters
    ----------
    module : torch.nn.Module
        Its weights are those that lie in ``model.safetensors``.

    Returns
    -------
    address : str or None
        E.g. ``"braindecode.models:BIOT"``; None where braindecode has no such module: one of
        another package, a BIOT whose channels are not its tokens in order, a module that was
        changed after it was built.
    config : dict or None
        What ``from_config`` of that class takes.
    """
    name = type(module).__name__
    cls: Any = getattr(braindecode.models, name, None)
    if type(module) not in (cls, BIOT) or not hasattr(module, "get_config"):
        return None, None
    try:
        config = module.get_config()
        json.dumps(config)
        if type(module) is BIOT:
            ids, size = config.pop("channel_ids"), config.pop("n_channel_tokens")
            for ours in ("class_token", "token_drop_prob"):  # with a class token the tensors differ, below
                del config[ours]
            if ids != list(range(size)):
                return None, None
        with seeded(0):  # the random weights of the trial must not move the caller's numbers
            built = cls.from_config(config)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return None, None
    found, wanted = ({key: tuple(value.shape) for key, value in one.state_dict().items()} for one in (built, module))
    return (f"braindecode.models:{name}", config) if found == wanted else (None, None)


# --- loading --------------------------------------------------------------------------------------


def load_pipeline(folder: str | os.PathLike[str]) -> Any:
    """Load what :func:`save_pipeline` saved.

    Parameters
    ----------
    folder : path
        The folder, of this version's format or a former one.

    Returns
    -------
    Pipeline, BIOTClassifier or SeedEnsemble
        Fitted, with the same probabilities; ``record_`` holds the record.

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.
    SavedPipelineError
        A file is damaged or missing, or names a class that may not be loaded.
    biot_bd.exceptions.UnknownNameError
        A plugin that the pipeline needs is not installed.

    See Also
    --------
    save_pipeline : Writes the folder, with an example.
    load_scorer : Probabilities alone, in half the time.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import BIOTClassifier, load_pipeline, save_pipeline
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    >>> net = BIOTClassifier(
    ...     "shallow", max_epochs=1, train_split=None, device="cpu", random_state=0
    ... )
    >>> again = load_pipeline(
    ...     save_pipeline(net.fit(x, [0, 1] * 4), "model", record={"data": "noise"})
    ... )
    >>> again.record_, again.classes_.tolist()
    ({'data': 'noise'}, [0, 1])
    """
    folder = Path(folder)
    description = read_description(folder)
    try:
        # Building a module draws random weights that are replaced at once.
        with seeded(0):
            pipeline = load_step(description["pipeline"], folder)
    except UnknownNameError as error:
        raise UnknownNameError(f"{folder}: {error}") from error
    except DAMAGE as error:
        raise damaged_model(folder, error) from error
    pipeline.record_ = description.get("record") or {}
    return pipeline
