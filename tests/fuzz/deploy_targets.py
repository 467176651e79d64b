"""Readers of what is handed from machine to machine: exported models, detections, reviews, arrays, tables.

Files of exported models are damaged twice: as they lie, which their checksum tells, and with a checksum
made anew, as somebody would who means harm.
"""

import functools
import json
import math
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from edf_files import write_edf
from folder_targets import copy_of, folder_of, small_model
from fuzz_frame import Target, damage_bytes, damage_header, damage_json, damage_parquet, damage_text
from handmade_export import N_CHANS, N_TIMES, expected, facts, windows, write_export
from live_signals import Loudness
from reviewed_files import write_review

from biot_bd import Detector, EventDetector, Pretrainer, load_dataset
from biot_bd.datasets import load_arrays, open_array
from biot_bd.datasets.tusz_labels import read_tusz_labels
from biot_bd.deploy import Registry, read_detection, read_version, write_detection_record
from biot_bd.deploy.review import find_reviews
from biot_bd.embedding import read_embeddings
from biot_bd.evaluation import read_plan
from biot_bd.events import read_event_file, score_folders, write_event_file
from biot_bd.export import Probe, read_artifact, write_artifact
from biot_bd.export.engines.onnx import load_onnx
from biot_bd.export.engines.openvino import load_openvino
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, sha256
from biot_bd.pretraining import load_pretraining, save_pretraining
from biot_bd.probes import ExplainedMaps, load_maps

BIPOLAR = "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2"

# --- exported models ------------------------------------------------------------------------------


@functools.cache
def exported():
    return write_export(Path(tempfile.mkdtemp(prefix="fuzz-export-")) / "onnx")


@functools.cache
def exported_for_openvino():
    """The same formula in OpenVINO's own format: a description and the weights."""
    import openvino  # not where processes are forked

    folder = Path(tempfile.mkdtemp(prefix="fuzz-export-")) / "openvino"
    folder.mkdir()
    openvino.save_model(openvino.convert_model(exported() / "model.onnx"), folder / "model.xml", compress_to_fp16=False)
    x, present = windows(4)
    graph = {**facts()["graph"], "format": "openvino", "files": ["model.xml", "model.bin"]}
    runs = [run for run in facts()["runs"] if (run["engine"], run["precision"]) == ("openvino", "fp32")]
    proof = Probe(x, present, expected(x, present)[0].astype(np.float32))
    write_artifact(folder, facts(graph=graph, runs=runs), proof)
    return folder


def sign(path):
    """Give the folder the checksum of its damaged file, as somebody would who means harm."""
    file = folder_of(path) / ARTIFACT
    told = json.loads(file.read_text())
    told["files"][path.name] = sha256(path)
    file.write_text(json.dumps(told))


def read_exported(load, *, signed):
    def read(path):
        if signed:
            sign(path)
        model = load(folder_of(path))
        model.set_precision("fp32", 8)
        x, _ = windows(2)
        proba = model.classifier.predict_proba(x)
        if proba.shape != (2, 2):
            raise AssertionError(f"probabilities of shape {proba.shape}")

    return read


def read_probe(path):
    sign(path)
    probe = read_artifact(folder_of(path)).probe()
    if probe.x.shape[1:] != (N_CHANS, N_TIMES):
        raise AssertionError(f"windows of shape {probe.x.shape}")


# --- versions of the model registry ---------------------------------------------------------------


@functools.cache
def registry():
    root = Path(tempfile.mkdtemp(prefix="fuzz-registry-")) / "models"
    Registry(root).save(small_model(), "mine", "1.0.0")
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # a version is read-only, and here it is to be damaged
    return root


def sign_version(path):
    """Give a version the size and checksum of its damaged file."""
    file = folder_of(path) / "mine" / "1.0.0" / ARTIFACT
    told = json.loads(file.read_text())
    told["files"][path.relative_to(file.parent).as_posix()] = {
        "sha256": sha256(path),
        "size_bytes": path.stat().st_size,
    }
    file.write_text(json.dumps(told))


def read_registered(path, *, signed=False):
    """A registry lists everything, with what is wrong; what verifies detects."""
    if signed:
        sign_version(path)
    models = Registry(folder_of(path))
    (found,) = models.list()
    told = models.verify("mine", "1.0.0")
    if found.problem or not told.replayed:
        raise AssertionError(f"verified, and {found.problem or told.not_replayed}")


