"""Models of format 1, and one that the version before format 2 wrote (``tests/data/model-v1``)."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from biot_bd.events import load_event_detector
from biot_bd.exceptions import SavedPipelineError
from biot_bd.models import BIOT, provenance_of
from biot_bd.training import load_pipeline, load_scorer, read_record, save_pipeline
from biot_bd.training.persistence.addresses import public_address, today
from biot_bd.training.persistence.readers import read_description
from biot_bd.training.persistence.readers.version1 import in_todays_words

DATA = Path(__file__).parents[2] / "data"
MODEL = DATA / "model-v1"


def make_windows(n, seed):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 19, 300)) * rng.uniform(5, 60, size=(n, 1, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def wanted():
    return np.array(json.loads((MODEL / "probabilities.json").read_text())["proba"])


def test_the_same_probabilities(wanted):
    pipeline = load_pipeline(MODEL)
    np.testing.assert_allclose(pipeline.predict_proba(make_windows(6, seed=2)), wanted, rtol=1e-6)
    assert pipeline.predict(make_windows(6, seed=2)).tolist() == (wanted[:, 1] >= 0.45).astype(int).tolist()


def test_the_facts_have_todays_words():
    pipeline = load_pipeline(MODEL)
    net = pipeline[-1]
    assert [type(step).__name__ for _, step in pipeline.steps] == [
        "MontageMapper",
        "PercentileScaler",
        "BIOTClassifier",
    ]
    assert net.train_split.valid_subjects == ["site/05", "site/06"]
    assert (net.sampler, net.precision, net.validation_fraction) == ("subject-balanced", "fp32", 0.2)
    assert net.train_subjects_ == ("site/01", "site/02", "site/03", "site/04")
    assert net.valid_subjects_ == ("site/05", "site/06")
    assert (net.threshold_, net.finetune[0].warmup_epochs) == (0.45, 1)
    assert net.precision_report_["wanted"]["precision"] == "fp32"
    assert net.provenance_.saw(["site/01", "site/06", "site/09"]) == ["site/01", "site/06"]
    assert pipeline.record_["subjects"]["test"] == ["site/09"]
    assert pipeline.record_["trained_on"]["trained_on"][0]["subjects"][-1] == "site/06"
    assert "compute" not in json.dumps(read_description(MODEL))
    assert "person" not in json.dumps(read_description(MODEL))


def test_it_becomes_format_2(wanted, tmp_path):
    shutil.copytree(MODEL, tmp_path / "model")
    save_pipeline(load_pipeline(MODEL), tmp_path / "model", record=read_record(MODEL))
    assert not list((tmp_path / "model").glob("biotclassifier-*"))
    assert json.loads((tmp_path / "model" / "pipeline.json").read_text())["version"] == 2
    again = load_pipeline(tmp_path / "model")
    np.testing.assert_allclose(again.predict_proba(make_windows(6, seed=2)), wanted, rtol=1e-6)
    assert again.record_ == read_record(MODEL)
    assert repr(again[-1].get_params()) == repr(load_pipeline(MODEL)[-1].get_params())


def test_all_readers_of_a_folder_take_it():
    assert provenance_of(MODEL).saw(["site/01", "site/05", "site/09"]) == ["site/01", "site/05"]
    model = BIOT.from_checkpoint(MODEL, n_times=300)
    assert model.load_report.head == "of the checkpoint (2 logits)"
    whole = load_pipeline(MODEL)[-1].module_.state_dict()
    assert all(np.array_equal(value, whole[key]) for key, value in model.state_dict().items())
    assert load_event_detector(MODEL, causal=True).causal


def test_a_scorer_needs_no_braindecode(wanted, tmp_path):
    np.save(tmp_path / "x.npy", make_windows(6, seed=2))
    code = """
