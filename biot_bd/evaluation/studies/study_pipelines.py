"""From a row of a study to a pipeline: the steps that a contract asks for, then the model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.pipeline import Pipeline, make_pipeline

from biot_bd import registry
from biot_bd.embedding import Embedder
from biot_bd.evaluation.studies.baselines import baseline, is_neural
from biot_bd.evaluation.studies.study_plan import StudyModel, StudyPlan, StudyRow
from biot_bd.exceptions import CheckpointError, ContractError
from biot_bd.models import load_checkpoint
from biot_bd.models.checkpoints.pretraining_folder import read_pretraining
from biot_bd.models.checkpoints.published import KNOWN
from biot_bd.pretraining.folder import load_steps
from biot_bd.probes.slots import open_model, steps_for
from biot_bd.signals import MontageMapper, PercentileScaler
from biot_bd.signals.features import FillAbsent
from biot_bd.signals.montages import montage_of
from biot_bd.training import BIOTClassifier
from biot_bd.training.pretrained import pretraining_folder
from biot_bd.windows import Windows

_OF_DATA = frozenset(
    "n_outputs n_chans n_times sfreq chs_info ch_names channel_ids input_window_seconds n_channel_tokens".split()
)


def steps_before(model: StudyModel, windows: Windows, *, weights: bool = True) -> list[Any]:
    """Return the transformers that bring windows to what a model's contract asks for.

    Parameters
    ----------
    model : StudyModel
    windows : Windows
        As prepared, in uV.
    weights : bool
        Whether the model starts from its checkpoint: a pretraining brings its own steps.

    Returns
    -------
    list of WindowTransformer
        Montage mapper, resampler, scaler, filler of absent channels; those that are needed.

    See Also
    --------
    biot_bd.probes.steps_for : Those of the contract alone.
    """
    run = pretraining_folder(model.pretrained) if weights else None
    if run is not None:
        return [step for _, step in load_steps(run)]
    montage = montage_of(windows.ch_names)
    steps: list[Any] = [] if montage is None else [MontageMapper(montage.name)]
    contract = registry.models.contract(str(model.module))
    steps += [] if contract is None else steps_for(contract, windows)
    if contract is None or contract.scale is None:
        steps.append(PercentileScaler(on_bad="drop"))
    absent = getattr(registry.models[str(model.module)], "accepts_absent_channels", False)
    if not (absent or getattr(contract, "accepts_absent_channels", False)):
        steps.append(FillAbsent())
    return steps


def classifier_params(model: StudyModel, *, weights: bool) -> dict[str, Any]:
    """Return what a ``BIOTClassifier`` of a model is built with.

    Without its weights a model has the size of its checkpoint all the same.
    """
    params = dict(model.params)
    if not weights and model.size_of is not None:
        params = {**size_of_checkpoint(model.size_of, str(model.module)), **params}
    own = {"pretrained": model.pretrained} if weights and model.pretrained is not None else {}
    return {**{f"module__{name}": value for name, value in params.items()}, **own}


def size_of_checkpoint(source: str, module: str) -> dict[str, Any]:
    """Return the parameters that give a model with random weights a checkpoint's architecture."""
    if source in KNOWN:  # published ones have the sizes that the class has by itself
        return {}
    run = pretraining_folder(source)
    config: Mapping[str, Any]
    if run is not None:
        config = read_pretraining(run)["model"]["config"]
    else:
        config = load_checkpoint(source).facts.config
    known = inspect.signature(registry.models[module]).parameters
    return {
        name: value
        for name, value in config.items()
        if name in known and name not in _OF_DATA and _is_plain(value) and value != known[name].default
    }


def _is_plain(value: Any) -> bool:
    # Texts stand for classes (activation), which JSON cannot hold; none of them is a size.
    return isinstance(value, (bool, int, float))


def has_weights(row: StudyRow) -> bool:
    """Return whether a row's model starts from a checkpoint."""
    return row.model is not None and row.model.pretrained is not None and row.kind in ("frozen", "finetune")


