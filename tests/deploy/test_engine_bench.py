"""A table of engines: what is recommended, what a process of its own answers, what fails and why."""

import json

import numpy as np
import pytest
import typer
from described_models import export_folder
from typer.testing import CliRunner

from biot_bd.commands.bench import bench
from biot_bd.deploy import engine_bench
from biot_bd.deploy.engine_bench import EngineFigures, EngineTable, bench_engines
from biot_bd.deploy.engine_candidates import Candidate
from biot_bd.deploy.engine_worker import Worker, generated_windows, resident_mb


def figures(engine, precision, ms, error=0.0, start=2.0):
    """Return figures with these milliseconds a batch of 1 and of 64, each round a bit slower."""
    seconds = {
        batch: [value / 1000 * (1 + k / 100) for k in range(3)] for batch, value in zip((1, 64), ms, strict=True)
    }
    return EngineFigures(engine, precision, seconds, error, 100.0, 13.0, start)


TORCH = figures("torch", "fp32", (20, 1000), start=4.0)
BF16 = figures("torch", "bf16", (10, 250), 1e-4, 4.0)
ONNX = figures("onnx", "fp32", (5, 400), 1e-7, 0.2)
FAST = figures("openvino", "bf16", (8, 200), 3e-3, 0.4)


def test_the_fastest_that_is_exact_enough_is_recommended():
    table = EngineTable([TORCH, BF16, ONNX, FAST], reference="torch fp32")
    assert table.recommended(64) is FAST
    assert table.recommended(1) is ONNX
    assert table.recommendation((1, 64)) == (
        "Take openvino bf16 for recordings: 5.0 times as fast as torch fp32 at batch 64, probabilities within 0.003 of torch fp32; "
        "at batch 1, as live signals have it, onnx fp32 is 1.6 times as fast as that; onnx fp32 starts soonest (0.2 s)."
    )


@pytest.mark.parametrize(
    ("precision", "error"), [("bf16", 6e-3), ("int8", 2e-2), ("fp32", 2e-5), ("bf16", float("inf"))]
)
def test_what_moves_probabilities_too_far_is_not(precision, error):
    wrong = figures("openvino", precision, (1, 10), error)
    table = EngineTable([TORCH, wrong], reference="torch fp32")
    assert not wrong.exact
    assert table.recommended(64) is TORCH
    assert table.recommendation((1, 64)).startswith("Take torch fp32 for recordings: nothing else")
    assert EngineTable([wrong]).recommendation((64,)).startswith("Take none of these")


def test_the_first_stays_unless_another_gains_clearly():
    assert EngineTable([TORCH, figures("onnx", "fp32", (20, 980))]).recommended(64) is TORCH
    assert EngineTable([TORCH, figures("onnx", "fp32", (20, 960))]).recommended(64).engine == "onnx"


def test_ratios_are_those_of_the_same_round():
    slow = EngineFigures("torch", "fp32", {1: [1.0, 10.0, 2.0]}, 0, 0, 0, 0)
    fast = EngineFigures("onnx", "fp32", {1: [0.5, 2.0, 0.5]}, 0, 0, 0, 0)
    assert fast.speed_to(slow, 1) == 4.0  # of 2, 5 and 4
    assert fast.windows_a_second(1) == 2.0


def test_json_holds_a_row_a_batch():
    facts = json.loads(json.dumps(EngineTable([TORCH, FAST], {"onnx fp32": "why"}, "torch fp32").as_dict((1, 64))))
    assert [row["engine"] for row in facts["engines"]] == ["torch", "openvino"]
    row = facts["engines"][1]["batches"][1]
    assert (row["batch"], row["times_as_fast"]) == (64, pytest.approx(5))
    assert row["ms_a_batch"] == pytest.approx(202)
    assert facts["failed"] == {"onnx fp32": "why"}


# A process of its own


