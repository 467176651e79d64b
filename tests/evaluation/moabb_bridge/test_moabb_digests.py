"""MOABB keeps results by a digest of a pipeline's text: other parameters must give other digests."""

import copy
import importlib
import inspect

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import EarlyStopping

from biot_bd import BIOTClassifier, Embedder, PercentileScaler, SubjectSplit
from biot_bd.embedding import LinearProbe
from biot_bd.ensembles import SeedEnsemble

results = pytest.importorskip("moabb.analysis.results", reason="needs MOABB")

ROOMS = ["signals", "training", "training.finetuning", "embedding", "evaluation", "probes", "pretraining", "events"]
TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "max_epochs": 1, "device": "cpu"}


def classes():
    """Return every public class with parameters that can be made without naming any."""
    for room in ROOMS:
        module = importlib.import_module(f"biot_bd.{room}")
        for name in module.__all__:
            cls = getattr(module, name)
            if inspect.isclass(cls) and hasattr(cls, "get_params") and not inspect.isabstract(cls):
                needed = [
                    p.default is p.empty for p in inspect.signature(cls).parameters.values() if p.kind not in (2, 4)
                ]
                if not any(needed):
                    yield cls


def with_another(one, name):
    other = copy.deepcopy(one)
    other.set_params(**{name: "another"})  # skorch's callbacks return nothing
    return other


@pytest.mark.parametrize("cls", sorted(classes(), key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
def test_each_parameter_changes_text_and_digest(cls):
    one = cls()
    assert "0x" not in repr(one)
    assert repr(one) == repr(cls())
    assert results.get_digest(one) == results.get_digest(cls())
    changed = [with_another(one, name) for name in one.get_params(deep=False)]
    assert len({repr(one), *map(repr, changed)}) == len(changed) + 1
    assert len({results.get_digest(item) for item in (one, *changed)}) == len(changed) + 1


def fitted(seed):
    x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    net = BIOTClassifier(train_split=None, random_state=seed, **TINY).fit(x, [0, 1] * 4)
    return net.set_params(random_state=None)


def pipelines():
    net = BIOTClassifier(callbacks=[EarlyStopping(patience=2)])
    return {
        "plain": make_pipeline(PercentileScaler(), net),
        "other callback": make_pipeline(PercentileScaler(), BIOTClassifier(callbacks=[EarlyStopping(patience=3)])),
        "grid": GridSearchCV(make_pipeline(PercentileScaler(), net), {"biotclassifier__lr": [1e-3]}, cv=SubjectSplit()),
        "other split": GridSearchCV(
            make_pipeline(PercentileScaler(), net), {"biotclassifier__lr": [1e-3]}, cv=SubjectSplit("subject-kfold-3")
        ),
        "other grid": GridSearchCV(
            make_pipeline(PercentileScaler(), net), {"biotclassifier__lr": [1e-2]}, cv=SubjectSplit()
        ),
        "grid of callbacks": GridSearchCV(net, {"callbacks": [[EarlyStopping(patience=2)]]}),
        "ensemble": SeedEnsemble(net),
        "other seeds": SeedEnsemble(net, seeds=(3, 4)),
        "frozen": make_pipeline(Embedder(fitted(0)), LinearProbe()),
        "other weights": make_pipeline(Embedder(fitted(1)), LinearProbe()),
        "other probe": make_pipeline(Embedder(fitted(0)), LinearProbe(C=[1.0])),
    }


@pytest.mark.usefixtures("one_thread")
def test_pipelines_have_digests_of_their_own_which_are_the_same_when_made_anew():
    first, again = ({name: results.get_pipeline_digest(None, pipe) for name, pipe in pipelines().items()} for _ in "ab")
    assert len(set(first.values())) == len(first)
    assert first == again
