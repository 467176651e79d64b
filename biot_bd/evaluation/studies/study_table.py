"""The table of a study: scores with intervals, tests, cost, contamination and slots, a row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.evaluation.further_scores import sens_fa_of
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import Cells
from biot_bd.evaluation.statistics.intervals import N_RESAMPLES
from biot_bd.evaluation.studies.compare_regimes import COMPARISON, STUDY, StudyResult
from biot_bd.evaluation.studies.comparison import chance_of
from biot_bd.evaluation.studies.finished_runs import check_comparable, compare_seeds
from biot_bd.evaluation.studies.study_cells import (
    FINISHED,
    MISSING,
    Record,
    is_finished,
    read_record,
    slot_text,
)
from biot_bd.evaluation.studies.study_plan import StudyCell, StudyCohort, StudyPlan, StudyRow
from biot_bd.exceptions import MixedTableError
from biot_bd.number_texts import NO_NUMBER, cell_text, rate_text

WINDOW_SCORES = ("average_precision", "roc_auc", "balanced_accuracy")
EVENT_SCORES = ("f1", "sensitivity", "fa_per_24h")
COLUMNS = (
    ("cohort", "row", "model", "strategy", "kind", "weights", "state", "reason", "n_seeds", "n_subjects")
    + tuple(f"{score}{end}" for score in WINDOW_SCORES for end in ("", "_low", "_high"))
    + tuple(f"events_{score}{end}" for score in EVENT_SCORES for end in ("", "_low", "_high"))
    + ("sens_fa_auc", "difference", "difference_low", "difference_high", "p", "p_holm", "against")
    + ("n_probes", "n_converged", "embed_s", "embedding_shared_with", "fit_s", "peak_memory_mb", "peak_gpu_mb")
    + ("contamination", "contamination_reason", "slots", "slots_right", "n_slots", "slot_problems", "store")
)
"""Columns of ``comparison.csv``, what each means stands in docs/study.md."""
CHANCE = "chance"
SIGNIFICANT = 0.05


def compare_cohort(plan: StudyPlan, folder: Path, cohort: StudyCohort) -> tuple[StudyResult | None, dict[str, str]]:
    """Compare the rows of a cohort whose seeds are all finished, and write its ``comparison.json``.

    Parameters
    ----------
    plan : StudyPlan
    folder : Path
        Of the study.
    cohort : StudyCohort

    Returns
    -------
    tuple of (StudyResult or None, dict)
        None with fewer than two such rows; by row why it is not compared.
    """
    place = folder / cohort.name
    found: dict[str, dict[int, Result]] = {}
    for row in plan.rows():
        cells = [StudyCell(cohort, row, seed) for seed in plan.seeds]
        if all(is_finished(folder, cell) for cell in cells):
            found[row.name] = {cell.seed: Result.open(folder / cell.place) for cell in cells}
    left_out: dict[str, str] = {}
    if not found:
        return None, left_out
    first = next(iter(found))
    for name in [name for name in found if name != first]:
        try:
            _check_same_windows(found[first], found[name])
        except MixedTableError as error:
            left_out[name] = f"not comparable with {first}: {error}"
            del found[name]
    for name in (COMPARISON, STUDY):  # of fewer rows
        (place / name).unlink(missing_ok=True)
    if len(found) < 2:
        return None, left_out
    against = plan.reference if plan.reference in found else first
    result = compare_seeds(
        found,
        place,
        against=against,
        level=plan.level,
        n_resamples=plan.n_resamples or N_RESAMPLES,
        title=f"{plan.title or 'Foundation models'}: {cohort.name}",
    )
    return result, left_out


def _check_same_windows(one: Mapping[int, Result], other: Mapping[int, Result]) -> None:
    for seed in one:
        check_comparable({"the first row": one[seed], "this row": other[seed]})


def table_rows(plan: StudyPlan, folder: Path, cohort: StudyCohort) -> list[Cells]:
    """Return the rows of a cohort's part of the table, chance last.

    Parameters
    ----------
    plan : StudyPlan
    folder : Path
        Of the study.
    cohort : StudyCohort

    Returns
    -------
    list of dict
        With the keys of :data:`COLUMNS`; None where a value is unknown or undefined.
    """
    result, left_out = compare_cohort(plan, folder, cohort)
    shared: dict[str, str] = {}
    rows = [_row(plan, folder, cohort, row, result, left_out.get(row.name), shared) for row in plan.rows()]
    return rows if result is None else [*rows, _chance(cohort, result)]


def _row(
    plan: StudyPlan,
    folder: Path,
    cohort: StudyCohort,
    row: StudyRow,
    result: StudyResult | None,
    not_compared: str | None,
    shared: dict[str, str],
) -> Cells:
    cells = [StudyCell(cohort, row, seed) for seed in plan.seeds]
    records = [record for cell in cells if (record := read_record(folder, cell)) is not None]
    states = [record["state"] for record in records] + [MISSING] * (len(cells) - len(records))
    other = next((state for state in states if state != FINISHED), None)
    reasons = dict.fromkeys(record["reason"] for record in records if record["reason"])
    out: Cells = dict.fromkeys(COLUMNS)
    out |= {
        "cohort": cohort.name,
        "row": row.name,
        "model": row.name if row.model is None else row.model.name,
        "strategy": row.strategy,
        "kind": row.kind,
        "weights": _weights(row),
        "state": other or FINISHED,
        "reason": "; ".join([*reasons, *([not_compared] if not_compared else [])]) or None,
        "n_seeds": states.count(FINISHED),
    }
    if records:
        out |= _facts(records, shared, row.name)
    if result is not None and row.name in result.comparison["regimes"]:
        out |= _scores(result, row.name)
        out["sens_fa_auc"] = _sens_fa(list(result.results(row.name).values()))
    return out


def _weights(row: StudyRow) -> str | None:
    if row.model is None:
        return None
    if row.kind in ("frozen", "finetune") and row.model.pretrained is not None:
        return row.model.pretrained
    return "random"


def _facts(records: Sequence[Record], shared: dict[str, str], row: str) -> Cells:
    """Return what the records of a row's cells say: cost, contamination, slots, store.

    Embeddings are paid for by the first row that used them.
    """
    last = records[-1]
    probes = [probe for record in records for probe in record["probes"] or ()]
    contamination = next((r["contamination"] for r in records if r["contamination"]), None) or {}
    slots = next((r["slots"] for r in records if r["slots"]), None)
    fits = [record["fit_s"] for record in records]
    embeddings = [record["embedding"] for record in records if record["embedding"]]
    keys = {str(one.get("key")): one for one in embeddings}
    paid_by = {key: shared.setdefault(key, row) for key in keys if key != "None"}
    own = [one for key, one in keys.items() if paid_by.get(key, row) == row]
    return {
        "n_probes": len(probes) or None,
        "n_converged": sum(bool(probe["converged"]) for probe in probes) if probes else None,
        "embed_s": float(sum(_embedding_seconds(one) for one in own)) if own else None,
        "embedding_shared_with": ", ".join(sorted({name for name in paid_by.values() if name != row})) or None,
        "fit_s": None if any(value is None for value in fits) else float(sum(value or 0.0 for value in fits)),
        "peak_memory_mb": _peak(records, "peak_memory_bytes"),
        "peak_gpu_mb": _peak(records, "peak_gpu_bytes"),
        "contamination": contamination.get("state"),
        "contamination_reason": contamination.get("text"),
        "slots": None if slots is None else slot_text(slots),
        "slots_right": None if slots is None else slots["right"],
        "n_slots": None if slots is None else slots["n_slots"],
        "slot_problems": None if slots is None else "; ".join(slots["problems"]) or None,
        "store": last["store"],
    }


def _embedding_seconds(embedding: Mapping[str, Any]) -> float:
    """Return the seconds of computing embeddings: as kept with them, else of the call."""
    kept = embedding.get("seconds")
    return float(embedding["wall_s"] if kept is None else kept)


def _peak(records: Sequence[Record], name: str) -> float | None:
    values = [value for record in records if (value := record[name]) is not None]  # type: ignore[literal-required]
    return max(values) / 2**20 if values else None


def _scores(result: StudyResult, name: str) -> Cells:
    comparison = result.comparison
    macro = comparison["regimes"][name]["macro"]
    events = ((comparison.get("events") or {}).get("regimes") or {}).get(name, {}).get("macro", {})
    out: Cells = {}
    for prefix, part, scores in (("", macro, WINDOW_SCORES), ("events_", events, EVENT_SCORES)):
        for score in scores:
            cell = part.get(score) or {}
            out |= {f"{prefix}{score}{end}": cell.get(key) for end, key in _ENDS.items()}
    first = macro.get(WINDOW_SCORES[0]) or {}
    out["n_subjects"] = first.get("n_defined", first.get("n_subjects"))
    out["against"] = comparison["against"]
    for test in comparison["tests"]:
        if test["metric"] == WINDOW_SCORES[0] and test["first"] == name:
            out |= {f"difference{end}": test["difference"][key] for end, key in _ENDS.items()}
            out |= {"p": test["p_permutation"], "p_holm": test["p_holm"]}
    return out


_ENDS = {"": "value", "_low": "low", "_high": "high"}


def _sens_fa(results: Sequence[Result]) -> float | None:
    """Return the mean over seeds of the strict Sens@FA AUC, None where one is undefined."""
    values = [sens_fa_of(result.predictions)["strict"]["value"] for result in results]
    return None if any(value is None for value in values) else float(np.mean([value or 0.0 for value in values]))


def _chance(cohort: StudyCohort, result: StudyResult) -> Cells:
    """Return the row of a detector that guesses: of AUC-PR the prevalence."""
    out: Cells = dict.fromkeys(COLUMNS)
    out |= {"cohort": cohort.name, "row": CHANCE, "model": CHANCE, "strategy": CHANCE, "kind": CHANCE}
    return out | {"state": FINISHED} | {score: chance_of(result.comparison, score) for score in WINDOW_SCORES}


def as_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the columns of :data:`COLUMNS`."""
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    numbers = [name for name in COLUMNS if name not in _TEXTS]
    return frame.astype({name: "Int64" if name in _COUNTS else "Float64" for name in numbers})


