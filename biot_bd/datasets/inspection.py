"""What is in a folder before any work on it: subjects, channels, labels, gaps, what is left out."""

from __future__ import annotations

import os
import re
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import mne
import pandas as pd

from biot_bd import registry
from biot_bd.datasets.chbmit import load_layout
from biot_bd.datasets.demo import DEMO
from biot_bd.datasets.layouts import FOLDER, Layout, check_folder, find_layouts
from biot_bd.datasets.loading import load_dataset, options_of
from biot_bd.datasets.recordings import seizures_of
from biot_bd.datasets.samples import sample_notes
from biot_bd.events.intervals import merge, total
from biot_bd.exceptions import EmptyDatasetError, RecordingError
from biot_bd.io.channel_readers import rate_of, source_file
from biot_bd.io.edf_header import ANNOTATIONS, read_edf_header
from biot_bd.io.notes import counted, one_line
from biot_bd.io.readers import open_raw
from biot_bd.io.timeline import timeline_of
from biot_bd.io.unusable import unit_notes, unusable_channels
from biot_bd.io.walk import find_tables, stem_of
from biot_bd.signals.montages import Montage, MontagePlan, plan_montage
from biot_bd.windows.preparation.prepare import WINDOW_S
from biot_bd.windows.preparation.recording import SignalSettings, check_header, detail_of, outcome_of

SFREQ = 200.0
HARMLESS = ("loaded", "missing-file", "unlisted", "no-summary")
"""Outcomes with which :func:`biot_bd.prepare` goes on by default."""
# How names of files may begin with a subject; proposed only where all names fit.
SUBJECT_PATTERNS = (r"^([A-Za-z]+[-_]?\d+)", r"^(\d+)[-_.]", r"^([^-_.]+)[-_.]")


@dataclass
class RecordingFacts:
    """What is known of one recording.

    Parameters
    ----------
    recording : str
        Its name.
    outcome, detail : str
        As ``dataset.outcomes`` and the ``failures`` of a store have them: ``"loaded"`` if it would
        be used.
    subject, path : str or None
        None where the data set left it out, or its file is not found.
    format : str or None
        ``"EDF"``, ``"EDF+C"``, ``"BrainVision"``, ...; this and what follows is None or empty where
        the file cannot be opened.
    duration_s : float or None
        What was recorded, in seconds, without pauses.
    sfreq : float or None
        Rate at which the channels of the montage are read, in Hz.
    sfreqs : tuple of float
        All rates of the file, in Hz.
    units : tuple of str
        Units of the channels that the montage needs (of all where it needs none), as the file
        spells them.
    n_channels : int
        Channels of the file.
    found, derived, missing : tuple of str
        Channels of the montage that the file has, that are made of others, that it cannot give.
    unusable : dict of str to str
        Channels that would be needed and cannot be used, with the reason.
    labels_from : str
        ``"summary"``, ``"event table"``, ``"annotations"`` (within the file), ``"data set"`` (its
        reader does not say), ``"none"``, or ``"not read"`` of what is left out for another reason.
    n_seizures, seizure_s : int, float
        Seizures and their seconds, overlaps counted once.
    gaps : list of (float, float)
        Pauses of known length, in seconds since the start.
    notes : list of str
        What else a user should know.
    if_labelled : str or None
        Of a recording without labels the outcome that it would have with them; None of others, and
        where its file is not found.

    See Also
    --------
    inspect_recording : Makes it of a recording.

    Examples
    --------
    >>> RecordingFacts("chb01_03", "missing-file", "the summary lists it").is_used
    False
    """

    recording: str
    outcome: str = "loaded"
    detail: str = ""
    subject: str | None = None
    path: str | None = None
    format: str | None = None
    duration_s: float | None = None
    sfreq: float | None = None
    sfreqs: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    n_channels: int = 0
    found: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unusable: dict[str, str] = field(default_factory=dict)
    labels_from: str = "none"
    n_seizures: int = 0
    seizure_s: float = 0.0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    if_labelled: str | None = None

    @property
    def is_used(self) -> bool:
        """Whether :func:`biot_bd.prepare` would make windows of it."""
        return self.outcome == "loaded"


