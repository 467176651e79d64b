"""Probes behind embedders and ensembles are saved whole, read back with the same numbers, and damage is told."""

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from small_composites import PROBES, embedder, fitted, probed, seeds
from small_pipeline import SIZE, few_windows

from biot_bd import BIOTClassifier, PercentileScaler, load_pipeline, load_scorer, save_pipeline
from biot_bd.embedding import LinearProbe
from biot_bd.ensembles import SeedEnsemble
from biot_bd.exceptions import SavedPipelineError
from biot_bd.models import provenance_of
from biot_bd.models.checkpoints.pipeline_folder import classifier_spec
from biot_bd.training import check_savable
from biot_bd.training.persistence.audit import audit
from biot_bd.training.persistence.kinds import is_saved
from biot_bd.training.persistence.networks import as_network, network_pipeline

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Every composite: fitted, where it was saved, windows."""
    made = {name: fitted(probed(name)) for name in PROBES}
    made["seeds"], made["seeds of probes"] = fitted(seeds()), fitted(seeds(of_probes=True))
    root = tmp_path_factory.mktemp("composites")
    return {
        name: (pipeline, save_pipeline(pipeline, root / name, record={"name": name}), windows)
        for name, (pipeline, windows) in made.items()
    }


@pytest.fixture
def linear(models, tmp_path):
    """A copy of the folder of the linear probe, and a way to change its description."""
    _, folder, _ = models["linear"]
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def change(function):
        description = json.loads((copy / "pipeline.json").read_text())
        function(description["pipeline"]["steps"], description)
        (copy / "pipeline.json").write_text(json.dumps(description))
        return copy

    return change


NAMES = [*PROBES, "seeds", "seeds of probes"]


@pytest.mark.parametrize("name", NAMES)
def test_a_composite_comes_back_with_the_same_numbers(name, models):
    pipeline, folder, windows = models[name]
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "pipeline.json"]
    again = load_pipeline(folder)
    assert (again.predict_proba(windows) == pipeline.predict_proba(windows)).all()
    assert (again.predict(windows) == pipeline.predict(windows)).all()
    assert again.record_ == {"name": name}
    assert type(again) is type(pipeline)
    twice = save_pipeline(again, folder.parent / f"{name} again")
    first, second = (json.loads((one / "pipeline.json").read_text()) for one in (folder, twice))
    weights = [classifier_spec(description)["weights"] for description in (first, second)]
    assert weights[0] == weights[1]
    assert (first["version"], second["record"]) == (3, {})


@pytest.mark.parametrize("name", NAMES)
def test_it_scores_as_one_network(name, models):
    pipeline, folder, windows = models[name]
    scorer = load_scorer(folder)
    np.testing.assert_allclose(scorer.predict_proba(windows), pipeline.predict_proba(windows), atol=1e-6)
    assert isinstance(scorer.classifier, BIOTClassifier)
    assert isinstance(scorer.classifier.module_, torch.nn.Module)
    assert scorer.input_info_.ch_names == windows.info.ch_names
    assert [type(step) for step in scorer.steps] == [PercentileScaler]


def test_what_a_probe_learnt_and_whom_it_saw_is_kept(models):
    pipeline, folder, _ = models["linear"]
    again = load_pipeline(folder)[-1]
    assert again.chosen_ == pipeline[-1].chosen_
    assert again.chosen_["reason"] is None
    assert again.converged_ is True
    assert again.train_subjects_ == ("p0", "p1", "p2", "p3")
    assert again.get_params() == pipeline[-1].get_params()


def test_the_threshold_is_kept_and_decides(models, tmp_path):
    pipeline, _, windows = models["linear"]
    pipeline[-1].threshold_ = float(np.median(pipeline.predict_proba(windows)[:, 1]))
    try:
        folder = save_pipeline(pipeline, tmp_path / "m")
    finally:
        threshold, pipeline[-1].threshold_ = pipeline[-1].threshold_, None
    expected = (pipeline.predict_proba(windows)[:, 1] >= threshold).astype(int)
    assert load_scorer(folder).threshold_ == threshold
    assert (load_scorer(folder).predict(windows) == expected).all()
    assert (load_pipeline(folder).predict(windows) == expected).all()


def test_the_folder_needs_neither_the_checkpoint_nor_a_cache(tmp_path):
    windows = few_windows()
    net = BIOTClassifier(max_epochs=1, batch_size=8, patience=None, random_state=0, verbose=0, device="cpu", **SIZE)
    start = save_pipeline(make_pipeline(PercentileScaler(), net).fit(windows, windows.y), tmp_path / "start")
    whole = make_pipeline(
        PercentileScaler(), embedder(pretrained=str(start)).set_params(module_params=None), LinearProbe(C=1.0)
    )
    whole.fit(windows, windows.y, linearprobe__groups=windows.groups)
    folder = save_pipeline(whole, tmp_path / "whole")
    before = whole.predict_proba(windows)
    shutil.rmtree(start)
    assert (load_pipeline(folder).predict_proba(windows) == before).all()
    assert load_pipeline(folder)[1].provenance_.trained_on == whole[1].provenance_.trained_on


def test_contamination_finds_what_the_encoder_and_the_probe_saw(tmp_path):
    windows = few_windows()
    net = BIOTClassifier(max_epochs=1, batch_size=8, patience=None, random_state=0, verbose=0, device="cpu", **SIZE)
    windows.groups = np.where(windows.y == 0, "clinic/01", "clinic/02").astype(object)
    start = make_pipeline(PercentileScaler(), net.set_params(train_split=None)).fit(windows, windows.y)
    save_pipeline(start, tmp_path / "start")
    whole = make_pipeline(
        PercentileScaler(), embedder(pretrained=tmp_path / "start").set_params(module_params=None), LinearProbe(C=1.0)
    )
    whole.fit(windows, windows.y, linearprobe__groups=np.where(windows.y == 0, "other/07", "other/08"))
    seen = provenance_of(save_pipeline(whole, tmp_path / "whole"))
    everybody = ["clinic/01", "clinic/02", "clinic/03", "other/07", "other/08"]
    assert seen.saw(everybody) == ["clinic/01", "clinic/02", "other/07", "other/08"]
    assert seen.known


def test_a_probe_of_unknown_subjects_is_not_known_to_be_clean(tmp_path):
    windows = few_windows()
    pipeline = make_pipeline(PercentileScaler(), embedder(), LinearProbe(C=1.0)).fit(windows, windows.y)
    assert not provenance_of(save_pipeline(pipeline, tmp_path)).known


@pytest.mark.parametrize(
    ("of_probes", "expected"),
    [(False, {"biot_bd.ensembles:SeedEnsemble"}), (True, {"biot_bd:Embedder", "frozen_probes:linear"})],
)
def test_an_audit_names_every_part(of_probes, expected, models):
    found = audit(models["seeds of probes" if of_probes else "seeds"][1])
    assert found.problems == []
    assert expected <= {one.name for one in found.named}
    assert sum(one.name == "biot_bd:BIOTClassifier" for one in found.named) == 2
    assert {one["name"]: one["role"] for one in found.files} == {
        "model.safetensors": "weights, checksum right",
        "pipeline.json": "description",
    }


def test_a_plain_classifier_is_written_as_before(tmp_path):
    windows = few_windows()
    net = BIOTClassifier(max_epochs=1, batch_size=8, patience=None, random_state=0, verbose=0, device="cpu", **SIZE)
    folder = save_pipeline(net.fit(windows, windows.y), tmp_path)
    description = json.loads((folder / "pipeline.json").read_text())
    assert description["version"] == 2
    assert "prefix" not in description["pipeline"]["weights"]


def test_a_composite_and_a_plain_model_replace_each_other(models, tmp_path):
    pipeline, _, windows = models["linear"]
    plain = BIOTClassifier(max_epochs=1, batch_size=8, patience=None, random_state=0, verbose=0, device="cpu", **SIZE)
    save_pipeline(plain.fit(windows, windows.y), tmp_path)
    assert (tmp_path / "config.json").exists()
    save_pipeline(pipeline, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "pipeline.json"]
    assert (load_pipeline(tmp_path).predict_proba(windows) == pipeline.predict_proba(windows)).all()
    save_pipeline(plain, tmp_path)
    assert (load_pipeline(tmp_path).predict_proba(windows) == plain.predict_proba(windows)).all()


def test_what_is_no_composite_is_refused_before_it_is_fitted():
    logistic = make_pipeline(embedder(), LogisticRegression())
    alone = make_pipeline(PercentileScaler(), LinearProbe())
    for pipeline in (logistic, alone, SeedEnsemble(LogisticRegression()), LinearProbe()):
        assert not is_saved(pipeline)
        with pytest.raises(SavedPipelineError, match="only BIOTClassifier, probes behind an Embedder"):
            check_savable(pipeline)
    for pipeline in (probed("linear"), seeds(), make_pipeline(PercentileScaler(), seeds())):
        assert is_saved(pipeline)
        check_savable(pipeline)
    with pytest.raises(SavedPipelineError, match="not fitted"):
        save_pipeline(probed("linear"), "nowhere")


# --- damage, and descriptions of strangers ----------------------------------------------------------------


def test_a_damaged_array_is_told(models, tmp_path):
    _, folder, _ = models["linear"]
    shutil.copytree(folder, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 255
    weights.write_bytes(bytes(content))
    with pytest.raises(SavedPipelineError, match="the weights are damaged"):
        load_pipeline(tmp_path / "m")
    assert audit(tmp_path / "m").problems


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda steps, _: steps[-1]["fitted"].pop("attributes"), "attributes"),
        (lambda steps, _: steps[-1]["weights"].pop("prefix"), "prefix"),
        (lambda steps, _: steps.pop(1), "stands behind no embedder"),
        (lambda steps, _: steps[1]["classifier"].update(kind="transformer"), "its model is of kind 'transformer'"),
        (lambda steps, _: steps[-1].update(kind="pickle"), "unknown kind, 'pickle'"),
        (
            lambda steps, _: steps[-1].update({"class": {"$class": "sklearn.linear_model:LogisticRegression"}}),
            "may not be loaded",
        ),
        (lambda steps, _: steps[-1].update({"class": {"$class": "biot_bd:PercentileScaler"}}), "damaged|is no probe"),
        (lambda steps, _: steps[1].update({"class": {"$class": "biot_bd:PercentileScaler"}}), "damaged|is no embedder"),
        (lambda steps, _: steps[-1]["weights"].update(prefix="elsewhere."), "lacks"),
        (lambda steps, _: steps[1]["classifier"]["weights"].update(prefix="elsewhere."), "do not fit"),
        (lambda steps, _: steps[1]["classifier"]["params"].update(module__embed_dim=4096), "4096"),
        (lambda steps, description: description.update(version=2), "damaged|unknown kind"),
        (lambda steps, description: description.update(version=9), "version 9"),
    ],
)
def test_a_description_of_another_model_is_told_from_this_one(change, message, linear):
    folder = linear(change)
    with pytest.raises(SavedPipelineError, match=message):
        load_pipeline(folder)
    with pytest.raises(SavedPipelineError):
        load_scorer(folder)


def test_a_model_in_a_model_without_end_is_refused(models, tmp_path):
    _, folder, _ = models["seeds"]
    shutil.copytree(folder, tmp_path / "m")
    file = tmp_path / "m" / "pipeline.json"
    description = json.loads(file.read_text())
    deep = description["pipeline"]
    for _ in range(20):
        deep = {**description["pipeline"], "members": [deep]}
    file.write_text(json.dumps({**description, "pipeline": deep}))
    with pytest.raises(SavedPipelineError, match="more than 8 deep"):
        load_pipeline(tmp_path / "m")


# --- one network ------------------------------------------------------------------------------------------


def test_members_with_other_steps_make_no_one_network(models):
    pipeline, _, _ = models["seeds"]
    parts = [
        make_pipeline(PercentileScaler(q), member[-1]) for q, member in zip((95, 90), pipeline.members_, strict=True)
    ]
    other = SeedEnsemble(seeds().estimator, seeds=(1, 2))
    other.__dict__ |= pipeline.__dict__ | {"members_": parts}
    with pytest.raises(SavedPipelineError, match="member 1 has other steps in front"):
        as_network(other)


def test_the_network_leaves_the_fitted_parts_alone(models):
    pipeline, _, windows = models["linear"]
    before = pipeline.predict_proba(windows)
    whole = network_pipeline(pipeline)
    np.testing.assert_allclose(whole.predict_proba(windows), before, atol=1e-6)
    assert (pipeline.predict_proba(windows) == before).all()
    assert network_pipeline(whole) is whole


@pytest.mark.parametrize("module", ["eegnet", "shallow", "masked-vit"])
def test_other_models_have_a_probe_for_their_head_too(module, tmp_path):
    windows = few_windows()
    pipeline = make_pipeline(PercentileScaler(), embedder(module), LinearProbe(C=1.0))
    pipeline.fit(windows, windows.y)
    folder = save_pipeline(pipeline, tmp_path)
    assert (load_pipeline(folder).predict_proba(windows) == pipeline.predict_proba(windows)).all()
    np.testing.assert_allclose(load_scorer(folder).predict_proba(windows), pipeline.predict_proba(windows), atol=1e-6)
