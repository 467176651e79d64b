"""What a cross-validation found.

Scores by subject, their averages, predictions, and what to mind.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from biot_bd.evaluation import run_facts
from biot_bd.evaluation.fold_events import event_lines, event_notes
from biot_bd.evaluation.model_selection.contamination import contamination_notes
from biot_bd.evaluation.protocols import CUSTOM, protocol_notes
from biot_bd.evaluation.run_facts import Cells, RunFacts, RunMetrics
from biot_bd.evaluation.window_scores import COUNTS, FoldOutcome
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import check_present, check_values, naming
from biot_bd.number_texts import score_text

LABELS = {"average_precision": "AUC-PR", "roc_auc": "AUROC", "balanced_accuracy": "bal. acc."}


def degenerate_notes(outcomes: Sequence[FoldOutcome]) -> list[str]:
    """Say in which folds a model gave all test windows one probability, so that its scores
    follow from nothing else, and in which a search inside it had nothing to choose by.
    """
    return [*_constant_notes(outcomes), *_search_notes(outcomes)]


def _search_notes(outcomes: Sequence[FoldOutcome]) -> list[str]:
    searches = [(outcome.facts["fold"], outcome.facts.get("search") or {}) for outcome in outcomes]
    return [f"fold {fold}: the search inside: {facts['reason']}" for fold, facts in searches if facts.get("reason")]


def _constant_notes(outcomes: Sequence[FoldOutcome]) -> list[str]:
    constant = [str(outcome.facts["fold"]) for outcome in outcomes if _constant(outcome.predictions)]
    if not constant:
        return []
    where = "all folds" if len(constant) == len(outcomes) else f"fold(s) {', '.join(constant)}"
    return [
        f"degenerate: the model gives all test windows one probability in {where}; it ranks nothing, so its AUROC is 0.5 "
        "and its AUC-PR the prevalence by definition"
    ]


def _constant(predictions: pd.DataFrame) -> bool:
    """Return whether several test windows all have the same probabilities."""
    test = predictions.loc[predictions["part"] == "test", run_facts.class_columns(predictions, "proba") or ["proba"]]
    return len(test) > 1 and bool((test.nunique() == 1).all())


@dataclass(frozen=True)
class Result:
    """The outcome of :func:`biot_bd.cross_validate`.

    Parameters
    ----------
    metrics : dict
        Content of ``metrics.json``: ``folds``, ``subjects``, ``macro``, ``pooled``, ``prevalence``,
        ``scoring``, ``events``.
    predictions : pandas.DataFrame
        One row a validation or test window; columns as in ``predictions.parquet``.
    run : dict
        Content of ``run.json``: parameters, data, splits, environment, notes.
    folder : Path or None
        The run folder, if there is one.

    See Also
    --------
    cross_validate : Makes one.
    assess : Its intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, cross_validate
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> pipeline = baseline("line-length", X)
    >>> result = cross_validate(pipeline, X, y=y, groups=subjects, progress=False)
    >>> result.protocol, result.scoring
    ('custom', ['average_precision', 'roc_auc', 'balanced_accuracy'])
    >>> sorted(result.predictions["part"].unique())
    ['test', 'valid']
    """

    metrics: RunMetrics
    predictions: pd.DataFrame
    run: RunFacts
    folder: Path | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Result:
        """Read a finished run folder.

        Raises
        ------
        FileNotFoundError
            No run folder, or the run was interrupted; running the same command again finishes it.
        """
        folder = Path(folder)
        run_facts.check_finished(folder, (run_facts.RUN, run_facts.METRICS, run_facts.PREDICTIONS), "run")
        metrics = run_facts.read_facts(folder / run_facts.METRICS, run_facts.RunMetrics)
        with naming(folder / run_facts.METRICS, RunFolderError):
            _check_scores(metrics)
        run = run_facts.read_facts(folder / run_facts.RUN, run_facts.RunFacts)
        with naming(folder / run_facts.RUN, RunFolderError):
            run["data"]["label_rule"]  # what no reader of a run does without
        result = cls(metrics, run_facts.read_predictions(folder / run_facts.PREDICTIONS), run, folder)
        with naming(folder, RunFolderError):  # what the files say can be shown, or they are damaged
            result.__rich__()
        return result

    @property
    def scoring(self) -> list[str]:
        """Names of the metrics, in the order asked for."""
        return list(self.metrics["scoring"])

    @property
    def protocol(self) -> str:
        """Name of the protocol, ``"custom"`` without a preset."""
        return str((self.run.get("protocol") or {}).get("name", CUSTOM))

    @property
    def contamination(self) -> str | None:
        """Which checkpoint saw test subjects (or may have), None where none did."""
        return self.run.get("contamination")

    @property
    def table(self) -> pd.DataFrame:
        """Scores by subject.

        Returns
        -------
        pandas.DataFrame
            Index ``subject``; columns ``n_windows``, ``n_seizure_windows``, ``prevalence``, one
            column a metric (``Float64``, ``<NA>`` where undefined), ``undefined`` (the reasons, or
            empty) and ``contaminated`` (bool: the checkpoint saw this subject, or may have).
        """
        rows = {}
        for subject, scores in self.metrics["subjects"].items():
            row: Cells = {name: scores[name] for name in COUNTS}
            row |= {name: scores[name]["value"] for name in self.scoring}
            row["undefined"] = "; ".join(dict.fromkeys(r for n in self.scoring if (r := scores[n]["reason"])))
            row["contaminated"] = subject in self.run.get("contaminated_subjects", ())
            rows[subject] = row
        table = pd.DataFrame.from_dict(rows, orient="index")
        table.index.name = "subject"
        return table.astype(dict.fromkeys(("prevalence", *self.scoring), "Float64"))

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know, the most important first."""
        data, out = self.run["data"], contamination_notes(self.run)
        if self.run.get("not_a_result"):
            out.append(f"not a result: {self.run['not_a_result']}")
        if data["label_rule"]:
            out.append(f"label rule: {data['label_rule']}")
        out += protocol_notes(self.run, self.metrics)
        out += event_notes(self.metrics)
        return out + list(self.run.get("notes", []))

    def __rich__(self) -> RenderableType:
        """Return the table of scores with its notes, for ``rich.print``."""
        mark = "CONTAMINATED: " if self.contamination else ""
        mark += "NOT A RESULT: " if self.run.get("not_a_result") else ""
        table = Table(
            title=f"{mark}{self.run.get('title') or 'Scores by subject'} (protocol: {self.protocol})",
            title_justify="left",
        )
        table.add_column("subject", min_width=10, overflow="fold")
        for name in ("windows", "seizure", "prevalence", *self.scoring):
            table.add_column(LABELS.get(name, name.replace("_", " ")), justify="right", min_width=6, overflow="fold")
        for subject, scores in self.metrics["subjects"].items():
            n_seizure = scores["n_seizure_windows"]
            counts = [str(scores["n_windows"]), "–" if n_seizure is None else str(n_seizure)]
            counts.append(score_text(scores["prevalence"]))
            seen = ", contaminated" if subject in self.run.get("contaminated_subjects", ()) else ""
            table.add_row(
                Text(f"{subject}{seen}"), *counts, *(score_text(scores[name]["value"]) for name in self.scoring)
            )
        table.add_section()
        self._add_averages(table)
        lines = [*event_lines(self.metrics), *(f"- {note}" for note in self.notes)]
        lines.append("- macro: mean of the subjects for whom the metric is defined (their number below it)")
        if "average_precision" in self.scoring:
            lines.append(
                "- prevalence: share of seizure windows, the AUC-PR of chance; macro: mean of the subjects of its AUC-PR"
            )
        if names := self.run["data"].get("classes"):
            lines.append(f"- classes: {', '.join(f'{k} {name}' for k, name in enumerate(names))}")
        own = "" if names else ", each at its own fold's threshold"
        lines.append(f"- pooled: all test windows at once{own}")
        undefined = self.table["undefined"]
        lines += [f"- {subject}: {reason}, so – above" for subject, reason in undefined.items() if reason]
        if self.folder is not None:
            lines.append(f"run folder: {self.folder}")
        return Group(table, *(Text(line) for line in lines))

    def _add_averages(self, table: Table) -> None:
        macro, pooled = self.metrics["macro"], self.metrics["pooled"]
        chance = score_text(macro_prevalence(self.metrics)) if "average_precision" in self.scoring else ""
        table.add_row(
            "macro", "", "", chance, *(score_text(macro[name]["value"]) for name in self.scoring), style="bold"
        )
        table.add_row("  subjects", "", "", "", *(str(macro[name]["n_subjects"]) for name in self.scoring))
        test = self.predictions.loc[self.predictions["part"] == "test", "y_true"]
        several = len(run_facts.class_columns(self.predictions, "proba")) > 2
        counts = [str(len(test)), "–" if several else str(int(test.sum())), score_text(self.metrics["prevalence"])]
        table.add_row("pooled", *counts, *(score_text(pooled[name]["value"]) for name in self.scoring))

    def __str__(self) -> str:
        return as_text(self, width=110)


