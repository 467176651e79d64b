"""Sens@FA AUC: the published form by its package's numbers, the strict one by the scorer at every threshold."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_folds import CASES, fold, random_folds

from biot_bd.evaluation.metrics import sens_fa_auc, sens_fa_score
from biot_bd.events import score_events

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "sens_fa_auc.json").read_text())
PUBLISHED = "neuroatlas-0.1.1"
MAPS = {
    "p": lambda p: p,
    "p^4": lambda p: p**4,
    "p^12": lambda p: p**12,
    "1 - (1 - p)^12": lambda p: 1 - (1 - p) ** 12,
    "rank": lambda p: np.argsort(np.argsort(p)) / len(p),
    "p / 20": lambda p: p / 20,
}


@pytest.mark.parametrize("seed", range(20))
def test_the_published_form_gives_the_published_packages_numbers(seed):
    assert sens_fa_auc(random_folds(seed), form=PUBLISHED, window_s=10) == pytest.approx(
        GOLDEN["seeds"][str(seed)], rel=1e-12
    )


@pytest.mark.parametrize("case", CASES)
def test_the_published_form_keeps_the_packages_edge_cases(case):
    wanted = GOLDEN["cases"][case]
    score = sens_fa_score(CASES[case](), form=PUBLISHED)
    assert score.value == (None if wanted is None else pytest.approx(wanted, rel=1e-12))
    assert (score.reason is None) == (wanted is not None)
    assert np.isnan(sens_fa_auc(CASES[case](), form=PUBLISHED)) == (wanted is None)


# --- the strict form ------------------------------------------------------------------------------


def by_scorer(folds, window_s=10.0):
    """Return the strict area by one call of the scorer a threshold and recording, on a fine grid of rates."""
    grid = np.geomspace(0.1, 100, 30001)
    curves = []
    for y, p, names in folds:
        if not y.any():
            continue
        points = []
        for threshold in np.unique(p):
            tp = fp = n = 0
            for name in np.unique(names):
                rows = names == name
                events, truth = (
                    [(k * window_s, (k + 1) * window_s) for k in np.flatnonzero(mask)]
                    for mask in (p[rows] >= threshold, y[rows] == 1)
                )
                found = score_events(joined(truth), joined(events), rows.sum() * window_s)
                tp, fp, n = tp + found["tp"], fp + found["fp"], n + found["n_reference"]
            points.append((fp / (len(y) * window_s / 3600), tp / n))
        most = max(rate for rate, _ in points)
        lowest = next(i for i, (rate, _) in enumerate(points) if rate == most)  # thresholds ascend
        rates, sensitivity = map(np.array, zip((0.0, 0.0), *points[lowest:], strict=True))
        curves.append([sensitivity[rates <= rate * (1 + 1e-12)].max() for rate in grid])
    return np.trapezoid(np.median(curves, axis=0), np.log10(grid)) / 3


def joined(events):
    out = []
    for onset, offset in events:
        if out and out[-1][1] == onset:
            onset = out.pop()[0]
        out.append((onset, offset))
    return out


def test_the_strict_form_is_the_scorers_best_sensitivity_at_every_rate():
    rng = np.random.default_rng(11)
    folds = []
    for n_recordings, seizures in [(2, 1), (1, 2), (1, 0)]:
        y, p, names = fold(rng, n_recordings, seizures, separation=1.5)
        kept = np.concatenate([np.flatnonzero(names == name)[:150] for name in np.unique(names)])
        folds.append((y[kept], np.round(p[kept], 2), names[kept]))
    assert any(y.any() for y, _, _ in folds)
    assert sens_fa_auc(folds) == pytest.approx(by_scorer(folds), abs=2e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_strict_form_follows_the_ranking_alone_and_the_published_one_does_not(seed):
    y, p, names = fold(np.random.default_rng(seed), 8, 2, 2.0)
    values = {
        form: [sens_fa_auc([(y, m(p), names)], form=form) for m in MAPS.values()] for form in ("strict", PUBLISHED)
    }
    assert len(set(values["strict"])) == 1
    assert max(values[PUBLISHED]) - min(values[PUBLISHED]) > 0.3


@pytest.mark.parametrize("seed", range(3))
def test_alarms_on_a_twentieth_of_the_quiet_windows_raise_the_published_form_and_lower_the_strict_one(seed):
    y, p, names = fold(np.random.default_rng(seed), 8, 2, 2.0)
    worse, quiet = p.copy(), np.flatnonzero(y == 0)
    worse[np.random.default_rng(seed).choice(quiet, len(quiet) // 20, replace=False)] = 1.0
    before, after = ([(y, values, names)] for values in (p, worse))
    assert sens_fa_auc(after, form=PUBLISHED) > sens_fa_auc(before, form=PUBLISHED) + 0.1
    assert sens_fa_auc(after) < sens_fa_auc(before) - 0.3


def test_the_table_of_the_page_holds_these_numbers():
    y, p, names = fold(np.random.default_rng(0), 8, 2, 2.0)
    alarms, quiet = p.copy(), np.flatnonzero(y == 0)
    alarms[np.random.default_rng(0).choice(quiet, len(quiet) // 20, replace=False)] = 1.0
    rows = {
        "`p`": p,
        "`p**4`": p**4,
        "`p**12`": p**12,
        "`1 - (1 - p)**12`": 1 - (1 - p) ** 12,
        "`rank(p)`": np.argsort(np.argsort(p)) / len(p),
        "`p`, always in alarm on 5 % of the quiet windows": alarms,
        "a perfect detector of 0 and 1": y.astype(float),
    }
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    for name, values in rows.items():
        strict, published = (sens_fa_auc([(y, values, names)], form=form) for form in ("strict", PUBLISHED))
        last = "undefined" if np.isnan(published) else f"{published:.3f}"
        assert f"| {name} | {strict:.3f} | {last} |" in page


def test_chance_and_one_value_for_all_windows_get_what_the_page_says():
    y, _, names = fold(np.random.default_rng(0), 8, 2, 2.0)
    assert sens_fa_auc([(y, np.full(len(y), 0.3), names)]) == pytest.approx(0.32, abs=0.005)
    drawn = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y, _, names = fold(rng, 8, 2, 0.0)
        drawn.append(sens_fa_auc([(y, rng.random(len(y)), names)]))
    assert np.mean(drawn) == pytest.approx(0.30, abs=0.01)
    assert np.std(drawn) == pytest.approx(0.05, abs=0.01)


def test_the_strict_form_is_one_for_a_perfect_detector_and_zero_for_a_silent_one():
    y, p, names = CASES["perfect detector of 0 and 1"]()[0]
    assert sens_fa_auc([(y, p, names)]) == 1.0
    assert sens_fa_auc(CASES["never"]()) == sens_fa_auc(CASES["always"]()) < 0.5  # one value cannot rank
    assert np.isnan(sens_fa_auc(CASES["no seizure at all"]()))
    assert sens_fa_score(CASES["no seizure at all"]()).reason == "no seizure windows in any fold"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=80))
def test_the_strict_form_lies_between_zero_and_one(windows):
    y, p, number = (np.array(column) for column in zip(*sorted(windows, key=lambda row: row[2]), strict=True))
    value = sens_fa_auc([(y.astype(int), p / 9, number)])
    assert (0 <= value <= 1) if y.any() else np.isnan(value)


@pytest.mark.parametrize(
    ("folds", "options", "message"),
    [
        ([], {}, "no folds"),
        ([([0, 1], [0.1, 0.2])], {}, "fold 0: expected"),
        ([([0, 2], [0.1, 0.2], ["a", "a"])], {}, "fold 0: labels must be 0"),
        ([([0, 1], [0.1, np.nan], ["a", "a"])], {}, "fold 0: probabilities must be finite"),
        ([([0, 1], [0.1, 0.2], ["a"])], {}, "fold 0: 2 windows, but recordings"),
        ([([0, 1, 0], [0.1, 0.2, 0.3], ["a", "b", "a"])], {}, "windows of a do not stand together"),
        ([([0, 1], [0.1, 0.2], ["a", "a"])], {"form": "loose"}, "no form 'loose'"),
        ([([0, 1], [0.1, 0.2], ["a", "a"])], {"window_s": 0}, "window_s must be a positive"),
    ],
)
def test_folds_that_are_not_as_described_are_refused(folds, options, message):
    with pytest.raises(ValueError, match=message):
        sens_fa_auc(folds, **options)
