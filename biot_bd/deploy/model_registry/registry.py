"""``Registry``: a folder of versions of models, which never change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biot_bd.deploy.model_registry import places
from biot_bd.deploy.model_registry.model_contents import model_contents
from biot_bd.deploy.version_folder import RegisteredVersion, check_files, copy_version, read_version
from biot_bd.deploy.version_names import (
    check_name,
    check_version,
    is_version_number,
    newest_release,
    precedence,
    split_label,
)
from biot_bd.exceptions import ModelRegistryError, VersionExistsError

if TYPE_CHECKING:
    from biot_bd.deploy.detector import Detector
    from biot_bd.deploy.model_registry.differences import VersionDifference
    from biot_bd.deploy.model_registry.verification import Verification

# What writes, verifies and compares is imported where it is used: a name is found without scipy.

# Inside of the class, `list` is its method.
Versions = list[RegisteredVersion]
Names = list[str]


class Registry:
    """A folder of versions of models, ``NAME/VERSION``, which never change.

    Each version is a saved model with exported engines, a model card, ``artifact.json`` with the
    SHA-256 of every file, and a few windows with the probabilities that the model gives for them.

    Parameters
    ----------
    root : path, optional
        The folder; :func:`~biot_bd.deploy.model_registry.default_root` by default.

    See Also
    --------
    biot_bd.Detector.load : Takes the folder of a version, as every command does.

    Examples
    --------
    >>> from biot_bd.deploy import Registry
    >>> registry = Registry("models")
    >>> [version.label for version in registry.list()]
    []
    >>> registry.resolve("mine")
    Traceback (most recent call last):
    ...
    FileNotFoundError: models: no model called mine; there are none yet (`biot-bd models save`)
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = places.default_root() if root is None else Path(root)

    def save(
        self,
        model_folder: str | os.PathLike[str],
        name: str,
        version: str,
        *,
        run: str | os.PathLike[str] | None = None,
        licence: str | None = None,
        anonymous: bool = False,
    ) -> RegisteredVersion:
        """Register a saved model as a new version.

        Parameters
        ----------
        model_folder : path
            Of :func:`biot_bd.save_pipeline`, with its ``exports/``; everything is copied.  Or a
            version, whose results go along.
        name : str
            Small letters and digits, with single ``.``, ``_`` or ``-`` between them.
        version : str
            Such as ``"1.0.0"`` or ``"1.1.0-rc.1"`` (https://semver.org).
        run : path, optional
            Finished run folder of ``cross_validate``, for the results on the card: the one that the
            model lies in, or one of the same pipeline.
        licence : str, optional
            Of the weights, e.g. ``"ODC-By-1.0"``.
        anonymous : bool
            Whether names and dates are left out: subjects become numbers.

        Returns
        -------
        RegisteredVersion

        Raises
        ------
        FileNotFoundError
            There is no saved model, or no run.
        VersionExistsError
            The version is there already: a ``ValueError``, and a ``FileExistsError``.
        ModelRegistryError
            A ``ValueError``: the name or version is none, the folder holds what is no part of a
            model, or the run is of another model.
        ValueError
            The model is damaged.
        OSError
            The registry cannot be written; nothing is left of the version.
        """
        from biot_bd.deploy.model_registry.verification import check_description
        from biot_bd.deploy.model_registry.writing import write_version

        check_name(name)
        check_version(version)
        contents = model_contents(model_folder, anonymous)
        target = self.root / name / version
        if os.path.lexists(target):
            raise VersionExistsError(self._is_there(target, contents.files))
        with places.incoming(self.root) as folder:
            contents.copy_to(folder)
            write_version(folder, name, version, source=contents, run=run, licence=licence, anonymous=anonymous)
            check_description(read_version(folder))
            return read_version(places.place(folder, self.root, name, version))

    def add(self, version_folder: str | os.PathLike[str], *, expected: str | None = None) -> RegisteredVersion:
        """Copy a version of another registry, under the name and version that it has.

        Parameters
        ----------
        version_folder : path
            The version.
        expected : str, optional
            The digest that it must have.

        Returns
        -------
        RegisteredVersion

        Raises
        ------
        FileNotFoundError, ModelRegistryError, OSError
            As :meth:`take_in`.
        """
        with self.incoming() as folder:
            copy_version(read_version(version_folder), folder)
            return self.take_in(folder, expected=expected)

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a new hidden folder in the registry, to be filled for :meth:`take_in`."""
        with places.incoming(self.root) as folder:
            yield folder

    def take_in(self, folder: str | os.PathLike[str], *, expected: str | None = None) -> RegisteredVersion:
        """Verify a version that lies in a folder of :meth:`incoming`, and move it to its place.

        Parameters
        ----------
        folder : path
            All files of the version; ``artifact.json`` says its name.
        expected : str, optional
            The digest that it must have.

        Returns
        -------
        RegisteredVersion
            Also where the same version was there before.

        Raises
        ------
        FileNotFoundError
            No version is in the folder.
        VersionExistsError
            Another version of this name and number is there.
        ModelRegistryError
            The version is not what its ``artifact.json`` says, or has another digest.
        OSError
            The registry cannot be written.
        """
        from biot_bd.deploy.model_registry.verification import check_digest, verify_version

        version = read_version(folder)
        digest = version.digest
        check_digest(version, digest, expected)
        target = self.root / version.name / version.version
        if os.path.lexists(target):
            there = self.resolve(version.label)
            if there.digest != digest:
                raise VersionExistsError(
                    f"{target}: another version of this number is there (digest {there.digest}, not {digest}); versions are never replaced"
                )
            check_files(there)
            return there
        verify_version(folder)
        return read_version(places.place(Path(folder), self.root, version.name, version.version))

    def list(self) -> Versions:
        """Return all versions, by name and from old to new; damaged ones say what is wrong.

        Returns
        -------
        list of RegisteredVersion
            Where one cannot be read, ``problem`` says why and ``facts`` is empty; of a folder that
            nobody here may look into, ``version`` is ``"?"``.
        """
        return [version for name in self._names() for version in self._readable(name)]

    def resolve(self, text: str) -> RegisteredVersion:
        """Return the version that is meant.

        Parameters
        ----------
        text : str
            ``NAME/VERSION``; or ``NAME``: its newest version, which is never a pre-release.

        Returns
        -------
        RegisteredVersion

        Raises
        ------
        FileNotFoundError
            There is none; the message says what there is.
        ModelRegistryError
            It is no name, or the version is damaged.
        """
        name, version = split_label(text)
        found = {one.version: one for one in self._versions(name)}
        if not found:
            raise FileNotFoundError(f"{self.root}: no model called {name}; {self._what_there_is(name)}")
        if version is None:
            version = newest_release(found)
            if version is None:
                raise FileNotFoundError(
                    f"{self.root}: {name} has pre-releases alone ({', '.join(found)}), which must be named: {name}/{next(reversed(found))}"
                )
        if version not in found:
            raise FileNotFoundError(f"{self.root}: no version {version} of {name}; there are {', '.join(found)}")
        if (problem := found[version].problem) is not None:
            raise ModelRegistryError(problem)
        return found[version]

    def load(
        self,
        name: str,
        version: str | None = None,
        *,
        engine: str = "auto",
        precision: str | None = None,
        causal: bool = False,
    ) -> Detector:
        """Load a version as a detector, its files checked.

        Parameters
        ----------
        name : str
            The model.
        version : str, optional
            The newest that is no pre-release by default.
        engine, precision, causal
            As for :meth:`biot_bd.Detector.load`, which takes the folder of a version and all other
            options.

        Returns
        -------
        Detector

        Raises
        ------
        FileNotFoundError
            There is no such version.
        ModelRegistryError
            A ``ValueError``: a file is another than was registered.
        ValueError
            The model is of more than two classes, or an option makes no sense.
        """
        from biot_bd.deploy.detector import Detector

        found = self.resolve(_label(name, version))
        check_files(found)
        return Detector.load(found.folder, engine=engine, precision=precision, causal=causal)

    def verify(
        self, name: str, version: str | None = None, *, expected: str | None = None, replay: bool = True
    ) -> Verification:
        """Compare a version with what was registered: every file, and the probe batch.

        Parameters
        ----------
        name : str
            The model.
        version : str, optional
            The newest that is no pre-release by default.
        expected : str, optional
            The digest that it must have, as whoever made it says.
        replay : bool
            Whether the probe batch is computed again by every engine that is installed.

        Returns
        -------
        Verification
            What was compared; ``not_replayed`` says what could not be computed here.

        Raises
        ------
        FileNotFoundError
            There is no such version.
        ModelRegistryError
            A ``ValueError``: something differs; the message names the file.
        """
        from biot_bd.deploy.model_registry.verification import verify_version

        found = self.resolve(_label(name, version))
        return verify_version(found.folder, expected=expected, replay=replay)

    def diff(self, one: str, other: str) -> VersionDifference:
        """Return in what two versions differ.

        Parameters
        ----------
        one, other : str
            ``NAME`` or ``NAME/VERSION``.

        Returns
        -------
        VersionDifference

        Raises
        ------
        FileNotFoundError
            There is no such version.
        ModelRegistryError
            A file is another than was registered.
        """
        from biot_bd.deploy.model_registry.differences import compare_versions

        return compare_versions(self.resolve(one), self.resolve(other))

    def _names(self) -> Names:
        return sorted(path.name for path in self._folders(self.root) if _is_name(path.name))

    def _versions(self, name: str) -> Versions:
        folders = {path.name: path for path in self._folders(self.root / name) if is_version_number(path.name)}
        return [_read(folders[version], name) for version in sorted(folders, key=precedence)]

    def _readable(self, name: str) -> Versions:
        """Return the versions of a model; a folder that cannot be read hides no other model."""
        try:
            return self._versions(name)
        except OSError as error:
            nothing: Any = {}
            return [RegisteredVersion(name, "?", self.root / name, nothing, str(error))]

    @staticmethod
    def _folders(folder: Path) -> Iterator[Path]:
        if folder.is_dir():
            yield from (path for path in folder.iterdir() if path.is_dir())

    def _what_there_is(self, name: str) -> str:
        names = self._names()
        if not names:
            return "there are none yet (`biot-bd models save`)"
        near = get_close_matches(name, names, n=1)
        return f"there are {', '.join(names)}" + (f"; did you mean {near[0]}?" if near else "")

    def _is_there(self, target: Path, files: dict[str, Path]) -> str:
        """Say what is at the place of a new version: the same model, or another one."""
        from biot_bd.models.checkpoints.pipeline_folder import sha256

        there = _read(target, target.parent.name)
        if there.problem is not None:
            return f"{target}: is there already, and damaged ({there.problem}); choose another version"
        same = all(there.files.get(name, (0, ""))[1] == sha256(path) for name, path in files.items())
        what = "this very model is registered as it" if same else "another model is registered as it"
        return f"{there.label}: is there already ({what}); versions are never replaced: choose another version"


def _label(name: str, version: str | None) -> str:
    return name if version is None else f"{name}/{version}"


def _is_name(name: str) -> bool:
    try:
        return check_name(name) == name
    except ModelRegistryError:
        return False


def _read(folder: Path, name: str) -> RegisteredVersion:
    """Read a version of a registry; one that cannot be read says why."""
    try:
        found = read_version(folder)
    except (OSError, ValueError) as error:
        problem = str(error)
    else:
        if (found.name, found.version) == (name, folder.name):
            return found
        problem = f"{folder}: holds {found.label}; it was moved or renamed: move it back, or register the model again"
    return RegisteredVersion(name, folder.name, folder, {}, problem)  # type: ignore[typeddict-item]  # nothing is known
