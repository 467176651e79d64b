"""``experiments/attention_regimes.py`` on two seeds and a tiny checkpoint in the official layout."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoint_files import encoder_of, index_of, tiny, write_config

from biot_bd import load_pipeline
from biot_bd.models import BIOT, effective_rank, entropy, record_attention

pytestmark = pytest.mark.usefixtures("one_thread")
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("attention_regimes", EXPERIMENTS / "attention_regimes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An encoder of 16 channels with random weights, as the official files are."""
    path = tmp_path_factory.mktemp("checkpoint") / "encoder.ckpt"
    model = tiny(n_chans=16, hop_length=200)
    torch.save({**encoder_of(model), **index_of(model)}, path)
    seen = {"trained_on": [{"dataset": "other", "subjects": None, "how": "unsupervised"}]}
    write_config(path, model, **seen)
    config = json.loads(path.with_name("encoder.ckpt.json").read_text())
    config["config"]["hop_length"] = 200
    path.with_name("encoder.ckpt.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def done(script, checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("attention")
    args = ["--out", str(out), "--checkpoint", str(checkpoint), "--quick", "--epochs", "1", "--stride-s", "10"]
    assert script.main(args) == 0
    return out, args


@pytest.mark.slow
def test_what_is_measured_is_the_attention_of_the_saved_models(done, script):
    out, args = done
    results = json.loads((out / "results.json").read_text())
    assert (results["generated"], results["subjects"]) == (True, ["demo/04"])
    table = pd.DataFrame(results["table"])
    assert set(zip(table["measure"], table["layer"], table["when"], strict=True)) == {
        (measure, layer, when) for measure in ("entropy", "rank") for layer in (0, 1) for when in ("before", "after")
    }
    options = script.parse(args)
    windows = script.make_windows(options)
    batch = script.fixed_batch(windows, ["demo/04"], options.windows)
    assert set(batch.groups) == {"demo/04"}
    assert len(set(batch.y)) == 2
    means = {"entropy": [], "rank": []}
    for seed in (0, 1):
        pipeline = load_pipeline(out / "scratch" / f"seed-{seed}" / "model")
        module = pipeline[-1].module_.eval()
        x = torch.from_numpy(np.asarray(pipeline[:-1].transform(batch), dtype=np.float32))
        with torch.no_grad(), record_attention(module) as trace:
            module(x)
        weights = trace.maps[1].double()
        means["entropy"].append(entropy(weights).mean().item())
        means["rank"].append(effective_rank(weights).mean().item())
    row = table[(table["layer"] == 1) & (table["when"] == "after")].set_index("measure")
    for measure, values in means.items():
        assert row.loc[measure, "scratch mean"] == pytest.approx(np.mean(values), rel=1e-4)
        assert row.loc[measure, "scratch sd"] == pytest.approx(np.std(values, ddof=1), rel=1e-2, abs=1e-6)
    assert (out / "attention_regimes.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_fine_tuning_starts_from_the_checkpoint_and_scratch_does_not(done, checkpoint):
    out, _ = done
    before = pd.DataFrame(json.loads((out / "fine-tuned" / "seed-0" / "attention.json").read_text())["rows"])
    other = pd.DataFrame(json.loads((out / "fine-tuned" / "seed-1" / "attention.json").read_text())["rows"])
    start = [table[table["when"] == "before"]["value"].to_numpy() for table in (before, other)]
    np.testing.assert_allclose(*start, rtol=1e-5)
    own = BIOT.from_checkpoint(checkpoint, n_outputs=2, n_times=2000)
    assert own.encoder.state_dict().keys()
    scratch = [
        pd.DataFrame(json.loads((out / "scratch" / f"seed-{seed}" / "attention.json").read_text())["rows"])
        for seed in (0, 1)
    ]
    assert not np.allclose(*(table[table["when"] == "before"]["value"].to_numpy() for table in scratch), rtol=1e-5)


@pytest.mark.slow
def test_the_same_command_goes_on_and_other_settings_are_refused(done, script, capsys):
    out, args = done
    models = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    (out / "results.json").unlink()
    assert script.main(args) == 0
    assert (out / "results.json").is_file()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == models
    assert "so few runs cannot give a p-value below 0.33" in capsys.readouterr().out
    assert script.main([*args, "--lr", "0.1"]) == 1
    assert "was begun with lr 0.001 (now 0.1)" in capsys.readouterr().err


def test_a_difference_between_seeds_is_found_and_corrected(script):
    rng = np.random.default_rng(0)
    rows = [
        {"regime": regime, "seed": seed, "subject": f"s{subject}", "when": when, "measure": measure, "layer": layer,
         "value": rng.normal() + 20 * (regime == "fine-tuned" and layer == 1 and measure == "rank")}
        for regime in ("scratch", "fine-tuned") for seed in range(5) for subject in range(6)
        for when in ("before", "after") for measure in ("entropy", "rank") for layer in (0, 1)
    ]  # fmt: skip
    table = script.tests_of(pd.DataFrame(rows)).set_index(["when", "measure", "layer"])
    assert table.loc[("after", "rank", 1), "p runs"] == pytest.approx(2 / 252)
    assert table.loc[("after", "rank", 1), "p subjects"] == pytest.approx(2 / 64)
    others = table.loc["after"].drop(index=("rank", 1))
    assert (others[["p runs", "p subjects"]] > 0.05).all(axis=None)
    assert table.loc["before", ["p runs", "p subjects"]].isna().all(axis=None)
    assert script.smallest_p(5, 6) == {"runs": 2 / 252, "subjects": 2 / 64}


def test_the_published_checkpoint_that_cannot_be_had_is_one_clear_error(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    assert script.main(["--out", str(tmp_path / "out"), "--checkpoint", "no-such-encoder", "--quick"]) == 1
    found = capsys.readouterr().err.strip()
    assert found.startswith("attention_regimes: no checkpoint 'no-such-encoder'")
    assert "\n" not in found
    assert not (tmp_path / "out").exists()
