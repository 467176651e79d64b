"""What the registry adds to a copied model: the probe batch, ``artifact.json`` and the card."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from biot_bd.deploy.engine_candidates import find_candidates
from biot_bd.deploy.model_registry.card import card_text
from biot_bd.deploy.model_registry.described import (
    event_facts,
    export_facts,
    input_facts,
    model_facts,
    training_facts,
)
from biot_bd.deploy.model_registry.model_contents import ModelContents
from biot_bd.deploy.model_registry.probe_batch import make_probe, open_window_model
from biot_bd.deploy.model_registry.results import results_of, without_names
from biot_bd.deploy.version_folder import CARD, SCHEMA, FileFacts, VersionFacts, is_version, read_version
from biot_bd.exceptions import ModelRegistryError
from biot_bd.export.artifact import BOUNDS, PROBE
from biot_bd.json_values import naming
from biot_bd.models.checkpoints.anonymous_model import anonymise_model, is_anonymous_model
from biot_bd.models.checkpoints.demonstration import demonstration_note
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, PIPELINE, REGISTERED, WEIGHTS, sha256
from biot_bd.runs import environment, read_json, to_jsonable, write_json, write_text


def write_version(
    folder: Path,
    name: str,
    version: str,
    *,
    source: ModelContents,
    run: str | os.PathLike[str] | None,
    licence: str | None,
    anonymous: bool,
) -> None:
    """Make a version of a folder that holds the files of a model.

    Parameters
    ----------
    folder : Path
        The copy.
    name, version : str
        Checked.
    source : ModelContents
        What was copied.
    run : path or None
        Run folder with results.
    licence : str or None
        Of the weights.
    anonymous : bool
        Whether names and dates are left out.

    Raises
    ------
    ModelRegistryError
        The model is damaged, or the run is another one's.
    """
    former = read_version(source.folder) if is_version(source.folder) else None
    with naming(folder / PIPELINE, ModelRegistryError):
        description = read_json(folder / PIPELINE)
        names = not (anonymous or is_anonymous_model(description))
        # Of the model as it was: the fingerprints that tell its run go with the names.
        results = results_of(description.get("record") or {}, run, names=names)
    if former is not None and run is None:
        results = former.facts["results"] if names else without_names(former.facts["results"])
    if anonymous:
        anonymise_model(folder)
        description = read_json(folder / PIPELINE)
    record, anonymous = description.get("record") or {}, not names
    engine = find_candidates(folder, "auto", "fp32")[0][0]
    model = open_window_model(engine.folder, engine.engine, engine.precision)
    if not model.classes:
        raise ModelRegistryError(f"{source.folder}: the model does not say its classes; fit it again")
    probe, absent_channels = make_probe(model)
    probe.write(folder / PROBE)
    note = demonstration_note(record)
    training = training_facts(description, folder)
    training["protocol"] = ((results or {}).get("cross_validation") or {}).get("protocol")
    threshold, made = getattr(model.classifier, "threshold_", None), environment()
    facts: VersionFacts = {
        "format": REGISTERED,
        "schema": SCHEMA,
        "name": name,
        "version": version,
        "created": None if anonymous else datetime.now(UTC).isoformat(timespec="seconds"),
        "biot_bd": made["packages"]["biot-bd"] or "unknown",
        "model": model_facts(description, folder, sha256(folder / WEIGHTS)),
        "input": input_facts(description, model, absent_channels),
        "classes": model.classes,
        "positive_label": getattr(model.classifier, "positive_label_", None),
        "threshold": None if threshold is None else float(threshold),
        "events": event_facts(folder),
        "training": training,
        "results": results,
        "versions": made["packages"],
        "git_revision": made["git_revision"],
        "licence": licence if licence is not None or former is None else former.facts["licence"],
        "generated": (training["data"] or {}).get("generated"),
        "demonstration": note is not None,
        "anonymous": anonymous,
        "exports": export_facts(folder),
        "probe": {
            "file": PROBE,
            "engine": engine.engine,
            "n_windows": len(probe.x),
            "bounds": dict(BOUNDS),
        },
        "files": {},
        "left_out": source.left_out,
    }
    facts = to_jsonable(facts)
    write_text(folder / CARD, card_text(facts, note))
    facts["files"] = _file_facts(folder)
    write_json(folder / ARTIFACT, facts)


def _file_facts(folder: Path) -> dict[str, FileFacts]:
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: {"sha256": sha256(path), "size_bytes": path.stat().st_size}
        for name, path in paths.items()
        if name != ARTIFACT
    }
