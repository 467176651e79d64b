"""Readers of what the package itself writes: models, runs, stores and notes, each with a small valid folder."""

import functools
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import requests
from fuzz_frame import Target, damage_bytes, damage_json, damage_parquet
from small_model import save_small_model

from biot_bd import Detector, Windows
from biot_bd.commands.demo import _check_folder
from biot_bd.datasets.chbmit_fetch import NOTES, _Fetcher
from biot_bd.datasets.demo import _settle
from biot_bd.evaluation import Recalibration, Result, StudyResult, load_recalibration, save_recalibration
from biot_bd.evaluation.fold import finished_fold
from biot_bd.evaluation.metrics.window_metrics import as_metrics
from biot_bd.evaluation.run_facts import read_intervals
from biot_bd.evaluation.stored_folds import stored_run
from biot_bd.events import EventDetector, load_event_detector, save_event_detector
from biot_bd.exceptions import SavedPipelineError
from biot_bd.models import load_checkpoint, provenance_of
from biot_bd.report import write_comparison, write_report
from biot_bd.report.run_folder import read_run
from biot_bd.runs import write_json
from biot_bd.training import load_pipeline, load_scorer
from biot_bd.training.persistence.audit import audit
from biot_bd.windows.store import open_map, read_recording
from biot_bd.windows.store_users import users_of
from biot_bd.windows.window_index import _open_table, open_source

DATA = Path(__file__).parents[1] / "data"


def copy_of(source, name):
    """Return a maker of a copy of a folder, the file ``name`` of which is damaged."""

    def make(folder):
        shutil.copytree(source() if callable(source) else source, folder / "copy")
        return min((folder / "copy").rglob(name))

    return make


def folder_of(path):
    return next(parent for parent in path.parents if parent.name == "copy")


# --- models ---------------------------------------------------------------------------------------


@functools.cache
def small_model():
    folder = Path(tempfile.mkdtemp(prefix="fuzz-model-"))
    save_small_model(folder)
    save_event_detector(EventDetector(), folder)
    save_recalibration(Recalibration("sigmoid", a=-4.0, b=2.0), folder)
    return folder


def hub_folder():
    folder = Path(tempfile.mkdtemp(prefix="fuzz-hub-"))
    for name in ("config.json", "model.safetensors"):
        shutil.copy(small_model() / name, folder / name)
    return folder


def read_checkpoint(path):
    load_checkpoint(folder_of(path))
    provenance_of(folder_of(path))


def read_model(path):
    load_pipeline(folder_of(path))


def read_audit(path):
    """An audit tells of damage; where it finds none, the model must load."""
    found = audit(folder_of(path))
    told = [problem for problem in found.problems if len(problem.splitlines()) != 1]
    if told:
        raise AssertionError(f"more than one line: {told}")
    if found.problems:
        raise SavedPipelineError(f"{path}: {found.problems[0]}")


def read_detector(path):
    Detector.load(folder_of(path))


# --- runs -----------------------------------------------------------------------------------------


def read_whole_run(path):
    folder = folder_of(path)
    run = read_run(folder)
    if not np.isfinite(run.predictions["proba"]).all():
        raise AssertionError("a score that is NaN")
    str(Result.open(folder))
    read_intervals(folder)
    for fold in run.folds:
        finished_fold(folder, fold.number, fold.facts["fingerprint"], as_metrics(run.metrics["scoring"]))
    stored_run(folder)


def read_study(path):
    StudyResult.open(folder_of(path))
    write_comparison(folder_of(path))


def read_report(path):
    write_report(folder_of(path))


@functools.cache
def with_intervals():
    folder = Path(tempfile.mkdtemp(prefix="fuzz-run-"))
    shutil.copytree(DATA / "run-v1" / "windows", folder, dirs_exist_ok=True)
    write_report(folder)
    (folder / "report.html").unlink()
    return folder


# --- stores ---------------------------------------------------------------------------------------


def read_store(path):
    for cache in (_open_table, open_source, open_map):
        cache.cache_clear()
    windows = Windows.open(folder_of(path))
    relabelled = Windows.open(next((folder_of(path) / "tables").iterdir()))
    for one in (windows, relabelled):
        shown = one.summary(), one.metadata, one.seizures, one.groups, one.present
        read = one.read(np.arange(len(one)))
        if read.shape != one.shape or not np.isfinite(read[one.present]).all():
            raise AssertionError(f"NaN, or another shape: {read.shape}, {shown}")
    read_recording(min((folder_of(path) / "signals").glob("*.npy")).with_suffix(""), "x")


