"""The loss keeps the contract of biot_bd, is found by its name, and computes what the paper says."""

import numpy as np
import pytest
import torch
from joblib.externals.loky import ProcessPoolExecutor
from torch import nn

from biot_bd import registry
from biot_bd.testing import check_loss
from biot_bd_tutorial.focal_tversky import FocalTverskyLoss


def find(name):
    return registry.losses[name]


def test_found_by_name():
    assert find("focal-tversky") is FocalTverskyLoss
    assert registry.losses.owner("focal-tversky") == "tutorial"


def test_found_by_name_in_workers():
    with ProcessPoolExecutor(1) as pool:  # joblib's workers; one, because each imports torch anew
        assert pool.submit(find, "focal-tversky").result() is FocalTverskyLoss


@pytest.mark.parametrize("parameters", [{}, {"gamma": 1.0}, {"alpha": 0.5, "beta": 0.5, "gamma": 3.0, "smooth": 1e-3}])
def test_the_loss_keeps_the_contract(parameters):
    check_loss(FocalTverskyLoss, parameters)


def test_the_loss_equals_the_papers_formula_in_numpy():
    rng = np.random.default_rng(1)
    logits, targets = rng.standard_normal((9, 3)), np.arange(9) % 3
    alpha, beta, gamma, smooth = 0.7, 0.3, 4 / 3, 1.0
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    total = 0.0
    for c in range(3):
        g = targets == c
        tp, fn, fp = p[g, c].sum(), (1 - p[g, c]).sum(), p[~g, c].sum()
        total += (1 - (tp + smooth) / (tp + alpha * fn + beta * fp + smooth)) ** (1 / gamma)
    found = FocalTverskyLoss(alpha, beta, gamma, smooth)(torch.tensor(logits), torch.tensor(targets))
    assert found.item() == pytest.approx(total, rel=1e-6)


def test_with_equal_weights_and_gamma_one_it_is_the_dice_loss():
    """Sure decisions: 3 hits, 1 miss, 2 false alarms, 4 rejections; Dice is 2 TP / (2 TP + FN + FP) for each class."""
    targets = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    decided = torch.tensor([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    logits = 1e3 * nn.functional.one_hot(decided, 2).float()
    loss = FocalTverskyLoss(alpha=0.5, beta=0.5, gamma=1.0, smooth=1e-9)(logits, targets)
    assert loss.item() == pytest.approx((1 - 6 / 9) + (1 - 8 / 11), rel=1e-5)


def test_a_missed_seizure_costs_more_than_a_false_alarm():
    loss = FocalTverskyLoss()
    targets = torch.tensor([1, 1, 0, 0])
    sure = 20.0 * nn.functional.one_hot(targets, 2).float()
    missed, false = sure.clone(), sure.clone()
    missed[0], false[2] = sure[0].flip(0), sure[2].flip(0)
    only_seizures = {}
    for name, logits in {"missed": missed, "false": false}.items():
        p, g = logits.softmax(1)[:, 1], targets.float()
        error = 0.7 * ((1 - p) * g).sum() + 0.3 * (p * (1 - g)).sum()
        only_seizures[name] = error.item()
        assert loss(logits, targets) > loss(sure, targets)
    assert only_seizures["missed"] > only_seizures["false"]


@pytest.mark.parametrize("parameters", [{"alpha": 0.0}, {"gamma": -1.0}, {"smooth": 0.0}])
def test_senseless_parameters_raise(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        FocalTverskyLoss(**parameters)
