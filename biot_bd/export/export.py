"""Write a trained model for an engine, and prove it before it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from biot_bd import registry
from biot_bd.exceptions import ExportError, ExportGateError, MissingExtraError
from biot_bd.export.artifact import ARTIFACT, Artifact, Probe, Run, write_artifact
from biot_bd.export.exporters import source_of
from biot_bd.export.gate_inputs import make_inputs
from biot_bd.export.gates import Remembered, check_export
from biot_bd.export.graph import told
from biot_bd.export.source import ExportSource
from biot_bd.processor import this_processor
from biot_bd.runs import atomic_path

ENGINES = {"onnx": ("onnx", "openvino"), "openvino": ("openvino",), "pt2": ("pt2",)}
"""Which engines run a format."""
FILES = {"onnx": ["model.onnx"], "openvino": ["model.xml", "model.bin"], "pt2": ["model.pt2"]}
COPIED = ("events.json", "tuning.json", "recalibration.json")
"""What belongs to a model beside its weights."""
PACKAGES = {"biot_bd": "biot-bd", "torch": "torch", "onnx": "onnx", "onnxruntime": "onnxruntime", "openvino": "openvino"}
PROBED = ("EEG-like", "large offset", "absent channels", "flat channels")
"""Kinds of generated windows that the probe holds; never signals of a recording."""


def export_model(
    pipeline: Any,
    folder: str | os.PathLike[str],
    format: str = "onnx",
    int8: bool = False,
    store: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Write a fitted pipeline as a graph from microvolts to probabilities, proven before it is kept.

    Parameters
    ----------
    pipeline : Pipeline, BIOTClassifier or path
        A fitted pipeline, or the folder of a saved one.
    folder : path
        Where to write.  It must not exist; with ``overwrite=True`` it may be an exported model.
    format : str
        ``"onnx"`` (runs in onnxruntime and OpenVINO), ``"openvino"`` or ``"pt2"`` (torch).
    int8 : bool
        Whether to quantise; needs ``store``.
    store : path, optional
        Prepared windows that hold the model's training and validation subjects: int8 is calibrated
        on the former, and the gates look at the latter.  Without it, only generated windows are
        looked at, and the manifest says ``validation: none``.
    overwrite : bool
        Whether an exported model in ``folder`` is replaced.
    say : callable, optional
        Told in a line what is being done.

    Returns
    -------
    Path
        The folder; ``artifact.json`` in it says what was accepted.

    Raises
    ------
    ExportError
        A ``ValueError``: the model, or ``folder``, cannot be used; or int8 without ``store``.
    ExportGateError
        What was computed differs from the pipeline by more than its precision may; nothing is
        written.
    FileNotFoundError
        There is no saved pipeline, or no prepared windows.
    biot_bd.exceptions.MissingExtraError
        A package that writes or runs this format is not installed.

    See Also
    --------
    biot_bd.Detector.load : Takes the folder.
    biot_bd.save_pipeline : Saves a pipeline to be trained on.

    Notes
    -----
    Each engine that can run the format is tried in each precision that this machine has; those
    that pass are listed in the manifest, and others are refused when the model is loaded.
    """
    folder = Path(folder)
    _check_request(folder, format, int8, store, overwrite)
    say = say or (lambda line: None)
    with source_of(pipeline) as source:
        with atomic_path(folder) as temporary:
            say(f"writing the graph ({format})")
            registry.exporters[format](source, temporary)
            facts, probe = _prove(source, temporary, format, say)
            for name in COPIED:
                if (source.folder / name).is_file():
                    shutil.copyfile(source.folder / name, temporary / name)
            write_artifact(temporary, facts, probe)
    if format == "pt2":
        import_module("biot_bd.export.engines.pt2").trust(folder)
    return folder


def _check_request(folder: Path, format: str, int8: bool, store: Any, overwrite: bool) -> None:
    registry.exporters.owner(format)  # raises for a name that nobody registered
    if format not in ENGINES:
        raise ExportError(
            f"format {format!r}: no engine of ours runs it, so what it writes cannot be proven; call "
            f"biot_bd.registry.exporters[{format!r}](pipeline, path) yourself"
        )
    if int8 and store is None:
        raise ExportError(
            "int8 needs store=: the prepared windows (of `biot-bd prepare`) with the model's training and validation "
            "subjects, to calibrate on the ones and be proven on the others"
        )
    if os.path.lexists(folder):
        if not (folder / ARTIFACT).is_file():
            raise ExportError(f"{folder}: exists and is no exported model; name a new folder")
        if not overwrite:
            raise ExportError(f"{folder}: an exported model is there; overwrite=True replaces it, or name a new folder")


