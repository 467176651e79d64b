"""Pushing and pulling versions: what comes back, and what of a store is refused."""

import hashlib
import json
import re
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
from hub_stand_in import TOKEN, Fault, Repository, client_of_a_stand_in
from huggingface_hub import constants

from biot_bd import registry as registries
from biot_bd.deploy import ModelStore, Registry, StoredVersion, pull_version, push_version
from biot_bd.deploy.model_registry import transfer
from biot_bd.deploy.model_registry.transfer import parse_place
from biot_bd.exceptions import HubError, ModelRegistryError, UnknownNameError

PLACE = "me/mine"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "model-stores.md"


@pytest.fixture
def hub(monkeypatch):
    with client_of_a_stand_in(monkeypatch) as state:
        yield state


@pytest.fixture(scope="module")
def repository(saved):
    """Return what a push leaves on the Hub."""
    with pytest.MonkeyPatch.context() as patch, client_of_a_stand_in(patch) as hub:
        push_version(saved, "mine", None, PLACE, endpoint=hub.address)
        return hub.repositories[PLACE]


@pytest.fixture
def pushed(hub, repository):
    hub.repositories[PLACE] = deepcopy(repository)
    return hub


@pytest.fixture
def mine(tmp_path):
    return Registry(tmp_path / "mine")


def pull(hub, registry, version=None, **options):
    return pull_version(registry, PLACE, version, endpoint=hub.address, **options)


def refused(hub, registry, error=ModelRegistryError, **options):
    """Return why nothing was pulled; nothing is left in the registry."""
    with pytest.raises(error) as caught:
        pull(hub, registry, **options)
    assert not registry.root.exists() or not list(registry.root.rglob("*"))
    assert TOKEN not in str(caught.value)
    assert str(registry.root) not in str(caught.value)
    return str(caught.value)


def change(hub, **files):
    """Commit other content and move the tag there, as somebody with the right to write could; None removes a file."""
    repository = hub.repositories[PLACE]
    content = {**repository.commits[repository.tags["1.0.0"]]}
    for name, new in files.items():
        content.pop(name, None) if new is None else content.update({name: new})
    repository.tags["1.0.0"] = repository.commit(content, "tampered")


def said(hub):
    repository = hub.repositories[PLACE]
    return json.loads(repository.commits[repository.tags["1.0.0"]]["artifact.json"])


def test_a_version_that_was_pushed_and_pulled_is_the_same_byte_by_byte(pushed, saved, mine):
    there = saved.resolve("mine")
    pulled = pull(pushed, mine, expected=f"sha256:{there.digest.upper()}")
    assert pulled.digest == there.digest
    assert {path.name: path.read_bytes() for path in pulled.folder.iterdir()} == {
        path.name: path.read_bytes() for path in there.folder.iterdir()
    }
    mine.verify("mine", "1.0.0")


def test_a_push_is_verified_before_anything_is_sent(hub, registry):
    weights = registry.resolve("mine").folder / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(ModelRegistryError, match=r"model\.safetensors"):
        push_version(registry, "mine", "1.0.0", PLACE, endpoint=hub.address)
    assert not hub.log


def test_the_same_version_pushed_again_sends_nothing(pushed, saved):
    before = pushed.repositories[PLACE].messages.copy()
    again = push_version(saved, "mine", "1.0.0", PLACE, endpoint=pushed.address)
    assert again.was_there
    assert again.revision == pushed.repositories[PLACE].tags["1.0.0"]
    assert pushed.repositories[PLACE].messages == before
    assert not pushed.requests("POST .*/commit/")


def test_other_content_under_a_version_that_is_there_is_refused(pushed, trained, tmp_path):
    other = Registry(tmp_path / "other")
    other.save(trained, "mine", "1.0.0", licence="other")
    with pytest.raises(ModelRegistryError, match="versions are never replaced"):
        push_version(other, "mine", "1.0.0", PLACE, endpoint=pushed.address)
    assert pushed.repositories[PLACE].messages == ["initial commit", "mine 1.0.0"]


def test_a_repository_keeps_the_versions_of_one_model(pushed, trained, tmp_path):
    other = Registry(tmp_path / "other")
    other.save(trained, "another", "2.0.0")
    with pytest.raises(ModelRegistryError, match="holds versions of 'mine', not of 'another'"):
        push_version(other, "another", "2.0.0", PLACE, endpoint=pushed.address)


@pytest.mark.slow
def test_the_newest_release_is_pulled_and_pre_releases_are_named(pushed, trained, tmp_path, mine):
    more = Registry(tmp_path / "more")
    for version in ("1.10.0", "1.9.0", "2.0.0-rc.1"):
        more.save(trained, "mine", version)
        push_version(more, "mine", version, PLACE, endpoint=pushed.address)
    assert pull(pushed, mine).version == "1.10.0"
    assert pull(pushed, mine, "2.0.0-rc.1").version == "2.0.0-rc.1"
    assert [one.label for one in mine.list()] == ["mine/1.10.0", "mine/2.0.0-rc.1"]


