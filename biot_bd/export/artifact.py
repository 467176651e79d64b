"""The folder of an exported model: what it says of itself, and the proof that it computes it.

``artifact.json`` is written last and names every file by its SHA-256.  ``probe.npz`` holds a few
windows with the probabilities that the source gave for them; whoever loads the model computes them
again.  Nothing here imports torch, scikit-learn or MNE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from biot_bd.bounded_files import read_npz
from biot_bd.exceptions import ArtifactError
from biot_bd.json_values import check_values, naming
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, sha256
from biot_bd.registry import montages
from biot_bd.runs import read_json, to_jsonable, write_json
from biot_bd.signals.montages import montage_of

PROBE = "probe.npz"
FORMAT = "biot_bd exported model"
VERSION = 1
BOUNDS = {"fp32": 1e-5, "bf16": 5e-3, "int8": 1e-2, "int8-bf16": 1e-2}
"""How far a probability may be from that of the source, by precision.

``"int8-bf16"`` is an int8 graph whose parts in float compute in bf16.
"""
DECIDES = ("events.json", "tuning.json", "recalibration.json")
"""Copies of what lies beside a saved model."""
_LARGEST_PROBE = 256 * 2**20  # bytes; eight windows of a minute at 1000 Hz and 128 channels, not compressed

Run = Callable[[NDArray[np.float32], NDArray[np.bool_]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""``(x, present) -> (probabilities, embedding)`` of an engine."""


class GraphFacts(TypedDict):
    """What an engine must know of the graph."""

    format: str
    files: list[str]
    precision: str
    inputs: list[str]
    n_times: str
    left_in_float: list[str]


class InputFacts(TypedDict):
    """The windows that the graph takes; ``unit`` is ``"uV"``."""

    ch_names: list[str]
    montage: str | None
    sfreq: float
    n_times: int
    window_s: float
    unit: str
    scale: str | None


class RunFacts(TypedDict):
    """An engine in a precision that the gates let through."""

    engine: str
    precision: str
    largest_difference: float
    bound: float


class SourceFacts(TypedDict):
    """The model that was exported."""

    folder_name: str | None
    weights_sha256: str | None
    trained_on: dict[str, Any] | None
    record: dict[str, Any]


class ProbeFacts(TypedDict):
    """Where the proof lies, and how far a result may be from it."""

    file: str
    bounds: dict[str, float]


class ArtifactFacts(TypedDict):
    """What ``artifact.json`` holds."""

    format: str
    version: int
    graph: GraphFacts
    model: str
    input: InputFacts
    classes: list[Any]
    positive_label: Any
    threshold: float | None
    runs: list[RunFacts]
    validation: dict[str, Any] | str | None
    gates: dict[str, Any] | None
    source: SourceFacts
    versions: dict[str, str | None]
    processor: dict[str, Any]
    created: str
    probe: ProbeFacts
    files: dict[str, str]
    note: NotRequired[str]


