"""The live page's server: a few files and a stream of server-sent events, on this machine only
unless told otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from http import HTTPStatus
from importlib.resources import files

from biot_bd.deploy.live.broadcast import Hub
from biot_bd.deploy.serving.admission import Places
from biot_bd.deploy.serving.http import PageHandler, PageHost
from biot_bd.plots import css_colours

# In all, for one address of another machine, for this machine alone.
VIEWERS = {"total": 32, "each": 8, "kept": 8}
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
        self._server = _Server(hub, host, port, allow_hosts)
        self.port, self.url = int(self._server.server_address[1]), self._server.url
        self._server.start()

    def close(self) -> None:
        """Stop serving."""
        self.hub.close()
        self._server.stop()


class _Server(PageHost):
    def __init__(self, hub: Hub, host: str, port: int, allow_hosts: Sequence[str]) -> None:
        self.hub, self.viewers = hub, Places(**VIEWERS)
        super().__init__(host, port, allow_hosts, _Handler)


class _Handler(PageHandler):
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self.may_come_in(same_origin=path == "/events"):
            return
        if path == "/events":
            self._events()
        elif path in PAGES:
            self._file(*PAGES[path])
        else:
            self.refuse(HTTPStatus.NOT_FOUND, "nothing here; the page is at /")

    def _file(self, room: str, name: str, kind: str) -> None:
        body = files(room).joinpath("static", name).read_bytes()
        if name == "live.css":  # which replaces some of them where the screen is dark
            body = f":root {{ {css_colours()} }}\n".encode() + body
        self.answer(body, kind)

    def _events(self) -> None:
        address = self.client_address[0]
        if not self.server.viewers.take(address):
            why = "{total} viewers are the most, {each} of one address, {kept} kept for this machine".format(**VIEWERS)
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"no place is left: {why}")
            return
        try:
            self._follow(self.server.hub)
        finally:
            self.server.viewers.give_back(address)

    def _follow(self, hub: Hub) -> None:
        self.head(HTTPStatus.OK, "text/event-stream; charset=utf-8", {})
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
