"""A version of the model registry as a folder: what its ``artifact.json`` says, and whether its
files are those that were registered.

A version is a saved model with ``artifact.json``, a model card and a probe batch beside it.
Nothing here runs a model.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NotRequired, TypedDict

from biot_bd.deploy.version_names import check_name, check_version
from biot_bd.exceptions import ModelRegistryError
from biot_bd.export.artifact import PROBE, check_bounds, check_input
from biot_bd.export.artifact import InputFacts as WindowFacts
from biot_bd.json_values import check_values, naming
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, CONFIG, PIPELINE, REGISTERED, WEIGHTS, sha256
from biot_bd.runs import read_json

SCHEMA = 1
CARD = "README.md"
EXPORTS = "exports"
MODEL_FILES = (
    PIPELINE,
    WEIGHTS,
    CONFIG,
    "events.json",
    "tuning.json",
    "recalibration.json",
    "metrics.json",
    "trained_on.json",
)
"""What of a saved model belongs to a version; the first two are always there."""
OWN_FILES = (CARD, PROBE)
"""What the registry adds, beside ``artifact.json``."""
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MOST_FILES = 1000


class FileFacts(TypedDict):
    """A file as it was registered."""

    sha256: str
    size_bytes: int


class ModelFacts(TypedDict):
    """What computes, and whether plain braindecode loads it."""

    name: str | None
    kind: str
    weights_sha256: str
    hub_class: str | None
    hub_reason: str | None


class InputFacts(WindowFacts):
    """The windows that the model takes, and what prepares them."""

    steps: list[dict[str, Any]]
    absent_channels: bool


class EventFacts(TypedDict):
    """What makes events of probabilities, as the file says that decides it."""

    file: str
    setting: dict[str, Any]
    chosen_on: dict[str, Any] | None


class TrainingFacts(TypedDict):
    """What is recorded of the training; None is not recorded."""

    trained_on: dict[str, Any] | None
    subjects: dict[str, Any] | None
    data: dict[str, Any] | None
    split: dict[str, Any] | None
    protocol: str | None
    seed: int | None
    n_epochs: Any
    title: str | None
    contamination: Any
    notes: list[str]
    environment: dict[str, Any] | None


class ExportFacts(TypedDict):
    """An engine beside the model."""

    folder: str
    format: str
    precision: str
    runs: list[dict[str, Any]]


class ProbeFacts(TypedDict):
    """The windows that whoever verifies computes again."""

    file: str
    engine: str
    n_windows: int
    bounds: dict[str, float]


class VersionFacts(TypedDict):
    """What ``artifact.json`` of a version holds."""

    format: str
    schema: int
    name: str
    version: str
    created: str | None
    biot_bd: str
    model: ModelFacts
    input: InputFacts
    classes: list[Any]
    positive_label: Any
    threshold: float | None
    events: EventFacts | None
    training: TrainingFacts
    results: dict[str, Any] | None
    versions: dict[str, Any]
    git_revision: str | None
    licence: str | None
    generated: bool | None
    demonstration: bool
    anonymous: bool
    exports: list[ExportFacts]
    probe: ProbeFacts
    files: dict[str, FileFacts]
    left_out: NotRequired[list[str]]


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a model, as its ``artifact.json`` describes it.

    Parameters
    ----------
    name, version : str
        E.g. ``"mine"`` and ``"1.0.0"``.
    folder : Path
        Where it lies; a saved model, which ``biot-bd detect`` takes.
    facts : dict
        What ``artifact.json`` holds; empty where it cannot be read.
    problem : str or None
        Why it cannot be read.

    See Also
    --------
    read_version : Reads one.
    biot_bd.deploy.Registry : Makes and finds them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.deploy import RegisteredVersion
    >>> files = {"pipeline.json": {"sha256": "0a" * 32, "size_bytes": 7}}
    >>> version = RegisteredVersion("mine", "1.0.0", Path("mine/1.0.0"), {"files": files})
    >>> version.label, version.size_bytes
    ('mine/1.0.0', 7)
    """

    name: str
    version: str
    folder: Path
    facts: VersionFacts = field(repr=False)
    problem: str | None = None

    @property
    def label(self) -> str:
        """Name and version, as commands take them."""
        return f"{self.name}/{self.version}"

    @property
    def digest(self) -> str:
        """SHA-256 of ``artifact.json``, which names all other files by theirs: it tells the whole
        version.
        """
        return sha256(self.folder / ARTIFACT)

    @property
    def files(self) -> dict[str, tuple[int, str]]:
        """Path in the folder -> size in bytes and SHA-256, of all but ``artifact.json``."""
        return {name: (one["size_bytes"], one["sha256"]) for name, one in self.facts.get("files", {}).items()}

    @property
    def size_bytes(self) -> int:
        """All files together, but ``artifact.json``."""
        return sum(size for size, _ in self.files.values())


