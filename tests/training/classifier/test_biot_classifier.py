"""BIOTClassifier as scikit-learn sees it, and what it learns."""

import math
import pickle

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn
from training_data import make_data, small

from biot_bd.exceptions import UnknownNameError
from biot_bd.training import BIOTClassifier, FixedSubjects
from biot_bd.training.callbacks import EpochScores, epoch_scores


class Linear(nn.Module):
    """A module without any of the names that data are handed to but shapes."""

    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))

    def forward(self, x):
        return self.net(x.abs())


class Brier(nn.Module):
    """A loss that is no cross-entropy and knows no weights."""

    def forward(self, input, target):
        return ((input.softmax(1) - nn.functional.one_hot(target, input.shape[1])) ** 2).sum(1).mean()


class Interrupt(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


class Passing(sklearn.base.TransformerMixin, sklearn.base.BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


@pytest.fixture(scope="module")
def fitted(data):
    x, y, groups = data
    return small().fit(x, y, groups=groups)


# --- scikit-learn -----------------------------------------------------------------------------------------


def test_parameters_are_the_same_before_and_after_fit(data):
    x, y, groups = data
    net = small(classes=None, callbacks=[("lr", LRScheduler("ExponentialLR", gamma=0.9))], class_weight="balanced")
    before = net.get_params()
    net.fit(x, y, groups=groups)
    after = net.get_params()
    assert list(before) == list(after)
    assert before == after
    assert net.get_params(deep=False) == {k: v for k, v in before.items() if not k.startswith("callbacks__")}
    assert not any(key.startswith("module__n_") for key in after)


def test_clone_of_a_fitted_net_fits_other_shapes(fitted):
    x, y, groups = make_data(n_chans=3, n_times=400)
    other = clone(fitted).fit(x, y, groups=groups)
    assert other.module_.n_chans == 3
    assert other.module_.n_times == 400
    assert other.predict_proba(x).shape == (len(x), 2)
    refit = clone(fitted)
    x4, y4, groups4 = make_data()
    refit.fit(x4, y4, groups=groups4).fit(x, y, groups=groups)
    np.testing.assert_array_equal(refit.predict_proba(x), other.predict_proba(x))


def test_pickle_gives_the_same_probabilities(fitted, data):
    x, _, _ = data
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))
    assert again.get_params()["device"] == fitted.get_params()["device"]


def test_auto_device_stays_a_parameter(data):
    x, y, groups = data
    net = small(device="auto", max_epochs=1).fit(x, y, groups=groups)
    assert net.get_params()["device"] == "auto"
    assert clone(net).get_params()["device"] == "auto"
    assert pickle.loads(pickle.dumps(net)).get_params()["device"] == "auto"
    assert net.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert next(net.module_.parameters()).device.type == net.device


def test_wrong_parameter_is_named_at_once():
    with pytest.raises(TypeError, match=r"unexpected parameters: epochs.*max_epochs"):
        BIOTClassifier(epochs=3)
    with pytest.raises(TypeError, match="mod__embed_dim"):
        BIOTClassifier(mod__embed_dim=3)
    with pytest.raises(UnknownNameError, match=r"no models named 'byot'; there are: .*biot"):
        small(module="byot", module__embed_dim=16).fit(*make_data()[:2], groups=make_data()[2])


