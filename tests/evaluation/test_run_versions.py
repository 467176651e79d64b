"""Folders that commit fb8defb wrote: they open, score, are compared and continue with the same numbers."""

import json
import shutil
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, cross_validate, prepare
from biot_bd.evaluation import StudyResult, assess, baseline, compare_regimes
from biot_bd.evaluation.model_selection.folds import make_folds
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import read_facts, read_intervals, write_facts
from biot_bd.evaluation.run_versions import read_version_1
from biot_bd.evaluation.studies.run_protocol import compare_table
from biot_bd.events import EventDetector
from biot_bd.exceptions import RunFolderError
from biot_bd.report import write_report
from biot_bd.runs import read_json

FORMER = Path(__file__).parents[1] / "data" / "run-v1"
WORDS = ("person", "compute", "valid_fraction")
CHANNELS = "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2".split()

pytestmark = pytest.mark.usefixtures("one_thread")


def arrays():
    rng = np.random.default_rng(5)
    subjects = np.repeat([f"clinic/{i:02d}" for i in range(1, 5)], 12)
    y = (np.arange(len(subjects)) % 4 == 0).astype(int)
    x = rng.normal(0, 20, (len(y), 4, 400)).astype(np.float32) * (1 + 0.5 * y[:, None, None])
    return x, y, subjects


def tiny(**changes):
    net = BIOTClassifier(
        module__embed_dim=8,
        module__num_heads=2,
        module__num_layers=1,
        batch_size=16,
        max_epochs=2,
        patience=None,
        sampler="subject-balanced",
        device="cpu",
        verbose=0,
    )
    return make_pipeline(PercentileScaler(), net.set_params(**changes))


def store(folder):
    parts = []
    for number in range(4):
        rng = np.random.default_rng([9, number])
        x = rng.normal(0, 20e-6, (16, 160 * 64))
        x[:, 60 * 64 : 100 * 64] *= 2
        raw = mne.io.RawArray(x, mne.create_info(CHANNELS, 64, "eeg"), verbose="ERROR")
        raw.set_annotations(mne.Annotations([60.0], [40.0], "sz"))
        parts.append(RawDataset(raw, {"recording": f"r{number}", "subject": f"clinic/0{number + 1}"}))
    return prepare(BaseConcatDataset(parts), folder, sfreq=64, stride_s=5.0)


def copied(name, folder):
    return Path(shutil.copytree(FORMER / name, folder / name))


def interrupted(folder, *, without):
    """Leave a run folder as a killed run leaves it: some folds are there, nothing of the whole."""
    for name in without:
        shutil.rmtree(folder / "folds" / name)
    for name in ("metrics.json", "predictions.parquet"):
        (folder / name).unlink()
    run = read_json(folder / "run.json")
    run.pop("finished")
    (folder / "run.json").write_text(json.dumps(run | {"state": "running"}), encoding="utf-8")
    return folder


