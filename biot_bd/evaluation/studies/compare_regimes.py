"""Several training regimes on the same subjects, folds and seeds, side by side."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from biot_bd import runs
from biot_bd.evaluation.cross_validation import cross_validate
from biot_bd.evaluation.data import Data, as_data, check_classes
from biot_bd.evaluation.fold import check_kept, check_scorable, configure
from biot_bd.evaluation.metrics.thresholds import check_threshold_rule
from biot_bd.evaluation.metrics.window_metrics import as_metrics
from biot_bd.evaluation.model_selection.contamination import check_contamination, find_origins
from biot_bd.evaluation.model_selection.folds import make_folds
from biot_bd.evaluation.model_selection.official_split import official_parts
from biot_bd.evaluation.planned_run import now
from biot_bd.evaluation.protocols import Protocol, as_protocol, protocol_notes
from biot_bd.evaluation.result import LABELS, Result, as_text
from biot_bd.evaluation.run_facts import RUN, Cells, check_finished, read_facts, stored_facts, write_facts
from biot_bd.evaluation.statistics.intervals import N_RESAMPLES
from biot_bd.evaluation.stored_folds import DEFAULTS, settled
from biot_bd.evaluation.studies.comparison import chance_of, compare_runs
from biot_bd.evaluation.studies.seed_agreement import write_seed_agreement
from biot_bd.evaluation.study_identity import (
    describe,
    differences,
    final_step,
    identity_of,
    protocol_values,
    refuse_other_study,
)
from biot_bd.exceptions import RunFolderError
from biot_bd.json_values import naming
from biot_bd.number_texts import cell_text, score_text
from biot_bd.training import BIOTClassifier

STUDY = "study.json"
COMPARISON = "comparison.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_TEST_COLUMNS = ("comparison", "metric", "difference", "better/worse/equal", "p sign flip", "p Holm", "p Wilcoxon")


@dataclass(frozen=True)
class StudyResult:
    """The outcome of :func:`compare_regimes`.

    Parameters
    ----------
    comparison : dict
        Content of ``comparison.json``: scores by subject, intervals over subjects, paired tests,
        caveats.
    study : dict
        Content of ``study.json``: regimes, seeds, parameters, data, notes.
    folder : Path
        The study folder.

    See Also
    --------
    compare_regimes : Makes one.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, compare_regimes
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> import tempfile
    >>> regimes = {"length": baseline("line-length", X), "never": baseline("always-off", X)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     study = compare_regimes(X, regimes, folder, y=y, groups=subjects, progress=False)
    >>> study.regimes, study.table["n_subjects"].unique().tolist()
    (['length', 'never'], [4])
    """

    comparison: Cells
    study: Cells
    folder: Path

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> StudyResult:
        """Read a finished study folder.

        Raises
        ------
        FileNotFoundError
            No study folder, or the study was interrupted; running it again finishes it.
        ValueError
            A file is damaged.
        """
        folder = Path(folder)
        check_finished(folder, (STUDY, COMPARISON), "study")
        result = cls(read_facts(folder / COMPARISON), read_facts(folder / STUDY), folder)
        with naming(folder, RunFolderError):  # what the files say can be shown, or they are damaged
            result.__rich__()
        return result

    @property
    def regimes(self) -> list[str]:
        """Names of the regimes, in their order."""
        return list(self.study["regimes"])

    def run_folder(self, regime: str, seed: int) -> Path:
        """Return the run folder of a regime and seed."""
        stored = (self.study.get("runs") or {}).get(regime, {}).get(str(seed))
        return self.folder / (stored or f"{regime}/seed-{seed}")

    def results(self, regime: str) -> dict[int, Result]:
        """Open the runs of a regime, by seed.

        Raises
        ------
        KeyError
            No such regime.
        """
        if regime not in self.study["regimes"]:
            raise KeyError(f"no regime {regime!r}; there are {', '.join(self.regimes)}")
        seeds = [int(seed) for seed in self.comparison["regimes"][regime]["seeds"]]
        return {seed: Result.open(self.run_folder(regime, seed)) for seed in seeds}

    @property
    def table(self) -> pd.DataFrame:
        """Scores of the regimes.

        Returns
        -------
        pandas.DataFrame
            One row a regime, average (``macro``, ``pooled``) and metric: columns ``regime``,
            ``average``, ``metric``, ``value``, ``low``, ``high``, ``n_subjects``.
        """
        rows = [
            {"regime": name, "average": average, "metric": metric}
            | {key: (cell := regime[average][metric])[key] for key in ("value", "low", "high")}
            | {"n_subjects": cell.get("n_defined", cell["n_subjects"])}
            for name, regime in self.comparison["regimes"].items()
            for average in ("macro", "pooled")
            for metric in self.comparison["scoring"]
        ]
        return pd.DataFrame(rows).astype(dict.fromkeys(("value", "low", "high"), "Float64"))

    @property
    def tests(self) -> pd.DataFrame:
        """Paired tests.

        Returns
        -------
        pandas.DataFrame
            One row a pair and metric: ``metric``, ``first``, ``second``, ``difference`` (first
            minus second, mean over subjects), ``low``, ``high``, ``n_subjects``, ``n_better``,
            ``n_worse``, ``n_equal``, ``p_permutation``, ``p_holm``, ``p_wilcoxon``.
        """
        of_pair, of_interval = ("metric", "first", "second"), ("low", "high", "n_subjects")
        of_test = ("n_better", "n_worse", "n_equal", "p_permutation", "p_holm", "p_wilcoxon")
        rows = [
            {key: test[key] for key in of_pair}
            | {"difference": test["difference"]["value"]}
            | {key: test["difference"][key] for key in of_interval}
            | {key: test[key] for key in of_test}
            for test in self.comparison["tests"]
        ]
        return pd.DataFrame(rows, columns=[*of_pair, "difference", *of_interval, *of_test])

    @property
    def notes(self) -> list[str]:
        """What a reader of the scores must know, the most important first."""
        out = []
        if self.study.get("not_a_result"):
            out.append(f"not a result: {self.study['not_a_result']}")
        out += [f"{name}: {text}" for name, text in (self.study.get("contamination") or {}).items()]
        if self.study["data"]["label_rule"]:
            out.append(f"label rule: {self.study['data']['label_rule']}")
        out += protocol_notes(self.study)
        return [*out, *self.study.get("notes", []), *self.comparison["caveats"]]

    def __rich__(self) -> RenderableType:
        """Return the tables with their notes, for ``rich.print``."""
        mark = "NOT A RESULT: " if self.study.get("not_a_result") else ""
        percent = f"{self.comparison['level']:.0%} interval, {self.comparison['method']}"
        title = f"{mark}{self.study.get('title') or 'Training regimes'}, mean over subjects ({percent})"
        scores = Table(title=title, title_justify="left")
        scores.add_column("regime", no_wrap=True)
        for metric in self.comparison["scoring"]:
            scores.add_column(LABELS.get(metric, metric.replace("_", " ")), justify="right")
        contamination = self.study.get("contamination") or {}
        for name in self.regimes:
            macro = self.comparison["regimes"][name]["macro"]
            cells = [cell_text(macro[metric], metric) for metric in self.comparison["scoring"]]
            scores.add_row(f"{name} (contaminated)" if name in contamination else name, *cells)
        chance = [chance_of(self.comparison, metric) for metric in self.comparison["scoring"]]
        scores.add_section()
        scores.add_row("chance", *("" if value is None else score_text(value) for value in chance))
        lines = [Text(f"- {note}") for note in self.notes]
        lines.append(Text("- chance: of AUC-PR the mean prevalence of its subjects, else 0.5"))
        return Group(scores, self._rich_tests(), *lines, Text(f"study folder: {self.folder}"))

    def _rich_tests(self) -> Table:
        tests = Table(title="Paired differences over subjects", title_justify="left")
        for column in _TEST_COLUMNS:
            tests.add_column(column, justify="left" if column in _TEST_COLUMNS[:2] else "right")
        for test in self.comparison["tests"]:
            counts = "/".join(str(test[key]) for key in ("n_better", "n_worse", "n_equal"))
            p = [_p(test[key]) for key in ("p_permutation", "p_holm", "p_wilcoxon")]
            metric = LABELS.get(test["metric"], test["metric"].replace("_", " "))
            pair = f"{test['first']} - {test['second']}"
            tests.add_row(pair, metric, cell_text(test["difference"], test["metric"], signed=True), counts, *p)
        return tests

    def __str__(self) -> str:
        return as_text(self, width=120)


def compare_regimes(
    windows: Any,
    regimes: Mapping[str, Any],
    folder: str | os.PathLike[str],
    *,
    y: Any = None,
    groups: Any = None,
    cv: Any = "subject-loo",
    seeds: Sequence[int] = (0,),
    scoring: Any = ("average_precision", "roc_auc", "balanced_accuracy"),
    threshold: str | float = "balanced-accuracy",
    validation_fraction: float = 0.25,
    protocol: str | Protocol | None = None,
    against: str | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    n_jobs: int = 1,
    title: str | None = None,
    notes: Sequence[str] = (),
    allow_contaminated: bool = False,
    progress: bool = True,
) -> StudyResult:
    """Cross-validate several pipelines on the same subjects, folds and seeds, and compare them
    subject by subject.

    Parameters
    ----------
    windows : Windows, array of shape (n, n_chans, n_times) or mne.Epochs
        As in :func:`~biot_bd.cross_validate`.
    y, groups : array of shape (n,), optional
        As in :func:`~biot_bd.cross_validate`: labels, and the subject of each window.
    regimes : mapping of str to estimator
        Pipelines by name; the names become folders.  Differences are later minus earlier, so name
        the simplest first.
    folder : path
        The study folder: ``study.json``, ``comparison.json`` and one run folder
        ``<regime>/seed-<n>`` a regime and seed.  The same call again goes on where it was stopped;
        regimes and seeds may be added to it.  ``tensorboard --logdir`` on it shows all runs beside
        each other.
    cv : str or splitter
        How subjects are split.  This and the parameters from here to ``progress`` are those of
        :func:`~biot_bd.cross_validate`, the same for all regimes.
    scoring : str, Metric, callable or sequence of them
        Metrics.
    threshold : {"balanced-accuracy", "matched-prevalence"} or float
        How the threshold is chosen on the validation predictions.
    validation_fraction : float
        Share of a fold's training subjects that validate.
    protocol : str or Protocol, optional
        A preset, which gives ``cv``, ``scoring``, ``threshold`` and ``validation_fraction``.
    n_jobs : int
        Folds computed at once.
    allow_contaminated, progress : bool
        Score a regime whose checkpoint saw test subjects; show progress.
    seeds : sequence of int
        Each gives one split and one training a fold; all regimes get the same.
    against : str, optional
        Test every other regime against this one; all pairs by default.
    level : float
        Of the intervals, 0 to 1.
    n_resamples : int
        Resamples behind each interval, see :mod:`biot_bd.evaluation.statistics.intervals`.
    title : str, optional
        Stands above every output.
    notes : sequence of str
        Remarks that go into every output.

    Returns
    -------
    StudyResult

    Raises
    ------
    RunFolderError
        The folder holds another study, or is in use.
    ContaminationError
        A regime starts from a checkpoint that saw a test subject: before anything is fitted in any
        regime.
    SplitError, ProtocolError, ValueError
        As in :func:`~biot_bd.cross_validate`, before anything is fitted in any regime; also names
        that are no folder names.

    See Also
    --------
    cross_validate : One pipeline.
    compare_table : Runs that exist, side by side.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, compare_regimes
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> import tempfile
    >>> regimes = {"length": baseline("line-length", X), "never": baseline("always-off", X)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     study = compare_regimes(X, regimes, folder, y=y, groups=subjects, progress=False)
    >>> study.tests[["metric", "first", "second"]].iloc[0].tolist()
    ['average_precision', 'never', 'length']
    """
    folder, seeds = Path(folder), list(seeds)
    _check_names(regimes, against)
    _check_seeds(seeds)
    preset = None if protocol is None else as_protocol(protocol)
    given = {"cv": cv, "scoring": scoring, "threshold": threshold, "validation_fraction": validation_fraction}
    data = as_data(windows, y, groups)
    parameters = _check_before(data, regimes, seeds, given, preset, allow_contaminated)
    study = _describe(data, regimes, seeds, parameters, preset) | {"title": title, "notes": list(notes)}
    _take_folder(folder, study)
    found: dict[str, dict[int, Result]] = {name: {} for name in regimes}
    for seed in seeds:
        places = {name: folder / name / f"seed-{seed}" for name in regimes}
        # Regimes that are added to a study get its folds, also those that a former version made.
        known = next((place for place in places.values() if (place / RUN).is_file()), None)
        for name, pipeline in regimes.items():
            added = known is not None and not (places[name] / RUN).is_file()
            found[name][seed] = cross_validate(
                pipeline,
                windows,
                y=y,
                groups=groups,
                folder=places[name],
                splits_from=known if added else None,
                protocol=preset,
                n_jobs=n_jobs,
                random_state=seed,
                title=f"{title or 'Study'}: {name}, seed {seed}",
                notes=notes,
                allow_contaminated=allow_contaminated,
                progress=progress,
                **({**given, "cv": DEFAULTS["cv"]} if added else given),
            )
    if len(seeds) > 1:
        write_seed_agreement(folder, regimes, seeds)
    comparison = compare_runs(found, against=against, level=level, n_resamples=n_resamples)
    write_facts(folder / COMPARISON, comparison)
    write_facts(folder / STUDY, study | learnt(found) | {"state": "finished", "finished": now()})
    return StudyResult.open(folder)


# --- before the first fit -------------------------------------------------------------------------


def _check_names(regimes: Mapping[str, Any], against: str | None) -> None:
    if not regimes:
        raise ValueError("there are no regimes; give a mapping of name to pipeline")
    for name in regimes:
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ValueError(f"regime {name!r}: a name becomes a folder; use letters, digits, . _ + -")
    if len({name.lower() for name in regimes}) < len(regimes):
        raise ValueError(f"two regimes have the same name but for capitals: {', '.join(regimes)}")
    if against is not None and against not in regimes:
        raise ValueError(f"against={against!r} is no regime; there are {', '.join(regimes)}")


def _check_seeds(seeds: Sequence[Any]) -> None:
    if not seeds or any(isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0 for seed in seeds):
        raise ValueError(f"seeds must be whole numbers of at least 0, at least one, got {list(seeds)!r}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"a seed is given twice: {list(seeds)}")


def _check_before(
    data: Data, regimes: Mapping[str, Any], seeds: Sequence[int], given: Cells, preset: Protocol | None, allow: bool
) -> Cells:
    """Check all regimes and seeds, so that no error shows after hours of the first.

    Return the parameters.
    """
    if preset is not None:
        preset.check_windows(data.X)
        for pipeline in regimes.values():
            preset.check_pipeline(pipeline)
    cv, scoring, threshold, validation_fraction = settled(given, preset, None)
    tested: set[str] = set()
    for seed in seeds:
        folds = make_folds(
            cv,
            data.y,
            data.subjects,
            recordings=data.recordings,
            parts=official_parts(data.X),
            validation_fraction=validation_fraction,
            random_state=seed,
        )
        tested |= {subject for fold in folds for subject in fold.test}
    for name, pipeline in regimes.items():
        check_classes(pipeline)
        try:
            check_scorable(pipeline)
            estimator = configure(pipeline, folds[0], None)
            check_kept(estimator)
            last = final_step(estimator)[1]
            if isinstance(last, BIOTClassifier):
                last._check_parameters()
        except (ValueError, TypeError) as error:
            raise type(error)(f"regime {name!r}: {error}") from error
        check_contamination(find_origins(pipeline), tested, recordings=data.recording_table, allow=allow)
    return {
        "cv": cv if isinstance(cv, str) else describe(cv),
        "scoring": [metric.name for metric in as_metrics(scoring)],
        "threshold": check_threshold_rule(threshold),
        "validation_fraction": validation_fraction,
    }


# --- the study folder -----------------------------------------------------------------------------


def _describe(
    data: Data, regimes: Mapping[str, Any], seeds: Sequence[int], parameters: Cells, preset: Protocol | None
) -> Cells:
    """Return the content of ``study.json``."""
    identity = {
        "data": data.facts["fingerprint"],
        "parameters": parameters,
        "protocol": None if preset is None else protocol_values(preset.as_dict()),
        "regimes": {name: identity_of(pipeline) for name, pipeline in regimes.items()},
    }
    return runs.to_jsonable(
        {
            "kind": "comparison of regimes",
            "state": "running",
            "not_a_result": data.not_a_result(),
            "started": now(),
            "seeds": list(seeds),
            "regimes": {name: {"pipeline": repr(pipeline)} for name, pipeline in regimes.items()},
            "runs": {name: {str(seed): f"{name}/seed-{seed}" for seed in seeds} for name in regimes},
            "parameters": parameters,
            "data": data.facts,
            "identity": identity,
            "environment": runs.environment(),
        }
    )


def _take_folder(folder: Path, study: Cells) -> None:
    """Write ``study.json`` into a new folder, or check that the folder holds this study (or a
    part of it).
    """
    old = stored_facts(folder, STUDY)
    if old is not None:
        with naming(folder / STUDY, RunFolderError):
            refuse_other_study(folder, _differences(old.get("identity", {}), study["identity"]))
        study["started"] = old.get("started", study["started"])
    # An older comparison would not fit the regimes that now stand in study.json.
    (folder / COMPARISON).unlink(missing_ok=True)
    write_facts(folder / STUDY, study)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List what differs, leaving out regimes that only one of the two has: those may be added."""
    common = sorted(set(old.get("regimes", {})) & set(new["regimes"]))
    before = {**old, "regimes": {name: old["regimes"][name] for name in common}}
    return differences(before, {**new, "regimes": {name: new["regimes"][name] for name in common}})


def learnt(results: Mapping[str, Mapping[int, Result]]) -> Cells:
    """Return what the runs know beyond the call: notes of the folds, contamination, protocol."""
    runs_of = [(name, result.run) for name, by_seed in results.items() for result in by_seed.values()]
    contamination = {name: text for name, run in runs_of if (text := run.get("contamination"))}
    # A remark of one regime alone bears its name.
    by_note: dict[str, set[str]] = {}
    for name, run in runs_of:
        for note in run.get("notes", []):
            by_note.setdefault(note, set()).add(name)
    notes = [
        note if len(names) == len(results) else f"{', '.join(n for n in results if n in names)}: {note}"
        for note, names in by_note.items()
        if note not in contamination.values()
    ]
    return {"notes": notes, "contamination": contamination, "protocol": runs_of[0][1].get("protocol")}


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
