"""Checkpoints that saw test subjects: found wherever they are named, refused before anything is fitted, marked if allowed."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import LoadInitState, TrainEndCheckpoint

import biot_bd
from biot_bd import BIOTClassifier, ContaminationError, PercentileScaler, cross_validate, load_pipeline
from biot_bd.evaluation import Result, compare_table
from biot_bd.evaluation.final_model import fit_all
from biot_bd.evaluation.model_selection.contamination import check_contamination, find_origins
from biot_bd.exceptions import RunFolderError, SplitError
from biot_bd.models import provenance_of
from biot_bd.models.checkpoints import loading as checkpoints
from biot_bd.models.checkpoints.provenance import Provenance, Seen
from biot_bd.models.checkpoints.published import KNOWN
from biot_bd.report import write_report

SIX = "six-datasets-18"
CHB = [f"chb-mit/{number:02d}" for number in (1, 2, 3, 22)]
SITE = [f"site/{number:02d}" for number in range(1, 5)]
TINY = {
    "module__embed_dim": 16,
    "module__num_heads": 2,
    "module__num_layers": 1,
    "max_epochs": 1,
    "batch_size": 16,
    "device": "cpu",
    "random_state": 0,
}


def data_of(subjects, per_subject=8, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.array(subjects, dtype=object), per_subject)
    y = np.tile(np.arange(per_subject) % 3 == 0, len(subjects)).astype(int)
    x = rng.standard_normal((len(y), 4, 300)).astype("float32") * (1 + y[:, None, None])
    return x, y, groups


def classifier(**params):
    return BIOTClassifier(**{**TINY, **params})


def run(pipeline, subjects=tuple(SITE), **options):
    x, y, groups = data_of(subjects)
    return cross_validate(pipeline, x, y=y, groups=groups, **{"progress": False, "cv": "subject-kfold-2", **options})


@pytest.fixture
def untouched(monkeypatch):
    """Let nothing be loaded, downloaded or fitted."""

    def fail(*args, **kwargs):
        raise AssertionError("something was loaded or fitted")

    monkeypatch.setattr(BIOTClassifier, "fit", fail)
    monkeypatch.setattr(LogisticRegression, "fit", fail)
    monkeypatch.setattr("biot_bd.training.pretrained.load_checkpoint", fail)
    monkeypatch.setattr(checkpoints, "load_checkpoint", fail)
    monkeypatch.setattr("biot_bd.models.checkpoints.hub.fetch", fail)
    monkeypatch.setattr(torch, "load", fail)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A model that we trained on site/01 to site/04, saved."""
    folder = tmp_path_factory.mktemp("own") / "model"
    x, y, groups = data_of(SITE)
    fit_all(classifier(), x, folder, y=y, groups=groups)
    return folder


# --- where checkpoints are found --------------------------------------------------------------------------


def sources(estimator, **options):
    return {origin.provenance.source for origin in find_origins(estimator, **options)}


@pytest.mark.parametrize(
    "estimator",
    [
        BIOTClassifier(pretrained=SIX),
        make_pipeline(PercentileScaler(), BIOTClassifier(pretrained=SIX)),
        make_pipeline(PercentileScaler(), make_pipeline(FunctionTransformer(), BIOTClassifier(pretrained=SIX))),
        GridSearchCV(BIOTClassifier(pretrained=SIX), {"lr": [0.1]}),
        GridSearchCV(make_pipeline(BIOTClassifier()), {"biotclassifier__pretrained": [None, SIX]}),
        GridSearchCV(
            make_pipeline(BIOTClassifier()), [{"biotclassifier__lr": [1]}, {"biotclassifier__pretrained": (SIX,)}]
        ),
        GridSearchCV(BIOTClassifier(), {"pretrained": np.array([None, SIX], dtype=object)}),
        GridSearchCV(BIOTClassifier(), {"pretrained": np.array([SIX])}),
        GridSearchCV(Pipeline([("net", BIOTClassifier())]), {"net": [BIOTClassifier(pretrained=SIX)]}),
        VotingClassifier([("one", LogisticRegression()), ("two", BIOTClassifier(pretrained=SIX))]),
        CalibratedClassifierCV(BIOTClassifier(pretrained=SIX)),
        {"net__pretrained": [None, SIX]},
        KNOWN[SIX],
        SIX,
        [SIX],
    ],
)
def test_a_checkpoint_is_found_wherever_it_is_named(estimator):
    assert sources(estimator) == {SIX}


