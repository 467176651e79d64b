"""The report of a run that cross_validate really made, with its saved models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from biot_bd.report import write_report


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_report_names_the_small_model_and_draws_its_attention(
    real_run: Path, store: Any, cheap_pictures: list[str]
) -> None:
    text = text_of(write_report(real_run))
    assert "small BIOT, " in text
    assert "Checked: the maps rebuild the layers&#39; own outputs; largest relative error" in text
    assert cheap_pictures == [
        "Attention received, under the EEG",
        "Attention flow between channels, by layer",
    ]
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