@dataclass
class DatasetFacts:
    """What is known of a folder as one data set.

    Parameters
    ----------
    path : str
        The folder.
    dataset : str or None
        The data set that reads it, None where it holds no recordings to load.
    why : str
        What tells so.
    montage : str
        What channels were compared with.
    recordings : list of RecordingFacts
        One for every recording that the source mentions.
    error : str or None
        Why it cannot be loaded as it is.
    generated : bool
        Whether a program made the signals.
    hints : list of str
        Options that change what is understood, and other advice.

    See Also
    --------
    inspect_folder : Makes it.

    Examples
    --------
    >>> DatasetFacts("runs/a", None, "a run of `biot-bd cv`", "biot-16").stops_prepare
    False
    """

    path: str
    dataset: str | None
    why: str
    montage: str
    recordings: list[RecordingFacts] = field(default_factory=list)
    error: str | None = None
    generated: bool = False
    hints: list[str] = field(default_factory=list)

    @property
    def used(self) -> list[RecordingFacts]:
        """The recordings that would be used."""
        return [one for one in self.recordings if one.is_used]

    @property
    def left_out(self) -> list[RecordingFacts]:
        """The others."""
        return [one for one in self.recordings if not one.is_used]

    @property
    def stops_prepare(self) -> bool:
        """Whether ``biot-bd prepare`` with its defaults would stop at this folder."""
        if self.dataset is None:
            return False
        return self.error is not None or not self.used or any(o.outcome not in HARMLESS for o in self.recordings)

    @property
    def can_take_unlisted(self) -> bool:
        """Whether ``unlisted="background"`` would let recordings without labels be used."""
        known = options_of(self.dataset) if self.dataset else None
        return "unlisted" in (known or ()) and any(
            one.outcome == "unlisted" and one.if_labelled == "loaded" for one in self.recordings
        )

    def subjects(self) -> pd.DataFrame:
        """Return what would be used of each subject, and how much would not.

        Returns
        -------
        pandas.DataFrame
            ``subject``, ``recordings``, ``hours``, ``seizures``, ``seizure_s`` of the recordings
            that would be used, ``left_out`` and ``seizures_left_out`` of the others.
        """
        rows = [
            (o.subject, 1, (o.duration_s or 0.0) / 3600, o.n_seizures, o.seizure_s, 0, 0)
            if o.is_used
            else (o.subject, 0, 0.0, 0, 0.0, 1, o.n_seizures)
            for o in self.recordings
        ]
        columns = ["subject", "recordings", "hours", "seizures", "seizure_s", "left_out", "seizures_left_out"]
        return pd.DataFrame(rows, columns=columns).groupby("subject", sort=True).sum().reset_index()


