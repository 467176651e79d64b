"""The live page's server: three files and a stream of server-sent events, on this machine only
unless told otherwise.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from biot_bd.deploy.live.broadcast import Hub
from biot_bd.plots import css_colours

MOST_VIEWERS = 32
SLOW_S = 10.0  # a viewer that takes nothing for so long is sent away
KEEP_ALIVE_S = 5.0
FULL_STATE_S = 0.5  # between two full states for one viewer
PAGES = {
    "/": ("live.html", "text/html; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
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

    Attributes
    ----------
    url : str
        Where the page is.

    Raises
    ------
    OSError
        The port cannot be used; the message names it.
    """

    def __init__(self, hub: Hub, host: str = "127.0.0.1", port: int = 0) -> None:
        self.hub = hub
        try:
            self._server = _Server(hub, host, port)
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

    def __init__(self, hub: Hub, host: str, port: int) -> None:
        # Names by which a browser may call this server; others are another site's (DNS rebinding).
        self.hub, self.names = hub, {"localhost", host.lower(), socket.gethostname().lower()}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a viewer that went away is no fault."""


def _host_name(header: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = SLOW_S
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "biot-bd", ""

    def do_GET(self) -> None:
        name = _host_name(self.headers.get("Host", ""))
        # A numeric address cannot be rebound: no name was looked up for it.
        if name not in self.server.names and not _is_address(name):
            self._refuse(HTTPStatus.FORBIDDEN, "this page is not served under that name")
            return
        path = self.path.partition("?")[0]
        if path == "/events":
            self._events()
        elif path in PAGES:
            self._file(*PAGES[path])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "nothing here; the page is at /")

    def _file(self, name: str, kind: str) -> None:
        body = files("biot_bd.deploy.live").joinpath("static", name).read_bytes()
        if name == "live.css":  # which replaces some of them where the screen is dark
            body = f":root {{ {css_colours()} }}\n".encode() + body
        self._head(HTTPStatus.OK, kind, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        body = f"{why}\n".encode()
        self._head(status, "text/plain; charset=utf-8", {"Content-Length": str(len(body)), "Connection": "close"})
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, **HEADERS, **more}.items():
            self.send_header(key, value)
        self.end_headers()

    def _events(self) -> None:
        hub = self.server.hub
        if hub.n_viewers >= MOST_VIEWERS:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_VIEWERS} viewers already")
            return
        self.close_connection = True
        self._head(HTTPStatus.OK, "text/event-stream; charset=utf-8", {"Connection": "close"})
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
