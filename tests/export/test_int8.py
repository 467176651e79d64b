"""int8: what is calibrated on, the search that ends at the first try that passes, and the traps of engines."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from small_model import RandomWindows, save_small_model

from biot_bd.exceptions import ExportError, ExportGateError
from biot_bd.export import check_export, int8
from biot_bd.export.int8 import balanced_rows, calibration_batches, gate_windows, quantise
from biot_bd.export.int8_plans import Operation


class Rows:
    """Windows of which only labels and subjects matter."""

    def __init__(self, y, groups=None):
        self.y = np.asarray(y)
        self.groups = np.zeros(len(y), int) if groups is None else np.asarray(groups)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, rows):
        return Rows(self.y[rows], self.groups[rows])


def test_calibration_takes_part_of_every_subject_and_label():
    y = np.r_[np.zeros(900, int), np.ones(100, int)]
    groups = np.r_[np.repeat(["a", "b", "c"], [800, 50, 50]), np.repeat(["a", "b", "c"], [5, 90, 5])]
    rows = balanced_rows(y, groups, 120)
    assert len(set(rows.tolist())) == 120
    counts = {(label, one): int(((y == label) & (groups == one))[rows].sum()) for label in (0, 1) for one in "abc"}
    assert counts == {(0, "a"): 20, (0, "b"): 20, (0, "c"): 20, (1, "a"): 5, (1, "b"): 50, (1, "c"): 5}
    assert np.array_equal(rows, balanced_rows(y, groups, 120))
    assert not np.array_equal(rows, balanced_rows(y, groups, 120, seed=1))
    assert len(balanced_rows(y, groups, 5000)) == 1000


def test_calibration_windows_are_what_the_graph_takes():
    windows = RandomWindows(20)
    windows.x[3, 2] = np.nan
    batches = calibration_batches(windows, ["x", "present"], n=20)
    assert [len(batch["x"]) for batch in batches] == [8, 8, 4]
    x, present = (np.concatenate([batch[name] for batch in batches]) for name in ("x", "present"))
    assert np.isfinite(x).all()
    assert (np.argwhere(~present) == [[3, 2]]).all()
    assert np.array_equal(x[present], windows.x[present])
    assert set(calibration_batches(windows, ["x"], n=8)[0]) == {"x"}


def test_gates_see_every_seizure_and_a_choice_of_the_rest():
    y = (np.arange(500) % 10 == 0).astype(int)
    kept = gate_windows(Rows(y, np.arange(500)), most_background=100)
    assert (kept.y == 1).sum() == 50
    assert (kept.y == 0).sum() == 100
    assert (np.diff(kept.groups) > 0).all()
    assert len(gate_windows(Rows(y), most_background=450)) == 500


@pytest.fixture
def tool(monkeypatch):
    """A tool that quantises by writing the names of the maps."""
    norm = [Operation("x", "signal"), Operation("norm", "bounding", ("x",), 3)]
    graph = [*norm, *(Operation(f"w{i}", "map", ("norm",), 3) for i in range(8))]
    made = SimpleNamespace(FILE="model.onnx", operations=lambda file: graph)
    made.quantise = lambda file, target, maps, batches: target.write_text(f"{file.read_text()} {' '.join(maps)}")
    monkeypatch.setattr(int8, "import_module", lambda name: made)


def test_the_first_try_that_passes_is_kept_and_the_others_are_told(tool, tmp_path):
    (tmp_path / "model.onnx").write_text("float")

    def prove(left):
        if "w6" not in left:
            raise ExportGateError(f"{len(left)} in float is too few")
        return {"gates": {"onnx int8": {}}, "left": left}

    told = []
    facts = quantise(tmp_path, "onnx", ["x"], RandomWindows(8), prove, told.append)
    assert facts["left"] == ["w6", "w7"]
    assert (tmp_path / "model.onnx").read_text() == "float w0 w1 w2 w3 w4 w5"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert facts["gates"]["tries"] == [
        {"tried": "8 of 8 linear maps in int8", "failed": "0 in float is too few"},
        {"tried": "7 of 8 linear maps in int8", "failed": "1 in float is too few"},
        {"tried": "6 of 8 linear maps in int8", "failed": ""},
    ]
    assert told == [f"int8, try {i + 1}: {8 - i} of 8 linear maps in int8" for i in range(3)]


def test_where_no_try_passes_the_error_tells_all_of_them(tool, tmp_path):
    (tmp_path / "model.onnx").write_text("float")

    def prove(left):
        raise ExportGateError(f"failed with {len(left)}")

    with pytest.raises(ExportGateError, match="none of 5 tries passed") as caught:
        quantise(tmp_path, "onnx", ["x"], RandomWindows(8), prove)
    assert [f"failed with {n}" in str(caught.value) for n in (0, 1, 2, 4, 6)] == [True] * 5
    assert "\n" not in str(caught.value)


def test_pt2_is_refused_with_a_reason(tmp_path):
    with pytest.raises(ExportError, match=r"int8: not for format 'pt2'.*take 'openvino' or 'onnx'"):
        quantise(tmp_path, "pt2", ["x"], RandomWindows(8), lambda left: {})


def by_slot(ranges, of_slot):
    """A mean over time that is rounded by a range; ``of_slot``: the window in slot s by that of channel s, as OpenVINO
    2026.4.1 does it behind a mean (``findings/openvino_int8_range_by_slot.sh``).
    """

    def scored(x, present):
        mean = np.abs(x.astype(np.float64)).mean(axis=-1)
        high = ranges[np.arange(len(x)) % len(ranges), None] if of_slot else ranges
        level = 0.002 * (np.round(np.clip(mean, 0, high) / high * 255) / 255 * high).sum(axis=1, keepdims=True)
        return 1 / (1 + np.exp(np.concatenate([-2 * level, 2 * level], axis=1)))

    return scored


def test_a_range_that_goes_by_the_slot_does_not_pass():
    size = {"n_chans": 4, "n_times": 400, "sfreq": 200.0, "absent_channels": False}
    ranges = np.array([20.0, 40, 80, 160])
    right, wrong = by_slot(ranges, False), by_slot(ranges, True)
    assert check_export(right, right, precision="int8", **size).passed
    with pytest.raises(ExportGateError) as caught:
        check_export(wrong, wrong, precision="int8", **size)
    assert "place in the batch" in {check.gate for check in caught.value.report.failed}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small BIOT as a graph in both formats, with the pipeline's own probabilities."""
    from biot_bd import registry
    from biot_bd.export.source import read_source

    folder = tmp_path_factory.mktemp("int8")
    model = save_small_model(folder / "model")
    for format in ("onnx", "openvino"):
        registry.exporters[format](model, folder / format)
    return folder, read_source(model)