@dataclass(frozen=True)
class Probe:
    """Windows with the probabilities that the source of an exported model gave for them.

    Parameters
    ----------
    x : ndarray of float32, shape (n, n_chans, n_times)
        Microvolts, 0 where a channel is absent.
    present : ndarray of bool, shape (n, n_chans)
        False where a channel is absent.
    probabilities : ndarray of float32, shape (n, n_classes)
        In the order of the sorted classes.

    Raises
    ------
    ValueError
        Shapes or types are others, or a value is not finite.

    See Also
    --------
    Artifact.replay : Computes it again.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.export import Probe
    >>> x, there = np.zeros((2, 1, 8), np.float32), np.ones((2, 1), bool)
    >>> Probe(x, there, np.array([[0.2, 0.8]], np.float32))
    Traceback (most recent call last):
    ...
    ValueError: probabilities: expected float32 of shape (2, n_classes), found float32 (1, 2)
    """

    x: NDArray[np.float32]
    present: NDArray[np.bool_]
    probabilities: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.x) if self.x.ndim else 0
        wanted = {
            "x": ("float32", "(n, n_chans, n_times)", self.x.ndim == 3 and 0 not in self.x.shape),
            "present": ("bool", str(self.x.shape[:2]), self.present.shape == self.x.shape[:2]),
            "probabilities": (
                "float32",
                f"({n}, n_classes)",
                self.probabilities.ndim == 2 and len(self.probabilities) == n,
            ),
        }
        for name, (dtype, shape, fits) in wanted.items():
            found = getattr(self, name)
            if found.dtype != dtype or not fits:
                raise ValueError(f"{name}: expected {dtype} of shape {shape}, found {found.dtype} {found.shape}")
            if not np.isfinite(found).all():
                raise ValueError(f"{name}: values that are not finite")

    def write(self, path: Path) -> None:
        """Write it as ``.npz``."""
        np.savez_compressed(path, x=self.x, present=self.present, probabilities=self.probabilities)

    @classmethod
    def read(cls, path: Path, n_chans: int, n_times: int, n_classes: int) -> Probe:
        """Read what :meth:`write` wrote.

        Parameters
        ----------
        path : Path
            The file.
        n_chans, n_times, n_classes : int
            What ``artifact.json`` says of the model.

        Raises
        ------
        ValueError
            It is damaged, larger than any probe, or of another shape.
        """
        try:
            probe = cls(**read_npz(path, ("x", "present", "probabilities"), most_bytes=_LARGEST_PROBE))
        except ValueError as error:
            raise ValueError(str(error).removeprefix(f"{path}: ")) from error
        shape, n_found = probe.x.shape[1:], probe.probabilities.shape[1]
        if shape != (n_chans, n_times) or n_found != n_classes:
            raise ValueError(
                f"windows of shape {shape} and {n_found} classes, where {ARTIFACT} says {(n_chans, n_times)} and "
                f"{n_classes}"
            )
        return probe


@dataclass(frozen=True)
class Artifact:
    """An exported model on disk, its files checked.

    Parameters
    ----------
    folder : Path
        Where it lies.
    facts : dict
        What ``artifact.json`` holds, in the present version.

    See Also
    --------
    read_artifact : Makes one.
    biot_bd.Detector.load : A detector of an exported model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.export import Artifact
    >>> runs = [{"engine": "openvino", "precision": name} for name in ("bf16", "fp32")]
    >>> facts = {"graph": {"precision": "fp32", "inputs": ["x", "present"]}, "runs": runs}
    >>> artifact = Artifact(Path("exported"), facts)
    >>> artifact.precisions("openvino"), artifact.precisions("onnx")
    (['fp32', 'bf16'], [])
    >>> artifact.takes_absent_channels
    True
    """

    folder: Path
    facts: ArtifactFacts

    @property
    def file(self) -> Path:
        """The graph, or the first of its files."""
        return self.folder / self.facts["graph"]["files"][0]

    @property
    def takes_absent_channels(self) -> bool:
        """Whether the graph has an input that says which channels are present."""
        return "present" in self.facts["graph"]["inputs"]

    def precisions(self, engine: str) -> list[str]:
        """Return the precisions in which the gates let an engine through, the graph's own first."""
        own = self.facts["graph"]["precision"]
        return sorted((run["precision"] for run in self.facts["runs"] if run["engine"] == engine), key=own.__ne__)

    def probe(self) -> Probe:
        """Read the windows of the proof.

        Raises
        ------
        ArtifactError
            They are not of the form that the model takes.
        """
        path, known = self.folder / self.facts["probe"]["file"], self.facts["input"]
        with naming(path, ArtifactError):
            return Probe.read(path, len(known["ch_names"]), known["n_times"], len(self.facts["classes"]))

    def replay(self, run: Run, precision: str) -> float:
        """Compute the proof with an engine; returns the largest difference of a probability.

        Parameters
        ----------
        run : callable
            ``(x, present) -> (probabilities, embedding)``.
        precision : {"fp32", "bf16", "int8", "int8-bf16"}
            What the engine computes in; it decides how large a difference may be.

        Returns
        -------
        float

        Raises
        ------
        ArtifactError
            The results are others than the source's, by more than the bound of this precision.

        See Also
        --------
        precisions : Those that the model was proven in.
        """
        bound, probe = self.facts["probe"]["bounds"].get(precision), self.probe()
        if bound is None:
            raise ArtifactError(
                f"{self.folder / ARTIFACT}: no bound for {precision}, there are {', '.join(self.facts['probe']['bounds'])}"
            )
        found = np.asarray(run(probe.x, probe.present)[0])
        if found.shape != probe.probabilities.shape:
            raise ArtifactError(
                f"{self.file}: gives probabilities of shape {found.shape} for the windows of {PROBE}; expected "
                f"{probe.probabilities.shape}: export the model again"
            )
        difference = float(np.abs(found.astype(np.float64) - probe.probabilities).max())
        if not difference <= bound:  # NaN too
            made = self.facts["versions"]
            told = ", ".join(f"{name} {version}" for name, version in made.items() if version)
            raise ArtifactError(
                f"{self.file}: computes other probabilities here than where it was exported: they differ by "
                f"{difference:.2g}, {precision} may by {bound:g}; made on {self.facts['processor'].get('name', 'an unknown processor')} "
                f"with {told}: use another precision or engine, or export the model on this machine"
            )
        return difference


