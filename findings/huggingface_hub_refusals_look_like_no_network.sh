#!/usr/bin/env bash
# huggingface_hub 2.4.0: hf_hub_download of a file that is not in the cache, from a server that refuses the request.
#
# Behaviour: an answer of 401 raises HfHubHTTPError with its status; an answer of 403, 404 (without the Hub's own header
# of error codes, as proxies and mirrors send it) or 500 raises LocalEntryNotFoundError, the class and nearly the text of
# a machine without a network: "check your connection". The status stands in __cause__ only. 500 is asked again five
# times first, for 23 seconds.
#
# What one would guess: HfHubHTTPError for every answer of a server, as the same call gives for 401;
# LocalEntryNotFoundError where nothing answered.
#
# Why it matters: a program that tells "no network" by LocalEntryNotFoundError sends its user to the cables when a token
# lacks a right, a proxy forbids the host, or the mirror has no such file.
#
# Source: seen by running it against a server on this machine that answers each request with one status.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import logging
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from huggingface_hub import hf_hub_download

logging.disable()


class Answers(BaseHTTPRequestHandler):
    """Give every request the status of the server."""

    def do_GET(self):
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def outcome(endpoint):
    """Download a file; return the class of the error and that of its cause."""
    with tempfile.TemporaryDirectory() as cache:
        try:
            hf_hub_download("a/b", "config.json", endpoint=endpoint, cache_dir=cache)
        except Exception as error:
            return f"{type(error).__name__}, because of {type(error.__cause__).__name__}"


for status in (401, 403, 404, 500):
    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.status = status
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(status, outcome(f"http://127.0.0.1:{server.server_port}"))
    server.shutdown()
    server.server_close()
print("nobody answers", outcome(f"http://127.0.0.1:{server.server_port}"))
PY
"$folder/venv/bin/python" run.py | tee seen
cat > expected <<'TXT'
401 HfHubHTTPError, because of HTTPStatusError
403 LocalEntryNotFoundError, because of HfHubHTTPError
404 LocalEntryNotFoundError, because of HfHubHTTPError
500 LocalEntryNotFoundError, because of HfHubHTTPError
nobody answers LocalEntryNotFoundError, because of ConnectError
TXT
diff expected seen