def test_a_worker_answers_what_it_is_asked(model):
    worker = Worker()
    loaded = worker.answer_load(str(model), "torch", "fp32", 8)
    assert (loaded["precision"], loaded["window_s"]) == ("fp32", 10.0)
    assert loaded["start_cpu_s"] > 0
    worker.answer_windows(None)
    found = np.array(worker.answer_probabilities(8)["probabilities"])
    assert found.shape == (64,)
    assert ((found > 0) & (found < 1)).all()
    timed = worker.answer_time(4, 0.0)
    assert timed["calls"] == 1
    assert timed["seconds"] > 0
    assert worker.answer_memory()["memory_mb"] >= 0


def test_a_worker_takes_windows_of_a_file_fewer_than_a_batch(model, tmp_path):
    x = generated_windows(16, 2000, 200.0, 3)
    x[1, 2] = np.nan  # an absent channel
    np.save(tmp_path / "x.npy", x)
    worker = Worker()
    worker.answer_load(str(model), "torch", "fp32", 8)
    worker.answer_windows(str(tmp_path / "x.npy"))
    found = worker.answer_probabilities(64)["probabilities"]
    assert found == pytest.approx(
        [p for batch in (2, 1) for p in worker.answer_probabilities(batch)["probabilities"]][:3]
    )
    assert len(found) == 3
    assert worker.answer_time(8, 0.0)["calls"] == 1


def test_generated_windows_are_the_same_every_time_and_have_a_rhythm_of_seizures():
    x = generated_windows(16, 2000, 200.0, 8)
    assert x.dtype == np.float32
    assert (x == generated_windows(16, 2000, 200.0, 8)).all()
    at_3_hz = np.abs(np.fft.rfft(x))[..., 30]
    assert at_3_hz[1::2].mean() > 5 * at_3_hz[::2].mean()


def test_memory_is_that_of_the_system():
    psutil = pytest.importorskip("psutil")
    assert resident_mb() == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.05)
    assert resident_mb(peak=True) >= resident_mb() - 1


def test_what_does_not_start_is_told_with_its_reason(model):
    with pytest.raises(ValueError, match=r"nowhere fp32: no engines named 'nowhere'"):
        bench_engines([Candidate(model, "nowhere", "fp32")], seconds=0.1)


def test_a_process_that_dies_is_told_by_its_last_words(model, monkeypatch):
    monkeypatch.setattr(engine_bench, "WORKER", "biot_bd.deploy.no_such_worker")
    with pytest.raises(
        ValueError, match=r"torch fp32: its process ended: .*No module named biot_bd.deploy.no_such_worker"
    ):
        bench_engines([Candidate(model, "torch", "fp32")], seconds=0.1)


class FakeChild:
    """An engine that answers at once: seconds, probabilities and when it dies, by its name."""

    seconds, moved, dies = {}, {}, {}

    def __init__(self, log):
        self.asked = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, what, **given):
        self.asked.append(what)
        if what == "load":
            self.name, self.n = f"{given['engine']} {given['precision']}", 64
            if self.name not in self.seconds:
                return {"precision": "fp32", "notes": ["no such instructions"]}
            return {"precision": given["precision"], "notes": [], "window_s": 1.0, "start_cpu_s": 0.5}
        if self.dies.get(self.name) == what:
            raise engine_bench.ChildError("its process ended: Killed")
        if what == "windows":
            self.n = 64 if given["file"] is None else len(np.load(given["file"]))
            return {}
        if what == "time":
            return {"calls": 2, "seconds": 2 * given["batch"] * self.seconds[self.name]}
        if what == "probabilities":
            return {"probabilities": [0.6 + self.moved.get(self.name, 0.0)] * self.n}
        return {"memory_mb": 10.0}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(engine_bench, "_Child", FakeChild)
    for name in ("seconds", "moved", "dies"):
        monkeypatch.setattr(FakeChild, name, {})
    return FakeChild


