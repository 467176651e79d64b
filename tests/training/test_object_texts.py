"""Texts of nets, callbacks and what they are given: no address, other parameters other texts, alike in every process."""

import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from braindecode.augmentation import AmplitudeScale, GaussianNoise
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from skorch.callbacks import EpochScoring, LRScheduler

from biot_bd import BIOT, BIOTClassifier, Pretrainer
from biot_bd.training import EarlyStopping, FixedSubjects, TensorBoardLogger
from biot_bd.training.finetuning import LoRA
from biot_bd.training.object_texts import object_text

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "max_epochs": 1, "device": "cpu"}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3)
)


def distinct():
    """Return objects of which no two are alike, made anew at each call."""
    torch.manual_seed(0)
    return [
        BIOTClassifier(),
        BIOTClassifier(lr=2e-3),
        BIOTClassifier(module__embed_dim=64),
        BIOTClassifier(iterator_train__drop_last=True),
        BIOTClassifier("eegnet"),
        BIOTClassifier(BIOT),
        BIOTClassifier(torch.nn.Linear(2, 2)),
        BIOTClassifier(torch.nn.Linear(2, 2)),  # other weights
        BIOTClassifier(criterion=torch.nn.CrossEntropyLoss),
        BIOTClassifier(callbacks=[SkorchEarlyStopping(patience=2)]),
        BIOTClassifier(callbacks=[SkorchEarlyStopping(patience=3)]),
        BIOTClassifier(callbacks=[("stop", SkorchEarlyStopping(patience=3))]),
        BIOTClassifier(callbacks=[EpochScoring("roc_auc")]),
        BIOTClassifier(callbacks=[EpochScoring(partial(max, 1))]),
        BIOTClassifier(callbacks=[EpochScoring(partial(max, 2))]),
        BIOTClassifier(callbacks=[EpochScoring(lambda net, x, y: 1.0)]),
        BIOTClassifier(callbacks=[EpochScoring(lambda net, x, y: 2.0)]),
        BIOTClassifier(callbacks=[LRScheduler("StepLR", step_size=1)]),
        BIOTClassifier(callbacks=[LRScheduler("StepLR", step_size=2)]),
        BIOTClassifier(augment=[GaussianNoise(0.5, std=0.1)]),
        BIOTClassifier(augment=[GaussianNoise(0.4, std=0.1)]),
        BIOTClassifier(augment=AmplitudeScale(0.5, interval=(0.9, 1.1))),
        BIOTClassifier(augment=AmplitudeScale(0.5, interval=(0.8, 1.1))),
        BIOTClassifier(finetune=[LoRA(r=4)]),
        BIOTClassifier(finetune=[LoRA(r=8)]),
        BIOTClassifier(train_split=FixedSubjects(["a"])),
        BIOTClassifier(train_split=FixedSubjects(["b"])),
        BIOTClassifier(class_weight={0: 1.0, 1: 2.0}),
        BIOTClassifier(class_weight=np.array([1.0, 2.0])),
        BIOTClassifier(class_weight=np.array([1.0, 3.0])),
        BIOTClassifier(random_state=np.random.RandomState(0)),
        BIOTClassifier(random_state=np.random.RandomState(1)),
        Pretrainer(),
        Pretrainer(lr=0.1),
        EarlyStopping(patience=3),
        EarlyStopping(patience=4),
        TensorBoardLogger("a"),
        TensorBoardLogger("b"),
        [np.arange(100), np.arange(2.0)],
        [np.arange(100)[::-1], np.arange(2.0)],
        {"a", "b", "c", "d"},
        pd.DataFrame({"a": np.arange(500)}),
        pd.DataFrame({"b": np.arange(500)}),
        pd.DataFrame({"a": np.where(np.arange(500) == 250, -1, np.arange(500))}),
        pd.Series(np.arange(500)),
    ]


def test_objects_that_differ_have_other_texts_and_none_an_address():
    texts = [object_text(item) for item in distinct()]
    assert len(set(texts)) == len(texts)
    assert not [text for text in texts if "0x" in text]
    nets = [item for item in distinct() if hasattr(item, "get_params")]
    assert [repr(item) for item in nets] == [object_text(item) for item in nets]


@pytest.mark.slow
def test_texts_are_alike_in_another_process_with_other_hashes():
    code = (
        f"import sys, biot_bd; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_object_texts import distinct, object_text\nprint(*map(object_text, distinct()), sep='\\n')"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines() == [object_text(item) for item in distinct()]


def test_only_parameters_that_are_not_defaults_are_shown():
    assert repr(BIOTClassifier(max_epochs=3, lr=1e-3)) == "BIOTClassifier(max_epochs=3)"
    assert repr(EarlyStopping(patience=2)) == "EarlyStopping(patience=2)"


class Derived(BIOTClassifier):
    """As users derive one."""

    def __init__(self, *args, extra=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.extra = extra


def test_a_derived_net_shows_the_defaults_of_neither_class():
    assert repr(Derived(lr=0.5)) == "Derived(lr=0.5)"


def test_fitted_nets_are_told_apart_by_their_weights():
    x, y = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32"), [0, 1] * 4

    def fitted(seed):
        return BIOTClassifier(train_split=None, random_state=seed, **TINY).fit(x, y).set_params(random_state=None)

    first, again, other = repr(fitted(0)), repr(fitted(0)), repr(fitted(1))
    assert first == again != other
    assert first.startswith("BIOTClassifier(")
    assert "weights=" in first


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES)
def test_values_that_differ_have_other_texts_and_copies_the_same(first, second):
    assert object_text(first) == object_text(copy.deepcopy(first))
    assert first == second or object_text(first) != object_text(second)


def test_an_object_that_holds_itself_has_a_text():
    around = []
    around.append(around)
    assert object_text(around) == "[...]"


def closed_over(number):
    def score(net, x, y):
        return number

    return score


def test_functions_without_a_name_are_told_by_what_they_do_and_hold():
    assert object_text(closed_over(1)) != object_text(closed_over(2))
    assert object_text(closed_over(1)) == object_text(closed_over(1))
    assert object_text(np.mean) == "numpy.mean"
    assert object_text(BIOT) == "biot_bd.models.biot.BIOT"


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_generators_are_told_by_their_state(make):
    generator = make(3)
    before = object_text(generator)
    assert before == object_text(make(3)) != object_text(make(4))
    generator.normal(size=1)
    assert object_text(generator) != before
