"""Check stores of models: what `biot-bd models push` and `pull` move files with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biot_bd.testing._base import attempt, describe, require

FILES = {
    "artifact.json": b'{"format": "a check"}\n',
    "model.safetensors": bytes(range(256)) * 40,
    "exports/onnx/model.onnx": b"\x00\xff" * 1000,
}
OTHER = {**FILES, "model.safetensors": bytes(range(256)) * 39 + b"\x00" * 256}


def check_model_store(store: Callable[..., Any], place: str) -> None:
    """Check a class given to ``register_model_stores``, by a round trip.

    Parameters
    ----------
    store : callable
        A subclass of :class:`biot_bd.deploy.ModelStore`; called without arguments.
    place : str
        An empty place for the check, as the store calls it; it holds two versions afterwards.

    Raises
    ------
    ConformanceError
        A version does not come back as it was put there, lacks a revision, or is replaced by other
        content.

    See Also
    --------
    biot_bd.deploy.ModelStore : What a store has to do.

    Examples
    --------
    >>> check_model_store(dict, "somewhere")
    Traceback (most recent call last):
    biot_bd.exceptions.ConformanceError: dict: expected a store with versions, listing, fetch ...
    """
    name = describe(store)
    made = attempt(f"{name}()", store)
    missing = [one for one in ("versions", "listing", "fetch", "upload") if not callable(getattr(made, one, None))]
    require(
        not missing,
        f"{name}: expected a store with versions, listing, fetch and upload; it has no {', '.join(missing)}",
    )
    found = attempt(f"{name}.versions({place!r})", made.versions, place)
    require(dict(found) == {}, f"{name}: {place}: expected an empty place, found {sorted(found)}")
    with tempfile.TemporaryDirectory() as folder:
        first, second = _written(Path(folder) / "first", FILES), _written(Path(folder) / "second", OTHER)
        for version, source in (("0.0.1", first), ("0.0.2", second)):
            revision = attempt(
                f"{name}.upload of {version}", made.upload, source, place, "check", version, private=True
            )
            require(
                isinstance(revision, str) and revision, f"{name}.upload: expected a revision as text, got {revision!r}"
            )
        found = attempt(f"{name}.versions({place!r})", made.versions, place)
        require(set(found) == {"0.0.1", "0.0.2"}, f"{name}: put 0.0.1 and 0.0.2 there, found {sorted(found)}")
        for version, files in (("0.0.1", FILES), ("0.0.2", OTHER)):
            _check_content(made, name, place, version, files, Path(folder) / version)
        _check_kept(made, name, place, second)


def _written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _check_content(store: Any, name: str, place: str, version: str, files: dict[str, bytes], into: Path) -> None:
    stored = attempt(f"{name}.listing of {version}", store.listing, place, version)
    wanted = {file: len(content) for file, content in files.items()}
    require(dict(stored.sizes) == wanted, f"{name}: {version}: expected the files {wanted}, found {dict(stored.sizes)}")
    for file, content in files.items():
        target = into / file
        target.parent.mkdir(parents=True, exist_ok=True)
        attempt(f"{name}.fetch of {file}", store.fetch, place, stored, file, target)
        require(target.read_bytes() == content, f"{name}: {version}: {file} came back as something else")


def _check_kept(store: Any, name: str, place: str, other: Path) -> None:
    """Raise unless other content under a version that is there is refused."""
    try:
        store.upload(other, place, "check", "0.0.1", private=True)
    except FileExistsError:
        return
    except Exception as error:
        require(False, f"{name}: a version that is there: expected FileExistsError, got {type(error).__name__}")
    require(False, f"{name}: other content was taken as version 0.0.1, which was there")
