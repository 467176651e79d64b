#!/usr/bin/env bash
# huggingface_hub 2.4.0: hf_hub_download of a file of which the server announces 10 bytes and sends 50 million, in chunks.
#
# Behaviour: all of it is taken and written to the disk before the sizes are compared; only then OSError says "Consistency
# check failed: file should be of size 10 but has size 50000000", and the file goes.
#
# What one would guess: that the download stops at the size that was announced, as the size is known before the first byte
# and is called `expected_size` on the way.
#
# Why it matters: whoever checks the sizes of a listing before a download has no bound by that: a server, or a mirror, that
# sends without an end fills the disk.
#
# Source: seen by running it against a server on this machine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet huggingface_hub==2.4.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import logging
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from huggingface_hub import hf_hub_download

logging.disable()
CHUNK = b"x" * 1_000_000


class Answers(BaseHTTPRequestHandler):
    """Announce 10 bytes, send 50 million."""

    protocol_version = "HTTP/1.1"

    def _start(self):
        self.send_response(200)
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", '"abc"')

    def do_HEAD(self):
        self._start()
        self.send_header("Content-Length", "10")
        self.end_headers()

    def do_GET(self):
        self._start()
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(50):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
            self.server.sent += len(CHUNK)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Answers)
server.sent = 0
threading.Thread(target=server.serve_forever, daemon=True).start()
try:
    hf_hub_download("a/b", "x.bin", endpoint=f"http://127.0.0.1:{server.server_port}", cache_dir="cache")
except OSError as error:
    print(type(error).__name__, str(error).split("\n")[0].split(" (")[0])
print("sent:", server.sent, "bytes")
PY
HF_HUB_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" run.py | tee seen
cat > expected <<'TXT'
OSError Consistency check failed: file should be of size 10 but has size 50000000
sent: 50000000 bytes
TXT
diff expected seen
