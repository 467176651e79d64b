"""What the texts of annotations say of seizures, judged by whole words.

A text is a seizure where it has a word for one and every other word only describes it: ``EEG
seizure``, ``sz_foc_ia``, ``Seizure 2 left temporal``.  What else stands beside that word decides
what it is:  ``Seizure start`` is a mark, ``Seizure log reviewed`` is none, and what holds words
that are not known here (``seizure?``, ``seizure, patient fell``) is unclear: said, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from biot_bd.events.intervals import OVERLAPPING, merge
from biot_bd.exceptions import RecordingError
from biot_bd.io.notes import without_time

SEIZURE = "sz"
"""How the description of a seizure begins."""
TUSZ_SEIZURES = frozenset("seiz fnsz gnsz spsz cpsz absz tnsz cnsz tcsz atsz mysz nesz".split())
"""Labels of the TUH Seizure Corpus."""

_SEIZURES = frozenset("sz szs szr szrs seizure seizures ictal".split()) | TUSZ_SEIZURES - {"nesz"}
_BEGIN = frozenset("start starts started begin begins beginning began onset on".split())
_END = frozenset("end ends ended ending stop stops stopped offset off over".split())
_DESCRIBING = frozenset(
    """
    a the and with of in from left right l r lt rt bilateral unilateral generalized generalised gen focal foc partial simple
    complex primary primarily secondary secondarily tonic clonic tonicclonic myoclonic absence atonic gelastic hypermotor
    hyperkinetic automotor motor nonmotor autonomic sensory versive aware impaired awareness unclassified typical atypical
    habitual nocturnal febrile neonatal epileptic convulsive nonconvulsive clinical subclinical electroclinical
    electrographic electrical eeg temporal frontal parietal occipital central mesial lateral midline hemisphere
    hemispheric lobe brief short long prolonged gtc gtcs btcs fbtcs fias fas cps sps event activity pattern type nr number
    """.split()
)
_ELECTRODE = re.compile(r"(?:fp|af|f|fc|ft|c|cp|t|tp|p|po|o|a|m)(?:z|\d{1,2})")
_NEGATING = frozenset("no not none without free negative nil absent zero".split())
# Of devices and of care: with one of these, a text speaks of something else than a seizure.
_ELSE = frozenset(
    """
    detection detections detector detectors detect enabled disabled button pushbutton alarm alarms alert alerts log logs
    diary protocol precaution precautions medication medications medicine meds drug drugs given threshold settings
    monitoring reviewed review history inter interictal pre preictal post postictal nonepileptic psychogenic nesz
    """.split()
)
_DOUBTING = frozenset("like likely possible possibly probable probably maybe questionable suspected suspicious".split())
_CODE = re.compile(r"sz(?:_[a-z0-9]+)+")
_WORD = re.compile(r"[^\W_]+")
_ZERO = re.compile(r"(?:^|(?<!\d)[\s:=(])0(?![\d.:,])")


class Meaning(Enum):
    """What a text says."""

    SEIZURE = "seizure"
    BEGIN = "begin"
    END = "end"
    UNCLEAR = "unclear"
    OTHER = "other"


class Judged(NamedTuple):
    """What annotations say: (onset_s, offset_s, description) of each seizure, and notes."""

    seizures: list[tuple[float, float, str]]
    notes: list[str]


def meaning_of(text: str, seizure_words: Sequence[str] = ()) -> Meaning:
    """Judge a text by its words; case does not matter.

    Parameters
    ----------
    text : str
        Of an annotation, or an event type; a channel behind ``@@`` is left out.
    seizure_words : sequence of str
        Own words or phrases for a seizure, beside those known here.

    Returns
    -------
    Meaning
        ``SEIZURE``; ``BEGIN`` or ``END`` of one; ``UNCLEAR``, where a word for a seizure stands
        beside others that are not known, or a question is asked; ``OTHER``.

    See Also
    --------
    judge_annotations : Judges those of a recording together.

    Examples
    --------
    >>> [meaning_of(t).value for t in ("EEG seizure", "Sz start", "seizure?", "Seizure: none")]
    ['seizure', 'begin', 'unclear', 'other']
    >>> meaning_of("Anfall", ["Anfall"]).value
    'seizure'
    """
    low = _plain(text)
    own = [_plain(word) for word in seizure_words if word.strip()]
    if low in own:
        return Meaning.SEIZURE
    for word in sorted(own, key=len, reverse=True):
        low = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "seizure", low)
    numbered = re.sub(r"\b(?:no|nr)\b\.?\s*(?=[1-9])", " ", low)
    words = [word for word in _WORD.findall(numbered) if not word.isdecimal()]
    words = [re.sub(r"^(szs?|seiz|seizures?)\d+$", r"\1", word) for word in words]
    if not _SEIZURES.intersection(words):
        # A word that is misspelt is not passed over.
        return Meaning.UNCLEAR if any(re.match("seiz|siez|seisz", word) for word in words) else Meaning.OTHER
    if re.search("[?\uff1f\u037e]", low) or _DOUBTING.intersection(words):
        return Meaning.UNCLEAR
    if _denies(words) or re.match(r"0\s", low):
        return Meaning.OTHER
    return _of_words(low, words)


def _denies(words: list[str]) -> bool:
    """Return whether it says ``no ... seizure`` or ``seizure free``."""
    at = next(i for i, word in enumerate(words) if word in _SEIZURES)
    if words[at + 1 : at + 2] == ["free"]:
        return True
    return words[0] in {"no", "not", "without", "zero"} and _DESCRIBING.issuperset(words[1:at])


def _of_words(low: str, words: list[str]) -> Meaning:
    """Judge the words beside that for a seizure."""
    beside = set(words) - _SEIZURES
    unknown = {w for w in beside - _BEGIN - _END - _DESCRIBING - _NEGATING - _ELSE if not _ELECTRODE.fullmatch(w)}
    if unknown and not _CODE.fullmatch(low):
        return Meaning.UNCLEAR
    if _ZERO.search(low):
        return Meaning.OTHER if re.search("[:=]", low) or "seizures" in words else Meaning.UNCLEAR
    if beside & (_NEGATING | _ELSE):
        # "Seizure, medication given" may well be one.
        return Meaning.UNCLEAR if re.search("[,;.!]", low.strip(" .!")) else Meaning.OTHER
    if beside & {"on", "off"} and words[-1] not in {"on", "off"}:
        return Meaning.UNCLEAR
    begins, ends = bool(beside & _BEGIN), bool(beside & _END)
    if begins and ends:
        return Meaning.UNCLEAR
    if not begins and not ends:  # "ictal" alone may be said of a pattern, or of a state
        return Meaning.UNCLEAR if _SEIZURES.intersection(words) == {"ictal"} else Meaning.SEIZURE
    return Meaning.BEGIN if begins else Meaning.END


def _plain(text: str) -> str:
    return " ".join(text.partition("@@")[0].casefold().split())


def seizure_kind(text: str, seizure_words: Sequence[str] = ()) -> str | None:
    """Return the description of a seizure so that it begins with ``sz``.

    None where the text is no seizure, or not clearly one, or the end of one.

    Parameters
    ----------
    text : str
        An event type or annotation.
    seizure_words : sequence of str
        As in :func:`~biot_bd.events.texts.meaning_of`.

    Returns
    -------
    str or None

    See Also
    --------
    read_event_file : Reads files of events.

    Examples
    --------
    >>> seizure_kind("Seizure"), seizure_kind("sz_foc"), seizure_kind("seizure free")
    ('sz', 'sz_foc', None)
    """
    return _description(text) if meaning_of(text, seizure_words) in (Meaning.SEIZURE, Meaning.BEGIN) else None


def _description(text: str) -> str:
    text = text.partition("@@")[0].strip()
    return SEIZURE + text[len(SEIZURE) :] if text.lower().startswith(SEIZURE) else SEIZURE


def judge_annotations(
    rows: Iterable[tuple[float, float, str]], where: str, seizure_words: Sequence[str] = ()
) -> Judged:
    """Find the seizures in annotations.

    Marks of begin and end are paired; what overlaps (a seizure that is noted for each channel) is
    one seizure.

    Parameters
    ----------
    rows : iterable of (onset_s, offset_s, text)
        In any order.
    where : str
        Names the file, for messages.
    seizure_words : sequence of str
        As in :func:`meaning_of`.

    Returns
    -------
    Judged
        Seizures in the order of time, and one note of each text that is unclear.

    Raises
    ------
    RecordingError
        ``bad-annotation``: a begin has no end, or an end no begin, or a time is not finite.

    Examples
    --------
    >>> judge_annotations([(60, 60, "Sz start"), (80, 80, "Sz end")], "x.edf").seizures
    [(60, 80, 'sz')]
    """
    judged = [(onset, offset, text, meaning_of(text, seizure_words)) for onset, offset, text in rows]
    judged = [row for row in judged if row[3] is not Meaning.OTHER]
    for onset, offset, text, _ in judged:
        if not math.isfinite(onset) or not math.isfinite(offset):
            raise RecordingError(
                "bad-annotation",
                f"{where}: the annotation {text!r} from {onset:g} s to {offset:g} s; expected finite times",
            )
    unclear: dict[str, list[float]] = {}
    for onset, _, text, meaning in judged:
        if meaning is Meaning.UNCLEAR:
            unclear.setdefault(" ".join(text.split()), []).append(onset)
    notes = [
        f"the annotation {text!r} ({len(at)} times, first at {min(at):g} s) does not say clearly that there is a seizure "
        "and is not taken for one; if it is one, name it by seizure_words"
        for text, at in unclear.items()
    ]
    return Judged(_merged(_paired([row for row in judged if row[3] is not Meaning.UNCLEAR], where)), notes)


def unread_notes(texts: Sequence[str], where: str, seizure_words: Sequence[str] = ()) -> list[str]:
    """Say which annotations of a file have no time that its format knows.

    Parameters
    ----------
    texts : sequence of str
        As the file has them, numbers included.
    where : str
        Names the file, for messages.
    seizure_words : sequence of str
        As in :func:`meaning_of`.

    Returns
    -------
    list of str
        One note, or none.

    Raises
    ------
    RecordingError
        ``bad-annotation``: one of them speaks of a seizure, which would be lost.

    Examples
    --------
    >>> unread_notes(["+20,5 eyes open"], "x.edf")
    ["1 annotation without a time as EDF+ writes it, not read; the first is '+20,5 eyes open'"]
    """
    for text in texts:
        if meaning_of(text, seizure_words) is not Meaning.OTHER:
            raise RecordingError(
                "bad-annotation",
                f"{where}: the annotation {text[:80]!r} has no time as EDF+ writes it (+20.5, seconds), so it cannot be read; "
                "correct it, or write an event table beside the recording",
            )
    return [without_time(texts)] if texts else []


def _paired(rows: list[tuple[float, float, str, Meaning]], where: str) -> list[tuple[float, float, str]]:
    """Join begins and ends to seizures, those of a channel (``@@F7``) for themselves."""
    rows = sorted(rows, key=lambda row: (row[0], row[3] is not Meaning.END))
    has_ends = any(row[3] is Meaning.END for row in rows)
    found: list[tuple[float, float, str]] = []
    open_: dict[str, tuple[float, float, str]] = {}
    for onset, offset, text, meaning in rows:
        row, channel = (onset, offset, text), text.partition("@@")[2]
        is_point = has_ends and offset <= onset
        # A seizure without a length begins one, where the file marks ends.
        if (meaning is Meaning.BEGIN and (has_ends or offset <= onset)) or (meaning is Meaning.SEIZURE and is_point):
            if open_.setdefault(channel, row)[0] != onset:
                raise _unpaired(where, open_[channel], "has no end before the next begins")
        elif meaning is Meaning.END:
            ended = [key for key in open_ if key == channel or "" in (key, channel)]
            if not ended and not any(begin < onset <= end for begin, end, _ in found):
                raise _unpaired(where, row, "ends what has no begin")
            found += [(open_.pop(key)[0], onset, SEIZURE) for key in ended]
        else:
            found.append((onset, offset, _description(text)))
    for row in open_.values():
        raise _unpaired(where, row, "has no end")
    return found


def _unpaired(where: str, row: tuple[float, float, str], what: str) -> RecordingError:
    return RecordingError(
        "bad-annotation",
        f"{where}: the annotation {row[2]!r} at {row[0]:g} s {what}; expected a begin and an end of each seizure, "
        "correct the annotations, or write an event table beside the recording",
    )


def _merged(found: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Join what overlaps; what has no length, or ends before it begins, is left to the caller."""
    odd = [row for row in found if row[1] <= row[0]]
    rows = sorted(row for row in found if row[1] > row[0])
    spans, which = merge([row[:2] for row in rows], OVERLAPPING)
    kinds: list[set[str]] = [set() for _ in spans]
    for row, k in zip(rows, which.tolist(), strict=True):
        kinds[k].add(row[2])
    joined = [
        (onset, offset, kind.pop() if len(kind) == 1 else SEIZURE)
        for (onset, offset), kind in zip(spans.tolist(), kinds, strict=True)
    ]
    return sorted([*odd, *joined])
