"""A comparison of foundation models: cells, folds, resumption, refusals, failures, plugins, the table."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_cases import recordings
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, Windows, load_dataset, prepare, registry
from biot_bd.datasets import make_dataset
from biot_bd.evaluation import Result, StudyPlan, run_study
from biot_bd.evaluation.metrics import sens_fa_score
from biot_bd.evaluation.studies.foundation_study import (
    CellTask,
    FoundationStudy,
    estimate_study,
    run_cell_task,
    write_table,
)
from biot_bd.evaluation.studies.study_cells import contamination_of, read_record
from biot_bd.evaluation.studies.study_costs import measured
from biot_bd.evaluation.studies.study_pipelines import pipeline_of
from biot_bd.exceptions import RunFolderError, SplitError
from biot_bd.hookspecs import hookimpl
from biot_bd.signals import BandPass
from biot_bd.training import save_pipeline

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"embed_dim": 16, "num_heads": 2, "num_layers": 1, "hop_length": 200}
TRAINING = {"max_epochs": 1, "batch_size": 32, "device": "cpu", "verbose": 0}


class Loudness(torch.nn.Module):
    """A model of a plugin: the amplitude of each channel, and a linear layer."""

    def __init__(self, n_chans, n_outputs, broken=False):
        super().__init__()
        self.broken = broken
        self.final_layer = torch.nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        if self.broken:
            raise RuntimeError("the plugin's model is broken")
        return self.final_layer(x.abs().mean(-1))


def load_clinic(root):
    """A cohort of a plugin: made-up subjects, four of them."""
    parts = recordings(cases=[2, 3, 4, 5]).datasets
    rows = [(part.description["recording"], "loaded", "") for part in parts]
    return make_dataset(parts, pd.DataFrame(rows, columns=["recording", "outcome", "detail"]))


@hookimpl
def register_models(register):
    register("loudness", Loudness)


@hookimpl
def register_datasets(register):
    register("clinic", load_clinic)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    found = load_dataset("demo", root / "edf", n_subjects=4, minutes=2, recordings=1)
    return prepare(found, root / "windows", stride_s=10).folder


@pytest.fixture(scope="module")
def plugin():
    if "loudness" not in registry.models:
        registry.add_plugin(
            SimpleNamespace(register_models=register_models, register_datasets=register_datasets), "loud"
        )


def plan_of(store, **changes):
    values = {
        "cohorts": [{"name": "demo", "stores": [str(store)]}],
        "baselines": ["line-length"],
        "cv": "subject-kfold-2",
        "training": TRAINING,
        "embedding": {"device": "cpu"},
        "n_resamples": 200,
    }
    return StudyPlan.from_dict({**values, **changes})


@pytest.fixture(scope="module")
def made(store, plugin, tmp_path_factory):
    """A study of a plugin's model and cohort, one that fails and one that cannot take the windows."""
    folder = tmp_path_factory.mktemp("study") / "study"
    plan = plan_of(
        store,
        cohorts=[
            {"name": "demo", "stores": [str(store)]},
            {"name": "clinic", "dataset": "clinic", "root": ".", "prepare": [{"stride_s": 10.0}]},
        ],
        models=[
            {"name": "loudness"},
            {"name": "labram", "strategies": ["linear"]},
            {"name": "broken", "module": "loudness", "params": {"broken": True}, "strategies": ["scratch"]},
        ],
        strategies=["linear", "knn"],
    )
    lines = []
    return run_study(plan, folder, report=lines.append), lines


def row_of(study, cohort, name):
    return next(row for row in study.rows if (row["cohort"], row["row"]) == (cohort, name))


def test_models_and_cohorts_of_plugins_stand_in_the_table_with_their_slots(made):
    study, _ = made
    for cohort in ("demo", "clinic"):
        for name in ("loudness-random/linear", "loudness-random/knn"):
            row = row_of(study, cohort, name)
            assert (row["state"], row["slots"], row["weights"]) == ("finished", "16 of 16", "random")
            assert 0 <= row["average_precision"] <= 1
    # The made-up seizures are louder: a model of loudness finds them among the clinic's windows.
    assert row_of(study, "clinic", "loudness-random/linear")["roc_auc"] > 0.9


