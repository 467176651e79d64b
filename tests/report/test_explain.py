"""The report and explanations of a run that cross_validate really made, with its saved models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biot_bd.probes.attention import AttentionProbe
from biot_bd.probes.base import Explanation
from biot_bd.report import write_report
from biot_bd.report.explain import choose_fold, choose_windows, explain_to_folder, load_model, model_input, module_name


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_report_names_the_small_model_and_draws_its_attention(real_run: Path, store: Any) -> None:
    text = text_of(write_report(real_run))
    assert "small BIOT, " in text
    assert "Checked: the maps rebuild the layers&#39; own outputs; largest relative error" in text
    for role in ("Early layer", "Middle layer", "Late layer"):
        assert role in text
    assert "Channel to channel" in text
    assert "Received, by channel and time" in text
    metrics = json.loads((real_run / "metrics.json").read_text())
    for name in metrics["scoring"]:
        assert f'data-metric="{name}" data-of="pooled" data-value="{metrics["pooled"][name]["value"]!r}"' in text
    assert "Not a result: only 3 subjects" in text


def test_report_without_the_models_says_so(real_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(real_run, tmp_path / "run")
    for model in copy.glob("folds/*/model"):
        shutil.rmtree(model)
    text = text_of(write_report(copy))
    assert "No attention maps are shown: the folds hold no saved models" in text


def test_damaged_model_does_not_stop_the_report(real_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(real_run, tmp_path / "run")
    for model in copy.glob("folds/*/model/pipeline.json"):
        model.write_text("{}")
    assert "cannot be loaded" in text_of(write_report(copy))


def test_model_input_is_what_the_classifier_predicts_on(real_run: Path, store: Any) -> None:
    model = load_model(real_run / "folds" / "00" / "model")
    x, ch_names = model_input(model, store[:5])
    assert ch_names == list(store.ch_names)
    with torch.no_grad():
        proba = torch.softmax(model.module(torch.from_numpy(x)), dim=1).numpy()
    np.testing.assert_allclose(proba, model.pipeline.predict_proba(store[:5]), atol=1e-6)


def test_full_size_is_not_called_small() -> None:
    from biot_bd import BIOT

    full = BIOT(n_outputs=2, n_chans=16, n_times=2000, sfreq=200)
    assert module_name(full)[0] == "BIOT"
    assert module_name(torch.nn.Linear(2, 2)) == ("Linear", 6)


def test_explanation_uses_the_fold_that_never_saw_the_subject(real_run: Path, store: Any) -> None:
    source = choose_fold(real_run, store, recording="rec02")
    assert source.subjects == ("site/02",)
    fold = json.loads((source.folder.parent / "fold.json").read_text())
    assert "site/02" not in fold["train"] + fold["valid"]
    assert source.threshold == 0.05
    with pytest.raises(ValueError, match="no windows of recording 'rec99'; there are rec01"):
        choose_fold(real_run, store, recording="rec99")
    with pytest.raises(ValueError, match="no fold 7; there are 0, 1, 2"):
        choose_fold(real_run, store, fold=7)


def test_chosen_windows_are_seizure_windows_of_the_subjects(store: Any) -> None:
    rows = choose_windows(store, ("site/02",), number=3)
    assert len(rows) == 3
    assert (store.y[rows] == 1).all()
    assert set(store.groups[rows]) == {"site/02"}
    with pytest.raises(ValueError, match=r"no seizure windows of the subjects site/03"):
        choose_windows(store, ("site/03",))
    with pytest.raises(ValueError, match="the nearest starts at 15 s"):
        choose_windows(store, None, recording="rec01", start_s=16.0)
    (row,) = choose_windows(store, None, recording="rec02", start_s=15.0)
    assert tuple(store.metadata.iloc[row][["recording", "start_s"]]) == ("rec02", 15.0)


def test_written_explanation_equals_the_probe(real_run: Path, store: Any, tmp_path: Path) -> None:
    source = choose_fold(real_run, store, fold=1)
    rows = choose_windows(store, source.subjects, number=2)
    facts = explain_to_folder(source, store, rows, AttentionProbe(), tmp_path / "out", probe_name="attention")
    assert facts == json.loads((tmp_path / "out" / "explanation.json").read_text())
    stored = Explanation.load(tmp_path / "out" / "explanation.npz")
    model = load_model(source.folder)
    x, _ = model_input(model, store[rows])
    expected = AttentionProbe()(model.module, torch.from_numpy(x))
    np.testing.assert_array_equal(stored.values, expected.values)
    assert stored.dims == expected.dims
    proba = model.pipeline.predict_proba(store[rows])[:, 1]
    np.testing.assert_allclose([w["proba"] for w in facts["windows"]], proba)
    page = text_of(tmp_path / "out" / "explanation.html")
    for window in facts["windows"]:
        assert f"{window['recording']}, {window['start_s']:g} to {window['stop_s']:g} s" in page
    assert "http:" not in page
    assert "https:" not in page
    assert "<script" not in page
