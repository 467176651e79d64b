"""The Hub as a store of models: the real client against a Hub on this machine."""

import pytest
from hub_stand_in import TOKEN, Fault, client_of_a_stand_in
from huggingface_hub import constants

from biot_bd.deploy.model_registry.hub_store import HubStore
from biot_bd.exceptions import HubError
from biot_bd.testing import check_model_store

PLACE = "me/seizures"
FILES = {"artifact.json": b'{"format": "x"}', "model.safetensors": bytes(range(256)) * 500, "config.json": b"{}"}


@pytest.fixture
def hub(monkeypatch):
    with client_of_a_stand_in(monkeypatch) as state:
        yield state


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "version"
    path.mkdir()
    for name, content in FILES.items():
        (path / name).write_bytes(content)
    return path


def push(hub, folder, version="1.0.0", **options):
    return HubStore(hub.address).upload(folder, PLACE, "seizures", version, **options)


def fetch(hub, tmp_path, name="model.safetensors", version="1.0.0"):
    store = HubStore(hub.address)
    target = tmp_path / "fetched"
    store.fetch(PLACE, store.listing(PLACE, version), name, target)
    return target.read_bytes()


def refusal(function, *args, **kwargs):
    """Return the one line of the error; no token is in it."""
    with pytest.raises(HubError) as caught:
        function(*args, **kwargs)
    told = str(caught.value)
    assert TOKEN not in told
    assert "\n" not in told
    return told


def test_a_version_comes_back_as_it_was_put_there(hub):
    class Local(HubStore):
        def __init__(self, endpoint=None):
            super().__init__(hub.address)

    check_model_store(Local, PLACE)


def test_a_version_is_one_commit_with_a_tag_in_a_private_repository(hub, folder):
    commit = push(hub, folder)
    made = hub.repositories[PLACE]
    assert made.private
    assert made.messages == ["initial commit", "seizures 1.0.0"]
    assert made.tags == {"1.0.0": commit}
    kept = dict(made.commits[commit])
    assert kept.pop(".gitattributes")
    assert kept == FILES


def test_the_next_version_holds_no_file_of_the_last_one(hub, folder):
    push(hub, folder)
    (folder / "config.json").unlink()
    (folder / "events.json").write_bytes(b"{}")
    commit = push(hub, folder, "1.1.0")
    assert set(hub.repositories[PLACE].commits[commit]) == {*FILES, "events.json", ".gitattributes"} - {"config.json"}
    assert set(HubStore(hub.address).versions(PLACE)) == {"1.0.0", "1.1.0"}