import sys, numpy as np
from biot_bd import load_scorer
np.save(sys.argv[3], load_scorer(sys.argv[1]).predict_proba(np.load(sys.argv[2])))
print([name for name in ("braindecode", "skorch") if name in sys.modules])
"""
    arguments = [str(MODEL), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), wanted, rtol=1e-5)
    assert load_scorer(MODEL).threshold_ == 0.45


def copy_of(folder, change):
    copy = shutil.copytree(MODEL, folder)
    config = json.loads((copy / "config.json").read_text())
    change(config["pipeline"]["steps"][-1], config)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize(("old", "new"), [(None, "fp32"), ("bf16", "bf16")])
def test_older_files_say_mixed_precision(old, new, wanted, tmp_path):
    def change(step, config):
        del step["params"]["compute"], step["params"]["micro_batch"], step["fitted"]["compute"]
        step["params"]["mixed_precision"] = old

    folder = copy_of(tmp_path / "model", change)
    loaded = load_pipeline(folder)
    assert loaded[-1].precision == loaded[-1].precision_ == new
    np.testing.assert_allclose(loaded.predict_proba(make_windows(6, seed=2)), wanted, atol=1e-2)
    assert load_scorer(folder).without_braindecode is (new == "fp32")


def test_older_files_have_no_provenance(tmp_path):
    def change(step, config):
        for key in ("provenance", "module_config", "token_names"):
            step["fitted"].pop(key)
        del config["record"]["trained_on"]

    assert provenance_of(copy_of(tmp_path / "model", change)).saw(["site/01", "site/05", "site/09"]) == [
        "site/01",
        "site/05",
    ]


def test_a_record_of_somebody_else_keeps_its_words(tmp_path):
    folder = copy_of(tmp_path / "model", lambda step, config: config.update(record={"persons": 3, "compute": "node 7"}))
    assert read_record(folder) == {"persons": 3, "compute": "node 7"}


def test_texts_and_numbers_stay():
    facts = {"persons": ["person", {"by_person": True}], "other": 1.5}
    assert in_todays_words(facts) == {"subjects": ["person", {"by_subject": True}], "other": 1.5}


# --- addresses --------------------------------------------------------------------------------------------


WRITTEN = json.loads((DATA / "addresses-v1.json").read_text())
"""Every class that format 1 could name, and its public address today (null: no part of a pipeline)."""


def test_every_former_address_leads_to_a_public_class():
    for former, address in WRITTEN.items():
        if address is not None:
            package, _, name = address.partition(":")
            assert today(former) == address
            assert public_address(getattr(importlib.import_module(package), name)) == address, former


def test_every_address_that_could_be_written_is_known_or_no_part_of_a_pipeline():
    unknown = {former for former, address in WRITTEN.items() if address is None}
    for address in unknown:
        with pytest.raises(SavedPipelineError, match="no public class"):
            today(address)
    # What is left are records and inner parts: nothing that can be a step, or a parameter of a step.
    assert not {a for a in unknown if a.startswith(("biot_bd.signals.f", "biot_bd.training.")) and is_part(a)}


def is_part(address):
    name = address.partition(":")[2]
    inner = {"Building", "Computed", "Drawn", "Fed", "TrainingLoop", "Tuned", "FineTuning"}  # of the classifier itself
    bases = {"WindowFeatures"}
    records = {"InputInfo", "Part", "Plans"}
    return name[0] != "_" and name not in inner | bases | records


@pytest.mark.parametrize(
    ("former", "address"),
    [
        ("torch.optim.adamw:AdamW", "torch.optim:AdamW"),
        ("torch.optim.lr_scheduler:StepLR", "torch.optim.lr_scheduler:StepLR"),
        ("torch.optim.swa_utils:SWALR", "torch.optim.swa_utils:SWALR"),
        ("torch.nn.modules.activation:ELU", "torch.nn:ELU"),
        ("sklearn.preprocessing._data:StandardScaler", "sklearn.preprocessing:StandardScaler"),
        ("sklearn.pipeline:FeatureUnion", "sklearn.pipeline:FeatureUnion"),
        ("braindecode.models.eegnet:EEGNet", "braindecode.models:EEGNet"),
        ("braindecode.augmentation.transforms:FTSurrogate", "braindecode.augmentation:FTSurrogate"),
        ("skorch.callbacks.lr_scheduler:LRScheduler", "skorch.callbacks:LRScheduler"),
    ],
)
def test_addresses_of_others(former, address):
    package, _, name = former.partition(":")
    assert today(former) == address == public_address(getattr(importlib.import_module(package), name))


def test_addresses_of_plugins_and_strangers_stay():
    assert today("my_plugin._nets:Net") == "my_plugin._nets:Net"
    assert today("os:system") == "os:system"