def gate(source, run, **options):
    size = {"n_chans": 16, "n_times": 2000, "sfreq": 200.0}
    return check_export(
        source.probabilities, lambda x, present: run(x, present)[0], precision="int8", **size, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_int8_of_both_formats_passes_and_is_int8(exported, format, tmp_path):
    from importlib import import_module

    folder, source = exported
    made = shutil.copytree(folder / format, tmp_path / format)
    tool = import_module(f"biot_bd.export.int8_{format}")
    build = import_module(f"biot_bd.export.engines.{format}").build

    def prove(left):
        report = gate(source, build(made / tool.FILE, ["x", "present"], "int8"), windows=RandomWindows(40, seed=1))
        return {"gates": {}, "left": left, "report": report}

    facts = quantise(made, format, ["x", "present"], RandomWindows(64), prove)
    report = facts["report"]
    assert report.passed
    assert report.validation["agreement"] == 1
    assert 1e-7 < report.largest_difference < 2e-3
    names = [one.name for one in tool.operations(made / tool.FILE)]
    assert sum("quantize" in name.lower() or "/fq_" in name for name in names) >= 4


@pytest.mark.slow
def test_scales_that_onnxruntime_finds_while_computing_do_not_pass(exported, tmp_path):
    """One scale for all windows of a batch: a loud one moves the others."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    from biot_bd.export.engines.onnx import build

    folder, source = exported
    target = tmp_path / "model.onnx"
    quantization.quantize_dynamic(str(folder / "onnx" / "model.onnx"), str(target), op_types_to_quantize=["MatMul"])
    with pytest.raises(ExportGateError) as caught:
        gate(source, build(target, ["x", "present"], "int8"))
    assert {"place in the batch", "company in the batch"} & {check.gate for check in caught.value.report.failed}
