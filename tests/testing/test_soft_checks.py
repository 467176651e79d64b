"""Checks of losses, metrics and label rules that take shares of the classes: they see what is wrong."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr
from torch import nn

from biot_bd.evaluation import Metric
from biot_bd.exceptions import ConformanceError
from biot_bd.testing import check_label_rule, check_loss, check_metric
from biot_bd.windows import Annotated


class Shared(nn.Module):
    """Cross-entropy with shares, as torch has it."""

    soft_targets = True
    decomposes = True

    def forward(self, logits, targets):
        return self.per_window(logits, targets).mean()

    def per_window(self, logits, targets):
        return nn.functional.cross_entropy(logits, targets, reduction="none")

    def normaliser(self, targets):
        return torch.tensor(float(len(targets)))


class OfTheFirst(Shared):
    """Takes shares and looks at the label alone."""

    decomposes = True

    def per_window(self, logits, targets):
        return super().per_window(logits, targets.argmax(dim=1) if targets.ndim == 2 else targets) + 0.5 * (
            targets.ndim == 2
        )


class OnlyLabels(Shared):
    """Says that it takes shares, and does not."""

    decomposes = False

    def forward(self, logits, targets):
        return nn.functional.nll_loss(logits.log_softmax(dim=1), targets)


class WrongSum(Shared):
    """Its parts do not add up to it."""

    decomposes = True

    def normaliser(self, targets):
        return torch.tensor(2.0 * len(targets))


def test_a_loss_that_keeps_to_what_it_says_passes():
    check_loss(Shared)


@pytest.mark.parametrize(
    ("loss", "told"),
    [(OfTheFirst, "one-hot rows cost"), (OnlyLabels, "one-hot rows"), (WrongSum, "the sum of its parts")],
)
def test_a_loss_that_does_not_is_caught(loss, told):
    with pytest.raises(ConformanceError, match=told):
        check_loss(loss)


def _divergence(targets, proba):
    return float(rel_entr(targets, np.clip(proba, 1e-12, 1)).sum(axis=1).mean())


def _by_rank(targets, proba):
    return float((targets.argmax(axis=1) == proba.argmax(axis=1)).mean())


def test_metrics_of_shares_are_checked():
    check_metric(Metric("divergence", _divergence, needs_classes=(), greater_is_better=False, soft_targets=True))
    check_metric(Metric("agreement", _by_rank, needs_classes=(), soft_targets=True))
    with pytest.raises(ConformanceError, match=r"for right and .* for wrong probabilities"):
        check_metric(Metric("upside down", _divergence, needs_classes=(), soft_targets=True))


NOTES = [(20.0, 30.0, "left"), (100.0, 30.0, "right")]


class Voted(Annotated):
    """Shares of two classes."""

    shares = (0.75, 0.25)

    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0, annotations=()):
        table = super().__call__(n_samples, sfreq, events, window_s, stride_s, annotations)
        first, second = np.array(self.shares)[np.stack([table["label"], 1 - table["label"]])]
        return table.assign(target_0=first, target_1=second)


class NotOne(Voted):
    shares = (0.75, 0.5)


class OtherLabel(Voted):
    shares = (0.25, 0.75)


def test_rules_that_read_annotations_are_checked_on_some():
    check_label_rule(Annotated, {"classes": ("left", "right")}, annotations=NOTES)
    check_label_rule(Voted, {"classes": ("left", "right")}, annotations=NOTES)


@pytest.mark.parametrize(
    ("rule", "annotations", "told"),
    [
        (Annotated, (), "needs annotations"),
        (Annotated, NOTES[:1], "windows of two classes"),
        (NotOne, NOTES, r"sums to 1\.25"),
        (OtherLabel, NOTES, "not the class with the largest share"),
    ],
)
def test_a_rule_whose_votes_are_none_is_caught(rule, annotations, told):
    with pytest.raises(ConformanceError, match=told):
        check_label_rule(rule, {"classes": ("left", "right")}, annotations=annotations)