def read_version_alone(path):
    read_version(path.parent).facts["input"]["ch_names"]


# --- detections and reviews -----------------------------------------------------------------------


@functools.cache
def recording():
    folder = Path(tempfile.mkdtemp(prefix="fuzz-recording-"))
    return write_edf(folder / "rec.edf", BIPOLAR.split(), seconds=30)


@functools.cache
def detection():
    return Detector(Loudness(), EventDetector(window_s=10, target=None), stride_s=5).detect(recording())


def make_detection(folder):
    return write_detection_record(folder / "rec_detection.json", detection(), folder, patient="p")


def read_record(path):
    found = read_detection(path).detection
    times = [value for event in found.events for value in event if value is not None]
    if not all(map(math.isfinite, times)):
        raise AssertionError(f"not finite: {found.events}")


def make_review(ending):
    def make(folder):
        marks = [("confirmed", 2.0, 12.0, (2.0, 12.0)), ("added", 20.0, 25.0, None)]
        table = write_review(folder / "copy", "anna", "rec", marks, 60.0, digest="0" * 64)
        return next(table.parent.glob(f"*{ending}"))

    return make


def read_reviews(path):
    for reviews in find_reviews(folder_of(path)).values():
        for review in reviews:
            if not math.isfinite(review.duration_s):
                raise AssertionError(f"lasts {review.duration_s}")


# --- arrays, maps, embeddings, pretraining --------------------------------------------------------


def make_array(name):
    def make(folder):
        x = np.random.default_rng(0).normal(0, 20, (2, 500)).astype(np.float32)
        if name.endswith(".npz"):
            np.savez_compressed(folder / name, x=x)
        else:
            np.save(folder / name, x)
        return folder / name

    return make


def read_array(path):
    open_array(path, sfreq=100, unit="uV", ch_names=["C3", "C4"]).get_data()


def make_array_folder(folder):
    (folder / "copy").mkdir()
    make_array("a.npy")(folder / "copy")
    about = {"format": "biot_bd arrays", "sfreq": 100, "unit": "uV", "ch_names": ["C3", "C4"], "namespace": "lab"}
    entry = {"file": "a.npy", "subject": "01", "annotations": [[1.0, 2.0, "sz"]]}
    (folder / "copy" / "arrays.json").write_text(json.dumps({**about, "recordings": [entry]}))
    return folder / "copy" / "arrays.json"


def read_array_folder(path):
    for part in load_arrays(folder_of(path)).datasets:
        part.raw.get_data()


def make_maps(folder):
    ExplainedMaps({}, {}, {}, np.zeros((1, 4)), ("C3",), 2.0).save(folder / "maps.npz")
    return folder / "maps.npz"


def make_embeddings(name):
    def make(folder):
        folder = folder / "copy"
        folder.mkdir()
        np.save(folder / "embeddings.npy", np.eye(3, dtype=np.float32))
        table = {"recording": ["r"] * 3, "subject": ["a", "a", "b"], "start_s": [0.0, 10, 0], "label": [0, 1, 0]}
        pd.DataFrame(table).to_parquet(folder / "table.parquet")
        about = {"format": "biot-bd embedded windows", "version": 1, "windows": {}, "model": {}, "steps": []}
        about |= {"shape": [3, 3], "provenance": {}, "cache": None, "map": None, "metric": "cosine"}
        for file, value in {"clusters": None, "nearest": [], "embedding": about}.items():
            (folder / f"{file}.json").write_text(json.dumps(value))
        return folder / name

    return make


@functools.cache
def pretrained():
    sizes = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    net = Pretrainer("biot", {"masked-spectrum": 1.0}, **sizes, max_epochs=1, device="cpu", random_state=0)
    x = np.random.default_rng(0).normal(0, 20, (8, 3, 400)).astype(np.float32)
    net.fit(x, groups=np.repeat(["set/a", "set/b"], 4))
    return save_pretraining(net, Path(tempfile.mkdtemp(prefix="fuzz-pretrained-")) / "run", {})


# --- tables, plans --------------------------------------------------------------------------------

PLAN = """
baselines = ["line-length"]
seeds = [0, 1]

[[cohorts]]
name = "demo"
stores = ["windows"]
"""
TUSZ = """# version = csv_v1.0.0
# duration = 9.00 secs
channel,start_time,stop_time,label,confidence
FP1-F7,2.0000,6.0000,fnsz,1.0000
F7-T3,8.0000,9.0000,bckg,1.0000
"""


