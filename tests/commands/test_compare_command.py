"""``biot-bd compare`` from its arguments to its files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import typer.testing

from biot_bd.cli import SUMMARIES
from biot_bd.commands.compare import compare
from biot_bd.evaluation import baseline, cross_validate

SUBJECTS = np.repeat([f"site/{n:02d}" for n in range(1, 5)], 20)
Y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + Y[:, None, None])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for word, cv in (("always-off", "subject-loo"), ("line-length", "subject-loo"), ("other", "subject-kfold-2")):
        pipeline = baseline("line-length" if word == "other" else word, X)
        cross_validate(pipeline, X, y=Y, groups=SUBJECTS, cv=cv, folder=folder / word, progress=False)
    return folder


def run(*args: str) -> typer.testing.Result:
    app = typer.Typer()
    app.command()(compare)
    return typer.testing.CliRunner().invoke(app, list(args), env={"COLUMNS": "80"})


def test_page_json_and_csv_are_written_and_the_table_is_printed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(f"never={folder / 'always-off'}", str(folder / "line-length"), "-o", str(out))
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= max(80, len(f"page: {out / 'comparison.html'}"))
    assert "difference to never" in result.stdout
    assert (out / "comparison.html").is_file()
    assert json.loads((out / "comparison.json").read_text())["against"] == "never"
    assert {path.name for path in (out / "tables").iterdir()} == {"scores.csv", "subjects.csv", "tests.csv"}
    text = (out / "comparison.html").read_text(encoding="utf-8")
    links = [link for link in re.findall(r'href="([^"#]+)"', text) if not link.startswith("data:")]
    assert links
    assert all((out / link).exists() for link in links)


def test_json_holds_what_was_compared(folder: Path, tmp_path: Path) -> None:
    result = run(str(folder / "always-off"), str(folder / "line-length"), "-o", str(tmp_path / "out"), "--json")
    facts = json.loads(result.stdout)
    assert list(facts["comparison"]["regimes"]) == ["always-off", "line-length"]


def test_runs_of_other_folds_are_refused(folder: Path, tmp_path: Path) -> None:
    result = run(str(folder / "line-length"), str(folder / "other"), "-o", str(tmp_path / "out"))
    assert result.exit_code != 0
    assert "same subjects in other folds" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "said"), [(["line-length"], "at least two"), (["other", "other"], "two runs are called")]
)
def test_too_few_runs_and_one_name_twice_are_told(folder: Path, tmp_path: Path, names: list[str], said: str) -> None:
    result = run(*(str(folder / name) for name in names), "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_it_is_listed() -> None:
    assert "compare" in SUMMARIES
