"""The review page's server: lists, EEG piece by piece, marks that are on disk when it answers."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Sequence
from html import escape
from http import HTTPStatus
from importlib.resources import files
from typing import Any, TypedDict
from urllib.parse import parse_qs, urlsplit

from biot_bd import __version__
from biot_bd.deploy.review.marks import Mark, MarkFacts, Review, seizure_types
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.serving.http import PageHandler, PageHost
from biot_bd.exceptions import ReviewConflictError
from biot_bd.io.notes import one_line
from biot_bd.json_values import check_values
from biot_bd.models.checkpoints.demonstration import demonstration_among
from biot_bd.viewer import viewer_assets

TOKEN = "X-Review-Token"
MOST_BODY_BYTES = 4_000_000
JSON = "application/json; charset=utf-8"


class _Saving(TypedDict):
    recording: str
    revision: int
    marks: list[MarkFacts]
    read_whole: bool


class ReviewServer:
    """Serve a review from threads of its own.

    Parameters
    ----------
    results : ReviewedResults
        What is reviewed.
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
    n_saved : int
        How often something was saved.

    Raises
    ------
    OSError
        The port cannot be used; the message names it.

    See Also
    --------
    biot_bd.deploy.live.server.PageServer : The live page's.
    """

    def __init__(
        self,
        results: ReviewedResults,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        allow_hosts: Sequence[str] = (),
    ) -> None:
        self._server = _Server(results, host, port, allow_hosts)
        self.port, self.url = int(self._server.server_address[1]), self._server.url
        self._server.start()
        threading.Thread(target=results.warm_up, daemon=True).start()

    @property
    def n_saved(self) -> int:
        """How often something was saved."""
        return self._server.n_saved

    def close(self) -> None:
        """Stop serving; what is being saved is saved."""
        self._server.stop()


class _Server(PageHost):
    def __init__(self, results: ReviewedResults, host: str, port: int, allow_hosts: Sequence[str]) -> None:
        self.results, self.token = results, secrets.token_urlsafe(24)
        self.saving, self.n_saved = threading.Lock(), 0
        super().__init__(host, port, allow_hosts, _Handler)

    def server_close(self) -> None:
        """Close when nothing is being saved."""
        with self.saving:
            super().server_close()


def _static(name: str) -> str:
    return files("biot_bd.deploy.review").joinpath("static", name).read_text(encoding="utf-8")


def _page(server: _Server) -> str:
    reviewer, folder = server.results.reviewer, server.results.results.resolve().name
    told = {"TOKEN": server.token, "REVIEWER": reviewer, "RESULTS": folder, "VERSION": __version__}
    text = _static("review.html")
    for name, value in told.items():
        text = text.replace(f"%{name}%", escape(value))
    return text


FILES = {
    "/": ("text/html; charset=utf-8", _page),
    "/review.js": ("text/javascript; charset=utf-8", lambda server: _static("review.js")),
    "/review.css": ("text/css; charset=utf-8", lambda server: _static("review.css")),
    "/viewer.js": ("text/javascript; charset=utf-8", lambda server: viewer_assets()[1]),
    "/viewer.css": ("text/css; charset=utf-8", lambda server: viewer_assets()[0]),
}


class _Handler(PageHandler):
    server: _Server
    methods, only = "GET, POST", "expected GET, or POST of marks to /review"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in FILES:
            if self.may_come_in():
                kind, text = FILES[path]
                self.answer(text(self.server).encode(), kind)
        elif self.may_come_in(same_origin=True):
            answers = {"/recordings": self._recordings, "/recording": self._recording, "/signals": self._signals}
            if path not in answers:
                self.refuse(HTTPStatus.NOT_FOUND, "nothing here; the page is at /")
                return
            self._guarded(answers[path])

    def do_POST(self) -> None:
        if not self.may_come_in(same_origin=True):
            return
        if urlsplit(self.path).path != "/review":
            self.refuse(HTTPStatus.NOT_FOUND, "marks are posted to /review")
        elif not hmac.compare_digest(self.headers.get(TOKEN, "").encode(), self.server.token.encode()):
            self.refuse(HTTPStatus.FORBIDDEN, f"only the page itself saves ({TOKEN}); read it again")
        elif self.headers.get_content_type() != "application/json":
            self.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        elif (body := self.body(MOST_BODY_BYTES)) is not None:
            self._guarded(lambda: self._save(body))

    def _guarded(self, answer: Any) -> None:
        """Answer; what the client or the disk is to blame for becomes a line."""
        try:
            answer()
        except ReviewConflictError as error:
            self.refuse(HTTPStatus.CONFLICT, one_line(error))
        except KeyError as error:
            self.refuse(HTTPStatus.NOT_FOUND, str(error.args[0]))
        except (ValueError, OverflowError, RecursionError) as error:
            self.refuse(HTTPStatus.BAD_REQUEST, one_line(error))
        except (ConnectionError, TimeoutError):
            pass  # the client went away
        except OSError as error:
            self.refuse(HTTPStatus.INSUFFICIENT_STORAGE, one_line(error))

    def _json(self, value: Any) -> None:
        self.answer(json.dumps(value, allow_nan=False).encode(), JSON)

    def _query(self, *names: str) -> list[str]:
        found = parse_qs(urlsplit(self.path).query, keep_blank_values=True, max_num_fields=8)
        if sorted(found) != sorted(names) or any(len(values) != 1 for values in found.values()):
            raise ValueError(f"expected {', '.join(names)} once each, found {', '.join(sorted(found))[:100]}")
        return [found[name][0] for name in names]

    def _recordings(self) -> None:
        self._query()
        self._json(self.server.results.progress())

    def _recording(self) -> None:
        (name,) = self._query("recording")
        results = self.server.results
        review, record = results.review(name), results.record(name)
        try:
            about, fault = results.pieces(name).about(name, blind=results.blind), None
        except (ValueError, OSError) as error:  # what was marked is shown all the same
            about, fault = None, one_line(error)
        shown = [] if results.blind else record.detection.events
        events = [
            {"onset_s": onset, "offset_s": offset, "confidence": event.confidence}
            for (onset, offset), event in zip(review.detections, shown, strict=True)
        ]
        found = {
            "recording": name,
            "about": about,
            "fault": fault,
            "duration_s": review.duration_s,
            "blind": results.blind,
            "model": record.model["name"],
            "source": record.recording["path"],
            "in_training": record.detection.in_training,
            "demonstration": demonstration_among(record.detection.notes),
            "detections": events,
            "types": list(seizure_types().items()),
        }
        self._json({**found, "review": _facts(review)})

    def _signals(self) -> None:
        name, from_s, to_s = self._query("recording", "from", "to")
        message = self.server.results.pieces(name).message(float(from_s), float(to_s))
        self.answer(message, "application/octet-stream")

    def _save(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
        except ValueError as error:
            raise ValueError(f"expected JSON: {error}") from error
        check_values(asked, _Saving)
        marks = [Mark.from_dict(facts) for facts in asked["marks"]]
        with self.server.saving:
            review = self.server.results.save(asked["recording"], asked["revision"], marks, asked["read_whole"])
            self.server.n_saved += 1
        self._json(_facts(review))


def _facts(review: Review) -> dict[str, Any]:
    return {
        "revision": review.revision,
        "read_whole": review.read_whole,
        "saved": review.saved,
        "marks": [mark.as_dict() for mark in review.marks],
    }