def read_artifact(folder: str | PathLike[str]) -> Artifact:
    """Read an exported model, and check that its files are those that were written.

    Parameters
    ----------
    folder : path
        Written by :func:`biot_bd.export_model`.

    Returns
    -------
    Artifact

    Raises
    ------
    FileNotFoundError
        No exported model is there.
    ArtifactError
        A file is missing or another, or ``artifact.json`` is damaged or of an unknown version.

    See Also
    --------
    biot_bd.export_model : Writes such a folder.

    Examples
    --------
    >>> from biot_bd.export import read_artifact
    >>> read_artifact("nowhere")
    Traceback (most recent call last):
    ...
    FileNotFoundError: nowhere: no exported model here (no artifact.json); ...
    """
    artifact = read_facts(folder)
    for name in DECIDES:
        if (artifact.folder / name).exists() and name not in artifact.facts["files"]:
            raise ArtifactError(
                f"{artifact.folder / name}: was not there when the model was exported, and decides what is an event; remove it, "
                "or put it beside the saved model and export that again"
            )
    for name, digest in artifact.facts["files"].items():
        path = artifact.folder / name
        if not path.is_file():
            raise ArtifactError(f"{path}: missing, though {ARTIFACT} names it; copy the whole folder again")
        if sha256(path) != digest:
            raise ArtifactError(f"{path}: damaged (its SHA-256 is not that of {ARTIFACT}); copy the whole folder again")
    return artifact


def read_facts(folder: str | PathLike[str]) -> Artifact:
    """Read what an exported model says of itself, without looking at its other files.

    Parameters
    ----------
    folder : path
        Written by :func:`biot_bd.export_model`.

    Returns
    -------
    Artifact

    Raises
    ------
    FileNotFoundError
        No exported model is there.
    ArtifactError
        ``artifact.json`` is damaged or of an unknown version.

    See Also
    --------
    read_artifact : Checks the files, too.
    """
    folder = Path(folder)
    path = folder / ARTIFACT
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no exported model here (no {ARTIFACT}); `biot-bd export` writes one")
    try:
        found = read_json(path)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ArtifactError(f"{path}: not written by `biot-bd export`")
    version = found.get("version")
    reader = READERS.get(version) if type(version) is int else None
    if reader is None:
        known = ", ".join(map(str, READERS))
        raise ArtifactError(f"{path}: of version {version!r}, this biot_bd reads {known}; install a newer one")
    with naming(path, ArtifactError):
        facts = reader(found)
        check_values(facts, ArtifactFacts)
        _check_facts(facts)
    return Artifact(folder, facts)


READERS: dict[int, Callable[[Any], ArtifactFacts]] = {VERSION: lambda found: found}
"""Version -> what makes the present one of it."""