def is_version(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder is a version of the model registry, as far as its name of a format
    tells.

    Parameters
    ----------
    folder : path
        Anything.

    Returns
    -------
    bool

    See Also
    --------
    read_version : Raises where it is none.

    Examples
    --------
    >>> from biot_bd.deploy import is_version
    >>> is_version("nowhere")
    False
    """
    folder = Path(folder)
    if not ((folder / ARTIFACT).is_file() and (folder / PIPELINE).is_file()):
        return False
    try:
        found = read_json(folder / ARTIFACT)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("format") == REGISTERED


def read_version(folder: str | os.PathLike[str]) -> RegisteredVersion:
    """Read what a version says of itself, without looking at its other files.

    Parameters
    ----------
    folder : path
        Of :meth:`biot_bd.deploy.Registry.save`, wherever it lies now.

    Returns
    -------
    RegisteredVersion

    Raises
    ------
    FileNotFoundError
        No version is there.
    ModelRegistryError
        ``artifact.json`` is damaged, or of a newer schema.

    See Also
    --------
    check_files : Whether the files are those.

    Examples
    --------
    >>> from biot_bd.deploy import read_version
    >>> read_version("nowhere")
    Traceback (most recent call last):
    ...
    FileNotFoundError: nowhere: no version of the model registry here (no artifact.json); ...
    """
    folder = Path(folder)
    path = folder / ARTIFACT
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: no version of the model registry here (no {ARTIFACT}); `biot-bd models save` makes one"
        )
    try:
        found = read_json(path)
    except ValueError as error:
        raise ModelRegistryError(_again(str(error))) from error
    if not isinstance(found, dict) or found.get("format") != REGISTERED:
        raise ModelRegistryError(f"{path}: not written by `biot-bd models save`")
    schema = found.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        newer = f" of biot_bd {found.get('biot_bd')}" if isinstance(found.get("biot_bd"), str) else ""
        raise ModelRegistryError(
            f"{path}: of schema {schema!r}{newer}; this biot_bd reads schema {SCHEMA}: install that one or a newer one"
        )
    with naming(path, ModelRegistryError):
        check_values(found, VersionFacts)
        check_facts(found)  # type: ignore[arg-type]  # its form was just checked
    return RegisteredVersion(found["name"], found["version"], folder, found)  # type: ignore[arg-type]


def _again(told: str) -> str:
    """Say of a version what to do with it: it is copied again, never repaired."""
    return told.replace("delete it and run the command again", "copy the whole version again")


def check_facts(facts: VersionFacts) -> None:
    """Raise ``ValueError`` where values contradict each other, or a path leads out."""
    files, known = facts["files"], facts["input"]
    try:
        check_name(facts["name"])
        check_version(facts["version"])
    except ModelRegistryError as error:  # the caller names the file
        raise ValueError(str(error)) from error
    if len(files) > MOST_FILES:
        raise ValueError(f"files: {len(files)} of them, at most {MOST_FILES} are expected")
    for name, one in files.items():
        check_path(name)
        if not re.fullmatch("[0-9a-f]{64}", one["sha256"]) or one["size_bytes"] < 0:
            raise ValueError(f"files.{name}: expected a SHA-256 and a size, found {dict(one)!r}")
    if len({name.lower() for name in files}) < len(files):
        raise ValueError("files: two names that differ in upper and lower case alone")
    if lacking := [name for name in (PIPELINE, WEIGHTS, *OWN_FILES) if name not in files]:
        raise ValueError(f"files: no checksum of {', '.join(lacking)}")
    if facts["model"]["weights_sha256"] != files[WEIGHTS]["sha256"]:
        raise ValueError(f"model.weights_sha256: is not that of {WEIGHTS} in files")
    check_input(known)
    check_bounds(facts["probe"]["bounds"])
    if facts["probe"]["file"] != PROBE:
        raise ValueError(f"probe.file: expected {PROBE!r}, found {facts['probe']['file']!r}")


def check_path(name: str) -> None:
    """Raise ``ValueError`` where a name is none of a file in a version's folder.

    Examples
    --------
    >>> check_path("exports/onnx/model.onnx")
    >>> check_path("../pipeline.json")
    Traceback (most recent call last):
    ...
    ValueError: files: '../pipeline.json' is no name of a file of a version
    """
    parts = name.split("/")
    known = parts[0] in (*MODEL_FILES, *OWN_FILES) if len(parts) == 1 else parts[0] == EXPORTS and len(parts) == 3
    if not known or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(f"files: {name!r} is no name of a file of a version")


def check_files(version: RegisteredVersion, *, whole: bool = True) -> None:
    """Raise where a file of a version is another, missing, a link, or not of the version.

    Parameters
    ----------
    version : RegisteredVersion
        Of :func:`read_version`.
    whole : bool
        Also look at files that are hidden, and hash what exported engines consist of; else of each
        only its ``artifact.json``, by which the engine checks the others when it is loaded.

    Raises
    ------
    ModelRegistryError
        Names the file.

    See Also
    --------
    biot_bd.deploy.model_registry.verify_version : Also computes the probe batch again.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.deploy import RegisteredVersion, check_files
    >>> Path("mine").mkdir()
    >>> files = {"README.md": {"sha256": "0a" * 32, "size_bytes": 7}}
    >>> check_files(RegisteredVersion("mine", "1.0.0", Path("mine"), {"files": files}))
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ModelRegistryError: mine/README.md: missing, though artifact.json names ...
    """
    folder = version.folder
    for path in _entries(folder):
        name = path.relative_to(folder).as_posix()
        if name == ARTIFACT or (not whole and name.startswith(".")):
            continue
        if name not in version.facts["files"]:
            raise ModelRegistryError(
                f"{path}: no file of {version.label}, which are those that {ARTIFACT} names; move it away: a version is never "
                "changed, and another model is another version"
            )
    for name, known in version.facts["files"].items():
        path = folder / PurePosixPath(name)
        if not path.is_file():
            raise ModelRegistryError(f"{path}: missing, though {ARTIFACT} names it; copy the whole version again")
        size_bytes = path.stat().st_size
        if size_bytes != known["size_bytes"]:
            raise ModelRegistryError(
                f"{path}: {size_bytes} bytes, {known['size_bytes']} were registered; copy the whole version again"
            )
        of_engine = name.startswith(f"{EXPORTS}/") and path.name != ARTIFACT
        if (whole or not of_engine) and sha256(path) != known["sha256"]:
            raise ModelRegistryError(
                f"{path}: another file than was registered (its SHA-256 is not that of {ARTIFACT}); copy the whole version again"
            )


def _entries(folder: Path) -> Iterator[Path]:
    """Yield files of a folder and of folders in it; a link anywhere is an error."""
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        path = folder / entry.name
        if entry.is_symlink():
            raise ModelRegistryError(
                f"{path}: a link, where a version has files of its own; copy the whole version again"
            )
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(path)
        elif entry.is_file(follow_symlinks=False):
            yield path
        else:
            raise ModelRegistryError(f"{path}: a pipe or device, no file; delete it")


def copy_version(version: RegisteredVersion, folder: Path) -> None:
    """Copy the files that a version names, and no other, with the mode of any new file there.

    Parameters
    ----------
    version : RegisteredVersion
        What is copied.
    folder : Path
        Where to.

    Raises
    ------
    ModelRegistryError
        A file is missing, or a link.
    """
    for name in (*version.facts["files"], ARTIFACT):
        source, target = version.folder / PurePosixPath(name), folder / PurePosixPath(name)
        if source.is_symlink() or not source.is_file():
            raise ModelRegistryError(f"{source}: missing, or a link; copy the whole version again")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
