"""``prepare``: recordings in, a folder of memory-mapped, labelled windows out."""

from __future__ import annotations

import errno
import math
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import mne
import pandas as pd
from filelock import AcquireReturnProxy, FileLock, Timeout
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from biot_bd import registry
from biot_bd.anonymous import (
    Numbers,
    check_key,
    numbers_file,
    read_numbers,
    subjects_of_key,
    write_key,
    write_numbers,
)
from biot_bd.exceptions import (
    PreparationError,
    RecordingError,
    StoreInUseError,
    TooShortError,
)
from biot_bd.io.channel_readers import may_be_plain_edf, source_file
from biot_bd.io.digest import recording_digest
from biot_bd.runs import DISK_FAULTS, fingerprint, make_folder, note_done, to_jsonable, write_json
from biot_bd.signals.montages import Montage
from biot_bd.windows import store
from biot_bd.windows.labels import (
    LabelRule,
    check_resample,
    make_label_rule,
    needs_annotations,
    rule_times,
    settled_rule,
)
from biot_bd.windows.preparation.anonymity import (
    Anonymous,
    anonymous_outcomes,
    check_kind,
    words_of,
)
from biot_bd.windows.preparation.recording import (
    Job,
    SignalSettings,
    detail_of,
    finished_recording,
    make_jobs,
    make_recording,
    outcome_of,
    told_apart,
)
from biot_bd.windows.same_recordings import shared_recordings
from biot_bd.windows.store_users import Changes, forget_users, told, users_of
from biot_bd.windows.store_versions import CLASSES_VERSION, version_for
from biot_bd.windows.window_table import (
    ON_BAD,
    PERCENTILES,
    TABLE,
    TableSettings,
    build_table,
    is_newer,
    warn_of,
    write_table,
)
from biot_bd.windows.windows import Windows

WINDOW_S, STRIDE_S = 10, 5
# From here on two processes, with their start of two seconds, are faster than two threads.
MANY_HOURS = 130
NOT_LOADED = ("unreadable", "bad-annotation")
CHOICES = {
    "on_missing": ("raise", "drop", "interpolate"),
    "on_bad": ON_BAD,
    "resample": ("fft", "polyphase", "fft-window"),
    "dtype": ("int16", "float32"),
    "on_error": ("raise", "skip"),
}


@dataclass
class _Failure:
    """A recording that could not be prepared, as the manifest lists it."""

    recording: str
    subject: str
    outcome: str
    detail: str


