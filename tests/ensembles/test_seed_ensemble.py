"""Seeds as an ensemble: its members, their mean, whose windows they saw."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from biot_bd import BIOTClassifier, PercentileScaler, SubjectLeakError, cross_validate, load_dataset, prepare
from biot_bd.ensembles import SeedEnsemble
from biot_bd.signals.subject_array import SubjectArray

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    recordings = load_dataset("demo", folder / "edf", n_subjects=4, recordings=1, minutes=2)
    return prepare(recordings, folder / "windows")


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    return rng.normal(size=(60, 3)) + y[:, None], y, np.repeat(["s/1", "s/2", "s/3"], 20)


def net(**kwargs):
    return BIOTClassifier(max_epochs=1, random_state=0, **{"train_split": None, **TINY, **kwargs})


def mlp():
    return make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=3, tol=1.0))


class Spy(LogisticRegression):
    """Keep what fit was given."""

    def fit(self, X, y, groups=None):
        self.given_ = groups
        self.subjects_ = getattr(X, "groups", None)
        return super().fit(X, y)


def test_an_ensemble_is_the_mean_of_single_fits_with_each_seed(table):
    X, y, _ = table
    ensemble = SeedEnsemble(mlp(), seeds=(3, 5, 8)).fit(X, y)
    alone = [clone(mlp()).set_params(mlpclassifier__random_state=seed).fit(X, y).predict_proba(X) for seed in (3, 5, 8)]
    np.testing.assert_allclose(ensemble.predict_proba(X), np.mean(alone, axis=0), rtol=1e-12)
    np.testing.assert_allclose(ensemble.spread(X), np.std(alone, axis=0, ddof=1), rtol=1e-9)
    assert (ensemble.predict(X) == (np.mean(alone, axis=0)[:, 1] > 0.5)).all()
    assert ensemble.spread(X).max() > 0


def test_seeds_reach_every_random_state_of_nested_steps(table):
    X, y, _ = table
    inner = make_pipeline(FunctionTransformer(), make_pipeline(StandardScaler(), MLPClassifier((2,), max_iter=1)))
    members = SeedEnsemble(inner, seeds=(7, 9)).fit(X, y).members_
    assert [member.get_params()["pipeline__mlpclassifier__random_state"] for member in members] == [7, 9]
    assert inner.get_params()["pipeline__mlpclassifier__random_state"] is None


@pytest.mark.parametrize("wrapped", [False, True])
def test_subjects_are_handed_on_to_the_members(table, wrapped):
    X, y, groups = table
    estimator = make_pipeline(StandardScaler(), Spy()) if wrapped else Spy()
    for member in SeedEnsemble(estimator, seeds=(0, 1)).fit(X, y, groups=groups).members_:
        spy = member[-1] if wrapped else member
        assert spy.given_.tolist() == groups.tolist()
        assert wrapped or spy.subjects_.tolist() == groups.tolist()


def test_a_threshold_decides_from_there_on(table):
    X, y, _ = table
    ensemble = SeedEnsemble(mlp(), seeds=(0, 1)).fit(X, y)
    ensemble.threshold_ = 0.3
    assert (ensemble.predict(X) == (ensemble.predict_proba(X)[:, 1] >= 0.3)).all()


def test_an_ensemble_of_networks_knows_its_subjects_and_refuses_their_other_windows(windows):
    subjects = np.unique(windows.groups)
    rows = np.flatnonzero(np.isin(windows.groups, subjects[:2]))
    ensemble = SeedEnsemble(make_pipeline(PercentileScaler(), net()), seeds=(0, 1)).fit(windows[rows[::2]])
    assert ensemble.train_subjects_ == tuple(subjects[:2])
    with pytest.raises(SubjectLeakError, match="trained on other windows"):
        ensemble.predict_proba(windows[rows[1::2]])
    first, second = (member.predict_proba(windows[rows[::2]]) for member in ensemble.members_)
    assert np.abs(first - second).max() > 0


def test_cross_validation_takes_an_ensemble_and_members_split_by_subject(windows):
    pipeline = make_pipeline(PercentileScaler(), SeedEnsemble(net(train_split="subject"), seeds=(0, 1)))
    result = cross_validate(pipeline, windows, progress=False)
    assert result.predictions["proba"].between(0, 1).all()
    assert len(result.metrics["subjects"]) == 4


def test_members_are_fitted_on_shares_of_classes_where_their_loss_takes_them(windows):
    x, y = np.asarray(windows)[:24], np.asarray(windows.y)[:24]
    shares = np.column_stack([1 - 0.8 * y, 0.8 * y])
    soft = net(criterion="kl-divergence", classes=None)
    ensemble = SeedEnsemble(soft, seeds=(0, 1)).fit(x, shares, groups=np.repeat(["s/1", "s/2"], 12))
    assert ensemble.takes_soft_targets
    assert not SeedEnsemble(net()).takes_soft_targets
    alone = clone(soft).set_params(random_state=1).fit(x, shares, groups=np.repeat(["s/1", "s/2"], 12))
    np.testing.assert_allclose(ensemble.members_[1].predict_proba(x), alone.predict_proba(x), atol=1e-6)


def test_members_in_processes_are_those_of_one_process(table):
    X, y, _ = table
    one, two = (SeedEnsemble(mlp(), seeds=(0, 1), n_jobs=n).fit(X, y).predict_proba(X) for n in (None, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("seeds", [(), (1, 1), (0.5,), (True, False)])
def test_seeds_that_are_not_different_whole_numbers_are_refused(table, seeds):
    with pytest.raises(ValueError, match="seeds must be different whole numbers"):
        SeedEnsemble(mlp(), seeds=seeds).fit(*table[:2])


def test_an_estimator_without_a_seed_is_refused(table):
    with pytest.raises(ValueError, match=r"StandardScaler has no parameter random_state"):
        SeedEnsemble(StandardScaler()).fit(*table[:2])


def test_one_member_has_no_spread(table):
    with pytest.raises(ValueError, match="at least two seeds"):
        SeedEnsemble(mlp(), seeds=(0,)).fit(*table[:2]).spread(table[0])


def test_members_with_other_classes_are_refused(table, monkeypatch):
    X, y, _ = table
    ensemble = SeedEnsemble(mlp(), seeds=(0, 1))
    import biot_bd.ensembles.seed_ensemble as room

    fits = iter([y, y + 1])
    fitted = room._fitted
    monkeypatch.setattr(room, "_fitted", lambda e, s, X, y, g: fitted(e, s, X, next(fits), g))
    with pytest.raises(ValueError, match=r"member of seed 1 learned the classes \[1, 2\]"):
        ensemble.fit(X, y)


def test_arrays_that_carry_subjects_keep_them(table):
    X, y, groups = table
    member = SeedEnsemble(Spy(), seeds=(0,)).fit(SubjectArray(X, groups), y).members_[0]
    assert member.subjects_.tolist() == groups.tolist()
