"""Probes over frozen embeddings: against scikit-learn's estimators, closed forms and planted data."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from biot_bd import registry
from biot_bd.embedding import (
    AttentionPoolProbe,
    FrozenProbe,
    KNNProbe,
    LinearProbe,
    MLPProbe,
    RidgeProbe,
)
from biot_bd.exceptions import BiotBdError, SubjectLeakError
from biot_bd.signals.subject_array import SubjectArray
from biot_bd.training import FixedSubjects

POOLED = (LinearProbe, RidgeProbe, KNNProbe, MLPProbe)
SHORT = {MLPProbe: {"n_hidden": 4, "max_iter": 400, "alpha": (20.0, 10.0)}}


def made(n_classes=2, n=120, n_features=6, shift=1.5, seed=0):
    """Embeddings of six subjects, far from zero and of unlike scales, with classes apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    x = rng.normal(size=(n, n_features))
    x[np.arange(n), y] += shift
    return (x * 10.0 ** np.arange(-2, n_features - 2) + 3).astype(np.float32), y, np.repeat(list("abcdef"), n // 6)


@pytest.fixture(scope="module")
def two_classes():
    return made()


@pytest.fixture(scope="module")
def three_classes():
    return made(3)


def unbalanced(x, y, groups):
    """Leave out about half of the windows of the later classes."""
    kept = (y == 0) | (np.arange(len(y)) % 4 < 2)
    return x[kept], y[kept], groups[kept]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_linear_probe_is_scikit_learns_balanced_logistic_regression(n_classes):
    x, y, groups = unbalanced(*made(n_classes))
    probe = LinearProbe(C=0.3).fit(x, y, groups)
    z = StandardScaler().fit_transform(x.astype(np.float64))
    expected = LogisticRegression(C=0.3, class_weight="balanced", max_iter=2000).fit(z, y).predict_proba(z)
    np.testing.assert_allclose(probe.predict_proba(x), expected, atol=2e-5)
    assert probe.converged_
    assert probe.chosen_["reason"] == "one value was given"


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_ridge_probe_is_the_closed_form_and_scikit_learns_balanced_classifier(n_classes):
    x, y, groups = unbalanced(*made(n_classes))
    probe = RidgeProbe(alpha=7.0).fit(x, y, groups)
    z = StandardScaler().fit_transform(x.astype(np.float64))
    weights = len(y) / (n_classes * np.bincount(y)[y])
    targets = np.where(y[:, None] == np.arange(n_classes), 1.0, -1.0)
    middle = np.average(z, axis=0, weights=weights)
    centred = z - middle
    square = centred.T @ (weights[:, None] * centred) + 7.0 * np.eye(z.shape[1])
    level = np.average(targets, axis=0, weights=weights)
    values = centred @ np.linalg.solve(square, centred.T @ (weights[:, None] * (targets - level))) + level
    np.testing.assert_allclose(
        probe.predict_proba(x), softmax(float(probe.arrays_["scale"]) * values, axis=1), atol=2e-5
    )
    theirs = RidgeClassifier(alpha=7.0, class_weight="balanced").fit(z, y)
    assert (probe.predict(x) == theirs.predict(z)).all()


def test_the_neighbours_are_scikit_learns_with_the_same_votes(two_classes):
    x, y, groups = two_classes  # balanced, so that the weights of classes say nothing
    probe = KNNProbe(k=9, temperature=0.1).fit(x, y, groups)
    scaler = StandardScaler().fit(x.astype(np.float64))

    def unit(values):
        z = scaler.transform(values.astype(np.float64))
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    theirs = KNeighborsClassifier(9, weights=lambda d: np.exp(-(d**2) / 0.2)).fit(unit(x), y)  # cosine = 1 - d^2 / 2
    new = made(seed=1)[0]
    np.testing.assert_allclose(probe.predict_proba(new), theirs.predict_proba(unit(new)), atol=1e-4)


def test_a_rare_class_has_as_much_to_say_among_neighbours():
    x, y = np.repeat([[1.0], [-1.0]], 12, axis=0), np.array([0] * 9 + [1] * 3)
    proba = KNNProbe(k=12).fit(x, np.tile(y, 2)).predict_proba(x[:1])
    np.testing.assert_allclose(proba, [[0.5, 0.5]], atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_small_network_is_scikit_learns(n_classes):
    x, y, groups = made(n_classes)
    probe = MLPProbe(alpha=0.5, n_hidden=8, max_iter=300, random_state=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(x, y, groups)
        z = StandardScaler().fit_transform(x.astype(np.float64)).astype(np.float32)
        theirs = MLPClassifier((8,), alpha=0.5, max_iter=300, random_state=3, learning_rate_init=0.005).fit(
            z, y, sample_weight=np.ones(len(y))
        )
    np.testing.assert_allclose(probe.predict_proba(x), theirs.predict_proba(z), atol=1e-4)


def test_attention_finds_the_token_that_tells_and_the_mean_does_not():
    rng, y = np.random.default_rng(0), np.tile([0, 1], 150)
    x = rng.normal(size=(300, 8, 6)).astype(np.float32)
    place = rng.integers(0, 8, 300)
    x[np.arange(300), place, 0] += 6  # somewhere, and what stands there tells the class
    x[np.arange(300), place, 1] += np.where(y == 1, 3, -3)
    pooled = LinearProbe(C=1.0).fit(x[:200].mean(axis=1), y[:200])
    probe = AttentionPoolProbe(weight_decay=1e-3).fit(x[:200], y[:200])
    assert probe.converged_
    ours = average_precision_score(y[200:], probe.predict_proba(x[200:])[:, 1])
    mean = average_precision_score(y[200:], pooled.predict_proba(x[200:].mean(axis=1))[:, 1])
    assert ours > 0.97
    assert mean < 0.95


def test_attention_with_strong_decay_is_logistic_regression_of_the_mean():
    rng, y = np.random.default_rng(1), np.tile([0, 1], 60)
    x = (rng.normal(size=(120, 4, 3)) + y[:, None, None]).astype(np.float32)
    probe = AttentionPoolProbe(weight_decay=0.5).fit(x, y)
    probe.arrays_["query"][:] = 0  # the plain mean
    z = ((x - x.mean(axis=(0, 1))) / x.std(axis=(0, 1))).mean(axis=1)
    logits = z @ probe.arrays_["weight"].T + probe.arrays_["bias"]
    np.testing.assert_allclose(probe.predict_proba(x), softmax(logits, axis=1), atol=1e-5)


def test_an_absent_token_does_not_matter_whatever_stands_beside_it():
    rng, y = np.random.default_rng(1), np.tile([0, 1], 30)
    x = (rng.normal(size=(60, 3, 3)) + y[:, None, None]).astype(np.float32)
    probe = AttentionPoolProbe(weight_decay=0.01).fit(x, y)
    more = np.concatenate([x, np.full((60, 2, 3), np.nan, np.float32)], axis=1)
    np.testing.assert_allclose(probe.predict_proba(more), probe.predict_proba(x), atol=1e-6)
    again = AttentionPoolProbe(weight_decay=0.01).fit(more, y)
    np.testing.assert_allclose(again.predict_proba(x), probe.predict_proba(x), atol=1e-3)
    half = x.copy()
    half[4, 1, 0] = np.nan
    with pytest.raises(ValueError, match="window 4 is not finite"):
        probe.predict_proba(half)


class Spy(FrozenProbe):
    """Notes on which windows it was fitted, by their first feature."""

    _parameter = "strength"

    def __init__(self, strength=(3, 2, 1), *, train_split="subject", validation_fraction=0.3, random_state=0):
        self.strength, self.train_split = strength, train_split
        self.validation_fraction, self.random_state = validation_fraction, random_state

    def _learn(self, x, codes, weights, value):
        from biot_bd.embedding.frozen_probes.base import Learnt

        fitted.append((value, x[:, 0].astype(int).tolist(), weights.tolist()))
        return Learnt({"value": np.array(value)}, converged=value != 1 or len(x) == 24)

    def _head(self, arrays):
        head = torch.nn.Linear(2, 2)
        with torch.no_grad():  # right for 2, wrong for 3, says nothing for 1
            head.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, {3: -1.0, 2: 1.0, 1: 0.0}[int(arrays["value"])]]]))
            head.bias.zero_()
        return head