@pytest.mark.parametrize(
    "estimator",
    [
        BIOTClassifier(),
        make_pipeline(PercentileScaler(), LogisticRegression()),
        BIOTClassifier(criterion=torch.nn.CrossEntropyLoss()),
        GridSearchCV(BIOTClassifier(), {"pretrained": [None], "criterion": [torch.nn.CrossEntropyLoss()]}),
        GridSearchCV(BIOTClassifier(), {"lr": [0.1, 0.2], "module__ch_names": [(SIX,)]}),
    ],
)
def test_random_weights_have_no_origin(estimator):
    assert find_origins(estimator) == []


def test_all_checkpoints_of_a_grid_are_named_with_their_parameter():
    grid = GridSearchCV(make_pipeline(BIOTClassifier()), {"biotclassifier__pretrained": [None, "prest-16", SIX]})
    found = find_origins(grid)
    assert [origin.source for origin in found] == ["prest-16", SIX]
    assert {origin.where for origin in found} == {"param_grid__biotclassifier__pretrained"}
    assert find_origins(make_pipeline(BIOTClassifier(pretrained=SIX)))[0].where == "biotclassifier__pretrained"


def test_a_module_that_was_built_from_a_checkpoint_tells_and_another_instance_does_not():
    from biot_bd.models import BIOT

    module = BIOT(n_chans=4, n_times=300, n_outputs=2, embed_dim=16, num_heads=2, num_layers=1)
    (origin,) = find_origins(BIOTClassifier(module=module))
    assert not origin.provenance.known
    with pytest.raises(ContaminationError, match="instance of BIOT"):
        run(BIOTClassifier(module=module))

    class Report:
        provenance = Provenance("told", (Seen("site", ("site/01",), "supervised"),))

    module.load_report = Report()
    assert sources(BIOTClassifier(module=module)) == {"told"}
    assert sources(make_pipeline(BIOTClassifier(module=torch.nn.Sequential(module)))) == {"told"}


def test_weights_that_a_callback_of_skorch_loads_are_unknown():
    net = BIOTClassifier(callbacks=[("load", LoadInitState(TrainEndCheckpoint()))])
    (origin,) = find_origins(net)
    assert "LoadInitState" in origin.provenance.source
    assert not origin.provenance.known


