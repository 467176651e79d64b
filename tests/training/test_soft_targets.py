"""Soft targets: what training on votes comes to, and what is refused."""

import numpy as np
import pytest
import torch
from soft_losses import SharedCrossEntropy
from torch import nn
from training_data import make_data, small

from biot_bd import registry
from biot_bd.training import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.training.persistence.pipelines import check_savable
from biot_bd.training.soft_targets import read_targets


class Constant(nn.Module):
    """Logits that do not depend on the window."""

    def __init__(self, n_outputs, n_chans, n_times):
        super().__init__()
        self.final_layer = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, x):
        return self.final_layer.expand(len(x), -1)


@pytest.fixture(scope="module")
def votes():
    x, _, groups = make_data(n_subjects=4, per_subject=6, n_times=200)
    return x, np.random.default_rng(1).dirichlet(np.full(3, 0.7), len(x)), groups


def soft(**settings):
    given = {"criterion": SharedCrossEntropy, "classes": None, "monitor": "valid_loss", "max_epochs": 2}
    return small(**{**given, **settings})


def constant(**settings):
    steps = {"optimizer": "SGD", "lr": 3.0, "max_epochs": 60, "batch_size": -1, "train_split": None, "device": "cpu"}
    given = {"criterion": SharedCrossEntropy, "classes": None, "random_state": 0, **steps}
    return BIOTClassifier(Constant, **{**given, **settings})


def test_a_model_that_sees_nothing_learns_the_mean_of_the_votes(votes):
    x, targets, groups = votes
    proba = constant().fit(x, targets, groups=groups).predict_proba(x)
    np.testing.assert_allclose(proba, np.tile(targets.mean(axis=0), (len(x), 1)), atol=1e-4)


def test_one_hot_rows_train_as_their_labels(votes):
    x, _, groups = votes
    labels = np.arange(len(x)) % 3
    by_label = soft(classes=(0, 1, 2)).fit(x, labels, groups=groups)
    by_row = soft().fit(x, np.eye(3)[labels], groups=groups)
    assert by_row.train_subjects_ == by_label.train_subjects_
    np.testing.assert_allclose(by_row.predict_proba(x), by_label.predict_proba(x), atol=1e-6)
    assert by_row.class_counts_ == by_label.class_counts_


def test_micro_batches_give_the_same_model(votes):
    x, targets, groups = votes
    whole, parts = (
        soft(micro_batch=size, module__drop_prob=0.0, module__att_drop_prob=0.0, module__att_layer_drop_prob=0.0)
        .fit(x, targets, groups=groups)
        .predict_proba(x)
        for size in (None, 5)
    )
    np.testing.assert_allclose(whole, parts, atol=2e-6)


def test_mixup_mixes_the_votes(votes):
    x, targets, groups = votes
    net = soft(finetune="mixup").fit(x, targets, groups=groups)
    share, partners = 0.3, torch.arange(8).flip(0)
    net._mixture = share, partners
    logits, of_batch = torch.randn(8, 3), torch.tensor(targets[:8], dtype=torch.float32)
    found = net.get_loss(logits, of_batch)
    mixed = share * of_batch + (1 - share) * of_batch[partners]
    assert found.item() == pytest.approx(nn.functional.cross_entropy(logits, mixed).item(), rel=1e-5)


def test_columns_stand_for_the_labels_in_whatever_order_classes_are(votes):
    x, targets, groups = votes
    turned = constant(classes=(2, 0, 1)).fit(x, targets, groups=groups)
    assert turned.facts_.classes.tolist() == [2, 0, 1]
    assert turned.classes_.tolist() == [0, 1, 2]
    np.testing.assert_allclose(turned.predict_proba(x)[0], targets.mean(axis=0), atol=1e-4)


def test_scores_by_epoch_go_by_the_most_voted_class(votes):
    x, targets, groups = votes
    net = soft(callbacks=["accuracy"], max_epochs=1).fit(x, targets, groups=groups)
    of_valid = np.isin(groups, net.valid_subjects_)
    right = net.predict(x[of_valid]) == targets[of_valid].argmax(axis=1)
    assert net.history[-1, "valid_accuracy"] == pytest.approx(right.mean())


def test_a_class_that_nowhere_has_most_votes_is_learnt_all_the_same(votes):
    x, _, groups = votes
    targets = np.tile([0.6, 0.3, 0.1], (len(x), 1))
    net = soft(lr=3e-2, max_epochs=15, patience=None).fit(x, targets, groups=groups)
    assert (np.abs(net.predict_proba(x) - targets) < 0.15).all()


def test_a_restart_point_of_other_votes_is_not_taken(votes, tmp_path):
    x, targets, groups = votes
    soft(restart_dir=tmp_path).fit(x, targets, groups=groups)
    again = soft(restart_dir=tmp_path).fit(x, targets, groups=groups)
    other = np.roll(targets, 1, axis=1)
    assert (soft(restart_dir=tmp_path).fit(x, other, groups=groups).predict_proba(x) != again.predict_proba(x)).any()


def test_a_saved_model_keeps_its_loss_by_name(votes, tmp_path):
    class Plugin:
        @staticmethod
        def register_losses(register):
            register("shared-cross-entropy", SharedCrossEntropy)

    from biot_bd.hookspecs import hookimpl

    Plugin.register_losses = staticmethod(hookimpl(Plugin.register_losses))
    registry.add_plugin(Plugin, "soft-losses")
    x, targets, groups = votes
    net = soft(criterion="shared-cross-entropy").fit(x, targets, groups=groups)
    check_savable(net)
    save_pipeline(net, tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")
    assert loaded.criterion == "shared-cross-entropy"
    np.testing.assert_array_equal(loaded.predict_proba(x), net.predict_proba(x))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t * 2, "row 0 sums to 2, expected 1"),
        (lambda t: np.where(np.arange(len(t))[:, None] == 4, np.nan, t), "row 4 is .*nan"),
        (lambda t: t - 0.9 * (np.arange(3) == 1), "row 0 is .*at least 0"),
        (lambda t: np.ma.masked_array(t, mask=np.arange(t.size).reshape(t.shape) == 3), "row 1 has masked"),
        (lambda t: t[:-1], "24 windows but 23 labels"),
    ],
)
def test_shares_that_are_none_are_refused_with_their_row(votes, change, told):
    x, targets, groups = votes
    with pytest.raises(ValueError, match=told):
        soft().fit(x, change(targets.copy()), groups=groups)


def test_sums_may_be_off_by_rounding():
    assert read_targets([[1 / 3, 1 / 3, 1 / 3 + 9e-7]]).shape == (1, 3)
    with pytest.raises(ValueError, match="expected 1"):
        read_targets([[1 / 3, 1 / 3, 1 / 3 + 2e-6]])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"criterion": "focal"}, "soft_targets = True"),
        ({"classes": (0, 1)}, r"3 columns, .*classes=\(0, 1, 2\)"),
        ({"classes": ("a", "b", "c")}, "3 columns"),
    ],
)
def test_losses_and_classes_that_do_not_fit_are_refused(votes, settings, told):
    x, targets, groups = votes
    with pytest.raises(ValueError, match=told):
        soft(**settings).fit(x, targets, groups=groups)


def test_what_a_loss_says_is_asked_of_its_class():
    assert soft().takes_soft_targets
    assert not BIOTClassifier().takes_soft_targets
