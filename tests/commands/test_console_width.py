"""Tables fit the console: at 80 columns nothing is wider and nothing is cut off."""

from __future__ import annotations

import re
import shutil

import pytest
from child_commands import TINY
from rich.cells import cell_len

from biot_bd.cli import main

LONG = "a-data-set-of-a-long-name/subject-with-a-name-as-clinics-give-them-0001"


@pytest.fixture
def narrow(monkeypatch):
    """A console of 80 columns that cannot be asked for its width."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "dumb")


def tables_of(said):
    """Lines with the frames of tables, or between the heading and the end of a plain one."""
    return [line for line in said.splitlines() if re.search("[┃│━─┏└├]", line)]


COMMANDS = {
    "datasets": lambda world, out: ["datasets", "list"],
    "doctor": lambda world, out: ["doctor", world.recordings, "--all"],
    "models": lambda world, out: ["models", "list"],
    "plugins": lambda world, out: ["plugins"],
    "report": lambda world, out: ["report", shutil.copytree(world.run, out / "run")],
    "score": lambda world, out: ["score", world.run / "events", world.run / "events"],
    "describe": lambda world, out: ["datasets", "describe", "demo", world.recordings],
    "prepare": lambda world, out: ["prepare", "demo", world.recordings, "-o", out / "windows"],
}
SLOW = {
    "bench": lambda world, out: ["bench", "--seconds", 0.1, "--batch-size", 2],
    "cv": lambda world, out: ["cv", world.windows, "-o", out / "run", "--epochs", 1, "--cv", "subject-kfold-2", *TINY],
    "train": lambda world, out: ["train", world.windows, "-o", out / "model", "--epochs", 1, *TINY],
    "check": lambda world, out: ["check", world.model, world.windows, "--windows", 2],
}


@pytest.mark.parametrize("name", [*COMMANDS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_tables_fit_80_columns_and_nothing_is_cut_off(world, tmp_path, narrow, capsys, name):
    assert main([str(word) for word in (COMMANDS | SLOW)[name](world, tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said
    assert [line for line in tables_of(said) if cell_len(line) > 80] == []
    assert "…" not in said


def test_scores_of_subjects_with_long_names_and_many_metrics_are_whole(world, narrow, capsys):
    from rich.console import Console

    from biot_bd.evaluation import Result

    result = Result.open(world.run)
    metrics = dict(result.metrics)
    first = next(iter(metrics["subjects"]))
    metrics["subjects"] = {LONG: metrics["subjects"][first], "[red]markup[/x]": metrics["subjects"][first]}
    changed = Result(metrics, result.predictions, result.run, result.folder)
    Console().print(changed)
    said = capsys.readouterr().out
    assert max(cell_len(line) for line in said.splitlines()) <= 80
    assert "…" not in said
    rows = [line for line in said.splitlines() if line.startswith("│")]
    assert f"{LONG}[red]markup[/x]" in "".join(line.split("│")[1].strip() for line in rows)


def test_a_table_folds_what_does_not_fit(narrow, capsys):
    from biot_bd.commands.datasets import print_table

    path = "a_package_of_a_long_name.data_sets.recordings_folder:load_recordings_of_the_clinic"
    print_table([{"name": LONG, "loader": path}], {"name": "name", "loader": "loader"})
    said = capsys.readouterr().out
    columns = [[part.strip() for part in line.split("│")[1:-1]] for line in said.splitlines() if line.startswith("│")]
    assert ["".join(parts) for parts in zip(*columns, strict=True)] == [LONG, path]
    assert max(cell_len(line) for line in said.splitlines()) <= 80