def test_a_frozen_estimator_keeps_what_it_has_seen(own):
    fitted = load_pipeline(own)
    assert find_origins(fitted) == []  # it will be cloned and trained anew
    assert find_origins(fitted, fitted=True)[0].provenance.saw(SITE) == SITE
    frozen = make_pipeline(FunctionTransformer(), FrozenEstimator(fitted))
    assert find_origins(frozen)[0].provenance.saw(SITE) == SITE
    with pytest.raises(ContaminationError, match="site/01"):
        run(frozen)
    other = FrozenEstimator(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    with pytest.raises(ContaminationError, match="frozen LogisticRegression"):
        run(make_pipeline(FunctionTransformer(lambda x: x[:, 0]), other))


# --- the check --------------------------------------------------------------------------------------------


def test_six_datasets_saw_all_of_chbmit_but_three():
    everyone = [f"chb-mit/{number:02d}" for number in range(1, 25) if number != 21]
    seen = [subject for subject in everyone if check_contamination(find_origins(SIX), [subject], allow=True)]
    assert seen == [subject for subject in everyone if subject not in ("chb-mit/22", "chb-mit/23", "chb-mit/24")]
    assert check_contamination(find_origins("prest-16"), everyone) is None
    assert check_contamination(find_origins("shhs-prest-18"), everyone) is None


@pytest.mark.parametrize(
    "name", ["chb-mit/21", "chb-mit/chb21", "chb-mit/chb05", "chb-mit/5", "CHB-MIT/05", "chb-mit/sub-05"]
)
def test_other_names_of_the_same_child_are_recognised(name):
    with pytest.raises(ContaminationError, match="chb-mit/0"):
        check_contamination(find_origins(SIX), [name, "chb-mit/22"])
    found = check_contamination(find_origins(SIX), [name, "chb-mit/22"], allow=True)
    assert found.subjects == (name,)


def test_subjects_without_a_data_set_cannot_be_compared():
    with pytest.raises(ContaminationError, match="'dataset/subject'"):
        check_contamination(find_origins(SIX), ["chb05", "p2"])
    assert check_contamination(find_origins("prest-16"), ["p1", "p2"]) is None


def test_no_subjects_are_refused():
    for subjects in (None, []):
        with pytest.raises(ContaminationError, match="name no subjects"):
            check_contamination(find_origins("prest-16"), subjects)
        assert check_contamination([], subjects) is None


def test_all_checkpoints_concerned_are_named(tmp_path):
    unknown = tmp_path / "found.ckpt"
    unknown.write_bytes(b"whatever")
    with pytest.raises(ContaminationError, match=f"{SIX} was trained.*found.ckpt.*nothing tells"):
        check_contamination(find_origins([SIX, "prest-16", unknown]), CHB)


def test_allow_must_be_a_truth_value():
    with pytest.raises(TypeError, match="'no'"):
        check_contamination([], CHB, allow="no")


# --- cross_validate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pipeline",
    [
        make_pipeline(PercentileScaler(), classifier(pretrained=SIX)),
        GridSearchCV(
            make_pipeline(PercentileScaler(), classifier()),
            {"biotclassifier__pretrained": [None, "prest-16", SIX]},
            cv=GroupKFold(2),
        ),
    ],
    ids=["pipeline", "grid"],
)
def test_cross_validate_refuses_before_anything_is_done(pipeline, untouched, tmp_path):
    with pytest.raises(ContaminationError, match="chb-mit/01, chb-mit/02, chb-mit/03 of chb-mit") as caught:
        run(pipeline, CHB, folder=tmp_path / "run")
    assert isinstance(caught.value, ValueError)
    assert "chb-mit/22" not in str(caught.value)
    assert "allow_contaminated=True" in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert biot_bd.exceptions.ContaminationError is ContaminationError


def test_one_contaminated_fold_of_many_is_enough(untouched):
    with pytest.raises(ContaminationError, match="chb-mit/03"):
        run(classifier(pretrained=SIX), ["chb-mit/22", "chb-mit/23", "chb-mit/24", "chb-mit/03"], cv="subject-loo")


def test_arrays_without_subjects_raise(untouched):
    x, y, _ = data_of(CHB)
    with pytest.raises(ValueError, match="subjects"):
        cross_validate(classifier(pretrained=SIX), x, y=y)
    with pytest.raises(ValueError, match="subjects"):
        cross_validate(classifier(pretrained=SIX), x, y=y, allow_contaminated=True)


def test_a_missing_checkpoint_is_said_before_the_first_fit(untouched):
    with pytest.raises(FileNotFoundError, match="prest-16"):
        run(classifier(pretrained="prest16"))


def test_a_model_that_we_trained_is_refused_on_its_subjects(own, untouched):
    with pytest.raises(ContaminationError, match=r"site/01, site/02, site/03, site/04"):
        run(classifier(pretrained=str(own)))
    with pytest.raises(ContaminationError, match="site/02"):
        run(classifier(pretrained=own), ["other/01", "other/02", "other/03", "site/02"])


def test_what_is_allowed_is_written_everywhere(own, tmp_path):
    folder = tmp_path / "run"
    subjects = [*SITE[:2], "other/01", "other/02"]
    result = run(
        make_pipeline(PercentileScaler(), classifier(pretrained=own)), subjects, folder=folder, allow_contaminated=True
    )
    text = result.contamination
    assert text.startswith("contaminated: ")
    assert "site/01, site/02" in text
    stored = json.loads((folder / "run.json").read_text())
    assert stored["contamination"] == text
    assert stored["allow_contaminated"] is True
    assert stored["contaminated_subjects"] == ["site/01", "site/02"]
    assert stored["checkpoints"][0]["trained_on"][0]["subjects"] == SITE
    assert json.loads((folder / "metrics.json").read_text())["contamination"] == text
    assert result.notes[0] == text
    assert result.table["contaminated"].to_dict() == {
        "other/01": False,
        "other/02": False,
        "site/01": True,
        "site/02": True,
    }
    shown = " ".join(str(result).split())
    assert shown.startswith("CONTAMINATED: ")
    assert "site/01, contaminated" in shown
    assert "other/01, contaminated" not in shown
    assert text in shown
    assert str(Result.open(folder)) == str(result)
    assert compare_table({"it": result}).loc["it", "contaminated"] == text
    _check_folds(folder, stored)
    html = write_report(folder).read_text()
    assert "<title>CONTAMINATED: " in html
    assert 'class="banner" role="note">Contaminated: ' in html
    assert "never saw this subject" not in html
    assert "subjects that it never saw" not in html
    assert "Started from" in html


