"""Push a version of the model registry to a store, and pull one from there.

What comes from a store is not trusted: the listing is checked before anything is fetched, no file
is longer than listed, nothing leaves the folder, and the version is verified before it is one.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from biot_bd import registry as registries
from biot_bd.deploy.model_registry.hub_store import REPOSITORY
from biot_bd.deploy.model_registry.registry import Registry
from biot_bd.deploy.model_registry.stores import ModelStore, StoredVersion
from biot_bd.deploy.model_registry.verification import check_digest
from biot_bd.deploy.version_folder import MOST_FILES, RegisteredVersion, VersionFacts, check_path, read_version
from biot_bd.deploy.version_names import is_version_number, newest_release, precedence
from biot_bd.exceptions import ModelRegistryError, UnknownNameError
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, sha256
from biot_bd.runs import make_folder

MOST_BYTES = 20 * 2**30
MOST_ARTIFACT_BYTES = 64 * 2**20
SPARE_BYTES = 64 * 2**20
"""What stays free on the disk."""


@dataclass(frozen=True)
class PushedVersion:
    """A version that lies in a store.

    Parameters
    ----------
    label : str
        What was pushed, ``"NAME/VERSION"``.
    digest : str
        Of the version as it lies there; an anonymous copy has another one than in the registry.
    place : str
        Where, with the kind of store, e.g. ``"hub:owner/name"``.
    revision : str
        What the store calls it, e.g. a commit.
    was_there : bool
        Whether it was there before, and nothing was sent.
    anonymous : bool
        Whether it is without names and dates.

    See Also
    --------
    push_version : Returns one.

    Examples
    --------
    >>> from biot_bd.deploy import PushedVersion
    >>> pushed = PushedVersion("mine/1.0.0", "ab" * 32, "hub:me/mine", "0c" * 20, False, False)
    >>> pushed.was_there
    False
    """

    label: str
    digest: str
    place: str
    revision: str
    was_there: bool
    anonymous: bool


def push_version(
    registry: Registry,
    name: str,
    version: str | None,
    place: str,
    *,
    private: bool = True,
    anonymous: bool = False,
    endpoint: str | None = None,
) -> PushedVersion:
    """Put a version of the registry into a store, verified before and after.

    A version that is there with other content is never replaced; with the same content it is only
    said.

    Parameters
    ----------
    registry : Registry
        The model registry.
    name : str
        Name of the model.
    version : str, optional
        Its version; the newest by default.
    place : str
        ``"owner/name"`` or ``"hub:owner/name"`` for the Hub; ``"KIND:PLACE"`` for a store of
        ``biot_bd.registry.model_stores``.
    private : bool
        Whether nobody else sees what is made.
    anonymous : bool
        True pushes a copy without names and dates; the registry keeps its own.
    endpoint : str, optional
        Address of the service, where it is not the usual one.

    Returns
    -------
    PushedVersion

    Raises
    ------
    biot_bd.exceptions.ModelRegistryError
        The version is not what was saved, or another content of it is there.
    biot_bd.exceptions.UnknownNameError
        No such kind of store.
    FileNotFoundError
        No such version in the registry.
    OSError
        The store was not reached, or refuses.

    See Also
    --------
    pull_version : The other way.

    Examples
    --------
    >>> from biot_bd.deploy import Registry, push_version
    >>> push_version(Registry("models"), "mine", "1.0.0", "nowhere")
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ModelRegistryError: 'nowhere': expected OWNER/NAME of the Hub, or ...
    """
    kind, where = parse_place(place)
    store = _store(kind, endpoint)
    found = registry.resolve(name if version is None else f"{name}/{version}")
    registry.verify(found.name, found.version)
    there = store.versions(where)
    with contextlib.ExitStack() as stack:
        if anonymous and not found.facts["anonymous"]:
            if found.version in there and (said := _said_there(store, where, found.version)).facts["anonymous"]:
                _check_same_weights(said, found, place)
                return PushedVersion(said.label, said.digest, f"{kind}:{where}", there[found.version], True, True)
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            found = Registry(folder).save(found.folder, found.name, found.version, anonymous=True)
        return _pushed(store, found, there, kind, where, private)


def pull_version(
    registry: Registry,
    place: str,
    version: str | None = None,
    *,
    expected: str | None = None,
    endpoint: str | None = None,
) -> RegisteredVersion:
    """Get a version from a store into the registry: limited, checked, verified, then at once.

    Parameters
    ----------
    registry : Registry
        The model registry.
    place : str
        As :func:`push_version` takes it.
    version : str, optional
        The newest by default, pre-releases left out.
    expected : str, optional
        The version's digest, as ``biot-bd models show`` prints it; another one is refused.
    endpoint : str, optional
        Address of the service, where it is not the usual one.

    Returns
    -------
    RegisteredVersion

    Raises
    ------
    biot_bd.exceptions.ModelRegistryError
        What is there is no version, is not what its ``artifact.json`` says, is too large, would
        leave its folder, or has another digest.
    biot_bd.exceptions.UnknownNameError
        No such kind of store.
    OSError
        The store was not reached, or refuses.

    See Also
    --------
    push_version : The other way.

    Examples
    --------
    >>> from biot_bd.deploy import Registry, pull_version
    >>> pull_version(Registry("models"), "attic:mine")
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.UnknownNameError: no model_stores named 'attic'; there are: hub...
    """
    kind, where = parse_place(place)
    store = _store(kind, endpoint)
    there = store.versions(where)
    wanted = _wanted(there, version, f"{kind}:{where}")
    stored = store.listing(where, wanted)
    what = f"{kind}:{where} {wanted}"
    _check_listing(stored.sizes, what)
    make_folder(registry.root)
    _check_room(registry.root, sum(stored.sizes.values()), what)
    with registry.incoming() as folder:
        said = _said(store, where, stored, folder, what)
        with _named(folder, what):
            check_digest(said, said.digest, expected)
        if said.version != wanted:
            raise ModelRegistryError(f"{what}: its {ARTIFACT} says {said.label}; ask who pushed it to push it again")
        _check_said(stored.sizes, said.files, what)
        for name, (_, digest) in said.files.items():
            _fetch(store, where, stored, name, folder)
            _check_content(folder / name, digest, f"{what}: {name}")
        with _named(folder, what):
            return registry.take_in(folder, expected=said.digest)


def parse_place(place: str) -> tuple[str, str]:
    """Return the kind of store and the place in it.

    Raises
    ------
    biot_bd.exceptions.ModelRegistryError
        It is neither ``OWNER/NAME`` nor ``KIND:PLACE``.
    """
    kind, colon, where = place.partition(":")
    if not colon:
        kind, where = "hub", place
    if not kind or not where or (kind == "hub" and not REPOSITORY.fullmatch(where)):
        raise ModelRegistryError(
            f"{place!r}: expected OWNER/NAME of the Hub, or KIND:PLACE of a store ({', '.join(registries.model_stores)})"
        )
    return kind, where


def _store(kind: str, endpoint: str | None) -> ModelStore:
    try:
        make = registries.model_stores[kind]
    except UnknownNameError as error:
        raise UnknownNameError(f"{error}; other stores come with plugins, as mlflow does with biot-bd-mlflow") from None
    store: ModelStore = make(endpoint=endpoint)
    return store


def _pushed(
    store: ModelStore, found: RegisteredVersion, there: Mapping[str, str], kind: str, where: str, private: bool
) -> PushedVersion:
    place, digest = f"{kind}:{where}", found.digest
    if was_there := found.version in there:
        said = _said_there(store, where, found.version)
        if said.digest != digest:
            raise ModelRegistryError(
                f"{place}: holds a version {found.version} with other content (digest {said.digest[:12]}, yours {digest[:12]}); "
                "versions are never replaced, so save yours under a new one and push that"
            )
        revision = there[found.version]
    else:
        for other in _sorted(there)[-1:]:
            _check_same_model(_said_there(store, where, other), found, place)
        revision = store.upload(found.folder, where, found.name, found.version, private)
        sizes = {name: size for name, (size, _) in found.files.items()}
        sizes[ARTIFACT] = (found.folder / ARTIFACT).stat().st_size
        if dict(store.listing(where, found.version).sizes) != sizes or (
            _said_there(store, where, found.version).digest != digest
        ):
            raise ModelRegistryError(
                f"{place}: what lies there as {found.version} is not what was sent; look at it there, and push a new version"
            )
    return PushedVersion(found.label, digest, place, revision, was_there, found.facts["anonymous"])


def _check_same_model(said: _There, found: RegisteredVersion, place: str) -> None:
    """Raise where a place holds versions of another model."""
    if said.name != found.name:
        raise ModelRegistryError(f"{place}: holds versions of {said.name!r}, not of {found.name!r}; name another place")


def _check_same_weights(said: _There, found: RegisteredVersion, place: str) -> None:
    """Raise where an anonymous version that is there is of another model than this one."""
    _check_same_model(said, found, place)
    if any(said.facts[part] != found.facts[part] for part in ("model", "input", "threshold")):
        raise ModelRegistryError(
            f"{place}: holds an anonymous version {found.version} of another model; versions are never replaced, so save yours under "
            "a new one and push that"
        )


class _There(NamedTuple):
    """What a version in a store says of itself."""

    label: str
    name: str
    digest: str
    facts: VersionFacts


def _said_there(store: ModelStore, where: str, version: str) -> _There:
    with tempfile.TemporaryDirectory() as folder:
        found = _said(store, where, store.listing(where, version), Path(folder), f"{where} {version}")
        return _There(found.label, found.name, found.digest, found.facts)


def _said(store: ModelStore, where: str, stored: StoredVersion, folder: Path, what: str) -> RegisteredVersion:
    """Fetch what a version says of itself, after a look at its listing."""
    _check_listing(stored.sizes, what)
    _fetch(store, where, stored, ARTIFACT, folder)
    with _named(folder, what):
        return read_version(folder)


@contextlib.contextmanager
def _named(folder: Path, what: str) -> Iterator[None]:
    """Name the place, not a temporary folder, in what is raised of it."""
    try:
        yield
    except ModelRegistryError as error:
        raise type(error)(str(error).replace(str(folder), what)) from error


def _wanted(there: Mapping[str, str], version: str | None, place: str) -> str:
    """Return the version that is meant: the newest release where none is named."""
    known = _sorted(there)
    if version is not None and version in known:
        return version
    if not known:
        raise ModelRegistryError(
            f"{place}: holds no version of a model registry (or is private, and nobody here may read it); `biot-bd models fetch` "
            "takes a checkpoint that others published, `biot-bd models push` puts a version there"
        )
    if version is not None:
        raise ModelRegistryError(f"{place}: holds no version {version}; there are {', '.join(known)}")
    newest = newest_release(known)
    if newest is None:
        raise ModelRegistryError(f"{place}: holds pre-releases alone; name one of {', '.join(known)}")
    return newest


def _sorted(versions: Iterable[str]) -> list[str]:
    """Return what can be a version of the registry, the newest last."""
    return sorted(filter(is_version_number, versions), key=precedence)


def _check_listing(sizes: Mapping[str, int], what: str) -> None:
    """Raise for a listing that is none of a version, or asks for too much."""
    if ARTIFACT not in sizes:
        raise ModelRegistryError(
            f"{what}: holds no {ARTIFACT}, so it is no version of a model registry; `biot-bd models fetch` takes checkpoints that "
            "others published"
        )
    if len(sizes) > MOST_FILES:
        raise ModelRegistryError(f"{what}: lists {len(sizes)} files; a version has at most {MOST_FILES}")
    for name, size in sizes.items():
        try:
            if name != ARTIFACT:
                check_path(name)
        except ValueError as error:
            raise ModelRegistryError(f"{what}: {error}; nothing of it was fetched") from error
        if not isinstance(size, int) or size < 0:
            raise ModelRegistryError(f"{what}: {name}: expected a size in bytes, found {size!r}")
    if len({name.lower() for name in sizes}) < len(sizes):
        raise ModelRegistryError(f"{what}: lists two files whose names differ in upper and lower case alone")
    if sizes[ARTIFACT] > MOST_ARTIFACT_BYTES or sum(sizes.values()) > MOST_BYTES:
        raise ModelRegistryError(
            f"{what}: says {sum(sizes.values()):,} bytes ({sizes[ARTIFACT]:,} of {ARTIFACT}); at most {MOST_BYTES:,} "
            f"({MOST_ARTIFACT_BYTES:,}) are fetched"
        )


def _check_room(root: Path, size: int, what: str) -> None:
    free = shutil.disk_usage(root).free
    if size + SPARE_BYTES > free:
        raise OSError(f"{what}: {size:,} bytes, and {free:,} are free in {root}; make room, or name another --registry")


def _check_said(sizes: Mapping[str, int], files: Mapping[str, tuple[int, str]], what: str) -> None:
    """Raise where a listing and the files of ``artifact.json`` differ."""
    said = {name: size for name, (size, _) in files.items()}
    found = {name: size for name, size in sizes.items() if name != ARTIFACT}
    if said == found:
        return
    name = min(set(said.items()) ^ set(found.items()))[0]
    raise ModelRegistryError(
        f"{what}: {name}: its {ARTIFACT} says {_bytes(said.get(name))}, there are {_bytes(found.get(name))}; it was changed after it "
        "was pushed, so ask who pushed it"
    )


def _bytes(size: object) -> str:
    return "no such file" if size is None else f"{size} bytes"


def _fetch(store: ModelStore, where: str, stored: StoredVersion, name: str, folder: Path) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    store.fetch(where, stored, name, target)
    if (found := target.stat().st_size) != stored.sizes[name]:
        raise ModelRegistryError(f"{where}: {name}: expected {stored.sizes[name]} bytes, {found} came; pull again")


def _check_content(path: Path, digest: str, what: str) -> None:
    if (found := sha256(path)) != digest:
        raise ModelRegistryError(
            f"{what}: expected SHA-256 {digest}, found {found}; it was changed after it was pushed, so ask who pushed it"
        )
