"""``biot-bd models save|show|verify|push|pull|diff|list``, and a MODEL by its name in the registry."""

import json
import shutil
from pathlib import Path

import pytest
from hub_stand_in import TOKEN, client_of_a_stand_in
from small_pipeline import save_small_pipeline
from typer.testing import CliRunner

from biot_bd.commands import _registered
from biot_bd.commands._registered import find_model
from biot_bd.commands.export import export
from biot_bd.commands.models import app
from biot_bd.deploy import Registry
from biot_bd.deploy.detection_record import model_facts


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_small_pipeline(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """Return a registry with two versions of a model; nobody changes it."""
    registry = Registry(tmp_path_factory.mktemp("registry") / "models")
    for version in ("1.0.0", "1.1.0"):
        registry.save(model, "mine", version)
    return registry


@pytest.fixture
def root(made, tmp_path, monkeypatch):
    """Return the folder of a copy, which the variable names."""
    shutil.copytree(made.root, tmp_path / "models")
    monkeypatch.setenv("BIOT_BD_REGISTRY", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def run(*args):
    return CliRunner().invoke(app, list(map(str, args)))


def told(*args):
    done = run(*args)
    assert done.exit_code == 0, done.exception
    return " ".join(done.stdout.split())


def facts(*args):
    done = run(*args, "--json")
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def error(*args):
    done = run(*args)
    assert done.exit_code == 1
    return str(done.exception)


def test_save_makes_a_version_that_list_and_verify_find(model, root):
    saved = facts("save", model, "other", "0.1.0-rc.1")
    assert saved["folder"] == str(root / "other" / "0.1.0-rc.1")
    rows = [row for row in facts("list") if row["kind"] == "version" and row["folder"].startswith(str(root))]
    assert [(row["name"], row["version"]) for row in rows] == [
        ("mine", "1.0.0"), ("mine", "1.1.0"), ("other", "0.1.0-rc.1"),
    ]  # fmt: skip
    assert rows[-1]["digest"] == saved["digest"]
    verified = facts("verify", "other/0.1.0-rc.1", "--expected", saved["digest"])
    assert [one["engine"] for one in verified["replayed"]] == ["torch"]
    assert f"other/0.1.0-rc.1: 4 channels, 200 Hz, digest {saved['digest'][:12]}" in told("list")


def test_a_model_that_is_saved_may_be_one_of_the_registry(root):
    facts("save", "mine", "again", "0.1.0")
    folders = [root / "mine" / "1.1.0", root / "again" / "0.1.0"]
    assert len({(folder / "model.safetensors").read_bytes() for folder in folders}) == 1


def test_a_version_is_named_by_its_model_alone_and_then_it_is_the_newest(root):
    assert facts("show", "mine")["version"] == "1.1.0"
    assert facts("verify", "mine")["version"] == "1.1.0"
    assert facts("verify", root / "mine" / "1.0.0")["version"] == "1.0.0"
    assert "# mine 1.1.0" in told("show", "mine")
    assert not told("show", "mine").startswith("---")


def test_another_registry_is_read_where_it_is_named(root, tmp_path):
    elsewhere = root.rename(tmp_path / "elsewhere")
    assert "no model called mine" in error("verify", "mine", "--registry", root)
    assert facts("verify", "mine", "--registry", elsewhere)["version"] == "1.1.0"


def test_verify_of_a_changed_file_names_it_and_fails(root):
    card = root / "mine" / "1.1.0" / "README.md"
    card.chmod(0o644)
    card.write_text("# better\n")
    assert "README.md" in error("verify", "mine")
    assert facts("verify", "mine/1.0.0")["problem"] is None


def test_the_wrong_digest_fails(root):
    assert "0000" in error("verify", "mine", "--expected", "0" * 64)


def test_a_digest_is_none_of_a_checkpoint(model):
    assert "--expected is the digest of a version" in error("verify", model, "--expected", "0" * 64)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["verify", "mne"], "did you mean mine"),
        (["show", "mne"], "did you mean mine"),
        (["show", "mine/2.0.0"], "no version 2.0.0 of mine; there are 1.0.0, 1.1.0"),
        (["save", "nowhere", "mine", "2.0.0"], "expected a saved model"),
        (["push", "mine", "nowhere"], "expected OWNER/NAME of the Hub"),
        (["push", "mine", "hubb:me/mine"], "did you mean 'hub'"),
        (["push", "mne", "me/mine"], "did you mean mine"),
        (["diff", "mine", "mne"], "did you mean mine"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(root, args, words):
    assert words in error(*args)


def test_diff_says_in_what_two_versions_differ(root):
    found = facts("diff", "mine/1.0.0", "mine/1.1.0")
    assert found["same_weights"]
    assert found["probabilities"] == {"mine/1.0.0": 0, "mine/1.1.0": 0}
    assert "weights: all 32 tensors are equal" in told("diff", "mine/1.0.0", "mine/1.1.0")


def test_push_and_pull_print_the_digest_and_no_token(root, tmp_path, monkeypatch):
    with client_of_a_stand_in(monkeypatch) as hub:
        pushed = facts("push", "mine", "me/mine", "--endpoint", hub.address)
        assert hub.repositories["me/mine"].private
        assert pushed["digest"] == facts("show", "mine")["digest"]
        again = told("push", "mine", "me/mine", "--endpoint", hub.address)
        assert again.startswith("mine/1.1.0 was there: hub:me/mine, revision")
        pulled = facts("pull", "me/mine", "--endpoint", hub.address, "--registry", tmp_path / "new")
        assert pulled["digest"] == pushed["digest"]
        text = told("pull", "me/mine", "1.1.0", "--endpoint", hub.address)
        assert TOKEN not in again + text
    assert facts("verify", "mine", "--registry", tmp_path / "new")["digest"] == pushed["digest"]


def test_a_model_of_a_command_is_a_folder_or_a_name_of_the_registry(root, tmp_path, capsys):
    assert find_model("mine") == root / "mine" / "1.1.0"
    assert find_model("mine/1.0.0") == root / "mine" / "1.0.0"
    for text in ("models/mine/1.0.0", "./mine", "/mine", "other", "Mine", "mine/2.0.0/x", "aux", "prest-16"):
        assert find_model(text) == Path(text)
    with pytest.raises(FileNotFoundError, match=r"no such model in the model registry; did you mean 'mine'"):
        find_model("mne")
    with pytest.raises(FileNotFoundError, match="did you mean 'mine'"):
        find_model("mine/3.0.0")
    assert not capsys.readouterr().err


def test_a_folder_comes_before_a_model_of_the_registry_and_that_is_said(root, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    assert find_model("mine") == Path("mine")
    assert f"the folder is taken (give {root / 'mine' / '1.1.0'} for the other)" in capsys.readouterr().err


def test_records_of_detections_say_which_version(root):
    assert model_facts(root / "mine" / "1.0.0")["name"] == "mine/1.0.0"
    assert model_facts(root / "mine")["name"] == "mine"


def test_nothing_is_exported_into_a_version(root):
    before = sorted(root.rglob("*"))
    with pytest.raises(ValueError, match="which never changes; name another folder with -o"):
        export(find_model("mine"), None)
    with pytest.raises(ValueError, match="which never changes"):
        export(find_model("mine"), root / "mine" / "1.1.0" / "exports" / "x")
    assert sorted(root.rglob("*")) == before


def test_the_shipped_demonstration_needs_no_network_and_may_be_missing(root, made, monkeypatch):
    monkeypatch.setattr("biot_bd.deploy.demo_model.shipped", lambda: made.root / "mine" / "1.0.0")
    assert _registered.registered("mine/1.0.0").folder == root / "mine" / "1.0.0"  # the registry's own comes first
    shutil.rmtree(root)
    assert find_model("mine") == made.root / "mine" / "1.0.0"
    assert find_model("mine/1.0.0") == made.root / "mine" / "1.0.0"
    assert facts("verify", "mine")["folder"] == str(made.root / "mine" / "1.0.0")
    assert facts("list")[-1]["version"] == "1.0.0"
    assert facts("pull", "demo")["folder"] == str(root / "mine" / "1.0.0")
