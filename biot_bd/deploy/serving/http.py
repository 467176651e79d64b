"""A small server of pages: bounded connections and requests, one answer a connection, refusals in a
line.
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
from typing import Any

from biot_bd.deploy.serving.admission import Places, refusal

# In all, for one address of another machine, for this machine alone.
CONNECTIONS = {"total": 160, "each": 24, "kept": 32}
REQUEST_S = 5.0  # a client has so long to say what it wants
MOST_REQUEST_BYTES = 16_384
SLOW_S = 10.0  # a client that takes nothing for so long is sent away
UNREAD_BYTES = 65_536  # what the system keeps for a client that takes nothing
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageHost(ThreadingHTTPServer):
    """Listen, and give each connection a thread as long as there are places.

    Parameters
    ----------
    host : str
        Address to listen at; 127.0.0.1 lets nobody in from outside.
    port : int
        0 for any that is free.
    allow_hosts : sequence of str
        Names and addresses under which it may be asked for beside ``host``, loopback names and the
        address at which a client came in.
    handler : type of PageHandler
        What answers.

    Attributes
    ----------
    url : str
        Where the page is.

    Raises
    ------
    OSError
        The port cannot be used; the message names it.

    See Also
    --------
    PageHandler : Answers.

    Examples
    --------
    >>> host = PageHost("127.0.0.1", 0, (), PageHandler)
    >>> host.url.startswith("http://127.0.0.1:")
    True
    >>> host.server_close()
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, allow_hosts: Sequence[str], handler: type[PageHandler]) -> None:
        self.names = {name.lower() for name in (host, *allow_hosts)}
        self.connections = Places(**CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), handler)
        except (OSError, OverflowError) as error:
            raise OSError(f"the page cannot be served at {host}:{port} ({error}); choose another port") from error
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.server_address[1]}/"

    def start(self) -> None:
        """Serve from a thread of its own."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, and give the port back."""
        self.shutdown()
        self.server_close()
        self._thread.join(timeout=5)

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
        """Stay silent: a client that went away is no fault."""


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


class PageHandler(BaseHTTPRequestHandler):
    """Answers one request a connection, so that nobody holds a place for nothing.

    See Also
    --------
    PageHost : Makes one for each connection.

    Examples
    --------
    >>> class Hello(PageHandler):
    ...     def do_GET(self):
    ...         if self.may_come_in():
    ...             self.answer(b"hello", "text/plain")
    """

    server: PageHost
    protocol_version = default_request_version = "HTTP/1.1"
    server_version, sys_version = "biot-bd", ""
    command, requestline, request_version = "", "", "HTTP/1.1"
    methods, only = "GET", "the page can only be read (GET)"

    def handle(self) -> None:
        """Read a request and answer it."""
        self.close_connection = True
        self.rfile.close()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD_BYTES)
        head = None
        with suppress(TimeoutError):
            head = _read_request(self.connection)
        self.connection.settimeout(SLOW_S)
        if head is None:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, f"no whole request came within {REQUEST_S:g} s")
        elif len(head) > MOST_REQUEST_BYTES:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"expected {MOST_REQUEST_BYTES} bytes at most")
        else:
            self.rfile = io.BytesIO(head)
            self.handle_one_request()

    def may_come_in(self, *, same_origin: bool = False) -> bool:
        """Refuse a request that :func:`~biot_bd.deploy.serving.admission.refusal` refuses; return
        whether it may come in.
        """
        refused = refusal(self.headers, self.connection.getsockname()[0], self.server.names, same_origin=same_origin)
        if refused is not None:
            self.refuse(HTTPStatus(refused[0]), refused[1])
        return refused is None

    def body(self, most_bytes: int) -> bytes | None:
        """Return the body of a request; None where it was refused."""
        told = self.headers.get_all("Content-Length", [])
        if len(told) != 1 or not (told[0].isascii() and told[0].isdigit()) or "Transfer-Encoding" in self.headers:
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "expected one Content-Length and no Transfer-Encoding")
            return None
        if len(told[0]) > 12 or int(told[0]) > most_bytes:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected {most_bytes} bytes at most")
            return None
        length, until = int(told[0]), time.monotonic() + REQUEST_S
        found = self.rfile.read()[:length]
        with suppress(TimeoutError):
            while len(found) < length:
                self.connection.settimeout(max(0.001, until - time.monotonic()))
                more = self.connection.recv(min(65_536, length - len(found)))
                if not more:
                    break
                found += more
        self.connection.settimeout(SLOW_S)
        if len(found) < length:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, f"no whole request came within {REQUEST_S:g} s")
            return None
        return found

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say in a line what is wrong: a request that is none, or of another method."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self.refuse(HTTPStatus.METHOD_NOT_ALLOWED, self.only, {"Allow": self.methods})
        else:
            self.refuse(HTTPStatus(code), ascii(message or HTTPStatus(code).phrase)[1:-1][:200])

    def answer(self, body: bytes, kind: str) -> None:
        """Answer with a body of a media type."""
        self.head(HTTPStatus.OK, kind, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def refuse(self, status: HTTPStatus, why: str, more: dict[str, str] | None = None) -> None:
        """Answer with a line that says why not."""
        body = f"{why}\n".encode(errors="backslashreplace")
        self.head(status, "text/plain; charset=utf-8", {"Content-Length": str(len(body)), **(more or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: HTTPStatus, kind: str, more: dict[str, str]) -> None:
        """Send status and headers."""
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Connection": "close", **HEADERS, **more}.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""
