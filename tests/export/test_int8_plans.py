"""Which linear maps are chosen: told from graphs that are written by hand, and from real ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import ExportError
from biot_bd.export import int8_onnx, int8_openvino
from biot_bd.export.int8_plans import Operation, plans
from biot_bd.export.telemetry import no_telemetry

X = Operation("x", "signal")


def block(name, before, norm=True):
    """Attention of two products and a feed-forward part, as names and kinds of a transformer's layer."""
    source = f"{name}.norm" if norm else before
    maps = [Operation(f"{name}.{one}", "map", (source,), 3) for one in "qkv"]
    return [
        *([Operation(source, "bounding", (before,), 3)] if norm else []),
        *maps,
        Operation(f"{name}.softmax", "bounding", (f"{name}.k",), 3),
        Operation(f"{name}.context", "map", (f"{name}.softmax", f"{name}.v"), 3),
        Operation(f"{name}.product", "map", (f"{name}.q", f"{name}.context"), 3),
        Operation(f"{name}.out", "map", (f"{name}.product",), 3),
        Operation(f"{name}.sum", "other", (before, f"{name}.out"), 3),
    ]


def test_maps_behind_normalisations_and_no_others():
    graph = [X, Operation("front", "map", ("x",), 3), *block("a", "front"), Operation("head", "map", ("a.sum",), 2)]
    first = next(plans(graph))
    assert first.int8 == ("a.q", "a.k", "a.v")
    assert first.left_in_float == ("front", "a.out", "head")
    assert str(first) == "3 of 6 linear maps in int8"


def test_a_mask_bounds_nothing_and_frees_nothing():
    mask = [Operation("present", "still"), Operation("cast", "other", ("present",), 3)]
    graph = [
        X,
        *mask,
        Operation("norm", "bounding", ("x",), 3),
        Operation("masked", "other", ("norm", "cast"), 3),
        Operation("w", "map", ("masked",), 3),
        Operation("of the mask", "map", ("cast",), 3),
        Operation("of the signal", "other", ("x", "cast"), 3),
        Operation("w2", "map", ("of the signal",), 3),
    ]
    assert next(plans(graph)).int8 == ("w",)


def test_without_a_normalisation_all_maps_but_those_that_see_the_signal():
    graph = [
        X,
        Operation("time", "map", ("x",), 4),
        Operation("square", "other", ("time",), 4),
        Operation("space", "map", ("square",), 4),
        Operation("head", "map", ("space",), 2),
    ]
    assert [plan.int8 for plan in plans(graph)] == [("space",)]


def test_a_graph_without_such_a_map_is_told():
    with pytest.raises(ExportError, match="none of the graph's 1 linear maps"):
        list(plans([X, Operation("head", "map", ("x",), 2)]))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40))
def test_every_try_has_less_than_the_one_before_and_begins_at_the_front(n):
    graph = [X, Operation("norm", "bounding", ("x",), 3)]
    graph += [Operation(f"w{i}", "map", (graph[-1].name,), 3) for i in range(n)]
    made = list(plans(graph))
    sizes = [len(plan.int8) for plan in made]
    assert sizes == sorted(set(sizes), reverse=True)
    assert sizes[0] == n
    assert 1 <= len(sizes) <= 5
    for plan in made:
        assert set(plan.int8) | set(plan.left_in_float) == {f"w{i}" for i in range(n)}
        assert plan.int8 == made[0].int8[: len(plan.int8)]


def test_the_same_network_is_read_alike_from_onnx_and_openvino(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("nncf")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((8, 8)).astype(np.float32) for name in ("front", "w1", "w2", "head")}
    ones = {"scale": np.ones(8, np.float32), "axes": np.array([1])}
    nodes = [
        helper.make_node("MatMul", ["x", "front"], ["a"], "front"),
        helper.make_node("LayerNormalization", ["a", "scale"], ["b"], "norm", axis=-1),
        helper.make_node("MatMul", ["b", "w1"], ["c"], "w1"),
        helper.make_node("Relu", ["c"], ["d"], "relu"),
        helper.make_node("MatMul", ["d", "w2"], ["e"], "w2"),
        helper.make_node("Add", ["a", "e"], ["f"], "sum"),
        helper.make_node("MatMul", ["f", "f"], ["square"], "product"),
        helper.make_node("ReduceMean", ["square", "axes"], ["g"], "mean", keepdims=0),
        helper.make_node("MatMul", ["g", "head"], ["probabilities"], "head"),
    ]
    shapes = {"x": ["n", 8, 8], "probabilities": ["n", 8]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "g", [values["x"]], [values["probabilities"]])
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in (weights | ones).items())
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    with no_telemetry():
        import openvino

        openvino.save_model(openvino.Core().read_model(str(file)), tmp_path / "model.xml", compress_to_fp16=False)
    expected = [(("w1", "w2"), ("front", "head")), (("w1",), ("front", "w2", "head"))]
    for tool in (int8_onnx, int8_openvino):
        made = list(plans(tool.operations(tmp_path / tool.FILE)))
        # OpenVINO numbers names, and calls the last node by its output.
        told = [
            tuple(
                tuple(name.replace("probabilities", "head").removesuffix("_1") for name in names)
                for names in (plan.int8, plan.left_in_float)
            )
            for plan in made
        ]
        assert told == expected, tool.__name__
