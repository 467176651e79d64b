"""How a classifier starts from a checkpoint, and what its model has seen in its life."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
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

SCRATCH = "a model trained from scratch"


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
        The module is no BIOT, or the checkpoint does not fit (see :class:`biot_bd.exceptions.CheckpointError`).
    OSError
        The checkpoint is not there or cannot be downloaded.
    """
    if not (inspect.isclass(module) and issubclass(module, BIOT)):
        raise ValueError(
            f"pretrained={str(net.pretrained)!r} needs module='biot' (or a subclass of BIOT), found {net.module!r}; "
            "use pretrained=None with other modules"
        )
    saved = net.__dict__.pop("saved_config_", None)
    if saved is not None:  # a saved pipeline brings all weights itself: the checkpoint need not be there any more
        return module(**{**arguments, **saved})
    info = getattr(net, "input_info_", None)
    names = None if info is None else info.ch_names
    given = {key: value for key, value in arguments.items() if key != "n_outputs"}
    built = build_model(
        load_checkpoint(net.pretrained), arguments.get("n_outputs"), ch_names=names, model_class=module, **given
    )
    net.pretrained_report_ = built.load_report
    announce(built.load_report)
    return built


def forget(net: Any) -> None:
    """Drop what an earlier fit, or a saved pipeline, left behind."""
    for name in ("saved_config_", "pretrained_report_", "provenance_"):
        net.__dict__.pop(name, None)


def started_from(net: Any) -> Provenance | None:
    """Return what the weights saw that a classifier would start from; None where they are random.

    Parameters
    ----------
    net : BIOTClassifier
        Fitted or not: its parameters decide.
    """
    report = getattr(net, "pretrained_report_", None)
    if net.pretrained is not None:
        return report.provenance if report is not None else provenance_of(net.pretrained)
    if not isinstance(net.module, nn.Module):
        return None
    report = getattr(net.module, "load_report", None)
    if isinstance(report, LoadReport):
        return report.provenance
    return Provenance(f"the given instance of {type(net.module).__name__}", (), known=False)


def learn_provenance(net: Any, subjects: tuple[str, ...], fresh: bool) -> None:
    """Add the subjects of a fit (training and validation) to what the model has seen."""
    before = None if fresh else getattr(net, "provenance_", None)
    base = before or started_from(net) or Provenance(SCRATCH)
    net.provenance_ = base.extended(subjects)


def write_load_report(net: Any, folder: str | os.PathLike[str]) -> Path | None:
    """Write ``load_report.json`` into a run's folder; nothing (None) where no checkpoint was loaded."""
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


# --- saved pipelines --------------------------------------------------------------------------------------


def saved_facts(net: Any) -> dict[str, Any]:
    """Return what a saved classifier must know of its checkpoint, as JSON holds it."""
    module = getattr(net.module_, "_orig_mod", net.module_)
    facts: dict[str, Any] = {}
    if getattr(net, "provenance_", None) is not None:
        facts["provenance"] = net.provenance_.to_dict()
    if isinstance(module, BIOT):
        config = module.get_config()
        facts["module_config"] = {key: config[key] for key in (*ARCHITECTURE, "channel_ids", "n_chans", "n_times")}
        names = module.token_names or _names_of_input(net, module)
        facts["token_names"] = None if names is None else list(names)
    report = getattr(net, "pretrained_report_", None)
    if report is not None:
        facts["pretrained_report"] = report.to_dict()
    return to_jsonable(facts)


def _names_of_input(net: Any, module: BIOT) -> tuple[str, ...] | None:
    straight = tuple(module.channel_ids) == tuple(range(module.n_channel_tokens))
    return net.input_info_.ch_names if straight else None


def restore_facts(net: Any, fitted: Mapping[str, Any]) -> None:
    """Give a classifier back what :func:`saved_facts` wrote, before it is initialized."""
    if fitted.get("provenance"):
        net.provenance_ = Provenance.from_dict(fitted["provenance"])
    if fitted.get("pretrained_report"):
        net.pretrained_report_ = LoadReport.from_dict(fitted["pretrained_report"])
    if net.pretrained is not None and fitted.get("module_config"):
        net.saved_config_ = dict(fitted["module_config"])


def restore_module(net: Any, fitted: Mapping[str, Any]) -> None:
    """Tell a restored module its channels and its report, after it was initialized."""
    module = getattr(net.module_, "_orig_mod", net.module_)
    if isinstance(module, BIOT):
        names = fitted.get("token_names")
        module.token_names = None if names is None else tuple(names)
        module.load_report = getattr(net, "pretrained_report_", None)