def test_all_rows_of_a_cohort_have_the_same_folds(made):
    study, _ = made
    for cohort in ("demo", "clinic"):
        runs = [json.loads(path.read_text()) for path in study.folder.glob(f"{cohort}/**/seed-0/run.json")]
        assert len(runs) == 5
        sides = [[(fold["train"], fold["valid"], fold["test"]) for fold in run["splits"]] for run in runs]
        assert all(one == sides[0] for one in sides)


def test_a_cell_that_fails_is_told_and_the_others_go_on(made):
    study, lines = made
    row = row_of(study, "demo", "broken/scratch")
    assert row["state"] == "failed"
    assert "RuntimeError: the plugin's model is broken" in row["reason"]
    assert [row["row"] for row in study.failed] == ["broken/scratch"] * 2
    record = json.loads((study.folder / "demo/broken/scratch/seed-0.json").read_text())
    assert any("in forward" in line for line in record["traceback"])
    assert len(lines) == len(study.plan.cells())
    assert "failed" in " ".join(lines)


def test_a_model_that_cannot_take_the_windows_is_refused_with_the_command(made):
    row = row_of(made[0], "demo", "labram-random/linear")
    assert (row["state"], row["average_precision"]) == ("refused", None)
    assert "labram knows no channels" in row["reason"]
    assert "biot-bd prepare DATASET RECORDINGS -o WINDOWS --montage szcore-19 --sfreq 200" in row["reason"]


def test_the_numbers_are_those_of_the_runs(made):
    study, _ = made
    row = row_of(study, "clinic", "loudness-random/knn")
    run = Result.open(study.folder / "clinic/loudness-random/knn/seed-0")
    for name in ("average_precision", "roc_auc", "balanced_accuracy"):
        assert row[name] == pytest.approx(run.metrics["macro"][name]["value"])
    assert row["events_f1"] == pytest.approx(run.metrics["events"]["macro"]["events"]["f1"]["value"])
    test = run.predictions.query("part == 'test'").sort_values(["fold", "recording", "start_s"])
    folds = [(t["y_true"], t["proba"], t["recording"].astype(str)) for _, t in test.groupby("fold")]
    expected = sens_fa_score([tuple(map(np.asarray, fold)) for fold in folds], window_s=10).value
    assert row["sens_fa_auc"] == pytest.approx(expected)
    reference = row_of(study, "clinic", "line-length")
    assert row["difference"] == pytest.approx(row["average_precision"] - reference["average_precision"])
    assert reference["difference"] is None
    assert row["against"] == "line-length"


def test_chance_and_constant_detectors_stand_beside(made):
    study, _ = made
    chance = row_of(study, "demo", "chance")
    for name in ("always-on", "always-off"):
        assert row_of(study, "demo", name)["average_precision"] == pytest.approx(chance["average_precision"])
    assert (row_of(study, "demo", "always-on")["events_sensitivity"], chance["roc_auc"]) == (1.0, 0.5)


def test_embeddings_are_paid_for_once(made):
    study, _ = made
    first, second = (row_of(study, "demo", f"loudness-random/{word}") for word in ("linear", "knn"))
    assert first["embed_s"] > 0
    assert first["embedding_shared_with"] is None
    assert (second["embed_s"], second["embedding_shared_with"]) == (None, "loudness-random/linear")
    assert second["fit_s"] > 0
    assert second["n_probes"] == 2


def test_the_files_hold_the_same_table(made):
    study, _ = made
    again = FoundationStudy.open(study.folder)
    assert again.rows == study.rows
    assert again.plan == study.plan
    text = (study.folder / "comparison.md").read_text()
    assert text.count("| loudness-random/linear |") == 2
    assert "**clinic**" in text
    lines = (study.folder / "comparison.csv").read_text().splitlines()
    assert len(lines) == 1 + len(study.rows)
    assert "not a result: generated data (demo)" in study.notes
    assert "loudness-random/linear" in str(study)


