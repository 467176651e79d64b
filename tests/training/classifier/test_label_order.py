"""Position is not label: whatever order ``classes`` have, probabilities, thresholds, early stopping and
scikit-learn's scorers agree about P(seizure).  The truth is scikit-learn's, on 0 and 1.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, get_scorer, log_loss, make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from skorch.callbacks import EpochScoring
from training_data import make_data, small

from biot_bd.evaluation import cross_validate
from biot_bd.training import FixedSubjects, load_pipeline, load_scorer, save_pipeline

PAIRS = [  # background, seizure
    (0, 1),
    (1, 2),
    (-1, 1),
    (0.0, 1.0),
    (False, True),
    ("background", "seizure"),
    ("bckg", "sz"),
    ("normal", "ictal"),
    ("non-seizure", "seizure"),
    ("0", "1"),
]
TRIPLES = [(0, 1, 2), (3, 1, 2), ("left", "right", "none")]


def faint(seed=0):
    """Data whose classes overlap, so that scores are neither 0 nor 1."""
    x, y, groups = make_data(seed=seed)
    x[y == 1] /= 2.6
    return x, y, groups


X, Y, GROUPS = faint()
NEW_X, NEW_Y, _ = faint(seed=5)


def fitted(classes, y=Y, **kwargs):
    return small(**{"classes": classes, "max_epochs": 1, "patience": None, "lr": 3e-3, **kwargs}).fit(
        X, y, groups=GROUPS
    )


@pytest.fixture(scope="module")
def reference():
    return fitted((0, 1), class_weight={0: 1.0, 1: 3.0})


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(PAIRS), st.booleans(), st.booleans(), st.sampled_from([dict, pd.Series, list]))
def test_two_classes_in_any_order(reference, pair, turned, weights_turned, kind):
    # "0" and "1" name no seizure, so the last one given is positive.
    classes = pair[::-1] if turned and pair != ("0", "1") else pair
    labels = np.array(pair)
    weights = dict(zip(pair, (1.0, 3.0), strict=True))
    listed = [weights[label] for label in classes]
    by_label = dict(reversed(weights.items())) if weights_turned else weights
    class_weight = listed if kind is list else kind(by_label)
    net = fitted(classes, labels[Y], class_weight=class_weight)
    assert net.classes_.tolist() == sorted(pair)
    assert net.positive_label_ == pair[1]

    proba = net.predict_proba(NEW_X)
    p = proba[:, net.classes_.tolist().index(pair[1])]
    np.testing.assert_array_equal(p, reference.predict_proba(NEW_X)[:, 1])  # the same training, to the digit
    seen = [
        {k: v for k, v in n.history[-1].items() if "average_precision" in k or "auc" in k} for n in (net, reference)
    ]
    assert seen[0] == seen[1]

    truth = labels[NEW_Y]
    assert get_scorer("roc_auc")(net, NEW_X, truth) == pytest.approx(roc_auc_score(NEW_Y, p))
    assert get_scorer("neg_log_loss")(net, NEW_X, truth) == pytest.approx(-log_loss(NEW_Y, p), rel=1e-4)
    if pair[1] == 1:  # scikit-learn's scorer takes 1 for positive
        expected = average_precision_score(NEW_Y, p)
        assert get_scorer("average_precision")(net, NEW_X, truth) == pytest.approx(expected)
    f1 = make_scorer(f1_score, pos_label=pair[1])
    for threshold in (None, float(np.median(p)), float(np.quantile(p, 0.9))):
        net.threshold_ = threshold
        wanted = p >= (0.5 if threshold is None else threshold)
        np.testing.assert_array_equal(net.predict(NEW_X), labels[wanted.astype(int)])
        assert f1(net, NEW_X, truth) == pytest.approx(f1_score(NEW_Y, wanted))


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(TRIPLES), st.permutations(range(3)))
def test_more_classes_in_any_order(triple, order):
    y = np.arange(len(Y)) % 3
    net = fitted([triple[i] for i in order], np.array(triple)[y])
    assert net.classes_.tolist() == sorted(triple)
    assert net.positive_label_ is None
    proba, truth = net.predict_proba(NEW_X), np.array(triple)[y]
    at = {label: net.facts_.classes.tolist().index(label) for label in triple}
    raw = net.forward(NEW_X).softmax(1).numpy()
    for label in triple:  # independent of classes_: the output that was trained towards the label
        np.testing.assert_allclose(proba[:, net.classes_.tolist().index(label)], raw[:, at[label]], atol=1e-6)
    auc = [roc_auc_score(truth == label, raw[:, at[label]]) for label in triple]
    assert get_scorer("roc_auc_ovr")(net, NEW_X, truth) == pytest.approx(np.mean(auc))
    np.testing.assert_array_equal(net.predict(NEW_X), net.classes_[proba.argmax(1)])


@pytest.mark.parametrize("classes", [("seizure", "background"), ("normal", "ictal"), ("ictal", "normal")])
def test_saved_models_agree(classes, tmp_path):
    positive = "seizure" if "seizure" in classes else "ictal"
    negative = next(label for label in classes if label != positive)
    net = fitted(classes, np.array([negative, positive])[Y])
    net.threshold_ = float(np.median(net.predict_proba(NEW_X)[:, net.classes_ == positive]))
    folder = save_pipeline(net, tmp_path / "model")
    for again in (load_pipeline(folder), load_scorer(folder)):
        assert again.classes_.tolist() == sorted(classes)
        assert again.positive_label_ == positive
        np.testing.assert_allclose(again.predict_proba(NEW_X), net.predict_proba(NEW_X), atol=1e-6)
        p = again.predict_proba(NEW_X)[:, again.classes_ == positive][:, 0]
        np.testing.assert_array_equal(again.predict(NEW_X) == positive, p >= net.threshold_)


def test_models_saved_with_unsorted_classes(reference, tmp_path):
    """Earlier versions kept the order of ``classes`` for the outputs."""
    net = fitted((0, 1))
    before = net.predict_proba(NEW_X)
    net.facts_ = replace(net.facts_, classes=np.array([1, 0]), threshold=float(np.median(before[:, 0])))
    folder = save_pipeline(net, tmp_path / "model")
    for again in (load_pipeline(folder), load_scorer(folder)):
        assert again.classes_.tolist() == [0, 1]
        np.testing.assert_allclose(again.predict_proba(NEW_X), before[:, ::-1], atol=1e-6)
        wanted = again.predict_proba(NEW_X)[:, 1] >= again.threshold_
        np.testing.assert_array_equal(again.predict(NEW_X), wanted.astype(int))
        assert 0 < wanted.mean() < 1


@pytest.mark.parametrize("classes", [(1, 0), ("seizure", "background")])
def test_a_search_picks_the_model_that_learns(classes):
    x, y, groups = make_data(per_subject=20)
    labels = np.array(sorted(classes))[y]
    net = small(classes=classes, patience=None, train_split=None, module__drop_prob=0.0, max_epochs=12)
    grid = GridSearchCV(
        net, {"lr": [3e-3, 1e-7]}, cv=GroupKFold(2), scoring="roc_auc", error_score="raise", refit=False
    )
    grid.fit(x, labels, groups=groups)
    assert grid.best_params_ == {"lr": 3e-3}
    assert grid.best_score_ > 0.9


@pytest.mark.parametrize("classes", [(0, 1), (1, 0)])
def test_thresholds_of_folds_are_of_seizure(classes, tmp_path):
    cross_validate(
        small(classes=classes, max_epochs=1),
        X,
        y=Y,
        groups=GROUPS,
        cv="subject-kfold-2",
        progress=False,
        folder=tmp_path / "run",
    )
    for fold in range(2):
        net = load_pipeline(tmp_path / f"run/folds/{fold:02d}/model")
        p = net.predict_proba(X)[:, net.classes_.tolist().index(1)]
        np.testing.assert_array_equal(net.predict(X), (p >= net.threshold_).astype(int))


@pytest.mark.parametrize("classes", [("seizure", "background"), ("normal", "ictal"), (2, 1)])
def test_scorers_of_skorch_compare_labels(classes):
    positive = {"seizure": "seizure", "normal": "ictal", 2: 2}[classes[0]]
    labels = np.array([next(label for label in classes if label != positive), positive])[Y]
    scores = {"roc_auc": "roc_auc", "accuracy": "accuracy", "f1": make_scorer(f1_score, pos_label=positive)}
    callbacks = [(name, EpochScoring(score, name=name, lower_is_better=False)) for name, score in scores.items()]
    net = fitted(classes, labels, callbacks=callbacks, train_split=FixedSubjects(["set/01", "set/04"]))
    valid = np.isin(GROUPS.astype(str), ["set/01", "set/04"])
    for name, score in scores.items():
        expected = get_scorer(score)(net, X[valid], labels[valid])
        assert net.history[-1, name] == pytest.approx(expected), name
    assert net.history[-1, "roc_auc"] == pytest.approx(net.history[-1, "valid_roc_auc"])


def test_training_on_with_other_classes_is_refused():
    net = fitted((0, 1))
    net.set_params(classes=(1, 0)).partial_fit(X, Y, groups=GROUPS)
    assert net.facts_.classes.tolist() == [0, 1]
    net.set_params(classes=(0, 2))
    with pytest.raises(ValueError, match=r"trained for the classes \[0, 1\], but classes=\[0, 2\] now; fit"):
        net.partial_fit(X, Y * 2, groups=GROUPS)


def test_series_and_numpy_scalars_are_saved(tmp_path):
    weights = pd.Series({1: 3.0, 0: 1.0})
    sizes = {"module__embed_dim": np.int64(16), "module__num_heads": np.int32(2), "module__num_layers": np.int64(1)}
    numbers = {
        "batch_size": np.int64(16),
        "lr": np.float32(1e-2),
        "max_epochs": np.int64(1),
        "micro_batch": np.int64(8),
    }
    net = fitted(
        np.array([0, 1]), class_weight=weights, patience=np.int64(3), random_state=np.int64(3), **sizes, **numbers
    )
    assert net.class_weight_ == [1.0, 3.0]
    folder = save_pipeline(net, tmp_path / "model")
    again = load_pipeline(folder)
    pd.testing.assert_series_equal(again.class_weight, weights)
    assert load_scorer(folder).without_braindecode
    for one in (again, load_scorer(folder)):
        np.testing.assert_allclose(one.predict_proba(NEW_X), net.predict_proba(NEW_X), atol=1e-6)
    assert again.fit(X, Y, groups=GROUPS).class_weight_ == [1.0, 3.0]


@pytest.mark.parametrize(
    ("class_weight", "match"),
    [
        ({"0": 1.0, "1": 2.0}, r"names '0', '1', which are not among classes=\[0, 1\]; texts and numbers"),
        (pd.Series([1.0, 2.0], index=[1, 1]), "a label twice"),
        ({0: 1.0, 2: 2.0}, r"names 2, which are not among"),
        ({1.0, 2.0}, "says not which weight is whose"),
        ({0: np.nan}, ">= 0"),
        ([1.0, 2.0, 3.0], "must hold 2 numbers"),
        ("heavy", "class_weight"),
        (5, "class_weight must be 'balanced', numbers by label"),
        ({0: "much"}, "class_weight must be 'balanced', numbers by label"),
    ],
)
def test_weights_that_say_not_whose_they_are(class_weight, match):
    with pytest.raises(ValueError, match=match) as error:
        fitted((0, 1), class_weight=class_weight)
    assert "\n" not in str(error.value) or isinstance(class_weight, str)


def test_missing_subjects_and_masked_samples_are_refused():
    for groups in (pd.Series(GROUPS).where(np.arange(len(Y)) != 5), np.ma.array(GROUPS, mask=np.arange(len(Y)) == 5)):
        with pytest.raises(ValueError, match="training window 5 has no subject"):
            small(train_split=None).fit(X, Y, groups=groups)
        with pytest.raises(ValueError, match=r"no subject \(first: window 5"):
            cross_validate(small(), X, y=Y, groups=groups, progress=False)
    masked = np.ma.array(X, mask=np.zeros(X.shape, bool))
    assert fitted((0, 1)).predict_proba(masked).shape == (len(X), 2)  # nothing is masked
    masked[7, 0, 3] = np.ma.masked
    with pytest.raises(ValueError, match="window 7 has masked samples"):
        small().fit(masked, Y, groups=GROUPS)