def prepare(
    dataset: Any,
    folder: str | os.PathLike[str],
    montage: str | Montage = "biot-16",
    sfreq: float = 200,
    window_s: float = WINDOW_S,
    stride_s: float = STRIDE_S,
    labels: str | LabelRule = "overlap",
    preprocessors: Sequence[Any] = (),
    on_missing: str = "raise",
    on_bad: str = "drop",
    resample: str = "fft",
    dtype: str = "int16",
    n_jobs: int = 1,
    on_error: str = "raise",
    overwrite: bool = False,
    anonymous: bool = False,
    key: str | os.PathLike[str] | None = None,
) -> Windows:
    """Harmonise, resample, label and store recordings as windows that can be read at once.

    A second call does only what is missing: a recording is done again where its file or a parameter
    that changes its signal changed, the window table where the label rule, window or stride did.
    The folder may be shared: of two processes one works and the other waits for it.  A killed call
    leaves finished recordings behind, and the same call again finishes the work with the same
    result.  A data set may grow or shrink from call to call; signal files of recordings that it has
    no longer are removed.  Windows that a run or a model was made from are replaced only with
    ``overwrite=True``.

    Parameters
    ----------
    dataset : braindecode.datasets.BaseConcatDataset
        Recordings as :func:`biot_bd.load_dataset` gives them: volts, seizures as annotations that
        start with ``sz``, ``recording`` and ``subject`` in each description.
    folder : path
        Where the store lies; made where it does not exist.
    montage : str or Montage
        Channels of the windows.
    sfreq : float
        Rate of the windows in Hz.
    window_s, stride_s : float
        Length of a window and distance of their starts in seconds.  A label rule that fixes them
        (``"biot-official"``: 10 s and 10 s) overrides the defaults here and refuses other values.
    labels : str or label rule
        Name in ``registry.label_rules``, or an instance such as ``Overlap(guard_s=60)``.  Whatever
        the rule, annotations of other kinds are kept, so that :meth:`Windows.relabel` can use them.
    preprocessors : sequence of braindecode.preprocessing.Preprocessor
        Applied to each recording first, through MNE.
    on_missing : {"raise", "drop", "interpolate"}
        A channel of the montage that a recording cannot give: an error, absent (NaN) in all its
        windows, or interpolated (referential recordings only).
    on_bad : {"raise", "warn", "drop"}
        A channel that is flat throughout a window, or not finite in it: an error, or absent in that
        window, with or without a warning.  Windows in which no channel is usable are left out; the
        manifest says how many.
    resample : {"fft", "polyphase", "fft-window"}
        Whole recordings by FFT in guarded segments or by a polyphase filter; or each window by FFT
        when it is read, as published pipelines do (the store then keeps the recording's own rate).
    dtype : {"int16", "float32"}
        Of the stored signal.  int16 has one step a channel, at most 0.5 uV (else that recording is
        float32), and is within half a step of the measured value.
    n_jobs : int
        Recordings at a time, -1 for one a processor: in threads where all are plain EDF, without
        preprocessors and of less than 130 hours together, else in processes.
    on_error : {"raise", "skip"}
        A recording that cannot be read, or is shorter than a window: an error that names it, or a
        warning and an entry in the manifest.  The warning counts those that the data set's own
        loader left out as unreadable or with an impossible annotation, too; the manifest lists them
        in ``outcomes``.
    overwrite : bool
        Replace windows that a run or a trained model uses, that are of other signals, or of other
        recordings.  Without it such a call raises and leaves the store as it is.
    anonymous : bool
        Name recordings and subjects by numbers, and write neither names of files, dates nor free
        text of annotations.  Numbers stay in later calls; the pseudonyms of published data sets
        (:data:`biot_bd.anonymous.PUBLISHED`) stay as they are.
    key : path, optional
        With ``anonymous``, a private table that tells who is who, outside of ``folder``; without
        it nothing does.

    Returns
    -------
    Windows
        The prepared windows.

    Raises
    ------
    PreparationError
        A recording cannot be prepared (``on_error="raise"``), or none can.
    ValueError
        A parameter makes no sense, descriptions lack names or name a recording twice, or the folder
        holds a store of other signals, of none of these recordings, or one that is anonymous where
        the call is not, or the other way round.
    StoreInUseError
        The store's windows would change, and a run or a model uses them.

    See Also
    --------
    biot_bd.Windows : What is returned.
    biot_bd.load_dataset : Recordings by the name of their data set.
    biot_bd.windows.Overlap : The default label rule.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd import load_dataset, prepare
    >>> from biot_bd.windows import Overlap
    >>> folder = tempfile.TemporaryDirectory()
    >>> edf = folder.name + "/edf"
    >>> recordings = load_dataset("demo", edf, n_subjects=2, recordings=1, minutes=1)
    >>> rule = Overlap(min_overlap_s=2)
    >>> windows = prepare(recordings, folder.name + "/windows", labels=rule, stride_s=10)
    >>> windows.shape, windows.label_rule, windows.metadata.columns.tolist()[:4]
    ((12, 16, 2000), 'overlap(min_overlap_s=2)', ['recording', 'subject', 'start_s', 'stop_s'])
    >>> folder.cleanup()
    """
    given = {"on_missing": on_missing, "on_bad": on_bad, "resample": resample, "dtype": dtype, "on_error": on_error}
    for name, value in given.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, CHOICES[name]))}; got {value!r}")
    for name, number in (("sfreq", sfreq), ("window_s", window_s), ("stride_s", stride_s)):
        if not isinstance(number, Real) or not math.isfinite(number) or number <= 0:
            raise ValueError(f"{name} must be a positive number; got {number!r}")
    sfreq, window_s, stride_s = to_jsonable([sfreq, window_s, stride_s])
    rule = make_label_rule(labels)
    check_resample(rule, resample, "got")
    # The defaults here give way to what a rule fixes, so they count as not given.
    given_s = (None if window_s == WINDOW_S else window_s, None if stride_s == STRIDE_S else stride_s)
    times = rule_times(rule, *given_s, (WINDOW_S, STRIDE_S))
    signals = SignalSettings(
        montage=registry.montages[montage] if isinstance(montage, str) else montage,
        sfreq=float(sfreq),
        preprocessors=tuple(preprocessors),
        on_missing=on_missing,  # type: ignore[arg-type]  # checked above
        resample=resample,
        dtype=dtype,
    )
    table = TableSettings(rule, *times, float(sfreq), resample, on_bad)
    if key is not None and not anonymous:
        raise ValueError("key tells who is who in an anonymous store; give anonymous=True (--anonymous), or no key")
    place = Path(folder).resolve()
    table_of_names = None if key is None else check_key(key, place)
    made = _Preparation(dataset, place, signals, table, n_jobs, on_error, overwrite, anonymous, table_of_names)
    windows = made.run()
    if table_of_names is not None:
        write_key(table_of_names, made.key_rows())
    return windows