def make_text(name, text):
    def make(folder):
        (folder / name).write_text(text)
        return folder / name

    return make


@functools.cache
def bids():
    root = Path(tempfile.mkdtemp(prefix="fuzz-bids-"))
    folder = root / "sub-01" / "ses-01" / "eeg"
    stem = "sub-01_ses-01_task-szMonitoring_run-00"
    folder.mkdir(parents=True)
    shutil.copy(recording(), folder / f"{stem}_eeg.edf")
    write_event_file(folder / f"{stem}_events.tsv", [(3, 12)], 30.0)
    (root / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t11\tf\n")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    return root


def read_bids(path):
    load_dataset("chb-mit-bids", folder_of(path))


def make_score_folders(folder):
    for name in ("reference", "hypothesis"):
        made = write_event_file(folder / "copy" / name / "sub-01_events.tsv", [(3, 12)], 30.0)
    return made


def read_scores(path):
    score_folders(folder_of(path) / "reference", folder_of(path) / "hypothesis")


JSON, BYTES, TEXT = damage_json, damage_bytes, damage_text
TARGETS = [
    Target("artifact.json", copy_of(exported, ARTIFACT), JSON, read_exported(load_onnx, signed=False)),
    Target("probe.npz-signed", copy_of(exported, "probe.npz"), BYTES, read_probe),
    Target("onnx", copy_of(exported, "model.onnx"), BYTES, read_exported(load_onnx, signed=False)),
    Target("onnx-signed", copy_of(exported, "model.onnx"), BYTES, read_exported(load_onnx, signed=True)),
    Target("onnx-openvino", copy_of(exported, "model.onnx"), BYTES, read_exported(load_openvino, signed=True)),
    Target(
        "openvino-xml", copy_of(exported_for_openvino, "model.xml"), TEXT, read_exported(load_openvino, signed=True)
    ),
    Target(
        "openvino-bin", copy_of(exported_for_openvino, "model.bin"), BYTES, read_exported(load_openvino, signed=True)
    ),
    Target("version.json", copy_of(registry, ARTIFACT), JSON, read_version_alone),
    Target("version-verified", copy_of(registry, ARTIFACT), JSON, read_registered),
    Target("version-pipeline", copy_of(registry, "pipeline.json"), JSON, partial(read_registered, signed=True)),
    Target("version-probe", copy_of(registry, "probe.npz"), BYTES, partial(read_registered, signed=True)),
    Target("detection.json", make_detection, JSON, read_record),
    Target("review.json", make_review(".json"), JSON, read_reviews),
    Target("review.tsv", make_review(".tsv"), TEXT, lambda path: read_event_file(path)),
    Target("array.npy", make_array("x.npy"), BYTES, read_array),
    Target("array.npz", make_array("x.npz"), BYTES, read_array),
    Target("arrays.json", make_array_folder, JSON, read_array_folder),
    Target("maps.npz", make_maps, BYTES, load_maps),
    Target("embedding.json", make_embeddings("embedding.json"), JSON, lambda path: read_embeddings(path.parent)),
    Target("embeddings.npy", make_embeddings("embeddings.npy"), BYTES, lambda path: read_embeddings(path.parent)),
    Target("table.parquet", make_embeddings("table.parquet"), damage_parquet, lambda p: read_embeddings(p.parent)),
    Target("pretraining.json", copy_of(pretrained, "pretraining.json"), JSON, lambda p: load_pretraining(folder_of(p))),
    Target("pretrained-weights", copy_of(pretrained, "model.safetensors"), BYTES, lambda p: load_pretraining(p.parent)),
    Target("plan.toml", make_text("plan.toml", PLAN), TEXT, read_plan),
    Target("tusz", make_text("x.csv_bi", TUSZ), TEXT, read_tusz_labels),
    Target("bids-events", copy_of(bids, "*_events.tsv"), TEXT, read_bids),
    Target("bids-edf", copy_of(bids, "*_eeg.edf"), damage_header, read_bids),
    Target("bids-participants", copy_of(bids, "participants.tsv"), TEXT, read_bids),
    Target("score-events", make_score_folders, TEXT, read_scores),
]