def test_pulling_what_is_there_changes_nothing(pushed, mine):
    first = pull(pushed, mine)
    before = (first.folder / "artifact.json").stat().st_mtime_ns
    assert pull(pushed, mine).folder == first.folder
    assert (first.folder / "artifact.json").stat().st_mtime_ns == before


def test_another_digest_than_the_expected_one_is_refused_before_the_rest_is_fetched(pushed, mine):
    assert "this is another version than the one that was meant" in refused(pushed, mine, expected="0" * 64)
    assert pushed.requests("resolve")[-1].endswith("artifact.json")


def test_a_changed_file_is_refused_by_its_hash(pushed, mine):
    weights = pushed.repositories[PLACE].commits[pushed.repositories[PLACE].head]["model.safetensors"]
    change(pushed, **{"model.safetensors": weights[:-1] + bytes([weights[-1] ^ 1])})
    told = refused(pushed, mine)
    assert "model.safetensors: expected SHA-256" in told
    assert "ask who pushed it" in told


def test_a_changed_file_whose_hash_was_changed_too_is_refused_by_the_expected_digest(pushed, saved, mine):
    facts = said(pushed)
    card = b"# another card\n"
    facts["files"]["README.md"] = {"sha256": hashlib.sha256(card).hexdigest(), "size_bytes": len(card)}
    change(pushed, **{"README.md": card, "artifact.json": json.dumps(facts).encode()})
    assert "this is another version than the one that was meant" in refused(
        pushed, mine, expected=saved.resolve("mine").digest
    )


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"model.safetensors": None}, "model.safetensors: its artifact.json says"),
        ({"model.safetensors": b"short"}, "there are 5 bytes"),
        ({"events.json": b"{}\n"}, "events.json"),
        ({"exports/onnx/model.onnx": b"graph"}, "exports/onnx/model.onnx: its artifact.json says no such file"),
        ({"model.pkl": b"\x80\x04."}, "'model.pkl' is no name of a file of a version"),
        ({"../../.bashrc": b"echo"}, "is no name of a file of a version; nothing of it was fetched"),
        ({"/etc/passwd": b"x"}, "is no name of a file of a version; nothing of it was fetched"),
        ({"exports/../../x": b"x"}, "is no name of a file of a version; nothing of it was fetched"),
        ({"exports/onnx/..": b"x"}, "is no name of a file of a version; nothing of it was fetched"),
        ({"exports\\onnx\\x": b"x"}, "is no name of a file of a version; nothing of it was fetched"),
        ({"artifact.json": None}, "holds no artifact.json, so it is no version of a model registry"),
        ({"artifact.json": b"{"}, "not valid JSON"),
        ({"artifact.json": b'{"format": "biot_bd exported model"}'}, "not written by `biot-bd models save`"),
    ],
)
def test_what_is_no_version_as_it_was_pushed_is_refused(pushed, mine, files, told):
    change(pushed, **files)
    assert told in refused(pushed, mine)


def test_a_newer_schema_names_the_biot_bd_that_wrote_it(pushed, mine):
    change(pushed, **{"artifact.json": json.dumps({**said(pushed), "schema": 99, "biot_bd": "7.1"}).encode()})
    assert "of schema 99 of biot_bd 7.1" in refused(pushed, mine)


def test_a_version_under_the_tag_of_another_is_refused(pushed, mine):
    repository = pushed.repositories[PLACE]
    repository.tags["3.0.0"] = repository.tags["1.0.0"]
    assert "its artifact.json says mine/1.0.0" in refused(pushed, mine)


def test_a_listing_that_asks_for_too_much_is_refused_before_anything_is_fetched(pushed, mine, monkeypatch):
    pushed.listed = lambda entries: [
        {**one, "size": 2**50, "lfs": {**one["lfs"], "size": 2**50}} if "lfs" in one else one for one in entries
    ]
    assert "at most" in refused(pushed, mine)
    pushed.listed = lambda entries: [
        {**one, "size": 2**40} if one["path"] == "artifact.json" else one for one in entries
    ]
    assert "of artifact.json" in refused(pushed, mine)
    pushed.page = 2000
    pushed.listed = lambda entries: [*entries, *({**entries[-1], "path": f"exports/onnx/{k}"} for k in range(1001))]
    assert "files" in refused(pushed, mine, error=(ModelRegistryError, HubError))
    assert not [request for request in pushed.requests("resolve") if "safetensors" in request]


def test_a_full_disk_is_told_before_anything_is_fetched(pushed, mine, monkeypatch):
    full = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda path: full)
    with pytest.raises(OSError, match=r"make room, or name another --registry"):
        pull(pushed, mine)
    assert not [request for request in pushed.requests("resolve") if "safetensors" in request]