def test_a_version_that_is_there_is_never_replaced(hub, folder):
    push(hub, folder)
    before = hub.repositories[PLACE].tags.copy()
    (folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(FileExistsError, match=r"version 1\.0\.0 is there; give the model another version"):
        push(hub, folder)
    assert hub.repositories[PLACE].tags == before
    assert len(hub.repositories[PLACE].commits) == 2


def test_an_upload_that_was_killed_before_its_tag_goes_on_without_a_second_commit(hub, folder):
    hub.faults.append(Fault("POST .*/tag/", "drop"))
    refusal(push, hub, folder)
    assert HubStore(hub.address).versions(PLACE) == {}
    hub.faults.clear()
    uploads = len(hub.requests("PUT /lfs/"))
    push(hub, folder)
    assert hub.repositories[PLACE].messages == ["initial commit", "seizures 1.0.0"]
    assert len(hub.requests("PUT /lfs/")) == uploads


def test_an_upload_that_was_killed_before_its_commit_sends_no_large_file_again(hub, folder):
    hub.faults.append(Fault("POST .*/commit/", "drop"))
    refusal(push, hub, folder)
    hub.faults.clear()
    push(hub, folder)
    assert len(hub.requests("PUT /lfs/")) == 1


def test_a_public_repository_gets_nothing_without_being_told(hub, folder):
    push(hub, folder, private=False)
    assert not hub.repositories[PLACE].private
    assert "is public" in refusal(push, hub, folder, "1.1.0")
    assert set(HubStore(hub.address).versions(PLACE)) == {"1.0.0"}


def test_a_file_that_the_repository_ignores_makes_no_version(hub, folder):
    hub.ignored.add("config.json")
    assert "does not hold config.json as it was sent" in refusal(push, hub, folder)
    assert HubStore(hub.address).versions(PLACE) == {}


def test_a_file_that_somebody_changed_meanwhile_makes_no_version(hub, folder):
    listed = hub.listed
    hub.listed = lambda entries: [
        {**one, "lfs": {**one["lfs"], "oid": "0" * 64}} if "lfs" in one else one for one in entries
    ]
    assert "does not hold model.safetensors as it was sent" in refusal(push, hub, folder)
    hub.listed = listed
    assert HubStore(hub.address).versions(PLACE) == {}


@pytest.mark.parametrize(
    ("request_", "status", "told"),
    [
        ("POST /api/repos/create", 401, "the Hub refuses the token"),
        ("POST /api/repos/create", 403, "the token lacks the right"),
        ("POST .*/commit/", 403, "the token lacks the right"),
        ("POST .*/commit/", 409, "run the same command again"),
        ("POST .*/commit/", 412, "run the same command again"),
        ("PUT /lfs/", 403, "the token lacks the right"),
        ("POST .*/batch", 429, "asked too often"),
        ("POST .*/commit/", 500, "the same command goes on later"),
        ("POST .*/tag/", 500, "the same command goes on later"),
        ("POST .*/commit/", "drop", "the same command goes on"),
        ("PUT /lfs/", "drop", "the same command goes on"),
    ],
)
def test_a_push_that_is_refused_says_why_and_makes_no_version(hub, folder, request_, status, told):
    hub.faults.append(Fault(request_, status))
    assert told in refusal(push, hub, folder)
    hub.faults.clear()
    assert HubStore(hub.address).versions(PLACE) == {}
    push(hub, folder)
    assert set(HubStore(hub.address).versions(PLACE)) == {"1.0.0"}


@pytest.mark.parametrize(
    ("request_", "status", "told"),
    [
        ("GET .*/refs", 401, "the Hub refuses the token"),
        ("GET .*/refs", 403, "the token lacks the right"),
        ("GET .*/refs", 404, "404"),
        ("GET .*/tree/", 500, "the same command goes on later"),
        ("GET .*/resolve/", 403, "the token lacks the right"),
        ("GET /cdn/", 404, "404"),
        ("GET .*/resolve/", 429, "asked too often"),
        ("GET /cdn/", 500, "the same command goes on later"),
        ("GET /cdn/", "drop", "the same command goes on"),
    ],
)
def test_a_file_that_is_refused_says_why(hub, folder, tmp_path, request_, status, told):
    push(hub, folder)
    hub.faults.append(Fault(request_, status))
    assert told in refusal(fetch, hub, tmp_path)


def test_a_connection_that_is_cut_goes_on_where_it_broke_off(hub, folder, tmp_path):
    push(hub, folder)
    hub.faults.append(Fault("GET /cdn/", "cut", times=1))
    assert fetch(hub, tmp_path) == FILES["model.safetensors"]
    assert len(hub.requests("GET /cdn/")) == 2


def test_no_more_bytes_are_taken_than_were_announced(hub, folder, tmp_path):
    push(hub, folder)
    hub.faults.append(Fault("GET /cdn/", "long"))
    assert "more than the 128000 bytes" in refusal(fetch, hub, tmp_path)
    assert (tmp_path / "fetched").stat().st_size <= 128000
    assert hub.chunks_sent < hub.most_chunks  # it was not read to its end


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub, folder, tmp_path):
    push(hub, folder)
    fetch(hub, tmp_path)
    sent = {request.split("/")[1]: token for request, token in hub.log}
    assert sent["api"] == f"Bearer {TOKEN}"
    assert sent["cdn"] is None


def test_without_a_token_a_private_repository_is_none(hub, folder, tmp_path, monkeypatch):
    push(hub, folder)
    monkeypatch.setattr("huggingface_hub.utils._auth._get_token_from_file", lambda: None)
    monkeypatch.delenv("HF_TOKEN")
    assert "private" in refusal(fetch, hub, tmp_path)
    assert "set HF_TOKEN" in refusal(HubStore(hub.address).upload, folder, "me/other", "x", "1.0.0")


def test_offline_mode_asks_nobody(hub, folder, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal(HubStore(hub.address).versions, PLACE)
    assert not hub.log


def test_nobody_who_answers_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert "check the network" in refusal(HubStore("http://127.0.0.1:9").versions, PLACE)


@pytest.mark.parametrize("place", ["seizures", "me/../other", "http://127.0.0.1/me/x", "me/x/y", ""])
def test_a_place_that_is_no_repository_is_said(place):
    assert "expected OWNER/NAME" in refusal(HubStore().versions, place)


def test_tags_that_are_no_versions_are_left_out(hub, folder):
    push(hub, folder)
    hub.repositories[PLACE].tags["latest"] = hub.repositories[PLACE].head
    assert list(HubStore(hub.address).versions(PLACE)) == ["1.0.0"]