def _check_folds(folder, stored):
    """Each fold says whether its own test subjects were seen; its model's record keeps the whole chain."""
    for fold in stored["splits"]:
        place = folder / "folds" / f"{fold['fold']:02d}"
        facts = json.loads((place / "fold.json").read_text())
        assert bool(facts["contamination"]) == bool(set(fold["test"]) & set(SITE))
        provenance = provenance_of(place / "model")
        assert provenance.known
        assert provenance.saw([*SITE, "other/01", "other/02"]) == sorted({*SITE, *fold["train"], *fold["valid"]})
        record = json.loads((place / "model" / "pipeline.json").read_text())["record"]
        assert record["contamination"] == facts["contamination"]


def test_a_clean_run_says_so_and_has_no_mark(own):
    result = run(classifier(pretrained=own), ["other/01", "other/02", "other/03", "other/04"])
    assert result.contamination is None
    assert result.metrics["contamination"] is None
    assert result.run["allow_contaminated"] is False
    assert result.run["checkpoints"][0]["source"] == str(own)
    assert not result.table["contaminated"].any()
    assert "ontaminated" not in str(result).replace("CONTAMINATED", "contaminated")


def test_allowing_what_is_clean_changes_nothing():
    pipe = make_pipeline(FunctionTransformer(lambda x: x.std(axis=-1)), LogisticRegression())
    plain, allowed = run(pipe), run(pipe, allow_contaminated=True)
    assert plain.run["fingerprint"] == allowed.run["fingerprint"]
    assert allowed.contamination is None


# --- chains -----------------------------------------------------------------------------------------------


def test_refusal_holds_through_chains(own, tmp_path):
    """own (site) -> second (other) -> third: both data sets stay in the record."""
    x, y, groups = data_of(["other/01", "other/02", "other/03"])
    record = fit_all(classifier(pretrained=own), x, tmp_path / "second", y=y, groups=groups)
    assert record["contamination"] is None
    assert Provenance.from_dict(record["trained_on"]).saw([*SITE, *groups]) == sorted({*SITE, *groups})
    for subjects, name in ((SITE, "site/01"), (["other/03", "new/01", "new/02"], "other/03")):
        with pytest.raises(ContaminationError, match=name):
            run(classifier(pretrained=tmp_path / "second"), subjects, cv="subject-loo")
    x, y, groups = data_of(["new/01", "new/02", "new/03", "site/01"])
    options = {"y": y, "groups": groups, "hold_out": ["site/01"]}
    with pytest.raises(ContaminationError, match="site/01"):
        fit_all(classifier(pretrained=tmp_path / "second"), x, tmp_path / "third", **options)
    assert not (tmp_path / "third").exists()
    record = fit_all(
        classifier(pretrained=tmp_path / "second"), x, tmp_path / "third", allow_contaminated=True, **options
    )
    assert "site/01" in record["contamination"]
    third = provenance_of(tmp_path / "third")
    assert third.saw(["site/01", "other/01", "new/02", "new/09"]) == ["new/02", "other/01", "site/01"]


def test_validation_subjects_count_as_seen(own):
    record = json.loads((own / "pipeline.json").read_text())["record"]
    assert record["subjects"]["valid"]
    assert sorted(record["subjects"]["train"] + record["subjects"]["valid"]) == SITE
    assert provenance_of(own).saw(SITE) == SITE


