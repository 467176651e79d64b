"""The live page's server: a few files and a stream of server-sent events, on this machine only
unless told otherwise.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from biot_bd.deploy.live.admission import Places, refusal
from biot_bd.deploy.live.broadcast import Hub
from biot_bd.plots import css_colours

# In all, for one address of another machine, for this machine alone.
VIEWERS = {"total": 32, "each": 8, "kept": 8}
CONNECTIONS = {"total": 160, "each": 24, "kept": 32}
REQUEST_S = 5.0  # a client has so long to say what it wants
MOST_REQUEST_BYTES = 16_384
SLOW_S = 10.0  # a viewer that takes nothing for so long is sent away
UNREAD_BYTES = 65_536  # what the system keeps for a viewer that takes nothing
KEEP_ALIVE_S = 5.0
FULL_STATE_S = 0.5  # between two full states for one viewer
OWN, SHARED = "biot_bd.deploy.live", "biot_bd.viewer"
PAGES = {
    "/": (OWN, "live.html", "text/html; charset=utf-8"),
    "/live.js": (OWN, "live.js", "text/javascript; charset=utf-8"),
    "/live.css": (OWN, "live.css", "text/css; charset=utf-8"),
    "/traces.js": (SHARED, "traces.js", "text/javascript; charset=utf-8"),
    "/viewer.css": (SHARED, "viewer.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageServer:
    """Serve the live page from threads of its own.

    Parameters
    ----------
    hub : Hub
        What the page shows.
    host : str
        Address to listen at; 127.0.0.1 lets nobody in from outside.  There is no password.
    port : int
        0 for any that is free.
    allow_hosts : sequence of str
        Names and addresses under which it may be asked for beside ``host``, loopback names and the
        address at which a client came in.

    Attributes
    ----------
    url : str
        Where the page is.

    Raises
    ------
    OSError
        The port cannot be used; the message names it.
    """

    def __init__(self, hub: Hub, host: str = "127.0.0.1", port: int = 0, *, allow_hosts: Sequence[str] = ()) -> None:
        self.hub = hub
        try:
            self._server = _Server(hub, host, port, allow_hosts)
        except (OSError, OverflowError) as error:
            raise OSError(f"the page cannot be served at {host}:{port} ({error}); choose another port") from error
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
        self.port = int(self._server.server_address[1])
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.hub.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, hub: Hub, host: str, port: int, allow_hosts: Sequence[str]) -> None:
        self.hub, self.names = hub, {name.lower() for name in (host, *allow_hosts)}
        self.viewers, self.connections = Places(**VIEWERS), Places(**CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread if it has a place."""
        if not self.connections.take(client_address[0]):
            request.settimeout(0)  # whoever accepts connections waits for nobody
            with suppress(OSError):
                request.send(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\ntoo many connections\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self.connections.give_back(client_address[0])
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.give_back(client_address[0])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a viewer that went away is no fault."""


def _read_request(connection: socket.socket) -> bytes:
    """Return a request's lines.

    Raises
    ------
    TimeoutError
        They did not come in time.
    """
    head, until = b"", time.monotonic() + REQUEST_S
    while b"\n\r\n" not in head and b"\n\n" not in head and len(head) <= MOST_REQUEST_BYTES:
        connection.settimeout(max(0.001, until - time.monotonic()))
        more = connection.recv(4096)
        if not more:
            break
        head += more
    return head


class _Handler(BaseHTTPRequestHandler):
    """Answers one request a connection, so that nobody holds a place without a stream."""

    server: _Server
    protocol_version = default_request_version = "HTTP/1.1"
    server_version, sys_version = "biot-bd", ""
    command, requestline, request_version = "", "", "HTTP/1.1"

    def handle(self) -> None:
        self.close_connection = True
        self.rfile.close()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        head = None
        with suppress(TimeoutError):
            head = _read_request(self.connection)
        self.connection.settimeout(SLOW_S)
        if head is None:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"no whole request came within {REQUEST_S:g} s")
        elif len(head) > MOST_REQUEST_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"expected {MOST_REQUEST_BYTES} bytes at most")
        else:
            self.rfile = io.BytesIO(head)
            self.handle_one_request()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        refused = refusal(path, self.headers, self.connection.getsockname()[0], self.server.names)
        if refused is not None:
            self._refuse(HTTPStatus(refused[0]), refused[1])
        elif path == "/events":
            self._events()
        elif path in PAGES:
            self._file(*PAGES[path])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "nothing here; the page is at /")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say in a line what is wrong: a request that is none, or of another method."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "the page can only be read (GET)", {"Allow": "GET"})
        else:
            self._refuse(HTTPStatus(code), ascii(message or HTTPStatus(code).phrase)[1:-1][:200])

    def _file(self, room: str, name: str, kind: str) -> None:
        body = files(room).joinpath("static", name).read_bytes()
        if name == "live.css":  # which replaces some of them where the screen is dark
            body = f":root {{ {css_colours()} }}\n".encode() + body
        self._head(HTTPStatus.OK, kind, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, why: str, more: dict[str, str] | None = None) -> None:
        body = f"{why}\n".encode()
        self._head(status, "text/plain; charset=utf-8", {"Content-Length": str(len(body)), **(more or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Connection": "close", **HEADERS, **more}.items():
            self.send_header(key, value)
        self.end_headers()

    def _events(self) -> None:
        address = self.client_address[0]
        if not self.server.viewers.take(address):
            why = "{total} viewers are the most, {each} of one address, {kept} kept for this machine".format(**VIEWERS)
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"no place is left: {why}")
            return
        try:
            self._follow(self.server.hub)
        finally:
            self.server.viewers.give_back(address)

    def _follow(self, hub: Hub) -> None:
        self._head(HTTPStatus.OK, "text/event-stream; charset=utf-8", {})
        viewer = hub.join()
        full = 0.0
        try:
            self.wfile.write(b"retry: 1000\n\n")
            while not hub.closed:
                if viewer.stale:
                    time.sleep(max(0.0, full + FULL_STATE_S - time.monotonic()))
                    full = time.monotonic()
                messages = hub.wait(viewer, KEEP_ALIVE_S)
                text = "".join(f"event: {event}\ndata: {data}\n\n" for event, data in messages)
                self.wfile.write((text or ": still here\n\n").encode())
            # What was said last, e.g. how it ended.
            text = "".join(f"event: {event}\ndata: {data}\n\n" for event, data in hub.wait(viewer, 0))
            self.wfile.write(text.encode())
        except OSError:
            pass  # the viewer went away, or takes nothing
        finally:
            hub.leave(viewer)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""
