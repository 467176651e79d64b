"""Models of any class from the folder of their pretraining, to the last tensor but the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from biot_bd.exceptions import CheckpointError
from biot_bd.models.checkpoints.layouts import read_tensors
from biot_bd.models.checkpoints.pretraining_folder import checked_file, read_pretraining
from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.checkpoints.published import git_blob_id
from biot_bd.models.checkpoints.report import LoadReport

LAYOUT = "pretraining"
"""What :attr:`LoadReport.layout` says of a model that was built here."""
HEAD = "final_layer."
_MADE_OF = ("n_outputs", "chs_info", "braindecode_version")
"""Arguments that belong to the head, or that the channels of the data say."""


def build_from_pretraining(
    folder: Path,
    model_class: Any,
    arguments: Mapping[str, Any],
    ch_names: Sequence[str] | None,
    provenance: Provenance,
) -> Any:
    """Build a model with the weights of a pretrained one, and a fresh head.

    Parameters
    ----------
    folder : Path
        Of the pretraining.
    model_class : class
        That of the pretrained model.
    arguments : mapping
        Constructor arguments; those left out are the pretrained model's.
    ch_names : sequence of str or None
        Channels of the data, for the report.
    provenance : Provenance
        What the pretrained model saw.

    Returns
    -------
    torch.nn.Module
        With ``load_report``.

    Raises
    ------
    CheckpointError
        The folder is damaged, or a tensor is missing, unexpected or of another shape.
    """
    description = read_pretraining(folder)
    file = checked_file(folder, description)
    model = build_configured(model_class, {**own_config(description["model"]["config"]), **arguments}, folder)
    tensors = {key: value for key, value in read_tensors(file).items() if not key.startswith(HEAD)}
    names = ch_names or description["input_info"]["ch_names"] or ()
    report = _report(folder, file, tensors, model, names, provenance, description["model"]["config"])
    if not report.complete:
        error = CheckpointError(f"{file}: {report.problems()}; give the sizes of the pretrained model, or none")
        error.report = report  # type: ignore[attr-defined]
        raise error
    fresh = {key: value for key, value in model.state_dict().items() if key.startswith(HEAD)}
    model.load_state_dict({**fresh, **tensors}, strict=True)
    model.load_report = report
    return model


def own_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's parameters without those of its head and the places of its channels."""
    return {key: value for key, value in config.items() if key not in _MADE_OF}


def build_configured(model_class: Any, arguments: Mapping[str, Any], where: Path) -> Any:
    """Build a model of arguments as ``get_config`` writes them.

    Raises
    ------
    CheckpointError
        They name a class that is none of torch's layers, or the constructor takes none of them.
    """
    from_config = getattr(model_class, "from_config", None)
    for name, value in arguments.items():  # braindecode imports what such a text names
        if isinstance(value, str) and "." in value and not value.startswith("torch.nn."):
            raise CheckpointError(
                f"{where}: the model's parameter {name} names {value!r}, expected a class of torch.nn"
            )
    try:
        return model_class(**arguments) if from_config is None else from_config(dict(arguments))
    except TypeError as error:
        raise CheckpointError(
            f"{where}: {model_class.__name__} does not take the parameters of the pretrained model ({error}); "
            "it was made by another version of the model"
        ) from error


def _report(
    folder: Path,
    file: Path,
    tensors: Mapping[str, Tensor],
    model: Any,
    ch_names: Sequence[str],
    provenance: Provenance,
    config: Mapping[str, Any],
) -> LoadReport:
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items() if not key.startswith(HEAD)}
    return LoadReport(
        source=str(folder),
        layout=LAYOUT,
        blob_id=git_blob_id(file),
        published=None,
        matched=tuple(key for key in wanted if found.get(key) == wanted[key]),
        missing=tuple(key for key in wanted if key not in found),
        unexpected=tuple(key for key in found if key not in wanted),
        shapes={key: (found[key], wanted[key]) for key in wanted if key in found and found[key] != wanted[key]},
        ignored={},
        head="fresh: the pretrained model has none",
        channels={name: number for number, name in enumerate(ch_names)},
        config={**own_config(config), "known_from": str(folder)},
        provenance=provenance,
    )
