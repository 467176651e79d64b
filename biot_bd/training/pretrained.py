"""How a classifier starts from a checkpoint, and what its model has seen in its life."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from biot_bd.models import provenance_of
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints.config import ARCHITECTURE, find_files
from biot_bd.models.checkpoints.loading import build_model, load_checkpoint
from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.checkpoints.published import KNOWN, git_blob_id
from biot_bd.models.checkpoints.report import LoadReport, announce
from biot_bd.models.checkpoints.resolve import find_source
from biot_bd.runs import to_jsonable, write_json
from biot_bd.training._validation import uncompiled
from biot_bd.training.fitted_facts import RUNNING, FittedFacts
from biot_bd.windows import Windows

SCRATCH = Provenance("a model trained from scratch")
LOADED = Provenance("weights of load_params", (), known=False)
CHANGED = Provenance("weights that were changed after fit", (), known=False)
UNRECORDED = Provenance("a model without a record of what it saw", (), known=False)


def build_pretrained(net: Any, module: Any, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the module of a classifier with ``pretrained``.

    Parameters
    ----------
    net : BIOTClassifier
    module : class
        BIOT or a subclass.
    arguments : mapping
        What data and ``module__*`` say.

    Returns
    -------
    BIOT
        Its encoder has the weights of the checkpoint, bit for bit.

    Raises
    ------
    ValueError
        The module is no BIOT, or the checkpoint does not fit (see
        :class:`biot_bd.exceptions.CheckpointError`).
    OSError
        The checkpoint is not there or cannot be downloaded.
    """
    if not (inspect.isclass(module) and issubclass(module, BIOT)):
        raise ValueError(
            f"pretrained={str(net.pretrained)!r} needs module='biot' (or a subclass of BIOT), found {net.module!r}; "
            "use pretrained=None with other modules"
        )
    if net._module_config is not None:  # a saved pipeline brings all weights: the checkpoint need not be there any more
        return module(**{**arguments, **net._module_config})
    names = net.facts_.input_info.ch_names if hasattr(net, "facts_") else None
    given = {key: value for key, value in arguments.items() if key != "n_outputs"}
    built = build_model(
        load_checkpoint(net.pretrained), arguments.get("n_outputs"), ch_names=names, model_class=module, **given
    )
    announce(built.load_report)
    return built


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
    """Return what a classifier must know of its BIOT to build it again.

    The facts ``module_config`` and ``token_names``.
    """
    module = uncompiled(net.module_)
    if not isinstance(module, BIOT):
        return {}
    config = module.get_config()
    straight = tuple(module.channel_ids) == tuple(range(module.n_channel_tokens))
    names = module.token_names or (net.facts_.input_info.ch_names if straight else None)
    kept: tuple[str, ...] = (*ARCHITECTURE, "channel_ids", "n_chans", "n_times", *module.architecture)
    own = all(key in config for key in kept)  # a subclass may have other arguments
    if module.encoder.class_token is not None:
        kept += ("class_token",)
    return {
        "module_config": to_jsonable({key: config[key] for key in kept}) if own else None,
        "token_names": None if names is None else tuple(names),
    }


def restore_module(net: Any, facts: FittedFacts) -> None:
    """Tell a BIOT that was built again its channels and what was loaded into it."""
    module = uncompiled(net.module_)
    if isinstance(module, BIOT):
        module.token_names = facts.token_names
        module.load_report = facts.pretrained_report