def test_engines_are_compared_with_torch_and_one_that_dies_is_told(fake, model):
    fake.seconds |= {"torch fp32": 0.1, "torch bf16": 0.02, "onnx fp32": 0.05, "pt2 fp32": 0.01}
    fake.moved |= {"torch bf16": 0.004}
    fake.dies |= {"onnx fp32": "time", "pt2 fp32": "probabilities"}
    names = ("torch fp32", "torch bf16", "torch fp16", "onnx fp32", "pt2 fp32")
    table = bench_engines([Candidate(model, *name.split()) for name in names], batches=(1, 8))
    assert [one.name for one in table.figures] == ["torch fp32", "torch bf16"]
    assert table.failed == {
        "torch fp16": "no such instructions",
        "onnx fp32": "its process ended: Killed",
        "pt2 fp32": "its process ended: Killed",
    }
    assert table.figures[1].speed_to(table.figures[0], 8) == pytest.approx(5)
    assert table.figures[1].error == pytest.approx(0.004)
    assert table.reference == "torch fp32"


def test_an_exported_folder_is_compared_with_what_it_was_exported_from(fake, tmp_path):
    """Its one stored window has a probability of 0.6."""
    folder = export_folder(tmp_path / "exported", [("onnx", "fp32"), ("openvino", "fp32")])
    fake.seconds |= {"onnx fp32": 0.05, "openvino fp32": 0.02}
    fake.moved |= {"openvino fp32": 0.01}
    table = bench_engines([Candidate(folder, "onnx", "fp32"), Candidate(folder, "openvino", "fp32")])
    assert [one.error for one in table.figures] == pytest.approx([0, 0.01], abs=1e-7)
    assert table.reference == "the saved model at export"
    assert table.recommended(64) is table.figures[0]  # the other is faster, and wrong
    fake.dies |= {"onnx fp32": "time", "openvino fp32": "memory"}
    with pytest.raises(ValueError, match=r"onnx fp32: its process ended: Killed; openvino fp32: its process ended"):
        bench_engines([Candidate(folder, "onnx", "fp32"), Candidate(folder, "openvino", "fp32")])


# The command

app = typer.Typer()
app.command()(bench)


def test_the_command_prints_the_table_and_the_sentence(model, monkeypatch):
    made = []

    def measured(candidates, batches, seconds, on_step):
        made.extend(candidates)
        on_step("measuring")
        return EngineTable([TORCH, FAST], {"torch fp16": "the processor has no fast fp16"}, "torch fp32")

    monkeypatch.setattr(engine_bench, "bench_engines", measured)
    monkeypatch.setattr("biot_bd.export.export_model", lambda model, folder, format, say: refuse(format))
    done = CliRunner().invoke(app, [str(model), "--batch", "1", "--batch", "64", "--seconds", "0.2"])
    assert done.exit_code == 0, done.output
    assert [one.name for one in made] == ["torch fp32", "torch bf16", "torch fp16"]
    said = " ".join(done.output.split())
    assert "openvino bf16" in said
    assert "Take openvino bf16 for recordings: 5.0 times as fast as torch fp32 at batch 64" in said
    assert "export to onnx: no operator for onnx" in said
    assert "torch fp16: the processor has no fast fp16" in said
    done = CliRunner().invoke(app, [str(model), "--batch", "1", "--batch", "64", "--json"])
    facts = json.loads(done.stdout)
    assert facts["failed"]["export to openvino"] == "no operator for openvino"
    assert facts["engines"][1]["batches"][1]["times_as_fast"] == pytest.approx(5)
    assert facts["processor"]["count"] > 0


def refuse(format):
    raise ValueError(f"no operator\nfor {format}")


@pytest.mark.slow  # a process each for torch, onnxruntime and OpenVINO, and two exports
def test_a_saved_model_is_measured_in_what_it_can_be_exported_to(model):
    done = CliRunner().invoke(app, [str(model), "--batch", "1", "--batch", "4", "--seconds", "0.1", "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    rows = {f"{row['engine']} {row['precision']}": row for row in facts["engines"]}
    assert {"torch fp32", "onnx fp32", "openvino fp32"} <= set(rows)
    assert rows["torch fp32"]["error"] == 0
    for name in ("onnx fp32", "openvino fp32"):
        assert 0 < rows[name]["error"] < 1e-5
        assert rows[name]["exact_enough"]
        assert rows[name]["start_cpu_s"] < rows["torch fp32"]["start_cpu_s"]
        assert rows[name]["memory_mb"] < rows["torch fp32"]["memory_mb"]
    assert sorted(facts["exported_for_this"]) == ["onnx", "openvino"]
