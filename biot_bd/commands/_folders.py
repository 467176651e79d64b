"""What a folder is, and what to do where a command was given another kind than it takes.

Told by names alone, before anything heavy is imported.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from biot_bd.io.notes import counted

RECORDINGS = frozenset(".edf .bdf .gdf .vhdr .set .fif .cnt .lay .mff .mefd .nedf".split())
EVENTS = (".tsv", ".csv_bi")
RECORD = "_detection.json"  # what `detect` writes beside the events of a recording
DEEPEST = 4
MOST_LOOKED_AT = 20_000
_SHOWN = 3


@dataclass(frozen=True)
class Kind:
    """A kind of folder.

    Parameters
    ----------
    name : str
        With its article, as messages call it.
    files : tuple of str
        Names that are in every such folder, and together in no other; empty where endings tell.
    made_by : str
        The command that makes one; ``{}`` is what it is made of.
    made_of : str
        The kind that is made of, by its key, and how messages call it while nobody named one.
    taken_by : str
        The command that takes one, which is ``{}``.
    """

    name: str
    files: tuple[str, ...]
    made_by: str
    made_of: tuple[str, str]
    taken_by: str


KINDS = {
    "model": Kind(
        "a saved model",
        ("pipeline.json",),
        "biot-bd train {} -o MODEL",
        ("windows", "WINDOWS"),
        "biot-bd detect {} RECORDINGS -o RESULTS",
    ),
    "exported": Kind(
        "an exported model",
        ("artifact.json",),
        "biot-bd export {} -o EXPORTED",
        ("model", "MODEL"),
        "biot-bd detect {} RECORDINGS -o RESULTS",
    ),
    "run": Kind("a run folder", ("run.json",), "biot-bd cv {} -o RUN", ("windows", "WINDOWS"), "biot-bd report {}"),
    "pretraining": Kind(
        "a pretrained model",
        ("pretraining.json",),
        "biot-bd pretrain {} -o PRETRAINED",
        ("windows", "WINDOWS"),
        "biot-bd train WINDOWS --pretrained {} -o MODEL",
    ),
    "embeddings": Kind(
        "embedded windows",
        ("embedding.json", "table.parquet"),
        "biot-bd embed {} -o EMBEDDINGS",
        ("windows", "WINDOWS"),
        "biot-bd report {}",
    ),
    "study": Kind(
        "a study of foundation models",
        ("study.json", "comparison.csv"),
        "biot-bd study --store NAME={} -o STUDY",
        ("windows", "WINDOWS"),
        "biot-bd report {}",
    ),
    "windows": Kind(
        "prepared windows",
        ("manifest.json",),
        "biot-bd prepare DATASET {} -o WINDOWS",
        ("recordings", "RECORDINGS"),
        "biot-bd cv {} -o RUN",
    ),
    "results": Kind(
        "results of `biot-bd detect`",
        (),
        "biot-bd detect MODEL {} -o RESULTS",
        ("recordings", "RECORDINGS"),
        "biot-bd review {} --reviewer NAME",
    ),
    "recordings": Kind("recordings", (), "biot-bd doctor {}", ("recordings", "FOLDER"), "biot-bd doctor {}"),
    "events": Kind(
        "event files",
        (),
        "biot-bd detect MODEL {} -o RESULTS",
        ("recordings", "RECORDINGS"),
        "biot-bd score REFERENCE {}",
    ),
}
"""The kinds that commands take; those that files tell first."""

UNFINISHED = {
    "signals": "unfinished windows (the same `biot-bd prepare` goes on)",
    "folds": "an unfinished run (the same `biot-bd cv` goes on)",
    ".pretraining": "an unfinished pretraining (the same `biot-bd pretrain` goes on)",
    ".training": "an unfinished training (the same `biot-bd train` goes on)",
}
"""What a folder is that has this one and none of the files of :data:`KINDS`."""


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return which of :data:`KINDS` a folder is, None where nothing tells."""
    path = Path(path)
    if not path.is_dir():
        return None
    for name, kind in KINDS.items():
        if kind.files and all((path / file).is_file() for file in kind.files):
            return name
    if (path / "table.json").is_file() and (path / "windows.parquet").is_file():
        return "windows"  # another table over the same signals
    if (path / "config.json").is_file() and b'"biot_bd pipeline"' in (path / "config.json").read_bytes()[:4096]:
        return "model"  # of format 1
    endings = _endings(path)
    if endings[RECORD]:
        return "results"
    if any(endings[one] for one in RECORDINGS):
        return "recordings"
    return "events" if any(endings[one] for one in EVENTS) else None


