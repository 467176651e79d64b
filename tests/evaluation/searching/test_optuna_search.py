"""Optuna as engine proposes, prunes and stores as Optuna's own loop does."""

import shutil
import sqlite3
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold
from small_searches import cheap, made

from biot_bd import BIOTClassifier
from biot_bd.evaluation import OptunaSearch, Range, SearchRecord, planned_fits, search
from biot_bd.evaluation.searching.optuna_engine import distributions_of
from biot_bd.exceptions import MissingExtraError

optuna = pytest.importorskip("optuna")
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
optuna.logging.set_verbosity(optuna.logging.WARNING)
SPACE = {
    "logisticregression__C": Range(1e-4, 1e2, log=True),
    "logisticregression__class_weight": [None, "balanced"],
    "logisticregression__max_iter": Range(20, 60),
}
OPTIONS = {"cv": GroupKFold(2), "inner_cv": GroupKFold(3), "progress": False}


def sampler(seed):
    return optuna.samplers.TPESampler(seed=11, n_startup_trials=4)


def pruner():
    return optuna.pruners.PercentilePruner(25.0, n_startup_trials=2)


def searched(folder, engine, grid=None, **options):
    x, y, subjects = made()
    return search(
        cheap(), grid or SPACE, x, y=y, groups=subjects, folder=folder, engine=engine, **{**OPTIONS, **options}
    )


def plain_study(x, y, subjects, n_trials, pruned):
    """Optuna's own loop over the inner folds."""
    study = optuna.create_study(direction="maximize", sampler=sampler(0), pruner=pruner() if pruned else None)

    def objective(trial):
        params = {
            "logisticregression__C": trial.suggest_float("logisticregression__C", 1e-4, 1e2, log=True),
            "logisticregression__class_weight": trial.suggest_categorical("logisticregression__class_weight", [None, "balanced"]),
            "logisticregression__max_iter": trial.suggest_int("logisticregression__max_iter", 20, 60),
        }  # fmt: skip
        scores = []
        for step, (train, test) in enumerate(GroupKFold(3).split(x, y, subjects)):
            fitted = cheap().set_params(**params).fit(x[train], y[train])
            scores.append(average_precision_score(y[test], fitted.predict_proba(x[test])[:, 1]))
            if pruned:
                trial.report(float(np.mean(scores)), step)
                if step < 2 and trial.should_prune():
                    raise optuna.TrialPruned
        return float(np.mean(scores))

    study.optimize(objective, n_trials=n_trials)
    return study


@pytest.mark.parametrize("pruned", [False, True])
def test_candidates_scores_and_choice_are_those_of_optunas_own_loop(tmp_path, pruned):
    engine = OptunaSearch(n_trials=8, sampler=sampler, pruner=pruner() if pruned else None)
    result = searched(tmp_path / "run", engine, validation_fraction=0)
    record = SearchRecord.open(tmp_path / "run")
    x, y, subjects = made()
    for split, chosen in zip(result.run["splits"], result.run["search"]["chosen"], strict=True):
        inside = np.isin(subjects, split["train"])
        study = plain_study(x[inside], y[inside], subjects[inside], 8, pruned)
        ours = record.table[record.table["fold"] == split["fold"]]
        assert ours[list(SPACE)].to_dict("records") == [trial.params for trial in study.trials]
        finished = [trial.state.name == "COMPLETE" for trial in study.trials]
        assert (ours["state"] == "finished").tolist() == finished
        assert (ours["state"] == "pruned").tolist() == [not one for one in finished]
        last = [trial.value if done else trial.intermediate_values[trial.last_step] for trial, done in zip(study.trials, finished, strict=True)]  # fmt: skip
        np.testing.assert_allclose(ours["mean"].to_numpy(float), last, rtol=0, atol=1e-12)
        assert chosen["params"] == study.best_params
    assert (record.table["state"] == "pruned").any() == pruned


def test_the_database_of_a_run_holds_what_the_tables_say(tmp_path):
    folder = tmp_path / "odd? %41 #1"
    searched(folder, OptunaSearch(n_trials=6, pruner=pruner(), batch=3))
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    record = SearchRecord.open(folder)
    copied = shutil.copy(folder / "search" / "optuna.db", tmp_path / "copy.db")
    storage = optuna.storages.RDBStorage(f"sqlite:///{copied}")
    assert sorted(optuna.get_all_study_names(storage)) == ["fold-00", "fold-01"]
    for fold, ours in record.table.groupby("fold"):
        trials = optuna.load_study(study_name=f"fold-{fold:02d}", storage=storage).trials
        assert [trial.params for trial in trials] == ours[list(SPACE)].to_dict("records")
        names = {"COMPLETE": "finished", "PRUNED": "pruned"}
        assert [names[trial.state.name] for trial in trials] == ours["state"].tolist()
        done = [trial.value for trial in trials if trial.state.name == "COMPLETE"]
        assert done == ours.loc[ours["state"] == "finished", "mean"].tolist()
    with sqlite3.connect(folder / "search" / "optuna.db") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_distributions_of_scipy_and_of_optuna_mean_the_same():
    kinds = optuna.distributions
    expected = {"C": kinds.FloatDistribution(1e-4, 1e2, log=True), "n": kinds.IntDistribution(20, 60)}
    for c, n in (
        (Range(1e-4, 1e2, log=True), Range(20, 60)),
        (stats.loguniform(1e-4, 1e2), stats.randint(20, 61)),
        tuple(expected.values()),
    ):
        assert distributions_of([{"C": c, "n": n}]) == expected
    assert distributions_of([{"x": stats.uniform(2, 3)}]) == {"x": kinds.FloatDistribution(2.0, 5.0)}
    assert distributions_of([{"x": [1, "a", None]}]) == {"x": kinds.CategoricalDistribution([1, "a", None])}


def test_whole_estimators_can_be_chosen(tmp_path):
    steps = [LogisticRegression(C=1e-3), LogisticRegression(C=10.0, class_weight="balanced")]
    result = searched(tmp_path / "run", OptunaSearch(n_trials=4), {"logisticregression": steps}, inner_cv=GroupKFold(2))
    shown = set(SearchRecord.open(tmp_path / "run").table["logisticregression"])
    assert shown <= {"LogisticRegression(C=0.001)", "LogisticRegression(C=10.0, class_weight='balanced')"}
    assert result.run["search"]["chosen"][0]["params"]["logisticregression"] in shown


def test_a_distribution_that_optuna_has_not_is_named(tmp_path):
    with pytest.raises(ValueError, match="logisticregression__C: Optuna does not draw from 'norm'"):
        searched(tmp_path / "run", "optuna", {"logisticregression__C": stats.norm()})


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'biot-bd\[scale\]'"):
        searched(None, "optuna")


@pytest.mark.parametrize(
    "given", [{"n_trials": 0}, {"batch": True}, {"sampler": optuna.samplers.RandomSampler(seed=0)}]
)
def test_parameters_without_meaning_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        OptunaSearch(**given)


@pytest.mark.parametrize(
    "values", [Range(8, 16), [8, 16], stats.randint(8, 17), optuna.distributions.CategoricalDistribution([8, 16])]
)
def test_parameters_of_a_nets_module_are_taken_and_others_are_named(values):
    x, y, subjects = made()
    net, options = BIOTClassifier(max_epochs=1), {"y": y, "groups": subjects, "engine": OptunaSearch(2), **OPTIONS}
    del options["progress"]
    assert planned_fits(net, {"module__embed_dim": values}, x, **options)["inner_fits"] == 2 * 2 * 3
    with pytest.raises(ValueError, match="BIOTClassifier has no parameter embed_dim"):
        planned_fits(net, {"embed_dim": values}, x, **options)
