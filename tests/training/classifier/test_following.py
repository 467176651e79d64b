"""What ``fit`` learnt is claimed of the weights that learnt it, and of no others."""

import copy
import io
import pickle
import warnings
from dataclasses import replace

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Checkpoint, LoadInitState
from torch import nn
from training_data import make_data, small

from biot_bd.exceptions import ContaminationError, SavedPipelineError
from biot_bd.models import BIOT
from biot_bd.models.checkpoints.provenance import check_clean
from biot_bd.training import load_pipeline, save_pipeline

X, Y, GROUPS = make_data()
SUBJECTS = sorted(set(GROUPS))
FIRST = np.isin(GROUPS, SUBJECTS[:3])
ALONE = {"max_epochs": 1, "train_split": None, "patience": None}


def rows(mask, y=Y):
    return X[mask], y[mask], GROUPS[mask]


def fit(net, mask=FIRST, y=Y, go_on=False):
    x, labels, groups = rows(mask, y)
    return (net.partial_fit if go_on else net.fit)(x, labels, groups=groups)


def weights(net):
    """Copy the weights by name, without the product's digests."""
    return {name: value.detach().clone() for name, value in net.module_.state_dict().items()}


def moved(before, net):
    return {name for name, value in weights(net).items() if not torch.equal(value, before[name])}


def trained(net):
    return {name for name, _ in net.module_.named_parameters()}


@pytest.fixture(scope="module")
def one():
    return fit(small(**ALONE))


@pytest.fixture
def net(one):
    found = copy.deepcopy(one)
    found.threshold_ = 0.3
    return found


@pytest.fixture(scope="module")
def other():
    """Weights of the other subjects."""
    return fit(small(**ALONE, random_state=7), ~FIRST)


def add(net, other):
    with torch.no_grad():
        for parameter in net.module_.parameters():
            parameter.add_(0.01)


def add_behind(net, other):
    next(net.module_.parameters()).data.view(-1)[0] += 0.01


def from_numpy(net, other):
    next(net.module_.parameters()).detach().numpy().reshape(-1)[0] += 0.01


def load_state_dict(net, other):
    net.module_.load_state_dict(other.module_.state_dict())


def replace_module(net, other):
    net.module_ = copy.deepcopy(other.module_)


def replace_layer(net, other):
    net.module_.final_layer = copy.deepcopy(other.module_.final_layer)


def train_head_of_others(net, other):
    net.module_.reset_head(2)
    net.module_.final_layer.load_state_dict(other.module_.final_layer.state_dict())


def vector(net, other):
    torch.nn.utils.vector_to_parameters(
        torch.nn.utils.parameters_to_vector(other.module_.parameters()), net.module_.parameters()
    )


