"""What the parameter ``objective`` of a pretrainer takes, and what it refuses."""

import pytest
import torch
from tiny_pretraining import HiddenLevel

from biot_bd.exceptions import UnknownNameError
from biot_bd.models import TokenSizes
from biot_bd.pretraining.chosen_objectives import chosen_objectives
from biot_bd.pretraining.objectives.biot_contrastive import BIOTContrastive

SIZES = TokenSizes(n_chans=2, n_frames=3, n_features=5, embed_dim=8)


def read(objective, given=None):
    return [(one.name, one.cls, one.weight, one.parameters) for one in chosen_objectives(objective, given or {})]


def test_a_name_and_its_class_mean_the_same():
    expected = [("biot-contrastive", BIOTContrastive, 1.0, {"temperature": 0.1})]
    assert read("biot-contrastive", {"temperature": 0.1}) == expected
    assert read(BIOTContrastive, {"biot-contrastive__temperature": 0.1}) == expected


@pytest.mark.parametrize(
    "several",
    [
        {"biot-contrastive": 0.5, HiddenLevel: 1},
        [("biot-contrastive", 0.5), (HiddenLevel, 1.0)],
        [("biot-contrastive", 0.5), HiddenLevel],
    ],
)
def test_several_have_weights_and_their_own_parameters(several):
    given = {"HiddenLevel__mask_ratio": 0.2, "biot-contrastive__temperature": 0.3}
    assert read(several, given) == [
        ("biot-contrastive", BIOTContrastive, 0.5, {"temperature": 0.3}),
        ("HiddenLevel", HiddenLevel, 1.0, {"mask_ratio": 0.2}),
    ]


@pytest.mark.parametrize(
    ("objective", "given", "error", "message"),
    [
        ("biot-contrastiv", {}, UnknownNameError, "did you mean 'biot-contrastive'"),
        (torch.nn.Linear, {}, TypeError, "expected a registered name"),
        (HiddenLevel(SIZES), {}, TypeError, "an instance of HiddenLevel; give the class"),
        ({}, {}, ValueError, "one objective or several, each once"),
        (["biot-contrastive", BIOTContrastive], {}, ValueError, "each once"),
        ({HiddenLevel: 0.0}, {}, ValueError, "weight of 'HiddenLevel' must be a positive number, found 0.0"),
        ({HiddenLevel: float("nan")}, {}, ValueError, "must be a positive number"),
        ({HiddenLevel: True}, {}, ValueError, "must be a positive number"),
        (HiddenLevel, {"sizes": 3}, ValueError, "objective__sizes: 'HiddenLevel' takes objective__mask_ratio"),
        ([HiddenLevel, "biot-contrastive"], {"mask_ratio": 0.1}, ValueError, "say whose parameter it is"),
    ],
)
def test_anything_else_is_refused(objective, given, error, message):
    with pytest.raises(error, match=message):
        chosen_objectives(objective, given)
