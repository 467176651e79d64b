"""Data sets of MOABB (Mother of All BCI Benchmarks) by their name there.

References
----------
Jayaram, V., & Barachant, A. (2018). MOABB: trustworthy algorithm benchmarking for BCIs. Journal of
Neural Engineering 15(6), 066011. https://moabb.neurotechx.com
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import mne
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd.datasets.recordings import Outcomes, list_subjects, make_dataset
from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import RecordingError
from biot_bd.io.segments import annotations_of, set_annotations

OURS = {"PhysionetMotorImagery": "eegmmidb"}
"""Data sets of MOABB that have a loader of their own here: their people have one name in both."""


def load_moabb(
    root: str | os.PathLike[str],
    *,
    variant: str | None = None,
    subjects: Iterable[int | str] | int | str | None = None,
    paradigm: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> BaseConcatDataset:
    """Load a data set of MOABB; ``load_dataset("moabb:BNCI2014_001", root)`` names it in one word.

    MOABB reads the files, downloads those that are not there, and says what its events mean.

    Parameters
    ----------
    root : path-like
        Folder for downloads; data sets that MOABB has elsewhere by its own settings are read there.
    variant : str
        Name of the data set in ``moabb.datasets``, e.g. ``"BNCI2014_001"``, ``"PhysionetMI"`` or
        ``"FakeDataset"``.
    subjects : iterable of int, optional
        Numbers of subjects, as MOABB counts them, or ``"moabb-BNCI2014-001/3"``; all by default,
        which can be tens of gigabytes.
    paradigm : str, optional
        Name of a paradigm in ``moabb.paradigms``, e.g. ``"LeftRightImagery"``: only its events stay
        as annotations.  Nothing is filtered or cut here.
    parameters : mapping, optional
        Parameters of the data set's class, e.g. ``{"n_subjects": 3}`` of ``FakeDataset``.

    Returns
    -------
    BaseConcatDataset of RawDataset
        In volts, as MOABB gives recordings (most are in memory); stimulus channels are dropped.
        Each event is an annotation with the name of its class, which begins and lasts as the data
        set's ``interval`` says.  ``description``: ``subject`` (``moabb-<code>/<n>``; of
        ``PhysionetMI`` ``eegmmidb/<nnn>``, as by that loader), ``session``, ``run``, ``recording``.
        ``generated`` is True for ``FakeDataset``, which is made from seed 0 unless ``parameters``
        say another.

    Raises
    ------
    ImportError
        MOABB is not installed.
    ValueError
        No such data set, subject or paradigm, or the paradigm does not take the data set.
    EmptyDatasetError
        MOABB returned no recording.

    See Also
    --------
    biot_bd.windows.Annotated : Labels windows by these events.
    """
    datasets = _moabb()
    kind = _class_in(datasets, variant, "moabb.datasets", "variant")
    is_fake = kind.__name__ == "FakeDataset"
    given = {**({"seed": 0} if is_fake and "seed" in inspect.signature(kind).parameters else {}), **(parameters or {})}
    with _downloads_to(Path(root)):
        source = kind(**given)
        wanted = _subjects(subjects, source)
        kept = None if paradigm is None else _events_of(paradigm, source)
        found = source.get_data(subjects=wanted)
    outcomes, parts = Outcomes(f"moabb:{kind.__name__}"), list[RawDataset]()
    for subject, sessions in found.items():
        for session, runs in sessions.items():
            for run, raw in runs.items():
                name = re.sub(r"[^\w.+-]", "-", f"{kind.__name__}_{subject:03d}_{session}_{run}")
                whose = _subject_name(source, subject)
                parts.append(
                    RawDataset(
                        _tidied(raw, kept, name),
                        {"subject": whose, "session": str(session), "run": str(run), "recording": name},
                    )
                )
                outcomes.add(name, "loaded")
    return make_dataset(parts, outcomes.frame(), generated=is_fake)


def _moabb() -> Any:
    try:
        import moabb.datasets
        from moabb import set_log_level
    except ImportError as error:
        raise ImportError("the data set 'moabb' needs MOABB: pip install moabb") from error
    set_log_level("error")
    return moabb.datasets


def _class_in(module: Any, name: Any, where: str, option: str) -> Any:
    """Return the class of a name in a module of MOABB, never its base classes or functions."""
    kinds = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and not key.startswith(("_", "Base"))
    }
    if name in kinds:
        return kinds[name]
    near = get_close_matches(str(name), kinds, n=3) or ["FakeDataset"]
    example = " (load_dataset takes it in the name, e.g. 'moabb:FakeDataset')" if option == "variant" else ""
    raise ValueError(f"{option}={name!r}: {where} has no such class; similar: {', '.join(near)}{example}")


def _space(source: Any) -> str:
    code = str(source.code)
    return OURS.get(code) or "moabb-" + re.sub(r"[^\w.-]", "-", code)


def _subject_name(source: Any, subject: Any) -> str:
    return f"{_space(source)}/{int(subject):03d}" if str(source.code) in OURS else f"{_space(source)}/{subject}"


def _subjects(subjects: Any, source: Any) -> list[int] | None:
    listed = list_subjects(subjects)
    if listed is None:
        return None
    known = [int(subject) for subject in source.subject_list]
    texts = [str(subject).removeprefix(f"{_space(source)}/") for subject in listed]
    if wrong := [text for text in texts if not text.isdecimal() or int(text) not in known]:
        raise ValueError(
            f"subjects {', '.join(wrong)}: {source.code} has {known[0]} to {known[-1]} ({len(known)} subjects)"
        )
    return sorted({int(text) for text in texts})


def _events_of(paradigm: str, source: Any) -> set[str]:
    """Return the names of the events that a paradigm takes from a data set."""
    import moabb.paradigms

    chosen = _class_in(moabb.paradigms, paradigm, "moabb.paradigms", "paradigm")()
    if not chosen.is_valid(source):
        raise ValueError(f"paradigm={paradigm!r} does not take {source.code} (events {', '.join(source.event_id)})")
    return set(chosen.used_events(source))


def _tidied(raw: mne.io.BaseRaw, kept: set[str] | None, name: str) -> mne.io.BaseRaw:
    stimuli = [ch for ch, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "stim"]
    raw = raw.drop_channels(stimuli) if stimuli else raw
    rows = [row for row in annotations_of(raw) if kept is None or row[2] in kept]
    if taken := sorted({text for *_, text in rows if text.startswith(SEIZURE)}):
        raise RecordingError(
            "bad-annotation",
            f"recording {name}: events {', '.join(taken)} would be taken for seizures; use adapt_dataset",
        )
    set_annotations(raw, rows)
    return raw


@contextmanager
def _downloads_to(root: Path) -> Iterator[None]:
    """Let MOABB download to a folder, and leave MNE's settings as they were."""
    before, variable = dict(mne.get_config(use_env=False) or {}), os.environ.get("MNE_DATA")
    environment = set(os.environ)
    os.environ["MNE_DATA"] = os.fspath(root.resolve())
    try:
        yield
    finally:
        for key in set(mne.get_config(use_env=False) or {}) - set(before):
            mne.set_config(key, None, set_env=False)
        for key in set(os.environ) - environment:
            if key.startswith("MNE_DATASETS_"):
                del os.environ[key]
        if variable is None:
            os.environ.pop("MNE_DATA", None)
        else:
            os.environ["MNE_DATA"] = variable
