"""How a classifier starts from a checkpoint, and what its model has seen in its life."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from biot_bd import registry
from biot_bd.exceptions import CheckpointError
from biot_bd.models import provenance_of
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints.config import ARCHITECTURE, find_files
from biot_bd.models.checkpoints.loading import build_model, load_checkpoint
from biot_bd.models.checkpoints.pretrained_model import LAYOUT, build_configured, build_from_pretraining, own_config
from biot_bd.models.checkpoints.pretraining_folder import is_pretraining, read_pretraining
from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.checkpoints.published import KNOWN, git_blob_id
from biot_bd.models.checkpoints.report import LoadReport, announce
from biot_bd.models.checkpoints.resolve import find_source
from biot_bd.runs import to_jsonable, write_json
from biot_bd.training._validation import uncompiled
from biot_bd.training.fitted_facts import RUNNING, FittedFacts
from biot_bd.training.input_data import InputInfo
from biot_bd.windows import Windows

SCRATCH = Provenance("a model trained from scratch")
LOADED = Provenance("weights of load_params", (), known=False)
CHANGED = Provenance("weights that were changed after fit", (), known=False)
UNRECORDED = Provenance("a model without a record of what it saw", (), known=False)
_OF_BIOT = ("biot", "multi-scale-biot")
"""Models that find channels by name and take any length; the second starts from the first, too."""


def build_pretrained(
    source: str | os.PathLike[str],
    module: Any,
    arguments: Mapping[str, Any],
    *,
    input_info: InputInfo | None = None,
    module_config: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the module of a net with ``pretrained``.

    Parameters
    ----------
    source : str or path
        A checkpoint of BIOT, or the folder of ``biot-bd pretrain``.
    module : class
        BIOT, a subclass, or the class that was pretrained.
    arguments : mapping
        What data and ``module__*`` say.
    input_info : InputInfo, optional
        What is known of the data: their channels take the tokens of their names, their scale must
        be that of pretraining.
    module_config : mapping, optional
        Of a saved net, which brings all weights: the checkpoint need not be there any more.

    Returns
    -------
    torch.nn.Module
        Its encoder has the weights of the checkpoint, bit for bit; ``load_report`` says so.

    Raises
    ------
    ValueError
        The module is none that the checkpoint is of, or the checkpoint does not fit (see
        :class:`biot_bd.exceptions.CheckpointError`).
    OSError
        The checkpoint is not there or cannot be downloaded.
    """
    of_biot = inspect.isclass(module) and issubclass(module, BIOT)
    if module_config is not None:
        return build_configured(module, {**arguments, **module_config}, Path("" if source is None else source))
    folder = pretraining_folder(source)
    if folder is not None:
        check_pretrained_input(folder, module, input_info)
        if not (of_biot and pretrained_name(folder) in _OF_BIOT):
            names = None if input_info is None else input_info.ch_names
            return _announced(build_from_pretraining(folder, module, arguments, names, provenance_of(folder)))
    elif not of_biot:
        raise ValueError(
            f"pretrained={str(source)!r} needs module='biot' (or a subclass of BIOT), found {_class_name(module)!r}; "
            "use pretrained=None with other modules, or the folder of their `biot-bd pretrain`"
        )
    names = None if input_info is None else input_info.ch_names
    given = {key: value for key, value in arguments.items() if key != "n_outputs"}
    checkpoint = load_checkpoint(source)
    return _announced(build_model(checkpoint, arguments.get("n_outputs"), ch_names=names, model_class=module, **given))


def _announced(model: Any) -> Any:
    announce(model.load_report)
    return model


def _class_name(module: Any) -> str:
    """Return how a pretraining names a class: as registered, else where it is defined."""
    return registry.models.name_of(module) or f"{module.__module__}:{getattr(module, '__qualname__', module)}"


def pretrained_name(folder: Path) -> str:
    """Return how the model of a pretraining is called: as registered, else where it is defined."""
    return str(read_pretraining(folder)["model"]["name"])


def pretraining_folder(source: Any) -> Path | None:
    """Return the folder of a pretraining; None of any other source."""
    if not isinstance(source, (str, os.PathLike)) or str(source) in KNOWN:
        return None
    path = Path(source).expanduser()
    return path if is_pretraining(path) else None


def takes_weights_of(module: Any, name: str) -> bool:
    """Return whether a class can start from a pretrained model of this name.

    Its own kind can; a BIOT of several scales, and a subclass that nobody registered, from a BIOT.
    """
    if _class_name(module) == name:
        return True
    of_biot = inspect.isclass(module) and issubclass(module, BIOT)
    return name == "biot" and of_biot and registry.models.name_of(module) in (None, *_OF_BIOT)


