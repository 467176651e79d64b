"""Build the pipeline that the options of ``cv`` and ``train`` describe, and read ``KEY=VALUE``
options.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biot_bd import registry
from biot_bd.commands._options import TrainingOptions

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from biot_bd import Windows
    from biot_bd.events import EventDetector

SMALL_BIOT: dict[str, Any] = {
    "module__embed_dim": 64,
    "module__num_heads": 4,
    "module__num_layers": 3,
    "module__hop_length": 200,
}
"""Parameters of the BIOT that trains within minutes on a laptop; outputs must name it as small.

Frames do not overlap, which halves the tokens; three layers have an early, a middle and a late one.
"""
_FULL_SIZE = {"embed_dim": 256, "num_layers": 4, "num_heads": 8}
_RENAMED = {"loss": "criterion", "epochs": "max_epochs"}
_CLASSIFIER = (
    *("loss", "epochs", "batch_size", "lr", "patience", "precision", "micro_batch", "sampler", "augment"),
    *("pretrained", "finetune"),
)
"""Options that are parameters of the classifier, two of them under another name."""


def parse_assignments(texts: Sequence[str] | None, option: str = "--param") -> dict[str, Any]:
    """Parse ``KEY=VALUE`` texts; a value is JSON where it reads as such, else text.

    Parameters
    ----------
    texts : sequence of str or None
        For instance ``["module__num_layers=2", "optimizer__weight_decay=1e-5", "module=eegnet"]``.
    option : str
        The option's name, for the message.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        No ``=``, no key, or a key given twice.
    """
    out: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ValueError(f"{option} {text!r}: expected KEY=VALUE, e.g. {option} module__num_layers=2")
        if key in out:
            raise ValueError(f"{option} {key} is given twice")
        try:
            out[key] = json.loads(value)
        except json.JSONDecodeError:
            out[key] = value
    return out


def open_windows(folder: Path) -> Windows:
    """Open a window store, with an error that says how to make one.

    Raises
    ------
    FileNotFoundError
        There is no store.
    """
    from biot_bd.commands._folders import expect
    from biot_bd.windows import Windows

    expect(folder, "windows")
    return Windows.open(folder)


def open_labelled_windows(folder: Path) -> Windows:
    """Open a window store to train from.

    Raises
    ------
    FileNotFoundError
        There is no store.
    ValueError
        None of its windows, or each of them, is of a seizure.
    """
    windows = open_windows(folder)
    n_seizure = int((windows.y != 0).sum())
    if n_seizure in (0, len(windows)):
        which = "none is" if n_seizure == 0 else "all are"
        raise ValueError(
            f"{folder}: {len(windows):,} windows, and {which} of a seizure (label rule {windows.label_rule}), so nothing can be "
            "learnt from them (`biot-bd pretrain` needs no labels); `biot-bd doctor RECORDINGS` says where labels come from"
        )
    return windows


def build_pipeline(
    windows: Windows,
    options: TrainingOptions | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    protocol: str | None = None,
) -> Pipeline:
    """Build montage mapper, percentile scaler and classifier for prepared windows, or the
    pipeline of a baseline.

    Parameters
    ----------
    windows : Windows
        Says the montage, so that the saved pipeline maps other recordings to it.
    options : TrainingOptions, optional
        The classifier's defaults where None.
    params : mapping, optional
        Further parameters of :class:`~biot_bd.BIOTClassifier` in skorch's style
        (``module__num_layers``).
    protocol : str, optional
        A preset that gives the settings of training; none of them may be given beside it.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Steps ``montagemapper`` (where the montage has a name), ``percentilescaler``, ``fillabsent``
        (for models that cannot leave a channel out), ``biotclassifier``; other steps for a baseline
        that is not neural.

    Raises
    ------
    biot_bd.exceptions.UnknownNameError
        No such model or loss.
    ValueError
        A parameter that the classifier does not know, one given twice, one that protocol or
        baseline rule out, or values of which no module, loss and optimizer can be made.
    """
    from biot_bd.evaluation.studies.baselines import BASELINES, is_neural
    from biot_bd.evaluation.studies.run_protocol import model_pipeline

    params, options = dict(params or {}), options or TrainingOptions()
    model = chosen_model(options.model, options.pretrained)
    run = _pretraining(options.pretrained)
    own = model in BASELINES and not is_neural(model)
    chosen = {name: value for name in _CLASSIFIER if (value := getattr(options, name)) not in (None, [])}
    if "augment" in chosen:
        chosen["augment"] = [_transform(text) for text in chosen["augment"]]
    if not own and len(windows.classes) > 2:
        params.setdefault("classes", list(range(len(windows.classes))))
    if options.pretrained is not None and (
        own or (run is None and not hasattr(registry.models[model], "from_checkpoint"))
    ):
        raise ValueError(
            f"--pretrained {options.pretrained}: checkpoints are of BIOT, but the model is {model!r}; leave one out"
        )
    settings = {_RENAMED.get(name, name): value for name, value in _resolved(chosen, params).items()}
    double = sorted(set(settings) & set(params))
    if double:
        raise ValueError(f"--param {double[0]}: this parameter has an option of its own; give it there")
    try:
        pipeline = model_pipeline(model, windows, protocol=protocol, params={**settings, **params})
    except TypeError as error:
        raise ValueError(f"the classifier does not take these parameters: {error}") from error
    if run is not None:
        pipeline = _behind_its_steps(pipeline, run, model, windows)
    if options.ignore_channel:
        pipeline = _ignoring(pipeline, options.ignore_channel, windows)
    if not own:
        _check_module_params(model, params)
        from biot_bd.commands._trial import try_classifier

        try_classifier(pipeline[-1], windows, {**settings, **params})
    return pipeline


def chosen_model(model: str | None, pretrained: str | None) -> str:
    """Return the model that options name: that of a pretraining, or BIOT, where they name none.

    Raises
    ------
    ValueError
        The pretrained model is of a class that no plugin registers, or ``model`` is another one.
    """
    run = _pretraining(pretrained)
    if run is None:
        return model or "biot"
    from biot_bd.training.pretrained import pretrained_name, takes_weights_of

    own = pretrained_name(run)
    if own not in registry.models:
        raise ValueError(
            f"--pretrained {run}: its model {own} is not registered; a plugin registers it (register_models)"
        )
    if model is not None and not (model in registry.models and takes_weights_of(registry.models[model], own)):
        raise ValueError(f"--model {model}: {run} is a pretrained {own}; leave --model out")
    return model or own


def _pretraining(pretrained: str | None) -> Path | None:
    """Return the folder of a pretraining; None of other checkpoints."""
    if pretrained is None:
        return None
    from biot_bd.training.pretrained import pretraining_folder

    return pretraining_folder(pretrained)


def _behind_its_steps(pipeline: Pipeline, run: Path, model: str, windows: Windows) -> Pipeline:
    """Return a pipeline with the steps of a pretraining in front of its last one.

    Raises CheckpointError where the windows are not such as the model was pretrained on.
    """
    from sklearn.pipeline import Pipeline

    from biot_bd.pretraining.folder import load_steps
    from biot_bd.training.input_data import SignalData
    from biot_bd.training.pretrained import check_pretrained_input

    steps = load_steps(run)
    seen: Any = windows[:1]
    for _, step in steps:
        seen = step.transform(seen)
    check_pretrained_input(run, registry.models[model], SignalData(seen).info)
    return Pipeline([*steps, pipeline.steps[-1]])


def build_pretraining(
    windows: Windows,
    model: str | None,
    weights: Mapping[str, float],
    settings: Mapping[str, Any],
    *,
    params: Mapping[str, Any],
    ignore_channels: Sequence[str] | None = None,
) -> Pipeline:
    """Build the pipeline of ``biot-bd pretrain``: the steps of classifiers, then the Pretrainer.

    Parameters
    ----------
    windows : Windows
        Say the montage.
    model : str or None
        Registered; None: that of a pretraining to go on from, or BIOT.
    weights : mapping
        Weight of each objective, by name; empty: the one that fits the model's tokens.
    settings, params : mapping
        Parameters of :class:`biot_bd.Pretrainer`, of options and of ``--param``.
    ignore_channels : sequence of str, optional
        Channels that the model shall not see.

    Raises
    ------
    ValueError
        A parameter that the Pretrainer does not know or that has an option of its own, or values
        of which no model and objective can be made.
    """
    from sklearn.pipeline import make_pipeline

    from biot_bd.commands._trial import try_pretrainer, trying
    from biot_bd.evaluation.studies.baselines import steps_in_front
    from biot_bd.pretraining import Pretrainer

    model = chosen_model(model, settings.get("pretrained"))
    double = sorted({"module", "objective", *settings} & set(params))
    if double:
        raise ValueError(f"--param {double[0]}: this parameter has an option of its own; give it there")
    placed = sorted({"log_dir", "restart_dir"} & set(params))
    if placed:
        raise ValueError(f"--param {placed[0]}: it has a place of its own in the folder of --output; leave it out")
    _check_module_params(model, params)
    given = {"model": model, **params}
    with trying("pretraining", given):
        named = next(iter(weights), None) or _fitting_objective(model, windows, params)
    objective = dict(weights) if len(weights) > 1 else named
    try:
        net = Pretrainer(model, objective, **{**settings, **params})
    except TypeError as error:
        raise ValueError(f"the Pretrainer does not take these parameters: {error}") from error
    try_pretrainer(net, windows, given)
    pipeline = make_pipeline(*steps_in_front(model, windows), net)
    run = _pretraining(settings.get("pretrained"))
    if run is not None:
        pipeline = _behind_its_steps(pipeline, run, model, windows)
    return _ignoring(pipeline, ignore_channels, windows) if ignore_channels else pipeline


def _fitting_objective(model: str, windows: Windows, params: Mapping[str, Any]) -> str:
    """Return the masked objective for what a model's tokens hold."""
    import torch

    from biot_bd.models import token_stages

    cls, info = registry.models[model], windows.info
    facts = {"n_chans": info.n_chans, "n_times": info.n_times, "sfreq": info.sfreq, "n_outputs": 2}
    known = {name: value for name, value in facts.items() if name in inspect.signature(cls).parameters}
    given = {key.removeprefix("module__"): value for key, value in params.items() if key.startswith("module__")}
    with torch.device("meta"):  # its weights are not wanted
        kind = token_stages(cls(**{**known, **given})).kind
    return "masked-patch" if kind == "signal" else "masked-spectrum"