fitted: list = []


def spied(**parameters):
    fitted.clear()
    y = np.tile([0, 1], 12)
    x = np.stack([np.arange(24), np.where(y == 1, 1, -1)], axis=1).astype(np.float32)
    groups = np.repeat(list("abcdef"), 4)
    return Spy(**parameters), x, y, groups


def test_the_inner_split_keeps_subjects_apart_and_the_last_fit_has_all_of_them():
    probe, x, y, groups = spied()
    probe.fit(SubjectArray(x, groups), y)
    assert [value for value, _, _ in fitted] == [3, 2, 1, 2]
    inner = {groups[i] for i in fitted[0][1]}
    assert inner
    assert inner.isdisjoint(probe.chosen_["valid_subjects"])
    assert inner | set(probe.chosen_["valid_subjects"]) == set("abcdef")
    assert all(rows == fitted[0][1] for _, rows, _ in fitted[:3])
    assert fitted[3][1] == list(range(24))
    assert probe.chosen_["value"] == 2
    assert dict(map(tuple, probe.chosen_["scores"]))[2] == 1.0
    assert probe.chosen_["not_converged"] == [1]
    assert probe.train_subjects_ == tuple("abcdef")
    assert probe.provenance_.saw(["a", "g"]) == ["a"]


def test_of_equal_values_the_strongest_is_taken():
    probe, x, y, groups = spied(strength=(2, 2.0, 2))
    assert probe.fit(x, y, groups).chosen_["value"] == 2
    assert len(probe.chosen_["scores"]) == 3


