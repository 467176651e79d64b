"""``biot-bd study`` from its arguments to its files, and its plan files."""

import json
import re

import pytest

from biot_bd.cli import main

COMMON = ("--baseline", "line-length", "--cv", "subject-kfold-2")


def run(capsys, *words):
    status = main(["study", *map(str, words)])
    told = capsys.readouterr()
    return status, told.out, told.err


def test_options_make_the_table_the_page_and_the_files(store, tmp_path, capsys):
    out = tmp_path / "study"
    status, told, _ = run(capsys, "-o", out, "--store", f"made={store.folder}", *COMMON)
    assert status == 0
    assert "[3/3] made line-length seed 0: finished" in told
    assert f"page: {out / 'comparison.html'}" in told
    rows = json.loads((out / "comparison.json").read_text())["rows"]
    assert [row["row"] for row in rows] == ["always-off", "always-on", "line-length", "chance"]
    page = (out / "comparison.html").read_text(encoding="utf-8")
    links = [link for link in re.findall(r'href="([^"#]+)"', page) if not link.startswith("data:")]
    assert links
    assert all((out / link).exists() for link in links)
    status, told, _ = run(capsys, "-o", out, "--json")  # the folder knows its plan
    assert (status, json.loads(told)["rows"]) == (0, rows)


def test_a_dry_run_lists_the_cells_and_computes_none(store, tmp_path, capsys):
    size = ("--param", "module__embed_dim=16", "--param", "module__num_layers=1", "--param", "module__num_heads=2")
    words = ("-o", tmp_path / "study", "--store", store.folder, *COMMON, *size)
    status, told, _ = run(capsys, *words, "--model", "biot", "--strategy", "scratch", "--dry-run")
    assert status == 0
    assert "biot/scratch" in told
    assert "4 cells; about" in told
    assert not list((tmp_path / "study").glob("*/**/run.json"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "bio"), "bio"),
        (("--strategy", "lineer"), "no strategy 'lineer'"),
        (("--backend", "spark"), "--backend spark"),
        (("--jobs", "0"), "--jobs 0"),
        (("--model", "biot="), "expected NAME=CHECKPOINT"),
        (("--against", "nobody"), "against 'nobody' is no row of the plan"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_written(store, tmp_path, capsys, words, message):
    status, _, told = run(capsys, "-o", tmp_path / "study", "--store", store.folder, *words)
    assert status == 1
    assert message in told
    assert not (tmp_path / "study").exists()


def test_without_windows_the_command_says_what_it_takes(tmp_path, capsys):
    status, _, told = run(capsys, "-o", tmp_path / "study", "--model", "biot")
    assert (status, "Give COHORT=FOLDER" in told) == (1, True)
    status, _, told = run(capsys, "-o", tmp_path / "study")
    assert status == 1
    assert "no study here" in told


def test_folders_of_a_plan_file_are_seen_from_the_file(store, tmp_path, capsys, monkeypatch):
    (tmp_path / "windows").symlink_to(store.folder)
    plan = tmp_path / "plans" / "plan.toml"
    plan.parent.mkdir()
    cohort = '[[cohorts]]\nname = "made"\nstores = ["../windows"]\n'
    plan.write_text(f'cv = "subject-kfold-2"\nbaselines = ["line-length"]\n{cohort}')
    monkeypatch.chdir("/")
    status, told, error = run(capsys, plan, "-o", tmp_path / "study")
    assert status == 0, error
    assert "line-length" in told
    status, _, error = run(capsys, plan, "-o", tmp_path / "study", "--seed", "1")
    assert status == 1
    assert "is a whole plan; leave the options of its parts out (seeds)" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cohorts = 3", "plan.toml"),
        ("models = [", "no TOML"),
        ('[[cohorts]]\nname = "a"\nstores = ["w"]\nstrategy = []', "cohorts: no key 'strategy'"),
        ('[[cohorts]]\nname = "a/b"\nstores = ["w"]', "a name becomes a folder"),
        ('[[cohorts]]\nname = "a"\nstores = ["w"]\ndataset = "demo"', "give stores (prepared windows), or dataset"),
        ('baselines = ["best"]\n[[cohorts]]\nname = "a"\nstores = ["w"]', "no baseline 'best'"),
        ('seeds = [0, 0]\n[[cohorts]]\nname = "a"\nstores = ["w"]', "the seed 0 is there twice"),
    ],
)
def test_a_plan_file_that_cannot_be_is_named(tmp_path, capsys, text, message):
    plan = tmp_path / "plan.toml"
    plan.write_text(text)
    status, _, told = run(capsys, plan, "-o", tmp_path / "study")
    assert status == 1
    assert "plan.toml" in told
    assert message in told