def _check_scores(metrics: RunMetrics) -> None:
    """Raise where a metric that was asked for lacks its scores."""
    for name in metrics["scoring"]:
        check_values(metrics["macro"][name], run_facts.MacroFacts, f"macro.{name}")
        check_values(metrics["pooled"][name], run_facts.ScoreFacts, f"pooled.{name}")
        for subject, scores in metrics["subjects"].items():
            check_values(scores[name], run_facts.ScoreFacts, f"subjects.{subject}.{name}")
    for subject, scores in metrics["subjects"].items():
        check_values({count: scores[count] for count in COUNTS}, dict[str, float | None], f"subjects.{subject}")
    check_present(metrics.get("events"), run_facts.EventMetrics | None, "events")


def as_text(shown: RenderableType, width: int) -> str:
    """Return what ``rich.print`` shows, without colours."""
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False).print(shown)
    return text.getvalue().rstrip("\n")


def macro_prevalence(metrics: RunMetrics | Mapping[str, Any]) -> float | None:
    """Return the mean prevalence over the subjects who count in the macro AUC-PR, its chance.

    Parameters
    ----------
    metrics : mapping
        Content of ``metrics.json``.

    Returns
    -------
    float or None
        None where no subject has an AUC-PR.
    """
    known = [
        entry["prevalence"]
        for entry in metrics["subjects"].values()
        if (entry.get("average_precision") or {}).get("value") is not None and entry.get("prevalence") is not None
    ]
    return float(np.mean(known)) if known else None
