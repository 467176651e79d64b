"""A version that somebody changed is neither verified nor used, whichever way it is asked for."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from biot_bd.cli import app
from biot_bd.commands._registered import find_model
from biot_bd.deploy.model_registry import verify_version
from biot_bd.deploy.version_folder import check_files, read_version
from biot_bd.exceptions import ModelRegistryError
from biot_bd.runs import read_json, write_json


def altered(registry, *keys, value):
    """Say another thing in ``artifact.json`` alone."""
    path = registry.resolve("mine").folder / "artifact.json"
    facts = read_json(path)
    inner = facts
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]] != value
    inner[keys[-1]] = value
    path.chmod(0o644)
    write_json(path, facts)
    return path.parent


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("demonstration",), True),
        (("anonymous",), True),
        (("generated",), True),
        (("input", "steps"), []),
        (("training", "data", "n_windows"), 10**6),
        (("training", "subjects", "test"), ["site/04"]),
        (("training", "split", "n_test_subjects"), 500),
        (("training", "seed"), 8),
        (("training", "contamination"), "none"),
        (("training", "notes"), []),
        (("results",), {"own": {"n_subjects": 9, "prevalence": 0.1, "rows": []}, "cross_validation": None}),
        (("probe", "n_windows"), 4000),
    ],
)
def test_what_the_model_itself_says_otherwise_is_no_description_of_it(registry, keys, value):
    folder = altered(registry, *keys, value=value)
    with pytest.raises(ModelRegistryError, match=r"artifact\.json"):
        verify_version(folder, replay=False)


def test_no_command_takes_a_version_of_which_a_file_was_changed(registry, monkeypatch, tmp_path):
    folder = registry.resolve("mine").folder
    monkeypatch.setenv("BIOT_BD_REGISTRY", str(registry.root))
    assert find_model("mine") == find_model(str(folder)) == folder
    file = folder / "events.json"
    file.chmod(0o644)
    file.write_text(file.read_text().replace("0.4", "0.1"))
    for asked in ("mine", "mine/1.0.0", str(folder)):
        with pytest.raises(ModelRegistryError, match="another file than was registered"):
            find_model(asked)
    told = CliRunner().invoke(app, ["export", "mine", "--format", "onnx", "-o", str(tmp_path / "exported")])
    assert told.exit_code != 0
    assert not (tmp_path / "exported").exists()


def test_a_changed_version_is_not_registered_again_with_the_results_of_the_former(registry):
    file = registry.resolve("mine").folder / "pipeline.json"
    file.chmod(0o644)
    file.write_text(file.read_text().replace("a small model", "a great model"))
    with pytest.raises(ModelRegistryError, match="another file than was registered"):
        registry.save(file.parent, "other", "1.0.0")
    assert [version.label for version in registry.list()] == ["mine/1.0.0"]


def test_an_engine_of_the_same_size_that_agrees_with_itself_is_noticed_before_it_is_loaded(registry):
    folder = registry.resolve("mine").folder
    folder.chmod(0o755)
    engine = folder / "exports" / "onnx"
    engine.mkdir(parents=True)
    (engine / "artifact.json").write_text("one")
    path = folder / "artifact.json"
    path.chmod(0o644)
    known = {"sha256": "0a" * 32, "size_bytes": 3}
    write_json(path, read_json(path) | {"files": read_json(path)["files"] | {"exports/onnx/artifact.json": known}})
    with pytest.raises(ModelRegistryError, match=r"exports/onnx/artifact\.json: another file"):
        check_files(read_version(folder), whole=False)


def test_a_folder_that_nobody_may_look_into_hides_no_other_model(registry, monkeypatch):
    shut = registry.root / "another"
    shut.mkdir()
    found = Path.iterdir

    def refused(path):
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return found(path)

    monkeypatch.setattr(Path, "iterdir", refused)  # root may look into every folder
    first, second = registry.list()
    assert (first.label, second.label, second.problem) == ("another/?", "mine/1.0.0", None)
    assert str(shut) in first.problem
    with pytest.raises(PermissionError, match="another"):
        registry.resolve("another")
