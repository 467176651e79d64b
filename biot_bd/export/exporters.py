"""The formats that graphs are written in: one exporter each, found in ``registry.exporters``.

An exporter is a function ``(pipeline, path) -> path``: it writes the files of a graph into a new
folder.  :func:`biot_bd.export_model` calls it and proves what it wrote.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from biot_bd.exceptions import ExportError, MissingExtraError
from biot_bd.export.graph import ExportGraph, told
from biot_bd.export.source import ExportSource, read_source
from biot_bd.export.telemetry import no_telemetry
from biot_bd.runs import atomic_path

OUTPUTS = ("probabilities", "embedding")
OPSET = 18
"""Of the ONNX graph: the oldest that torch's exporter writes."""


def export_onnx(pipeline: Any, path: str | os.PathLike[str]) -> Path:
    """Write a pipeline's graph as ``model.onnx``.

    Parameters
    ----------
    pipeline : Pipeline, BIOTClassifier, path or ExportSource
        A fitted pipeline, or the folder of a saved one.
    path : path
        A new folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ExportError
        The model has a part that cannot be written so.
    biot_bd.exceptions.MissingExtraError
        onnx or onnxscript is not installed.

    See Also
    --------
    biot_bd.export_model : Writes a folder that says what it holds, and proves it.
    """
    with graph_of(pipeline) as graph, atomic_path(path) as temporary:
        temporary.mkdir()
        _write_onnx(graph, temporary / "model.onnx")
    return Path(path)


def export_openvino(pipeline: Any, path: str | os.PathLike[str]) -> Path:
    """Write a pipeline's graph as ``model.xml`` and ``model.bin``; as :func:`export_onnx`."""
    with graph_of(pipeline) as graph, atomic_path(path) as temporary:
        program = graph.program()
        temporary.mkdir()
        with no_telemetry():
            openvino = _need("openvino")
            try:
                model = openvino.convert_model(program)
                for given, name in zip(model.inputs, graph.input_names, strict=True):
                    given.get_tensor().set_names({name})
                # The converter forgets the sizes that are not free.
                sizes = {"x": [-1, graph.n_chans, graph.n_times], "present": [-1, graph.n_chans]}
                model.reshape({name: sizes[name] for name in graph.input_names})
                for output, name in zip(model.outputs, OUTPUTS, strict=True):
                    output.get_tensor().set_names({name})
                openvino.save_model(model, temporary / "model.xml", compress_to_fp16=False)
            except Exception as error:  # each library has kinds of its own
                raise ExportError(f"{graph.name}: OpenVINO cannot convert it ({told(error)})") from error
    return Path(path)


def export_pt2(pipeline: Any, path: str | os.PathLike[str]) -> Path:
    """Write a pipeline's graph as ``model.pt2`` of ``torch.export``; as :func:`export_onnx`."""
    with graph_of(pipeline) as graph, atomic_path(path) as temporary:
        program = graph.program()
        temporary.mkdir()
        torch.export.save(program, temporary / "model.pt2")
    return Path(path)


@contextmanager
def graph_of(pipeline: Any) -> Iterator[ExportGraph]:
    """Yield the graph of a pipeline, of a saved one, or of what was read of one.

    Parameters
    ----------
    pipeline : Pipeline, BIOTClassifier, path or ExportSource
        A fitted pipeline, or the folder of a saved one.

    Yields
    ------
    ExportGraph
        A torch module from microvolts (n, n_chans, n_times), and which channels are present
        (n, n_chans) where ``"present"`` is among its ``input_names``, to probabilities
        (n, n_classes) and embedding; ``n_chans`` and ``n_times`` are its sizes.

    Raises
    ------
    ExportError
        A step of the pipeline has no place in a graph.

    See Also
    --------
    biot_bd.export_model : Writes it for an engine, and proves it.
    biot_bd.hookspecs.register_exporters : The hook for other formats.

    Examples
    --------
    Weights by name, for a format of your own; here of a tiny BIOT, trained for one epoch:

    >>> from sklearn.pipeline import make_pipeline
    >>> from biot_bd import (
    ...     BIOTClassifier,
    ...     MontageMapper,
    ...     PercentileScaler,
    ...     load_dataset,
    ...     prepare,
    ... )
    >>> from biot_bd.export import graph_of
    >>> recordings = load_dataset("demo", "recordings", n_subjects=2, recordings=1, minutes=2)
    >>> windows = prepare(recordings, "windows")
    >>> size = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    >>> classifier = BIOTClassifier(max_epochs=1, train_split=None, verbose=0, **size)
    >>> pipeline = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier)
    >>> with graph_of(pipeline.fit(windows, windows.y)) as graph:
    ...     print(graph.input_names, graph.n_chans, graph.n_times, len(graph.state_dict()) > 10)
    ['x', 'present'] 16 2000 True
    """
    with source_of(pipeline) as source:
        yield ExportGraph(source)


@contextmanager
def source_of(pipeline: Any) -> Iterator[ExportSource]:
    """Yield what is read of a pipeline; one in memory is saved to a folder that is deleted again.

    Parameters
    ----------
    pipeline : Pipeline, BIOTClassifier, path or ExportSource
        A fitted pipeline, or the folder of a saved one.
    """
    if isinstance(pipeline, ExportSource):
        yield pipeline
    elif isinstance(pipeline, (str, os.PathLike)):
        yield read_source(pipeline)
    else:
        from biot_bd.training.persistence.pipelines import save_pipeline

        with TemporaryDirectory() as folder:
            yield read_source(save_pipeline(pipeline, folder, record=getattr(pipeline, "record_", None)))


def _write_onnx(graph: ExportGraph, file: Path) -> None:
    _need("onnx"), _need("onnxscript")
    program = graph.program()
    try:
        with _quiet("torch.onnx"):
            torch.onnx.export(
                program,
                f=file,
                dynamo=True,
                input_names=graph.input_names,
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # each library has kinds of its own
        raise ExportError(f"{graph.name}: ONNX has no form of it ({told(error)})") from error


def _need(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"this format needs {package}, which is not installed: pip install 'biot-bd[export]'"
        ) from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's notes to its developers from the user."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