def test_the_same_call_computes_what_failed_and_nothing_else(made):
    study, _ = made
    runs = {path: path.stat().st_mtime_ns for path in study.folder.glob("*/**/fold.json")}
    lines = []
    run_study(study.plan, study.folder, report=lines.append)
    assert {line.split("seed")[0].split(" ", 1)[1].strip() for line in lines} == {
        f"{cohort} {row}" for cohort in ("demo", "clinic") for row in ("labram-random/linear", "broken/scratch")
    }
    assert runs == {path: path.stat().st_mtime_ns for path in study.folder.glob("*/**/fold.json")}


def test_a_study_goes_on_where_it_was_stopped(store, plugin, tmp_path):
    plan = plan_of(store, models=[{"name": "loudness"}], strategies=["linear"], baselines=[])
    lines = []

    def stop(line):
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(plan, tmp_path / "study", report=stop)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "study").glob("demo/**/fold.json")}
    assert len(kept) == 4
    study = run_study(plan, tmp_path / "study", report=lines.append)
    assert all(path.stat().st_mtime_ns == kept[path] for path in kept)
    assert lines[2:]
    assert lines[2].startswith("[3/3] demo loudness-random/linear seed 0: finished")
    whole = run_study(plan, tmp_path / "whole")
    assert [row["average_precision"] for row in study.rows] == [row["average_precision"] for row in whole.rows]


def test_other_settings_are_another_study_and_a_larger_plan_is_the_same(store, tmp_path):
    run_study(plan_of(store, baselines=[]), tmp_path / "study")
    with pytest.raises(RunFolderError, match="cv: was 'subject-kfold-2', now is 'subject-loo'"):
        run_study(plan_of(store, baselines=[], cv="subject-loo"), tmp_path / "study")
    grown = run_study(plan_of(store, baselines=["line-length"], seeds=[0, 1]), tmp_path / "study")
    row = row_of(grown, "demo", "line-length")
    assert (row["state"], row["n_seeds"]) == ("finished", 2)
    seeds = [Result.open(tmp_path / f"study/demo/line-length/seed-{seed}") for seed in (0, 1)]
    means = [run.metrics["macro"]["average_precision"]["value"] for run in seeds]
    assert row["average_precision"] == pytest.approx(np.mean(means))


def test_cells_of_other_windows_are_not_taken_for_those_of_the_plan(store, tmp_path):
    """The same windows of filtered signals: same subjects, labels and times, other scores."""
    found = load_dataset("demo", store.parent / "edf", n_subjects=4, minutes=2, recordings=1)
    filtered = prepare(found, tmp_path / "filtered", stride_s=10, preprocessors=[BandPass(8, 30).as_preprocessor()])
    run_study(plan_of(store), tmp_path / "study")
    with pytest.raises(RunFolderError, match="line-length: its windows are not those of"):
        run_study(plan_of(filtered.folder), tmp_path / "study")
    moved = shutil.copytree(store, tmp_path / "moved")
    assert run_study(plan_of(moved), tmp_path / "study").failed == []


def test_cells_of_weights_that_changed_are_not_taken_for_those_of_the_plan(store, tmp_path):
    weights, windows = tmp_path / "weights", Windows.open(store)
    plan = plan_of(
        store,
        baselines=[],
        models=[{"name": "mine", "module": "biot", "pretrained": str(weights)}],
        strategies=["knn"],
        random_starts=False,
        allow_contaminated=True,
    )

    def train(seed):
        shutil.rmtree(weights, ignore_errors=True)
        size = {f"module__{name}": value for name, value in TINY.items()}
        net = BIOTClassifier(random_state=seed, train_split=None, **size, **TRAINING)
        save_pipeline(make_pipeline(PercentileScaler(on_bad="drop"), net).fit(windows[::3], windows.y[::3]), weights)

    train(0)
    assert {row["state"] for row in run_study(plan, tmp_path / "study").rows} == {"finished"}
    train(1)
    with pytest.raises(RunFolderError, match=f"mine/knn: its weights are not those of {weights}"):
        run_study(plan, tmp_path / "study")


