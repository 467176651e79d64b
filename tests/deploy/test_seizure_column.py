"""A detector takes P(seizure) by label, wherever its column stands."""

from types import SimpleNamespace

import numpy as np
import pytest

from biot_bd.deploy.model import ModelScorer
from biot_bd.deploy.signal_chain import WindowBatch
from biot_bd.signals.montages import BIOT_16
from biot_bd.training.input_data import InputInfo

P_SEIZURE = np.array([0.1, 0.7, 0.4])
INFO = InputInfo(16, 400, BIOT_16.ch_names, 200.0, "uV")


@pytest.mark.parametrize(
    ("classes", "known"),
    [
        ([0, 1], {}),
        ([1, 0], {}),
        (["background", "seizure"], {}),
        (["ictal", "normal"], {"positive_label_": "ictal"}),
        ([False, True], {"positive_label_": True}),
    ],
)
def test_seizure_is_taken_by_its_label(classes, known):
    seizure = known.get("positive_label_", 1 if 1 in classes else classes[-1])
    columns = [P_SEIZURE if label == seizure else 1 - P_SEIZURE for label in classes]
    classifier = SimpleNamespace(
        classes_=np.array(classes),
        threshold_=None,
        input_info_=INFO,
        predict_proba=lambda x: np.stack(columns, axis=1)[: len(x)],
        **known,
    )
    batch = WindowBatch(np.ones((3, 16, 400), np.float32), np.ones((3, 16), bool), np.arange(3.0))
    np.testing.assert_array_equal(ModelScorer([], classifier).score(batch), P_SEIZURE)
