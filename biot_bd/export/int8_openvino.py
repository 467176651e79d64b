"""int8 for OpenVINO, by nncf."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import MissingExtraError
from biot_bd.export.int8_plans import Kind, Operation
from biot_bd.export.telemetry import no_telemetry

FILE = "model.xml"
_KINDS: dict[str, Kind] = {
    "Constant": "still",
    "ShapeOf": "still",
    "MatMul": "map",
    "Convolution": "map",
    "GroupConvolution": "map",
    "MVN": "bounding",
    "SoftMax": "bounding",
    "Softmax": "bounding",
    "LogSoftmax": "bounding",
    "Sigmoid": "bounding",
    "Tanh": "bounding",
}
_MAPS = {name for name, kind in _KINDS.items() if kind == "map"}


def operations(file: Path) -> list[Operation]:
    """Return the operations of a graph, sources first."""
    return [_operation(node) for node in _read(file).get_ordered_ops()]


def quantise(file: Path, target: Path, maps: Sequence[str], batches: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Write a graph in which certain linear maps compute in int8.

    Parameters
    ----------
    file : Path
        The graph in float.
    target : Path
        Where to write; its weights go beside it.
    maps : sequence of str
        Names of the maps.
    batches : sequence of dict
        Inputs by name, to calibrate on.

    Notes
    -----
    No SmoothQuant: its ranges by channel reach the mean over tokens, and with them a window's
    result depends on its slot in the batch (nncf 3.4.0, OpenVINO 2026.4.1).
    """
    model = _read(file)
    nodes = model.get_ordered_ops()
    wanted = set(maps)
    ignored_types = sorted({node.get_type_name() for node in nodes} - _MAPS - {"Constant", "Parameter", "Result"})
    ignored = [node.get_friendly_name() for node in nodes if node.get_type_name() in _MAPS]
    ignored = [name for name in ignored if name not in wanted]
    with no_telemetry(), contextlib.redirect_stdout(io.StringIO()):  # its bars of progress
        openvino, nncf = _need()
        nncf.set_log_level(logging.ERROR)
        settings = nncf.AdvancedQuantizationParameters(
            disable_bias_correction=True, smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1)
        )
        quantised = nncf.quantize(
            model,
            nncf.Dataset([{name: np.ascontiguousarray(value) for name, value in batch.items()} for batch in batches]),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(names=ignored, types=ignored_types, validate=False),
            advanced_parameters=settings,
        )
        openvino.save_model(quantised, target, compress_to_fp16=False)


def _operation(node: Any) -> Operation:
    sources = tuple(node.input_value(i).get_node().get_friendly_name() for i in range(node.get_input_size()))
    rank = node.output(0).get_partial_shape().rank if node.get_output_size() else None
    kind: Kind = _KINDS.get(node.get_type_name(), "other")
    if node.get_type_name() == "Parameter":
        kind = "signal" if "x" in node.output(0).get_names() else "still"
    length = rank.get_length() if rank is not None and rank.is_static else None
    return Operation(node.get_friendly_name(), kind, sources, length)


def _read(file: Path) -> Any:
    with no_telemetry():
        openvino, _ = _need()
        return openvino.Core().read_model(str(file))


def _need() -> tuple[Any, Any]:
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            f"int8 for OpenVINO needs {error.name or 'nncf'}, which is not installed: pip install 'biot-bd[export]'"
        ) from error
    return openvino, nncf
