"""What JSON files say of people and places, rewritten: numbers for names, no paths, no dates.

The names are collected first, from all files of a folder, so that one subject has one number in
all of them, also inside of sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from biot_bd.anonymous import NOT_TOLD, is_anonymous, is_published, new_namespace, numbered_subjects, shuffled
from biot_bd.models.checkpoints.provenance import KEY, RECORDINGS, Provenance
from biot_bd.models.checkpoints.published import KNOWN

PUBLISHED_ENTRIES = frozenset(seen for one in KNOWN.values() for seen in one.trained_on)
"""What published checkpoints were trained on: data sets that everybody knows."""

_SUBJECT_LISTS = frozenset(
    "train valid test validation subjects train_subjects valid_subjects test_subjects contaminated_subjects left_out".split()
)
_SUBJECT_VALUES = frozenset(("subject", "patient"))
_WITHOUT_VALUE = frozenset(
    "folder folder_name folders stores tables path relative log_dir restart_dir dirname blob_id".split()
)
"""Paths, and what tells a private file: null, or an empty list."""
_TEXTS_LEFT_OUT = frozenset(
    ("study", "fingerprint", "splits_from", "created", "written", "date", "started", "finished")
)
"""Dates, and hashes that names went into."""
_HASHES = frozenset(("study", "fingerprint", "splits_from", "tables"))
_OWN_WORDS = frozenset(("title", "notes", "not_a_result", "contamination"))
"""Sentences, some by whoever trained the model."""
_PATH = re.compile(r"(?<![\w:/.<-])(?:[A-Za-z]:[\\/]|~/|/|\\\\)[^\s'\",;:<>|]*[\\/][^'\",;:<>|\s]*")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?\b")


@dataclass
class Replaced:
    """What is written instead of each name that files hold.

    Parameters
    ----------
    subjects, recordings, others : dict of str to str
        New names by old ones; ``others`` are name spaces, reviewers and sources of models.

    See Also
    --------
    replaced_names : Finds the names.
    rewritten : Puts the new ones in their place.
    """

    subjects: dict[str, str] = field(default_factory=dict)
    recordings: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = {**self.others, **self.recordings, **self.subjects}
        self._table = {old: new for old, new in table.items() if old and old != new}
        words = sorted(self._table, key=len, reverse=True)
        ends = "|".join(map(re.escape, words))
        self._pattern = re.compile(rf"(?<![\w/])(?:{ends})(?!\w)") if words else None
        bare = {old.rpartition("/")[2]: new.rpartition("/")[2] for old, new in self.subjects.items() if old != new}
        self._bare = {old: new for old, new in bare.items() if re.search(r"[^\W\d_]{2}", old)}

    def text(self, text: str) -> str:
        """Return a sentence with the new names, and without paths and dates."""
        if text in self._table:
            return self._table[text]
        if self._pattern is not None:
            text = self._pattern.sub(lambda match: self._table[match[0]], text)
        return _DATE.sub(NOT_TOLD, _PATH.sub(NOT_TOLD, text))

    def own_words(self, text: str) -> str:
        """Return what somebody wrote, also without names of subjects alone, after no data set.

        A name without two letters, such as ``"01"``, stays: it may be any number.
        """
        text = self.text(text)
        for old, new in self._bare.items():
            text = re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, text, flags=re.IGNORECASE)
        return text


def replaced_names(files: Iterable[Any]) -> Replaced:
    """Find the names in what JSON files hold, and number them.

    Parameters
    ----------
    files : iterable
        What was read of each.

    Returns
    -------
    Replaced

    Examples
    --------
    >>> from biot_bd.models.checkpoints.anonymous_facts import replaced_names
    >>> found = replaced_names(
    ...     [{"subjects": {"train": ["clinic/Smith"]}, "recording": "night"}]
    ... )
    >>> found.recordings, found.text("clinic/Smith slept")[-17:]
    ({'night': 'recording-0001'}, 'subject-001 slept')
    """
    subjects, recordings, others = set[str](), dict[str, None](), dict[str, str]()
    for found in files:
        for kind, name in _names_in(found, ""):
            if kind == "subject":
                subjects.add(name)
            elif kind == "recording":
                recordings.setdefault(name)
            elif kind == "reviewer":
                others.setdefault(name, f"reviewer-{sum(v.startswith('reviewer-') for v in others.values()) + 1}")
            elif name not in KNOWN:
                others.setdefault(name, "a model")
    known = {str(n): None for n in recordings if re.fullmatch(r"recording-\d{4,}", n)}
    new = [name for name in recordings if name not in known]
    space = new_namespace()
    for subject in subjects:
        old = subject.rpartition("/")[0]
        if old and not is_published(subject) and not is_anonymous(subject):
            others[old] = space
    numbers = {name: f"recording-{n:04d}" for n, name in enumerate(shuffled(new), 1 + len(known))}
    return Replaced(numbered_subjects(shuffled(subjects), space), numbers, others)


def _names_in(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of everything that names a subject, a recording, a reviewer or a model."""
    if isinstance(value, Mapping):
        if key == "recordings" and all(isinstance(one, Mapping) for one in value.values()):
            yield from (("recording", name) for name in value)
        if key == "subjects" and not set(value) & {"train", "valid", "test"}:
            yield from (("subject", name) for name in value)
        if KEY in value and isinstance(value.get("source"), str):
            yield "model", value["source"]
        for name, inner in value.items():
            yield from _names_in(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, str) and key in _SUBJECT_LISTS:
                yield "subject", inner
            elif not isinstance(inner, str):
                yield from _names_in(inner, "$tuple" if key == "$tuple" else key)
    elif isinstance(value, str):
        kind = {"recording": "recording", "reviewer": "reviewer", "where": "", "pretrained": "model"}.get(key, "")
        kind = "subject" if key in _SUBJECT_VALUES else kind
        if kind:
            yield kind, value


