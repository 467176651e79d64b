"""What the benchmarks share: targets, the table, running all of them; no timing is asserted."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    """Import a script of ``benchmarks/`` under a name of its own."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
        spec.loader.exec_module(module)
        return module

    return load


def test_ratios_by_round_and_targets(bench):
    shared = bench("_bench")
    ours, peer = shared.summarise({"ours": [1.0, 2.0, 4.0], "peer": [3.0, 8.0, 8.0]}, ["peer"])
    assert ours["times as fast as peer"] == [3.0, 2.0, 4.0]  # of 3/1, 8/2 and 8/4
    assert peer["times as fast as peer"] == [1.0, 1.0, 1.0]
    goal = shared.target("fast", ours, "peer", 2.5, floor=6.0)
    assert (goal["measured"], goal["spread"], shared.reached(goal)) == (3.0, [2.0, 4.0], True)
    assert not shared.reached({**goal, "wanted": 3.5})
    assert shared.reached(shared.limit("small", 150.0, 150.0, "MB"))
    assert not shared.reached(shared.limit("small", 151.0, 150.0, "MB"))


def test_the_table_holds_every_target(bench, tmp_path):
    shared, tables = bench("_bench"), bench("table")
    machine = {"date": "2026-01-02", "processors": 2, "torch_threads": 1, "system": "S", "versions": {"numpy": "2"}}
    row = {"times as fast as peer": [3.0, 2.0, 4.0]}
    results = {
        "one": {"quick": False, "targets": [shared.target("fast", row, "peer", 3.5, floor=9.0)]},
        "two": {"quick": True, "targets": [shared.limit("small", 1234.0, 2000, "MB", spread=[1000.0, 1300.0])]},
        "three": {"quick": False, "targets": []},
    }
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({**result, "machine": machine}))
    text = tables.table(tables.read_results(tmp_path))
    assert "| fast | 3.5x | 3x (2 to 4) | **no** | 9x | `one.py` |" in text
    assert "| small | at most 2,000 MB | 1,234 MB (1e+03 to 1.3e+03) | yes |  | `two.py` |" in text
    assert "not for quoting: two." in text
    assert "Without targets (see `results/NAME.json`): three." in text
    assert text.count("2026-01-02") == 1


def test_the_table_names_the_processor_and_its_instructions(bench):
    tables = bench("table")
    machine = bench("_bench").machine()
    said = tables.describe({**machine, "processor": {"name": "AMD EPYC", "features": ["avx2", "avx512_bf16"]}})
    assert "; AMD EPYC (avx2, avx512_bf16); biot-bd " in said
    assert machine["processor"]["name"]
    del machine["processor"]
    assert "AMD" not in tables.describe(machine)


def test_a_target_of_engines_without_a_row_is_not_reached(bench):
    engines, shared = bench("engines"), bench("_bench")
    row = {"way": "torch, fp32", "engine": "torch", "precision": "fp32", "threads": 1, "largest error": 1e-6}
    found = engines.targets([{**row, f"times as fast as {engines.PEER}": [2.1, 2.0, 2.2]}])
    assert [shared.reached(goal) for goal in found] == [True, True, False, False, False, False]
    assert found[1]["what"] == "torch fp32: largest error of a probability"
    assert found[-1]["what"].startswith("openvino int8, batch 64, 2 thread(s)")


def test_the_tables_of_the_scripts_stand_behind(bench):
    rows = [{"way": "ours", "times as fast as peer": [3.0, 2.0, 4.0]}, {"way": "peer", "MB": 1.5}]
    result = {"title": "Reading", "rows": rows, "notes": ["same numbers"]}
    assert bench("table").sections([("one", result)]).splitlines() == [
        "",
        "## Reading: `one.py`",
        "",
        "| way | times as fast as peer | MB |",
        "|---|---|---|",
        "| ours | 3.00 (2.00 to 4.00) |  |",
        "| peer |  | 1.5 |",
        "",
        "- same numbers",
    ]


def test_a_failing_script_does_not_stop_the_others(bench, tmp_path, monkeypatch, capfd):
    runner = bench("all")
    for name, code in {"good": "", "bad": "raise SystemExit(3)", "last": "import sys; print(sys.argv[1:])"}.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    monkeypatch.setattr(runner, "SCRIPTS", ("good", "bad", "last"))
    monkeypatch.setattr(sys, "argv", ["all.py", "--quick"])
    with pytest.raises(SystemExit) as stopped:
        runner.main()
    out = capfd.readouterr().out
    assert stopped.value.code == 1
    assert "['--quick']" in out
    assert "failed: bad" in out


