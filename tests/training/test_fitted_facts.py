"""What ``fit`` learnt: one object, as JSON and back."""

import json
from dataclasses import replace

import numpy as np
import pytest

from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.training.fitted_facts import RUNNING, FittedFacts
from biot_bd.training.input_data import InputInfo

FACTS = FittedFacts(
    InputInfo(2, 400, ("Fp1", "Fp2"), 200.0, "uV"),
    np.array(["background", "seizure"]),
    class_weight=[0.5, 2.0],
    class_counts=[40.0, 10.0],
    train_subjects=("a/1", "a/2"),
    valid_subjects=("a/3",),
    threshold=0.25,
    n_epochs=3,
    training_plan=PrecisionPlan("bf16", 8),
    precision_report={"notes": [], "max_difference": 0.001},
    provenance=Provenance("scratch").extended(["a/1", "a/2", "a/3"]),
    module_config={"embed_dim": 16},
    token_names=("FP1", "FP2"),
    stale=None,
)


@pytest.mark.parametrize("classes", [["background", "seizure"], [0, 1], [False, True], [0.5, 1.5]])
def test_json_and_back(classes):
    facts = replace(FACTS, classes=np.array(classes))
    text = json.dumps(facts.as_dict())
    again = FittedFacts.from_dict(json.loads(text))
    assert json.dumps(again.as_dict()) == text
    assert again.classes.dtype == facts.classes.dtype
    assert (again.input_info, again.provenance, again.training_plan, again.token_names, again.valid_subjects) == (
        facts.input_info, facts.provenance, facts.training_plan, facts.token_names, facts.valid_subjects
    )  # fmt: skip


def test_facts_of_a_running_fit_are_not_written():
    assert FittedFacts(FACTS.input_info, FACTS.classes).stale == RUNNING
    with pytest.raises(ValueError, match="no longer known: fit has not ended"):
        replace(FACTS, stale=RUNNING).as_dict()


def test_what_cannot_be_read_raises():
    with pytest.raises(ValueError, match="do not have persons"):
        FittedFacts.from_dict({**FACTS.as_dict(), "persons": []})
    with pytest.raises(KeyError, match="classes"):
        FittedFacts.from_dict({k: v for k, v in FACTS.as_dict().items() if k != "classes"})
    with pytest.raises(ValueError, match="numbers or texts"):
        replace(FACTS, classes=np.array(["2020-01-01"], dtype="datetime64[D]")).as_dict()