def test_a_chain_from_an_unknown_checkpoint_stays_unknown(own, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in own.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "pipeline.json").read_text())
    for part in (config["record"]["trained_on"], config["pipeline"]["fitted"]["provenance"]):
        part["known"] = False
    (copy / "pipeline.json").write_text(json.dumps(config))
    x, y, groups = data_of(["other/01", "other/02", "other/03"])
    fit_all(classifier(pretrained=copy), x, tmp_path / "next", y=y, groups=groups)
    assert not provenance_of(tmp_path / "next").known
    with pytest.raises(ContaminationError, match="nothing tells"):
        run(classifier(pretrained=tmp_path / "next"), ["new/01", "new/02", "new/03"])


# --- a hold-out -------------------------------------------------------------------------------------------


def test_a_hold_out_is_scored_once_by_a_model_that_never_saw_it(tmp_path):
    x, y, groups = data_of(SITE)
    folder = tmp_path / "model"
    record = fit_all(classifier(), x, folder, y=y, groups=groups, hold_out=["site/02"], scoring="roc_auc")
    assert record["subjects"]["test"] == ["site/02"]
    assert "site/02" not in record["subjects"]["train"] + record["subjects"]["valid"]
    assert provenance_of(folder).saw(SITE) == ["site/01", "site/03", "site/04"]
    scores = json.loads((folder / "metrics.json").read_text())
    assert scores.pop("version") == 2
    assert scores == record["scores"] == json.loads((folder / "pipeline.json").read_text())["record"]["scores"]
    held = groups == "site/02"
    proba = load_pipeline(folder).predict_proba(x[held])[:, 1]
    assert scores["pooled"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(y[held], proba))
    assert list(scores["subjects"]) == ["site/02"]
    assert scores["contamination"] is None
    # The same subjects alone give the same model: the hold-out changed nothing.
    fit_all(classifier(), x[~held], tmp_path / "alone", y=y[~held], groups=groups[~held])
    np.testing.assert_array_equal(load_pipeline(tmp_path / "alone").predict_proba(x[held])[:, 1], proba)


def test_without_a_hold_out_nothing_is_refused_and_old_scores_go(own, tmp_path):
    x, y, groups = data_of(SITE)
    fit_all(classifier(), x, tmp_path / "model", y=y, groups=groups, hold_out=["site/02"])
    record = fit_all(classifier(pretrained=own), x, tmp_path / "model", y=y, groups=groups)
    assert "scores" not in record
    assert "no score of its own" in record["not_a_result"]
    assert not (tmp_path / "model" / "metrics.json").exists()


def test_fit_all_refuses_known_names_without_a_file(untouched, tmp_path):
    x, y, groups = data_of(CHB)
    with pytest.raises(ContaminationError, match="chb-mit/02"):
        fit_all(
            classifier(pretrained=SIX), x, tmp_path / "m", y=y, groups=groups, hold_out=["chb-mit/02", "chb-mit/22"]
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("hold_out", "error", "message"),
    [
        (["site/09"], SplitError, "site/09"),
        (SITE, SplitError, "nobody is left"),
        ("site/01", TypeError, "list of subjects"),
    ],
)
def test_an_impossible_hold_out_raises(hold_out, error, message, untouched, tmp_path):
    x, y, groups = data_of(SITE)
    with pytest.raises(error, match=message):
        fit_all(classifier(), x, tmp_path / "m", y=y, groups=groups, hold_out=hold_out)


def test_predictions_do_not_change_with_the_mark(own):
    first = run(classifier(pretrained=own), allow_contaminated=True)
    assert isinstance(first.predictions, pd.DataFrame)
    assert all(first.table["contaminated"])


def test_another_checkpoint_under_the_same_name_is_another_study(own, tmp_path):
    """Also where only a grid names it."""
    copy, folder = tmp_path / "model", tmp_path / "run"
    shutil.copytree(own, copy)
    grid = GridSearchCV(classifier(train_split=None), {"pretrained": [str(copy)]}, cv=GroupKFold(2))
    subjects = ["other/01", "other/02", "other/03", "other/04"]
    run(grid, subjects, folder=folder, validation_fraction=0)
    x, y, groups = data_of(SITE, seed=5)
    fit_all(classifier(), x, copy, y=y, groups=groups)
    with pytest.raises(RunFolderError, match="checkpoints"):
        run(grid, subjects, folder=folder, validation_fraction=0)