@pytest.mark.parametrize("routing", [False, True])
def test_grid_search_by_subject_inside_a_pipeline(data, routing):
    x, y, groups = data
    pipe = make_pipeline(Passing(), small(max_epochs=1))
    grid = GridSearchCV(
        pipe,
        {"biotclassifier__module__embed_dim": [8, 16], "biotclassifier__lr": [0.01]},
        cv=GroupKFold(2),
        scoring="average_precision",
        error_score="raise",
    )
    with sklearn.config_context(enable_metadata_routing=routing):
        extra = {} if routing else {"biotclassifier__groups": groups}
        grid.fit(x, y, groups=groups, **extra)
    best = grid.best_estimator_[-1]
    assert best.module_.embed_dim == grid.best_params_["biotclassifier__module__embed_dim"]
    assert not set(best.train_subjects_) & set(best.valid_subjects_)
    assert set(best.train_subjects_) | set(best.valid_subjects_) == set(groups)
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("routing", [False, True])
def test_groups_reach_the_split_through_a_pipeline(data, routing):
    x, y, groups = data
    pipe = make_pipeline(Passing(), small(max_epochs=1, train_split=FixedSubjects([groups[0]])))
    with sklearn.config_context(enable_metadata_routing=routing):
        pipe.fit(x, y, **({"groups": groups} if routing else {"biotclassifier__groups": groups}))
    assert pipe[-1].valid_subjects_ == (groups[0],)
    assert len(pipe[-1].train_subjects_) == 5


def test_cross_val_score(data):
    x, y, groups = data
    scores = cross_val_score(
        small(max_epochs=1),
        x,
        y,
        groups=groups,
        params={"groups": groups},
        cv=GroupKFold(2),
        scoring="roc_auc",
        error_score="raise",
    )
    assert np.isfinite(scores).all()


def test_it_learns_loud_windows(data):
    x, y, groups = data
    net = small(max_epochs=15, patience=None, module__drop_prob=0.0).fit(x, y, groups=groups)
    fresh, fresh_y, _ = make_data(seed=5)
    assert roc_auc_score(fresh_y, net.predict_proba(fresh)[:, 1]) > 0.95


# --- labels and probabilities -----------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["focal", "cross-entropy", Brier, nn.CrossEntropyLoss])
def test_probabilities_are_the_softmax_under_any_loss(data, criterion):
    x, y, groups = data
    net = small(criterion=criterion, max_epochs=1).fit(x, y, groups=groups)
    proba = net.predict_proba(x)
    net.module_.eval()
    with torch.no_grad():
        logits = torch.cat([net.module_(torch.from_numpy(x[i : i + 16])) for i in range(0, len(x), 16)])
    np.testing.assert_allclose(proba, torch.softmax(logits, 1).numpy(), atol=1e-6)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(net.predict(x), proba.argmax(1))
    assert proba.dtype == np.float32


def test_string_labels_are_sorted(data):
    x, y, groups = data
    words = np.array(["seizure" if label else "background" for label in y])
    for classes in (("seizure", "background"), None):
        net = small(classes=classes, max_epochs=1).fit(x, words, groups=groups)
        assert net.classes_.tolist() == ["background", "seizure"]
        proba = net.predict_proba(x)
        np.testing.assert_array_equal(net.predict(x), np.array(["background", "seizure"])[proba.argmax(1)])
    with pytest.raises(ValueError, match=r"'background' are not among classes=\[0, 1\]; give BIOTClassifier\(classes="):
        small().fit(x, words, groups=groups)


def test_three_classes(data):
    x, y, groups = data
    y = np.arange(len(y)) % 3
    net = small(classes=(0, 1, 2), max_epochs=1).fit(x, y, groups=groups)
    assert net.predict_proba(x).shape == (len(x), 3)
    assert 0 < net.history[-1, "valid_average_precision"] <= 1
    with pytest.raises(ValueError, match="n_outputs=2, but there are 3"):
        small(classes=(0, 1, 2), module__n_outputs=2).fit(x, y, groups=groups)


def test_threshold_moves_the_decision(fitted, data):
    x, _, _ = data
    net = pickle.loads(pickle.dumps(fitted))
    proba = net.predict_proba(x)[:, 1]
    net.threshold_ = float(np.median(proba))
    np.testing.assert_array_equal(net.predict(x), (proba >= np.median(proba)).astype(int))