_COUNTS = frozenset(("n_seeds", "n_subjects", "n_probes", "n_converged", "slots_right", "n_slots"))
_TEXTS = frozenset(
    "cohort row model strategy kind weights state reason against embedding_shared_with contamination "
    "contamination_reason slots slot_problems store".split()
)

SHOWN = (
    ("average_precision", "AUC-PR"),
    ("roc_auc", "AUROC"),
    ("events_f1", "event F1"),
    ("events_sensitivity", "sensitivity"),
    ("events_fa_per_24h", "FA/24 h"),
    ("sens_fa_auc", "Sens@FA AUC"),
)
"""Scores that printed tables show, with their headings."""
CHECKS = ("cost", "weights", "slots")
"""Headings of :func:`check_cells`."""


def shown_cells(row: Mapping[str, Any]) -> list[str]:
    """Return a row as the texts of a printed table: scores, difference, cost, checks.

    Parameters
    ----------
    row : mapping
        Of :func:`table_rows`.

    Returns
    -------
    list of str
        As many as :func:`shown_headings` has.
    """
    scores = [_score_text(row, name) for name, _ in SHOWN]
    difference = _score_text(row, "difference", signed=True)
    p = p_text(row)
    if row["state"] != FINISHED:
        scores[0] = str(row["state"])
    return [*scores, difference, p, *check_cells(row)]


