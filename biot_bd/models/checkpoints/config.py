"""What the tensors of a checkpoint do not show (sizes, channels, what it was trained on), and
where it is written down.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biot_bd.exceptions import CheckpointError, SavedPipelineError
from biot_bd.json_values import naming
from biot_bd.models.checkpoints import hub
from biot_bd.models.checkpoints.pipeline_folder import (
    ARTIFACT,
    CONFIG,
    classifier_spec,
    description_file,
    inner_specs,
    is_exported,
    weights_file,
)
from biot_bd.models.checkpoints.pretraining_folder import PRETRAINING, checked_file, is_pretraining, read_pretraining
from biot_bd.models.checkpoints.provenance import KEY, Provenance, sidecar_of
from biot_bd.models.checkpoints.published import (
    CHANNELS_16,
    CHANNELS_18,
    ENCODER,
    Checkpoint,
    by_blob_id,
    git_blob_id,
    listed,
)
from biot_bd.models.checkpoints.resolve import WEIGHTS, find_source
from biot_bd.runs import read_json

ARCHITECTURE = ("embed_dim", "num_heads", "num_layers", "sfreq", "hop_length", "n_channel_tokens")
SCALES = ("scale_factors", "channel_attention")
"""Further arguments that the weights of a MultiScaleBIOT need."""
_LAYER = re.compile(r"encoder\.transformer\.layers\.layers\.(\d+)\.")


@dataclass(frozen=True)
class Facts:
    """Constructor arguments that the weights need, the channels of the token table, and who says
    so.

    Parameters
    ----------
    config : dict
        Those of :data:`ARCHITECTURE` that are known.
    ch_names : tuple of str or None
        Channels in the order of the token table.
    known_from : str
        For messages and the report.
    scales : dict
        Those of :data:`SCALES`, where the weights are of a MultiScaleBIOT.
    """

    config: dict[str, Any] = field(default_factory=dict)
    ch_names: tuple[str, ...] | None = None
    known_from: str = "shapes"
    scales: dict[str, Any] = field(default_factory=dict)


# --- files ----------------------------------------------------------------------------------------


def find_files(path: Path) -> tuple[Path, Facts]:
    """Return the file of weights of a checkpoint, and what is written beside it.

    Parameters
    ----------
    path : Path
        A file of weights, or a folder.

    Raises
    ------
    CheckpointError
        A folder without weights, or a pipeline that does not end in BIOT.
    ValueError
        A JSON file is damaged.
    """
    if path.is_file():
        return path, _from_sidecar(path)
    description = description_file(path)
    if description is not None:
        with naming(description, CheckpointError):
            return _from_pipeline(path, description)
    if is_pretraining(path):
        return _from_pretraining(path)
    config = read_json(path / CONFIG) if (path / CONFIG).is_file() else {}
    if not isinstance(config, Mapping):
        raise CheckpointError(f"{path / CONFIG}: expected a JSON object, found {type(config).__name__}")
    with naming(path / CONFIG, CheckpointError):
        facts = _from_hub_config(config, path / CONFIG)
    for name in hub.WEIGHTS:
        if (path / name).is_file():
            return path / name, facts
    files = [f for f in sorted(path.iterdir()) if f.suffix in WEIGHTS]
    if len(files) == 1:
        return files[0], facts if facts.config else _from_sidecar(files[0])
    found = f"{len(files)} files of weights" if files else "no weights"
    raise CheckpointError(f"{path}: {found}; expected {' or '.join(hub.WEIGHTS)}, or what save_pipeline writes")


def _from_sidecar(path: Path) -> Facts:
    sidecar = sidecar_of(path)
    data = read_json(sidecar) if sidecar.is_file() else None
    if not isinstance(data, Mapping) or not isinstance(data.get("config"), Mapping):
        return Facts()
    return Facts(_architecture(data["config"], sidecar), _names(data.get("ch_names")), str(sidecar))


def _from_hub_config(config: Mapping[str, Any], where: Path) -> Facts:
    found = _architecture(config, where)
    if not found:
        return Facts()
    infos = config.get("chs_info")
    names = [isinstance(info, Mapping) and info.get("ch_name") for info in infos] if isinstance(infos, list) else None
    tokens = found.get("n_channel_tokens", config.get("n_chans"))
    if tokens is not None:
        found["n_channel_tokens"] = int(tokens)
    return Facts(found, _names(names), str(where), _scales(config))


def _from_pipeline(folder: Path, description: Path) -> tuple[Path, Facts]:
    spec = classifier_spec(read_json(description))
    if spec.get("kind") != "classifier":
        raise CheckpointError(f"{folder}: a saved pipeline that does not end in a BIOTClassifier with weights")
    try:
        weights = weights_file(folder, spec)
    except SavedPipelineError as error:
        raise CheckpointError(str(error)) from error
    fitted = spec.get("fitted") or {}
    built = fitted.get("module_config")
    if built is None:  # saved by a version that kept only what was given
        given = {k.removeprefix("module__"): v for k, v in spec["params"].items() if k.startswith("module__")}
        built = {**ENCODER, "sfreq": (fitted.get("input_info") or {}).get("sfreq") or ENCODER["sfreq"], **given}
    names = fitted.get("token_names") or (fitted.get("input_info") or {}).get("ch_names")
    return weights, Facts(_architecture(built, description), _names(names), str(description), _scales(built))


def _from_pretraining(folder: Path) -> tuple[Path, Facts]:
    description = read_pretraining(folder)
    model, file = description["model"], folder / PRETRAINING
    config = model["config"]
    facts = Facts(_architecture(config, file), _names(model["token_names"]), str(file), _scales(config))
    return checked_file(folder, description), facts


def _architecture(config: Mapping[str, Any], where: Path) -> dict[str, Any]:
    found = {}
    for key in ARCHITECTURE:
        value = config.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise CheckpointError(f"{where}: {key} must be a positive number, found {value!r}")
        found[key] = value
    return found


def _scales(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in SCALES} if all(key in config for key in SCALES) else {}


def _names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, (list, tuple)) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None


# --- provenance -----------------------------------------------------------------------------------


def provenance_of(source: str | os.PathLike[str]) -> Provenance:
    """Say what a checkpoint was trained on.

    Parameters
    ----------
    source : str or path
        A name of :data:`biot_bd.models.KNOWN`, a file of weights, a folder written by
        ``save_pipeline``, ``biot-bd pretrain`` or :func:`biot_bd.export_model` or in Hub layout, or
        a Hub repository.

    Returns
    -------
    Provenance
        ``known=False`` where nothing tells what it was trained on.

    Raises
    ------
    FileNotFoundError
        There is no such source.
    ValueError
        A sidecar or record is damaged.
    OSError
        An unlisted Hub repository cannot be reached.

    See Also
    --------
    check_clean : Refuse a model that saw the test subjects.

    Examples
    --------
    >>> from biot_bd.models import provenance_of
    >>> [seen.dataset for seen in provenance_of("prest-16").trained_on]
    ['mgh-prest']
    >>> provenance_of("six-datasets-18").saw(["chb-mit/03", "chb-mit/23"])
    ['chb-mit/03']
    """
    known = listed(source)
    if known is None:
        path = find_source(source)
        if path.is_dir():
            return _of_folder(path, str(source))
        blob_id = git_blob_id(path)
        known = by_blob_id(blob_id)
        if known is None:
            return _of_sidecar(sidecar_of(path), str(source), blob_id)
    return known.provenance


def _of_sidecar(path: Path, source: str, blob_id: str | None = None) -> Provenance:
    data = read_json(path) if path.is_file() else None
    if not isinstance(data, Mapping) or KEY not in data:  # e.g. a sidecar of another program
        return Provenance(source, (), known=False)
    if blob_id is not None and data.get("blob_id", blob_id) != blob_id:
        raise ValueError(
            f"{path}: the record of another file (it names git blob id {data['blob_id']}, {source} is {blob_id}); "
            "copy the weights and their record together, or write what these weights were trained on"
        )
    try:
        return Provenance.from_dict(data, source)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _of_folder(folder: Path, source: str) -> Provenance:
    if sidecar_of(folder).is_file():
        return _of_sidecar(sidecar_of(folder), source)
    if is_exported(folder):
        with naming(folder / ARTIFACT):
            seen = read_json(folder / ARTIFACT)["source"]["trained_on"]
            return Provenance(source, (), known=False) if seen is None else Provenance.from_dict(seen, source)
    file = description_file(folder)
    if file is None:
        return _of_sidecar(folder / CONFIG, source)
    with naming(file):
        return _of_pipeline(read_json(file), source)


def _of_pipeline(description: Mapping[str, Any], source: str) -> Provenance:
    """Join the record that was written with a pipeline and what its classifiers kept; all count."""
    record, fitted = description.get("record") or {}, classifier_spec(description).get("fitted") or {}
    found = [Provenance.from_dict(record, source)] if KEY in record else []
    parts = [step for step in inner_specs(description.get("pipeline") or {}) if step.get("fitted")]
    told = [step["fitted"]["provenance"] for step in parts if step["fitted"].get("provenance")]
    found += [Provenance.from_dict(one, source) for one in told]
    if any(step["kind"] in ("probe", "ensemble") for step in parts):
        subjects = [subject for step in parts for subject in step["fitted"].get("train_subjects") or ()]
        return functools.reduce(Provenance.joined, [*found, Provenance(source).extended(subjects)])
    if not found:
        # Saved before models kept their provenance: such a model can only have started from
        # scratch.
        keys = ("train_subjects", "valid_subjects", "train_persons", "valid_persons")
        return Provenance(source).extended([subject for key in keys for subject in fitted.get(key, ())])
    return functools.reduce(Provenance.joined, found)


# --- facts ----------------------------------------------------------------------------------------


def resolve_facts(tensors: Mapping[str, Any], written: Facts, known: Checkpoint | None, where: str) -> Facts:
    """Join what the shapes show, what is written down and what is known of published files.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        The encoder, under BIOT's names.
    written : Facts
        From :func:`find_files`.
    known : Checkpoint or None
        The published checkpoint that this is.
    where : str
        The file, for messages.

    Returns
    -------
    Facts
        ``num_heads`` and ``hop_length`` are None where nobody says.

    Raises
    ------
    CheckpointError
        Two of them contradict each other, or the token table is missing or of a wrong shape.
    """
    shown = _from_shapes(tensors, where)
    size = shown["n_channel_tokens"]
    sources = [written]
    if known is not None:
        published = {**ENCODER, "n_channel_tokens": known.n_channels}
        sources.insert(0, Facts(published, known.ch_names, f"the published {known.name}"))
    elif not written.config and all(shown[key] == ENCODER[key] for key in ("embed_dim", "sfreq")):
        names = written.ch_names or {16: CHANNELS_16, 18: CHANNELS_18}.get(size)
        official = {**ENCODER, "num_layers": shown["num_layers"]}
        sources = [Facts(official, names, "the official code, for these sizes")]
    if written.scales:  # a token's numbers are of several spectra: they show no rate
        shown.pop("sfreq")
    config: dict[str, Any] = {key: shown.get(key) for key in ARCHITECTURE}
    known_from = "shapes"
    for facts in sources:
        for key, value in facts.config.items():
            if config.get(key) is None:
                config[key] = value
            elif key == "sfreq" and known_from == "shapes" and int(value) // 2 == config[key] // 2:
                config[key] = value  # shapes tell an odd or broken rate from the even one below it no more
            elif config[key] != value:
                found, said = (f"{one:g}" if abs(one) < 1e15 else f"{str(one)[:20]}..." for one in (config[key], value))
                raise CheckpointError(f"{where}: {key} is {found} by {known_from}, but {said} by {facts.known_from}")
        if facts.config:
            known_from = facts.known_from if known_from == "shapes" else f"{known_from}; {facts.known_from}"
    names = sources[0].ch_names
    return Facts(config, names if names is not None and len(names) == size else None, known_from, written.scales)


def _from_shapes(tensors: Mapping[str, Any], where: str) -> dict[str, int]:
    projection = tensors["encoder.patch_embedding.projection.weight"]
    table = tensors.get("encoder.channel_tokens.weight")
    layers = {int(match[1]) for key in tensors if (match := _LAYER.match(key))}
    if projection.ndim != 2 or table is None or table.ndim != 2 or not layers:
        found = (
            f"projection {list(projection.shape)}, channel tokens {'missing' if table is None else list(table.shape)}"
        )
        raise CheckpointError(f"{where}: no whole BIOT encoder ({found}, {len(layers)} layers)")
    embed_dim, n_freqs = projection.shape
    # A frame is one second, so the number of frequencies says the rate (an even one).
    sizes = {"embed_dim": embed_dim, "sfreq": 2 * (n_freqs - 1), "num_layers": max(layers) + 1}
    return {**sizes, "n_channel_tokens": len(table)}