def _transform(text: str) -> str | tuple[str, dict[str, Any]]:
    """Return a transform as ``augment`` takes it: a name, or ``NAME:KEY=VALUE,...`` as a pair."""
    name, colon, rest = text.partition(":")
    return (name, parse_assignments(rest.split(","), f"--augment {name}:")) if colon else text


def _ignoring(pipeline: Pipeline, channels: Sequence[str], windows: Windows) -> Pipeline:
    """Return the pipeline with a step that hides channels, behind the montage mapper."""
    from sklearn.pipeline import Pipeline

    from biot_bd.signals import IgnoreChannels, MontageMapper

    step = IgnoreChannels(list(channels))
    step.output_info(windows.info)
    steps = list(pipeline.steps)
    steps.insert(int(isinstance(steps[0][1], MontageMapper)), ("ignorechannels", step))
    return Pipeline(steps)


def _resolved(chosen: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as ``BIOTClassifier`` takes them; raise for what no sampler, transform,
    recipe or number is.
    """
    from biot_bd.training.finetuning.recipes import resolve
    from biot_bd.training.sampling.augmentation import resolve_augment
    from biot_bd.training.sampling.strategies import resolve_sampler

    chosen |= {name: chosen[name][0] for name in ("augment", "finetune") if len(chosen.get(name, ())) == 1}
    resolve_sampler(chosen.get("sampler"))
    resolve_augment(chosen.get("augment"))
    own = {key.removeprefix("finetune__"): value for key, value in params.items() if key.startswith("finetune__")}
    try:
        if "finetune" in chosen:
            resolve(chosen["finetune"], own)
    except TypeError as error:
        raise ValueError(str(error)) from error
    text = chosen.get("micro_batch", "auto")
    if text not in ("auto", "whole") and not (text.isdecimal() and int(text) > 0):
        raise ValueError(f"--micro-batch {text!r}: expected a positive number of windows, 'whole' or 'auto'")
    if text != "auto":
        chosen["micro_batch"] = None if text == "whole" else int(text)
    return chosen


def _check_module_params(model: str, params: Mapping[str, Any]) -> None:
    """Raise for a ``module__*`` that the model's constructor does not have, before anything is
    trained.
    """
    known = inspect.signature(registry.models[model]).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    unknown = [key for key in params if key.startswith("module__") and key.removeprefix("module__") not in known]
    if unknown:
        raise ValueError(f"--param {unknown[0]}: {model} takes {', '.join(f'module__{name}' for name in known)}")


def describe_model(
    model: str,
    params: Mapping[str, Any] | None = None,
    pretrained: str | None = None,
    finetune: Sequence[str] | None = None,
) -> str:
    """Return a title for outputs, which names every BIOT of other than full size as small or
    changed.
    """
    changed = {k.removeprefix("module__"): v for k, v in (params or {}).items() if k.startswith("module__")}
    name = model
    if changed:
        small = model == "biot" and any(changed[size] < full for size, full in _FULL_SIZE.items() if size in changed)
        listed = ", ".join(f"{name} {value}" for name, value in changed.items())
        name = f"{'small BIOT' if small else model} ({listed})"
    elif model == "biot":
        name = "BIOT, full size" if pretrained is None else "BIOT"  # a checkpoint brings its own size
    if pretrained is not None:
        name += f", pretrained {Path(pretrained).name if Path(pretrained).exists() else pretrained}"
    return f"{name}, fine-tuned {' + '.join(finetune)}" if finetune else name


def given_options(options: TrainingOptions) -> dict[str, str]:
    """Return the classifier's parameters that options give, each with the option's name."""
    given = [name for name in _CLASSIFIER if getattr(options, name) not in (None, [])]
    return {_RENAMED.get(name, name): f"--{name.replace('_', '-')}" for name in given}


def study_parameters(options: TrainingOptions) -> dict[str, Any]:
    """Return what ``cross_validate`` and ``fit_all`` take of the options."""
    return {
        "threshold": number_or_name(options.threshold),
        "random_state": options.seed,
        "allow_contaminated": options.allow_contaminated,
        "event_detector": event_detector(options.event_target, options.target_fa_per_24h),
        **({"scoring": tuple(options.scoring)} if options.scoring else {}),
    }


def number_or_name(text: str) -> str | float:
    """Return a number where ``text`` is one, else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def event_detector(target: str | None, target_fa_per_24h: float | None) -> EventDetector | None:
    """Return the event detector that ``--event-target`` and ``--target-fa-per-24h`` ask for.

    Parameters
    ----------
    target : str or None
        ``"f1"``, ``"fa_per_24h=2"``, ``"sensitivity=0.9"`` or ``"none"`` (keep the default values).
    target_fa_per_24h : float or None

    Returns
    -------
    EventDetector or None
        None for the default.

    Raises
    ------
    ValueError
        Both are given, or the target is not understood.
    """
    if target is None and target_fa_per_24h is None:
        return None
    from biot_bd.events import EventDetector

    if target is None:
        return EventDetector(target="fa_per_24h", target_fa_per_24h=target_fa_per_24h)
    if target_fa_per_24h is not None:
        raise ValueError("--event-target and --target-fa-per-24h exclude each other; give one")
    name, _, text = target.partition("=")
    if name in ("f1", "none") and not text:
        return EventDetector(target=None if name == "none" else name)
    try:
        if name in ("fa_per_24h", "sensitivity"):
            detector = EventDetector(target=name).set_params(**{f"target_{name}": float(text)})
            detector.setting()  # checks the value
            return detector
    except ValueError as error:
        raise ValueError(f"--event-target {target}: {error}") from None
    raise ValueError(f"--event-target {target}: expected f1, fa_per_24h=2, sensitivity=0.9 (numbers of yours) or none")