def test_named_subjects_validate():
    probe, x, y, groups = spied(train_split=FixedSubjects(["c", "f"]))
    assert probe.fit(x, y, groups).chosen_["valid_subjects"] == ["c", "f"]


@pytest.mark.parametrize(
    ("subjects", "labels", "parameters", "reason"),
    [
        (None, None, {}, "the subjects are unknown"),
        ("aaaaaa", None, {}, "all windows are of one subject"),
        ("abcdef", "ab", {}, "no split by subject leaves every class"),
        ("abcdef", None, {"train_split": None}, "train_split=None"),
        ("abcdef", "a", {"train_split": FixedSubjects(["b"])}, "validation subjects have not all of the 2 classes"),
    ],
)
def test_where_no_subjects_can_choose_the_middle_value_is_taken_and_said(subjects, labels, parameters, reason):
    probe, x, y, groups = spied(strength=(3, 1, 2), **parameters)
    groups = None if subjects is None else np.repeat(list(subjects), 4)
    if labels is not None:  # positive windows of these subjects only
        y = np.isin(groups, list(labels)[:1]).astype(int)
    with pytest.warns(UserWarning, match=reason):
        probe.fit(x, y, groups)
    assert probe.chosen_["value"] == 1
    assert reason in probe.chosen_["reason"]
    assert [value for value, _, _ in fitted] == [1]


def test_a_split_that_mixes_subjects_is_refused():
    def mixing(dataset, y, groups):
        return torch.utils.data.Subset(dataset, range(0, 24, 2)), torch.utils.data.Subset(dataset, range(1, 24, 2))

    probe, x, y, groups = spied(train_split=mixing)
    with pytest.raises(ValueError, match="into training and validation"):
        probe.fit(x, np.repeat([0, 1, 0, 1], 6), groups)
    with pytest.raises(ValueError, match="a share of the windows would mix subjects"):
        Spy(train_split=0.2).fit(x, y, groups)


def test_what_does_not_converge_is_said():
    x, y, groups = made()
    with pytest.warns(ConvergenceWarning, match=r"LinearProbe did not converge in 2 iterations with C=10.0"):
        probe = LinearProbe(C=10.0, max_iter=2).fit(x, y, groups)
    assert not probe.converged_
    assert probe.n_iter_ == 2


def test_classes_may_be_texts_and_the_threshold_decides(two_classes):
    x, y, groups = two_classes
    names = np.array(["seizure", "background"])[y]  # sorted otherwise than by meaning
    probe = LinearProbe(C=1.0).fit(x, names, groups)
    assert probe.classes_.tolist() == ["background", "seizure"]
    assert probe.positive_label_ == "seizure"
    proba = probe.predict_proba(x)[:, 1]
    assert (probe.predict(x) == np.where(proba > 0.5, "seizure", "background")).all()
    probe.threshold_ = 0.9
    assert (probe.predict(x) == np.where(proba >= 0.9, "seizure", "background")).all()


