"""Finished runs compared: what is refused, what is only noted, and the numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from biot_bd.evaluation import Result, StudyResult, baseline, compare_finished, cross_validate
from biot_bd.evaluation.studies.finished_runs import better_worse, comparison_table
from biot_bd.exceptions import MixedTableError, RunFolderError

SUBJECTS = np.repeat([f"site/{n:02d}" for n in range(1, 7)], 20)
Y = np.tile(np.arange(20) % 4 == 0, 6).astype(int)
X = np.random.default_rng(0).normal(0, 20, (120, 2, 200)) * (1 + Y[:, None, None])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for word in ("always-off", "line-length"):
        pipeline = baseline(word, X)
        cross_validate(pipeline, X, y=Y, groups=SUBJECTS, cv="subject-loo", folder=folder / word, progress=False)
    return {word: folder / word for word in ("always-off", "line-length")}


def changed(result: Result, **columns: Any) -> Result:
    return replace(result, predictions=result.predictions.assign(**columns))


def test_differences_and_p_are_those_of_scipy(runs: dict[str, Path], tmp_path: Path) -> None:
    study = compare_finished(runs, tmp_path / "out")
    first, second = (Result.open(folder).table["average_precision"].astype(float) for folder in runs.values())
    row = study.tests[study.tests["metric"] == "average_precision"].iloc[0]
    assert (row["first"], row["second"]) == ("line-length", "always-off")
    assert row["difference"] == pytest.approx(np.mean(second - first))
    wanted = stats.permutation_test(
        ((second - first).to_numpy(),), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    ).pvalue
    assert row["p_permutation"] == pytest.approx(wanted)
    assert row["n_better"] == int((second > first).sum())


def test_what_was_written_opens_again_and_finds_the_runs(runs: dict[str, Path], tmp_path: Path) -> None:
    compare_finished(runs, tmp_path / "out", title="Two baselines")
    study = StudyResult.open(tmp_path / "out")
    assert study.study["title"] == "Two baselines"
    (opened,) = study.results("line-length").values()
    assert opened.run["fingerprint"] == Result.open(runs["line-length"]).run["fingerprint"]
    compare_finished(runs, tmp_path / "out")  # again, over itself


def test_the_printed_table_fits_80_columns(runs: dict[str, Path], tmp_path: Path) -> None:
    names = {"a run with a name that is much too long for it": runs["always-off"], "second": runs["line-length"]}
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(comparison_table(compare_finished(names, tmp_path / "out")))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"\(prevalence\) +0\.250", text)
    assert "6/6" in text
    assert "0.031" in text  # 2 / 2**6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: changed(r, subject=r.predictions["subject"].replace("site/06", "site/07")), "test subjects"),
        (lambda r: replace(r, predictions=r.predictions.iloc[:-1]), r"other test windows \(119, not 120"),
        (lambda r: changed(r, window=r.predictions["window"] + 1), "other test windows"),
        (lambda r: changed(r, y_true=1 - r.predictions["y_true"]), "other labels in 120 of 120"),
        (lambda r: changed(r, fold=r.predictions["fold"] // 2), "same subjects in other folds"),
        (
            lambda r: replace(r, run={**r.run, "data": {**r.run["data"], "label_rule": "overlap"}}),
            "label rule 'overlap', not 'unknown'",
        ),
    ],
)
def test_what_differs_is_refused_and_named(runs: dict[str, Path], tmp_path: Path, change: Any, said: str) -> None:
    first, second = (Result.open(folder) for folder in runs.values())
    second = replace(second, predictions=second.predictions[second.predictions["part"] == "test"])
    with pytest.raises(MixedTableError, match=said) as caught:
        compare_finished({"one": first, "two": change(second)}, tmp_path / "out")
    assert "'one'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_other_validation_subjects_and_data_are_noted_not_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    first, second = (Result.open(folder) for folder in runs.values())
    splits = [{**split, "valid": split["train"][:1], "train": split["train"][1:]} for split in second.run["splits"]]
    data = {**second.run["data"], "fingerprint": "another"}
    study = compare_finished(
        {"one": first, "two": replace(second, run={**second.run, "splits": splits, "data": data})}, tmp_path / "out"
    )
    assert any("other training and validation subjects" in note for note in study.notes)
    assert any("other preparations" in note for note in study.notes)


def test_metrics_that_only_one_has_are_left_out(runs: dict[str, Path], tmp_path: Path) -> None:
    first, second = (Result.open(folder) for folder in runs.values())
    less = replace(second, metrics={**second.metrics, "scoring": ["roc_auc"]})
    study = compare_finished({"one": first, "two": less}, tmp_path / "out")
    assert study.comparison["scoring"] == ["roc_auc"]
    assert any("AUC-PR is left out" in note for note in study.notes)


def test_folders_of_others_are_left_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="itself a run folder"):
        compare_finished(runs, runs["always-off"])
    (tmp_path / "study.json").write_text('{"kind": "comparison of regimes", "version": 2}')
    with pytest.raises(RunFolderError, match="study of regimes"):
        compare_finished(runs, tmp_path)


@pytest.mark.parametrize("given", [{}, {"one": "x"}])
def test_one_run_is_no_comparison(given: dict[str, str], runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least two runs"):
        compare_finished(dict.fromkeys(given, runs["always-off"]), tmp_path)
    with pytest.raises(ValueError, match="none of the runs"):
        compare_finished(runs, tmp_path, against="nobody")


def test_fewer_false_alarms_are_better() -> None:
    counts = {"n_better": 1, "n_worse": 4}
    assert better_worse({"metric": "fa_per_24h", **counts}) == (4, 1)
    assert better_worse({"metric": "sensitivity", **counts}) == (1, 4)


def test_windows_of_recordings_are_matched_by_time_not_by_row(runs: dict[str, Path], tmp_path: Path) -> None:
    def placed(result: Result, shift: int) -> Result:
        table = result.predictions
        row = table.groupby("subject").cumcount()
        return changed(
            result,
            recording=pd.Series(table["subject"].str.replace("/", "_"), dtype="string"),
            start_s=row * 5.0,
            stop_s=row * 5.0 + 10,
            window=table["window"] + shift,
        )

    first, second = (Result.open(folder) for folder in runs.values())
    study = compare_finished({"one": placed(first, 0), "two": placed(second, 1000)}, tmp_path / "out")
    assert len(study.comparison["subjects"]) == 6
