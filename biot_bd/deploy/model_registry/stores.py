"""Stores of models: where versions lie beside the registry of this machine, e.g. the Hub.

A store only moves files.  What may be moved, under which names and of which size, and whether it is
what was saved, is checked outside of it, in :mod:`biot_bd.deploy.model_registry.transfer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class StoredVersion:
    """What a store says that it holds of one version.

    Parameters
    ----------
    revision : str
        What the store calls this content and no other, e.g. a commit.
    sizes : mapping of str to int
        Size in bytes of each file, by its name in the version's folder with forward slashes.

    See Also
    --------
    ModelStore.listing : Returns one.

    Examples
    --------
    >>> from biot_bd.deploy import StoredVersion
    >>> StoredVersion("a1b2c3", {"artifact.json": 812}).sizes["artifact.json"]
    812
    """

    revision: str
    sizes: Mapping[str, int] = field(default_factory=dict)


class ModelStore(ABC):
    """A place that holds versions of models: the Hub, MLflow's registry, a folder of a department.

    Parameters
    ----------
    endpoint : str, optional
        Address of the service, where it is not the usual one.

    See Also
    --------
    biot_bd.hookspecs.register_model_stores : How a plugin adds one.
    biot_bd.testing.check_model_store : Checks one in a plugin's tests.
    push_version, pull_version : Use it, and check what it moves.

    Examples
    --------
    >>> from biot_bd import registry
    >>> store = registry.model_stores["hub"](endpoint="http://hub.clinic")
    >>> store.endpoint
    'http://hub.clinic'
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = endpoint

    @abstractmethod
    def versions(self, place: str) -> Mapping[str, str]:
        """Return the versions at a place with their revisions; empty where there is none.

        Parameters
        ----------
        place : str
            As the store calls it, e.g. ``"owner/name"``.

        Returns
        -------
        mapping of str to str

        Raises
        ------
        OSError
            The store was not reached, or refuses; the message says what to do.
        """

    @abstractmethod
    def listing(self, place: str, version: str) -> StoredVersion:
        """Return what lies there of a version; nothing of the content is read.

        Parameters
        ----------
        place : str
            As the store calls it.
        version : str
            One of :meth:`versions`.

        Returns
        -------
        StoredVersion

        Raises
        ------
        OSError
            The store was not reached, refuses, or has no such version.
        """

    @abstractmethod
    def fetch(self, place: str, stored: StoredVersion, name: str, target: Path) -> None:
        """Write one file of a version; no more bytes than were listed.

        Parameters
        ----------
        place : str
            As the store calls it.
        stored : StoredVersion
            What :meth:`listing` returned.
        name : str
            One of its files.
        target : Path
            Where to; the folder is there, the file is not.

        Raises
        ------
        OSError
            It did not come whole; the message says what to do.
        """

    @abstractmethod
    def upload(self, folder: Path, place: str, name: str, version: str, private: bool = True) -> str:
        """Put all files of a folder there as one version, in one step, and return its revision.

        The place is made where it is not there yet.  What an upload that was killed left behind is
        no version, and the same call goes on.

        Parameters
        ----------
        folder : Path
            A version's folder, verified.
        place : str
            As the store calls it.
        name : str
            The model's name.
        version : str
            Its version, e.g. ``"1.0.0"``.
        private : bool
            Whether nobody else sees what is made; a store that cannot know it ignores it.

        Returns
        -------
        str
            The revision.

        Raises
        ------
        FileExistsError
            The version is there; none is ever replaced.
        OSError
            The store was not reached, or refuses; the message says what to do.
        """
