"""What readers warn of, in our words: notes beside a recording, not warnings on the screen."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

#: Filters of warnings are those of all threads: one collects at a time.
COLLECTING = threading.RLock()

# Pattern of a warning -> our words, None for what means nothing to EEG in windows: names that occur
# twice get a number, filters of the header are not used, records are counted by us.
_WORDS: tuple[tuple[str, str | None], ...] = (
    (r"Channel names are not unique", None),
    (r"Number of records from the header does not match", None),
    (r"Highpass cutoff frequency .* is greater", None),
    (r"Channels contain different (high|low)pass filters", None),
    (r"All-NaN (axis|slice) encountered", None),  # of filters that are no numbers
    (r"Invalid patient information", None),
    # Units are judged by us.
    (r"Unsupported physical dimension for channel", None),
    (r"mixed sampling frequencies", None),
    # The time line says where.
    (r"The data contains 'boundary' events", None),
    (
        r"Scaling factor will not be defined in the following channels:\s*(.*)",
        r"digital minimum and maximum are equal: \1",
    ),
    (r"Physical range is not defined in following channels:\s*(.*)", r"physical minimum and maximum are equal: \1"),
    (r"Invalid measurement date", "the header's date is none, so the start of the recording is not known"),
    (r"Header information is incorrect for record length", "the header says no length of a record; 1 s was taken"),
    (r"No PNT file exists", "no .PNT file lies beside it, so the start of the recording is not known"),
    (r"Omitted (\d+) annotation", r"annotations outside the recording left out: \1"),
    (r"Limited (\d+) annotation", r"annotations beyond the end of the recording cut there: \1"),
)


def in_our_words(text: str) -> str | None:
    """Return what a warning of MNE means for who reads results; None where it is nothing.

    Parameters
    ----------
    text : str
        The warning.

    Returns
    -------
    str or None
        One line; a warning that is not known is passed on as it is.

    Examples
    --------
    >>> in_our_words("Invalid measurement date encountered in the header.")
    "the header's date is none, so the start of the recording is not known"
    >>> in_our_words("Omitted 2 annotation(s) that were outside data range.")
    'annotations outside the recording left out: 2'
    >>> in_our_words("Channel names are not unique, found duplicates for: {'T8-P8'}") is None
    True
    """
    text = one_line(text)
    for pattern, words in _WORDS:
        if match := re.search(pattern, text):
            return None if words is None else match.expand(words)
    return text


@contextmanager
def collecting(notes: list[str]) -> Iterator[None]:
    """Add what is warned of inside to ``notes``, in our words and each once.

    Parameters
    ----------
    notes : list of str
        Grows.  MNE warns only where its ``verbose`` is ``"WARNING"`` or more.

    Examples
    --------
    >>> import warnings
    >>> notes = []
    >>> with collecting(notes):
    ...     warnings.warn("Invalid measurement date encountered in the header.")
    >>> notes
    ["the header's date is none, so the start of the recording is not known"]
    """
    log = logging.getLogger("mne")
    with COLLECTING, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")
        for kind in (RuntimeWarning, UserWarning):
            warnings.simplefilter("always", kind)
        log.addFilter(_is_no_warning)
        try:
            yield
        finally:
            log.removeFilter(_is_no_warning)
    for warning in told:
        words = in_our_words(str(warning.message))
        if words is not None and words not in notes:
            notes.append(words)


def _is_no_warning(record: logging.LogRecord) -> bool:
    """Leave out what MNE also logs, and prints, where there is a file for its log."""
    return record.levelno != logging.WARNING


def one_line(text: object, most: int = 300) -> str:
    r"""Return a text without line breaks, cut where it is long.

    Examples
    --------
    >>> one_line("first\nsecond")
    'first second'
    """
    return " ".join(str(text).split())[:most]


def counted(n: int, what: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "recording"), counted(1200, "recording")
    ('1 recording', '1,200 recordings')
    """
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def without_time(texts: Sequence[str]) -> str:
    """Return the note of annotations of EDF+ that have no time as EDF+ writes it.

    Examples
    --------
    >>> without_time(["+20,5 eyes open"])
    "1 annotation without a time as EDF+ writes it, not read; the first is '+20,5 eyes open'"
    """
    return f"{counted(len(texts), 'annotation')} without a time as EDF+ writes it, not read; the first is {texts[0][:80]!r}"
