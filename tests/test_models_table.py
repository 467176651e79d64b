"""The table of braindecode's models in docs/models.md, and the script that makes it."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")  # its child processes find it by name
        yield importlib.import_module("models_table")


@pytest.fixture(scope="module")
def kept():
    rows = re.findall(
        r"^\| (\w+) \| (-|`[\w-]+`) \| (.*?) \| (.*?) \| (.*?) \|$", (ROOT / "docs" / "models.md").read_text(), re.M
    )
    return {name: rest for name, *rest in rows}


def test_the_page_has_every_model_once_and_its_registered_name(script, kept):
    models = script.all_models()
    assert set(kept) == set(models)
    for name, (registered, *_) in kept.items():
        known = script.registered_name(models[name])
        assert registered == ("-" if known is None else f"`{known}`")


def test_the_page_has_the_contracts_as_they_are(script):
    assert script.contracts_table() in (ROOT / "docs" / "models.md").read_text()


def _same(went, row):
    return went.split(":")[0] == row.split(":")[0]


def test_some_models_go_as_the_page_says(script, kept, tmp_path):
    stores = script.prepare_windows(tmp_path / "data")
    models = script.all_models()
    for name in ("EEGNet", "SCCNet", "BENDR"):
        try:
            went, _ = script.run_model(models[name], stores["biot-16"], tmp_path / name)
        except Exception as error:  # as the script does: a refusal is a row
            went = script.first_line(error)
        assert _same(went, kept[name][1]), f"{name}: {went}"


@pytest.mark.slow
def test_all_models_go_as_the_page_says(script, kept, tmp_path):
    stores = script.prepare_windows(tmp_path / "data")
    for name, cls in script.all_models().items():
        # What comes of the first depends on the network, and how long the other asks for its table of channels.
        if "download" in kept[name][2].lower() or name == "STEEGFormer":
            continue
        _, _, went, other, _ = script.make_row(name, cls, stores, tmp_path)
        assert (_same(went, kept[name][1]), _same(other, kept[name][2])) == (True, True), f"{name}: {went}; {other}"
