"""``experiments/nested_cv.py``: what is true is known, and the nested score is what finds it."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "experiments" / "nested_cv.py"
    spec = importlib.util.spec_from_file_location("nested_cv", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(script, tmp_path, *more):
    return script.parse(["--out", str(tmp_path), *more])


def test_the_area_of_the_best_channel_is_that_of_the_formula(script, tmp_path):
    """Of 40,000 windows; every other channel is noise."""
    options = parsed(script, tmp_path, "--signal", "0.8", "--subjects", "40", "--windows", "1000", "--channels", "2")
    x, y, _ = script.cohort(options, 0)
    areas = [roc_auc_score(y, script.log_power(x, channel)[:, 0]) for channel in (0, 1)]
    assert areas[0] == pytest.approx(script.truth_of(options), abs=0.01)
    assert areas[1] == pytest.approx(0.5, abs=0.01)
    assert script.truth_of(parsed(script, tmp_path)) == 0.5


def test_labels_know_nothing_of_the_noise_and_every_subject_has_both(script, tmp_path):
    options = parsed(script, tmp_path)
    x, y, groups = script.cohort(options, 1)
    assert x.shape == (240, 30, 100)
    assert all(y[groups == subject].sum() == 5 for subject in set(groups))
    again = script.cohort(options, 1)[0]
    np.testing.assert_array_equal(x, again)
    assert not np.array_equal(x, script.cohort(options, 2)[0])


def test_the_words_follow_the_intervals(script):
    table = pd.DataFrame(
        {
            "number": ["a", "b", "c"],
            "mean": [0.6, 0.5, 0.4],
            "low": [0.55, 0.45, 0.35],
            "high": [0.65, 0.55, 0.45],
        }
    )
    said = script.verdict(table, 0.5)
    assert [line.split(", ")[-1] for line in said] == ["above 0.500.", "around 0.500.", "below 0.500."]


@pytest.mark.slow
def test_where_there_is_nothing_to_find_the_best_score_finds_something_and_the_nested_one_does_not(
    script, tmp_path, capsys
):
    out = tmp_path / "nested"
    assert script.main(["--out", str(out), "--cohorts", "8", "--subjects", "8", "--channels", "12"]) == 0
    rows = pd.read_csv(out / "nested.csv").set_index("cohort")
    assert len(rows) == 8
    assert (rows[["best", "inner"]] > 0.5).all(axis=None)
    # Standard error of the mean of 8 cohorts, from their own spread.
    error = rows["nested"].std(ddof=1) / np.sqrt(len(rows))
    assert abs(rows["nested"].mean() - 0.5) < 3 * error
    assert rows["best"].mean() - 0.5 > 3 * rows["best"].std(ddof=1) / np.sqrt(len(rows))
    assert (rows["n_chosen"] > 1).any()  # what is chosen by chance is not chosen twice
    text = capsys.readouterr().out
    assert "best score: " in text
    assert "above 0.500." in text
    for name in ("nested.md", "nested.svg", "nested.png"):
        assert (out / name).stat().st_size > 300
