"""``experiments/explain_excerpt.py``: a real seizure of a patient whom the model never saw."""

import importlib.util
import json
from pathlib import Path

import pytest

from biot_bd.probes import load_maps
from biot_bd.training import read_record

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_a_seizure_of_a_patient_left_out_is_explained(shared, tmp_path):
    spec = importlib.util.spec_from_file_location("explain_excerpt", EXPERIMENTS / "explain_excerpt.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    args = ["--root", str(shared / "data" / "chbmit-excerpts"), "--out", str(tmp_path / "out"), "--epochs", "1"]
    assert script.main([*args, "--demo-subjects", "3", "--minutes", "4"]) == 0
    explained = tmp_path / "out" / "explained"
    facts = json.loads((explained / "explain.json").read_text())
    assert facts["window"]["recording"] == "chb01_03"
    assert facts["window"]["label"] == 1
    subjects = read_record(tmp_path / "out" / "model")["subjects"]
    assert {"chb-mit/02", "chb-mit/03"} <= set(subjects["train"])
    assert subjects["test"] == ["chb-mit/01"]
    page = (explained / "explain.html").read_text()
    assert "means nothing clinically" in page
    maps = load_maps(explained / "maps.npz")
    assert {"attention", "token-ig", "energy"} <= set(maps.probes)
    for found in maps.probes.values():
        assert found.layout.ch_names[0] == "Fp1-F7"
        assert any((explained / "pictures").glob(f"*{found.probe}*.png"))
