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
from biot_bd.exceptions import BiotBdError, ExportError, ExportGateError, MissingExtraError
from biot_bd.export.answers import check_answers
from biot_bd.export.artifact import BOUNDS, DECIDES, Probe, read_artifact, write_artifact
from biot_bd.export.exporters import source_of
from biot_bd.export.gate_inputs import make_inputs
from biot_bd.export.gates import GateReport, Remembered, check_export
from biot_bd.export.graph import told
from biot_bd.export.int8 import gate_windows, quantise
from biot_bd.export.source import ExportSource
from biot_bd.export.store_windows import windows_of_parts
from biot_bd.models.checkpoints.anonymous_model import anonymise_model, is_anonymous_model
from biot_bd.models.checkpoints.pipeline_folder import is_exported
from biot_bd.processor import this_processor
from biot_bd.runs import atomic_path
from biot_bd.windows import Windows

ENGINES = {"onnx": ("onnx", "openvino"), "openvino": ("openvino",), "pt2": ("pt2",)}
"""Which engines run a format."""
FILES = {"onnx": ["model.onnx"], "openvino": ["model.xml", "model.bin"], "pt2": ["model.pt2"]}
PACKAGES = {
    "biot_bd": "biot-bd",
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
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
    anonymous: bool = False,
    say: Callable[[str], object] | None = None,
) -> Path:
    """Write a fitted pipeline as one graph from microvolts to probabilities, and prove it.

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
    anonymous : bool
        Numbers for names of subjects in what it says of itself, neither dates nor places; one of an
        anonymous model is so without it.
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

    Examples
    --------
    ``export_model("run/folds/00/model", "fast")`` writes ``fast/model.onnx`` and what belongs to
    it, and ``biot_bd.Detector.load("fast")`` runs it.  Quantising needs windows:

    >>> from biot_bd import export_model
    >>> export_model("run/folds/00/model", "fast", int8=True)
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ExportError: int8 needs store=: ...
    """
    folder = Path(folder)
    _check_request(folder, format, int8, store, overwrite)
    say = say or (lambda line: None)
    with source_of(pipeline) as source:
        train, valid = (None, None) if store is None else windows_of_parts(source, store)
        with atomic_path(folder) as temporary:
            say(f"writing the graph ({format})")
            registry.exporters[format](source, temporary)
            trial = _Trial(source, temporary, format, None if valid is None else gate_windows(valid), say)
            if int8 and train is not None:
                facts = quantise(temporary, format, trial.inputs, train, lambda left: trial.prove("int8", left), say)
            else:
                facts = trial.prove("fp32", [])
            for name in DECIDES:
                if (source.folder / name).is_file():
                    shutil.copyfile(source.folder / name, temporary / name)
            write_artifact(temporary, facts, trial.probe())
            nameless = is_anonymous_model(facts["source"])
            if anonymous or nameless:
                anonymise_model(temporary, hashes=nameless)
                read_artifact(temporary)
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
        if not is_exported(folder):
            raise ExportError(f"{folder}: exists and is no exported model; name a new folder")
        if not overwrite:
            raise ExportError(f"{folder}: an exported model is there; overwrite=True replaces it, or name a new folder")


