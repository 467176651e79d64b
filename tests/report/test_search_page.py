"""The section of a search on its run's page, against the record that it draws from."""

import re

import numpy as np
import pandas as pd
import pytest
from handmade_run import SUBJECTS, write_run
from made_searches import GRID, made_record
from sklearn.dummy import DummyClassifier

from biot_bd.evaluation import search
from biot_bd.report import write_report
from biot_bd.report.drawing import search as drawing
from biot_bd.report.run_folder import read_run
from biot_bd.report.search_page import search_choices, stability

THREE = {**GRID, "clf__sampler": ["class-balanced", None]}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A function that writes the page of a run with a record, and returns record and section."""
    written = {}

    def write(**changes):
        key = repr(changes)
        if key not in written:
            run = write_run(tmp_path_factory.mktemp("page") / "run", SUBJECTS, without_seizures="site/03")
            record = made_record(run.folder, **changes)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("biot_bd.report.writer.search_of", lambda folder: record)
                text = write_report(run.folder).read_text(encoding="utf-8")
            written[key] = record, text[text.index('<section aria-labelledby="search">') :].partition("</section>")[0]
        return written[key]

    return write


def test_each_fold_stands_with_its_choice_its_inner_and_its_outer_score(page):
    record, section = page()
    chosen = record.table[record.table["chosen"]]
    assert [float(v) for v in re.findall(r'data-inner="([^"]+)"', section)] == list(chosen["mean"])
    outer = [fold.facts["scores"]["pooled"]["average_precision"]["value"] for fold in read_run(record.folder).folds]
    assert [float(v) for v in re.findall(r'data-outer="([^"]+)"', section)] == outer[:2]
    assert "none: no seizure windows" in section
    assert "The inner score of a choice is too good" in section


def test_how_often_each_value_was_chosen_adds_up_to_the_folds(page):
    record, section = page(grid=THREE)
    choices = search_choices(record, read_run(record.folder).folds)
    for name, counts in stability(choices).items():
        chosen = record.table.loc[record.table["chosen"], name].map(drawing.value_text)
        assert counts == chosen.value_counts().to_dict()
        assert sum(counts.values()) == 3
        for value, n in counts.items():
            assert f"{value}: {n} of 3" in section


def test_the_map_of_two_parameters_shows_the_mean_over_the_outer_folds_in_each_cell(page):
    record, section = page()
    drawn = section[section.index('id="search-plane-title"') :].partition("</svg>")[0]
    scores = re.findall(r'class="label"[^>]*>([\d.]+)</text>', drawn)
    means = record.table.groupby(["clf__lr", "clf__depth"])["mean"].mean()
    assert scores == [f"{means[lr, depth]:.3f}" for lr in GRID["clf__lr"] for depth in GRID["clf__depth"]]
    assert sum(map(int, re.findall(r">(\d) ×</text>", drawn))) == 3
    best = means.idxmax()
    assert f"Best: {means.max():.3f} at lr {best[0]:g}, depth {best[1]}" in section


def test_learning_rates_lie_on_a_logarithmic_axis_and_words_in_their_order():
    axis = drawing.ValueAxis.of("lr", [0.01, 1e-4, 0.001])
    assert [round(axis.place(value), 9) for value in axis.values] == [-4, -3, -2]
    linear = drawing.ValueAxis.of("depth", [4, 2, 8])
    assert (linear.log, linear.values, linear.place(4)) == (False, (2, 4, 8), 4)
    words = drawing.ValueAxis.of("sampler", ["b", None, "a", "b"])
    assert [words.place(value) for value in ("b", None, "a")] == [0, 1, 2]


@pytest.mark.parametrize("values", [list(np.geomspace(1e-5, 1e-2, 40)), list(np.linspace(0.1, 0.9, 40)), [3.0]])
def test_ticks_lie_inside_their_axis(values):
    axis = drawing.ValueAxis.of("x", values)
    low, high = axis.limits
    assert low < high
    assert axis.labels
    assert all(low <= tick <= high for tick in axis.labels)


def test_parameters_that_share_their_last_name_keep_their_whole_name():
    assert drawing.short_names(["a__lr", "b__lr", "a__depth"]) == {
        "a__lr": "a__lr",
        "b__lr": "b__lr",
        "a__depth": "depth",
    }


def test_three_parameters_are_drawn_as_lines_across_axes_and_none_stays_apart_from_unset(page):
    record, section = page(grid=THREE)
    assert 'id="search-parallel-title"' in section
    assert f"{len(record.table)} lines" in section
    assert ">None</text>" in section
    assert drawing.NOT_SET not in section


def test_halving_shows_how_many_candidates_reach_each_rung(page):
    record, section = page(engine="halving", n_rungs=3)
    assert "rung 0: 6, rung 1: 3, rung 2: 1" in section
    written = pd.read_csv(record.folder / "tables" / "search_rungs.csv")
    assert written.groupby("rung")["candidate"].count().to_dict() == {0: 18, 1: 9, 2: 3}


def test_a_history_of_trials_marks_what_was_pruned(page):
    _, section = page(engine="optuna", pruned=2)
    history = section[section.index('id="search-history-title"') :].partition("</svg>")[0]
    assert history.count(", pruned</title>") == 6
    assert "crosses those that were pruned (6)" in history
    assert "36 inner fits, 6 candidates pruned;" in section


def test_a_candidate_without_a_score_is_told_and_not_drawn_as_zero(page):
    record, section = page(undefined=(1, 0))
    assert "2 inner fits without a defined AUC-PR: no seizure windows" in section
    parameter = drawing.parameter_picture("p", record.table, "clf__lr", "lr", "AUC-PR", greater=True)
    assert "NaN" not in str(parameter)
    assert "nan" not in str(parameter)


def test_a_lower_score_is_best_where_lower_is_better():
    table = made_record("nowhere").table
    worst = table.groupby(["clf__lr", "clf__depth"])["mean"].mean()
    picture = drawing.plane_picture(
        "p", table, ("clf__lr", "clf__depth"), ("lr", "depth"), "loss", greater=False
    ).description
    assert f"Best: {worst.min():.3f}" in picture


def test_tables_hold_what_the_pictures_show_with_all_digits(page):
    record, _ = page()
    candidates = pd.read_csv(record.folder / "tables" / "search_candidates.csv")
    np.testing.assert_array_equal(candidates["mean"], record.table["mean"].astype(float))
    choices = pd.read_csv(record.folder / "tables" / "search_choices.csv")
    assert list(choices["fold"]) == [0, 1, 2]
    assert choices["outer"].isna().tolist() == [False, False, True]
    assert choices["reason"].iloc[2] == "no seizure windows"


def test_what_a_grid_says_is_no_markup(page):
    _, section = page(grid={"clf__<b>": ["<script>x</script>", "y"]})
    assert "<script>" not in section
    assert "<b>" not in section


def test_a_run_without_a_search_has_no_section(tmp_path):
    run = write_run(tmp_path / "run", SUBJECTS)
    assert 'id="search"' not in write_report(run.folder).read_text(encoding="utf-8")


def test_a_search_over_more_than_two_classes_has_its_section_too(tmp_path):
    y = np.tile(np.arange(30) % 3, 3)
    x = np.random.default_rng(0).normal(size=(90, 2, 50)).astype(np.float32)
    subjects = np.repeat(["site/01", "site/02", "site/03"], 30)
    grid = {"strategy": ["prior", "stratified"], "random_state": [0, 1]}
    search(DummyClassifier(), grid, x, y=y, groups=subjects, folder=tmp_path / "run", progress=False)
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "3 outer folds, 4 candidates a fold, " in text
    assert 'id="search-plane-title"' in text