class _Preparation:
    """One call of :func:`prepare`."""

    def __init__(
        self,
        dataset: Any,
        folder: Path,
        signals: SignalSettings,
        table: TableSettings,
        n_jobs: int,
        on_error: str,
        overwrite: bool,
        anonymous: bool,
        key: Path | None,
    ) -> None:
        self.key = key
        self.folder, self.signals, self.given_table, self.dataset = folder, signals, table, dataset
        self.n_jobs, self.on_error, self.overwrite, self.anonymous = n_jobs, on_error, overwrite, anonymous
        self.generated = bool(getattr(dataset, "generated", False))
        self.numbers: Numbers | None = None
        self._identify()

    def _identify(self) -> None:
        """Set what the folder shall hold: recordings, their names, the table, the fingerprint."""
        self.failures: list[_Failure] = []
        self.names: list[str] = []
        self.own_names: dict[str, tuple[str, str]] = {}
        self.outcomes = _outcomes(self.dataset)
        self.jobs, table = self._make_jobs(), self.given_table
        descriptions = {description for job in self.jobs for description in job.descriptions}
        self.table = replace(table, rule=settled_rule(table.rule, descriptions))
        self.prefer = _prefer(self.jobs, self.signals)
        self.fingerprint = fingerprint(
            {
                "jobs": [[job.recording, job.subject, job.fingerprint] for job in self.jobs],
                "failures": [asdict(failure) for failure in self.failures],
                "signals": self.signals.fingerprint(),
                "table": self.table.as_dict(),
                "generated": self.generated,
                "outcomes": self.outcomes,
                **self._annotations(),
            }
        )

    def run(self) -> Windows:
        if not self._complete():
            make_folder(self.folder)
            with _locked(self.folder):
                if self.anonymous and numbers_file(self.folder) != self.numbers_there:
                    self._identify()  # another process has just given numbers
                if not self._complete():  # another process may just have done it
                    self._prepare()
        manifest = store.read_manifest(self.folder)
        not_loaded = [row for row in manifest["outcomes"] if row.get("outcome") in NOT_LOADED]
        if skipped := [*not_loaded, *manifest["failures"]]:
            warnings.warn(
                f"{len(skipped)} of {len(self.names) + len(not_loaded)} recordings were skipped: {_told(skipped)}; "
                f"all are listed in {self.folder / store.MANIFEST}",
                stacklevel=3,
            )
        windows = Windows.open(self.folder)
        if (shared := shared_recordings(windows.recordings)) is not None:
            warnings.warn(shared, stacklevel=3)
        return windows

    def _make_jobs(self) -> list[Job]:
        jobs, found = [], make_jobs(self.dataset)
        if self.anonymous:
            self._number(found)
            found.sort(key=lambda job: job.recording)
        for job in found:
            self.names.append(job.recording)
            try:
                job.identify(self.signals)
                jobs.append(job)
            except (OSError, RecordingError) as error:
                self._failed(job, "unreadable", str(error))
        return jobs

    def _number(self, jobs: list[Job]) -> None:
        """Name recordings by numbers, those that they had before where the store knows them."""
        self.numbers_there = numbers_file(self.folder)
        self.numbers, words = read_numbers(self.folder), words_of(self.given_table.rule)
        contents = [self._content(job) for job in jobs]
        rows = [(job.subject, content) for job, content in zip(jobs, contents, strict=True)]
        names = self.numbers.names_of(rows, {} if self.key is None else subjects_of_key(self.key))
        instead = {job.recording: one.recording for job, one in zip(jobs, names, strict=True)}
        for job, one, content in zip(jobs, names, contents, strict=True):
            self.own_names[one.recording] = job.recording, job.subject
            job.recording, job.subject, job.namespace_from = one.recording, one.subject, None
            job.anonymous = Anonymous(content, words)
        self.outcomes = anonymous_outcomes(self.outcomes, instead)

    def _content(self, job: Job) -> str | None:
        try:
            return recording_digest(job.raw)
        except (OSError, RecordingError):
            return None  # what is wrong with it is told when it is identified

    def key_rows(self) -> list[dict[str, str]]:
        """Return who is who, for the owner's own table."""
        rows = []
        for job in self.jobs:
            (name, subject), file = self.own_names[job.recording], source_file(job.raw)
            new = {"recording": job.recording, "subject": job.subject}
            rows.append({**new, "name": name, "subject_name": subject, "file": "" if file is None else str(file)})
        return rows

    def _annotations(self) -> dict[str, Any]:
        """Return what is annotated beside seizures; nothing for stores that have none."""
        found = {job.recording: job.annotations for job in self.jobs if job.annotations}
        return {"annotations": found} if found else {}

    def _failed(self, job: Job, outcome: str, detail: str) -> None:
        if self.on_error == "raise":
            raise PreparationError(f"{job.where}: {detail}; on_error='skip' leaves such recordings out")
        told = "" if self.anonymous else detail  # names of files, among others
        self.failures.append(_Failure(job.recording, job.subject, outcome, told))

    def _complete(self) -> bool:
        """Return whether the folder holds exactly what this call would make."""
        try:
            manifest = store.read_manifest(self.folder)
        except FileNotFoundError:
            return False
        check_kind(manifest, self.folder, self.anonymous)
        if self.overwrite and manifest["signals_fingerprint"] != self.signals.fingerprint():
            return False
        self._check_same_signals(manifest)
        files = [TABLE, PERCENTILES, *(entry["file"] for entry in manifest["recordings"])]
        if not all((self.folder / file).is_file() for file in files):
            return False
        if not self.overwrite and (users := users_of(self.folder)):
            changes = self._changes(manifest)
            if affected := changes.affected(users, manifest["table"]["fingerprint"]):
                raise StoreInUseError(
                    f"{self.folder} holds windows that {told(affected)} was made from, and they would change: {changes}; "
                    "choose another folder, or replace them with overwrite=True (--overwrite)"
                )
            if manifest["failures"]:  # what failed before stays out, so that the windows stay
                return True
        # Recordings that failed are tried again: the reason may have gone.
        return manifest["fingerprint"] == self.fingerprint and not manifest["failures"]

    def _changes(self, manifest: dict[str, Any]) -> Changes:
        """Return what this call would change of the windows that are there."""
        there, here = manifest["table"], to_jsonable(self.table.as_dict())
        settings = [f"{k} is {there.get(k)!r} there and {v!r} here" for k, v in here.items() if there.get(k) != v]
        stored = {entry["recording"]: entry["fingerprint"] for entry in manifest["recordings"]}
        jobs = {job.recording: job.fingerprint for job in self.jobs}
        failed = {failure["recording"] for failure in manifest["failures"]}
        annotated = self._annotated_otherwise(manifest)
        return Changes(
            settings=tuple(settings),
            added=tuple(name for name in jobs if name not in stored and name not in failed),
            gone=tuple(name for name in stored if name not in jobs),
            changed=tuple(
                name for name in stored if name in jobs and (jobs[name] != stored[name] or name in annotated)
            ),
        )

    def _annotated_otherwise(self, manifest: dict[str, Any]) -> set[str]:
        """Return recordings with other annotations than those that windows may be made from."""
        jobs = {job.recording: job for job in self.jobs}
        found = set()
        for entry in manifest["recordings"]:
            job = jobs.get(entry["recording"])
            if job is None:
                continue
            there = entry.get("annotations_from"), entry.get("annotations", [])
            here = told_apart(job, self.signals.preprocessors), to_jsonable(job.annotations)
            same = there[0] == here[0] if self.signals.preprocessors else there[1] == here[1]
            if not same and (there[1] or needs_annotations(self.table.rule)):
                found.add(job.recording)
        return found

    def _check_same_signals(self, manifest: dict[str, Any]) -> None:
        if manifest["signals_fingerprint"] == self.signals.fingerprint():
            return
        old, new = manifest["signals"], to_jsonable(self.signals.as_dict())
        changed = [
            f"{key} is {_short(old.get(key))} there and {_short(new[key])} here"
            for key in new
            if old.get(key) != new[key]
        ]
        raise ValueError(
            f"{self.folder} holds windows of other signals: {'; '.join(changed)}; choose another folder, or replace it with overwrite=True (--overwrite)"
        )

    def _check_same_data(self) -> None:
        """Refuse to replace the recordings of another data set."""
        there = store.stored_stems(self.folder)
        if (
            not self.overwrite
            and there
            and there.isdisjoint(store.signals_stem(self.folder, name).name for name in self.names)
        ):
            raise ValueError(
                f"{self.folder} holds windows of other recordings: {len(there)} such as {min(there)} there, none of the "
                f"{len(self.names)} such as {self.names[0]} here; choose another folder, or delete that one, or replace it with overwrite=True (--overwrite)"
            )

    def _check_lengths(self) -> None:
        """Refuse windows longer than a finished recording while the store is still whole."""
        if self.on_error == "skip":
            return
        for job in self.jobs:
            try:
                finished_recording(job, self.folder, self.table.window_s)
            except TooShortError as error:
                self._failed(job, "too-short", str(error))

    def _prepare(self) -> None:
        self._check_same_data()
        self._check_lengths()
        if self.numbers is not None:
            write_numbers(self.folder, self.numbers)
        store.remove_leftovers(self.folder)
        made = self._table_in_place()
        if self.overwrite:
            self._give_up_users(made)
        (self.folder / store.MANIFEST).unlink(missing_ok=True)  # no reader may mix old and new
        # MNE's level is one for all threads; set here it is surely restored.
        with _progress() as progress, mne.use_log_level("error" if self.prefer == "threads" else None):
            recordings = self._signals(progress)
            if not recordings:
                told = _told([asdict(failure) for failure in self.failures])
                raise PreparationError(f"none of {len(self.failures)} recordings can be prepared: {told}")
            if made["fingerprint"] == self.table.fingerprint(recordings):
                notes = made["notes"]
            else:
                self._check_lost(self.table.fingerprint(recordings))
                recordings, notes, made["version"] = self._write_table(recordings, progress)
        annotated = any(recording.annotations for recording in recordings)
        manifest = {
            "format": store.FORMAT,
            "version": version_for(newer=annotated or made["version"] == CLASSES_VERSION),
            "fingerprint": self.fingerprint,
            "generated": self.generated,
            "ch_names": list(self.signals.montage.ch_names),
            "sfreq": self.signals.sfreq,
            "resample": self.signals.resample,
            "signals_fingerprint": self.signals.fingerprint(),
            "signals": self.signals.as_dict(),
            "table": {
                "version": made["version"],
                **self.table.as_dict(),
                "fingerprint": self.table.fingerprint(recordings),
            },
            "recordings": [recording.as_dict() for recording in recordings],
            "failures": [asdict(failure) for failure in self.failures],
            "notes": notes,
            "outcomes": self.outcomes,
            **({"anonymous": True} if self.anonymous else {}),
        }
        write_json(self.folder / store.MANIFEST, manifest)
        store.remove_unlisted(self.folder, self.names)

    def _check_lost(self, fingerprint: str) -> None:
        """Refuse another table where a killed call left that of a run unfinished."""
        lost = [
            user
            for user in users_of(self.folder)
            if user.table != fingerprint and not (self.folder / store.TABLES / user.table).is_dir()
        ]
        if lost and not self.overwrite:
            raise StoreInUseError(
                f"{self.folder}: the preparation of windows that {told(lost)} was made from did not finish, and this call "
                "makes others; run that prepare again, or replace them with overwrite=True (--overwrite)"
            )

    def _give_up_users(self, made: dict[str, Any]) -> None:
        """Forget who used windows that are replaced, and tables over signals that are."""
        forget_users(self.folder)
        if made["fingerprint"] is not None and store.read_manifest(self.folder)["signals_fingerprint"] != (
            self.signals.fingerprint()
        ):
            shutil.rmtree(self.folder / store.TABLES, ignore_errors=True)

    def _table_in_place(self) -> dict[str, Any]:
        """Return fingerprint, version and notes of the finished table there; None for no table."""
        if not all((self.folder / file).is_file() for file in (store.MANIFEST, TABLE, PERCENTILES)):
            return {"fingerprint": None}
        manifest = store.read_manifest(self.folder)
        return {"version": 1, "notes": manifest["notes"], **manifest["table"]}

    def _signals(self, progress: Progress) -> list[store.Recording]:
        task = progress.add_task("signals", total=len(self.jobs))
        results = Parallel(n_jobs=self.n_jobs, prefer=self.prefer, return_as="generator")(
            delayed(_try_recording)(job, self.folder, self.signals, self.table.window_s) for job in self.jobs
        )
        recordings = []
        for job, result in zip(self.jobs, results, strict=True):
            if isinstance(result, _Failure):
                self._failed(job, result.outcome, result.detail)
            else:
                recordings.append(result)
            progress.advance(task)
            note_done("recordings", len(recordings), len(self.jobs))
        return recordings

    def _write_table(
        self, recordings: list[store.Recording], progress: Progress
    ) -> tuple[list[store.Recording], list[str], int]:
        task = progress.add_task("windows", total=len(recordings))
        failed: dict[str, str] = {}
        try:
            frame, percentiles, notes = build_table(
                self.folder,
                recordings,
                self.signals.montage.ch_names,
                self.table,
                self.n_jobs,
                self.prefer,
                lambda: progress.advance(task),
                failed if self.on_error == "skip" else None,
            )
        except ValueError as error:
            raise PreparationError(str(error)) from error
        subjects = {r.recording: r.subject for r in recordings}
        self.failures += [
            _Failure(name, subjects[name], "failed", "" if self.anonymous else why) for name, why in failed.items()
        ]
        warn_of(notes, self.folder / store.MANIFEST, also_bad=self.table.on_bad == "warn")
        write_table(self.folder, frame, percentiles)
        version = version_for(newer=is_newer(self.table, frame))
        return [r for r in recordings if r.recording not in failed], notes, version


