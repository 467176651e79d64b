"""``experiments/chbmit_gridsearch.py`` end to end on generated recordings, with a small BIOT."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from biot_bd.evaluation import Result, SearchRecord
from biot_bd.evaluation.searching.grids import as_grids

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "experiments" / "chbmit_gridsearch.py"
    spec = importlib.util.spec_from_file_location("chbmit_gridsearch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("small", [False, True])
def test_every_value_of_the_grids_makes_a_pipeline(script, tmp_path, small):
    options = script.parse(["--dataset", "demo", "--out", str(tmp_path), *(["--small"] if small else [])])
    grid = script.SMALL_GRID if small else script.GRID
    assert as_grids(grid)
    pipeline = script.pipeline_of(options)
    for name, values in grid.items():
        for value in values:
            assert pipeline.set_params(**{name: value}).get_params()[name] == value


@pytest.mark.parametrize(
    ("engine", "kind"),
    [("grid", "str"), ("random", "RandomSearch"), ("halving", "HalvingSearch"), ("optuna", "OptunaSearch")],
)
def test_engines_by_name(script, tmp_path, engine, kind):
    options = script.parse(["--dataset", "demo", "--out", str(tmp_path), "--engine", engine, "--trials", "3"])
    assert type(script.engine_of(options)).__name__ == kind


def test_a_root_or_a_store_is_needed_but_for_generated_recordings(script, tmp_path, capsys):
    with pytest.raises(SystemExit):
        script.parse(["--out", str(tmp_path)])
    assert "--root: where are the recordings of chb-mit?" in capsys.readouterr().err
    assert script.parse(["--out", str(tmp_path), "--store", "w"]).root is None


@pytest.mark.slow
def test_counts_searches_scores_and_goes_on(script, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    small = [
        "--small",
        "--epochs",
        "1",
        "--cv",
        "subject-kfold-2",
        "--inner-cv",
        "subject-kfold-2",
        "--batch-size",
        "16",
    ]
    args = ["--dataset", "demo", "--out", str(tmp_path), *small]
    assert script.main([*args, "--dry-run"]) == 0
    assert "18 fits" in capsys.readouterr().out  # 2 folds x (4 candidates x 2 inner folds + 1)
    assert not (tmp_path / "run").exists()
    assert script.main(args) == 0
    text = capsys.readouterr().out
    assert "NOT A RESULT" in text
    assert "report.html" in text
    result, record = Result.open(tmp_path / "run"), SearchRecord.open(tmp_path / "run")
    assert len(record.trials) == 16
    assert record.table["chosen"].sum() == 2
    assert result.run["title"] == "small BIOT, lr, gamma chosen inside"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.json") if "search" in path.parts}
    assert script.main(args) == 0
    pd.testing.assert_frame_equal(SearchRecord.open(tmp_path / "run").trials, record.trials)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert script.main([*args, "--dry-run"]) == 0
    assert "18 of 18 fits are done" in capsys.readouterr().out
