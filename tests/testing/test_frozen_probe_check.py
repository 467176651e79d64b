"""The check of probes over frozen embeddings accepts ours, and says what is wrong with others."""

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from biot_bd import registry
from biot_bd.embedding import RidgeProbe
from biot_bd.exceptions import ConformanceError
from biot_bd.testing import check_frozen_probe

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = {
    "linear": {"C": (0.1, 1.0)},
    "ridge": {"alpha": (10.0, 1.0)},
    "knn": {"k": (20, 5)},
    "mlp": {"alpha": (10.0, 1.0), "n_hidden": 4, "max_iter": 60},
    "attention-pool": {"weight_decay": (0.1, 0.01)},
}


@pytest.mark.parametrize("name", QUICK)
def test_ours_keep_the_contract(name):
    assert name in registry.frozen_probes
    check_frozen_probe(registry.frozen_probes[name], QUICK[name])


class Random(RidgeProbe):
    def predict_proba(self, X):
        proba = np.random.default_rng().random((len(X), len(self.classes_)))
        return proba / proba.sum(axis=1, keepdims=True)


class Batchwise(RidgeProbe):
    def predict_proba(self, X):
        return super().predict_proba(X - np.asarray(X).mean(axis=0))


class OtherHead(RidgeProbe):
    def predict_proba(self, X):
        proba = super().predict_proba(X)
        return 0.9 * proba + 0.1 / proba.shape[1]


class TakesAll(RidgeProbe):
    def _checked(self, X):
        return np.nan_to_num(np.asarray(X, np.float32), posinf=0)


class Changing(RidgeProbe):
    def fit(self, X, y, groups=None):
        X += 1
        return super().fit(X, y, groups)


class Silent(RidgeProbe):
    def fit(self, X, y, groups=None):
        super().fit(X, y, groups)
        self.chosen_ = {}
        return self


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (GaussianNB, "after fit it has no chosen_"),
        (Random, "of windows right where classes lie far apart"),
        (Batchwise, "depend on the windows that stand beside"),
        (OtherHead, r"the softmax of head\(\)\(x\) is not what predict_proba says"),
        (TakesAll, "not finite must raise ValueError"),
        (Changing, "changed the embeddings in place"),
        (Silent, "chosen_ must be a mapping with"),
    ],
)
def test_what_breaks_the_contract_is_told(cls, message):
    with pytest.raises(ConformanceError, match=message):
        check_frozen_probe(cls, {} if cls is GaussianNB else {"alpha": (10.0, 1.0)})