def inspect_folder(
    folder: str | os.PathLike[str],
    dataset: str | None = None,
    *,
    montage: str | Montage = "biot-16",
    on_missing: Literal["raise", "drop", "interpolate"] = "raise",
    samples: bool = False,
    options: Mapping[str, Any] | None = None,
    seizure_words: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[DatasetFacts]:
    """Say what is in a folder of recordings, and what would become of it.

    Nothing is written.  The outcomes are those of :func:`biot_bd.load_dataset` with
    ``on_error="skip"``, and what :func:`biot_bd.prepare` finds in a header before it reads samples.

    Parameters
    ----------
    folder : path-like
        The folder.
    dataset : str, optional
        Name of the data set; by default :func:`find_layouts` says it, for subfolders too.
    montage : str or Montage
        What the recordings' channels are compared with.
    on_missing : {"raise", "drop", "interpolate"}
        As of :func:`biot_bd.prepare`.
    samples : bool, default=False
        Also read the samples, for electrodes that are flat or not finite and for offsets.
    options : mapping, optional
        Options of the data set's loader; they need ``dataset``.
    seizure_words : sequence of str
        Own words for a seizure in annotations within files, for each loader that reads such.
    progress : callable, optional
        Called with the number of recordings looked at, and of all.

    Returns
    -------
    list of DatasetFacts
        One for each layout that is found; empty where there is no recording.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is no such folder.
    UnknownNameError
        No data set or montage has that name.
    TypeError
        The loader has no such option.
    ValueError
        Options without a data set.

    See Also
    --------
    biot_bd.load_dataset : Loads what is found.
    find_layouts : What folders look like, by names alone.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd import load_dataset
    >>> from biot_bd.datasets import inspect_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = load_dataset("demo", folder, n_subjects=2, recordings=1, minutes=1)
    ...     facts = inspect_folder(folder)[0]
    >>> facts.dataset, [one.subject for one in facts.used], len(facts.used[0].found)
    ('demo', ['demo/01', 'demo/02'], 16)
    """
    if options and dataset is None:
        raise ValueError("options need the data set whose they are; name it")
    wanted = registry.montages[montage] if isinstance(montage, str) else montage
    settings = SignalSettings(wanted, SFREQ, (), on_missing, "fft", "int16")
    layouts = find_layouts(folder) if dataset is None else [Layout(check_folder(folder), dataset, "as you say")]
    given = [_with_words(layout, options or {}, seizure_words, dataset) for layout in layouts]
    return [_inspect(layout, settings, samples, own, progress) for layout, own in zip(layouts, given, strict=True)]


def _with_words(
    layout: Layout, options: Mapping[str, Any], seizure_words: Sequence[str], named: str | None
) -> dict[str, Any]:
    """Return a layout's options; own words reach loaders that take them, and one that is named."""
    if not seizure_words or (named is None and "seizure_words" not in (options_of(layout.dataset or FOLDER) or ())):
        return dict(options)
    return {**options, "seizure_words": list(seizure_words)}


def _inspect(
    layout: Layout,
    settings: SignalSettings,
    samples: bool,
    options: dict[str, Any],
    progress: Callable[[int, int], None] | None,
) -> DatasetFacts:
    facts = DatasetFacts(str(layout.path), layout.dataset, layout.why, settings.montage.name)
    if layout.dataset is None:
        return facts
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        parts, outcomes = _load(layout, options, facts)
    facts.hints += [one_line(w.message) for w in told if "dataset.outcomes" not in str(w.message)]
    known = outcomes.attrs.get("left_out", {})
    rows: list[list[str]] = outcomes[["recording", "outcome", "detail"]].to_numpy().tolist()
    for number, (name, outcome, detail) in enumerate(rows, start=1):
        part = parts.get(name)
        if part is None:
            one = _left_out(name, outcome, detail, known.get(name, {}), settings, samples)
        else:
            labels = part.description.get("labels_from", "data set")
            one = inspect_recording(part.raw, settings, name, labels_from=labels, samples=samples)
            one.subject = part.description["subject"]
            one.notes = [*([detail] if detail else []), *(note for note in one.notes if note not in detail)]
        facts.recordings.append(one)
        if progress is not None:
            progress(number, len(outcomes))
    facts.hints += _hints(facts, layout, options)
    return facts


def _load(layout: Layout, options: dict[str, Any], facts: DatasetFacts) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the recordings that the data set loads, by name, and its outcomes."""
    name = layout.dataset or ""
    usual = {"on_error": "skip", "on_missing": "ignore"}
    known = options_of(name) or ()
    given = {key: value for key, value in usual.items() if key in known} | options
    try:
        if registry.datasets.path(name).endswith("datasets.demo:load_demo"):  # it would write what is missing
            loaded = load_layout(
                layout.path,
                DEMO,
                subjects=options.get("subjects"),
                unlisted="exclude",
                **usual,
                generated=True,
            )
        else:
            loaded = load_dataset(name, layout.path, **given)
    except EmptyDatasetError as error:
        facts.error = one_line(error)
        return {}, error.outcomes
    except (ValueError, OSError) as error:
        facts.error = one_line(error, 600)
        return {}, pd.DataFrame(columns=["recording", "outcome", "detail"])
    facts.generated = bool(loaded.generated)
    return {part.description["recording"]: part for part in loaded.datasets}, loaded.outcomes


def _left_out(
    recording: str, outcome: str, detail: str, known: Mapping[str, Any], settings: SignalSettings, samples: bool
) -> RecordingFacts:
    """Say what can be known of a recording that its data set did not load."""
    one, path = RecordingFacts(recording), known.get("path")
    without_labels = outcome in ("unlisted", "no-summary")
    if path is not None and outcome not in ("missing-file", "unreadable"):
        try:
            raw, notes = open_raw(path)
            one = inspect_recording(raw, settings, recording, labels_from="none", samples=samples)
            one.notes = [*notes, *(note for note in one.notes if note not in notes)]
            if not one.is_used:  # labels alone would not help
                one.notes.append(f"{one.outcome}: {one.detail}")
            one.if_labelled = one.outcome if without_labels else None
        except RecordingError as error:
            one.notes.append(one_line(error))
    one.path, one.outcome, one.detail = path, outcome, detail
    one.labels_from = "none" if without_labels else "not read"
    one.subject = known.get("subject")
    seizures = known.get("seizures", [])
    lasting = [(onset_s, offset_s) for onset_s, offset_s in seizures if offset_s > onset_s]
    one.n_seizures, one.seizure_s = len(seizures), float(total(merge(lasting)[0]))
    return one


def inspect_recording(
    raw: mne.io.BaseRaw,
    settings: SignalSettings,
    recording: str = "",
    *,
    labels_from: str = "annotations",
    samples: bool = False,
) -> RecordingFacts:
    """Say what is known of a recording, by its header alone unless ``samples`` is True.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, lazy.
    settings : SignalSettings
        What would be made of it; :func:`biot_bd.prepare` judges by the same.
    recording : str
        Its name.
    labels_from : str
        Where its annotations ``sz...`` come from.
    samples : bool, default=False
        Also read its samples.

    Returns
    -------
    RecordingFacts
        ``outcome`` as :func:`biot_bd.prepare` would note it.

    See Also
    --------
    inspect_folder : All recordings of a folder.

    Examples
    --------
    >>> import mne, numpy as np
    >>> from biot_bd import registry
    >>> from biot_bd.windows.preparation.recording import SignalSettings
    >>> settings = SignalSettings(
    ...     registry.montages["biot-16"], 200.0, (), "raise", "fft", "int16"
    ... )
    >>> info = mne.create_info(["Fp1-F7", "ECG"], 100.0, "eeg")
    >>> raw = mne.io.RawArray(np.zeros((2, 6000)), info, verbose="error")
    >>> facts = inspect_recording(raw, settings)
    >>> facts.outcome, facts.duration_s, facts.found, len(facts.missing)
    ('missing-channels', 60.0, ('Fp1-F7',), 15)
    """
    one, plan = RecordingFacts(recording, labels_from=labels_from, n_channels=len(raw.ch_names)), None
    path = source_file(raw)
    one.path = None if path is None else str(path)
    one.duration_s = float(raw.n_times / raw.info["sfreq"])
    try:
        line = timeline_of(raw, samples=samples)
        one.gaps, one.notes = line.gaps, list(line.notes)
        seizures = seizures_of(raw, line)
        one.n_seizures, one.seizure_s = len(seizures), float(total(merge(seizures)[0]))
        plan = check_header(raw, line, settings, WINDOW_S)
    except (RecordingError, OSError) as error:
        one.outcome, one.detail = "unreadable", one_line(error)
    except Exception as error:  # as in `prepare`, whatever a reader raises is that recording's outcome
        one.outcome, one.detail = outcome_of(error), one_line(detail_of(error), 1000)
    plan = plan or plan_montage(settings.montage, raw.ch_names, unusable_channels(raw))
    one.unusable, one.sfreq = dict(plan.unusable), rate_of(raw, plan.needed)
    one.format, one.sfreqs, one.units = _format_of(raw, path, plan)
    one.found, one.derived, one.missing = (
        tuple(c.name for c in plan.channels if c.how in how)
        for how in (("direct",), ("reversed", "difference", "interpolated"), ("missing",))
    )
    one.notes += [*([plan.names.reason] if plan.names.withheld else []), *unit_notes(raw, plan.needed)]
    if samples and one.is_used:
        notes, refused = sample_notes(raw, plan.needed, WINDOW_S)
        one.notes += notes
        if refused:
            one.outcome, one.detail = "failed", f"recording {recording}: {refused}"
    return one


def _format_of(
    raw: mne.io.BaseRaw, path: Path | None, plan: MontagePlan
) -> tuple[str, tuple[float, ...], tuple[str, ...]]:
    """Return the format, all rates in Hz and the units of what the plan reads."""
    kind = type(raw).__name__.removeprefix("Raw") or "FIF"  # whose class is MNE's plain one
    if kind not in ("EDF", "BDF") or path is None:
        units = {str(unit) for name, unit in raw._orig_units.items() if name in (plan.needed or raw.ch_names)}
        return kind, (float(raw.info["sfreq"]),), tuple(sorted(units))
    header = read_edf_header(path)
    plus = header.kind if header.kind in ("EDF+C", "EDF+D", "BDF+C", "BDF+D") else kind
    labels = zip(header.labels, header.samples, header.field("unit"), strict=True)
    signals = [(label, n, unit) for label, n, unit in labels if label not in ANNOTATIONS and n > 0]
    units = {header.field("unit")[raw._raw_extras[0]["sel"][place]] or "blank" for place in _places(raw, plan)}
    return plus, tuple(sorted({n / header.record_s for _, n, _ in signals})), tuple(sorted(units))


def _places(raw: mne.io.BaseRaw, plan: MontagePlan) -> Iterator[int]:
    """Yield the places of needed channels (else of all) among those that MNE reads of a file."""
    picks = raw._read_picks[0]
    for name in plan.needed or raw.ch_names:
        yield int(picks[raw.ch_names.index(name)])


def _hints(facts: DatasetFacts, layout: Layout, options: Mapping[str, Any]) -> list[str]:
    """Return options that change what was understood, and what else to do."""
    hints, known = [], options_of(layout.dataset or "") or ()
    outcomes = Counter(one.outcome for one in facts.recordings)
    if "subject" in known and "subject" not in options:
        hints.append(_subject_hint(facts, layout.path.absolute()))
    if layout.dataset == "chb-mit" and (outcomes["missing-file"] or outcomes["no-summary"]):
        hints.append(f"`{shlex.join(['biot-bd', 'datasets', 'fetch', 'chb-mit', facts.path])}` fetches missing files")
    if layout.dataset == "chb-mit" and outcomes["no-summary"] and (tables := find_tables(layout.path)):
        # Not as the next command: recordings of CHB-MIT itself would get two subjects of one child.
        hints.append(
            f"{counted(len(tables), 'event table')} in it: chb-mit takes its labels from summaries; "
            f"`{shlex.join(['biot-bd', 'doctor', FOLDER, facts.path])}` reads your own recordings of such names"
        )
    if "unlisted" in known and "unlisted" not in options:
        hints += _label_hints(facts.recordings)
    if "missing-channels" in [*outcomes, *(one.if_labelled for one in facts.recordings)]:
        hints.append("--on-missing drop leaves missing channels to models that mask them, interpolate fills them")
    if facts.used and facts.stops_prepare:
        hints.append("prepare stops at the first that cannot be used; --on-error skip leaves them out")
    if registry.datasets[layout.dataset or ""] is registry.datasets[FOLDER]:
        hints += _foreign_labels(layout.path, [Path(one.path).name for one in facts.recordings if one.path])
    return hints


def _subject_hint(facts: DatasetFacts, root: Path) -> str:
    """Say how the subjects were understood, and what would change that."""
    usual = "subjects are the sub- of a path, else the folder of the file; --option 'subject=REGEX' changes it"
    if not facts.recordings:
        return usual
    paths = [Path(one.path) for one in facts.recordings if one.path]
    n_flat = sum(path.parent == root for path in paths)
    if n_flat < 2:
        return usual
    hint = f"{n_flat} recordings lie directly in the folder and count as one subject"
    names = [path.relative_to(root).as_posix() for path in paths]
    for pattern in SUBJECT_PATTERNS:
        found = [match[1] for name in names if (match := re.search(pattern, name))]
        subjects = sorted(set(found))
        if len(found) < len(names):
            continue
        if len(subjects) == 1:
            return f"{hint}, and their names begin alike ({subjects[0]}); --option 'subject=REGEX' changes it"
        if len(subjects) > 1:
            return (
                f"{hint}; where names hold the subject, say so: --option 'subject={pattern}' would make "
                f"{len(subjects):,} subjects, {', '.join(subjects[:3])}{', ...' if len(subjects) > 3 else ''}"
            )
    return f"{hint}; where names hold the subject, say so by --option 'subject=REGEX'"


def _label_hints(recordings: list[RecordingFacts]) -> list[str]:
    """Say what the option ``unlisted`` would do for recordings without labels."""
    by_outcome: dict[str, list[str]] = {}
    for one in recordings:
        if one.outcome == "unlisted" and one.if_labelled:
            by_outcome.setdefault(one.if_labelled, []).append(one.recording)
    said = []
    if usable := by_outcome.pop("loaded", []):
        said.append(
            f"--option unlisted=background takes {len(usable):,} without labels as free of seizures, where that is known"
        )
    if by_outcome:
        told = "; ".join(
            f"{len(names):,} {outcome} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for outcome, names in by_outcome.items()
        )
        said.append(f"labels alone would not make these usable: {told}")
    return said


def _foreign_labels(root: Path, recordings: Iterable[str]) -> list[str]:
    """Say which files look like labels and belong to no recording by their name."""
    stems = set()
    for stem in map(stem_of, recordings):
        stems |= {stem.lower(), f"{stem}_events".lower(), f"{stem.removesuffix('_eeg')}_events".lower()}
    tables = [t.path.name for t in find_tables(root) if t.path.stem.lower() not in stems]
    lists = sorted(p.name for p in root.rglob("*eizure*") if p.suffix in (".txt", ".seizures", ".csv", ".xlsx"))
    said = []
    if tables:
        said.append(
            f"{len(tables)} tables belong to no recording by their name, e.g. {tables[0]}: not read (x.edf has x_events.tsv)"
        )
    if lists:
        said.append(f"{len(lists)} lists of seizures are of no form that is read, e.g. {lists[0]}; write event tables")
    return said