class _Trial:
    """What the gates say of a graph that was just written."""

    def __init__(
        self, source: ExportSource, folder: Path, format: str, valid: Windows | None, say: Callable[[str], object]
    ) -> None:
        self.source, self.folder, self.format, self.valid, self.say = source, folder, format, valid, say
        self.reference = Remembered(source.probabilities)
        self.inputs = ["x", "present"] if source.takes_absent_channels else ["x"]
        self.classes = np.sort(source.outputs).tolist()
        self.positive = source.classifier.positive_label_
        self.threshold = source.classifier.threshold_

    def check(self, engine: str, precision: str) -> GateReport:
        """Run the graph by an engine in a precision and compare it with the source.

        Raises
        ------
        ExportGateError
            It may not be used so, or cannot be run.
        MissingExtraError
            The engine is not installed.
        """
        name = f"{engine} in {precision}"
        self.say(f"proving it: {name}")
        if engine == "openvino" and precision.endswith("bf16"):  # hung for ever on some convolutions
            file = self.folder / FILES[self.format][0]
            check_answers(file, self.inputs, engine, precision, self.source.n_chans, self.source.n_times)
        try:
            run = _engine(engine).build(self.folder / FILES[self.format][0], self.inputs, precision)
        except BiotBdError:
            raise
        except Exception as error:  # each engine has kinds of its own
            raise ExportGateError(f"{name}: cannot run the graph ({told(error)})") from error
        return check_export(
            self.reference,
            lambda x, present: run(x, present)[0],
            precision=precision,
            n_chans=self.source.n_chans,
            n_times=self.source.n_times,
            sfreq=float(self.source.info.sfreq or 0),
            threshold=self.threshold,
            positive=1 if self.positive is None else self.classes.index(self.positive),
            absent_channels=self.source.takes_absent_channels,
            windows=self.valid,
            name=engine,
        )

    def prove(self, precision: str, left_in_float: list[str]) -> dict[str, Any]:
        """Try every engine in every precision; return what is true of the model.

        Raises
        ------
        ExportGateError
            None may be used in the graph's own precision.
        MissingExtraError
            None is installed.
        """
        gates: dict[str, Any] = {}
        passed: dict[tuple[str, str], GateReport] = {}
        errors: list[BiotBdError] = []
        for engine in ENGINES[self.format]:
            for one in _precisions(engine, precision):
                try:
                    report = passed[engine, one] = self.check(engine, one)
                    gates[f"{engine} {one}"] = report.as_dict()
                except (ExportGateError, MissingExtraError) as error:
                    errors.append(error)
                    failed = getattr(error, "report", None)
                    gates[f"{engine} {one}"] = {
                        **({"passed": False} if failed is None else failed.as_dict()),
                        "reason": str(error),
                    }
        own = [report for (_, one), report in passed.items() if one == precision]
        if not own:
            raise next((error for error in errors if isinstance(error, ExportGateError)), errors[0])
        runs = [
            {
                "engine": engine,
                "precision": one,
                "largest_difference": report.largest_difference,
                "bound": BOUNDS[one],
            }
            for (engine, one), report in passed.items()
        ]
        graph = {
            "format": self.format,
            "files": FILES[self.format],
            "precision": precision,
            "inputs": self.inputs,
            "n_times": "fixed",
            "left_in_float": left_in_float,
        }
        return {"graph": graph, "runs": runs, "gates": gates, "validation": self._validation(own[0]), **self._facts()}

    def _validation(self, report: GateReport) -> dict[str, Any] | str:
        if report.validation is None:
            return "none"
        return {"subjects": list(self.source.subjects("valid")), **report.validation}

    def _facts(self) -> dict[str, Any]:
        """Return what is true of the model however it is written."""
        source, info = self.source, self.source.info
        record = source.description.get("record") or {}
        return {
            "model": source.model,
            "input": {
                "ch_names": list(info.ch_names or ()),
                "montage": source.montage,
                "sfreq": info.sfreq,
                "n_times": info.n_times,
                "window_s": info.n_times / float(info.sfreq or 1),
                "unit": "uV",
                "scale": source.scale,
            },
            "classes": self.classes,
            "positive_label": self.positive,
            "threshold": self.threshold,
            "source": {
                "folder_name": source.folder.name,
                "weights_sha256": source.spec.get("weights", {}).get("sha256"),
                "trained_on": record.get("trained_on") or source.spec.get("fitted", {}).get("provenance"),
                "record": record,
            },
            "versions": {name: _version(package) for name, package in PACKAGES.items()},
            "processor": this_processor().as_dict(),
        }

    def probe(self) -> Probe:
        """Return the windows of the proof, with the source's probabilities."""
        source = self.source
        made = make_inputs(source.n_chans, source.n_times, float(source.info.sfreq or 0), source.takes_absent_channels)
        rows = np.concatenate([made.of_kind(kind)[:2] for kind in PROBED])
        x, present = made.x[rows], made.present[rows]
        return Probe(x, present, np.asarray(self.reference(x, present), np.float32))


def _engine(name: str) -> Any:
    return import_module(f"biot_bd.export.engines.{name}")


def _precisions(engine: str, own: str) -> list[str]:
    """Return the precisions to try a graph in that was written in ``own``."""
    if engine != "openvino":
        return [own]
    try:
        faster = "bf16" if own == "fp32" else f"{own}-bf16"
        return [own, *([faster] if _engine(engine).has("bf16") else [])]
    except MissingExtraError:
        return [own]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
