"""Notes that several recordings have, said once with a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class CountedNote(NamedTuple):
    """A note and where it was said.

    Parameters
    ----------
    text : str
        The note.
    n : int
        In how many recordings.
    names : tuple of str
        Their names.
    """

    text: str
    n: int
    names: tuple[str, ...]


def counted_notes(notes: Iterable[tuple[str, Sequence[str]]]) -> list[CountedNote]:
    """Gather the notes of recordings, each once.

    Parameters
    ----------
    notes : iterable of (str, sequence of str)
        Name of each recording, and its notes.

    Returns
    -------
    list of CountedNote
        Those of most recordings first, else in the order in which they were said.

    Examples
    --------
    >>> [
    ...     (note.text, note.n)
    ...     for note in counted_notes([("a.edf", ["flat: Cz", "cut"]), ("b.edf", ["flat: Cz"])])
    ... ]
    [('flat: Cz', 2), ('cut', 1)]
    """
    names: dict[str, dict[str, None]] = {}
    counts: Counter[str] = Counter()
    for name, said in notes:
        for text in dict.fromkeys(said):
            counts[text] += 1
            names.setdefault(text, {})[name] = None
    found = [CountedNote(text, counts[text], tuple(names[text])) for text in names]
    return sorted(found, key=lambda note: -note.n)


def said_once(note: CountedNote, n_recordings: int) -> str:
    """Return a note with its count, or the name of the one recording that it is of.

    Examples
    --------
    >>> said_once(CountedNote("flat: Cz", 2, ("a.edf", "b.edf")), 24)
    'flat: Cz (2 of 24 recordings)'
    >>> said_once(CountedNote("cut short", 1, ("a.edf",)), 24)
    'a.edf: cut short'
    """
    if n_recordings == 1:
        return note.text
    if note.n == 1:
        return f"{note.names[0]}: {note.text}"
    return f"{note.text} ({'all' if note.n == n_recordings else f'{note.n} of'} {n_recordings} recordings)"