def check_cells(row: Mapping[str, Any]) -> list[str]:
    """Return what a row cost, what its weights saw and its slot check, as texts."""
    return [cost_text(row), _weights_text(row), row["slots"] or NO_NUMBER]


def _weights_text(row: Mapping[str, Any]) -> str:
    if row["weights"] is None:
        return NO_NUMBER
    return "random" if row["weights"] == "random" else str(row["contamination"] or "not looked at")


def shown_headings(against: str | None) -> list[str]:
    """Return the headings of :func:`shown_cells`."""
    named = [label for _, label in SHOWN]
    return [*named, f"AUC-PR minus {against or 'reference'}", "p (Holm)", *CHECKS]


def p_text(row: Mapping[str, Any]) -> str:
    """Return a row's p value, adjusted for the number of rows."""
    value = row["p_holm"]
    return NO_NUMBER if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _score_text(row: Mapping[str, Any], name: str, *, signed: bool = False) -> str:
    cell = {"value": row[name], "low": row.get(f"{name}_low"), "high": row.get(f"{name}_high")}
    return cell_text(cell, "fa_per_24h" if "fa_per" in name else "", signed=signed)


def cost_text(row: Mapping[str, Any]) -> str:
    """Return a row's cost in words; embeddings are counted once, where they were computed."""
    parts = []
    if row["embed_s"] is not None:
        parts.append(f"{rate_text(row['embed_s'])} s embedding")
    elif row["embedding_shared_with"]:
        parts.append(f"embeddings of {row['embedding_shared_with']}")
    if row["fit_s"] is not None:
        parts.append(f"{rate_text(row['fit_s'])} s folds")
    if parts and row["peak_memory_mb"] is not None:  # a refused cell computed nothing
        parts.append(f"{row['peak_memory_mb']:,.0f} MB")
    if row["n_probes"] and row["n_converged"] < row["n_probes"]:
        parts.append(f"{row['n_probes'] - row['n_converged']} of {row['n_probes']} probes not converged")
    return ", ".join(parts) or NO_NUMBER


