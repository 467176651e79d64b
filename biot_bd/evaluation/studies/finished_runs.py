"""Runs that are finished, compared where their test windows are the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from biot_bd.evaluation.planned_run import now
from biot_bd.evaluation.result import LABELS, Result
from biot_bd.evaluation.run_facts import Cells, RunMetrics, write_facts
from biot_bd.evaluation.statistics.intervals import N_RESAMPLES
from biot_bd.evaluation.studies.compare_regimes import COMPARISON, STUDY, StudyResult, learnt
from biot_bd.evaluation.studies.comparison import compare_scores
from biot_bd.evaluation.study_identity import comparable_facts
from biot_bd.exceptions import MixedTableError, RunFolderError
from biot_bd.number_texts import score_text, text_of
from biot_bd.runs import environment, to_jsonable

FINISHED_RUNS = "comparison of finished runs"
LOWER_IS_BETTER = ("fa_per_24h",)
_EVENT_LABELS = {
    "sensitivity": "sensitivity",
    "precision": "precision",
    "f1": "F1",
    "fa_per_24h": "FA per 24 h",
}
_WINDOW = ["fold", "recording", "start_s", "stop_s", "window"]


def compare_finished(
    results: Mapping[str, Any],
    folder: str | os.PathLike[str],
    *,
    against: str | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    title: str | None = None,
) -> StudyResult:
    """Compare finished runs, subject by subject, and write the comparison into a folder.

    Parameters
    ----------
    results : mapping of str to Result or path
        At least two runs, by the names that they get in the comparison.
    folder : path
        Gets ``study.json`` and ``comparison.json``, as
        :func:`~biot_bd.evaluation.compare_regimes` writes them.
    against : str, optional
        Test every other run against this one; the first by default.
    level : float
        Of the intervals, 0 to 1.
    n_resamples : int
        Resamples behind each interval.
    title : str, optional
        Stands above every output.

    Returns
    -------
    StudyResult

    Raises
    ------
    MixedTableError
        The runs were not scored on the same windows of the same subjects in the same folds, with
        the same labels; the message says what differs.
    RunFolderError
        The folder holds a run, or another kind of study.
    FileNotFoundError
        A run is not finished.
    ValueError
        Fewer than two runs, no metric in common, or an unknown ``against``.

    See Also
    --------
    compare_regimes : Makes the runs, too.
    compare_table : Runs side by side, without tests.

    Notes
    -----
    Runs may differ in what they were trained on: the model, the preparation of the same windows
    (montage, rate), training and validation subjects.  ``study.json`` notes the last two.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, compare_finished, cross_validate
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> runs = {
    ...     name: cross_validate(baseline(name, X), X, y=y, groups=subjects, progress=False)
    ...     for name in ("always-off", "line-length")
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tests = compare_finished(runs, folder).tests
    >>> tests[["metric", "first", "second"]].iloc[0].tolist(), int(tests["n_better"].iloc[0])
    (['average_precision', 'line-length', 'always-off'], 4)
    """
    folder, runs = Path(folder), {str(name): _opened(result) for name, result in results.items()}
    if len(runs) < 2:
        raise ValueError(f"a comparison needs at least two runs, got {len(runs)}")
    against = next(iter(runs)) if against is None else against
    if against not in runs:
        raise ValueError(f"against={against!r} is none of the runs: {', '.join(runs)}")
    _refuse_other_contents(folder)
    notes = check_comparable(runs)
    runs, dropped = _with_common_scores(runs)
    found = {name: {int(result.run.get("seed") or 0): result} for name, result in runs.items()}
    return _write(found, folder, [*notes, *dropped], title, against=against, level=level, n_resamples=n_resamples)


def compare_seeds(
    results: Mapping[str, Mapping[int, Result]],
    folder: Path,
    *,
    against: str,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    title: str | None = None,
) -> StudyResult:
    """Compare finished runs of several seeds, as :func:`compare_finished` does those of one.

    Parameters
    ----------
    results : mapping of str to (mapping of int to Result)
        At least two rows, each with the same seeds.
    folder : Path
        Gets ``study.json`` and ``comparison.json``, beside whatever lies there.
    against, level, n_resamples, title
        As in :func:`compare_finished`.

    Returns
    -------
    StudyResult

    Raises
    ------
    MixedTableError
        The runs of a seed were not scored on the same windows.

    See Also
    --------
    compare_finished : Runs of one seed.
    """
    notes: list[str] = []
    found: dict[str, dict[int, Result]] = {name: {} for name in results}
    for seed in next(iter(results.values())):
        runs = {name: by_seed[seed] for name, by_seed in results.items()}
        notes += check_comparable(runs)
        runs, dropped = _with_common_scores(runs)
        notes += dropped
        for name, result in runs.items():
            found[name][seed] = result
    return _write(
        found, folder, list(dict.fromkeys(notes)), title, against=against, level=level, n_resamples=n_resamples
    )


def _write(
    found: Mapping[str, Mapping[int, Result]], folder: Path, notes: list[str], title: str | None, **options: Any
) -> StudyResult:
    comparison = compare_scores(found, **options)
    study = _describe(found, folder, title)
    study["notes"] = [*notes, *study["notes"]]
    folder.mkdir(parents=True, exist_ok=True)
    write_facts(folder / COMPARISON, comparison)
    write_facts(folder / STUDY, to_jsonable(study))
    return StudyResult.open(folder)


def _opened(result: Any) -> Result:
    return result if isinstance(result, Result) else Result.open(result)


def _refuse_other_contents(folder: Path) -> None:
    """Leave runs and studies of other kinds as they are."""
    from biot_bd.evaluation.run_facts import RUN, stored_facts

    if (folder / RUN).exists():
        raise RunFolderError(f"{folder} is itself a run folder; name a new folder for the comparison")
    stored = stored_facts(folder, STUDY)
    if stored is not None and stored.get("kind") != FINISHED_RUNS:
        raise RunFolderError(f"{folder} holds a study of regimes; name a new folder for the comparison")


# --- may they be compared -------------------------------------------------------------------------


def check_comparable(runs: Mapping[str, Result]) -> list[str]:
    """Raise where scores cannot be compared; return what else the runs do not have in common."""
    (first, reference), *others = runs.items()
    refused, notes = [], []
    wanted, table = comparable_facts(reference.run, reference.scoring), _tested(reference)
    for name, result in others:
        found = comparable_facts(result.run, result.scoring)
        lines = []
        if found["label rule"] != wanted["label rule"]:
            lines.append(f"label rule {found['label rule']!r}, not {wanted['label rule']!r}")
        lines += _other_windows(_tested(result), table)
        if lines:
            refused.append(f"{name}: {'; '.join(lines)}")
            continue
        if found["data"] != wanted["data"]:
            notes.append(f"{name} and {first} read the same windows from other preparations (montage, rate or filter)")
        sides = {
            side for a, b in zip(result.run["splits"], reference.run["splits"], strict=False) for side in _sides(a, b)
        }
        if sides:
            notes.append(f"{name} and {first} have other {' and '.join(sorted(sides))} subjects in the same folds")
        if found["protocol"] != wanted["protocol"]:
            notes.append(f"{name} and {first} follow different protocols")
    if refused:
        raise MixedTableError(
            f"these runs cannot be compared with {first!r}: {' | '.join(refused)}. Run both on the same windows and folds: "
            "cross_validate(..., splits_from=RUN) takes the folds of a run"
        )
    return notes


def _sides(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    words = {"train": "training", "valid": "validation"}
    return {word for side, word in words.items() if sorted(one.get(side) or []) != sorted(other.get(side) or [])}


def _tested(result: Result) -> pd.DataFrame:
    """Return the test windows with their labels; the row in the windows counts for arrays only."""
    table = result.predictions[result.predictions["part"] == "test"].copy()
    named = table["recording"].notna()
    table["window"] = table["window"].where(~named, -1)
    table["recording"] = table["recording"].astype("string").fillna("")
    return table[[*_WINDOW, "subject", "y_true"]]


def _other_windows(found: pd.DataFrame, wanted: pd.DataFrame) -> list[str]:
    """Name what of two tables of test windows differs, the coarsest first."""
    lines = []
    for column, said in (("subject", "test subjects"), ("recording", "test recordings")):
        own, other = set(found[column].astype(str)), set(wanted[column].astype(str))
        if own != other:
            parts = [("too many", own - other), ("too few", other - own)]
            lines.append(f"other {said} ({', '.join(f'{word}: {_few(names)}' for word, names in parts if names)})")
    if lines:
        return lines
    if _partition(found) != _partition(wanted):
        return ["the same subjects in other folds"]
    # Folds may be counted otherwise.
    keys = ["subject", "recording", "start_s", "stop_s", "window"]
    rows = [_rounded(t)[[*keys, "y_true"]].sort_values(keys, ignore_index=True) for t in (found, wanted)]
    if len(rows[0]) != len(rows[1]) or not rows[0][keys].equals(rows[1][keys]):
        return [f"other test windows ({len(found)}, not {len(wanted)}; look at window length and stride)"]
    differing = int((rows[0]["y_true"] != rows[1]["y_true"]).sum())
    return [f"other labels in {differing} of {len(found)} test windows"] if differing else []


def _partition(tested: pd.DataFrame) -> set[frozenset[str]]:
    return {frozenset(subjects.astype(str)) for _, subjects in tested.groupby("fold")["subject"]}


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Round times, which are sums of floats."""
    return table.assign(start_s=table["start_s"].round(3), stop_s=table["stop_s"].round(3))


def _few(names: set[str], most: int = 4) -> str:
    shown = sorted(names)[:most]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


def _with_common_scores(runs: Mapping[str, Result]) -> tuple[dict[str, Result], list[str]]:
    """Return the runs with the scores that all of them have, and what was left out."""
    first = next(iter(runs.values()))
    common = [name for name in first.scoring if all(name in result.scoring for result in runs.values())]
    if not common:
        asked = "; ".join(f"{name}: {', '.join(result.scoring)}" for name, result in runs.items())
        raise ValueError(f"the runs have no metric in common ({asked})")
    notes = [
        f"{LABELS.get(metric, metric)} is left out: not every run has it"
        for metric in dict.fromkeys(m for result in runs.values() for m in result.scoring)
        if metric not in common
    ]
    without = [name for name, result in runs.items() if not (result.metrics.get("events") or {}).get("subjects")]
    if without and len(without) < len(runs):
        notes.append(f"event scores are left out: {', '.join(without)} has none")
    changed: dict[str, Any] = {"scoring": common, **({"events": None} if without else {})}
    narrowed = {
        name: replace(result, metrics=cast(RunMetrics, {**result.metrics, **changed})) for name, result in runs.items()
    }
    return narrowed, notes


def _describe(found: Mapping[str, Mapping[int, Result]], folder: Path, title: str | None) -> Cells:
    """Return the content of ``study.json``."""
    runs = {name: next(iter(by_seed.values())) for name, by_seed in found.items()}
    first = next(iter(runs.values())).run
    reasons = dict.fromkeys(text for result in runs.values() if (text := result.run.get("not_a_result")))
    same = {
        name: value for name, value in first["parameters"].items() if all(_has(r, name, value) for r in runs.values())
    }
    return {
        "kind": FINISHED_RUNS,
        "state": "finished",
        "not_a_result": "; ".join(reasons) or None,
        "finished": now(),
        "seeds": sorted({seed for by_seed in found.values() for seed in by_seed}),
        "regimes": {name: {"pipeline": str(result.run.get("pipeline"))} for name, result in runs.items()},
        "runs": {
            name: {str(seed): _place(result, folder) for seed, result in by_seed.items() if result.folder is not None}
            for name, by_seed in found.items()
        },
        "parameters": same,
        "data": first["data"],
        "environment": environment(),
        "title": title,
        **learnt(found),
    }


def _has(result: Result, name: str, value: Any) -> bool:
    parameters: Mapping[str, Any] = result.run["parameters"]
    return name in parameters and parameters[name] == value


def _place(result: Result, folder: Path) -> str:
    """Return where a run lies, seen from the comparison, so that both can be moved together."""
    where = Path(cast(Path, result.folder)).resolve()
    try:
        return Path(os.path.relpath(where, folder.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return where.as_posix()


# --- the table of the console ---------------------------------------------------------------------


def comparison_table(study: StudyResult) -> Table:
    """Return the comparison as a table of at most 80 columns, for ``rich.print``.

    Parameters
    ----------
    study : StudyResult
        With tests of all runs against one.

    Returns
    -------
    rich.table.Table
        One row a score and run: mean over subjects, difference to the run they are tested
        against with its interval, sign-flip p, and for how many subjects the run is better.
    """
    comparison = study.comparison
    tests = {(test["metric"], test["first"]): test for test in comparison["tests"]}
    prevalence = [value for value in comparison["prevalence"].values() if value is not None]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title_justify="left")
    mark = "NOT A RESULT: " if study.study.get("not_a_result") else ""
    table.title = (
        f"{mark}Mean over {len(comparison['subjects'])} subjects; difference to {comparison['against']}, "
        f"{comparison['level']:.0%} interval"
    )
    table.add_column("score", max_width=14)
    table.add_column("run", max_width=20, overflow="ellipsis", no_wrap=True)
    for name in ("mean", "difference", "interval", "p", "better"):
        table.add_column(name, justify="right", no_wrap=True)
    regimes = comparison["regimes"]
    for metric in comparison["scoring"]:
        label = LABELS.get(metric, metric.replace("_", " "))
        means = {name: regime["macro"][metric]["value"] for name, regime in regimes.items()}
        _add_rows(table, label, means, {name: tests.get((metric, name)) for name in means}, metric)
        if metric == "average_precision" and prevalence:
            table.add_row("", "(prevalence)", score_text(sum(prevalence) / len(prevalence)))
        table.add_section()
    events = comparison.get("events") or {"regimes": {}, "tests": []}
    event_tests = {(test["metric"], test["first"]): test for test in events["tests"]}
    for score, label in _EVENT_LABELS.items():
        means = {name: regime["macro"][score]["value"] for name, regime in events["regimes"].items()}
        _add_rows(table, label, means, {name: event_tests.get((score, name)) for name in means}, score)
        table.add_section()
    return table


def better_worse(test: Mapping[str, Any]) -> tuple[int, int]:
    """Return for how many subjects the first run of a test is better, and worse: of false alarms
    fewer are better.
    """
    counts = int(test["n_better"]), int(test["n_worse"])
    return counts[::-1] if test["metric"] in LOWER_IS_BETTER else counts


def _add_rows(
    table: Table, label: str, means: Mapping[str, float | None], tests: Mapping[str, Any], score: str
) -> None:
    for name, value in means.items():
        cells = [_number(score, value)]
        if (test := tests[name]) is not None:
            difference = test["difference"]
            ends = [difference["low"], difference["high"]]
            n = test["n_better"] + test["n_worse"] + test["n_equal"]
            cells += [
                _number(score, difference["value"], sign=True),
                "–" if ends[0] is None else " to ".join(_number(score, end, sign=True) for end in ends),
                _p(test["p_permutation"]),
                f"{better_worse(test)[0]}/{n}",
            ]
        table.add_row(label, name, *cells)
        label = ""


def _number(name: str, value: float | None, sign: bool = False) -> str:
    text = text_of(name, value)
    return f"+{text}" if sign and value is not None and value > 0 and text.strip("0.") else text


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
