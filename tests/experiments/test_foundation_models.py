"""``experiments/foundation_models.py``: cohorts, a checkpoint and the table from one command."""

import importlib.util
import json
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("foundation_script", EXPERIMENTS / "foundation_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_options_that_cannot_be_meant_are_explained(script, capsys):
    with pytest.raises(SystemExit):
        script.parse(["--out", "o", "--seeds", "a"])
    assert "expected whole numbers" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.parse(["--out", "o", "--plan", "p.toml", "--data", "d"])
    assert "a plan names its cohorts" in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_makes_two_cohorts_a_checkpoint_and_the_table(script, shared, tmp_path, capsys):
    """With the real excerpts as a third cohort, which the table calls no result."""
    words = ["--out", str(tmp_path), "--quick", "--models", "biot,labram", "--strategies", "linear"]
    assert script.main([*words, "--data", str(shared / "data" / "chbmit-excerpts")]) == 0
    rows = json.loads((tmp_path / "study" / "comparison.json").read_text())["rows"]
    cells = {(row["cohort"], row["row"]): row for row in rows}
    cohorts = ("demo-bipolar", "demo-electrodes", "chb-mit")
    for cohort in cohorts:
        for name in (
            "always-off",
            "always-on",
            "spectral-power",
            "eegnet",
            "bdtcn",
            "biot/linear",
            "biot-random/linear",
        ):
            assert cells[cohort, name]["state"] == "finished", cells[cohort, name]["reason"]
        assert cells[cohort, "biot/linear"]["slots"] == "16 of 16"
        assert cells[cohort, "biot/linear"]["contamination"] == "clean"
    assert cells["demo-electrodes", "labram-random/linear"]["slots"] == "19 of 19"
    assert {cells[cohort, "labram-random/linear"]["state"] for cohort in cohorts} == {"refused", "finished"}
    told = capsys.readouterr().out
    assert "not a result: fewer than 5 subjects (demo-bipolar, demo-electrodes, chb-mit)" in told.replace("\n", " ")
    assert (tmp_path / "study" / "comparison.html").is_file()
