"""The script that makes the demonstration model runs as it stands, and what is shipped is what it makes."""

import importlib.util
from pathlib import Path

import pytest

from biot_bd.deploy import Registry, read_version
from biot_bd.deploy.demo_model import shipped

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_demo_model", ROOT / "experiments" / "make_demo_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_model_is_of_the_subjects_that_the_script_names(script):
    facts = read_version(shipped()).facts["training"]
    seen = {subject for subjects in (facts["subjects"]["train"], facts["subjects"]["valid"]) for subject in subjects}
    generated = {f"{script.NAMESPACE}/{number:02d}" for number in range(1, 19)}
    assert seen == generated | {"chb-mit/02", "chb-mit/03", "eegmmidb/001"}
    assert sorted(facts["subjects"]["test"]) == script.LEFT_OUT
    assert {name.partition("/")[0] for name in facts["subjects"]["valid"]} == {script.NAMESPACE}


@pytest.mark.slow
def test_it_makes_a_version_from_nothing(script, shared, tmp_path):
    data = shared / "data"
    options = ["--excerpts", str(data / "chbmit-excerpts"), "--background", str(data / "eegmmidb"), "--epochs", "1"]
    assert script.main(["--out", str(tmp_path), *options]) == 0
    made = Registry(tmp_path / "registry").resolve("demo/1.0.0")
    assert made.problem is None
    assert made.facts["demonstration"] is True
    own, other = (read_version(folder).facts["input"] for folder in (made.folder, shipped()))
    assert own == other
    card = (made.folder / "README.md").read_text(encoding="utf-8")
    assert "a child who was left out (chb-mit/01: 42 windows of 11 excerpts" in card
    assert str(tmp_path) not in "".join(p.read_text(errors="ignore") for p in made.folder.rglob("*.json"))