def pipeline_of(row: StudyRow, windows: Windows, plan: StudyPlan, *, seed: int, cache: Any = None) -> Pipeline:
    """Build the pipeline of a row, not fitted.

    Parameters
    ----------
    row : StudyRow
    windows : Windows
        What it is for.
    plan : StudyPlan
        Its ``training`` and ``embedding`` settings.
    seed : int
        Of the random weights of a frozen model; training is seeded by the fold.
    cache : path, optional
        Where embeddings are kept; inside the store by default.

    Returns
    -------
    sklearn.pipeline.Pipeline

    Raises
    ------
    ContractError
        A recipe without weights to start from.

    See Also
    --------
    biot_bd.evaluation.baseline : Pipelines of baselines.
    """
    if row.model is None:
        return baseline(row.name, windows, params=dict(plan.training) if is_neural(row.name) else None)
    steps = steps_before(row.model, windows, weights=has_weights(row))
    if row.kind == "frozen":
        return _frozen(row, row.model, steps, plan, seed, cache)
    if row.kind == "finetune" and row.model.pretrained is None:
        raise ContractError(
            f"{row.name}: {row.strategy!r} trains on from weights, and model {row.model.name!r} has none; give it "
            "pretrained = ..., or take the strategy scratch"
        )
    params = {**plan.training, **classifier_params(row.model, weights=has_weights(row))}
    if row.kind == "finetune":
        recipe = row.strategy.split("+")
        params["finetune"] = recipe[0] if len(recipe) == 1 else recipe
    return make_pipeline(*steps, BIOTClassifier(str(row.model.module), **params))


def _frozen(row: StudyRow, model: StudyModel, steps: Sequence[Any], plan: StudyPlan, seed: int, cache: Any) -> Pipeline:
    probe = registry.frozen_probes[row.strategy]()
    params = classifier_params(model, weights=has_weights(row))
    own = {name.removeprefix("module__"): value for name, value in params.items() if name != "pretrained"}
    settings = {"pooling": getattr(probe, "pooling", "mean"), **plan.embedding, **model.embedding}
    embedder = Embedder(
        str(model.module),
        pretrained=params.get("pretrained"),
        module_params=own or None,
        random_state=0 if has_weights(row) else seed,
        cache=cache,
        **settings,
    )
    return make_pipeline(*steps, embedder, probe)


def choose_store(model: StudyModel, stores: Sequence[Windows], *, weights: bool) -> tuple[Windows, Any]:
    """Return the first preparation that a model can take, and the model behind its steps.

    Parameters
    ----------
    model : StudyModel
    stores : sequence of Windows
        Of one cohort, at least one.
    weights : bool
        Whether it starts from its checkpoint.

    Returns
    -------
    tuple of (Windows, sklearn.pipeline.Pipeline)
        The pipeline ends in a :class:`biot_bd.BIOTClassifier` whose module is built, not trained.

    Raises
    ------
    ContractError
        It can take none; the message says why, and what to type.

    See Also
    --------
    biot_bd.probes.check_slots : What to do with the pipeline.
    """
    reasons: list[str] = []
    for windows in stores:
        try:
            params = classifier_params(model, weights=weights)
            opened = open_model(
                str(model.module), windows, steps=steps_before(model, windows, weights=weights), params=params
            )
        except (ContractError, CheckpointError) as error:
            if isinstance(error, CheckpointError):
                _check_readable(model)  # a damaged file is a fault, not a matter of the windows
            reasons.append(f"{windows.folder}: {error}" if len(stores) > 1 else str(error))
            continue
        return windows, opened
    raise ContractError("; ".join(dict.fromkeys(reasons)) + how_to_prepare(model, stores[0]))


def _check_readable(model: StudyModel) -> None:
    run = pretraining_folder(model.pretrained)
    if run is not None:
        read_pretraining(run)
    elif model.pretrained is not None:
        load_checkpoint(model.pretrained)


def how_to_prepare(model: StudyModel, windows: Windows) -> str:
    """Return the command that makes a preparation for a model's contract, as the end of a
    message.
    """
    contract = registry.models.contract(str(model.module))
    if contract is None:
        return ""
    table = windows.tables[0]
    montage = {"referential": "szcore-19", "bipolar": "biot-16"}.get(
        contract.reference or ("referential" if contract.ch_names else ""), "NAME"
    )
    settings = f"--window-s {table.window_s:g} --stride-s {table.stride_s:g}"
    return (
        f"; to compare it too: biot-bd prepare DATASET RECORDINGS -o WINDOWS --montage {montage} "
        f"--sfreq {contract.sfreq or windows.sfreq:g} {settings}, and name WINDOWS as another store of the cohort"
    )
