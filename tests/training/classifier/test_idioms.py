"""What tutorials of braindecode and skorch write works, or is refused before training with the way to it."""

from functools import partial

import numpy as np
import pytest
import torch
from braindecode.datasets import RecordDataset
from sklearn.base import clone
from sklearn.metrics import accuracy_score, f1_score, log_loss, make_scorer
from sklearn.model_selection import GroupKFold, KFold
from skorch.callbacks import EpochScoring, Freezer, InputShapeSetter, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SliceDataset, predefined_split
from training_data import make_data

from biot_bd import BIOTClassifier
from biot_bd.exceptions import UnknownNameError
from biot_bd.training import EpochScores


@pytest.fixture(scope="module")
def data():
    return make_data()


def shallow(**kwargs):
    settings = {"max_epochs": 2, "batch_size": 16, "random_state": 0, "device": "cpu", "patience": None} | kwargs
    return BIOTClassifier("shallow", **settings)


def fit(data, y=None, **kwargs):
    x, own, groups = data
    return shallow(**kwargs).fit(x, own if y is None else y, groups=groups)


# --- callbacks ------------------------------------------------------------------------------------


class Seen(EpochScores):
    """Keeps the predictions of each epoch."""

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        net.seen = [*getattr(net, "seen", []), {"train": self.train_, "valid": self.valid_}]


def test_names_of_scorers_are_scores_of_both_sides(data):
    names = ["accuracy", "neg_log_loss", ("lr_scheduler", LRScheduler("StepLR", step_size=1)), ("seen", Seen())]
    net = fit(data, callbacks=names)
    for row, seen in zip(net.history, net.seen, strict=True):
        for side, (y, proba) in seen.items():
            assert row[f"{side}_accuracy"] == accuracy_score(y, proba.argmax(1))
            assert row[f"{side}_neg_log_loss"] == pytest.approx(-log_loss(y, proba.astype(np.float64)), rel=1e-5)
    assert net.history[:, "event_lr"] == pytest.approx([1e-3, 1e-4])


def test_names_change_no_training_and_need_no_validation(data):
    plain, named = fit(data), fit(data, callbacks=["balanced_accuracy", "f1"])
    assert (
        named.history[:, ("train_loss", "valid_balanced_accuracy")]
        == plain.history[:, ("train_loss", "valid_balanced_accuracy")]
    )
    assert "valid_f1" not in fit(data, callbacks=["f1"], train_split=None).history[-1]


def test_without_caching_the_score_is_the_same(data):
    for name in ("f1", "roc_auc"):
        both = {"a": True, "b": False}
        scores = [EpochScoring(name, lower_is_better=False, name=n, use_caching=c) for n, c in both.items()]
        net = fit(data, callbacks=[(s.name, s) for s in scores])
        assert net.history[:, "a"] == net.history[:, "b"]
    assert net.use_caching == "auto"


@pytest.mark.parametrize("shape", [lambda cb: cb, lambda cb: (("lr", cb),), lambda cb: [cb], type])
def test_one_callback_or_a_tuple(data, shape):
    callback = shape(LRScheduler("StepLR", step_size=1)) if shape is not type else LRScheduler
    net = clone(shallow(callbacks=callback, max_epochs=1))
    x, y, groups = data
    assert "event_lr" in net.fit(x, y, groups=groups).history[-1]


def test_an_epoch_of_numpy_freezes(data):
    nets = [fit(data, callbacks=[Freezer("conv_time*", at=at)]) for at in (1, np.int64(1), np.uint8(1))]
    losses = [net.history[:, "train_loss"] for net in nets]
    assert losses[0] == losses[1] == losses[2] != fit(data).history[:, "train_loss"]


@pytest.mark.parametrize(
    ("callbacks", "error", "message"),
    [
        (["acuracy"], UnknownNameError, r"'acuracy' is neither a callback .* did you mean 'accuracy'\?"),
        ("accuracy", ValueError, r"callbacks must be .* \[\"accuracy\"\], found 'accuracy'"),
        ({"a": 1}, ValueError, "callbacks must be"),
        ([3], ValueError, "callbacks: found 3; expected callbacks of skorch"),
        ([InputShapeSetter()], ValueError, "InputShapeSetter .* leave it out"),
        ([EpochScoring("f1", on_train=True, use_caching=False)], ValueError, "once more after each epoch"),
        ([("s", EpochScoring("acuracy"))], ValueError, "callbacks__s__scoring: .* no scorer 'acuracy'"),
    ],
)
def test_callbacks_that_cannot_work(data, callbacks, error, message):
    with pytest.raises(error, match=message):
        fit(data, callbacks=callbacks, lr=np.float64(1e-3))