def test_without_a_gpu_its_benchmark_says_so_and_ends_well():
    done = subprocess.run(
        [sys.executable, str(FOLDER / "gpu.py"), "--quick"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "no CUDA GPU" in done.stdout


def test_the_floor_of_a_gpu_has_the_models_matrix_products(bench):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    gpu = bench("gpu")
    sizes, cpu = gpu.Sizes(embed_dim=64, num_layers=2), torch.device("cpu")
    ours, peer = (model.eval() for model in gpu.models(sizes, cpu))
    x = torch.randn(2, gpu.N_CHANS, gpu.N_TIMES)
    counts = []
    for call in (
        lambda: gpu.infer(peer, x, "fp32"),
        gpu.products(sizes, 2, "fp32", cpu, training=False),
        gpu.products(sizes, 2, "fp32", cpu, training=True),
    ):
        with FlopCounterMode(display=False) as counter:
            call()
        counts.append(counter.get_total_flops())
    model, forward, training = counts
    assert forward == pytest.approx(model, rel=0.01)
    assert training == 3 * forward
    torch.testing.assert_close(gpu.infer(ours, x, "fp32"), gpu.infer(peer, x, "fp32"), atol=1e-5, rtol=1e-5)


def test_a_probe_that_found_nothing_planted_has_not_reached_its_target(bench):
    explain, shared = bench("explain"), bench("_bench")
    words = "evidence against distractor"
    rows = [
        {"way": name, words: "0.10 0.95 1.00", f"median {words}": median}
        for name, median in {"token-ig": 0.95, "token-occlusion": 0.5, "energy": 0.6, "random": 0.95}.items()
    ]
    goals = explain.planted_targets(rows)
    assert [shared.reached(goal) for goal in goals] == [True, False, False, True, False]
    assert goals[0]["spread"] == [0.1, 1.0]
    assert "grad-attention" in goals[2]["what"]


@pytest.mark.slow
def test_the_gpus_benchmark_runs_a_whole_study_on_a_tiny_model(tmp_path):
    """Windows on the device, from the store and packed give the same: the script stops where they differ."""
    results = sorted((FOLDER / "results").iterdir())
    done = subprocess.run(
        [sys.executable, str(FOLDER / "gpu.py"), "--device", "cpu", "--no-compile", "--rounds", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    for words in ("data path, on the device", "of 3 subjects out", "no GPU: a tiny model"):
        assert words in done.stdout
    assert sorted((FOLDER / "results").iterdir()) == results  # a tiny model's figures are no result


def test_the_costs_in_the_docs_are_those_of_the_kept_results(bench):
    cost = bench("cost")
    page = cost.PAGE.read_text()
    assert cost.put(cost.table(), page) == page, "docs/scale.md: run benchmarks/cost.py"


def test_costs_follow_from_the_speeds_and_an_unmeasured_machine_has_none(bench, tmp_path):
    cost = bench("cost")
    speeds = {
        "training": [{"way": "batch 64: biot_bd, bf16", "median_s": 2.0}],
        "inference": [{"way": "biot_bd, bf16", "batch": 64, "channels": 16, "threads": 2, "median_s": 0.5}],
        "reading": [{"way": "biot_bd, int16, percentiles cached", "median_s": 0.1}],
        "preparation": [{"way": "biot_bd, FFT segments (default)", "median_s": 0.5}],
    }
    machine = {"processor": {"name": "P"}, "torch_threads": 3, "date": "2026-01-02", "accelerator": "G"}
    for name, rows in speeds.items():
        record = {"title": name, "quick": False, "machine": machine, "rows": rows}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    text = cost.table(tmp_path)
    windows = 100_000 * 360
    trained, seen = 20 * 0.8 * windows, 20 * windows
    hours = (100_000 * 0.5 + trained / 32 + (seen - trained) / 128 + seen / 10_000) / 3600
    row = f"| 100,000 h | 36,000,000 | one model | 1 | 576 million | {hours / 24:.1f} days | not measured |"
    assert row in text
    ways = [{"way": "training step, biot_bd, bf16", "windows a second": v} for v in (100.0, 400.0)]
    ways += [{"way": "inference, biot_bd, bf16", "windows a second": 1000.0}]
    for quick in (True, False):
        record = {"title": "gpu", "quick": quick, "machine": machine, "rows": ways}
        (tmp_path / "gpu.json").write_text(json.dumps(record))
        assert ("| not measured |" in cost.table(tmp_path)) == quick
    assert "GPU: 400 in training, 1,000 in prediction (G, 2026-01-02)" in cost.table(tmp_path)


def test_a_store_of_windows_is_one_signal_under_recordings_of_24_subjects(bench, tmp_path):
    from biot_bd import Windows

    windows = Windows.open(bench("_store_of_windows").write_store(tmp_path / "store", 120, stride_s=5))
    assert windows.shape == (120, 16, 2000)
    assert len(set(windows.groups)) == 24
    assert {path.name for path in (tmp_path / "store" / "signals").iterdir()} == {"shared.npy"}
    seizures = windows.seizures.set_index("recording")
    for row, (name, start_s, stop_s) in enumerate(windows.metadata[["recording", "start_s", "stop_s"]].to_numpy()):
        onset_s, offset_s = seizures.loc[name, ["onset_s", "offset_s"]]
        assert windows.y[row] == (start_s < offset_s and onset_s < stop_s)
    assert 20 < abs(windows.read([0, 60, 119])).mean() < 50


def test_the_exponent_of_growth_is_the_slope_of_the_logarithms(bench):
    assert abs(bench("scale").exponent([10, 100, 1000], [3.0, 30.0, 300.0]) - 1) < 1e-12
    assert abs(bench("scale").exponent([10, 100], [1.0, 100.0]) - 2) < 1e-12


def test_the_table_of_the_site_is_that_of_the_files(bench):
    tables = bench("table")
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.with_table(page, tables.read_results(tables.RESULTS)) == page
