"""What the labels of a recording are, judged together: scalp electrodes, or contacts so named.

Depth electrodes, strips and grids number their contacts behind a letter or two (``C1`` to ``C12``,
``LA1``, ``A'1``), and BioSemi caps theirs from ``A1`` to ``H32``: ``C3``, ``F7`` or ``A1`` are then
no places of the 10-20 system.  What tells them is in the other labels: numbers that no electrode
has (``C7``), and runs of other letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from biot_bd.signals.names import DERIVATIONS, ELECTRODES, OLD_NAMES, ChannelName, parse_name, split_prefix

Scheme = Literal["10-20", "biosemi", "egi", "contacts", "unknown"]

# Signals beside the EEG that are numbered too: no contacts.
_AUXILIARY = frozenset(
    "ECG EKG EMG EOG HEOG VEOG LEOG REOG EXG AUX DC X BIP CHIN LEG LLEG RLEG LAT RAT LOC ROC SP SPH PG RESP "
    "FLOW THOR ABD ABDO SNORE SPO SAO OSAT PHO TRIG TRG STIM STI EVT EVENT DIG ANA ANALOG GSR ACC ACCEL GYR GYRO "
    "MAG EEG REF GND CH CHAN MISC MK PHOTIC PULSE PLETH TEMP PRESS RR HR BP ART ICP CVP CS STATUS".split()
)
_LABEL = re.compile(r"([A-Z]{1,6}'*)[-_]?0*(\d{1,3})('*)")
_PRIMES = str.maketrans("’′`´ʹ", "'" * 5)
_WIDE_CAP_MIDLINES = 5
_LONGEST_SHAFT = 18
_FEWEST_IN_RUN = 3
_LONGEST_TEXT = 8


def _allowed() -> dict[str, set[int]]:
    numbers: dict[str, set[int]] = {}
    for name in (*ELECTRODES, *OLD_NAMES):
        if found := re.fullmatch(r"([A-Z]+)(\d+)", name.upper()):
            numbers.setdefault(found[1], set()).add(int(found[2]))
    return numbers


_NUMBERS = _allowed()
"""The numbers that the 10-10 system gives to each letter or pair of letters."""


@dataclass(frozen=True)
class NameJudgement:
    """What the labels of a recording are.

    Parameters
    ----------
    ch_names : tuple of str
        The labels.
    channels : tuple of (ChannelName or None)
        For each label the scalp electrode that it names, None for everything else.
    runs : tuple of str
        Numbered contacts that were found, e.g. ``"C1 to C12"``.
    scheme : {"10-20", "biosemi", "egi", "contacts", "unknown"}
        Whose names they are: ``"10-20"`` where nothing but electrodes was found, ``"biosemi"`` and
        ``"egi"`` for caps that number their electrodes, ``"contacts"`` for depth electrodes, strips
        and grids, ``"unknown"`` where there is none of them.
    withheld : tuple of str
        Labels that would name an electrode and are none among these labels.
    reason : str
        Why, in one phrase; else empty, unless there are derivations behind the ears and no
        electrode.

    See Also
    --------
    judge_names : Makes it.

    Examples
    --------
    >>> from biot_bd.signals import judge_names
    >>> judgement = judge_names([f"A{i}" for i in range(1, 33)])
    >>> judgement.scheme, judgement.withheld
    ('biosemi', ('A1', 'A2'))
    """

    ch_names: tuple[str, ...]
    channels: tuple[ChannelName | None, ...]
    runs: tuple[str, ...]
    scheme: Scheme
    withheld: tuple[str, ...]
    reason: str

    @property
    def electrodes(self) -> tuple[str, ...]:
        """Scalp electrodes in the order of their first label, e.g. ``("Fp1", "F7")``."""
        return tuple(dict.fromkeys(c.electrode for c in self.channels if c is not None))


def judge_names(ch_names: Sequence[str], wanted: Sequence[str] = ()) -> NameJudgement:
    """Judge the labels of a recording together.

    A label names a scalp electrode if it reads as one and nothing in the other labels speaks for a
    contact of that name.  Where a recording holds both, an electrode stays as long as no run of
    contacts covers its name; what cannot be told apart is withheld.

    Parameters
    ----------
    ch_names : sequence of str
        All labels of the recording, as it writes them, in any order.
    wanted : sequence of str
        Electrodes that somebody chose: if the labels hold no others, a complete run of them
        (``C1`` to ``C4``) is taken as meant.

    Returns
    -------
    NameJudgement
        Electrodes, runs of contacts, and the reason.

    See Also
    --------
    plan_montage : Uses it.
    canonical_name : Reads one label by itself.

    Examples
    --------
    >>> from biot_bd.signals import judge_names
    >>> judge_names(["EEG Fp1-Ref", "POL C3", "ECG"]).electrodes
    ('Fp1', 'C3')
    >>> depth = judge_names(["Fz", *(f"C{i}" for i in range(1, 13))])
    >>> depth.electrodes, depth.withheld, depth.runs
    (('Fz',), ('C1', 'C2', 'C3', 'C4', 'C5', 'C6'), ('C1 to C12',))
    """
    return _judge(tuple(map(str, ch_names)), frozenset(wanted))


@dataclass(frozen=True)
class _Label:
    """A label that a contact might have: where, how it is written around, letters and number."""

    position: int
    form: tuple[str, str]
    stem: str
    number: int


@lru_cache(maxsize=256)
def _judge(ch_names: tuple[str, ...], wanted: frozenset[str]) -> NameJudgement:
    alone = _read_each(ch_names)
    labels = _numbered(ch_names)
    shafts, contacts = _find_contacts(labels, ch_names, alone, wanted)
    channels = tuple(None if i in contacts else parsed for i, parsed in enumerate(alone))
    withheld = tuple(dict.fromkeys(ch_names[i] for i in sorted(contacts) if alone[i] is not None))
    is_known = any(channel is not None and channel.electrode not in DERIVATIONS for channel in channels)
    scheme: Scheme = _scheme(shafts) if shafts else "10-20" if is_known else "unknown"
    runs = tuple(f"{s}{min(n)} to {s}{max(n)}" if len(n) > 1 else f"{s}{min(n)}" for s, n in shafts.items())
    reason = _reason(scheme, runs, withheld) or _derivations_only(ch_names, channels, wanted)
    return NameJudgement(ch_names, channels, runs, scheme, withheld, reason)


def _derivations_only(
    ch_names: tuple[str, ...], channels: tuple[ChannelName | None, ...], wanted: frozenset[str]
) -> str:
    """Say why a recording of derivations with names of their own gives no electrode."""
    names = {name: channel.electrode for name, channel in zip(ch_names, channels, strict=True) if channel}
    if not names or not set(names.values()) <= set(DERIVATIONS) or wanted & set(DERIVATIONS):
        return ""
    return f"{_listed(tuple(names))} are derivations behind the ears, of which no electrode of the 10-20 system can be made (montage 'bte-3' has them)"


def _read_each(ch_names: tuple[str, ...]) -> list[ChannelName | None]:
    parsed = [parse_name(name) for name in ch_names]
    # CHB-MIT writes O1 as "01" once; digits are read so only beside the other occipital electrode.
    for typo, meant, other in (("01", "O1", "O2"), ("02", "O2", "O1")):
        known = {p.electrode for p in parsed if p is not None}
        if typo in ch_names and meant not in known and other in known:
            reference = next(p.reference for p in parsed if p is not None and p.electrode == other)
            parsed[ch_names.index(typo)] = ChannelName(meant, reference)
    return parsed


def _numbered(ch_names: tuple[str, ...]) -> list[_Label]:
    """Return the labels of letters and a number; both sides of a derivation within one shaft."""
    labels = []
    for position, name in enumerate(ch_names):
        _, text = split_prefix(name.translate(_PRIMES))
        whole = _LABEL.fullmatch(text.rstrip("."))
        first, _, second = (text, "", "") if whole else re.sub(r"[_/:]", "-", text).partition("-")
        sides = [_LABEL.fullmatch(side.rstrip(".")) for side in (first, re.sub(r"(-\d+)+$", "", second))]
        stems = [side[1] + side[3] if side else "" for side in sides]
        for side, stem in zip(sides, stems, strict=True):
            if side and stem == stems[0] and stem not in _AUXILIARY and not side[1].endswith("Z"):
                labels.append(_Label(position, _form(name), stem, int(side[2])))
    return labels


def _form(name: str) -> tuple[str, str]:
    """Return what is written around a label: its prefix and its reference."""
    prefix, text = split_prefix(name)
    _, *reference = re.split(r"[-_/:]", re.sub(r"(-\d+)+$", "", text), maxsplit=1)
    return prefix, "".join(reference)


def _find_contacts(
    labels: list[_Label], ch_names: tuple[str, ...], alone: list[ChannelName | None], wanted: frozenset[str]
) -> tuple[dict[str, set[int]], set[int]]:
    """Return the shafts (numbers by letters) and the positions of labels that are contacts."""
    stems: dict[str, set[int]] = {}
    for label in labels:
        stems.setdefault(label.stem, set()).add(label.number)
    midlines = {m[0] for m in (re.match(r"[A-Z]{1,3}Z(?=\W|_|$)", split_prefix(n)[1]) for n in ch_names) if m}
    wide = len(midlines) >= _WIDE_CAP_MIDLINES
    shafts = {s: n for s, n in stems.items() if _is_shaft(s, n, midlines, wide)}
    scalp = {s: n for s, n in stems.items() if s in _NUMBERS and s not in shafts}
    if not shafts:
        electrodes = {p.electrode for p in alone if p is not None}
        if not midlines and "FP" not in scalp and not electrodes <= wanted and _all_runs(scalp):
            shafts = scalp
    elif not (midlines or "FP" in scalp or _has_pairs(scalp, shafts)):
        shafts |= scalp  # nothing here lies on a scalp for certain
    elif not wide:
        lateral = {7, 8} <= scalp.get("F", set()) and not _is_run(scalp["F"])
        shafts |= {s: n for s, n in scalp.items() if _is_run(n) and not (s == "T" and lateral)}
    contacts = {label.position for label in labels if label.stem in shafts}
    certain = {
        _form(name)
        for name, parsed in zip(ch_names, alone, strict=True)
        if parsed is not None and (parsed.electrode.endswith("z") or (parsed.electrode[:2] == "Fp" and "FP" in scalp))
    }
    return shafts, contacts - _told_apart(labels, shafts, certain)


def _is_shaft(stem: str, numbers: set[int], midlines: set[str], wide: bool) -> bool:
    if stem not in _NUMBERS:
        # A row of a cap has its midline electrode; two labels may be anything (E1, E2: eyes).
        long_enough = len(numbers) >= _FEWEST_IN_RUN or _is_letter(stem)
        return long_enough and max(numbers) >= _FEWEST_IN_RUN and f"{stem}Z" not in midlines
    # Caps of many electrodes go on to F11, F12, FT11, ... in pairs.
    beyond = {11, 12} if wide and stem in ("F", "FT", "TP", "P", "PO", "T") else set()
    if numbers - _NUMBERS[stem] - beyond:
        return True
    # T3 and T7 are one electrode; beside T1 or T2 they are contacts of one shaft.
    return stem == "T" and all(numbers & part for part in ({1, 2}, {3, 4, 5, 6}, {7, 8}))


def _is_letter(stem: str) -> bool:
    return len(stem.rstrip("'")) == 1


def _is_run(numbers: set[int], fewest: int = _FEWEST_IN_RUN) -> bool:
    return len(numbers) >= fewest and numbers == set(range(1, max(numbers) + 1))


def _all_runs(scalp: dict[str, set[int]]) -> bool:
    """Whether labels are runs from 1 and nothing else, one of them longer than a row of 10-20."""
    return any(_is_run(n, 4) for n in scalp.values()) and all(_is_run(n, 1) for n in scalp.values())


def _has_pairs(scalp: dict[str, set[int]], shafts: dict[str, set[int]]) -> bool:
    """Whether F3 and F4, C3 and C4 or P3 and P4 are there without 1 and 2, as on a scalp."""
    lettered = any(map(_is_letter, shafts))
    return not lettered and any({3, 4} <= scalp.get(s, set()) and not {1, 2} & scalp[s] for s in "FCP")


def _told_apart(labels: list[_Label], shafts: dict[str, set[int]], certain: set[tuple[str, str]]) -> set[int]:
    """Return labels of electrodes that are written otherwise than a shaft which has them all too.

    ``certain`` are the ways of writing in which an electrode of the scalp stands for certain.
    """
    kept: set[int] = set()
    for form in certain:
        for stem in set(shafts) & set(_NUMBERS):
            mine = [x for x in labels if x.stem == stem and x.form == form]
            numbers = {x.number for x in mine}
            others = {x.number for x in labels if x.stem == stem and x.form != form}
            if len(numbers) == len(mine) and numbers <= others & _NUMBERS[stem]:
                kept |= {x.position for x in mine}
    return kept


def _scheme(shafts: dict[str, set[int]]) -> Scheme:
    highest = max(max(numbers) for numbers in shafts.values())
    if set(shafts) == {"E"} and highest >= 16:
        return "egi"
    return "biosemi" if set(shafts) <= set("ABCDEFGH") and _LONGEST_SHAFT < highest <= 32 else "contacts"


def _reason(scheme: Scheme, runs: tuple[str, ...], withheld: tuple[str, ...]) -> str:
    if not runs:
        return ""
    makes = {"biosemi": "are those of a BioSemi cap", "egi": "are those of an EGI net"}
    what = makes.get(scheme, "look like contacts of depth electrodes, strips or grids")
    text = f"labels {_listed(runs)} {what} and name no places of the 10-20 system"
    text += f" ({_listed(withheld)} not taken for scalp electrodes)" if withheld else ""
    return text + "; if they lie on the scalp, rename them to their places (10-10 names)"


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _LONGEST_TEXT
    return ", ".join(names[:_LONGEST_TEXT]) + (f" and {more} more" if more > 0 else "")
