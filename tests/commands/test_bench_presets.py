"""`biot-bd bench --presets`: every preset of an architecture, and what becomes of one that does not run."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from biot_bd.commands import _preset_bench
from biot_bd.commands._preset_bench import bench_presets, presets_of, presets_table
from biot_bd.commands.bench import bench
from biot_bd.models import MultiScaleBIOT


def test_presets_are_those_of_the_class():
    assert presets_of("multi-scale-biot") == ["tiny", "small", "base", "large"]
    assert presets_of("biot") == ["-"]


def test_figures_of_one_are_of_its_size():
    # As the command does: in a process of its own, whose memory nobody used before.
    words = [sys.executable, "-m", "biot_bd.commands._preset_bench", "multi-scale-biot", "tiny", "1", "0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout)
    assert found["parameters"] == sum(p.numel() for p in MultiScaleBIOT("tiny").parameters())
    assert found["weights_mb"] == pytest.approx(found["parameters"] * 4 / 2**20)
    # Which is faster is no matter of a test: a busy machine may stop either.
    assert found["inference_windows_a_second"] > 0
    assert found["training_windows_a_second"] > 0
    # Weights, their gradients and the two moments of AdamW are there at the same time.
    assert found["training_mb"] > 2 * found["weights_mb"]


def test_one_that_does_not_run_is_told_and_the_others_are_measured(monkeypatch):
    def run(words, **options):
        name, preset = words[5:7]
        if preset == "large":
            return _preset_bench.subprocess.CompletedProcess(words, -9, stdout="", stderr="")
        row = {
            "model": name,
            "preset": preset,
            "parameters": 3_266_050,
            "weights_mb": 12.5,
            "batch": 8,
            "device": "cpu",
        }
        row |= {"inference_windows_a_second": 60.0, "inference_mb": 100.0, "threads": 2}
        row |= {"training_windows_a_second": 1.234, "training_mb": 400.0}
        return _preset_bench.subprocess.CompletedProcess(words, 0, stdout=f"chatter\n{json.dumps(row)}\n", stderr="")

    monkeypatch.setattr(_preset_bench.subprocess, "run", run)
    rows = bench_presets(["biot", "multi-scale-biot"], batch=8, seconds=1)
    assert [(row["model"], row["preset"]) for row in rows][:2] == [("biot", "-"), ("multi-scale-biot", "tiny")]
    assert rows[-1] == {
        "model": "multi-scale-biot", "preset": "large", "failed": "its process ended with status -9 (too little memory?)"
    }  # fmt: skip
    table = presets_table(rows)
    assert table.row_count == 4
    assert next(iter(table.columns[2].cells)) == "3,266,050"
    assert next(iter(table.columns[6].cells)) == "1.23"


@pytest.mark.slow
def test_the_command_measures_in_processes_of_their_own():
    import typer

    app = typer.Typer()
    app.command()(bench)
    found = CliRunner().invoke(app, ["--presets", "biot", "--batch", "1", "--seconds", "0.1", "--json"])
    assert found.exit_code == 0, found.output
    (row,) = json.loads(found.stdout)["presets"]
    assert (row["model"], row["preset"], row["batch"]) == ("biot", "-", 1)