def what_is(path: str | os.PathLike[str]) -> str:
    """Say what a path is, in a phrase such as ``"a run folder with 6 folds"``.

    Parameters
    ----------
    path : path-like
        A file or a folder; or nothing.
    """
    path = Path(path)
    if not os.path.lexists(path):
        near = get_close_matches(path.name, _names_in(path.parent), n=1)
        return f"no such folder{f' (did you mean {path.parent / near[0]}?)' if near else ''}"
    if not path.is_dir():
        return f"a file{f' ({path.suffix.lower()})' if path.suffix else ''}"
    kind = kind_of(path)
    if kind == "run":
        return f"a run folder with {counted(len(_models_of(path)), 'saved model')}"
    if kind in ("recordings", "events"):
        wanted = RECORDINGS if kind == "recordings" else EVENTS
        endings = {ending: n for ending, n in _endings(path).items() if ending in wanted}
        listed = ", ".join(f"{n:,} {ending}" for ending, n in sorted(endings.items()))
        return f"a folder with {KINDS[kind].name} ({listed})"
    if kind is not None:
        return KINDS[kind].name
    if unfinished := next((told for name, told in UNFINISHED.items() if (path / name).is_dir()), None):
        return unfinished
    inside = _names_in(path)
    listed = f"{', '.join(inside[:_SHOWN])}{', ...' if len(inside) > _SHOWN else ''}"
    return f"a folder with {listed}" if inside else "an empty folder"


def expect(path: str | os.PathLike[str], *kinds: str) -> Path:
    """Return a path that is of one of the kinds; raise with the cure where it is not.

    Parameters
    ----------
    path : path-like
        What a user gave.
    *kinds : str
        Keys of :data:`KINDS` that the command takes there.

    Raises
    ------
    FileNotFoundError
        It is of none of them; the message says what it is, where such a thing is, or what makes
        one, and which command takes what was given.
    """
    path = Path(path)
    found = kind_of(path)
    if found in kinds:
        return path
    wanted = " or ".join(KINDS[kind].name for kind in kinds)
    raise FileNotFoundError(f"{path}: expected {wanted}, found {what_is(path)}; {_cure(path, found, kinds)}")


def taken_by(folder: str | os.PathLike[str]) -> str | None:
    """Return the command that takes a model, a run or windows; None for other folders."""
    kind = _told_by_files(Path(folder))
    return None if kind is None else KINDS[kind].taken_by.format(folder)


def refuse(path: str | os.PathLike[str], *kinds: str, wanted: str) -> Path:
    """Return a path that is of none of the kinds, for a command that takes many other folders.

    Parameters
    ----------
    path : path-like
        What a user gave.
    *kinds : str
        Keys of :data:`KINDS` that files tell.
    wanted : str
        What the command takes there, in words.

    Raises
    ------
    FileNotFoundError
        It is of one of them; the message says which command takes it.
    """
    found = _told_by_files(Path(path))
    if found in kinds:
        command = KINDS[found].taken_by.format(path)
        raise FileNotFoundError(f"{path}: expected {wanted}, found {what_is(path)}; `{command}` takes it")
    return Path(path)


def _cure(path: Path, found: str | None, kinds: tuple[str, ...]) -> str:
    """Say where what was wanted is, or what makes it, and what takes what was found."""
    if places := _near(path, kinds):
        more = f" or another of the {len(places)}" if len(places) > 1 else ""
        folds = ", each trained without the subjects that its fold tests" if more and found == "run" else ""
        return f"give {places[0]}{more}{folds}"
    wanted = KINDS[kinds[0]]
    source, unnamed = wanted.made_of
    makes = f"`{wanted.made_by.format(path if source == found else unnamed)}` makes {_it(kinds[0])}"
    if found is None or source == found:
        return makes
    return f"{makes}, and `{KINDS[found].taken_by.format(path)}` takes what you gave"


def _it(kind: str) -> str:
    return {"model": "a model", "run": "a run"}.get(kind, f"the {kind}")


def _near(path: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Return folders of these kinds below or above a path."""
    below = [folder for folder in _folders(path) if folder != path and _told_by_files(folder) in kinds]
    if below:
        return sorted(below)
    return [folder for folder in [*path.parents][:DEEPEST] if _told_by_files(folder) in kinds]


def _models_of(run: Path) -> list[Path]:
    return sorted(path.parent for path in run.glob("folds/*/model/pipeline.json"))


def _told_by_files(folder: Path) -> str | None:
    return next((name for name, k in KINDS.items() if k.files and all((folder / f).is_file() for f in k.files)), None)


def _folders(path: Path, floors: int = DEEPEST) -> Iterator[Path]:
    """Yield a folder and those below it, hidden ones left out."""
    if not path.is_dir():
        return
    yield path
    for name in _names_in(path) if floors else ():
        child = path / name
        if child.is_dir() and not child.is_symlink():
            yield from _folders(child, floors - 1)


def _endings(path: Path) -> Counter[str]:
    """Count the endings of files in a folder and below, as far as a look goes."""
    endings: Counter[str] = Counter()
    for folder in _folders(path):
        endings.update(RECORD if name.endswith(RECORD) else Path(name).suffix.lower() for name in _names_in(folder))
        if endings.total() > MOST_LOOKED_AT:
            break
    return endings


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []
