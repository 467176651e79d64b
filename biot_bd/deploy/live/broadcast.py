"""What viewers of the live page see.

The newest signal, decisions and lines, handed on without waiting for anybody.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import deque
from typing import Any

from biot_bd.deploy.live.display import Decision, SignalBlock
from biot_bd.runs import to_jsonable

KEEP_EEG_S, BLOCKS_A_SECOND = 60, 4
KEEP_DECISIONS, KEEP_LINES = 1200, 200
QUEUE = 64  # messages that a slow viewer may fall behind before it gets everything anew
SHOWN = frozenset({"alarm", "event", "gap", "channels", "clock", "connection", "lag", "end"})


class Viewer:
    """One viewer's queue; made by :meth:`Hub.join`."""

    def __init__(self) -> None:
        self.messages: deque[tuple[str, str]] = deque()
        self.stale = True  # needs everything


class Hub:
    """Keep what a page shows and pass on what is new.

    Memory is bounded: 60 s of signal, the last 1200 decisions, the last 200 lines, and 64 messages
    a viewer; a viewer that falls further behind gets the whole state instead.

    Parameters
    ----------
    about : dict
        Facts of the run: ``source``, ``ch_names``, ``threshold``, ``notes``, ...
    """

    def __init__(self, about: dict[str, Any]) -> None:
        self._about = {**to_jsonable(about), "run": uuid.uuid4().hex[:8]}
        self._blocks: deque[Any] = deque(maxlen=KEEP_EEG_S * BLOCKS_A_SECOND)
        self._decisions: deque[Any] = deque(maxlen=KEEP_DECISIONS)
        self._lines: deque[Any] = deque(maxlen=KEEP_LINES)
        self._status: dict[str, Any] = {}
        self._viewers: set[Viewer] = set()
        self._changed = threading.Condition()
        self.closed = False

    @property
    def n_viewers(self) -> int:
        """Viewers that are connected."""
        return len(self._viewers)

    def about(self, facts: dict[str, Any]) -> None:
        """Add facts of the run; every viewer gets everything anew."""
        with self._changed:
            self._about.update(to_jsonable(facts))
            for viewer in self._viewers:
                viewer.stale = True
            self._changed.notify_all()

    def signal(self, blocks: list[SignalBlock]) -> None:
        """Show new blocks of signal."""
        self._publish("eeg", blocks, self._blocks, many=True)

    def decision(self, fields: Decision) -> None:
        """Show a decision."""
        self._publish("decision", fields, self._decisions)

    def line(self, line: dict[str, Any]) -> None:
        """Show a line, if it is of a type that a page shows."""
        if line["type"] in SHOWN:
            self._publish("line", line, self._lines)

    def status(self, fields: dict[str, Any]) -> None:
        """Show the state."""
        self._publish("status", fields, None)
        self._status = fields

    def close(self) -> None:
        """Send viewers away."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def join(self) -> Viewer:
        """Return the queue of a new viewer."""
        viewer = Viewer()
        with self._changed:
            self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        with self._changed:
            self._viewers.discard(viewer)

    def wait(self, viewer: Viewer, timeout_s: float) -> list[tuple[str, str]]:
        """Return the messages (event, JSON text) that a viewer has not had.

        None after ``timeout_s`` or at the end.
        """
        with self._changed:
            self._changed.wait_for(lambda: viewer.stale or viewer.messages or self.closed, timeout_s)
            if not viewer.stale:
                found = list(viewer.messages)
                viewer.messages.clear()
                return found
            viewer.stale = False
            viewer.messages.clear()
            state = {
                "about": dict(self._about),
                "eeg": list(self._blocks),
                "decisions": list(self._decisions),
                "lines": list(self._lines),
                "status": self._status,
            }
        return [("state", _json(state))]

    def _publish(self, event: str, data: Any, keep: deque[Any] | None, many: bool = False) -> None:
        data = to_jsonable(data)
        with self._changed:
            if keep is not None:
                keep.extend(data) if many else keep.append(data)
            if not self._viewers:
                return
            text = _json(data)
            for viewer in self._viewers:
                if viewer.stale:
                    continue
                viewer.messages.append((event, text))
                if len(viewer.messages) > QUEUE:
                    viewer.stale = True
                    viewer.messages.clear()
            self._changed.notify_all()


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
