"""``biot-bd search`` from its arguments to its files: what it prints, what it refuses, what it keeps."""

import io
import json
import re
import shutil
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest
from made_cases import recordings

from biot_bd import prepare
from biot_bd.cli import main
from biot_bd.commands._grid import ENGINES
from biot_bd.evaluation import ENGINES as OF_SEARCH
from biot_bd.evaluation import SearchRecord

CHEAP = ("--model", "line-length", "--inner-cv", "subject-kfold-2", "--cv", "subject-kfold-3")
GRID = ("--grid", "logisticregression__C=0.01,1")
SIZE = ("--param", "module__num_layers=1", "--param", "module__num_heads=2")


def run(capsys, *words):
    status = main(["search", *map(str, words)])
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Windows of four subjects, each with seizures."""
    return prepare(recordings(cases=[2, 3, 4, 5]), tmp_path_factory.mktemp("store") / "windows", stride_s=10)


@pytest.fixture(scope="module")
def searched(store, tmp_path_factory):
    """A finished search: its folder, and what the command printed."""
    out, told = tmp_path_factory.mktemp("searched") / "run", io.StringIO()
    with redirect_stdout(told):
        assert main(["search", *map(str, (store.folder, "-o", out, *CHEAP, *GRID))]) == 0
    return out, told.getvalue()


def test_engines_are_those_of_searches():
    assert set(ENGINES) == set(OF_SEARCH)


def test_choices_stand_beside_the_scores_and_inner_ones_are_called_too_good(searched):
    out, told = searched
    record = SearchRecord.open(out)
    for row in record.table[record.table["chosen"]].itertuples():
        assert re.search(rf"│ {row.fold} .*│ +{row.mean:.3f} │", told)
    assert "chosen inside each fold by AUC-PR" in told
    assert "so too good" in told
    assert "report: " in told
    assert "tensorboard" not in told  # a regression leaves no curves


def test_the_same_command_again_fits_nothing_and_json_has_choices_beside_the_scores(searched, store, capsys):
    out, _ = searched
    before = {path: path.stat().st_mtime_ns for path in out.glob("search/*/*.json")}
    status, told, error = run(capsys, store.folder, "-o", out, *CHEAP, *GRID, "--json")
    assert (status, error) == (0, "")
    assert len(before) == 3 * 2 * 2
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("search/*/*.json")}
    facts = json.loads(told)
    assert [row["fold"] for row in facts["search"]["choices"]] == [0, 1, 2]
    chosen = pd.read_csv(out / "tables" / "search_choices.csv")
    np.testing.assert_array_equal([row["inner"] for row in facts["search"]["choices"]], chosen["inner"])
    assert sum(facts["search"]["stability"]["logisticregression__C"].values()) == 3
    assert facts["pooled"]["roc_auc"] == json.loads((out / "metrics.json").read_text())["pooled"]["roc_auc"]


def test_the_page_has_the_section_and_its_links_lead_somewhere(searched):
    out, _ = searched
    page = (out / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="search">Search</h2>' in page
    links = [link for link in re.findall(r'href="([^"#]+)"', page) if not link.startswith("data:")]
    assert {"tables/search_choices.csv", "tables/search_candidates.csv", "search/trials.csv"} <= set(links)
    assert all((out / link).exists() for link in links)


def test_a_dry_run_counts_fits_and_writes_nothing(store, tmp_path, capsys):
    status, told, error = run(capsys, store.folder, "-o", tmp_path / "new", *CHEAP, *GRID, "--dry-run")
    assert status == 0, error
    assert "3 outer folds, 2 candidates, 2 inner folds each" in told
    assert "at most 12 inner fits (0 done), then 3 fits of what is chosen (0 done)" in told
    assert "time: not known" in told
    assert not (tmp_path / "new").exists()


def test_a_dry_run_tells_the_time_by_the_fits_that_are_done(searched, store, capsys):
    status, told, _ = run(capsys, store.folder, "-o", searched[0], *CHEAP, *GRID, "--dry-run", "--json")
    facts = json.loads(told)
    assert (status, facts["inner_done"], facts["outer_done"], facts["hours_left"]) == (0, 12, 3, 0)
    assert "all folds lie in" in facts["rests_on"]


def test_a_search_without_its_last_fold_takes_that_fold_again(searched, store, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(searched[0], out)
    (out / "folds" / "02" / "fold.json").unlink()
    status, told, _ = run(capsys, store.folder, "-o", out, *CHEAP, *GRID, "--dry-run", "--json")
    facts = json.loads(told)
    assert (status, facts["inner_done"], facts["outer_done"]) == (0, 12, 2)
    walls = [json.loads(path.read_text())["wall_s"] for path in out.glob("folds/*/fold.json")]
    assert facts["hours_left"] == pytest.approx(sum(walls) / 2 / 3600)
    assert "by the fits that lie in" in facts["rests_on"]


def test_a_dry_run_measures_a_network(store, tmp_path, capsys):
    words = ("--grid", "module__embed_dim=8,16", "--epochs", 2, "--dry-run", "--json", *SIZE)
    status, told, error = run(capsys, store.folder, "-o", tmp_path / "new", *words)
    assert status == 0, error
    facts = json.loads(told)
    assert facts["inner_fits"] == 2 * facts["inner_folds"] * facts["outer_folds"]
    assert 0 < facts["hours_left"] < 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--grid", "logisticregression__c=1,2"), "did you mean 'logisticregression__C'"),
        (("--grid", "C=1,2", "--engine", "random", "--trials", "0"), "--trials"),
        (
            ("--grid", "C=0.1,high"),
            "--grid logisticregression__C=high: The 'C' parameter of LogisticRegression must be",
        ),
        (("--grid", 'linelength__summary=null,["mode"]'), '--grid linelength__summary=["mode"]: summary is None or'),
    ],
)
def test_what_a_baseline_does_not_have_is_said_before_anything_is_written(store, tmp_path, capsys, words, message):
    status, _, told = run(capsys, store.folder, "-o", tmp_path / "run", *CHEAP, *words)
    assert status in (1, 2)
    assert message in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--grid", "module__num_leyers=1,2"), "--grid module__num_leyers: biot takes"),
        (("--grid", "module__embed_dim=16,15"), "embed_dim=15 must be a multiple of num_heads=2"),
        (("--grid", "lr=0.1,0.01", "--lr", "0.1"), "--grid lr: --lr gives it one value; leave one out"),
        (("--grid", "epochs=2,3", "--epochs", "2"), "--grid epochs: --epochs gives it one value"),
        (("--grid", "lr=0.1,high"), "--grid lr=high: lr must be a number"),
        (("--grid", "lrr=0.1,0.01"), "--grid lrr=0.1: the classifier does not take"),
        (("--grid", "percentilescaler__q=95,101"), "--grid percentilescaler__q=101: "),
        (("--grid", "lr=0.1,0.01", "--param", "lr=0.1"), "--param gives it one value"),
        (("--grid", "sampler=class-balanced,clas-balanced"), "clas-balanced"),
        (("--grid", "montagemapper__montag=biot-16,biot-18"), "did you mean 'montagemapper__montage'"),
    ],
)
def test_values_of_which_nothing_can_be_made_are_refused_at_the_door(store, tmp_path, capsys, words, message):
    status, _, told = run(capsys, store.folder, "-o", tmp_path / "run", *SIZE, *words)
    assert (status, told.count("\n")) == (1, 1)
    assert message in told
    assert not (tmp_path / "run").exists()


def test_names_of_a_baselines_last_step_need_no_prefix(store, tmp_path, capsys):
    out = tmp_path / "run"
    status, _, error = run(
        capsys, store.folder, "-o", out, *CHEAP, "--grid", "C=0.01..1:log", "--engine", "random", "--trials", 2
    )
    assert status == 0, error
    record = SearchRecord.open(out)
    assert record.facts["grid"] == {"logisticregression__C": "0.01..1:log"}
    assert record.table["logisticregression__C"].between(0.01, 1).all()
    assert record.facts["engine"]["parameters"]["n_iter"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine", [("optuna", "--trials", 3, "--prune"), ("halving", "--resource", "max_epochs")], ids=lambda e: e[0]
)
def test_networks_are_searched_and_the_page_says_how(store, tmp_path, capsys, engine):
    name, *words = engine
    words += ["--grid", "module__embed_dim=8,16", "--grid", "lr=0.001,0.01", "--epochs", 3, *SIZE, *CHEAP[2:]]
    status, told, error = run(capsys, store.folder, "-o", tmp_path / "run", "--engine", name, *words)
    assert status == 0, error
    assert "curves: tensorboard" in told
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert ("search-history-title" if name == "optuna" else "search-rungs-title") in page
