"""A search scores and chooses as scikit-learn's searches do on the same splits."""

import numpy as np
import pytest
from scipy import stats
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, HalvingGridSearchCV, ParameterSampler
from small_searches import GRID, cheap, made

from biot_bd import cross_validate
from biot_bd.evaluation import HalvingSearch, Metric, RandomSearch, Range, SearchRecord, search

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
OPTIONS = {"cv": GroupKFold(3), "inner_cv": GroupKFold(2), "progress": False}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    x, y, subjects = made()
    folder = tmp_path_factory.mktemp("searched") / "run"
    result = search(cheap(), GRID, x, y=y, groups=subjects, folder=folder, **OPTIONS)
    return result, SearchRecord.open(folder)


def sklearn_search(x, y, subjects, test, scoring="average_precision", estimator=None):
    inside = ~np.isin(subjects, test)
    peer = GridSearchCV(estimator or cheap(), GRID, cv=GroupKFold(2), scoring=scoring, error_score="raise")
    return peer.fit(x[inside], y[inside], groups=subjects[inside])


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_means_stds_ranks_and_choice_are_those_of_grid_search_cv(searched, fold):
    result, record = searched
    x, y, subjects = made()
    peer = sklearn_search(x, y, subjects, result.run["splits"][fold]["test"])
    ours = record.table[record.table["fold"] == fold]
    np.testing.assert_allclose(ours["mean"].to_numpy(float), peer.cv_results_["mean_test_score"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours["std"].to_numpy(float), peer.cv_results_["std_test_score"], rtol=0, atol=1e-12)
    assert ours["rank"].tolist() == peer.cv_results_["rank_test_score"].tolist()
    params = ours[list(GRID)].to_dict("records")
    assert params == peer.cv_results_["params"]
    assert (
        params[int(np.flatnonzero(ours["chosen"])[0])]
        == peer.best_params_
        == result.run["search"]["chosen"][fold]["params"]
    )


def test_the_chosen_are_scored_as_cross_validate_scores_them(searched):
    result, _record = searched
    x, y, subjects = made()
    for fold in range(3):
        chosen = result.run["search"]["chosen"][fold]["params"]
        alone = cross_validate(cheap().set_params(**chosen), x, y=y, groups=subjects, cv=GroupKFold(3), progress=False)
        ours, theirs = (r.predictions[r.predictions["fold"] == fold] for r in (result, alone))
        assert ours["proba"].tolist() == theirs["proba"].tolist()


def test_a_metric_of_which_less_is_better_chooses_the_least(searched):
    x, y, subjects = made(n_subjects=4)
    loss = Metric("log_loss", log_loss, greater_is_better=False)
    result = search(cheap(), GRID, x, y=y, groups=subjects, scoring=loss, **{**OPTIONS, "cv": GroupKFold(2)})
    for split, chosen in zip(result.run["splits"], result.run["search"]["chosen"], strict=True):
        peer = sklearn_search(x, y, subjects, split["test"], "neg_log_loss")
        assert chosen["params"] == peer.best_params_
        assert chosen["mean"] == pytest.approx(-peer.best_score_, abs=1e-12)


def test_random_candidates_are_those_of_the_parameter_sampler_in_every_fold(tmp_path):
    x, y, subjects = made(n_subjects=4)
    grid = {"logisticregression__C": stats.loguniform(1e-4, 1e2), "logisticregression__fit_intercept": [True, False]}
    folder = tmp_path / "run"
    search(cheap(), grid, x, y=y, groups=subjects, engine=RandomSearch(5), folder=folder, random_state=3, **OPTIONS)
    table = SearchRecord.open(folder).table
    expected = list(ParameterSampler(grid, 5, random_state=3))
    for _, ours in table.groupby("fold"):
        assert ours[list(grid)].to_dict("records") == expected


@pytest.mark.parametrize(("factor", "smallest"), [(3, "exhaust"), (2, "exhaust"), (2, "smallest"), (3, 5)])
def test_rungs_are_those_of_halving_grid_search_cv(factor, smallest):
    x, y, subjects = made(n_subjects=4)
    grid = {"logisticregression__C": [10.0**k for k in range(-4, 3)]}
    peer = HalvingGridSearchCV(
        cheap(), grid, cv=GroupKFold(2), scoring="average_precision", factor=factor, resource="logisticregression__max_iter",
        max_resources=60, min_resources=smallest, random_state=0,
    ).fit(x, y, groups=subjects)  # fmt: skip
    ours = HalvingSearch("max_iter", factor, smallest, 60).schedule(7, smallest=1, largest=60)
    assert [n for n, _ in ours] == list(peer.n_resources_)
    assert [n for _, n in ours] == list(peer.n_candidates_)


def test_halving_by_a_parameter_chooses_what_scikit_learn_chooses(tmp_path):
    x, y, subjects = made()
    grid = {"logisticregression__C": [10.0**k for k in range(-4, 3)]}
    engine = HalvingSearch("max_iter", 2, max_resources=60)
    options = {"engine": engine, "folder": tmp_path / "run", "scoring": "roc_auc", **OPTIONS, "cv": GroupKFold(2)}
    result = search(cheap(), grid, x, y=y, groups=subjects, **options)
    record = SearchRecord.open(tmp_path / "run")
    for split, chosen in zip(result.run["splits"], result.run["search"]["chosen"], strict=True):
        inside = ~np.isin(subjects, split["test"])
        peer = HalvingGridSearchCV(
            cheap(), grid, cv=GroupKFold(2), scoring="roc_auc", factor=2, resource="logisticregression__max_iter",
            max_resources=60, random_state=0,
        ).fit(x[inside], y[inside], groups=subjects[inside])  # fmt: skip
        ours = record.table[record.table["fold"] == split["fold"]]
        last = peer.cv_results_["iter"] == peer.n_iterations_ - 1
        best = peer.cv_results_["mean_test_score"][last].max()
        assert chosen["mean"] == pytest.approx(best, abs=1e-12)
        assert ours["rung"].max() == peer.n_iterations_ - 1
        assert chosen["params"]["logisticregression__max_iter"] == 60


def test_rungs_of_windows_take_of_every_subject_and_class():
    from biot_bd.evaluation.data import as_data
    from biot_bd.evaluation.searching.trial import some_rows

    x, y, subjects = made()
    data = as_data(x, y, subjects)
    rows = np.flatnonzero(subjects != "site/00")
    some = {share: some_rows(rows, data, share, seed=5) for share in (0.1, 0.3, 0.6, 1.0)}
    assert some[1.0].tolist() == rows.tolist()
    for share, kept in some.items():
        assert set(kept) <= set(rows)
        for subject in set(subjects[rows]):
            for label in (0, 1):
                of = int(((subjects == subject) & (y == label)).sum())
                assert ((subjects[kept] == subject) & (y[kept] == label)).sum() == max(1, round(share * of))
    assert set(some[0.1]) <= set(some[0.3]) <= set(some[0.6])


def test_a_range_draws_whole_numbers_of_both_ends_equally_often():
    drawn = Range(1, 4).rvs(size=40_000, random_state=0)
    counts = np.bincount(drawn)[1:]
    assert len(counts) == 4
    assert abs(counts - 10_000).max() < 400
    wide = np.log10(Range(1e-6, 1e-2, log=True).rvs(size=40_000, random_state=1))
    assert stats.kstest(wide, stats.uniform(-6, 4).cdf).pvalue > 1e-3
