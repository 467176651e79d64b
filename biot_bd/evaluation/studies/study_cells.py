"""One cell of a study: a row on a cohort with a seed, as a run folder and a record beside it.

A cell never stops the others: what fails is recorded with its error, what a contract or a
contamination rules out with its reason.  A cell that was finished is not computed again.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from biot_bd import registry
from biot_bd.evaluation.cross_validation import cross_validate
from biot_bd.evaluation.fold import fold_folder
from biot_bd.evaluation.model_selection.contamination import check_contamination, comparison_notes, find_origins
from biot_bd.evaluation.planned_run import now
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import FOLD, RUN, Cells, FoldFacts, of_seizures, read_facts, stored_facts
from biot_bd.evaluation.studies.study_costs import measured
from biot_bd.evaluation.studies.study_pipelines import choose_store, has_weights, pipeline_of
from biot_bd.evaluation.studies.study_plan import CONSTANT, StudyCell, StudyCohort, StudyModel, StudyPlan, StudyRow
from biot_bd.evaluation.study_identity import describe
from biot_bd.exceptions import ContaminationError, ContractError, RunFolderError, SplitError
from biot_bd.json_values import check_values, naming
from biot_bd.probes.slots import SlotReport, check_slots
from biot_bd.runs import make_folder, read_json, to_jsonable, write_json
from biot_bd.windows import Windows, prepare

FINISHED, FAILED, REFUSED, MISSING = "finished", "failed", "refused", "missing"
FORMAT_VERSION = 1
SLOT_WINDOWS = 16


class Record(TypedDict):
    """What is known of a cell beside its run folder."""

    cohort: str
    row: str
    seed: int
    state: str
    reason: str | None
    settings: dict[str, Any]
    store: str | None
    slots: dict[str, Any] | None
    contamination: dict[str, Any] | None
    embedding: dict[str, Any] | None
    probes: list[Any] | None
    fit_s: float | None
    wall_s: float | None
    peak_memory_bytes: int | None
    peak_gpu_bytes: int | None


def record_path(folder: Path, cell: StudyCell) -> Path:
    """Return where the record of a cell is written."""
    return folder / f"{cell.place}.json"


def read_record(folder: Path, cell: StudyCell) -> Record | None:
    """Read the record of a cell, None where there is none.

    Raises
    ------
    RunFolderError
        It is damaged.
    """
    path = record_path(folder, cell)
    if not path.is_file():
        return None
    with naming(path, RunFolderError):
        found = read_json(path)
        check_values(found, Record)
    record: Record = found
    return record


def is_finished(folder: Path, cell: StudyCell) -> bool:
    """Return whether a cell need not be computed: its record and its run are finished."""
    record = read_record(folder, cell)
    if record is None or record["state"] != FINISHED:
        return False
    run = stored_facts(folder / cell.place, RUN)
    return run is not None and run.get("state") == FINISHED


def open_stores(cohort: StudyCohort, folder: Path) -> list[Windows]:
    """Open the preparations of a cohort, or make them from its recordings.

    Parameters
    ----------
    cohort : StudyCohort
    folder : Path
        Of the study; what is prepared lies in ``folder/windows/<cohort>/``.

    Returns
    -------
    list of Windows
        At least one.

    Raises
    ------
    FileNotFoundError, ValueError
        No such store, recordings or option, or a store that labels nothing.
    """
    if cohort.dataset is None:
        stores = [Windows.open(store) for store in cohort.stores]
    else:
        from biot_bd.datasets import load_dataset

        recordings = load_dataset(cohort.dataset, str(cohort.root), **cohort.options)
        places = [folder / "windows" / cohort.name / store_name(entry) for entry in cohort.prepare]
        stores = [prepare(recordings, p, **entry) for p, entry in zip(places, cohort.prepare, strict=True)]
    for windows in stores:
        if set(windows.y.tolist()) != {0, 1} or not of_seizures(windows.classes):
            raise ValueError(
                f"{windows.folder}: a study needs windows of seizures and of background, found labels "
                f"{sorted(set(windows.y.tolist()))} of {', '.join(windows.classes)} (label rule {windows.label_rule})"
            )
    return stores


def store_name(entry: Mapping[str, Any]) -> str:
    """Return the folder name of a preparation: what tells it from others of the cohort."""
    return f"{entry.get('montage', 'biot-16')}-{float(entry.get('sfreq', 200.0)):g}hz"


def run_cell(plan: StudyPlan, folder: Path, cell: StudyCell, stores: Sequence[Windows] | None = None) -> Record:
    """Compute a cell, or what is missing of it, and write its record.

    Parameters
    ----------
    plan : StudyPlan
    folder : Path
        Of the study.
    cell : StudyCell
    stores : sequence of Windows, optional
        Those of the cohort, where they are open already.

    Returns
    -------
    Record
        Also where the cell failed or was refused.

    Notes
    -----
    All cells of a cohort and seed take the folds of its ``always-off`` cell, which is computed
    first.
    """
    record: Record = {
        "cohort": cell.cohort.name,
        "row": cell.row.name,
        "seed": cell.seed,
        "state": FAILED,
        "reason": None,
        "settings": settings_of(plan, cell),
        "store": None,
        "slots": None,
        "contamination": None,
        "embedding": None,
        "probes": None,
        "fit_s": None,
        "wall_s": None,
        "peak_memory_bytes": None,
        "peak_gpu_bytes": None,
    }
    details: Cells = {}
    with measured() as cost:
        try:
            _forget_other_settings(folder, cell, record["settings"])
            _compute(plan, folder, cell, stores, record)
            record["state"] = FINISHED
        except (ContractError, ContaminationError) as error:
            record["state"], record["reason"] = REFUSED, str(error)
        except Exception as error:  # the other cells go on; the table shows it
            record["reason"] = f"{type(error).__name__}: {error}"
            details = {"traceback": traceback.format_exc().splitlines()[-30:]}
    record["wall_s"], record["peak_memory_bytes"] = cost["wall_s"], cost["peak_memory_bytes"]
    record["peak_gpu_bytes"] = cost["peak_gpu_bytes"]
    path = record_path(folder, cell)
    make_folder(path.parent)
    write_json(path, to_jsonable({"format_version": FORMAT_VERSION, **record, **details, "written": now()}))
    return record


def settings_of(plan: StudyPlan, cell: StudyCell) -> Cells:
    """Return what makes a cell: another plan may have the same cell."""
    row = cell.row
    found: Cells = {"cv": plan.cv, "validation_fraction": plan.validation_fraction, "threshold": plan.threshold}
    if row.model is None:
        return found | {"training": describe(plan.training)}
    model = {"module": row.model.module, "params": describe(row.model.params), "strategy": row.strategy}
    own = {**plan.embedding, **row.model.embedding} if row.kind == "frozen" else plan.training
    return found | {
        "model": model,
        "pretrained": row.model.pretrained if has_weights(row) else None,
        "own": describe(own),
    }


def other_contents(
    plan: StudyPlan, folder: Path, stores: Mapping[str, Sequence[Windows]], checkpoints: Mapping[str, str]
) -> list[str]:
    """Say which finished cells were computed on other windows, or from other weights, than now lie
    where the plan says; one line a cell.

    ``checkpoints`` tells by their content those that are here.
    """
    lines: list[str] = []
    for cell in plan.cells():
        run = stored_facts(folder / cell.place, RUN) if is_finished(folder, cell) else None
        if run is None:
            continue
        where = f"{cell.cohort.name} {cell.row.name}"
        own = stores[cell.cohort.name]
        if run["data"].get("tables") not in [[table.fingerprint for table in windows.tables] for windows in own]:
            places = ", ".join(str(windows.folder) for windows in own)
            lines.append(f"{where}: its windows are not those of {places}")
        source = cell.row.model.pretrained if has_weights(cell.row) and cell.row.model is not None else None
        if source is not None and source in checkpoints and run["identity"].get("checkpoints") != [checkpoints[source]]:
            lines.append(f"{where}: its weights are not those of {source}, which changed since")
    return lines


def _compute(
    plan: StudyPlan, folder: Path, cell: StudyCell, stores: Sequence[Windows] | None, record: Record
) -> Result:
    stores = open_stores(cell.cohort, folder) if stores is None else stores
    row = cell.row
    folds = None if row.name == CONSTANT[0] else _folds_of(folder, cell)
    # Before weights are downloaded or loaded; the subjects are the same in all stores.
    record["contamination"] = found = contamination_of(pipeline_of(row, stores[0], plan, seed=cell.seed), stores[0])
    if not plan.allow_contaminated and found["state"] != "clean":
        raise ContaminationError(found["text"].removeprefix("contaminated: "))
    windows, opened = stores[0], None
    if row.model is not None:
        windows, opened = choose_store(row.model, stores, weights=has_weights(row))
    elif row.name in registry.models:
        windows, opened = choose_store(StudyModel(name=row.name), stores, weights=False)
    record["store"] = str(windows.folder)
    pipeline = pipeline_of(row, windows, plan, seed=cell.seed)
    if opened is not None:
        record["slots"] = slot_facts(check_slots(opened, windows, n_windows=SLOT_WINDOWS, name=row.name))
    if row.kind == "frozen":
        record["embedding"] = _embed(pipeline, windows)
    given = (
        {"cv": plan.cv, "validation_fraction": plan.validation_fraction} if folds is None else {"splits_from": folds}
    )
    result = cross_validate(
        pipeline,
        windows,
        folder=folder / cell.place,
        threshold=plan.threshold,
        random_state=cell.seed,
        title=f"{row.name} on {cell.cohort.name}, seed {cell.seed}",
        allow_contaminated=plan.allow_contaminated,
        progress=False,
        **given,
    )
    run = folder / cell.place
    facts = [read_facts(fold_folder(run, index) / FOLD, FoldFacts) for index in range(len(result.run["splits"]))]
    record["fit_s"] = _fold_seconds(facts)
    record["probes"] = [fold["probe"] for fold in facts if "probe" in fold] or None
    return result


def _folds_of(folder: Path, cell: StudyCell) -> Path:
    """Return the run whose folds a cell takes; raise where there is none, with the reason."""
    first = replace(cell, row=StudyRow(CONSTANT[0], None, "baseline", "baseline"))
    if not (folder / first.place / RUN).is_file():
        record = read_record(folder, first)
        why = record["reason"] if record and record["reason"] else "it was not computed"
        raise SplitError(f"the folds of the cohort are those of {CONSTANT[0]}, which has none: {why}")
    return folder / first.place


def _embed(pipeline: Any, windows: Windows) -> Cells:
    """Compute the embeddings of all windows once, so that folds and probes find them."""
    *steps, embedder = [step for _, step in pipeline.steps[:-1]]
    mapped: Any = windows
    for step in steps:
        mapped = step.fit_transform(mapped)
    start = time.perf_counter()
    shape = embedder.fit_transform(mapped).shape
    kept = embedder.cache_info(mapped)
    return {
        "wall_s": time.perf_counter() - start,
        "shape": list(shape),
        "key": " ".join(sorted(map(str, kept["keys"]))),
        "seconds": kept["seconds"],
        "n_bytes": kept["n_bytes"],
    }


def _fold_seconds(facts: Sequence[FoldFacts]) -> float | None:
    """Return the seconds of fitting and scoring all folds, also of those of former calls."""
    seconds = [fold.get("wall_s") for fold in facts]
    return None if any(one is None for one in seconds) else float(sum(one or 0.0 for one in seconds))


def contamination_of(pipeline: Any, windows: Windows) -> Cells:
    """Return whether the weights of a pipeline saw subjects of a cohort.

    Parameters
    ----------
    pipeline : estimator
    windows : Windows

    Returns
    -------
    dict
        ``state``: ``"clean"``, ``"contaminated"`` or ``"unknown"`` (nobody recorded what they saw);
        ``text`` says why, ``subjects`` who.
    """
    origins = find_origins(pipeline)
    if not origins:
        return {"state": "clean", "text": "starts from random weights", "subjects": []}
    subjects = sorted(set(windows.groups.tolist()))
    found = check_contamination(origins, subjects, recordings=windows.recordings, allow=True)
    if found is None:
        notes = comparison_notes(origins, windows.recordings)
        saw = ", ".join(dict.fromkeys(e.dataset for o in origins for e in o.provenance.trained_on)) or "nothing named"
        text = f"no subject of this cohort trained the weights (they saw {saw})"
        return {"state": "clean", "text": "; ".join([text, *notes]), "subjects": []}
    known = all(origin.provenance.known for origin in origins)
    state = "contaminated" if known else "unknown"
    return {"state": state, "text": found.text, "subjects": list(found.subjects)}


def slot_facts(report: SlotReport) -> Cells:
    """Return what the table says of a slot check: how many inputs hold the channel they are named
    after, and what is wrong.
    """
    right = sum(1 for slot in report.slots if slot.problem is None and slot.absent < 1)
    absent = sum(1 for slot in report.slots if slot.absent == 1)
    return {
        "right": right,
        "absent": absent,
        "n_slots": report.n_chans,
        "sfreq": report.sfreq,
        "scale": report.scale,
        "problems": list(report.problems),
    }


def slot_text(facts: Mapping[str, Any] | None) -> str:
    """Return a slot check in words: ``"16 of 16"``, and what is wrong."""
    if facts is None:
        return "no channels"
    text = f"{facts['right']} of {facts['n_slots']}" + (f", {facts['absent']} absent" if facts["absent"] else "")
    return (
        text
        if not facts["problems"]
        else f"{text}; wrong: {facts['problems'][0]}"
        + (f" (and {len(facts['problems']) - 1} more)" if len(facts["problems"]) > 1 else "")
    )


def _forget_other_settings(folder: Path, cell: StudyCell, settings: Mapping[str, Any]) -> None:
    """Delete what a cell left that was refused or failed with other settings."""
    before = read_record(folder, cell)
    if before is not None and before["state"] != FINISHED and before["settings"] != to_jsonable(settings):
        shutil.rmtree(folder / cell.place, ignore_errors=True)
        record_path(folder, cell).unlink(missing_ok=True)
