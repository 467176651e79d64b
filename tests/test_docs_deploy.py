"""The page "Take a model out": its block runs, and what it says of gates and limits is what the code has."""

import re
from pathlib import Path

import pytest
from small_model import save_small_model

from biot_bd.deploy import engine_choice
from biot_bd.export.artifact import BOUNDS
from biot_bd.export.gates import BATCH_SIZES, COMPANY_SHARE, LARGEST_FALL, LEAST_AGREEMENT

PAGE = (Path(__file__).resolve().parents[1] / "docs/deploy.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_has_the_bounds_of_the_gates():
    found = re.search(
        r"largest difference of a probability \| (\S+) in fp32, (\S+) in bf16, (\S+) in int8 and int8-bf16", PAGE
    )
    said = dict(zip(("fp32", "bf16", "int8", "int8-bf16"), map(float, (*found.groups(), found[3])), strict=True))
    assert {name: said[name] for name in BOUNDS} == BOUNDS
    assert f"{LEAST_AGREEMENT:.1%}".replace("%", " %") in PAGE
    assert f"| {LARGEST_FALL:g} |" in PAGE
    assert COMPANY_SHARE == 1 / 5
    assert BATCH_SIZES == (1, 3, 8, 64)


def test_the_page_says_how_long_the_measurement_is():
    assert "they are timed, two seconds in all" in PAGE
    assert engine_choice.SECONDS <= 2


@pytest.mark.slow  # an export, and two engines
def test_the_block_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIOT_BD_CACHE", str(tmp_path / "cache"))
    save_small_model(tmp_path / "models/mine")
    names = {}
    for code in FENCE.findall(PAGE):
        exec(compile(code, "deploy.md", "exec"), names)
    chosen = names["detector"]
    assert re.match(r"computed by (torch|openvino) in fp32, ", chosen.notes[0])
    assert (tmp_path / "cache/precision.json").is_file()
    assert names["alone"].scorer.engine == "openvino"