def make_user(folder):
    (folder / "users").mkdir()
    return write_json(folder / "users" / "run-0.json", {"path": str(folder), "table": "x"})


# --- notes ----------------------------------------------------------------------------------------

DEMO = {"seed": 0, "full": False, "epochs": 10}


def read_fetch_notes(path):
    with requests.Session() as session:
        fetcher = _Fetcher(session, path.parent, "https://host.invalid/", 0, 0.0, _Bar())
        fetcher.fetch("chb01/x.edf", "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")


class _Bar:
    def add_task(self, *_, **__):
        return 0


def make_fetch_notes(folder):
    (folder / "chb01").mkdir()
    (folder / "chb01" / "x.edf").write_text("foo")  # what the digest above is of
    stamp = {"sha256": "2c", "bytes": 3, "mtime_ns": 12}
    return write_json(folder / NOTES, {"chb01/x.edf": stamp, "chb01/y.edf": stamp})


def make_recordings(folder):
    _settle(folder, {}, None)
    return folder / "demo.json"


JSON, BYTES, TABLE = damage_json, damage_bytes, damage_parquet
MODEL_V1, RUN_V1, STORE_V1 = DATA / "model-v1", DATA / "run-v1" / "windows", DATA / "store-v1"
TARGETS = [
    Target("events.json", copy_of(small_model, "events.json"), JSON, lambda path: load_event_detector(path.parent)),
    Target("recalibration", copy_of(small_model, "recalibration.json"), JSON, lambda p: load_recalibration(p.parent)),
    Target("config.json", copy_of(MODEL_V1, "config.json"), JSON, read_model),
    Target("pipeline.json", copy_of(small_model, "pipeline.json"), JSON, read_model),
    Target("pipeline-scorer", copy_of(small_model, "pipeline.json"), JSON, lambda path: load_scorer(path.parent)),
    Target("pipeline-audit", copy_of(small_model, "pipeline.json"), JSON, read_audit),
    Target("pipeline-detector", copy_of(small_model, "pipeline.json"), JSON, read_detector),
    Target("pipeline-checkpoint", copy_of(small_model, "pipeline.json"), JSON, read_checkpoint),
    Target("hub-config", copy_of(hub_folder, "config.json"), JSON, read_checkpoint),
    Target("model.safetensors", copy_of(MODEL_V1, "*.safetensors"), BYTES, read_model),
    Target("run.json", copy_of(with_intervals, "run.json"), JSON, read_whole_run),
    Target("metrics.json", copy_of(with_intervals, "metrics.json"), JSON, read_whole_run),
    Target("fold.json", copy_of(with_intervals, "fold.json"), JSON, read_whole_run),
    Target("history.json", copy_of(with_intervals, "history.json"), JSON, read_whole_run),
    Target("intervals.json", copy_of(with_intervals, "intervals.json"), JSON, read_whole_run),
    Target("predictions.parquet", copy_of(with_intervals, "predictions.parquet"), TABLE, read_whole_run),
    Target("run-report", copy_of(with_intervals, "run.json"), JSON, read_report),
    Target("metrics-report", copy_of(with_intervals, "metrics.json"), JSON, read_report),
    Target("fold-report", copy_of(with_intervals, "fold.json"), JSON, read_report),
    Target("predictions-report", copy_of(with_intervals, "predictions.parquet"), TABLE, read_report),
    Target("study.json", copy_of(DATA / "run-v1" / "study", "study.json"), JSON, read_study),
    Target("comparison.json", copy_of(DATA / "run-v1" / "study", "comparison.json"), JSON, read_study),
    Target("manifest.json", copy_of(STORE_V1, "manifest.json"), JSON, read_store),
    Target("windows.parquet", copy_of(STORE_V1, "windows.parquet"), TABLE, read_store),
    Target("table.json", copy_of(STORE_V1, "table.json"), JSON, read_store),
    Target("percentiles.npy", copy_of(STORE_V1, "percentiles.npy"), BYTES, read_store),
    Target("signals.npy", copy_of(STORE_V1, "first_01.npy"), BYTES, read_store),
    Target("signals.json", copy_of(STORE_V1, "first_01.json"), JSON, read_store),
    Target("store-user", make_user, JSON, lambda path: users_of(path.parents[1])),
    Target("demo.json", lambda f: write_json(f / "demo.json", DEMO), JSON, lambda p: _check_folder(p.parent, DEMO)),
    Target("demo-recordings", make_recordings, JSON, lambda path: _settle(path.parent, {}, None)),
    Target("fetch-notes", make_fetch_notes, JSON, read_fetch_notes),
]