def as_markdown(rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> str:
    """Return the table as Markdown, for a paper: one table a cohort, then the notes."""
    lines: list[str] = []
    for cohort in dict.fromkeys(row["cohort"] for row in rows):
        own = [row for row in rows if row["cohort"] == cohort]
        headings = ["row", *shown_headings(next((row["against"] for row in own if row["against"]), None))]
        lines += [f"**{cohort}**", "", _line(headings), _line(["---"] * len(headings))]
        lines += [_line([row["row"], *shown_cells(row)]) for row in own]
        lines += ["", *[f"- {text}" for text in reasons(own)], ""]
    return "\n".join([*lines, *[f"- {note}" for note in notes], ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def reasons(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why rows have no scores, one line a reason with all rows that it is of."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["reason"]:
            found.setdefault((row["state"], row["reason"]), []).append(row["row"])
    return [f"{', '.join(names)}: {state}: {reason}" for (state, reason), names in found.items()]


def cautions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what numbers of a table cannot tell, as found in the table itself.

    Parameters
    ----------
    rows : sequence of mapping
        Of :func:`table_rows`, of any cohorts.

    Returns
    -------
    list of str
        Cohorts in which an alarm without an end has no false alarm, cohorts with too few subjects
        for any significant difference, and rows whose weights may have seen test subjects.
    """
    found = []
    for cohort in dict.fromkeys(row["cohort"] for row in rows):
        own = [row for row in rows if row["cohort"] == cohort]
        found += [*_endless_alarm(cohort, own), *_few_subjects(cohort, own)]
    seen = [f"{row['row']} on {row['cohort']} ({row['contamination']})" for row in rows if _may_have_seen(row)]
    return [*found, *([f"weights that saw test subjects, or may have: {', '.join(seen)}"] if seen else [])]


def _endless_alarm(cohort: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    constant = next((row for row in rows if row["row"] == "always-on"), None)
    if constant is None or constant["events_fa_per_24h"] != 0 or not constant["events_sensitivity"]:
        return []
    area = constant["sens_fa_auc"]
    shown = "" if area is None else f", a Sens@FA AUC of {area:.3f}"
    return [
        f"{cohort}: event scores and Sens@FA AUC tell no rows apart: recordings are so short that always-on has no "
        f"false alarm (event F1 {constant['events_f1']:.3f}{shown})"
    ]


def _few_subjects(cohort: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    tested = [row for row in rows if row["p"] is not None and row["n_subjects"]]
    if not tested:
        return []
    n_subjects = max(row["n_subjects"] for row in tested)
    smallest = 2.0 ** (1 - n_subjects)  # all subjects differ in one direction
    adjusted = min(1.0, smallest * len(tested))
    if adjusted <= SIGNIFICANT:
        return []
    return [
        f"{cohort}: {n_subjects} subjects allow no p below {smallest:.3g} ({adjusted:.3g} adjusted for {len(tested)} "
        f"rows), whatever the difference"
    ]


def _may_have_seen(row: Mapping[str, Any]) -> bool:
    return row["state"] == FINISHED and row["contamination"] in ("contaminated", "unknown")