def _prove(source: ExportSource, folder: Path, format: str, say: Callable[[str], None]) -> tuple[dict[str, Any], Probe]:
    """Try every engine and precision; return what is true of the model, and the proof."""
    reference = Remembered(source.probabilities)
    precision = "fp32"
    positive, threshold = source.classifier.positive_label_, source.classifier.threshold_
    classes = np.sort(source.outputs).tolist()
    inputs = ["x", "present"] if source.takes_absent_channels else ["x"]
    reports: dict[str, Any] = {}
    runs = []
    first: ExportGateError | None = None
    missing: MissingExtraError | None = None
    for engine in ENGINES[format]:
        module = import_module(f"biot_bd.export.engines.{engine}")
        try:
            precisions = [precision, *(["bf16"] if engine == "openvino" and module.has("bf16") else [])]
        except MissingExtraError as error:
            missing, reports[engine] = error, {"passed": False, "reason": str(error)}
            continue
        for one in precisions:
            name = f"{engine} {one}"
            say(f"proving it: {name}")
            try:
                run = module.build(folder / FILES[format][0], inputs, one)
                report = check_export(
                    reference, _probabilities(run), precision=one, n_chans=source.n_chans, n_times=source.n_times,
                    sfreq=float(source.info.sfreq or 0), threshold=threshold,
                    positive=classes.index(positive) if positive is not None else 1,
                    absent_channels=source.takes_absent_channels, name=name,
                )  # fmt: skip
            except ExportGateError as error:
                reports[name] = error.report.as_dict()
                first = first or error
                continue
            except MissingExtraError as error:
                missing, reports[name] = error, {"passed": False, "reason": str(error)}
                continue
            except Exception as error:  # each engine has kinds of its own
                reports[name] = {"passed": False, "reason": told(error)}
                first = first or ExportGateError(f"{name}: cannot run the graph ({told(error)})")
                continue
            reports[name] = report.as_dict()
            bound = report.as_dict()["bound"]
            runs.append({"engine": engine, "precision": one, "largest_difference": report.largest_difference, "bound": bound})
    if not any(run["precision"] == precision for run in runs):
        raise first or missing or ExportGateError(f"{source.folder}: no engine ran it")
    known = source.info
    facts = {
        "graph": {
            "format": format,
            "files": FILES[format],
            "precision": precision,
            "inputs": inputs,
            "n_times": "fixed",
            "left_in_float": [],
        },
        "model": source.model,
        "input": {
            "ch_names": list(known.ch_names or ()),
            "montage": source.montage,
            "sfreq": known.sfreq,
            "n_times": known.n_times,
            "window_s": known.n_times / float(known.sfreq or 1),
            "unit": "uV",
            "scale": source.scale,
        },
        "classes": classes,
        "positive_label": positive,
        "threshold": threshold,
        "runs": runs,
        "validation": "none",
        "gates": reports,
        "source": {
            "folder_name": source.folder.name,
            "weights_sha256": source.spec.get("weights", {}).get("sha256"),
            "trained_on": (source.description.get("record") or {}).get("trained_on") or source.spec["fitted"].get("provenance"),
            "record": source.description.get("record") or {},
        },
        "versions": {name: _version(package) for name, package in PACKAGES.items()},
        "processor": this_processor().as_dict(),
    }
    return facts, _probe(source, reference)


def _probe(source: ExportSource, reference: Run | Any) -> Probe:
    made = make_inputs(source.n_chans, source.n_times, float(source.info.sfreq or 0), source.takes_absent_channels)
    rows = np.concatenate([made.of_kind(kind)[:2] for kind in PROBED])
    x, present = made.x[rows], made.present[rows]
    return Probe(x, present, np.asarray(reference(x, present), np.float32))


def _probabilities(run: Run) -> Any:
    return lambda x, present: run(x, present)[0]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
