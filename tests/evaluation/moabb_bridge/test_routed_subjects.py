"""Whoever splits by subject takes them by MOABB's name, with metadata routing on and off."""

import numpy as np
import pytest
import sklearn
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler
from biot_bd.embedding import LinearProbe
from biot_bd.ensembles import SeedEnsemble

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "max_epochs": 1, "device": "cpu"}
SUBJECTS = np.repeat([1, 2, 3, 4], 6)
Y = np.tile([0, 1], 12)
X = np.random.default_rng(0).normal(size=(24, 2, 200)).astype("float32")
FEATURES = X[:, 0, :5] + Y[:, None]


def net():
    return BIOTClassifier(random_state=0, **TINY)


CASES = {
    "net": (net, X),
    "probe": (lambda: LinearProbe(C=[0.1, 1.0]), FEATURES),
    "ensemble": (lambda: SeedEnsemble(net(), (0, 1)), X),
}


@pytest.mark.parametrize("name", CASES)
def test_subjects_are_another_name_of_groups(name):
    make, x = CASES[name]
    by_groups = make().fit(x, Y, groups=SUBJECTS).predict_proba(x)
    np.testing.assert_array_equal(make().fit(x, Y, subjects=SUBJECTS).predict_proba(x), by_groups)
    np.testing.assert_array_equal(make().fit(x, Y, groups=SUBJECTS, subjects=SUBJECTS).predict_proba(x), by_groups)
    with pytest.raises(ValueError, match="groups and subjects both name the subjects of the windows, and differ"):
        make().fit(x, Y, groups=SUBJECTS, subjects=SUBJECTS[::-1])
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(make()).fit(x, Y, subjects=SUBJECTS).predict_proba(x)
    np.testing.assert_array_equal(routed, by_groups)


def test_they_pass_steps_that_do_not_ask_for_them():
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(PercentileScaler(), net()).fit(X, Y, subjects=SUBJECTS)
    assert {*pipe[-1].train_subjects_, *pipe[-1].valid_subjects_} == {"1", "2", "3", "4"}
    assert not set(pipe[-1].train_subjects_) & set(pipe[-1].valid_subjects_)
