"""Cross-validation over arrays with scikit-learn's estimators, against scikit-learn itself."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from biot_bd.evaluation import Result, cross_validate
from biot_bd.evaluation.metrics.thresholds import choose_threshold
from biot_bd.exceptions import RunFolderError, SplitError


def log_power(x):
    return np.log(np.var(np.asarray(x), axis=-1))


def pipeline(**params):
    return make_pipeline(FunctionTransformer(log_power), StandardScaler(), LogisticRegression(**params))


def cohort(n_subjects=5, n_windows=30, seed=0, without=()):
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"p{i}" for i in range(n_subjects)], n_windows)
    y = (rng.random(len(subjects)) < 0.3).astype(int)
    y[:: n_windows // 2] = 1
    y[np.isin(subjects, without)] = 0
    X = rng.standard_normal((len(y), 2, 40)).astype("float32") * (1 + 0.35 * y[:, None, None])
    return X, y, subjects


def run(pipe=None, data=None, **options):
    X, y, subjects = data or cohort()
    return cross_validate(pipe or pipeline(), X, y=y, groups=subjects, **{"progress": False, **options})


def test_equals_scikit_learn_where_nobody_validates():
    X, y, subjects = cohort()
    result = run(validation_fraction=0)
    expected = cross_val_predict(pipeline(), X, y, groups=subjects, cv=LeaveOneGroupOut(), method="predict_proba")[:, 1]
    test = result.predictions.query("part == 'test'").sort_values("window")
    np.testing.assert_array_equal(test["window"], np.arange(len(y)))
    np.testing.assert_allclose(test["proba"], expected, rtol=1e-12)
    for subject, part in test.groupby("subject"):
        scores = result.metrics["subjects"][subject]
        assert scores["average_precision"]["value"] == pytest.approx(
            average_precision_score(part["y_true"], part["proba"])
        )
        assert scores["roc_auc"]["value"] == pytest.approx(roc_auc_score(part["y_true"], part["proba"]))
        balanced = balanced_accuracy_score(part["y_true"], part["proba"] >= 0.5)
        assert scores["balanced_accuracy"]["value"] == pytest.approx(balanced)
        assert scores["prevalence"] == pytest.approx(part["y_true"].mean())
    assert result.metrics["pooled"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(y, expected))
    subjects_mean = result.table["roc_auc"].mean()
    assert result.metrics["macro"]["roc_auc"] == {
        "value": pytest.approx(subjects_mean),
        "n_subjects": 5,
        "reason": None,
    }


def test_validation_subjects_never_train_and_give_the_threshold():
    X, y, subjects = cohort()
    result = run()
    for fold in result.run["splits"]:
        train = np.isin(subjects, fold["train"])
        model = pipeline().fit(X[train], y[train])
        valid = np.isin(subjects, fold["valid"])
        stored = result.predictions.query(f"fold == {fold['fold']} and part == 'valid'")
        np.testing.assert_allclose(stored["proba"], model.predict_proba(X[valid])[:, 1], rtol=1e-12)
        assert stored["threshold"].unique() == choose_threshold(y[valid], stored["proba"]).value


def test_pooled_balanced_accuracy_uses_each_folds_own_threshold():
    result = run()
    test = result.predictions.query("part == 'test'")
    assert test["threshold"].nunique() > 1
    expected = balanced_accuracy_score(test["y_true"], test["proba"] >= test["threshold"])
    assert result.metrics["pooled"]["balanced_accuracy"]["value"] == pytest.approx(expected)


def test_a_subject_without_seizures_is_left_out_of_the_mean_by_name():
    result = run(data=cohort(without=("p2",)))
    scores = result.metrics["subjects"]["p2"]
    assert scores["average_precision"] == {"value": None, "reason": "no seizure windows"}
    assert scores["prevalence"] == 0
    assert result.metrics["macro"]["average_precision"]["n_subjects"] == 4
    values = result.table["average_precision"]
    assert values.isna().sum() == 1
    assert result.metrics["macro"]["average_precision"]["value"] == pytest.approx(values.dropna().mean())
    assert result.table.loc["p2", "undefined"] == "no seizure windows"
    assert "p2: no seizure windows" in str(result)
    assert "nan" not in json.dumps(result.metrics).lower()


@pytest.mark.slow
def test_the_same_whatever_the_number_of_jobs(tmp_path):
    forest = make_pipeline(FunctionTransformer(log_power), RandomForestClassifier(8))
    one, two = run(forest, folder=tmp_path / "one"), run(forest, folder=tmp_path / "two", n_jobs=2)
    pd.testing.assert_frame_equal(one.predictions, two.predictions, check_exact=True)
    assert one.metrics == two.metrics


def test_a_folds_seed_reaches_estimators_without_one():
    forest = make_pipeline(FunctionTransformer(log_power), RandomForestClassifier(8))
    first, again, other = run(forest), run(forest), run(forest, random_state=1)
    assert first.predictions["proba"].equals(again.predictions["proba"])
    assert not first.predictions["proba"].equals(other.predictions["proba"])
    assert forest[-1].random_state is None


def test_files_are_as_designed(tmp_path):
    folder = tmp_path / "run"
    result = run(folder=folder, cv="subject-kfold-2", title="a title", notes=["a remark"])
    stored = json.loads((folder / "run.json").read_text())
    assert stored["state"] == "finished"
    assert stored["seed"] == 0
    assert stored["notes"][0] == "a remark"
    assert {"parameters", "environment", "data", "splits", "pipeline", "title", "not_a_result"} <= set(stored)
    assert stored["data"]["subjects"]["p0"]["n_windows"] == 30
    assert set(json.loads((folder / "metrics.json").read_text())) >= {"folds", "subjects", "macro", "pooled"}
    columns = ["fold", "part", "window", "recording", "subject", "start_s", "stop_s", "y_true", "proba", "threshold"]
    assert list(pd.read_parquet(folder / "predictions.parquet").columns) == columns
    fold = json.loads((folder / "folds" / "01" / "fold.json").read_text())
    assert sorted(fold["train"] + fold["valid"] + fold["test"]) == [f"p{i}" for i in range(5)]
    assert fold["model"] is None
    assert "pickle" in fold["model_reason"]
    assert (folder / "folds" / "01" / "predictions.parquet").is_file()
    assert not list(folder.rglob("*.tmp*"))
    opened = Result.open(folder)
    pd.testing.assert_frame_equal(opened.predictions, result.predictions)
    assert str(opened) == str(result)


def test_the_text_says_what_must_be_minded():
    text = str(run(title="small model", notes=["mind this"], data=cohort(3)))
    for part in (
        "small model",
        "mind this",
        "not a result: only 3 subjects",
        "macro",
        "pooled",
        "NOT A RESULT",
        "AUC-PR",
        "too few",
    ):
        assert part in text


def test_finished_folds_are_not_computed_again(tmp_path):
    folder = tmp_path / "run"
    first = run(folder=folder)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("fold.json")}
    shutil.rmtree(folder / "folds" / "03")
    (folder / "metrics.json").unlink()
    second = run(folder=folder)
    changed = [path for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
    assert changed == [folder / "folds" / "03" / "fold.json"]
    pd.testing.assert_frame_equal(first.predictions, second.predictions, check_exact=True)
    assert first.metrics == second.metrics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipe": pipeline(C=0.5)}, r"logisticregression__C: was 1.0, now is 0.5"),
        ({"random_state": 1}, r"random_state: was 0, now is 1"),
        ({"scoring": "roc_auc"}, r"scoring"),
        ({"threshold": 0.5}, r"threshold: was 'balanced-accuracy', now is 0.5"),
        ({"data": cohort(seed=1)}, r"data: was"),
        ({"cv": "subject-kfold-2"}, r"splits"),
    ],
)
def test_another_study_in_the_folder_raises_and_says_what_differs(tmp_path, change, message):
    run(folder=tmp_path / "run")
    with pytest.raises(RunFolderError, match=message):
        run(**change, folder=tmp_path / "run")


def test_a_study_that_failed_at_once_gives_its_folder_up(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ValueError):
        run(pipeline(C=-1.0), folder=folder)
    (folder / "tensorboard" / "fold-00").mkdir(parents=True)
    assert json.loads((folder / "run.json").read_text())["state"] == "running"
    restart = folder / "folds" / "00" / "restart"
    restart.mkdir(parents=True)
    (restart / "restart-x.pt").write_bytes(b"")
    with pytest.raises(RunFolderError, match="another study"):  # hours of training may stand in a restart point
        run(pipeline(C=0.5), folder=folder)
    shutil.rmtree(restart)
    result = run(pipeline(C=0.5), folder=folder)
    assert result.run["state"] == "finished"
    assert not (folder / "tensorboard").exists()
    assert result.metrics == run(pipeline(C=0.5)).metrics


def test_a_folder_of_something_else_raises(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match=r"no run folder and not empty \(thesis.tex\)"):
        run(folder=tmp_path)
    with pytest.raises(RunFolderError, match="is a file"):
        run(folder=tmp_path / "thesis.tex")


HOLD = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()"


def test_two_processes_do_not_write_one_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    command = [sys.executable, "-c", HOLD, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="another process"):
            run(folder=folder)
        other.stdin.close()
    assert run(folder=folder).folder == folder


def test_a_failing_fold_leaves_the_finished_ones(tmp_path):
    folder = tmp_path / "run"
    X, y, subjects = cohort()
    X[subjects == "p4", 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"(?i)infinity|NaN"):
        run(data=(X, y, subjects), folder=folder)
    with pytest.raises(FileNotFoundError, match=r"no metrics\.json"):
        Result.open(folder)
    assert json.loads((folder / "run.json").read_text())["state"] == "running"


def test_search_by_group_inside(tmp_path):
    search = GridSearchCV(pipeline(), {"logisticregression__C": [0.01, 1.0]}, cv=GroupKFold(2), scoring="roc_auc")
    result = run(search, folder=tmp_path / "run")
    fold = json.loads((tmp_path / "run" / "folds" / "00" / "fold.json").read_text())
    assert fold["search"]["best_params"]["logisticregression__C"] in (0.01, 1.0)
    X, y, subjects = cohort()
    train = np.isin(subjects, fold["train"])
    expected = search.fit(X[train], y[train], groups=subjects[train])
    test = result.predictions.query("fold == 0 and part == 'test'")
    np.testing.assert_allclose(test["proba"], expected.predict_proba(X[subjects == "p0"])[:, 1], rtol=1e-12)


def test_a_search_that_mixes_subjects_raises():
    with pytest.raises(SplitError, match="give it a splitter by group"):
        run(GridSearchCV(pipeline(), {"logisticregression__C": [1.0]}, cv=2))


def test_a_search_as_last_step():
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=GroupKFold(2))
    assert run(make_pipeline(FunctionTransformer(log_power), search)).metrics["macro"]["roc_auc"]["value"] > 0.6


def test_repeated_tests_of_a_subject_are_averaged():
    from sklearn.model_selection import GroupShuffleSplit

    result = run(cv=GroupShuffleSplit(4, test_size=2, random_state=0))
    tested = pd.Series([subject for fold in result.run["splits"] for subject in fold["test"]]).value_counts()
    subject = tested.index[0]
    per_fold = [
        roc_auc_score(part["y_true"], part["proba"])
        for _, part in result.predictions.query(f"part == 'test' and subject == '{subject}'").groupby("fold")
    ]
    assert len(per_fold) == tested.iloc[0] > 1
    assert result.metrics["subjects"][subject]["roc_auc"]["value"] == pytest.approx(np.mean(per_fold))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": None}, "pass y="),
        ({"groups": None}, "pass groups="),
        ({"y": np.zeros(3)}, "one entry a window"),
        ({"y": np.full(150, 2)}, r"labels must be 0 \(background\) and 1"),
        ({"groups": np.full(150, None)}, "150 windows have no subject"),
        ({"groups": np.full(150, "one")}, "at least 2 subjects"),
        ({"random_state": None}, "random_state"),
        ({"random_state": -1}, "random_state"),
        ({"threshold": "best"}, "threshold rule"),
        ({"cv": "loo"}, "no split named"),
    ],
)
def test_bad_input_raises_before_anything_is_fitted(options, message):
    X, y, subjects = cohort()
    with pytest.raises(ValueError, match=message):
        cross_validate(DummyClassifier(), X, **{"y": y, "groups": subjects, "progress": False, **options})


def test_without_probabilities_an_error_says_what_to_do():
    with pytest.raises(ValueError, match="CalibratedClassifierCV"):
        run(make_pipeline(FunctionTransformer(log_power), LinearSVC()))


def test_the_pipeline_is_not_changed():
    pipe = pipeline()
    before = repr(pipe.get_params())
    run(pipe)
    assert repr(pipe.get_params()) == before
    assert not hasattr(pipe[-1], "coef_")
