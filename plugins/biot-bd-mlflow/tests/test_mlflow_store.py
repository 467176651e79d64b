"""MLflow's model registry as a store: its real client on a database of its own; no torch is needed."""

import json
import subprocess
import sys

import pytest

mlflow = pytest.importorskip("mlflow", reason="runs in an environment with MLflow: make mlflow")

from biot_bd_mlflow.store import DIGEST_TAG, VERSION_TAG, MlflowStore  # noqa: E402

from biot_bd import registry as registries  # noqa: E402
from biot_bd.deploy import Registry, pull_version, push_version  # noqa: E402
from biot_bd.deploy.demo_model import shipped  # noqa: E402
from biot_bd.exceptions import ModelRegistryError  # noqa: E402
from biot_bd.testing import check_model_store  # noqa: E402


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """Return the address of a database with the demonstration pushed."""
    folder = tmp_path_factory.mktemp("mlflow")
    address = f"sqlite:///{folder}/mlflow.db"
    push_version(demonstration(folder), "demo", "1.0.0", "mlflow:demo", endpoint=address)
    return address


def demonstration(folder):
    registry = Registry(folder / "here")
    registry.add(shipped())
    return registry


def run(*args):
    done = subprocess.run([sys.executable, "-m", "biot_bd.cli", *args], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_the_plugin_registers_its_store_without_importing_mlflow():
    code = (
        "import sys; from biot_bd import registry; print(registry.model_stores.path('mlflow'), 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["biot_bd_mlflow.store:MlflowStore", "False"]


def test_the_store_passes_the_check(uri):
    class Local(MlflowStore):
        def __init__(self, endpoint=None):
            super().__init__(uri)

    check_model_store(Local, "a check")


def test_a_version_comes_back_byte_by_byte_and_verifies(uri, tmp_path):
    pulled = pull_version(Registry(tmp_path / "there"), "mlflow:demo", endpoint=uri)
    for path in shipped().rglob("*"):
        if path.is_file():
            assert (pulled.folder / path.relative_to(shipped())).read_bytes() == path.read_bytes()
    assert Registry(tmp_path / "there").verify("demo", "1.0.0").replayed


def test_mlflow_shows_which_version_it_is_and_holds_no_flavour(uri):
    client = mlflow.MlflowClient(tracking_uri=uri)
    (version,) = client.search_model_versions("name = 'demo'")
    assert version.tags[VERSION_TAG] == "1.0.0"
    assert len(version.tags[DIGEST_TAG]) == 64
    names = {entry.path for entry in client.list_artifacts(version.run_id, "model")}
    assert "model/artifact.json" in names
    assert not {"model/MLmodel", "model/python_model.pkl"} & names
    assert client.get_run(version.run_id).info.status == "FINISHED"


def test_artifacts_lie_beside_the_database_and_nothing_in_the_working_directory(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path}/data/mlflow.db"
    (tmp_path / "data").mkdir()
    push_version(demonstration(tmp_path), "demo", "1.0.0", "mlflow:demo", endpoint=address)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "here"}
    assert (tmp_path / "data" / "mlartifacts").is_dir()


def test_the_same_version_pushed_again_makes_none(uri, tmp_path):
    again = push_version(demonstration(tmp_path), "demo", "1.0.0", "mlflow:demo", endpoint=uri)
    assert again.was_there
    assert len(mlflow.MlflowClient(tracking_uri=uri).search_model_versions("name = 'demo'")) == 1


def test_an_upload_that_was_killed_is_no_version(uri, tmp_path, monkeypatch):
    here = demonstration(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "create_model_version", lambda *args, **kwargs: sys.exit(9))
        with pytest.raises(SystemExit):
            push_version(here, "demo", "1.0.0", "mlflow:killed", endpoint=uri)
    assert MlflowStore(uri).versions("killed") == {}
    assert not push_version(here, "demo", "1.0.0", "mlflow:killed", endpoint=uri).was_there


def test_of_two_pushes_at_once_one_is_the_version(uri, tmp_path, monkeypatch):
    here, versions = demonstration(tmp_path), MlflowStore._versions
    first = push_version(here, "demo", "1.0.0", "mlflow:race", endpoint=uri)
    asked = []

    def late(self, place):  # as the second sees it, which looked before the first was done
        asked.append(place)
        return {} if len(asked) == 1 else versions(self, place)

    monkeypatch.setattr(MlflowStore, "_versions", late)
    with pytest.raises(FileExistsError, match="at the same time"):
        MlflowStore(uri).upload(shipped(), "race", "demo", "1.0.0")
    monkeypatch.undo()
    assert MlflowStore(uri).versions("race") == {"1.0.0": first.revision}
    assert len(mlflow.MlflowClient(tracking_uri=uri).search_model_versions("name = 'race'")) == 1


def test_a_file_that_was_changed_in_mlflow_is_refused(uri, tmp_path):
    push_version(demonstration(tmp_path), "demo", "1.0.0", "mlflow:tampered", endpoint=uri)
    run_id = MlflowStore(uri).versions("tampered")["1.0.0"]
    changed = tmp_path / "events.json"
    content = (shipped() / "events.json").read_bytes()
    changed.write_bytes(content.replace(b"0", b"1"))
    mlflow.MlflowClient(tracking_uri=uri).log_artifact(run_id, str(changed), "model")
    with pytest.raises(ModelRegistryError, match=r"events\.json: expected SHA-256"):
        pull_version(Registry(tmp_path / "there"), "mlflow:tampered", endpoint=uri)
    mlflow.MlflowClient(tracking_uri=uri).log_artifact(run_id, str(changed), "model/extra")
    with pytest.raises(ModelRegistryError, match="is no name of a file of a version"):
        pull_version(Registry(tmp_path / "there"), "mlflow:tampered", endpoint=uri)
    assert not list((tmp_path / "there").rglob("*"))


def test_a_model_of_others_in_mlflow_is_no_version(uri, tmp_path):
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source=f"file://{tmp_path}")
    with pytest.raises(ModelRegistryError, match="holds no version of a model registry"):
        pull_version(Registry(tmp_path / "there"), "mlflow:theirs", endpoint=uri)


def test_where_mlflow_is_has_to_be_said(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(OSError, match="Give --endpoint"):
        MlflowStore().versions("demo")


def test_a_password_in_the_address_is_not_repeated(tmp_path):
    with pytest.raises(OSError) as caught:
        MlflowStore("http://user:secret@127.0.0.1:9").versions("demo")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["a'b", "", "x/y"])
def test_a_name_that_would_change_the_query_is_refused(uri, place):
    with pytest.raises(OSError, match="expected letters"):
        MlflowStore(uri).versions(place)


def test_the_command_line_pushes_and_pulls(uri, tmp_path):
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    assert run("models", "pull", "demo", "--registry", here)[0] == 0
    status, out, err = run(
        "models", "push", "demo", "mlflow:by command", "--endpoint", uri, "--registry", here, "--json"
    )
    assert status == 0, err
    pushed = json.loads(out)
    status, out, err = run("models", "pull", "mlflow:by command", "--endpoint", uri, "--registry", there, "--json")
    assert status == 0, err
    assert json.loads(out)["digest"] == pushed["digest"]
    assert registries.model_stores.owner("mlflow") == "mlflow"