def test_weights_that_are_damaged_or_gone_fail_in_their_cells(store, tmp_path):
    (tmp_path / "damaged.ckpt").write_bytes(b"no weights")
    models = [
        {"name": name, "module": "biot", "pretrained": str(tmp_path / f"{name}.ckpt")} for name in ("damaged", "gone")
    ]
    plan = plan_of(
        store, models=models, strategies=["linear"], baselines=[], random_starts=False, allow_contaminated=True
    )
    study = run_study(plan, tmp_path / "study")
    found = {row["row"]: (row["state"], row["reason"]) for row in study.rows}
    for name in ("damaged", "gone"):
        state, reason = found[f"{name}/linear"]
        assert state == "failed"
        assert f"{name}.ckpt" in reason
    assert found["always-on"][0] == "finished"


@pytest.mark.slow
def test_other_windows_in_the_same_place_are_another_study(tmp_path):
    found = load_dataset("demo", tmp_path / "edf", n_subjects=4, minutes=2, recordings=1)
    plan = plan_of(prepare(found, tmp_path / "windows", stride_s=10).folder, baselines=[])
    run_study(plan, tmp_path / "study")
    prepare(found, tmp_path / "windows", stride_s=5, overwrite=True)
    with pytest.raises(RunFolderError, match="its windows are not those of"):
        run_study(plan, tmp_path / "study")


@pytest.mark.slow
def test_a_cell_that_failed_may_be_cured_by_other_settings(store, plugin, tmp_path):
    def run(broken):
        model = {"name": "cured", "module": "loudness", "params": {"broken": broken}, "strategies": ["scratch"]}
        return row_of(
            run_study(plan_of(store, models=[model], baselines=[]), tmp_path / "study"), "demo", "cured/scratch"
        )

    assert [run(True)["state"], run(False)["state"]] == ["failed", "finished"]
    with pytest.raises(RunFolderError, match="broken: was False, now is True"):
        run(True)


def test_weights_that_saw_a_subject_are_refused_before_they_are_asked_for(tmp_path):
    """The checkpoint is named, not here, and its record says that it saw all of CHB-MIT."""
    windows = prepare(recordings(cases=[2, 3, 4, 5]), tmp_path / "windows", stride_s=10)
    plan = plan_of(
        windows.folder, models=[{"name": "six-datasets-18"}], strategies=["linear"], baselines=[], random_starts=False
    )
    study = run_study(plan, tmp_path / "study")
    row = row_of(study, "demo", "six-datasets-18/linear")
    assert (row["state"], row["contamination"]) == ("refused", "contaminated")
    assert "chb-mit/02" in row["contamination_reason"]
    assert row["average_precision"] is None


def test_what_weights_saw_is_one_of_three(store, tmp_path):
    from biot_bd import Windows

    windows = Windows.open(store)
    (tmp_path / "w.ckpt").write_bytes(b"nobody knows")
    mine = {"name": "mine", "module": "biot", "pretrained": str(tmp_path / "w.ckpt")}
    plan = plan_of(store, models=[{"name": "prest-16"}, mine])
    rows = {row.name: row for row in plan.rows()}
    found = contamination_of(pipeline_of(rows["prest-16/linear"], windows, plan, seed=0), windows)
    assert found["state"] == "clean"
    assert "prest" in found["text"].lower()
    random = contamination_of(pipeline_of(rows["prest-16-random/linear"], windows, plan, seed=0), windows)
    assert random == {"state": "clean", "text": "starts from random weights", "subjects": []}
    unknown = contamination_of(pipeline_of(rows["mine/linear"], windows, plan, seed=0), windows)
    assert unknown["state"] == "unknown"


@pytest.mark.slow
def test_absent_channels_that_a_model_takes_for_zeros_show_in_the_table(tmp_path, plugin):
    made = recordings(cases=[2, 3, 4, 5])
    for one in made.datasets:
        one.raw.drop_channels(["T7-P7"])
    windows = prepare(made, tmp_path / "windows", stride_s=10, on_missing="drop")
    plan = plan_of(windows.folder, models=[{"name": "loudness"}, {"name": "biot", "params": TINY}], baselines=[])
    study = run_study(plan, tmp_path / "study")
    assert row_of(study, "demo", "loudness-random/linear")["slots"].startswith(
        "15 of 16; wrong: slot 2: T7-P7 is one value throughout in 100% of the windows"
    )
    assert row_of(study, "demo", "biot-random/linear")["slots"] == "15 of 16, 1 absent"