def test_no_windows_to_predict(fitted):
    assert fitted.predict_proba(np.empty((0, 4, 300), np.float32)).shape == (0, 2)


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [("balanced", None), ({1: 4.0}, [1.0, 4.0]), ((0.5, 2.0), [0.5, 2.0])],
)
def test_class_weights_reach_the_loss(data, class_weight, expected):
    x, y, _ = data
    net = small(class_weight=class_weight, max_epochs=1, train_split=None, criterion="cross-entropy").fit(x, y)
    if expected is None:
        expected = [len(y) / (2 * (y == k).sum()) for k in (0, 1)]
    np.testing.assert_allclose(net.criterion_.weight.numpy(), expected, rtol=1e-6)


def test_class_weights_that_cannot_be():
    x, y, groups = make_data(per_subject=4)
    with pytest.raises(ValueError, match="takes no argument 'weight'"):
        small(class_weight="balanced", criterion=Brier).fit(x, y, groups=groups)
    with pytest.raises(ValueError, match="not both"):
        small(class_weight="balanced", criterion="cross-entropy", criterion__weight=[1.0, 2.0]).fit(x, y, groups=groups)
    with pytest.raises(ValueError, match="2 numbers"):
        small(class_weight=[1, 2, 3]).fit(x, y, groups=groups)


def test_prior_correction_is_told_the_training_counts(data):
    x, y, _ = data
    net = small(criterion="cross-entropy", criterion__prior_correction=True, train_split=None, max_epochs=1).fit(x, y)
    np.testing.assert_allclose(net.criterion_.log_prior.exp().numpy(), np.bincount(y) / len(y), rtol=1e-6)


# --- subjects and validation -------------------------------------------------------------------------------


def test_validation_is_by_subject_and_all_of_it_is_scored(data):
    x, y, groups = data
    net = small(max_epochs=2, patience=None).fit(x, y, groups=groups)
    valid = np.isin(groups, net.valid_subjects_)
    assert not set(net.train_subjects_) & set(net.valid_subjects_)
    # Independent truth: scikit-learn on predictions of the final weights, which are those of the last epoch.
    proba = net.predict_proba(x[valid])
    last = net.history[-1]
    assert math.isclose(last["valid_average_precision"], average_precision_score(y[valid], proba[:, 1]), rel_tol=1e-6)
    assert math.isclose(last["valid_roc_auc"], roc_auc_score(y[valid], proba[:, 1]), rel_tol=1e-6)
    assert math.isclose(
        last["valid_balanced_accuracy"], balanced_accuracy_score(y[valid], proba.argmax(1)), rel_tol=1e-6
    )
    scores = next(cb for _, cb in net.callbacks_ if isinstance(cb, EpochScores))
    np.testing.assert_array_equal(scores.valid_[0], y[valid])
    np.testing.assert_allclose(scores.valid_[1], proba, atol=1e-6)


def test_each_window_goes_through_the_model_once_an_epoch(data):
    x, y, groups = data
    seen = {True: 0, False: 0}

    class Counting(Linear):
        def forward(self, x):
            seen[self.training] += len(x)
            return super().forward(x)

    net = small_linear(Counting, max_epochs=2, patience=None).fit(x, y, groups=groups)
    n_valid = np.isin(groups, net.valid_subjects_).sum()
    assert seen == {True: 2 * (len(x) - n_valid), False: 2 * n_valid}


def small_linear(module=Linear, **kwargs):
    return BIOTClassifier(module, **{"max_epochs": 3, "batch_size": 16, "random_state": 0, "device": "cpu", **kwargs})


def test_early_stopping_takes_the_best_weights(data):
    x, y, groups = data
    net = small(max_epochs=30, patience=3, lr=0.05).fit(x, y, groups=groups)
    curve = np.array(net.history[:, "valid_average_precision"])
    best = int(curve.argmax())
    assert len(curve) == best + 1 + 3
    valid = np.isin(groups, net.valid_subjects_)
    ap = average_precision_score(y[valid], net.predict_proba(x[valid])[:, 1])
    assert math.isclose(ap, curve[best], rel_tol=1e-6)
    by_loss = small(max_epochs=30, patience=2, lr=0.05, monitor="valid_loss").fit(x, y, groups=groups)
    assert len(by_loss.history) == int(np.argmin(by_loss.history[:, "valid_loss"])) + 3 or len(by_loss.history) == 30


