"""int8 for ONNX, by onnxruntime: scales fixed by calibration, one a channel of the weights.

Scales that are found while computing, one for a whole tensor (``quantize_dynamic``), are no choice:
a loud window in a batch moves all others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from biot_bd.exceptions import MissingExtraError
from biot_bd.export.int8_plans import Kind, Operation

FILE = "model.onnx"
_KINDS: dict[str, Kind] = {
    "Constant": "still",
    "Shape": "still",
    "MatMul": "map",
    "Gemm": "map",
    "Conv": "map",
    "LayerNormalization": "bounding",
    "InstanceNormalization": "bounding",
    "GroupNormalization": "bounding",
    "Softmax": "bounding",
    "LogSoftmax": "bounding",
    "Sigmoid": "bounding",
    "Tanh": "bounding",
}
_MAPS = sorted(name for name, kind in _KINDS.items() if kind == "map")


def operations(file: Path) -> list[Operation]:
    """Return the operations of a graph, sources first."""
    onnx, _ = _need()
    graph = onnx.shape_inference.infer_shapes(onnx.load(file)).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.output)}
    found = [Operation(one.name, "signal" if one.name == "x" else "still") for one in graph.input]
    makers = {one.name: one.name for one in graph.input}
    for node in graph.node:
        sources = tuple(makers[name] for name in node.input if name in makers)
        found.append(Operation(node.name, _KINDS.get(node.op_type, "other"), sources, ranks.get(node.output[0])))
        makers |= dict.fromkeys(node.output, node.name)
    return found


def quantise(file: Path, target: Path, maps: Sequence[str], batches: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Write a graph in which certain linear maps compute in int8.

    Parameters
    ----------
    file : Path
        The graph in float.
    target : Path
        Where to write.
    maps : sequence of str
        Names of the maps.
    batches : sequence of dict
        Inputs by name, to calibrate on.
    """
    _, quantization = _need()
    given = iter(batches)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> Any:
            return next(given, None)

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # it advises to preprocess on the root logger
    try:
        quantization.quantize_static(
            str(file),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_MAPS,
            nodes_to_quantize=list(maps),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            # What a map gives stays in float: its softmax, sum or activation computes in it.
            extra_options={"OpTypesToExcludeOutputQuantization": _MAPS, "CalibTensorRangeSymmetric": False},
        )
    finally:
        root.setLevel(before)


def _need() -> tuple[Any, Any]:
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingExtraError(
            f"int8 for ONNX needs {error.name or 'onnxruntime'}, which is not installed: pip install 'biot-bd[export]'"
        ) from error
    return onnx, quantization