def write_artifact(folder: str | PathLike[str], facts: Mapping[str, Any], probe: Probe) -> Artifact:
    """Describe a folder that holds a graph and what belongs to it.

    To be called inside :func:`biot_bd.runs.atomic_path`, so that no half of a model is ever found.

    Parameters
    ----------
    folder : path
        Holds the files of the graph, and nothing that does not belong to the model.
    facts : mapping
        ``graph``, ``model``, ``input``, ``classes``, ``positive_label``, ``threshold``, ``runs``,
        ``validation``, ``gates``, ``source``, ``versions``, ``processor``, as in
        :class:`ArtifactFacts`; format, version, time, bounds and checksums are added.
    probe : Probe
        The proof.

    Returns
    -------
    Artifact
        Read again from what was written.

    Raises
    ------
    ArtifactError
        Facts are missing, or a file of the graph.

    See Also
    --------
    read_artifact : Reads it.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from biot_bd.export import Probe, write_artifact
    >>> folder = Path("exported")
    >>> folder.mkdir()
    >>> (folder / "model.onnx").write_bytes(b"")
    0
    >>> x, present = np.zeros((2, 1, 8), np.float32), np.ones((2, 1), bool)
    >>> write_artifact(folder, {}, Probe(x, present, np.full((2, 2), 0.5, np.float32)))
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ArtifactError: exported/artifact.json: damaged (ValueError: graph is missing)
    """
    folder = Path(folder)
    probe.write(folder / PROBE)
    written: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        **facts,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "probe": {"file": PROBE, "bounds": BOUNDS},
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != ARTIFACT},
    }
    written = to_jsonable(written)
    with naming(folder / ARTIFACT, ArtifactError):
        check_values(written, ArtifactFacts)
    write_json(folder / ARTIFACT, written)
    artifact = read_artifact(folder)
    artifact.probe()
    return artifact


def _check_facts(facts: ArtifactFacts) -> None:
    """Raise ValueError where values contradict each other, or a name leads out of the folder."""
    graph, known, files = facts["graph"], facts["input"], facts["files"]
    for name in [*files, *graph["files"], facts["probe"]["file"]]:
        if not name or name in (".", "..", ARTIFACT) or Path(name).name != name or "\\" in name:
            raise ValueError(f"files: {name!r} is no name of a file in this folder")
    if lacking := sorted({*graph["files"], facts["probe"]["file"]} - set(files)):
        raise ValueError(f"files: no checksum of {', '.join(lacking)}")
    if not graph["files"]:
        raise ValueError("graph.files: expected the graph's file, found none")
    if graph["inputs"] not in (["x"], ["x", "present"]):
        raise ValueError(f"graph.inputs: expected ['x'] or ['x', 'present'], found {graph['inputs']!r}")
    check_input(known)
    montage = known["montage"]
    if montage is not None and montage in montages and montage_of(known["ch_names"]) is not montages[montage]:
        raise ValueError(f"input.ch_names: are not the channels of {montage}, in its order")
    classes = facts["classes"]
    if len(classes) < 2 or not all(isinstance(label, (int, str)) for label in classes) or not _sorted(classes):
        raise ValueError(f"classes: expected at least two labels in order, found {classes!r}")
    if facts["positive_label"] is not None and facts["positive_label"] not in classes:
        raise ValueError(f"positive_label: {facts['positive_label']!r} is none of {classes!r}")
    if facts["threshold"] is not None and not 0 <= facts["threshold"] <= 1:
        raise ValueError(f"threshold: expected a probability, found {facts['threshold']!r}")
    check_bounds(facts["probe"]["bounds"])


def check_input(known: InputFacts) -> None:
    """Raise ValueError where what is said of windows contradicts itself."""
    if known["unit"] != "uV":
        raise ValueError(f"input.unit: expected 'uV', found {known['unit']!r}")
    if not known["ch_names"] or len(set(known["ch_names"])) < len(known["ch_names"]):
        raise ValueError("input.ch_names: expected names that differ")
    if not (known["sfreq"] > 0 and known["n_times"] > 0):
        raise ValueError(f"input: impossible sizes, {known['n_times']} samples at {known['sfreq']:g} Hz")
    if abs(known["n_times"] / known["sfreq"] - known["window_s"]) > 1e-6:
        raise ValueError(
            f"input: {known['n_times']} samples at {known['sfreq']:g} Hz are no window of {known['window_s']:g} s"
        )


def check_bounds(bounds: Mapping[str, float]) -> None:
    """Raise ValueError where a probability may be farther off than :data:`BOUNDS` allows."""
    for precision, bound in bounds.items():
        if not 0 <= bound <= BOUNDS.get(precision, 0):
            raise ValueError(f"probe.bounds.{precision}: {bound:g}, at most {BOUNDS.get(precision, 0):g} is accepted")


def _sorted(labels: Sequence[Any]) -> bool:
    return len({type(label) for label in labels}) == 1 and all(a < b for a, b in pairwise(labels))