def test_a_scorer_that_does_not_know_the_positive_label_is_refused_before_training(data):
    words = np.where(data[1] == 1, "sz", "bckg")
    with pytest.raises(ValueError, match=r"callbacks__train_f1__scoring: 'f1' cannot score .*pos_label='sz'"):
        fit(data, words, classes=None, callbacks=["f1"])
    scorer = make_scorer(f1_score, pos_label="sz")
    net = fit(data, words, classes=None, callbacks=[EpochScoring(scorer, lower_is_better=False, name="f")])
    assert net.history[:, "f"] == fit(data, callbacks=["f1"]).history[:, "valid_f1"]


# --- splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (ValidSplit(5), r"ValidSplit\(5\) puts windows of one subject into"),
        (ValidSplit(0.2, stratified=True), r"ValidSplit\(0.2\) puts"),
        (0.2, "train_split=0.2: a share of the windows would mix subjects.*validation_fraction"),
        (np.float32(0.5), "a share of the windows would mix subjects"),
        (GroupKFold(3), "GroupKFold.*SubjectValidSplit"),
        (True, "train_split must be"),
        ("0.2", "train_split must be"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_splits_that_mix_subjects(data, split, message, known):
    x, y, groups = data
    with pytest.raises(ValueError, match=message) as caught:
        shallow(train_split=split).fit(x, y, groups=groups if known else None)
    assert "\n" not in str(caught.value)


def test_a_predefined_split_names_the_way(data):
    x, y, _ = data
    for valid in (Dataset(x, y), torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))):
        with pytest.raises(ValueError, match=r"nobody knows the subjects.*FixedSubjects\(\[\.\.\.\]\)"):
            fit(data, train_split=predefined_split(valid))


def test_valid_split_by_group(data):
    x, y, groups = data
    net = shallow(train_split=ValidSplit(GroupKFold(3))).fit(x, y, groups=groups)
    assert set(net.train_subjects_).isdisjoint(net.valid_subjects_)
    assert len(net.valid_subjects_) == 2
    with pytest.raises(ValueError, match="as far as anybody knows without groups"):
        shallow(train_split=ValidSplit(KFold(3))).fit(x, y)


# --- loaders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"iterator_valid__batch_size": 8},
        {"iterator_train__drop_last": True},
        {"iterator_valid__num_workers": np.int64(0)},
    ],
)
def test_loaders_of_a_fitted_net_change_and_nothing_else_does(data, change):
    x, y, groups = data
    net = fit(data)
    module, before = net.module_, net.predict_proba(x)
    assert net.set_params(**change, lr=1e-4).module_ is module
    assert {k: v for k, v in net.get_params().items() if k in change} == change
    assert net.facts_.stale is None
    np.testing.assert_allclose(net.predict_proba(x), before, atol=1e-6)
    size = net.get_params_for("iterator_valid")["batch_size"]
    assert size == change.get("iterator_valid__batch_size", 16)
    assert clone(net).fit(x, y, groups=groups).history[-1, "epoch"] == 2


@pytest.mark.parametrize("value", [True, False])
def test_cropped_decoding_is_refused(value):
    with pytest.raises(TypeError, match=rf"^cropped={value}: .*leave it out.*window_s and stride_s"):
        shallow(cropped=value)


# --- data -----------------------------------------------------------------------------------------


class Volts(RecordDataset):
    """Windows as braindecode reads them."""

    def __init__(self):
        pass

    def __len__(self):
        return 60

    def __getitem__(self, index):
        return np.zeros((4, 300), "float32"), 0, [0, 0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x, y: torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
            "TensorDataset; give its",
        ),
        (lambda x, y: Dataset(x, y), "found Dataset; give its windows as an array in microvolts"),
        (lambda x, y: Volts(), "found Volts; its windows are in volts unless .* biot_bd.prepare"),
        (lambda x, y: SliceDataset(Volts()), "found SliceDataset; its windows are in volts unless"),
        (lambda x, y: {"x": x}, r"found dict; give the windows alone, X\['x'\]"),
        (lambda x, y: iter(x), "biot_bd.prepare makes Windows"),
    ],
)
def test_data_of_others_names_the_way(data, make, message):
    x, y, groups = data
    with pytest.raises(TypeError, match=message):
        shallow().fit(make(x, y), y, groups=groups)


def test_a_part_of_foreign_data_is_not_predicted_as_it_is(data):
    x, y, _ = data
    net = fit(data)
    foreign = torch.utils.data.TensorDataset(torch.from_numpy(x) / 1e6, torch.from_numpy(y))
    with pytest.raises(TypeError, match="found Subset; give its windows as an array"):
        net.predict_proba(torch.utils.data.Subset(foreign, [0, 1]))


def test_a_partial_of_ones_own_is_a_split(data):
    def split(dataset, y, groups, last):
        valid = np.asarray(groups) >= last
        sides = (np.flatnonzero(~valid).tolist(), np.flatnonzero(valid).tolist())
        return tuple(torch.utils.data.Subset(dataset, side) for side in sides)

    assert fit(data, train_split=partial(split, last="set/04")).valid_subjects_ == ("set/04", "set/05")