@pytest.mark.slow
def test_a_model_takes_the_preparation_that_its_contract_allows(tmp_path):
    found = load_dataset("demo", tmp_path / "edf", n_subjects=4, minutes=2, recordings=1, reference="referential")
    stores = [
        str(prepare(found, tmp_path / name, montage=name, stride_s=10).folder) for name in ("biot-16", "szcore-19")
    ]
    plan = plan_of(
        stores[0],
        cohorts=[{"name": "demo", "stores": stores}],
        models=[{"name": "labram", "params": {"num_layers": 1}}, {"name": "biot", "params": TINY}],
    )
    study = run_study(plan, tmp_path / "study")
    labram, biot = row_of(study, "demo", "labram-random/linear"), row_of(study, "demo", "biot-random/linear")
    assert (labram["slots"], biot["slots"]) == ("19 of 19", "16 of 16")
    assert [Path(row["store"]).name for row in (labram, biot)] == ["szcore-19", "biot-16"]
    assert labram["difference"] is not None  # compared, although the windows lie in two stores


def test_a_worker_computes_a_cell_from_the_plan_as_it_is_written(store, tmp_path):
    plan = plan_of(store, baselines=[])
    run_study(plan, tmp_path / "study")
    before = read_record(tmp_path / "study", plan.cells()[1])
    task = CellTask(plan.as_dict(), tmp_path / "study", "demo/always-on/seed-0")
    assert run_cell_task(task) == before
    with pytest.raises(ValueError, match="no cell 'demo/x/seed-0'"):
        run_cell_task(replace(task, label="demo/x/seed-0"))
    (tmp_path / "study/demo/always-on/seed-0.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"seed-0\.json"):
        write_table(plan, tmp_path / "study")


@pytest.mark.slow
def test_the_peak_of_memory_is_that_of_the_block():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the peak of a part of a process's life")
    with measured() as large:
        block = np.ones(60_000_000)
    del block
    with measured() as small:
        pass
    assert large["peak_memory_bytes"] - small["peak_memory_bytes"] > 300e6


def test_a_split_that_does_not_exist_is_told_before_anything_is_computed(store):
    with pytest.raises(SplitError, match=r"no split named 'subjects'; there are subject-loo"):
        StudyPlan(cohorts=[{"name": "demo", "stores": store}], cv="subjects")


def test_too_many_folds_are_told_with_the_cohort_and_as_the_reason_of_every_row(store, tmp_path):
    plan = plan_of(store, cv="subject-kfold-9")
    with pytest.raises(SplitError, match=r"^cohort demo: 'subject-kfold-9' needs 2 to 4 folds for 4 subjects"):
        estimate_study(plan, tmp_path / "study")
    study = run_study(plan, tmp_path / "study")
    assert {row["state"] for row in study.rows} == {"failed"}
    assert all("needs 2 to 4 folds for 4 subjects" in row["reason"] for row in study.rows)


def test_the_official_split_is_planned_and_followed(tmp_path):
    """Its parts go with the recordings; the last subject alone is tested."""
    found = load_dataset("demo", tmp_path / "edf", n_subjects=4, minutes=2, recordings=1)
    for part, raw in zip(("train", "train", "dev", "eval"), found.datasets, strict=True):
        raw.description["split"] = part
    windows = prepare(found, tmp_path / "windows", stride_s=10)
    plan = plan_of(windows.folder, cv="tusz-official")
    assert {row["cells"] for row in estimate_study(plan, tmp_path / "study")} == {1}
    study = run_study(plan, tmp_path / "study")
    run = Result.open(study.folder / "demo/line-length/seed-0")
    assert [list(split["test"]) for split in run.run["splits"]] == [["demo/04"]]
