"""Numbers in the place of names: what the option ``--anonymous`` writes.

Subjects become ``anonymous-1f3a09c2/subject-001``, recordings ``recording-0001``, in the order of
the input.  No name is hashed: whoever has a list of names could hash them all.  The eight digits
are random and tell one store, model or folder of results from another, so that number 1 here is
never taken for number 1 there.  Pseudonyms that the publishers of open data sets gave stay as they
are (:data:`PUBLISHED`), as models of other people are compared with them.
"""

from __future__ import annotations

import csv
import io
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from biot_bd.json_values import check_values, naming
from biot_bd.runs import atomic_path, read_json, write_json

NAMESPACE = re.compile(r"anonymous-[0-9a-f]{8}")
NOT_TOLD = "n/a"
"""What stands where a date or a path is left out and a text is expected."""

PUBLISHED = {
    "chb-mit": r"\d{2}",
    "siena": r"(PN)?\d{2}",
    "seizeit1": r"\d{1,3}",
    "tusz": r"aaaaa[a-z]{3}",
    "eegmmidb": r"\d{3}",
    "helsinki": r"\d{2}",
    "demo": r"[a-z]?\d{1,3}",
}
"""Subjects as the publishers of open data sets call them: name space -> regular expression."""


def is_published(subject: str) -> bool:
    """Return whether a subject is one of an open data set, called as its publisher does.

    Parameters
    ----------
    subject : str
        Full name, such as ``"chb-mit/01"``.

    Returns
    -------
    bool

    See Also
    --------
    PUBLISHED : The data sets.

    Examples
    --------
    >>> from biot_bd.anonymous import is_published
    >>> is_published("chb-mit/01"), is_published("chb-mit/Smith"), is_published("clinic/01")
    (True, False, False)
    """
    space, _, name = subject.rpartition("/")
    return space in PUBLISHED and re.fullmatch(PUBLISHED[space], name) is not None


def is_anonymous(subject: str) -> bool:
    """Return whether a subject's name is a number that was given here.

    Parameters
    ----------
    subject : str
        Full name.

    Returns
    -------
    bool

    Examples
    --------
    >>> from biot_bd.anonymous import is_anonymous
    >>> is_anonymous("anonymous-1f3a09c2/subject-001"), is_anonymous("clinic/01")
    (True, False)
    """
    return NAMESPACE.fullmatch(subject.partition("/")[0]) is not None


def new_namespace() -> str:
    """Return a name space that no other store, model or folder of results has.

    Returns
    -------
    str
        ``"anonymous-"`` and eight random hexadecimal digits.

    Examples
    --------
    >>> from biot_bd.anonymous import NAMESPACE, new_namespace
    >>> bool(NAMESPACE.fullmatch(new_namespace()))
    True
    """
    return f"anonymous-{secrets.token_hex(4)}"


def numbered_subjects(subjects: Iterable[str], namespace: str | None = None) -> dict[str, str]:
    """Return what each subject is called instead, by its name.

    Parameters
    ----------
    subjects : iterable of str
        Full names, in the order that they are numbered in; each may occur more than once.
    namespace : str, optional
        Of the numbers; None makes a new one.

    Returns
    -------
    dict of str to str
        Published and anonymous names are their own.

    See Also
    --------
    Numbers : Numbers that recordings keep from call to call.

    Examples
    --------
    >>> from biot_bd.anonymous import numbered_subjects
    >>> numbered_subjects(["clinic/Smith", "chb-mit/01"], "anonymous-00000000")
    {'clinic/Smith': 'anonymous-00000000/subject-001', 'chb-mit/01': 'chb-mit/01'}
    """
    space, found = namespace or new_namespace(), dict[str, str]()
    for subject in dict.fromkeys(subjects):
        stays = is_published(subject) or is_anonymous(subject)
        n = 1 + sum(key != value for key, value in found.items())
        found[subject] = subject if stays else f"{space}/subject-{n:03d}"
    return found


def shuffled(subjects: Iterable[str]) -> list[str]:
    """Return each subject once, in an order that says nothing of their names.

    Parameters
    ----------
    subjects : iterable of str
        Names.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from biot_bd.anonymous import shuffled
    >>> sorted(shuffled(["b", "a", "b"]))
    ['a', 'b']
    """
    names = sorted(set(subjects))
    return secrets.SystemRandom().sample(names, len(names))


_QUOTED = re.compile(r"(?<!\w)('[^']*'|\"[^\"]*\")(?!\w)")


def without_quotes(note: str) -> str:
    """Return a note without what it quotes from a file, which may be anything.

    Parameters
    ----------
    note : str
        Of a reader or a step.

    Returns
    -------
    str

    Examples
    --------
    >>> from biot_bd.anonymous import without_quotes
    >>> without_quotes("1 annotation without a time; the first is '+20 Mr Smith'")
    "1 annotation without a time; the first is '...'"
    """
    return _QUOTED.sub("'...'", note)