def rewritten(value: Any, names: Replaced, key: str = "", *, hashes: bool = False) -> Any:
    """Return what a JSON file holds with other names, without paths and dates.

    Parameters
    ----------
    value : object
        As it was read.
    names : Replaced
        Of :func:`replaced_names`.
    key : str
        The key that leads there.
    hashes : bool
        Keep fingerprints: no name went into them.

    Returns
    -------
    object
        Of the same form.
    """
    if hashes and key in _HASHES:
        return value
    if isinstance(value, Mapping):
        if _is_provenance(value):
            told = Provenance.from_dict(value).without_names(
                names.text(str(value["source"])), PUBLISHED_ENTRIES, names.subjects
            )
            inner = {
                name: rewritten(one, names, name, hashes=hashes)
                for name, one in value.items()
                if name not in told.to_dict()
            }
            return {**inner, **told.to_dict()}
        new = {
            names.text(str(name)): rewritten(inner, names, str(name), hashes=hashes) for name, inner in value.items()
        }
        return new if new.keys() == value.keys() else dict(sorted(new.items()))
    if isinstance(value, list):
        return (
            []
            if key in _WITHOUT_VALUE
            else _in_order_of_numbers([rewritten(one, names, key, hashes=hashes) for one in value], value, names)
        )
    if not isinstance(value, str):
        return value
    if key in _WITHOUT_VALUE:
        return None
    if key == "pretrained":  # the weights are in the model; a path of their origin tells of a machine
        return value if value in KNOWN else None
    if key in _TEXTS_LEFT_OUT:
        return NOT_TOLD
    return names.own_words(value) if key in _OWN_WORDS else names.text(value)


_Facts = TypeVar("_Facts")


def without_places(facts: _Facts, sources: Iterable[str] = ()) -> _Facts:
    """Return what JSON holds without paths, dates and the places of models.

    Parameters
    ----------
    facts : object
        Made of windows whose subjects have numbers already.
    sources : iterable of str
        Where models come from: paths, or names that publishers gave, which stay.

    Returns
    -------
    object
        Of the same form; hashes stay.

    Examples
    --------
    >>> from biot_bd.models.checkpoints.anonymous_facts import without_places
    >>> without_places({"title": "as /eeg/smith/model", "sfreq": 200.0})
    {'title': 'as n/a', 'sfreq': 200.0}
    """
    names = Replaced(others={source: "a model" for source in sources if source not in KNOWN})

    def told(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {names.text(str(key)): told(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [told(inner) for inner in value]
        return names.text(value) if isinstance(value, str) else value

    return cast(_Facts, told(facts))


def _in_order_of_numbers(new: list[Any], old: list[Any], names: Replaced) -> list[Any]:
    """Return numbers in their order: that of the names would tell who has which."""
    if new != old and all(isinstance(one, str) and one in names.subjects for one in old):
        return sorted(new)
    if new and all(isinstance(one, Mapping) and "recording" in one for one in new):
        return sorted(new, key=lambda one: str(one["recording"]))
    return new


def _is_provenance(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get(KEY), list) and "source" in value and not isinstance(value.get(RECORDINGS, []), Mapping)