def test_without_validation(data):
    x, y, _ = data
    net = small(train_split=None, max_epochs=2).fit(x, y)
    assert len(net.history) == 2
    assert "valid_loss" not in net.history[-1]
    assert net.valid_subjects_ == ()


def test_subjects_that_are_missing_or_mixed_raise(data):
    x, y, groups = data
    with pytest.raises(ValueError, match=r"groups=subjects.*train_split=None"):
        small().fit(x, y)
    with pytest.raises(ValueError, match="one subject"):
        small().fit(x, y, groups=np.full(len(y), "a"))
    with pytest.raises(ValueError, match="into training and validation"):
        small(train_split=ValidSplit(5)).fit(x, y, groups=groups)
    with pytest.raises(ValueError, match="one subject a window"):
        small().fit(x, y, groups=groups[:-1])
    with pytest.raises(ValueError, match="train_split must be"):
        small(train_split="subjects").fit(x, y, groups=groups)


def test_validation_of_one_class_raises_before_training(data):
    x, y, groups = data
    y = np.where(groups == groups[0], 0, y)
    with pytest.raises(
        ValueError, match=r"validation side \(10 windows\) has no window of class 1, so valid_average_precision"
    ):
        small(train_split=FixedSubjects([groups[0]])).fit(x, y, groups=groups)
    net = small(train_split=FixedSubjects([groups[0]]), patience=None, max_epochs=1).fit(x, y, groups=groups)
    assert net.history[-1, "valid_average_precision"] is None
    with pytest.raises(ValueError, match="all 60 training windows are of class 0"):
        small().fit(x, np.zeros(len(y), int), groups=groups)


def test_unknown_monitor_names_what_there_is(data):
    x, y, groups = data
    with pytest.raises(ValueError, match=r"watches 'valid_f1'.*valid_average_precision"):
        small(monitor="valid_f1").fit(x, y, groups=groups)


def test_undefined_scores_are_none():
    proba = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert epoch_scores(np.array([1, 1]), proba) == {
        "average_precision": None,
        "roc_auc": None,
        "balanced_accuracy": None,
    }


# --- training ---------------------------------------------------------------------------------------------


def test_random_state_repeats_and_leaves_the_global_generators_alone(data):
    x, y, groups = data
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    net = small().fit(x, y, groups=groups)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    first = net.predict_proba(x)
    torch.manual_seed(8)
    np.testing.assert_array_equal(small().fit(x, y, groups=groups).predict_proba(x), first)
    assert not np.array_equal(small(random_state=1).fit(x, y, groups=groups).predict_proba(x), first)


def test_sets_smaller_than_a_batch_are_trained_on(data):
    x, y, groups = data
    few = np.r_[0:4, 10:14]
    net = small(batch_size=512, max_epochs=1, random_state=3)
    before = {k: v.clone() for k, v in net.fit(x[few], y[few], groups=groups[few]).module_.state_dict().items()}
    after = net.set_params(max_epochs=4, patience=None).fit(x[few], y[few], groups=groups[few]).module_.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)
    with pytest.raises(ValueError, match="no batch to train on"):
        small(batch_size=512, iterator_train__drop_last=True).fit(x[few], y[few], groups=groups[few])