def words_in(value):
    """Return the former words among keys, and among the values that are words of ours."""
    if isinstance(value, dict):
        found = {key for key in value if any(word in key for word in WORDS)}
        values = {
            text for key in ("cv", "sampler", "averaging", "resampled") if isinstance(text := value.get(key), str)
        }
        return found.union({v for v in values if "person" in v}, *(words_in(item) for item in value.values()))
    return set().union(*map(words_in, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize(
    "path", sorted(str(path.relative_to(FORMER)) for path in FORMER.rglob("*.json") if path.name != "history.json")
)
def test_every_file_speaks_todays_words(path):
    assert words_in(read_json(FORMER / path))
    facts = read_facts(FORMER / path)
    assert not words_in(facts)
    assert "biot_bd.evaluation" not in json.dumps(facts.get("identity", {}))


@pytest.mark.parametrize("name", ["arrays", "windows", "study/power/seed-0"])
def test_a_former_run_opens_with_its_numbers(name):
    result, stored = Result.open(FORMER / name), read_json(FORMER / name / "metrics.json")
    assert {subject: row["roc_auc"]["value"] for subject, row in result.metrics["subjects"].items()} == {
        subject: row["roc_auc"]["value"] for subject, row in stored["persons"].items()
    }
    assert result.metrics["macro"]["roc_auc"]["n_subjects"] == stored["macro"]["roc_auc"]["n_persons"]
    former = pd.read_parquet(FORMER / name / "predictions.parquet")
    assert result.predictions["subject"].tolist() == former["person"].tolist()
    assert result.predictions["proba"].tolist() == former["proba"].tolist()
    assert result.run["parameters"]["cv"].endswith(("subject-loo", "subject-kfold-2"))
    assert "macro" in str(result)
    assert (
        assess(result, n_resamples=99)["windows"]["macro"]["roc_auc"]["value"]
        == result.metrics["macro"]["roc_auc"]["value"]
    )


def test_a_former_run_of_arrays_continues(tmp_path):
    x, y, subjects = arrays()
    folder = interrupted(copied("arrays", tmp_path), without=["01"])
    kept = (folder / "folds" / "00" / "fold.json").read_bytes()
    options = {"y": y, "groups": subjects, "cv": "stratified-subject-kfold-2", "validation_fraction": 0}
    options |= {"folder": folder, "progress": False, "random_state": 3, "title": "BIOT on arrays"}
    result, whole = cross_validate(tiny(), x, **options), Result.open(FORMER / "arrays")
    assert result.metrics | {"events": None} == whole.metrics
    pd.testing.assert_frame_equal(result.predictions, whole.predictions, rtol=1e-5)  # another version's arithmetic
    assert (folder / "folds" / "00" / "fold.json").read_bytes() == kept
    assert result.run["fingerprint"] == whole.run["fingerprint"]
    assert read_json(folder / "run.json")["version"] == 2
    assert cross_validate(tiny(), x, **options).metrics == result.metrics
    with pytest.raises(RunFolderError, match=r"biotclassifier__lr: was 0\.001, now is 0\.01$"):
        cross_validate(tiny(lr=0.01), x, **options)


def test_a_former_run_of_windows_continues_with_its_events(tmp_path):
    windows = store(tmp_path / "store")
    folder = interrupted(copied("windows", tmp_path), without=["02", "03"])
    result = cross_validate(baseline("line-length", windows), windows, folder=folder, progress=False)
    whole = Result.open(FORMER / "windows")
    points = [point["validation"]["subjects"] for point in result.metrics["events"]["operating_points"]]
    assert all(points)
    made = make_folds("subject-loo", windows.y, windows.groups)
    assert [fold.as_dict()["valid"] for fold in made] != points  # who validates is chosen otherwise today
    chosen_on = [point.pop("chosen_on") for point in result.metrics["events"]["operating_points"]]
    assert [one["n_seizures"] is None for one in chosen_on] == [True, True, False, False]
    assert result.metrics == whole.metrics
    wanted = EventDetector(merge_gap_s=5.0)
    with pytest.raises(RunFolderError, match=r"event_detector.merge_gap_s: was 30.0, now is 5.0"):
        cross_validate(baseline("line-length", windows), windows, folder=folder, progress=False, event_detector=wanted)


def test_former_folds_and_detectors_are_taken(tmp_path):
    x, y, subjects = arrays()
    result = cross_validate(
        baseline("spectral-power", x, sfreq=200.0),
        x,
        y=y,
        groups=subjects,
        progress=False,
        splits_from=FORMER / "arrays",
    )
    assert [fold["test"] for fold in result.run["splits"]] == [
        fold["test"] for fold in read_json(FORMER / "arrays" / "run.json")["splits"]
    ]
    assert result.run["parameters"]["cv"] == "stratified-subject-kfold-2"
    stored = read_json(FORMER / "windows" / "folds" / "00" / "fold.json")["events"]["detector"]
    detector = EventDetector.from_dict(stored)
    assert detector.validation_["subjects"] == stored["fitted"]["validation_"]["persons"]
    assert detector.as_dict()["version"] == 2


def test_former_runs_stand_beside_new_ones(tmp_path):
    x, y, subjects = arrays()
    power = baseline("spectral-power", x, sfreq=200.0)
    new = cross_validate(power, x, y=y, groups=subjects, cv="subject-kfold-2", progress=False)
    table = compare_table({"former": FORMER / "study" / "power" / "seed-0", "new": new})
    assert table.loc["former", "roc_auc"] == table.loc["new", "roc_auc"]


def test_a_former_study_opens_and_goes_on_with_another_regime(tmp_path):
    x, y, subjects = arrays()
    former = StudyResult.open(FORMER / "study")
    assert set(former.table["regime"]) == {"power", "length"}
    assert former.tests["n_subjects"].tolist() == [4, 4, 4]
    assert "power" in str(former)
    power, length = baseline("spectral-power", x, sfreq=200.0), baseline("line-length", x)
    regimes = {"power": power, "length": length, "never": baseline("always-off", x)}
    options = {"y": y, "groups": subjects, "cv": "subject-kfold-2", "n_resamples": 199, "progress": False}
    grown = compare_regimes(x, regimes, copied("study", tmp_path), **options)
    for name in ("power", "length"):
        assert grown.comparison["regimes"][name]["subjects"] == former.comparison["regimes"][name]["subjects"]


def test_a_former_run_is_reported_and_its_intervals_are_read(tmp_path):
    folder = copied("arrays", tmp_path)
    former = read_intervals(folder)
    assert former["windows"]["macro"]["roc_auc"]["n_subjects"] == 4
    write_report(folder)
    assert "clinic/01" in (folder / "report.html").read_text(encoding="utf-8")
    assert (
        read_intervals(folder)["windows"]["macro"]["roc_auc"]["value"] == former["windows"]["macro"]["roc_auc"]["value"]
    )
    assert read_intervals(tmp_path) is None


def test_a_later_version_and_damaged_facts_are_refused(tmp_path):
    path = write_facts(tmp_path / "run.json", {"kind": "x"})
    path.write_text(path.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(ValueError, match=r"run.json: format version 3; this biot_bd reads version 1, 2: update it"):
        read_facts(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"run\.json: expected an object"):
        read_facts(path)


def former(described):
    return {"identity": {"pipeline": described, "protocol": None, "parameters": {}}, "parameters": {}}


def test_schedules_and_models_of_former_studies_are_those_of_today():
    cosine = "biot_bd.training.schedules:Cosine"
    found = read_version_1(
        former(
            {
                "net__lr": 1e-4,
                "net__module": "BIOT",
                "net__callbacks": [["lr_schedule", {"class": "skorch.callbacks.lr_scheduler:LRScheduler"}]],
                "net__callbacks__lr_schedule__policy": "CosineAnnealingLR",
                "net__callbacks__lr_schedule__eta_min": 1e-6,
                "net__sampler__by_person": True,
                "other__finetune": cosine,
                "other__finetune__final": 0.0,
                "third__finetune": [{"class": cosine, "final": 0.0}],
            }
        )
    )["identity"]["pipeline"]
    assert found == {
        "net__lr": 1e-4,
        "net__module": "braindecode.models.biot:BIOT",  # what the name meant then
        "net__callbacks": None,
        "net__schedule": "biot_bd:Cosine",
        "net__schedule__by_epoch": True,
        "net__schedule__final": 0.01,
        "net__schedule__start": 0.0,
        "net__schedule__warmup_epochs": 0.0,
        "net__sampler__by_subject": True,
        "other__finetune": "biot_bd:Cosine",
        "other__finetune__by_epoch": False,
        "other__finetune__final": 0.0,
        "third__finetune": [{"class": "biot_bd:Cosine", "by_epoch": False, "final": 0.0}],
    }
