"""Probes behind embedders and seeds as an ensemble in cross_validate and fit_all: subjects apart, models kept."""

import json

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from small_composites import embedder, seeds
from small_pipeline import SIZE

from biot_bd import BIOTClassifier, PercentileScaler, cross_validate, load_pipeline, load_scorer, save_pipeline
from biot_bd.embedding import LinearProbe
from biot_bd.evaluation import fit_all
from biot_bd.exceptions import ContaminationError, SavedPipelineError
from biot_bd.models import provenance_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data():
    """Six subjects, eight windows each, whose seizures are a loud rhythm."""
    y = np.tile([0, 1], 24)
    x = np.random.default_rng(0).normal(0, 20, (48, 4, 400))
    x += np.where(y == 1, 40, 0)[:, None, None] * np.sin(2 * np.pi * 5 * np.arange(400) / 200)
    return x.astype(np.float32), y, np.repeat([f"site/{i:02d}" for i in range(6)], 8)


def frozen(**parameters):
    return make_pipeline(PercentileScaler(), embedder(**parameters), LinearProbe(C=(0.1, 1.0)))


@pytest.fixture(scope="module")
def studies(data, tmp_path_factory):
    x, y, subjects = data
    place = tmp_path_factory.mktemp("studies")
    made = {"frozen": frozen(), "seeds": seeds()}
    for name, pipeline in made.items():
        cross_validate(pipeline, x, y=y, groups=subjects, cv="subject-kfold-2", folder=place / name, progress=False)
    return place


@pytest.mark.parametrize("name", ["frozen", "seeds"])
def test_the_model_of_a_fold_is_kept_and_says_whom_it_saw(name, studies, data):
    x, _, subjects = data
    for fold in (studies / name / "folds").iterdir():
        facts = json.loads((fold / "fold.json").read_text())
        assert facts["model"] == "model"
        scorer = load_scorer(fold / "model")
        assert scorer.threshold_ == facts["threshold"]["value"]
        test = np.isin(subjects, facts["test"])
        stored = predictions_of(fold, "test")
        np.testing.assert_allclose(scorer.predict_proba(x[test])[:, 1], stored, atol=1e-6)
        assert (load_pipeline(fold / "model").predict(x[test]) == (stored >= scorer.threshold_)).all()
        assert provenance_of(fold / "model").saw(sorted(set(subjects))) == sorted(facts["train"] + facts["valid"])


def predictions_of(fold, part):
    import pandas as pd

    table = pd.read_parquet(fold / "predictions.parquet")
    return table.loc[table["part"] == part, "proba"].to_numpy()


def test_the_probe_chooses_by_subjects_of_the_training_part_alone(studies):
    for fold in (studies / "frozen" / "folds").iterdir():
        facts = json.loads((fold / "fold.json").read_text())
        assert facts["probe"]["chosen"]["reason"] is None
        validated = set(facts["probe"]["chosen"]["valid_subjects"])
        assert validated
        assert validated < set(facts["train"])
        assert load_pipeline(fold / "model")[-1].train_subjects_ == tuple(sorted(facts["train"]))
        assert facts["probe"]["converged"] is True


@pytest.mark.parametrize("name", ["frozen", "seeds"])
def test_a_final_model_is_fitted_saved_and_scored_on_its_hold_out(name, data, tmp_path):
    x, y, subjects = data
    pipeline = {"frozen": frozen(), "seeds": seeds()}[name]
    record = fit_all(pipeline, x, tmp_path / "m", y=y, groups=subjects, hold_out=["site/03"])
    assert record["subjects"]["test"] == ["site/03"]
    assert record["estimator"] == ("LinearProbe" if name == "frozen" else "SeedEnsemble")
    again = load_pipeline(tmp_path / "m")
    last = again[-1] if name == "frozen" else again
    assert last.threshold_ == record["threshold"]["value"]
    assert set(last.train_subjects_) == set(record["subjects"]["train"])
    assert provenance_of(tmp_path / "m").saw(sorted(set(subjects))) == sorted(set(subjects) - {"site/03"})
    assert fit_all(pipeline, x, tmp_path / "m", y=y, groups=subjects, hold_out=["site/03"]) == record


def test_the_record_says_what_did_not_converge_and_what_nobody_chose(data, tmp_path):
    x, y, subjects = data
    pipeline = frozen().set_params(linearprobe__max_iter=1, linearprobe__train_split=None)
    with pytest.warns(UserWarning, match="no subjects could choose C"):
        record = fit_all(pipeline, x, tmp_path / "m", y=y, groups=subjects)
    assert "C=1.0 was not chosen by validation subjects: train_split=None" in record["notes"]
    assert "LinearProbe did not converge" in record["notes"]


def test_a_frozen_encoder_that_saw_a_test_subject_is_refused(data, tmp_path):
    x, y, subjects = data
    net = BIOTClassifier(max_epochs=1, batch_size=8, patience=None, random_state=0, verbose=0, device="cpu", **SIZE)
    half = subjects < "site/03"
    start = make_pipeline(PercentileScaler(), net).fit(x[half], y[half], biotclassifier__groups=subjects[half])
    save_pipeline(start, tmp_path / "start")
    pipeline = frozen(pretrained=tmp_path / "start").set_params(embedder__module_params=None)
    with pytest.raises(ContaminationError, match="site/00"):
        cross_validate(pipeline, x, y=y, groups=subjects, cv="subject-kfold-2", progress=False)
    record = fit_all(pipeline, x[~half], tmp_path / "m", y=y[~half], groups=subjects[~half])
    assert provenance_of(tmp_path / "m").saw(sorted(set(subjects))) == sorted(set(subjects))
    assert record["checkpoints"]


def test_what_cannot_be_saved_is_told_before_a_fit(data, tmp_path):
    x, y, subjects = data
    with pytest.raises(TypeError, match="in a probe behind an Embedder"):
        fit_all(LinearProbe(), x, tmp_path / "m", y=y, groups=subjects)
    pipeline = frozen().set_params(linearprobe__train_split=lambda dataset, y, groups: None)
    with pytest.raises(SavedPipelineError, match="train_split"):
        cross_validate(pipeline, x, y=y, groups=subjects, folder=tmp_path / "r", progress=False)
    assert not (tmp_path / "r" / "folds").exists()
