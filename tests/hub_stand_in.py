"""A Hub on this machine: what huggingface_hub calls to make, fill, tag, list and read repositories.

It keeps git's and LFS's own names of content, asks for a token as the Hub does, and refuses, cuts or lengthens what a
test tells it to.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from huggingface_hub import constants

TOKEN = "hf_" + "StandInToken0123456789"
LFS = re.compile(r"\.(safetensors|onnx|npz|bin)$")


@dataclass
class Repository:
    """Commits of one repository: a commit is all its files."""

    private: bool = False
    commits: dict = field(default_factory=dict)
    head: str = ""
    tags: dict = field(default_factory=dict)
    messages: list = field(default_factory=list)

    def commit(self, files, message):
        oid = hashlib.sha1(repr((self.head, sorted(files), message, len(self.commits))).encode()).hexdigest()
        self.commits[oid] = dict(files)
        self.head = oid
        self.messages.append(message)
        return oid

    def files(self, revision):
        name = unquote(revision)
        oid = self.head if name == "main" else self.tags.get(name, name)
        return oid, self.commits.get(oid)


@dataclass
class Fault:
    """What to do instead of an answer: a status, ``"cut"``, ``"long"`` or ``"drop"``, so many times."""

    request: str  # a pattern of "METHOD /path"
    what: object
    times: int = 10**6


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._chunks()
        place = urlsplit(self.path)
        request = f"{self.command} {unquote(place.path)}"
        hub = self.server.hub
        hub.log.append((request, self.headers.get("Authorization")))
        self.fault = None
        for fault in hub.faults:
            if fault.times > 0 and re.search(fault.request, request):
                fault.times -= 1
                self.fault = fault.what
                break
        if self.fault == "drop":
            self.close_connection = True
            return None
        if isinstance(self.fault, int):
            return self._json({"error": "told to refuse"}, self.fault)
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, request):
                return answer(self, hub, *found.groups())
        return self._json({"error": f"unknown request {request}"}, 404)

    def _chunks(self):
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _may(self, hub, name, write=False):
        """Return the repository; None where a refusal was sent."""
        token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        repository = hub.repositories.get(name)
        if write and not token:
            self._json({"error": "Unauthorized"}, 401)
            return None
        if repository is None or (repository.private and not token):
            self._json({"error": "Repository not found"}, 404 if token else 401, {"X-Error-Code": "RepoNotFound"})
            return None
        return repository

    def create(self, hub):
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Unauthorized"}, 401)
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in hub.repositories:
            return self._json({"error": "exists", "url": f"{hub.address}/{name}"}, 409)
        made = Repository(private=asked.get("visibility") == "private" or asked.get("private") is True)
        made.commit({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        hub.repositories[name] = made
        return self._json({"url": f"{hub.address}/{name}", "name": name})

    def info(self, hub, name, revision="main"):
        if (found := self._may(hub, name)) is None:
            return None
        oid, files = found.files(revision)
        if files is None:
            return self._json({"error": "no revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
        return self._json(
            {"id": name, "modelId": name, "sha": oid, "private": found.private, "tags": [], "siblings": []}
        )

    def refs(self, hub, name):
        if (found := self._may(hub, name)) is None:
            return None
        tags = [{"name": k, "ref": f"refs/tags/{k}", "targetCommit": v} for k, v in found.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.head}
        return self._json({"branches": [main], "converts": [], "tags": tags})

    def tree(self, hub, name, revision):
        if (found := self._may(hub, name)) is None:
            return None
        _, files = found.files(revision)
        if files is None:
            return self._json({"error": "no revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
        folders = {path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)}
        entries = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        entries += [_entry(path, content) for path, content in sorted(files.items())]
        entries = hub.listed(entries)
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        more = {}
        if start + hub.page < len(entries):
            address = f"{hub.address}{urlsplit(self.path).path}?recursive=true&cursor={start + hub.page}"
            more = {"Link": f'<{address}>; rel="next"'}
        return self._json(entries[start : start + hub.page], headers=more)

    def preupload(self, hub, name, revision):
        if (found := self._may(hub, name, write=True)) is None:
            return None
        _, files = found.files(revision)
        answer = []
        for one in json.loads(self.body)["files"]:
            path = one["path"]
            there = _entry(path, files[path])["oid"] if path in files else None
            mode = "lfs" if LFS.search(path) else "regular"
            answer.append({"path": path, "uploadMode": mode, "shouldIgnore": path in hub.ignored, "oid": there})
        return self._json({"files": answer})

    def batch(self, hub, name):
        if self._may(hub, name, write=True) is None:
            return None
        objects = []
        for one in json.loads(self.body)["objects"]:
            upload = {"href": f"{hub.address}/lfs/{one['oid']}"}
            actions = {} if one["oid"] in hub.objects else {"actions": {"upload": upload}}
            objects.append({"oid": one["oid"], "size": one["size"], **actions})
        return self._json({"transfer": "basic", "objects": objects})

    def put(self, hub, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._json({"error": "other content"}, 400)
        hub.objects[oid] = self.body
        return self._json({})

    def commit(self, hub, name, revision):
        if (found := self._may(hub, name, write=True)) is None:
            return None
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, found.head):
            return self._json({"error": "the branch moved on"}, 412)
        files = dict(found.commits[found.head])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = found.commit(files, header["summary"])
        return self._json({"commitUrl": f"{hub.address}/{name}/commit/{oid}", "commitOid": oid})

    def tag(self, hub, name, revision):
        if (found := self._may(hub, name, write=True)) is None:
            return None
        asked = json.loads(self.body)["tag"]
        if asked in found.tags:
            return self._json({"error": "Tag exists"}, 409)
        found.tags[asked] = found.files(revision)[0]
        return self._json({})

    def yaml(self, hub):
        hub.cards.append(json.loads(self.body)["content"])
        return self._json({"errors": [], "warnings": []})

    def resolve(self, hub, name, revision, path):
        if (found := self._may(hub, name)) is None:
            return None
        oid, files = found.files(revision)
        if not files or path not in files:
            return self._json({"error": "no entry"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": oid})
        content = files[path]
        if LFS.search(path):  # large files come from another host, which must not see the token
            digest = hashlib.sha256(content).hexdigest()
            hub.objects.setdefault(digest, content)
            other = hub.address.replace("127.0.0.1", "localhost")
            return self._send(
                302, b"", {"Location": f"{other}/cdn/{digest}", "X-Repo-Commit": oid, "ETag": f'"{digest}"'}
            )
        return self._content(content, {"X-Repo-Commit": oid, "ETag": f'"{_entry(path, content)["oid"]}"'})

    def cdn(self, hub, oid):
        return self._content(hub.objects[oid], {"ETag": f'"{oid}"'})

    def _content(self, content, headers):
        status, start = 200, 0
        if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            status, start = 206, int(asked[1])
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        if self.fault == "long":
            return self._endless(content)
        return self._send(status, content[start:], headers)

    def _endless(self, content):
        """Send more than was announced, in chunks, until the other side has enough."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(self.server.hub.most_chunks):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
                self.server.hub.chunks_sent += 1
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _json(self, value, status=200, headers=None):
        return self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status, content, headers):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault == "cut":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    (r"POST /api/repos/create", _Answers.create),
    (r"POST /api/validate-yaml", _Answers.yaml),
    (rf"GET /api/models/{NAME}", _Answers.info),
    (rf"GET /api/models/{NAME}/revision/([^/]+)", _Answers.info),
    (rf"GET /api/models/{NAME}/refs", _Answers.refs),
    (rf"GET /api/models/{NAME}/tree/([^/]+)", _Answers.tree),
    (rf"POST /api/models/{NAME}/preupload/([^/]+)", _Answers.preupload),
    (rf"POST /api/models/{NAME}/commit/([^/]+)", _Answers.commit),
    (rf"POST /api/models/{NAME}/tag/([^/]+)", _Answers.tag),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", _Answers.batch),
    (r"PUT /lfs/(\w+)", _Answers.put),
    (rf"(?:GET|HEAD) /{NAME}/resolve/([^/]+)/(.+)", _Answers.resolve),
    (r"(?:GET|HEAD) /cdn/(\w+)", _Answers.cdn),
]


def _entry(path, content):
    """Describe a file as the Hub's listing does."""
    if not LFS.search(path):
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"type": "file", "path": path, "size": len(content), "oid": oid}
    digest = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()
    oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
    lfs = {"oid": digest, "size": len(content), "pointerSize": len(pointer)}
    return {"type": "file", "path": path, "size": len(content), "oid": oid, "lfs": lfs}


class HubStandIn:
    """The state of the server; tests read and change it."""

    def __init__(self, address):
        self.address = address
        self.repositories, self.objects, self.ignored = {}, {}, set()
        self.log, self.faults, self.cards = [], [], []
        self.most_chunks, self.chunks_sent = 2000, 0
        self.page = 3  # entries of a listing at once
        self.listed = lambda entries: entries

    def requests(self, pattern):
        return [request for request, _ in self.log if re.search(pattern, request)]


@contextlib.contextmanager
def hub_stand_in():
    """Serve a Hub; yield its state."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.daemon_threads = True
    server.hub = HubStandIn(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def client_of_a_stand_in(monkeypatch):
    """Serve a Hub to this process's huggingface_hub, with a token that it takes; tries again at once."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with hub_stand_in() as state:
        yield state
