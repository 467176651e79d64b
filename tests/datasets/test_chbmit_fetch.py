"""Downloading, against a small server on this machine."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from edf_files import HEADER, entry, write_edf

from biot_bd.datasets.chbmit import load_chbmit
from biot_bd.datasets.chbmit_fetch import CHECKSUMS, fetch_chbmit, parse_checksums
from biot_bd.exceptions import ChecksumError, DownloadError

LARGE = "chb01/chb01_02+.edf"


class Server:
    """A server with ranges and, on request, faults: ``cut`` closes the connection after so many bytes, once a path."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.requests = dict(files), list[tuple[str, str | None]]()
        self.ranges = True
        self.cut: dict[str, int] = {}
        self.status: dict[str, list[int]] = {}
        self.seal()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/files/"
        self.thread = threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def seal(self) -> None:
        lines = [f"{hashlib.sha256(data).hexdigest()} {name}" for name, data in self.files.items() if name != CHECKSUMS]
        self.files[CHECKSUMS] = ("\n".join(lines) + "\n").encode()

    def asked(self, name: str) -> list[str | None]:
        return [asked for path, asked in self.requests if path == name]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.removeprefix("/files/").replace("%2B", "+")
        asked = handler.headers.get("Range")
        self.requests.append((name, asked))
        data = self.files.get(name)
        if self.status.get(name):
            return self.send(handler, self.status[name].pop(0), b"")
        if data is None:
            return self.send(handler, 404, b"not here")
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and self.ranges else 0
        if asked and self.ranges and start >= len(data):
            return self.send(handler, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
        extra = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if asked and self.ranges else {}
        self.send(handler, 206 if extra else 200, data[start:], extra, self.cut.pop(name, None))

    def send(self, handler, status, body, extra=None, cut=None) -> None:
        handler.send_response(status)
        for key, value in {**(extra or {}), "Content-Length": str(len(body))}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(body[:cut])
        if cut is not None:
            handler.close_connection = True


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    found = {}
    for case, names in {"chb01": ["chb01_01", "chb01_02+"], "chb02": ["chb02_01"], "chb21": ["chb21_01"]}.items():
        summary = HEADER + "".join(entry(f"{name}.edf") for name in names)
        found[f"{case}/{case}-summary.txt"] = summary.encode()
        for seed, name in enumerate(names):
            path = write_edf(folder / f"{name}.edf", seed=seed, seconds=300 if "+" in name else 5)
            found[f"{case}/{name}.edf"] = path.read_bytes()
    found["RECORDS"] = "\n".join(name for name in found if name.endswith(".edf")).encode()
    return found


@pytest.fixture
def server(files):
    server = Server(files)
    yield server
    server.httpd.shutdown()
    server.httpd.server_close()
    server.thread.join()


def fetch(server, dest, **options):
    return fetch_chbmit(dest, base_url=server.url, **{"progress": False, "wait_s": 0.001, "retries": 2, **options})


def content(dest):
    names = (p.relative_to(dest).as_posix() for p in dest.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {name: (dest / name).read_bytes() for name in names}


def test_everything_arrives_and_loads(server, tmp_path):
    table = fetch(server, tmp_path / "chb")
    assert content(tmp_path / "chb") == server.files
    assert set(table["outcome"]) == {"downloaded"}
    assert dict(zip(table["file"], table["bytes"], strict=True)) == {
        name: len(data) for name, data in server.files.items() if name != CHECKSUMS
    }
    assert list(load_chbmit(tmp_path / "chb").outcomes["outcome"]) == ["loaded"] * 4


def test_a_second_call_downloads_only_the_list(server, tmp_path):
    fetch(server, tmp_path)
    server.requests.clear()
    assert set(fetch(server, tmp_path)["outcome"]) == {"present"}
    assert [name for name, _ in server.requests] == [CHECKSUMS]
    (tmp_path / ".biot-bd-fetch.json").unlink()  # then the files are read again, and are still right
    assert set(fetch(server, tmp_path)["outcome"]) == {"present"}


def test_subjects_are_cases_or_subjects(server, tmp_path):
    fetch(server, tmp_path / "case", subjects=["chb02"])
    assert set(content(tmp_path / "case")) == {CHECKSUMS, "RECORDS", "chb02/chb02-summary.txt", "chb02/chb02_01.edf"}
    table = fetch(server, tmp_path / "subject", subjects="chb-mit/01")
    assert {name[:5] for name in table["file"]} == {"RECOR", "chb01", "chb21"}
    with pytest.raises(ValueError, match="lists no files of case 09"):
        fetch(server, tmp_path / "none", subjects=[9])


def test_a_part_is_continued(server, tmp_path):
    data = server.files[LARGE]
    part = tmp_path / f"{LARGE}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(data[:10_000])
    table = fetch(server, tmp_path, subjects=1).set_index("file")
    assert server.asked(LARGE) == ["bytes=10000-"]
    assert table["outcome"][LARGE] == "resumed"
    assert (tmp_path / LARGE).read_bytes() == data
    assert not part.exists()


def test_a_broken_connection_is_continued_in_the_same_call(server, tmp_path):
    server.cut = {LARGE: 200_000}
    fetch(server, tmp_path, subjects=1)
    first, second = server.asked(LARGE)
    assert first is None
    assert 100_000 < int(re.fullmatch(r"bytes=(\d+)-", second)[1]) <= 200_000
    assert (tmp_path / LARGE).read_bytes() == server.files[LARGE]


def test_giving_up_keeps_the_part_for_the_next_call(server, tmp_path):
    server.cut = {LARGE: 200_000}
    with pytest.raises(DownloadError, match=r"chb01_02%2B\.edf: gave up after 1 tries .* the same command goes on"):
        fetch(server, tmp_path, subjects=1, retries=0)
    size = (tmp_path / f"{LARGE}.part").stat().st_size
    assert 100_000 < size <= 200_000
    assert not (tmp_path / LARGE).exists()
    fetch(server, tmp_path, subjects=1, retries=0)
    assert server.asked(LARGE)[-1] == f"bytes={size}-"
    assert (tmp_path / LARGE).read_bytes() == server.files[LARGE]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges = False
    part = tmp_path / f"{LARGE}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 999)
    fetch(server, tmp_path, subjects=1)
    assert (tmp_path / LARGE).read_bytes() == server.files[LARGE]


@pytest.mark.parametrize("surplus", [b"", b"too long"])
def test_a_part_that_is_whole_or_too_long(server, tmp_path, surplus):
    part = tmp_path / f"{LARGE}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.files[LARGE] + surplus)
    fetch(server, tmp_path, subjects=1)
    assert (tmp_path / LARGE).read_bytes() == server.files[LARGE]


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.status = {LARGE: [503, 429]}
    fetch(server, tmp_path, subjects=1)
    assert len(server.asked(LARGE)) == 3
    server.status = {CHECKSUMS: [500] * 3}
    with pytest.raises(DownloadError, match="answers 500"):
        fetch(server, tmp_path, subjects=1)


def test_every_new_try_is_said_once(tmp_path):
    with (
        pytest.warns(UserWarning, match="SHA256SUMS") as said,
        pytest.raises(DownloadError, match="gave up after 3 tries"),
    ):
        fetch_chbmit(tmp_path, base_url="http://127.0.0.1:9/", progress=False, retries=2, wait_s=0.001)
    texts = [str(warning.message) for warning in said]
    assert [text.rpartition("; ")[2] for text in texts] == [
        "try 2 of 3 follows in 0.001 s",
        "try 3 of 3 follows in 0.002 s",
    ]
    assert all(text.startswith("http://127.0.0.1:9/SHA256SUMS.txt: ") for text in texts)


def test_a_wrong_checksum_deletes_and_raises(server, tmp_path):
    right = server.files[LARGE]
    server.files[LARGE] = b"?" + right[1:]  # the list still names the right one
    with pytest.raises(ChecksumError, match=r"chb01_02\+\.edf: SHA-256 is \w{64}, published is"):
        fetch(server, tmp_path, subjects=1)
    assert not (tmp_path / LARGE).exists()
    assert not (tmp_path / f"{LARGE}.part").exists()
    server.files[LARGE] = right
    fetch(server, tmp_path, subjects=1)
    assert (tmp_path / LARGE).read_bytes() == right


def test_a_changed_file_on_the_disk_is_replaced_with_a_warning(server, tmp_path):
    fetch(server, tmp_path, subjects=1)
    (tmp_path / LARGE).write_bytes(b"edited")
    with pytest.warns(UserWarning, match="not the published file"):
        table = fetch(server, tmp_path, subjects=1).set_index("file")
    assert table["outcome"][LARGE] == "downloaded"
    assert (tmp_path / LARGE).read_bytes() == server.files[LARGE]


def test_refusals_name_the_address(server, tmp_path):
    del server.files["chb02/chb02_01.edf"]
    with pytest.raises(DownloadError, match=rf"{server.url}chb02/chb02_01.edf: the server answers 404"):
        fetch(server, tmp_path, subjects=2)
    with pytest.raises(DownloadError, match="gave up"):
        fetch_chbmit(tmp_path, base_url="http://127.0.0.1:9/", progress=False, retries=0)


def test_the_disk_is_named(server, tmp_path):
    (tmp_path / f"{LARGE}.part").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"chb01_02\+\.edf\.part: cannot be written"):
        fetch(server, tmp_path, subjects=1)


@pytest.mark.parametrize(
    "name", ["../evil.edf", "/etc/passwd", "chb01/../../evil", "a\\b", "C:evil", ".ssh/key", "chb01//x", "a\tb"]
)
def test_paths_out_of_the_folder_are_refused(server, tmp_path, name):
    server.files[CHECKSUMS] += f"{'0' * 64} {name}\n".encode()
    with pytest.raises(ValueError, match="refused the path"):
        fetch(server, tmp_path / "in" / "dest")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith(".")] == [f"{CHECKSUMS}.part"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("<html>", "line 1: expected a SHA-256"),
        (f"{'0' * 64} a\n{'1' * 64} a\n", "line 2: a is listed with two sums"),
    ],
)
def test_lists_that_are_none(text, message):
    with pytest.raises(ValueError, match=message):
        parse_checksums(text)


def test_the_published_list(shared):
    folder = shared / "data" / "chbmit-annotations"
    listed = parse_checksums((folder / "SHA256SUMS.txt").read_text())
    records = (folder / "RECORDS").read_text().split()
    assert {name for name in listed if name.endswith(".edf")} == set(records)
    assert len(records) == 686
    summary = (folder / "chb05-summary.txt").read_bytes()
    assert listed["chb05/chb05-summary.txt"] == hashlib.sha256(summary).hexdigest()


def test_the_progress_bar_names_the_file(server, tmp_path, capsys):
    fetch(server, tmp_path, subjects=2, progress=True)
    assert "[3/3] chb02/chb02_01.edf" in capsys.readouterr().err
