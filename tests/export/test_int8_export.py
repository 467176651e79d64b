"""int8 from prepared recordings to a folder: calibrated on training subjects, proven on validation subjects."""

import json

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, Windows, load_dataset, prepare, save_pipeline
from biot_bd.export import export_model, int8
from biot_bd.training import FixedSubjects

SIZE = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 2, "module__hop_length": 200}


@pytest.mark.slow
def test_int8_of_a_model_with_its_windows(tmp_path, monkeypatch):
    recordings = load_dataset("demo", tmp_path / "edf", n_subjects=4, recordings=1, minutes=4)
    prepare(recordings, tmp_path / "windows")
    windows = Windows.open(tmp_path / "windows")
    *train, valid, _ = sorted(set(windows.groups))
    seen = windows[np.isin(windows.groups, [*train, valid])]
    net = BIOTClassifier(
        "biot", max_epochs=2, train_split=FixedSubjects((valid,)), device="cpu", random_state=0, verbose=0, **SIZE
    )
    model = save_pipeline(
        make_pipeline(MontageMapper("biot-16"), PercentileScaler(), net).fit(seen, seen.y), tmp_path / "m"
    )
    asked = []
    rows = int8.balanced_rows
    monkeypatch.setattr(int8, "balanced_rows", lambda y, groups, *more: asked.extend(groups) or rows(y, groups, *more))
    folder = export_model(model, tmp_path / "out", "openvino", int8=True, store=tmp_path / "windows")
    facts = json.loads((folder / "artifact.json").read_text())
    assert set(asked) == set(train)
    assert facts["validation"]["subjects"] == [valid]
    assert facts["validation"]["n_windows"] == (windows.groups == valid).sum()
    assert facts["validation"]["agreement"] >= 0.995
    assert facts["graph"]["precision"] == facts["runs"][0]["precision"] == "int8"
    assert 1e-7 < facts["runs"][0]["largest_difference"] <= facts["runs"][0]["bound"]
    assert facts["gates"]["tries"][-1]["failed"] == ""
    assert len(facts["graph"]["left_in_float"]) > 3
