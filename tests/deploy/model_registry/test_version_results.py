"""Results of a version: those of its own test subjects, and those of its pipeline, never mixed up."""

import json
import shutil

import pytest
from handmade_run import hand_made, real_run, store, with_events  # noqa: F401
from registered_models import RECORD, with_record
from sklearn.metrics import average_precision_score

from biot_bd.deploy import Registry
from biot_bd.deploy.model_registry.card import card_text
from biot_bd.deploy.model_registry.results import CONTAMINATED, results_of
from biot_bd.exceptions import ModelRegistryError
from biot_bd.report import write_report
from biot_bd.runs import read_json

INTERVAL = {"value": 0.5, "low": 0.25, "high": 0.75}


@pytest.fixture
def run(with_events):  # noqa: F811
    """Return a hand-made run with the scores of its folds and one interval."""
    for fold, (subject, scores) in enumerate(with_events.metrics["subjects"].items()):
        with_events.metrics["folds"].append({"fold": fold, "test": [subject], **scores})
    intervals = {"method": "percentile bootstrap", "resampled": "subjects", "level": 0.9}
    intervals["windows"] = {"macro": {"average_precision": INTERVAL}, "pooled": {}}
    (with_events.folder / "intervals.json").write_text(json.dumps(intervals))
    return with_events.rewrite()


def rows(found, **wanted):
    return [row for row in found["rows"] if all(row[key] == value for key, value in wanted.items())]


def test_a_final_model_has_the_scores_of_its_pipeline_and_none_of_its_own(run):
    found = results_of(RECORD | {"data": {"fingerprint": "fedcba9876543210"}}, run.folder)
    assert found["own"] is None
    validated = found["cross_validation"]
    assert (validated["cv"], validated["n_folds"], validated["n_subjects"], validated["same_data"]) == (
        "subject-loo",
        3,
        3,
        True,
    )
    (row,) = rows(validated, what="windows", score="average_precision", level="pooled")
    assert row["value"] == pytest.approx(average_precision_score(run.table["y_true"], run.table["proba"]))
    assert (row["low"], row["high"]) == (None, None)
    (row,) = rows(validated, what="windows", score="average_precision", level="macro")
    assert (row["low"], row["high"], row["n_subjects"]) == (0.25, 0.75, 2)
    (row,) = rows(validated, what="events", score="sensitivity", level="pooled")
    assert row["value"] == 0.5  # one of two seizures


def test_the_model_of_a_fold_has_the_scores_of_the_subjects_of_its_fold(run):
    record = RECORD | {"fold": 1, "study": "0123456789abcdef"}
    own = results_of(record, run.folder)["own"]
    assert (own["what"], own["subjects"]) == ("fold 1", ["site/02"])
    table = run.table[run.table["subject"] == "site/02"]
    (row,) = rows(own, score="average_precision")
    assert row["value"] == pytest.approx(average_precision_score(table["y_true"], table["proba"]))
    assert results_of(record, run.folder, names=False)["own"]["subjects"] is None


def test_a_score_that_is_undefined_says_why_on_the_card(run, saved):
    results = results_of(RECORD | {"fold": 2, "study": "0123456789abcdef"}, run.folder)
    text = card_text(saved.resolve("mine").facts | {"results": results}, None)
    assert "undefined (no seizure windows)" in text
    assert "0.500 [0.250, 0.750]" not in text  # the value is the run's own, the interval is that of it
    assert "[0.250, 0.750]" in text
    assert "value [90% interval]" in text
    assert "**This very model**, on the 1 subject of its fold 2, whom it has not seen: site/03." in text


def test_a_run_that_did_not_make_the_model_is_refused(run, tmp_path):
    with pytest.raises(ModelRegistryError, match="another run than the one that made this model"):
        results_of(RECORD | {"fold": 1, "study": "another"}, run.folder)
    with pytest.raises(FileNotFoundError, match=r"run\.json: missing; expected the folder of a finished run"):
        results_of(RECORD, tmp_path / "nowhere")
    other = results_of(RECORD | {"data": {"fingerprint": "of other data"}}, run.folder)
    assert other["cross_validation"]["same_data"] is False
    del run.metrics["macro"]
    run.rewrite()
    with pytest.raises(ModelRegistryError, match="lacks 'macro'"):
        results_of(RECORD, run.folder)


def test_the_hold_out_of_a_training_is_the_result_of_the_very_model(run):
    record = RECORD | {
        "subjects": {"train": ["a"], "valid": [], "test": ["b", "c"]},
        "scores": run.metrics,
        "not_a_result": "few",
    }
    own = results_of(record, None)["own"]
    assert (own["what"], own["n_subjects"], own["subjects"], own["not_a_result"]) == ("hold-out", 2, ["b", "c"], "few")


@pytest.mark.slow
def test_a_real_run_gives_its_scores_and_intervals_to_the_card_of_its_fold(real_run, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    shutil.copytree(real_run, run)
    write_report(run)
    version = Registry(tmp_path / "registry").save(run / "folds" / "00" / "model", "fold", "1.0.0", run=run)
    metrics, intervals = read_json(run / "metrics.json"), read_json(run / "intervals.json")
    validated = version.facts["results"]["cross_validation"]
    assert len(validated["rows"]) == 2 * (len(metrics["scoring"]) + 4)
    for row in validated["rows"]:
        if row["what"] == "windows":
            interval = intervals["windows"][row["level"]][row["score"]]
            assert row["value"] == metrics[row["level"]][row["score"]]["value"] == interval["value"]
            assert (row["low"], row["high"]) == (interval["low"], interval["high"])
    own = version.facts["results"]["own"]
    assert own["subjects"] == metrics["folds"][0]["test"]
    assert version.facts["training"]["subjects"]["test"] == own["subjects"]
    final = with_record(run / "folds" / "01" / "model", RECORD)
    assert Registry(tmp_path / "registry").save(final, "final", "1.0.0", run=run).facts["results"]["own"] is None


def test_an_anonymous_version_of_a_run_with_names_knows_its_run_and_has_no_name(run, trained, tmp_path):
    text = "contaminated: ~/eeg/base.ckpt was trained on site/02, who is tested"
    run.metrics["contamination"] = text
    run.rewrite()
    record = RECORD | {
        "fold": 1,
        "study": "0123456789abcdef",
        "title": "the night of Smith",
        "notes": ["smith slept"],
        "contamination": text,
        "subjects": {"train": ["site/01", "site/Smith"], "valid": [], "test": ["site/02"]},
    }
    shutil.copytree(trained, tmp_path / "model")
    folder = with_record(tmp_path / "model", record)
    registry = Registry(tmp_path / "registry")
    registry.save(folder, "named", "1.0.0", run=run.folder)
    for version in (
        registry.save(folder, "mine", "1.0.0", run=run.folder, anonymous=True),
        registry.save(registry.resolve("named").folder, "mine", "1.0.1", anonymous=True),
    ):
        results = version.facts["results"]
        assert [one["contamination"] for one in results.values()] == [CONTAMINATED, CONTAMINATED]
        assert results["own"]["rows"] == registry.resolve("named").facts["results"]["own"]["rows"]
        for file in version.folder.iterdir():
            assert not any(name in file.read_bytes().lower() for name in (b"smith", b"site/", b"base.ckpt")), file
        registry.verify("mine", version.version, replay=False)
