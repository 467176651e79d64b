"""How THINGS-EEG2 lies on a disk: folders by their usual names, numbers of two digits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

NAMESPACE = "things-eeg2"


def folder_of(root: Path, name: str) -> Path:
    """Return a folder of the set: ``eeg_dataset/<name>``, ``<name>``, or ``root`` itself."""
    for found in (f"eeg_dataset/{name}", name, name.capitalize()):
        if (root / found).is_dir():
            return root / found
    return root


def two_digits(given: Iterable[str | int] | str | int | None) -> list[str] | None:
    """Return subjects or sessions as their folders number them; None stays None."""
    if given is None:
        return None
    listed = [given] if isinstance(given, (str, int)) else list(given)
    return [str(one).removeprefix(f"{NAMESPACE}/").removeprefix("sub-").removeprefix("ses-").zfill(2) for one in listed]