CHANGES = [
    add, add_behind, from_numpy, load_state_dict, replace_module, replace_layer, train_head_of_others, vector
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_unknown_and_not_saved(net, other, tmp_path, change):
    change(net, other)
    with pytest.warns(UserWarning, match="the weights were changed after fit"):
        found = net.provenance_
    assert not found.known
    assert found.trained_on == ()
    assert (net.train_subjects_, net.valid_subjects_, net.threshold_, net.facts_.n_epochs) == ((), (), None, 0)
    with pytest.raises(ContaminationError, match="weights that were changed after fit: nothing tells"):
        check_clean(found, ["clinic/01"])
    with pytest.raises(SavedPipelineError, match="the weights were changed after fit"):
        save_pipeline(net, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    before = weights(net)
    fit(net, FIRST, go_on=True)
    assert moved(before, net) >= trained(net)  # all are in the optimizer
    assert not net.provenance_.known
    assert net.provenance_.saw(SUBJECTS) == SUBJECTS[:3]  # those of this training alone
    assert net.facts_.n_epochs == 1
    again = load_pipeline(save_pipeline(net, tmp_path / "model"))
    assert not again.provenance_.known
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


def test_saving_alone_finds_out(net, other, tmp_path):
    add_behind(net, other)
    with pytest.warns(UserWarning, match="changed"), pytest.raises(SavedPipelineError, match="changed after fit"):
        save_pipeline(net, tmp_path)


def test_predictions_are_not_made_with_the_threshold_of_other_weights(net, other):
    net.threshold_ = 0.0
    assert net.predict(X).all()
    net.module_.load_state_dict(other.module_.state_dict())
    with pytest.warns(UserWarning, match="the weights were changed after fit"):
        found = net.predict(X)
    np.testing.assert_array_equal(found, other.predict(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        net.predict(X)


def test_what_changes_no_weight_changes_nothing(net, tmp_path):
    want, facts = net.predict_proba(X), net.facts_.as_dict()
    net.save_params(tmp_path / "w.pt", tmp_path / "o.pt", tmp_path / "c.pt", tmp_path / "h.json")
    net.save_params(tmp_path / "w.safetensors", use_safetensors=True)
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    joblib.dump(net, tmp_path / "net.joblib")
    others = [
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
        copy.copy(net),
        torch.load(buffer, weights_only=False),
        joblib.load(tmp_path / "net.joblib", mmap_mode="r"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.load_params(tmp_path / "w.pt", tmp_path / "o.pt", tmp_path / "c.pt", tmp_path / "h.json")
        net.load_params(f_module=tmp_path / "w.safetensors", use_safetensors=True)
        net.load_params(f_optimizer=tmp_path / "o.pt")
        net.module_.load_state_dict(copy.deepcopy(net.module_.state_dict()))
        net.module_.to("cpu").train()
        net.module_ = copy.deepcopy(net.module_)
        for found in (net, *others):
            np.testing.assert_array_equal(found.predict_proba(X), want)
            assert found.facts_.as_dict() == facts
            assert found.provenance_.saw(SUBJECTS) == SUBJECTS[:3]
            assert found.threshold_ == 0.3
            save_pipeline(found, tmp_path / "model")


@pytest.mark.parametrize("name", ["f_params", "f_module", "checkpoint"])
def test_loaded_weights_have_no_subjects(net, tmp_path, name):
    point = Checkpoint(dirname=tmp_path, monitor=None)
    other = fit(small(**ALONE, random_state=7, callbacks=[point]), ~FIRST)
    other.save_params(tmp_path / "params.pt")
    net.set_params(device="auto")
    net.load_params(**{name: point if name == "checkpoint" else tmp_path / "params.pt"})
    assert net.get_params()["device"] == "auto"
    assert (net.train_subjects_, net.threshold_, net.provenance_.known) == ((), None, False)
    assert net.facts_.n_epochs == (1 if name == "checkpoint" else 0)  # a history came with it
    np.testing.assert_array_equal(net.predict_proba(X), other.predict_proba(X))


def test_loading_that_fails_halfway_is_said(net, tmp_path):
    state = net.module_.state_dict()
    first = next(iter(state))
    torch.save({**state, first: state[first] + 1, "unknown": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(RuntimeError, match="Unexpected key"):
        net.load_params(tmp_path / "w.pt")
    assert not net.provenance_.known


def test_nothing_is_loaded_from_a_file_that_is_not_there(tmp_path):
    sizes = {"module__n_chans": 4, "module__n_times": 300, "module__n_outputs": 2}
    net = small(**sizes).initialize()
    with pytest.raises(FileNotFoundError):
        net.load_params(tmp_path / "w.pt")
    with pytest.raises(NotFittedError):
        net.predict(X)


def test_initialize_without_data_names_the_way(net):
    with pytest.raises(ValueError, match=r"n_chans could not be inferred.* module__n_chans=, module__n_times="):
        clone(net).initialize()


def test_a_checkpoint_of_the_fit_itself_is_known(tmp_path):
    best = Checkpoint(dirname=tmp_path, monitor="train_loss_best", load_best=True)
    net = fit(small(**ALONE, callbacks=[best]))
    assert net.provenance_.known
    assert net.provenance_.saw(SUBJECTS) == SUBJECTS[:3]
    net.set_params(callbacks=[LoadInitState(Checkpoint(dirname=tmp_path))])
    fit(net, ~FIRST, go_on=True)
    assert not net.provenance_.known  # a folder may hold anybody's weights
    assert net.provenance_.saw(SUBJECTS) == SUBJECTS[3:]


def test_a_model_without_provenance_stays_unknown(net):
    net.facts_ = replace(net.facts_, provenance=None)
    fit(net, ~FIRST, go_on=True)
    assert not net.provenance_.known
    assert net.provenance_.saw(SUBJECTS) == SUBJECTS  # it is known to have seen these, and perhaps others


# --- parameters of a fitted classifier ------------------------------------------------------------


def test_a_new_module_is_said_and_begins_anew(net):
    with pytest.warns(UserWarning, match=r"set_params\(module__drop_prob\) made a new module with new weights"):
        net.set_params(module__drop_prob=0.2)
    assert len(net.history) == 0
    assert not hasattr(net, "provenance_")
    with pytest.raises(NotFittedError):
        net.predict(X)
    fit(net, ~FIRST, go_on=True)
    assert (net.facts_.n_epochs, net.provenance_.saw(SUBJECTS)) == (1, SUBJECTS[3:])


@pytest.mark.parametrize(
    "change",
    [
        {"module__embed_dim": 16},
        {"module": "biot"},
        {"compile": False},
        {"compile__mode": "default"},
        {"lr": 1e-4},
        {"optimizer": "SGD"},
        {"optimizer__weight_decay": 0.1},
        {"precision": "tf32"},
        {"train_split": "subject"},
        {"iterator_valid__batch_size": 8, "iterator_train__shuffle": False},
        {"verbose": 0, "warm_start": True},
    ],
)
def test_these_keep_weights_and_facts(net, tmp_path, change):
    before, facts, want = weights(net), net.facts_.as_dict(), net.predict_proba(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.set_params(**change)
    assert not moved(before, net)
    assert net.facts_.as_dict() == facts
    np.testing.assert_array_equal(net.predict_proba(X), want)
    save_pipeline(net, tmp_path)


def test_all_parameters_as_they_are_keep_them(net):
    before, facts, module = weights(net), net.facts_.as_dict(), net.module_
    net.set_params(**net.get_params(deep=False))
    assert net.module_ is module
    assert not moved(before, net)
    assert net.facts_.as_dict() == facts


@pytest.mark.slow
def test_compile_wraps_the_same_module(net):
    module, held = net.module_, net.optimizer_
    net.set_params(compile=True)
    assert net.module_._orig_mod is module
    assert net.optimizer_ is held
    assert net.provenance_.saw(SUBJECTS) == SUBJECTS[:3]
    net.set_params(compile=False)
    assert net.module_ is module


def test_loaders_take_their_parameters_and_refuse_typos(net):
    net.set_params(iterator_valid__batch_size=7)
    assert net.get_iterator(net.get_dataset(X), training=False).loader.batch_size == 7
    with pytest.raises(ValueError, match="iterator_validbatch_size"):
        net.set_params(iterator_validbatch_size=7)


def test_training_goes_on_by_the_parameters_as_they_are(net):
    head = {name for name in trained(net) if name.startswith("final_layer")}
    net.set_params(finetune="linear-probe")
    before = weights(net)
    fit(net, go_on=True)
    assert moved(before, net) == head
    assert net.facts_.n_epochs == 2
    net.set_params(finetune=None)
    before = weights(net)
    fit(net, go_on=True)
    assert moved(before, net) == trained(net)


def test_stages_of_a_new_recipe_begin_with_it(net):
    net.set_params(finetune="two-stage", finetune__head_epochs=1, max_epochs=2)
    seen = []

    class Spy(Checkpoint):
        def on_epoch_begin(self, net, **kwargs):
            seen.append({name for name, p in net.module_.named_parameters() if p.requires_grad})

        def on_epoch_end(self, net, **kwargs):
            pass

    net.set_params(callbacks=[Spy(monitor=None)])
    fit(net, go_on=True)
    assert seen[0] == {name for name in trained(net) if name.startswith("final_layer")}
    assert seen[1] == trained(net)


def test_early_stopping_and_weights_of_classes_follow(net):
    net.set_params(train_split="subject", patience=1, monitor="valid_loss", max_epochs=2)
    fit(net, FIRST, go_on=True)
    assert "early_stopping" in dict(net.callbacks_)
    net.set_params(train_split=None, class_weight={0: 1.0, 1: 5.0})
    fit(net, FIRST, go_on=True)
    assert "early_stopping" not in dict(net.callbacks_)
    assert net.criterion_.weight.tolist() == net.facts_.class_weight == [1.0, 5.0]


def test_weights_of_classes_reach_the_loss_of_loaded_weights(net, tmp_path):
    net.save_params(tmp_path / "w.pt")
    sizes = {"module__n_chans": 4, "module__n_times": 300, "module__n_outputs": 2}
    new = small(**ALONE, **sizes, class_weight={0: 1.0, 1: 5.0}).initialize()
    new.load_params(tmp_path / "w.pt")
    fit(new, go_on=True)
    assert new.criterion_.weight.tolist() == new.facts_.class_weight == [1.0, 5.0]


def test_another_start_cannot_be_taken_on_the_way(net):
    before = weights(net)
    net.set_params(pretrained="prest-16")
    with pytest.raises(ValueError, match=r"is not what the weights .* started from"):
        fit(net, go_on=True)
    assert not moved(before, net)
    fit(net.set_params(pretrained=None), go_on=True)


@pytest.mark.parametrize("recipe", [None, "full", "two-stage"])
def test_what_somebody_froze_stays_frozen(recipe):
    net = fit(
        small(
            **{**ALONE, "max_epochs": 2},
            finetune=recipe,
            **({} if recipe != "two-stage" else {"finetune__head_epochs": 1}),
        )
    )
    net.module_.encoder.requires_grad_(False)
    before = weights(net)
    fit(net, go_on=True)
    assert moved(before, net) == {name for name in trained(net) if name.startswith("final_layer")}
    net.module_.encoder.requires_grad_(True)
    before = weights(net)
    fit(net, go_on=True)
    assert moved(before, net) == trained(net)


# --- another head, another form -------------------------------------------------------------------


@pytest.mark.parametrize("finetune", [None, "discriminative"])
def test_a_reset_head_predicts_after_it_was_trained(finetune, tmp_path):
    net = fit(small(**ALONE, finetune=finetune))
    net.threshold_ = 0.3
    net.module_.reset_head(2)
    with pytest.raises(NotFittedError, match="its head was reset since"):
        net.predict(X)
    assert net.threshold_ is None
    with pytest.raises(SavedPipelineError, match="its head was reset since"):
        save_pipeline(net, tmp_path)
    before, moments = weights(net), copy.copy(net.optimizer_.state)
    fit(net, ~FIRST, go_on=True)
    assert moved(before, net) >= trained(net)
    kept = next(iter(net.module_.encoder.parameters()))
    assert net.optimizer_.state[kept] is moments[kept]
    assert net.provenance_.known
    assert net.provenance_.saw(SUBJECTS) == SUBJECTS  # the encoder saw the first ones
    again = load_pipeline(save_pipeline(net, tmp_path))
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


def test_a_head_of_other_classes(net, tmp_path):
    three = np.where(np.arange(len(Y)) % 5 == 0, 2, Y)
    net.module_.reset_head(3)
    with pytest.raises(ValueError, match=r"the module has 3 outputs, but there are 2 classes: .* set classes="):
        fit(net, go_on=True)
    net.set_params(classes=(0, 1, 2), class_weight=[1.0, 2.0, 3.0])
    fit(net, y=three, go_on=True)
    assert net.classes_.tolist() == [0, 1, 2]
    assert net.criterion_.weight.tolist() == [1.0, 2.0, 3.0]
    assert net.predict_proba(X).shape == (len(X), 3)
    again = load_pipeline(save_pipeline(net, tmp_path))
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))


def test_a_head_of_another_task_with_as_many_classes(net):
    net.module_.reset_head(2)
    net.set_params(classes=("calm", "seizure"))
    fit(net, y=np.where(Y == 1, "seizure", "calm"), go_on=True)
    assert set(net.predict(X)) <= {"calm", "seizure"}


class Adapted(nn.Module):
    """A linear map with a low-rank update, as hands put into a model."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.a = inner, nn.Linear(inner.in_features, 2, bias=False)
        self.b = nn.Linear(2, inner.out_features, bias=False)
        inner.requires_grad_(False)

    def forward(self, x):
        return self.inner(x) + self.b(self.a(x))


def put_in(module):
    name = next(n for n, m in module.named_modules() if n.endswith("to_q"))
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, Adapted(module.get_submodule(name)))
    return name


@pytest.mark.parametrize("finetune", [None, "full"])
def test_layers_put_in_by_hand_train_and_are_not_saved(finetune, tmp_path):
    net = fit(small(**ALONE, finetune=finetune))
    name = put_in(net.module_)
    before = weights(net)
    with pytest.warns(UserWarning, match="changed after fit"):
        fit(net, go_on=True)
    now = moved(before, net)
    assert {f"{name}.a.weight", f"{name}.b.weight"} <= now
    assert f"{name}.inner.weight" not in now
    assert not net.provenance_.known
    with pytest.raises(SavedPipelineError, match="the module was changed after it was built"):
        save_pipeline(net, tmp_path)


def test_a_module_of_other_sizes_is_not_saved(net, tmp_path):
    net.module_ = BIOT(embed_dim=32, num_heads=2, num_layers=1, n_chans=4, n_times=300, n_outputs=2)
    with pytest.warns(UserWarning, match="changed after fit"):
        fit(net, go_on=True)
    with pytest.raises(SavedPipelineError, match="the module was changed after it was built"):
        save_pipeline(net, tmp_path)


# --- any order ------------------------------------------------------------------------------------

STEPS = ["train first", "train others", "edit", "load own", "load others", "lr", "pickle", "new module", "predict"]


@settings(max_examples=6, deadline=None, derandomize=True)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=2, max_size=5))
def test_no_order_of_steps_makes_a_false_record(one, other, tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("weights")
    net, seen, known, fitted = copy.deepcopy(one), set(SUBJECTS[:3]), True, True
    for step in steps:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if step.startswith("train"):
                mask = FIRST if step == "train first" else ~FIRST
                fit(net, mask, go_on=True)
                seen, fitted = seen | set(GROUPS[mask]), True
            elif step == "edit":
                add(net, other)
                seen, known = set(), known and not fitted  # random weights are random after an edit, too
            elif step == "load own":
                net.save_params(folder / "own.pt")
                if fitted:
                    net.load_params(folder / "own.pt")
            elif step == "load others":
                other.save_params(folder / "other.pt")
                net.load_params(folder / "other.pt")
                seen, known, fitted = set(), False, True
            elif step == "lr":
                net.set_params(lr=2e-3)
            elif step == "pickle":
                net = pickle.loads(pickle.dumps(net))
            elif step == "new module":
                net.set_params(module__drop_prob=0.1 if net.get_params().get("module__drop_prob") != 0.1 else 0.2)
                seen, known, fitted = set(), True, False
            elif fitted:
                net.predict(X[:4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not fitted:
            assert not hasattr(net, "provenance_")
        elif hasattr(net, "facts_"):
            assert net.provenance_.known == known
            assert set(net.provenance_.saw(SUBJECTS)) == seen


class Bounded(BIOT):
    """Bounds a weight whenever it computes, as SSTDPN does."""

    def forward(self, x):
        weight = self.final_layer[1].weight
        weight.data = torch.renorm(weight.data, p=2, dim=0, maxnorm=0.05)
        return super().forward(x)


@pytest.mark.parametrize("train_split", [None, "subject"])
def test_a_module_that_bounds_its_weights_in_forward_keeps_its_facts(data, train_split):
    x, y, groups = data
    net = small(module=Bounded, train_split=train_split, max_epochs=1).fit(x, y, groups=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict_proba(x)
        assert net.provenance_.known
    assert net.train_subjects_
