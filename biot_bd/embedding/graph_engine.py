"""Embeddings by an exported graph: its second output, by onnxruntime or OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from biot_bd import registry
from biot_bd.exceptions import ExportGateError
from biot_bd.export.gate_inputs import make_inputs
from biot_bd.export.source import ExportSource
from biot_bd.runs import make_folder, read_json, write_json
from biot_bd.signals.info import SignalInfo
from biot_bd.signals.window_checks import present_channels

TOLERANCE = 1e-4
"""Most that an embedding of a graph may differ from torch's, relatively to the largest value."""
NOTE = "graph.json"
_RATE_HZ = 200.0  # of windows that do not say their own: it shapes those that the graph is tried on

Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class GraphEngine:
    """A model's embedding by an engine other than torch.

    Parameters
    ----------
    classifier : BIOTClassifier
        Its module is built, and its facts say what windows it takes.
    engine : {"onnx", "openvino"}
        What computes.
    folder : path
        Of the graph: written where it is not there, once for all processes.
    expected : callable
        Embeddings by torch, to prove the graph with.

    Raises
    ------
    ExportError
        The model has no such graph.
    ExportGateError
        What it computes differs from torch.
    MissingExtraError
        A package is not installed.

    See Also
    --------
    biot_bd.export_model : Writes a whole pipeline.
    """

    _run: Callable[[Any, Any], tuple[Any, NDArray[np.float32]]] | None = None

    def __init__(self, classifier: Any, engine: str, folder: str | os.PathLike[str], expected: Embed) -> None:
        source = _source(classifier, Path(folder))
        self.takes_absent_channels = source.takes_absent_channels
        _write(source, Path(folder))
        self.engine, self.folder = engine, Path(folder)
        self._prove(source, engine, expected)

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return embeddings of windows; absent channels are NaN."""
        present = present_channels(x)
        filled = np.ascontiguousarray(np.where(present[..., None], x, 0), dtype=np.float32)
        if self._run is None:
            inputs = ["x", "present"] if self.takes_absent_channels else ["x"]
            engine = import_module(f"biot_bd.export.engines.{self.engine}")
            self._run = engine.build(self.folder / "model.onnx", inputs, "fp32")
        return np.asarray(self._run(filled, present)[1], dtype=np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what an engine built in this process; another builds it anew."""
        return {**self.__dict__, "_run": None}

    def _prove(self, source: ExportSource, engine: str, expected: Embed) -> None:
        made = make_inputs(
            source.n_chans, source.n_times, float(source.info.sfreq or _RATE_HZ), self.takes_absent_channels, n_plain=8
        )
        kinds = ("EEG-like", "absent channels", "one channel only")
        rows = np.concatenate([made.of_kind(kind)[:4] for kind in kinds])
        x = np.where(made.present[rows][..., None], made.x[rows] / 30, np.nan).astype(np.float32)
        wanted, found = expected(x), self(x)
        apart = float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))
        if not apart <= TOLERANCE:
            raise ExportGateError(
                f"{engine}: embeddings of {type(source.module).__name__} differ from those of torch by {apart:.2g} of the largest "
                f"value, at most {TOLERANCE:g} is allowed; use engine='torch'"
            )


def _source(classifier: Any, folder: Path) -> ExportSource:
    facts = classifier.facts_
    info = facts.input_info
    # The graph takes the windows as the model does: whatever scales them stands in front.
    taken = SignalInfo(info.ch_names, info.sfreq, info.n_times, "uV", info.n_chans)
    module = getattr(classifier.module_, "_orig_mod", classifier.module_)
    return ExportSource(folder, (), classifier, module, None, np.asarray(facts.classes), taken, None, {})


def _write(source: ExportSource, folder: Path) -> None:
    """Write the graph where it is not there; its note is written last."""
    make_folder(folder.parent)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if (folder / NOTE).is_file() and (folder / "model.onnx").stat().st_size == read_json(folder / NOTE)["n_bytes"]:
            return
        if folder.is_dir():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        registry.exporters["onnx"](source, folder)
        write_json(folder / NOTE, {"n_bytes": (folder / "model.onnx").stat().st_size})
