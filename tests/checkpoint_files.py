"""Files in the layouts of published checkpoints, with tiny random weights, and a server that stands in for the Hub."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from biot_bd.models import BIOT

SIZES = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "sfreq": 200, "hop_length": 100}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny(n_chans=4, n_outputs=2, seed=0, **kwargs):
    torch.manual_seed(seed)
    return BIOT(**{**SIZES, "n_chans": n_chans, "n_outputs": n_outputs, "n_times": 400, **kwargs}).eval()


def encoder_of(model):
    """Return the encoder's tensors under the names of the official code."""
    return {k.removeprefix("encoder."): v.clone() for k, v in model.state_dict().items() if k.startswith("encoder.")}


def head_of(model, prefix="classifier.clshead.1."):
    return {f"{prefix}{k}": v.clone() for k, v in model.final_layer.classification_head.state_dict().items()}


def prefixed(tensors, prefix):
    return {f"{prefix}{key}": value for key, value in tensors.items()}


def index_of(model):
    return {"index": torch.arange(model.n_channel_tokens)}


def write_config(path, model, **more):
    """Write a sidecar with what shapes do not show."""
    config = {**SIZES, "n_channel_tokens": model.n_channel_tokens}
    path.with_name(path.name + ".json").write_text(json.dumps({"config": config, **more}))


class Cut(bytes):
    """A file whose second half never comes."""


class _Hub(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        repositories, log = self.server.repositories, self.server.log
        log.append(f"{self.command} {self.path}")
        repository, found, rest = self.path.lstrip("/").partition("/resolve/")
        files = repositories.get(repository)
        name = rest.partition("/")[2]
        if isinstance(files, tuple):  # a status and the Hub's own code for it
            return self._send(files[0], {"X-Error-Code": files[1]}, b"", body)
        if not found or files is None:
            return self._send(404, {"X-Error-Code": "RepoNotFound"}, b"", body)
        if name not in files:
            return self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"", body)
        content = files[name]
        etag = hashlib.sha256(content).hexdigest()
        return self._send(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, content, body)

    def _send(self, status, headers, content, body):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if isinstance(content, Cut) else content)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def hub_server(repositories):
    """Serve ``{"owner/name": {"file": bytes}}`` as the Hub does; yield its address and the list of requests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.repositories, server.log = repositories, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.log
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
