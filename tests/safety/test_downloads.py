"""Downloads stay in their folder and have limits of size, against a server of somebody who means harm."""

import contextlib
import hashlib
import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from biot_bd.datasets import chbmit_fetch
from biot_bd.datasets.chbmit_fetch import CHECKSUMS, fetch_chbmit
from biot_bd.exceptions import DownloadError, HubError
from biot_bd.models.checkpoints import hub

DIGEST = hashlib.sha256(b"x").hexdigest()
LIST = f"{DIGEST} chb01/chb01-summary.txt\n".encode()


@contextlib.contextmanager
def served(answers):
    """Serve ``{path: function(handler)}``, others as 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = next((answers[path] for path in answers if self.path.endswith(path)), None)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
                (answer or absent)(self)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def body(data, *, declared=True, repeats=1, headers=()):
    """Answer with some bytes, ``repeats`` times (None: without end); the length is declared or not."""

    def answer(handler):
        handler.send_response(200)
        for key, value in dict(headers).items():
            handler.send_header(key, value)
        if declared is not False:
            handler.send_header("Content-Length", str(len(data) if declared is True else declared))
        handler.end_headers()
        if handler.command == "GET":
            for _ in itertools.repeat(None) if repeats is None else range(repeats):
                handler.wfile.write(data)

    return answer


def absent(handler):
    """Answer as the Hub does for a file that a repository lacks."""
    handler.send_response(404)
    for key, value in {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "0" * 40, "Content-Length": "0"}.items():
        handler.send_header(key, value)
    handler.end_headers()


def fetch(url, folder):
    return fetch_chbmit(folder, subjects="chb01", base_url=url, progress=False, retries=0, wait_s=0)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(chbmit_fetch, "MOST_LIST_BYTES", 100_000)
    monkeypatch.setattr(chbmit_fetch, "MOST_FILE_BYTES", 200_000)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("declared", [False, 10**15], ids=["endless", "declared"])
@pytest.mark.parametrize("path", [CHECKSUMS, "summary.txt"])
def test_a_body_that_is_too_large_is_left_and_deleted(tmp_path, path, declared):
    endless = body(b"x" * 65_536, declared=declared, repeats=None)
    with (
        served({CHECKSUMS: body(LIST), **{path: endless}}) as url,
        pytest.raises(DownloadError, match=r"more than \d00,000 bytes, which is none of these files; deleted"),
    ):
        fetch(url, tmp_path)
    assert [one.name for one in tmp_path.rglob("*.part")] == []


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "/etc/x",
        "chb01/../../x",
        "chb01\\..\\x",
        "C:x",
        "chb01/./x",
        "chb01//x",
        ".ssh/x",
        "chb01/.x",
        "a\0b",
    ],
)
def test_a_list_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    listed = f"{DIGEST} {name}\n".encode()
    with served({CHECKSUMS: body(listed)}) as url, pytest.raises(ValueError, match="refused the path"):
        fetch(url, tmp_path / "data" / "set")
    assert {one.name for one in tmp_path.rglob("*")} <= {"data", "set", ".biot-bd-fetch.lock", f"{CHECKSUMS}.part"}


def test_from_an_encrypted_address_nobody_is_sent_to_another(tmp_path, monkeypatch):
    """A session stands in for the encrypted server, which would need a certificate here."""

    class Answer:
        status_code, headers, url = 200, {}, "http://elsewhere.invalid/x"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("requests.Session.get", lambda *_, **__: Answer())
    with pytest.raises(DownloadError, match=r"sends on to http://elsewhere\.invalid/x, which is not encrypted"):
        fetch("https://host.invalid", tmp_path)


# --- the Hub --------------------------------------------------------------------------------------


def hub_file(data, **options):
    told = {"ETag": '"' + hashlib.sha256(data).hexdigest() + '"', "X-Repo-Commit": "0" * 40}
    return body(data, headers=told, **options)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


def test_a_file_of_the_hub_that_is_too_large_is_not_fetched(cache):
    answers = {"model.safetensors": hub_file(b"x", declared=10**13)}
    with served(answers) as url, pytest.raises(HubError, match=r"model\.safetensors has 10,000,000,000,000 bytes, at"):
        hub.fetch("me/mine", endpoint=url)
    assert [one for one in cache.rglob("*") if one.is_file() and one.suffix != ".lock"] == []


def test_a_description_of_the_hub_that_is_too_large_is_not_fetched(cache):
    answers = {"model.safetensors": hub_file(b"x"), "config.json": hub_file(b"{}", declared=10**9)}
    with served(answers) as url, pytest.raises(HubError, match=r"config\.json has 1,000,000,000 bytes, at most"):
        hub.fetch("me/mine", endpoint=url)


def test_only_files_of_known_names_are_asked_for(cache):
    """A repository may hold any other name; none of them is ever asked for."""
    asked = []

    def noting(handler):
        asked.append(handler.path.rpartition("/")[2])
        (hub_file(b"x") if asked[-1] == "model.safetensors" else absent)(handler)

    with served({"": noting}) as url:
        folder = hub.fetch("me/mine", endpoint=url)
    assert set(asked) == {"model.safetensors", "config.json", "pipeline.json", "trained_on.json"}
    assert folder.resolve().is_relative_to(cache.resolve())