@pytest.mark.parametrize("cls", POOLED)
def test_a_probe_is_the_same_again_and_does_not_touch_its_input(cls, two_classes):
    x, y, groups = two_classes
    kept = x.copy()
    probe = cls(**SHORT.get(cls, {}))
    first = probe.fit(x, y, groups).predict_proba(x)
    again = clone(probe).fit(x, y, groups).predict_proba(x)
    assert (first == again).all()
    assert (x == kept).all()
    assert probe.chosen_["reason"] is None
    assert len(probe.chosen_["scores"]) == len(getattr(probe, probe._parameter))
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-6)
    logits = probe.head()(torch.from_numpy(x))
    np.testing.assert_allclose(logits.softmax(dim=1).numpy(), first, atol=1e-6)


@pytest.mark.parametrize("cls", POOLED)
def test_three_classes_are_told_apart(cls):
    x, y, groups = made(3, n=240, shift=6)
    probe = cls(**SHORT.get(cls, {})).fit(x, y, groups)
    assert probe.score(x, y) > 0.85
    assert probe.positive_label_ is None


@pytest.mark.parametrize("name", ["linear", "ridge", "knn", "mlp", "attention-pool"])
def test_what_is_no_embedding_is_refused(name):
    probe = registry.frozen_probes[name]()
    flat, tokens = np.zeros((4, 3), np.float32), np.zeros((4, 2, 3), np.float32)
    right, wrong = (tokens, flat) if name == "attention-pool" else (flat, tokens)
    with pytest.raises(NotFittedError):
        probe.predict_proba(right)
    with pytest.raises(ValueError, match=r"takes embeddings of shape .* Embedder\(pooling="):
        probe.fit(wrong, [0, 1, 0, 1])
    with pytest.raises(TypeError, match="put an Embedder in front"):
        probe.fit({"a": 1}, [0, 1])
    with pytest.raises(ValueError, match=r"at least two classes, found \[1\]"):
        probe.fit(right, [1, 1, 1, 1])
    with pytest.raises(ValueError, match="4 embeddings, but 3 labels"):
        probe.fit(right, [1, 0, 1])
    with pytest.raises(ValueError, match="groups must name one subject a window"):
        probe.fit(right, [1, 0, 1, 0], groups=["a"])
    broken = right.copy()
    broken[2] = np.inf
    with pytest.raises(ValueError, match="embedding of window 2 is not finite"):
        probe.fit(broken, [0, 1, 0, 1])


def test_other_features_than_in_fit_are_refused(two_classes):
    x, y, groups = two_classes
    probe = RidgeProbe(alpha=1.0).fit(x, y, groups)
    assert probe.predict_proba(x[:0]).shape == (0, 2)
    with pytest.raises(ValueError, match="fitted on embeddings of 6 features, found 5"):
        probe.predict_proba(x[:, :5])


def test_errors_of_the_package_are_not_swallowed(two_classes):
    x, y, groups = two_classes

    def failing(dataset, y, groups):
        raise BiotBdError("the split's own")

    with pytest.raises(BiotBdError, match="the split's own"):
        LinearProbe(train_split=failing).fit(x, y, groups)


@pytest.mark.parametrize("cls", [LinearProbe, RidgeProbe, KNNProbe, MLPProbe, AttentionPoolProbe])
def test_other_windows_of_subjects_that_were_learnt_are_not_predicted(cls):
    """The commonest leak: cross_val_score with cv=2 puts every subject on both sides."""
    rng, y, subjects = np.random.default_rng(0), np.tile([0, 1], 20), np.repeat(list("abcd"), 10)
    x = rng.normal(size=(40, 3, 4)) + y[:, None, None]
    X = SubjectArray(x if cls.pooling == "tokens" else x.mean(axis=1), subjects)
    probe = cls(1 if cls is KNNProbe else 1.0)
    with pytest.raises(SubjectLeakError, match="trained on other windows of a, b, c and 1 more"):
        cross_val_score(probe, X, y, cv=KFold(2, shuffle=True, random_state=0), error_score="raise")
    assert np.isfinite(cross_val_score(probe, X, y, cv=GroupKFold(2), groups=subjects)).all()
    own = clone(probe).set_params(seen_subjects="warn").fit(X[::3], y[::3])
    assert own.predict_proba(X[:20:3]).shape == (7, 2)
    with pytest.warns(UserWarning, match="trained on other windows"):
        own.predict(X)
    assert own.set_params(seen_subjects="allow").predict(X).shape == (40,)
