"""Scores made of stored predictions: those of the run itself exactly, new ones by hand, damage refused."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from biot_bd import cross_validate, load_dataset, prepare, registry
from biot_bd.cli import main
from biot_bd.evaluation import choose_threshold, rescore, write_rescored
from biot_bd.evaluation.further_scores import sens_fa_of
from biot_bd.evaluation.metrics import sens_fa_auc
from biot_bd.evaluation.rescoring import runs_below
from biot_bd.evaluation.stored_predictions import open_stored
from biot_bd.events import EventDetector, ScoredRecording, score_chance, score_events, score_nedc_subjects
from biot_bd.exceptions import RunFolderError, UnknownNameError
from biot_bd.hookspecs import hookimpl
from biot_bd.runs import to_jsonable

KEPT = ("scoring", "folds", "subjects", "macro", "pooled", "prevalence", "events")


def log_power(x):
    return np.log(np.var(np.asarray(x), axis=-1) + 1e-3)


def pipeline():
    return make_pipeline(FunctionTransformer(log_power), StandardScaler(), LogisticRegression())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rescored")
    recordings = load_dataset("demo", folder / "edf", n_subjects=4, recordings=1, minutes=3)
    windows = prepare(recordings, folder / "windows", stride_s=5.0)
    cross_validate(pipeline(), windows, folder=folder / "run", progress=False)
    return folder / "run"


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def test_a_runs_own_metrics_are_found_again_exactly(run):
    found, stored = rescore(run), json.loads((run / "metrics.json").read_text())
    for name in KEPT:
        assert to_jsonable(found[name]) == stored[name], name


def test_the_runs_own_detector_fitted_again_finds_the_same_events(run):
    found, stored = rescore(run, event_detector=EventDetector()), json.loads((run / "metrics.json").read_text())
    assert to_jsonable(found["events"]) == stored["events"]


def test_another_detector_is_the_one_of_a_run_made_with_it(run, tmp_path):
    from biot_bd import Windows

    template = EventDetector(target="sensitivity", target_sensitivity=0.8, smoothing_s=0)
    made = cross_validate(
        pipeline(),
        Windows.open(run.parent / "windows"),
        event_detector=template,
        folder=tmp_path / "other",
        progress=False,
    )
    found = rescore(run, event_detector=template)
    assert to_jsonable(found["events"]) == to_jsonable(made.metrics["events"])
    assert found["event_detector"]["target"] == "sensitivity"


def test_new_metrics_are_those_of_their_library_at_the_folds_thresholds(run):
    found = rescore(run, ["f1", "neg_log_loss"])
    test = open_stored(run).test
    decided = test["proba"] >= test["threshold"]
    assert found["pooled"]["f1"]["value"] == pytest.approx(f1_score(test["y_true"], decided))
    assert found["pooled"]["neg_log_loss"]["value"] == pytest.approx(-log_loss(test["y_true"], test["proba"]))
    assert found["scoring"] == ["f1", "neg_log_loss"]
    assert found["further"] == {}


class Median:
    """A plugin."""

    @hookimpl
    def register_metrics(self, register):
        register("median-of-seizures", lambda y, p: float(np.median(p[y == 1])))


def test_a_plugins_metric_goes_by_its_name(run):
    registry.add_plugin(Median(), "median-plugin")
    try:
        found = rescore(run, ["median-of-seizures"])
    finally:
        registry._manager.unregister(name="median-plugin")
        registry.metrics._remove_all_of("median-plugin")
        del registry._plugins["median-plugin"]
    test = open_stored(run).test
    assert found["pooled"]["median-of-seizures"]["value"] == test.loc[test["y_true"] == 1, "proba"].median()


def test_a_run_of_three_classes_is_scored_again_exactly_and_has_no_events(tmp_path):
    rng, groups = np.random.default_rng(0), np.repeat([f"s/{i}" for i in range(6)], 18)
    y = np.tile(np.arange(18) % 3, 6)
    X = rng.normal(0, 20, (108, 2, 100)) * (1 + y[:, None, None])
    made = cross_validate(
        pipeline(), X, y=y, groups=groups, folder=tmp_path / "run", cv="subject-kfold-3", progress=False
    )
    found = rescore(tmp_path / "run")
    for name in KEPT:
        assert to_jsonable(found[name]) == to_jsonable(made.metrics[name]), name
    assert found["further"]["sens_fa_auc"]["strict"]["reason"] == "more than two classes"
    assert found["further"]["nedc-ovlp"] == {"value": None, "reason": "more than two classes"}
    with pytest.raises(ValueError, match="more than two classes and no threshold"):
        rescore(tmp_path / "run", threshold=0.5)


def test_another_threshold_is_chosen_on_each_folds_validation_predictions(run):
    found, predictions = (
        rescore(run, ["balanced_accuracy"], threshold="matched-prevalence"),
        open_stored(run).predictions,
    )
    for row in found["folds"]:
        valid = predictions[(predictions["fold"] == row["fold"]) & (predictions["part"] == "valid")]
        assert row["threshold"] == choose_threshold(valid["y_true"], valid["proba"], "matched-prevalence").value
    assert rescore(run, ["sensitivity"], threshold=0.0)["pooled"]["sensitivity"]["value"] == 1.0


def test_scores_of_events_are_those_of_the_stored_events(run):
    recordings = open_stored(run).recordings
    detections = json.loads((run / "metrics.json").read_text())["events"]["detections"]
    assert len(detections) == sum(len(one.hypothesis) for one in recordings)
    further = rescore(run)["further"]
    assert further["nedc-taes"] == score_nedc_subjects(recordings, "nedc-taes")
    assert further["chance"] == score_chance(recordings)
    assert isinstance(recordings[0], ScoredRecording)


def test_the_sensitivity_at_a_rate_is_the_best_of_all_thresholds_by_the_scorer(run):
    stored = open_stored(run)
    rows = rescore(run, ["sensitivity_at_fa"])["further"]["sensitivity_at_fa"]["rates"]
    fold = next(fold for fold in stored.folds if str(fold["fold"]) in rows[0]["folds"])
    detector = EventDetector.from_dict(fold["events"]["detector"])
    test, points = stored.test[stored.test["fold"] == fold["fold"]], []
    curves = {
        name: detector.curve(part["proba"], part["start_s"], fold["events"]["recordings"][name]["duration_s"])[1]
        for name, part in test.groupby("recording")
    }
    for threshold in np.unique(np.concatenate(list(curves.values()))):
        tp = fp = n = 0
        seconds = 0.0
        for name, curve in curves.items():
            one = fold["events"]["recordings"][name]
            alarms = [(k, min(k + 1, one["duration_s"])) for k in np.flatnonzero(curve >= threshold).tolist()]
            alarms = [pair for pair in alarms if pair[1] > pair[0]]
            scores = score_events(one["reference"], alarms, one["duration_s"])
            tp, fp, n = tp + scores["tp"], fp + scores["fp"], n + scores["n_reference"]
            seconds += one["duration_s"]
        points.append((fp / (seconds / 3600), tp / n))
    most = max(rate for rate, _ in points)
    points = points[next(i for i, (rate, _) in enumerate(points) if rate == most) :]
    best = [max([0.0, *(found for kept, found in points if kept <= rate)]) for rate in (1.0, 0.1)]
    assert [row["folds"][str(fold["fold"])] for row in rows] == pytest.approx(best)


def test_nothing_but_the_new_files_is_written_and_no_torch_is_imported(copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    code = (
        "import sys; from biot_bd.cli import main; sys.argv = ['biot-bd', 'rescore', sys.argv[1]]\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "sys.exit('torch is there' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert {path.name for path in set(after) - set(before)} == {"rescored.json", "rescored.csv"}
    assert all(after[path] == content for path, content in before.items())
    table = pd.read_csv(copy / "rescored.csv")
    assert set(table["metric"]) == {"average_precision", "roc_auc", "balanced_accuracy"}
    for line in ("Sens@FA AUC (strict)", "against chance", "nedc-taes: ", "conformal sets by class at 0.9"):
        assert line in done.stdout


def test_scores_of_a_run_alone_have_other_scorers_beside(run, capsys):
    assert main(["score", str(run), "--scorer", "nedc-ovlp", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["nedc"]["nedc-ovlp"]
    assert found == score_nedc_subjects(open_stored(run).recordings, "nedc-ovlp")


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda run: (run / "predictions.parquet").unlink(), FileNotFoundError, r"no predictions.parquet"),
        (lambda run: (run / "predictions.parquet").write_bytes(b"PAR1"), RunFolderError, r"no readable predictions"),
        (lambda run: (run / "folds" / "01" / "fold.json").unlink(), FileNotFoundError, r"how fold 1 was made"),
        (lambda run: (run / "metrics.json").write_text("{}"), RunFolderError, r"metrics.json"),
    ],
)
def test_missing_and_damaged_files_are_refused(copy, harm, error, message):
    harm(copy)
    with pytest.raises(error, match=message):
        rescore(copy)
    assert not (copy / "rescored.json").exists()


def test_predictions_of_another_run_are_refused(copy):
    table = pd.read_parquet(copy / "predictions.parquet")
    table.iloc[:-3].to_parquet(copy / "predictions.parquet")
    with pytest.raises(RunFolderError, match=r"fold 3 has \d+ test windows, expected \d+ by metrics.json"):
        rescore(copy)


def test_a_metric_of_no_name_is_refused_and_one_of_the_run_is_noted(run, copy):
    with pytest.raises(UnknownNameError, match=r"no_such_metric.*from stored predictions sens_fa_auc, "):
        rescore(run, ["no_such_metric"])
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["scoring"].append("my_own")
    (copy / "metrics.json").write_text(json.dumps(metrics))
    found = rescore(copy)
    assert found["notes"] == ["my_own: a metric of the run that no name finds; it stands in metrics.json"]
    assert write_rescored(copy, found).is_file()


def test_all_runs_below_a_folder_are_found(copy):
    shutil.copytree(copy, copy.parent / "study" / "b")
    assert runs_below(copy) == [copy]
    assert runs_below(copy.parent) == [copy, copy.parent / "study" / "b"]
    with pytest.raises(FileNotFoundError, match="no run folder"):
        runs_below(copy / "events")


# --- Sens@FA AUC of a table -----------------------------------------------------------------------


def table(starts, length=10.0, fold=0, recording="rec"):
    rng = np.random.default_rng(len(starts))
    y = np.zeros(len(starts), dtype=int)
    y[3:6] = 1
    return pd.DataFrame(
        {
            "part": "test",
            "fold": fold,
            "recording": recording,
            "start_s": starts,
            "stop_s": np.asarray(starts) + length,
            "y_true": y,
            "proba": rng.random(len(starts)),
        }
    )


def test_windows_speak_for_one_step_and_gaps_cut_recordings():
    starts = np.append(np.arange(40) * 5.0, 400 + np.arange(40) * 5.0)
    made = table(starts)
    found = sens_fa_of(made.sample(frac=1, random_state=0))
    piece = np.repeat(["before", "after"], 40)
    assert found["window_s"] == 5.0
    assert found["strict"]["value"] == sens_fa_auc([(made["y_true"], made["proba"], piece)], window_s=5)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (table(np.array([0.0, 10.0, 13.3, 20.0, 31.0, 40.0, 51.7])), "equal steps"),
        (table(np.arange(8) * 60.0), "nobody looks"),
        (table(np.arange(8) * 10.0).assign(recording=None), "names no recordings"),
        (table(np.arange(8) * 10.0).assign(recording=list("abcdefgh")), "one window each"),
    ],
)
def test_windows_that_do_not_tile_have_no_sens_fa_auc(made, reason):
    found = sens_fa_of(made)
    assert found["strict"]["value"] is None
    assert reason in found["strict"]["reason"]
