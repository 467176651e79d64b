"""The progress bar of long probes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def with_progress(items: Iterable[T], total: int, what: str, show: bool) -> Iterator[T]:
    """Yield items, with a bar on stderr where it is asked for."""
    yield from track(items, what, total=total, console=Console(stderr=True), disable=not show)