def check_pretrained_input(folder: Path, module: Any, info: InputInfo | None) -> None:
    """Raise where a module or its windows are not those of a pretraining.

    Parameters
    ----------
    folder : Path
        Of the pretraining.
    module : class
        What shall start from it.
    info : InputInfo or None
        What is known of the windows.

    Raises
    ------
    CheckpointError
        Another model; other channels or another length of windows, but for BIOT and
        MultiScaleBIOT, which find channels by name and take any length; another rate, unit or
        scale.
    """
    description = read_pretraining(folder)
    own = description["model"]["name"]
    if not takes_weights_of(module, own):
        raise CheckpointError(
            f"{folder}: a pretrained {own!r}, but the model is {_class_name(module)!r}; take module={own!r}"
        )
    if info is None:
        return
    wanted = InputInfo.from_dict(description["input_info"])
    exact = () if own in _OF_BIOT else (("n_chans", "channels a window"), ("n_times", "samples a window"))
    for key, what in (*exact, ("sfreq", "Hz")):
        expected, found = getattr(wanted, key), getattr(info, key)
        if None not in (expected, found) and expected != found:
            raise CheckpointError(
                f"{folder}: {own} was pretrained on {expected:g} {what}, found {found:g}; prepare the windows as those were"
            )
    if exact and wanted.ch_names and info.ch_names and wanted.ch_names != info.ch_names:
        raise CheckpointError(
            f"{folder}: {own} was pretrained on the channels {', '.join(wanted.ch_names)}, found "
            f"{', '.join(info.ch_names)}; put a MontageMapper in front of it"
        )
    _check_scale(folder, wanted, info)


def _check_scale(folder: Path, wanted: InputInfo, info: InputInfo) -> None:
    expected, found = ((one.unit, one.scale) for one in (wanted, info))
    if "unknown" in (wanted.unit, info.unit) or expected == found:
        return
    told = [f"signals scaled to {scale}" if scale else f"signals in {unit!r}" for unit, scale in (expected, found)]
    raise CheckpointError(
        f"{folder}: pretrained on {told[0]}, found {told[1]}; put the transformers of the pretraining in front "
        "(`biot-bd train` and `cv` do), biot_bd.pretraining.load_pretraining gives them"
    )


def started_from(net: Any) -> Provenance | None:
    """Return what the weights saw that a classifier would start from; None where they are random.

    Parameters
    ----------
    net : BIOTClassifier
        Fitted or not: its parameters decide.
    """
    stale = getattr(net, "facts_", None) is not None and net.facts_.stale not in (None, RUNNING)
    report = None if stale else getattr(net, "pretrained_report_", None)
    if net.pretrained is not None:
        return report.provenance if report is not None else provenance_of(net.pretrained)
    if not isinstance(net.module, nn.Module):
        return None
    report = getattr(net.module, "load_report", None)
    if isinstance(report, LoadReport):
        return report.provenance
    return Provenance(f"the given instance of {type(net.module).__name__}", (), known=False)


def recordings_of(X: Any, subjects: Sequence[str]) -> list[tuple[str, str]]:
    """Return (subject, digest) of the recordings of ``Windows`` of these subjects, where known."""
    if not isinstance(X, Windows):
        return []
    table = X.recordings
    table = table[table["subject"].isin(subjects) & table["digest"].notna()]
    return list(zip(table["subject"], table["digest"], strict=True))


def write_load_report(net: Any, folder: str | os.PathLike[str]) -> Path | None:
    """Write ``load_report.json`` into a run's folder.

    Nothing (None) where no checkpoint was loaded.
    """
    report = getattr(net, "pretrained_report_", None)
    if not isinstance(report, LoadReport):
        return None
    return write_json(Path(folder) / "load_report.json", report.to_dict())


def checkpoint_identity(source: Any) -> str:
    """Return a text that changes when a checkpoint's content does, for fingerprints of studies.

    A published name stands for its file; anything else for the git blob id of its weights.
    """
    if isinstance(source, str) and source in KNOWN:
        return f"published {source}"
    file, _ = find_files(find_source(source))
    return f"git blob {git_blob_id(file)}"


# --- saved pipelines ------------------------------------------------------------------------------


def module_facts(net: Any) -> dict[str, Any]:
    """Return what a classifier must know of its module to build it again.

    The facts ``module_config`` and ``token_names``.
    """
    module = uncompiled(net.module_)
    report = getattr(module, "load_report", None)
    if not isinstance(module, BIOT) or (isinstance(report, LoadReport) and report.layout == LAYOUT):
        loaded = isinstance(report, LoadReport) and hasattr(module, "get_config")
        return {"module_config": to_jsonable(own_config(module.get_config())) if loaded else None, "token_names": None}
    config = module.get_config()
    kept: tuple[str, ...] = (*ARCHITECTURE, "channel_ids", "n_chans", "n_times", *module.architecture)
    own = all(key in config for key in kept)  # a subclass may have other arguments
    if module.encoder.class_token is not None:
        kept += ("class_token",)
    names = token_names(module, net.facts_.input_info.ch_names)
    return {"module_config": to_jsonable({key: config[key] for key in kept}) if own else None, "token_names": names}


def token_names(module: BIOT, ch_names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the channels in the order of a BIOT's token table, where they are known."""
    straight = tuple(module.channel_ids) == tuple(range(module.n_channel_tokens))
    names = module.token_names or (ch_names if straight else None)
    return None if names is None else tuple(names)


def restore_module(net: Any, facts: FittedFacts) -> None:
    """Tell a module that was built again its channels and what was loaded into it."""
    module = uncompiled(net.module_)
    if isinstance(module, BIOT):
        module.token_names = facts.token_names
    if isinstance(module, BIOT) or facts.pretrained_report is not None:
        module.load_report = facts.pretrained_report