@dataclass(frozen=True)
class Named:
    """What a recording is called.

    Parameters
    ----------
    recording, subject : str
        Names: ``"recording-0001"``, ``"anonymous-1f3a09c2/subject-001"``.
    content : str or None
        What tells the recording (:func:`biot_bd.io.recording_digest`), so that it keeps its names.
    """

    recording: str
    subject: str
    content: str | None


class _NumbersFacts(TypedDict):
    namespace: str
    recordings: list[dict[str, str | None]]


@dataclass
class Numbers:
    """The numbers of recordings and subjects, which stay when recordings are added or go.

    A recording is told by its content; its subject, by the recordings that it had before.

    Parameters
    ----------
    namespace : str
        Of the subjects.
    known : list of Named
        The recordings that have names, those of earlier calls among them.

    See Also
    --------
    write_key : Who is who, for the owner of the recordings alone.

    Examples
    --------
    >>> from biot_bd.anonymous import Numbers
    >>> numbers = Numbers("anonymous-00000000")
    >>> [
    ...     one.recording
    ...     for one in numbers.names_of([("clinic/Smith", "0a"), ("clinic/Jones", "0b")])
    ... ]
    ['recording-0001', 'recording-0002']
    >>> again = Numbers.from_dict(numbers.as_dict())
    >>> [
    ...     (one.recording, one.subject[-3:])
    ...     for one in again.names_of([("Jones", "0b"), ("Jones", "0c")])
    ... ]
    [('recording-0002', '002'), ('recording-0003', '002')]
    """

    namespace: str = field(default_factory=new_namespace)
    known: list[Named] = field(default_factory=list)

    def names_of(
        self, recordings: Sequence[tuple[str, str | None]], subjects: Mapping[str, str] | None = None
    ) -> list[Named]:
        """Return the names of recordings, old ones for those that had some.

        Parameters
        ----------
        recordings : sequence of (str, str or None)
            Subject and content of each; a recording without content (no channel moves) is told by
            its place among those alone.
        subjects : mapping of str to str, optional
            What subjects are called, as a key table tells (:func:`subjects_of_key`); without it,
            recordings of before tell, and a subject of whom there is none now gets a new number.

        Returns
        -------
        list of Named
            One a recording.

        Raises
        ------
        ValueError
            Recordings of one subject had numbers of two, or the other way round.
        """
        left: dict[str | None, list[Named]] = {}
        for named in self.known:
            left.setdefault(named.content, []).append(named)
        old = [left[content].pop(0) if left.get(content) else None for _, content in recordings]
        names = self._subjects(recordings, old, subjects or {})
        found = []
        for (subject, content), one in zip(recordings, old, strict=True):
            if one is None:
                one = Named(f"recording-{len(self.known) + 1:04d}", names[subject], content)
                self.known.append(one)
            found.append(one)
        return found

    def _subjects(
        self, recordings: Sequence[tuple[str, str | None]], old: Sequence[Named | None], told: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the name of each subject: that of its recordings of before, or the next one."""
        pairs = {(subject, one.subject) for (subject, _), one in zip(recordings, old, strict=True) if one is not None}
        pairs |= {(name, told[name]) for name, _ in recordings if told.get(name, "").startswith(f"{self.namespace}/")}
        names = dict(pairs)
        if len(names) < len(pairs) or len(set(names.values())) < len(pairs):
            raise ValueError(
                "recordings of one subject have two numbers, or those of two subjects one: subjects were joined or divided "
                "since, or came one by one in calls without --key, so that nothing told that they are one; name a new folder"
            )
        used = [*(one.subject for one in self.known), *told.values()]
        taken = [name for name in used if name.startswith(f"{self.namespace}/")]
        n = max((int(name.rpartition("-")[2]) for name in taken), default=0)
        for subject, _ in recordings:
            if subject in names:
                continue
            if is_published(subject) or is_anonymous(subject):
                names[subject] = subject
            else:
                n += 1
                names[subject] = f"{self.namespace}/subject-{n:03d}"
        return names

    def as_dict(self) -> _NumbersFacts:
        """Return it as JSON holds it; no name is in it."""
        return {"namespace": self.namespace, "recordings": [dict(vars(one)) for one in self.known]}

    @classmethod
    def from_dict(cls, facts: Any) -> Numbers:
        """Read what :meth:`as_dict` wrote.

        Raises
        ------
        ValueError
            It is of another form.
        """
        check_values(facts, _NumbersFacts, "anonymous")
        known = []
        for entry in facts["recordings"]:
            recording, subject, content = (entry.get(key) for key in ("recording", "subject", "content"))
            if recording is None or subject is None or not (is_anonymous(subject) or is_published(subject)):
                raise ValueError(f"anonymous: expected recording, subject and content of a recording, found {entry!r}")
            known.append(Named(recording, subject, content))
        return cls(facts["namespace"], known)


NUMBERS = "anonymous.json"
FORMAT = "biot_bd anonymous recordings"


def numbers_file(folder: Path) -> bytes | None:
    """Return the file of a folder's numbers as it is; None where there is none."""
    path = folder / NUMBERS
    return path.read_bytes() if path.is_file() else None


def read_numbers(folder: Path) -> Numbers:
    """Return the numbers that recordings have in a folder; new ones where it has none.

    Parameters
    ----------
    folder : Path
        A store or a folder of results.

    Returns
    -------
    Numbers

    Raises
    ------
    ValueError
        The file is damaged, or that of a later version.

    See Also
    --------
    write_numbers : Writes them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.anonymous import Numbers, read_numbers, write_numbers
    >>> numbers = Numbers()
    >>> _ = write_numbers(Path("results"), numbers)
    >>> read_numbers(Path("results")) == numbers
    True
    """
    path = folder / NUMBERS
    if not path.is_file():
        return Numbers()
    found = read_json(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("version") != 1:
        raise ValueError(f"{path}: not the numbers of recordings, version 1; name a new folder")
    with naming(path):
        return Numbers.from_dict(found.get("names"))


def write_numbers(folder: Path, numbers: Numbers) -> Path:
    """Write the numbers; they are read by the next call, whatever becomes of this one.

    Parameters
    ----------
    folder : Path
        A store or a folder of results.
    numbers : Numbers
        Those of the folder.

    Returns
    -------
    pathlib.Path
        The file.

    See Also
    --------
    read_numbers : Reads them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.anonymous import Numbers, write_numbers
    >>> write_numbers(Path("results"), Numbers()).name
    'anonymous.json'
    """
    return write_json(folder / NUMBERS, {"format": FORMAT, "version": 1, "names": numbers.as_dict()})


COLUMNS = ("recording", "subject", "name", "subject_name", "file")


def subjects_of_key(key: str | os.PathLike[str]) -> dict[str, str]:
    """Return what subjects are called in a key table, by their own names; empty without one.

    Parameters
    ----------
    key : path
        Written by :func:`write_key`.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ValueError
        The file is no key table.

    See Also
    --------
    Numbers.names_of : Takes them.

    Examples
    --------
    >>> from biot_bd.anonymous import subjects_of_key
    >>> subjects_of_key("nowhere.tsv")
    {}
    """
    return {row["subject_name"]: row["subject"] for row in _rows_of(Path(key)).values()}


def check_key(key: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Return the path of a key table; it may not lie where results are.

    Parameters
    ----------
    key : path
        The file that will tell who is who.
    folder : path
        Of the results.

    Returns
    -------
    pathlib.Path
        ``key``.

    Raises
    ------
    ValueError
        It lies in the folder of what is made anonymous, or is a file of another kind.

    See Also
    --------
    write_key : Writes it.

    Examples
    --------
    >>> from biot_bd.anonymous import check_key
    >>> check_key("results/key.tsv", "results")
    Traceback (most recent call last):
    ...
    ValueError: results/key.tsv: the key tells who is who and lies in results, which ...
    """
    path = Path(key)
    if path.resolve().is_relative_to(Path(folder).resolve()):
        raise ValueError(
            f"{path}: the key tells who is who and lies in {folder}, which names nobody; name a file elsewhere"
        )
    _rows_of(path)
    return path


def _rows_of(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a key table that is there, by subject and recording."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(
                f"{path}: no key table (columns {', '.join(COLUMNS)}), so it is not replaced; name a new file"
            )
        return {f"{row['subject']} {row['recording']}": row for row in reader}


def write_key(path: str | os.PathLike[str], rows: Iterable[Mapping[str, str]]) -> Path:
    """Write, or add to, the table that tells who is who; only its owner may read it.

    Parameters
    ----------
    path : path
        Tab-separated, with the columns of :data:`COLUMNS`.
    rows : iterable of mapping
        One a recording: its new names and its own.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    ValueError
        The file is there and is no such table.
    OSError
        It cannot be written.

    See Also
    --------
    check_key : Whether it may lie there.

    Examples
    --------
    >>> import stat
    >>> from biot_bd.anonymous import write_key
    >>> row = {"recording": "recording-0001", "subject": "anonymous-00000000/subject-001"}
    >>> row |= {"name": "night", "subject_name": "clinic/Smith", "file": "Smith/night.edf"}
    >>> path = write_key("private/key.tsv", [row])
    >>> (
    ...     stat.filemode(path.stat().st_mode),
    ...     path.read_text(encoding="utf-8").splitlines()[1][:14],
    ... )
    ('-rw-------', 'recording-0001')
    """
    path = Path(path)
    known = _rows_of(path) | {f"{row['subject']} {row['recording']}": dict(row) for row in rows}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(known.values())
    with atomic_path(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(text.getvalue(), encoding="utf-8")
    path.chmod(0o600)
    return path