def _outcomes(dataset: Any) -> list[dict[str, Any]]:
    """Return what the data set says of every recording that its source mentions, as rows."""
    outcomes = getattr(dataset, "outcomes", None)
    if outcomes is None:
        return []
    frame = pd.DataFrame(outcomes)
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in frame.to_dict("records")]


def _prefer(jobs: Sequence[Job], settings: SignalSettings) -> str:
    """Return what recordings are shared among: processes start slowly, threads wait."""
    plain = not settings.preprocessors and all(may_be_plain_edf(job.raw) for job in jobs)
    hours = sum(job.raw.n_times / job.raw.info["sfreq"] for job in jobs) / 3600
    return "threads" if plain and hours < MANY_HOURS else "processes"


def _try_recording(job: Job, folder: Path, settings: SignalSettings, shortest_s: float) -> store.Recording | _Failure:
    """Make one recording, or say what went wrong.

    Whatever a reader raises is that recording's outcome.
    """
    try:
        return make_recording(job, folder, settings, shortest_s)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (*DISK_FAULTS, errno.EMFILE):
            raise  # not this recording's fault
        return _Failure(job.recording, job.subject, outcome_of(error), detail_of(error))


def _told(skipped: Sequence[dict[str, Any]], limit: int = 5) -> str:
    """Name the first recordings of a manifest's list, with the reasons."""
    named = "; ".join(f"{s['recording']} ({s['outcome']}: {s['detail']})" for s in skipped[:limit])
    return named + (f"; and {len(skipped) - limit} more" if len(skipped) > limit else "")


def _short(value: Any) -> Any:
    return repr(value["name"]) if isinstance(value, dict) and "name" in value else repr(value)


def _locked(folder: Path) -> AcquireReturnProxy:
    """Hold the store's lock.

    Say so where another process has it.  The system frees the lock of a killed process.
    """
    lock = FileLock(folder / ".lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        Console(stderr=True).print(
            f"another process prepares {folder} and has its lock ({lock.lock_file}); waiting for it",
            soft_wrap=True,
            highlight=False,
        )
        return lock.acquire()


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
