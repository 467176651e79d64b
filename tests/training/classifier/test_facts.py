"""The facts of a fit belong to its weights and parameters: what changes these drops or marks them."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback
from training_data import make_data, small

from biot_bd.exceptions import SavedPipelineError
from biot_bd.training import load_pipeline, save_pipeline
from biot_bd.training.finetuning import TwoStage


class Fails(Callback):
    """Stop a fit after some epochs."""

    def __init__(self, after=1):
        self.after = after

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) >= self.after:
            raise ZeroDivisionError


@pytest.fixture
def fitted(data):
    x, y, groups = data
    net = small(max_epochs=1).fit(x, y, groups=groups)
    net.threshold_ = 0.3
    return net


def not_fitted(net, x, folder):
    assert not hasattr(net, "facts_")
    assert not hasattr(net, "threshold_")
    assert not hasattr(net, "train_subjects_")
    with pytest.raises(NotFittedError):
        check_is_fitted(net)
    with pytest.raises(NotFittedError):
        net.predict_proba(x)
    with pytest.raises(SavedPipelineError, match="is not fitted"):
        save_pipeline(net, folder)


def test_fit_writes_them_once_and_attributes_read_them(fitted, data):
    x, _, groups = data
    facts = fitted.facts_
    assert facts.stale is None
    assert (fitted.threshold_, facts.threshold) == (0.3, 0.3)
    assert facts.n_epochs == len(fitted.history) == 1
    assert set(fitted.train_subjects_) | set(fitted.valid_subjects_) == set(groups)
    assert fitted.provenance_.saw(groups) == sorted(set(groups))
    assert fitted.input_info_.n_chans == x.shape[1]
    assert fitted.precision_report_["inference_plan"] == facts.inference_plan.as_dict()
    again = pickle.loads(pickle.dumps(fitted))
    assert again.facts_.as_dict() == facts.as_dict()
    assert not hasattr(clone(fitted), "facts_")


def test_saved_facts_come_back(fitted, tmp_path):
    again = load_pipeline(save_pipeline(fitted, tmp_path))
    assert again.facts_.as_dict() == fitted.facts_.as_dict()


@pytest.mark.parametrize("change", [{"module__num_layers": 2}, {"module": "eegnet"}])
def test_another_module_drops_them(fitted, data, tmp_path, change):
    x, y, groups = data
    if "module" in change:
        fitted = small(max_epochs=1).fit(x, y, groups=groups)
        change = {"module": type(fitted.module_)}
    not_fitted(fitted.set_params(**change), x, tmp_path)
    assert fitted.fit(x, y, groups=groups).facts_.stale is None


def test_initialize_drops_them(fitted, data, tmp_path):
    not_fitted(fitted.initialize(), data[0], tmp_path)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"criterion__gamma": 1.0}, {"criterion__gamma": 1.0}),
        ({"classes": (1, 0)}, {"classes": (0, 1)}),
        ({"finetune": TwoStage(2)}, {"finetune": None}),
        ({"sampler": "class-balanced"}, {"sampler": None}),
        ({"pretrained": "somewhere"}, {"pretrained": None}),
        ({"class_weight": "balanced"}, {"class_weight": None}),
    ],
)
def test_parameters_that_they_tell_of_mark_them(data, tmp_path, change, same):
    x, y, groups = data
    start = {} if "criterion__gamma" not in change else {"criterion__gamma": 1.0}
    net = small(max_epochs=1, **start).fit(x, y, groups=groups)
    assert net.set_params(**same, lr=1e-4, max_epochs=2, verbose=0).facts_.stale is None
    change = {"criterion__gamma": 3.0} if start else change
    net.set_params(**change)
    assert next(iter(change)) in net.facts_.stale
    with pytest.raises(SavedPipelineError, match="no longer known: set_params changed"):
        save_pipeline(net, tmp_path)


def test_an_option_that_is_changed_in_place_marks_them(data):
    x, y, groups = data
    net = small(max_epochs=1, finetune=TwoStage(1)).fit(x, y, groups=groups)
    net.set_params(finetune__head_epochs=1)
    assert net.facts_.stale is None
    net.set_params(finetune__head_epochs=3)
    assert "finetune__head_epochs" in net.facts_.stale


def test_loaded_weights_are_unknown(fitted, data, tmp_path):
    x, y, groups = data
    other = small(max_epochs=1, random_state=5).fit(x, y, groups=groups)
    other.save_params(f_params=tmp_path / "w.pt")
    fitted.load_params(f_params=tmp_path / "w.pt")
    np.testing.assert_array_equal(fitted.predict_proba(x), other.predict_proba(x))
    assert fitted.threshold_ is None
    assert not fitted.provenance_.known
    with pytest.raises(SavedPipelineError, match="load_params replaced the weights"):
        save_pipeline(fitted, tmp_path / "model")
    fitted.partial_fit(x, y, groups=groups)
    assert fitted.facts_.stale is None
    assert not fitted.provenance_.known  # for ever


def test_weights_loaded_into_a_new_net_predict_and_train_on(fitted, data, tmp_path):
    x, y, groups = data
    fitted.save_params(f_params=tmp_path / "w.pt")
    sizes = {"n_chans": x.shape[1], "n_times": x.shape[2], "n_outputs": 2}
    net = small(max_epochs=1, lr=0.0, **{f"module__{k}": v for k, v in sizes.items()}).initialize()
    with pytest.raises(NotFittedError, match="call fit, or load_params"):
        net.predict(x)
    net.load_params(f_params=tmp_path / "w.pt")
    np.testing.assert_array_equal(net.predict_proba(x), fitted.predict_proba(x))
    net.partial_fit(x, y, groups=groups)
    assert not net.provenance_.known
    assert net.facts_.train_subjects


def test_a_fit_that_fails_leaves_nothing(fitted, data, tmp_path):
    x, y, groups = data
    fitted.set_params(callbacks=[Fails()])
    with pytest.raises(ZeroDivisionError):
        fitted.fit(x, y, groups=groups)
    not_fitted(fitted, x, tmp_path)
    fitted.set_params(callbacks=None)
    assert fitted.partial_fit(x, y, groups=groups).facts_.n_epochs == 1  # from the beginning


def test_a_partial_fit_that_fails_in_training_leaves_nothing(fitted, data, tmp_path):
    x, y, groups = data
    fitted.set_params(callbacks=[Fails(2)], warm_start=True).initialize_callbacks()
    with pytest.raises(ZeroDivisionError):
        fitted.fit(x, y, groups=groups)
    not_fitted(fitted, x, tmp_path)
    first = np.isin(groups, sorted(set(groups))[:3])
    again = fitted.set_params(callbacks=None, train_split=None, patience=None).fit(
        x[first], y[first], groups=groups[first]
    )
    assert again.provenance_.saw(groups) == sorted(set(groups))[:3]  # of new weights


def test_a_partial_fit_that_never_begins_changes_nothing(fitted, data):
    x, y, groups = data
    before = fitted.facts_
    with pytest.raises(ValueError, match="the classifier was fitted on"):
        fitted.partial_fit(x[:, :2], y, groups=groups)
    assert fitted.facts_ is before
    assert fitted.predict_proba(x).shape == (len(x), 2)


def test_partial_fit_learns_anew(data):
    x, y, groups = make_data()
    subjects = sorted(set(groups))
    first = np.isin(groups, subjects[:3])
    net = small(max_epochs=1, train_split=None, patience=None).fit(x[first], y[first], groups=groups[first])
    net.threshold_ = 0.3
    net.partial_fit(x[~first], y[~first], groups=groups[~first])
    assert net.threshold_ is None  # it was chosen for other weights
    assert net.train_subjects_ == tuple(subjects[3:])
    assert net.facts_.n_epochs == 2
    assert net.provenance_.saw(groups) == subjects


def test_callbacks_may_predict_while_training(data):
    x, y, groups = data

    class Predicts(Callback):
        def on_epoch_end(self, net, **kwargs):
            self.found_ = net.predict_proba(x[:3])

    spy = Predicts()
    state = torch.get_rng_state()
    small(max_epochs=1, callbacks=[spy]).fit(x, y, groups=groups)
    assert spy.found_.shape == (3, 2)
    assert torch.equal(state, torch.get_rng_state())