def test_more_bytes_than_were_listed_are_not_taken(pushed, mine):
    pushed.faults.append(Fault("GET /cdn/", "long"))
    assert "more than the" in refused(pushed, mine, error=HubError)
    assert pushed.chunks_sent < pushed.most_chunks


def test_a_download_that_is_given_up_leaves_nothing_and_the_same_call_goes_on(pushed, mine):
    pushed.faults.append(Fault("GET /cdn/", "cut"))
    refused(pushed, mine, error=HubError)
    pushed.faults.clear()
    assert pull(pushed, mine).label == "mine/1.0.0"


def test_a_plain_repository_of_the_hub_is_sent_to_fetch(hub, mine):
    hub.repositories[PLACE] = plain = Repository()
    plain.commit({"config.json": b"{}", "model.safetensors": b"weights"}, "weights of others")
    assert "`biot-bd models fetch`" in refused(hub, mine)


@pytest.mark.parametrize(
    "place", ["nowhere", "", "hub:", ":me/mine", "me/../mine", "me/mine/more", "https://hub/me/mine"]
)
def test_a_place_that_is_none_is_said(place, saved):
    with pytest.raises(
        (ModelRegistryError, UnknownNameError), match=r"expected OWNER/NAME|no model_stores named .*biot-bd-mlflow"
    ):
        push_version(saved, "mine", "1.0.0", place)


def test_the_block_of_the_page_runs(hub, saved, tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"  # what HF_ENDPOINT does on import
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved.root, "registry")
    names = {}
    exec(compile(code, PAGE.name, "exec"), names)
    assert names["pulled"].digest == names["pushed"].digest == saved.resolve("mine").digest
    assert names["pulled"].folder == Path("elsewhere/mine/1.0.0")


def test_places_name_their_store():
    assert parse_place("me/mine") == parse_place("hub:me/mine") == ("hub", "me/mine")
    assert parse_place("mlflow:my model") == ("mlflow", "my model")


class Careless(ModelStore):
    """A store of a plugin that checks nothing; it holds what the test put there."""

    files = {}

    def versions(self, place):
        return {"1.0.0": "r", "latest": "r"}

    def listing(self, place, version):
        return StoredVersion("r", {name: len(content) for name, content in self.files.items()})

    def fetch(self, place, stored, name, target):
        target.write_bytes(self.files[name] + b"more")

    def upload(self, folder, place, name, version, private=True):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("there", "asked", "found"),
    [
        (["1.9.0", "1.10.0", "2.0.0-rc.1", "latest"], None, "1.10.0"),
        (["1.9.0", "1.10.0", "2.0.0-rc.1"], "2.0.0-rc.1", "2.0.0-rc.1"),
        (["1.9.0"], "1.8.0", "holds no version 1.8.0; there are 1.9.0"),
        (["2.0.0-rc.1"], None, "holds pre-releases alone; name one of 2.0.0-rc.1"),
        (["latest", "v1"], None, "holds no version of a model registry"),
    ],
)
def test_the_newest_release_is_meant_and_pre_releases_are_named(there, asked, found, mine, monkeypatch):
    monkeypatch.setattr(Careless, "versions", lambda self, place: dict.fromkeys(there, "r"))
    monkeypatch.setattr(Careless, "listing", lambda self, place, version: pytest.fail(version))
    monkeypatch.setitem(registries.model_stores._objects, "careless", Careless)
    with pytest.raises((ModelRegistryError, pytest.fail.Exception)) as caught:
        pull_version(mine, "careless:x", asked)
    assert found in str(caught.value)


def test_a_store_that_checks_nothing_cannot_put_more_than_it_listed_into_the_registry(saved, mine, monkeypatch):
    folder = saved.resolve("mine").folder
    monkeypatch.setattr(Careless, "files", {path.name: path.read_bytes() for path in folder.iterdir()})
    monkeypatch.setitem(registries.model_stores._objects, "careless", Careless)
    with pytest.raises(ModelRegistryError, match=r"artifact\.json: expected \d+ bytes, \d+ came"):
        pull_version(mine, "careless:x")
    assert not list(mine.root.rglob("*"))


def test_an_anonymous_push_sends_no_name_and_is_known_again(hub, saved, mine):
    assert "site/01" in (saved.resolve("mine").folder / "pipeline.json").read_text()
    pushed = push_version(saved, "mine", "1.0.0", PLACE, anonymous=True, endpoint=hub.address)
    assert pushed.anonymous
    repository = hub.repositories[PLACE]
    for content in repository.commits[repository.head].values():
        assert b"site/0" not in content
    again = push_version(saved, "mine", "1.0.0", PLACE, anonymous=True, endpoint=hub.address)
    assert (again.was_there, again.digest) == (True, pushed.digest)
    assert pull(hub, mine, expected=pushed.digest).facts["anonymous"]
    with pytest.raises(ModelRegistryError, match="never replaced"):  # with its names it is another content
        push_version(saved, "mine", "1.0.0", PLACE, endpoint=hub.address)
