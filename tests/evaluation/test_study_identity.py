"""Descriptions of pipelines: equal for equal pipelines in every process, different for different ones."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from biot_bd.evaluation import study_identity as identity
from biot_bd.evaluation.study_identity import describe, describe_pipeline, differences


def pipeline(c=1.0):
    return make_pipeline(FunctionTransformer(np.abs), StandardScaler(), LogisticRegression(C=c))


def test_is_json_and_the_same_for_clones():
    first, second = describe_pipeline(pipeline()), describe_pipeline(pipeline())
    assert json.loads(json.dumps(first)) == first == second


def test_names_what_differs():
    lines = differences(describe_pipeline(pipeline()), describe_pipeline(pipeline(2.0)))
    assert lines == ["logisticregression__C: was 1.0, now is 2.0"]


def test_a_search_is_described_with_its_grid_and_splitter():
    def search(n):
        return GridSearchCV(LogisticRegression(), {"C": [0.1, n]}, cv=GroupKFold(3))

    assert describe_pipeline(search(1)) == describe_pipeline(search(1))
    assert describe_pipeline(search(1)) != describe_pipeline(search(2))
    other = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=GroupKFold(4))
    assert any("cv" in line for line in differences(describe_pipeline(search(1)), describe_pipeline(other)))


def test_no_addresses():
    class Plain:
        __slots__ = ()

    for value in (Plain(), print, np.abs, lambda x: x, partial(np.quantile, q=0.5), object()):
        assert "0x" not in json.dumps(describe(value))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.arange(3), np.arange(3) + 1),
        (np.arange(3), np.arange(3.0)),
        (lambda x: x + 1, lambda x: x + 2),
        (partial(np.quantile, q=0.5), partial(np.quantile, q=0.4)),
        ({"a": 1}, {"a": 2}),
        (GroupKFold(3), GroupKFold(4)),
        ([LogisticRegression()], [LogisticRegression(C=3)]),
    ],
)
def test_different_values_differ(a, b):
    assert describe(a) != describe(b)
    assert describe(a) == describe(a)


@pytest.mark.slow
def test_the_same_in_another_process():
    code = (
        "import importlib.util, json, sys, numpy as np\n"
        "from functools import partial\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        "spec = importlib.util.spec_from_file_location('identity', sys.argv[1])\n"  # without the package's imports
        "identity = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(identity)\n"
        "print(json.dumps(identity.describe_pipeline(FunctionTransformer(partial(np.sum, axis=1), kw_args={'b': 1, 'a': {2, 1}}))))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, identity.__file__], capture_output=True, text=True, check=True
    ).stdout
    here = describe_pipeline(FunctionTransformer(partial(np.sum, axis=1), kw_args={"b": 1, "a": {2, 1}}))
    assert json.loads(found.splitlines()[-1]) == here
