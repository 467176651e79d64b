"""Pictures of explanations that are not drawn, for tests of everything else: drawing takes seconds."""

from __future__ import annotations

import base64

import pytest

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def take_no_pictures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take every picture without drawing it; returns the titles of those that are asked for."""
    from biot_bd.report.explain.pictures import FOLDER, Album, Shown

    titles: list[str] = []

    def add(self, name, title, draw, width_px=0):
        titles.append(title)
        files = ()
        if self.folder is not None:
            files = (f"{FOLDER}/{name}.png",)
            (self.folder / FOLDER).mkdir(exist_ok=True)
            (self.folder / files[0]).write_bytes(base64.b64decode(PIXEL.partition(",")[2]))
        return Shown(name, title, f"Not drawn: {name}.", PIXEL, PIXEL, (1, 1), (1, 1), files)

    monkeypatch.setattr(Album, "add", add)
    return titles


@pytest.fixture
def cheap_pictures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take no pictures in one test."""
    return take_no_pictures(monkeypatch)
