"""The check of engines finds what breaks a detector."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_model import save_small_model

from biot_bd import load_scorer
from biot_bd.exceptions import ConformanceError
from biot_bd.testing import check_engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


def test_the_built_in_engine_keeps_the_contract(folder):
    check_engine(load_scorer, folder)


def wrong(**changes):
    def change(found):
        for name, value in changes.items():
            setattr(found.classifier, name, value)
        return found

    return change


def no_record(folder):
    found = load_scorer(folder)
    return SimpleNamespace(steps=found.steps, classifier=found.classifier)


def no_threshold(folder):
    found = load_scorer(folder)
    del found.classifier.threshold_
    return found


def too_large(folder):
    return wrong(predict_proba=lambda x: np.full((len(x), 2), 0.9))(load_scorer(folder))


def one_column(folder):
    return wrong(predict_proba=lambda x: np.full((len(x), 1), 0.9))(load_scorer(folder))


def by_batch(folder):
    def proba(x):
        first = np.arange(len(x)) / 10
        return np.stack([first, 1 - first], axis=1)

    return wrong(predict_proba=proba)(load_scorer(folder))


def says_nothing(folder):
    found = load_scorer(folder)
    found.set_precision = lambda precision, batch_size: None
    return found


def finds_everything(folder):
    return load_scorer(folder if folder.is_dir() else folder.parent)


def wrong_error(folder):
    if not folder.is_dir():
        raise KeyError(folder.name)
    return load_scorer(folder)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("torch", "expected a function"),
        (no_record, "has no record_"),
        (no_threshold, "has no threshold_"),
        (too_large, "sum to 1"),
        (one_column, r"expected \(4, 2\)"),
        (by_batch, "depends on its neighbours"),
        (says_nothing, r"must return \(precision, notes\), .* got None"),
        (finds_everything, "nothing was raised"),
        (wrong_error, "must raise FileNotFoundError, got KeyError"),
    ],
)
def test_a_wrong_engine_is_found(engine, message, folder):
    with pytest.raises(ConformanceError, match=message):
        check_engine(engine, folder)
