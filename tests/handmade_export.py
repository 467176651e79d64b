"""An exported model written by hand: its probabilities are a formula that numpy computes, too."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from biot_bd.export import Probe, write_artifact
from biot_bd.signals.montages import BIOT_16

N_CHANS, N_TIMES, SFREQ = 16, 2000, 200.0
WEIGHTS = np.stack([np.full(N_CHANS, -0.1 / N_CHANS), np.full(N_CHANS, 0.1 / N_CHANS)], axis=1).astype(np.float32)
BIAS = np.array([0.0, -3.0], np.float32)  # seizure from a mean absolute value of 15 uV


def expected(x, present):
    """Return probabilities and embedding in double precision."""
    features = np.abs(np.where(present[..., None], x, 0).astype(np.float64)).mean(axis=-1)
    logits = features @ WEIGHTS + BIAS
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True), features


def loudness_graph():
    """Return an ONNX model of :func:`expected`."""
    nodes = [
        helper.make_node("Cast", ["present"], ["there"], to=TensorProto.FLOAT),
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("ReduceMean", ["size"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("Mul", ["mean", "there"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["products"]),
        helper.make_node("Add", ["products", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", N_CHANS, N_TIMES]),
        helper.make_tensor_value_info("present", TensorProto.BOOL, ["n", N_CHANS]),
    ]
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", N_CHANS]),
    ]
    constants = [numpy_helper.from_array(WEIGHTS, "weights"), numpy_helper.from_array(BIAS, "bias")]
    graph = helper.make_graph(nodes, "loudness", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def windows(n, seed=0):
    """Return windows in microvolts of which every other is loud, and which channels are present."""
    rng = np.random.default_rng(seed)
    loud = np.where(np.arange(n) % 2, 40, 20)[:, None, None]
    x = (rng.standard_normal((n, N_CHANS, N_TIMES)) * loud).astype(np.float32)
    present = np.ones((n, N_CHANS), bool)
    present[-1, 3] = False
    x[~present] = 0
    return x, present


def facts(**changed):
    """Return what :func:`biot_bd.export.write_artifact` is told."""
    return {
        "graph": {
            "format": "onnx",
            "files": ["model.onnx"],
            "precision": "fp32",
            "inputs": ["x", "present"],
            "n_times": "fixed",
            "left_in_float": [],
        },
        "model": "loudness",
        "input": {
            "ch_names": list(BIOT_16.ch_names),
            "montage": "biot-16",
            "sfreq": SFREQ,
            "n_times": N_TIMES,
            "window_s": N_TIMES / SFREQ,
            "unit": "uV",
            "scale": None,
        },
        "classes": [0, 1],
        "positive_label": 1,
        "threshold": 0.5,
        "runs": [
            {"engine": engine, "precision": precision, "largest_difference": 0.0, "bound": bound}
            for engine, precision, bound in (
                ("onnx", "fp32", 1e-5),
                ("openvino", "fp32", 1e-5),
                ("openvino", "bf16", 5e-3),
            )
        ],
        "validation": "none",
        "gates": {},
        "source": {
            "folder_name": "mine",
            "weights_sha256": "0" * 64,
            "trained_on": {
                "source": "mine",
                "trained_on": [{"dataset": "clinic", "subjects": ["clinic/01"], "how": "supervised"}],
            },
            "record": {"data": {"generated": True}},
        },
        "versions": {"onnx": onnx.__version__},
        "processor": {"name": "by hand", "features": []},
        **changed,
    }


def write_export(folder, **changed):
    """Write the model by hand; ``changed`` facts instead of those of :func:`facts`."""
    folder.mkdir(parents=True)
    onnx.save(loudness_graph(), folder / "model.onnx")
    x, present = windows(4)
    write_artifact(folder, facts(**changed), Probe(x, present, expected(x, present)[0].astype(np.float32)))
    return folder
