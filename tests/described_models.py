"""Folders that say what a model is without holding one: for what is decided before anything is loaded."""

import json

import numpy as np

from biot_bd.export.artifact import Probe, write_artifact


def pipeline_folder(folder, weights="a" * 64):
    """Write what a saved pipeline says of its weights."""
    folder.mkdir()
    spec = {"kind": "classifier", "weights": {"file": "model.safetensors", "sha256": weights}}
    (folder / "pipeline.json").write_text(json.dumps({"format": "biot_bd pipeline", "version": 2, "pipeline": spec}))
    return folder


def export_folder(folder, runs, weights="a" * 64):
    """Write an exported model whose graph is none: nothing here loads it."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    facts = {
        "graph": {
            "format": "onnx",
            "files": ["model.onnx"],
            "precision": "fp32",
            "inputs": ["x"],
            "n_times": "fixed",
            "left_in_float": [],
        },
        "model": "biot",
        "input": {
            "ch_names": ["C3-P3"],
            "montage": None,
            "sfreq": 100.0,
            "n_times": 100,
            "window_s": 1.0,
            "unit": "uV",
            "scale": None,
        },
        "classes": [0, 1],
        "positive_label": 1,
        "threshold": 0.5,
        "runs": [
            {"engine": engine, "precision": precision, "largest_difference": 0.001, "bound": 0.01}
            for engine, precision in runs
        ],
        "validation": None,
        "gates": None,
        "source": {"folder_name": "model", "weights_sha256": weights, "trained_on": None, "record": {}},
        "versions": {},
        "processor": {},
    }
    probe = Probe(np.zeros((1, 1, 100), np.float32), np.ones((1, 1), bool), np.array([[0.4, 0.6]], np.float32))
    write_artifact(folder, facts, probe)
    return folder