def test_gradient_clipping_limits_the_step(data):
    x, y, _ = data
    kwargs = {"optimizer": torch.optim.SGD, "lr": 1.0, "max_epochs": 1, "batch_size": -1, "train_split": None}
    start = small_linear(**kwargs, gradient_clip_norm=None).set_params(lr=0.0).fit(x, y).module_.state_dict()
    end = small_linear(**kwargs, gradient_clip_norm=1e-3).fit(x, y).module_.state_dict()
    step = torch.cat([(end[k] - start[k]).ravel() for k in start]).norm().item()
    assert step == pytest.approx(1e-3, rel=1e-3)
    free = small_linear(**kwargs).fit(x, y)
    step = torch.cat([(free.module_.state_dict()[k] - start[k]).ravel() for k in start]).norm().item()
    assert step == pytest.approx(free.history[-1, "gradient_norm"], rel=1e-3)


def test_bf16_trains_close_to_float32(data):
    x, y, groups = data
    kwargs = {"max_epochs": 1, "train_split": None, "lr": 1e-3}
    full = small_linear(**kwargs).fit(x, y)
    mixed = small_linear(**kwargs, precision="bf16").fit(x, y)
    assert mixed.predict_proba(x).dtype == np.float32
    assert next(mixed.module_.parameters()).dtype == torch.float32
    np.testing.assert_allclose(mixed.predict_proba(x), full.predict_proba(x), atol=0.05)
    assert not np.array_equal(mixed.predict_proba(x), full.predict_proba(x))
    with pytest.raises(ValueError, match="precision must be"):
        small_linear(precision="half").fit(x, y, groups=groups)


def test_fp16_scales_its_gradients(data):
    x, y, _ = data
    # The scaler leaves out steps until its scale fits, so it takes some epochs more.
    net = small_linear(max_epochs=20, train_split=None, lr=1e-3, precision="fp16").fit(x, y)
    assert net.scaler_.get_scale() > 1
    assert roc_auc_score(y, net.predict_proba(x)[:, 1]) > 0.95
    # The noted norms are those of the unscaled gradients.
    full = small_linear(max_epochs=20, train_split=None, lr=1e-3).fit(x, y)
    assert net.history[-1, "gradient_norm"] < 100 * max(full.history[:, "gradient_norm"])


def test_biot_trains_in_bf16(data):
    x, y, groups = data
    net = small(precision="bf16", max_epochs=1).fit(x, y, groups=groups)
    assert np.isfinite(net.predict_proba(x)).all()


def test_loss_that_explodes_raises(data):
    x, y, groups = data
    with pytest.raises(FloatingPointError, match=r"epoch \d+; lower lr"):
        small_linear(optimizer=torch.optim.SGD, lr=1e38, criterion="cross-entropy").fit(x, y, groups=groups)


def test_ctrl_c_is_not_swallowed(data):
    x, y, groups = data
    with pytest.raises(KeyboardInterrupt):
        small_linear(callbacks=[Interrupt()]).fit(x, y, groups=groups)


def test_warm_start_goes_on(data):
    x, y, groups = data
    net = small(warm_start=True, patience=None, max_epochs=2).fit(x, y, groups=groups)
    weights = {k: v.clone() for k, v in net.module_.state_dict().items()}
    net.set_params(lr=0.0).fit(x, y, groups=groups)
    assert len(net.history) == 4
    assert all(torch.equal(weights[k], v) for k, v in net.module_.state_dict().items())


@pytest.mark.parametrize("name", ["eegnet", "shallow", "EEGNet"])
def test_other_models_by_name(name):
    x, y, groups = make_data(n_times=400)
    net = BIOTClassifier(module=name, max_epochs=1, batch_size=16, random_state=0, device="cpu").fit(
        x, y, groups=groups
    )
    assert net.predict_proba(x).shape == (len(x), 2)
    assert net.get_params()["module"] == name


def test_callbacks_by_registered_name(data, tmp_path):
    x, y, groups = data
    net = small_linear(callbacks=["tensorboard"], callbacks__tensorboard__log_dir=str(tmp_path), max_epochs=1)
    net.fit(x, y, groups=groups)
    assert list(tmp_path.glob("events*"))
