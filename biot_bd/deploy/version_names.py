"""Names and versions of the model registry: what they may be, and which version is newer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from biot_bd.exceptions import ModelRegistryError
from biot_bd.models.checkpoints.published import KNOWN

LONGEST = 64
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[a-z-][0-9a-z-]*)"
_VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?")
# Names that Windows keeps for devices.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10))}


def check_name(name: str) -> str:
    """Return a name of a model, or raise.

    Parameters
    ----------
    name : str
        At most 64 small letters and digits with single ``.``, ``_`` or ``-`` between them: the same
        folder on every system.

    Raises
    ------
    ModelRegistryError
        It is none, or that of a published checkpoint.

    Examples
    --------
    >>> from biot_bd.deploy.version_names import check_name
    >>> check_name("chb-mit.small")
    'chb-mit.small'
    >>> check_name("My Model")
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ModelRegistryError: 'My Model' cannot name a model: ...
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > LONGEST:
        raise ModelRegistryError(
            f"{name!r} cannot name a model: expected at most {LONGEST} small letters and digits, with single . _ or - between "
            "them, e.g. 'chb-mit-small'"
        )
    if name.partition(".")[0] in _DEVICES:
        raise ModelRegistryError(f"{name!r} cannot name a model: Windows keeps that name for a device; choose another")
    if name in KNOWN:
        raise ModelRegistryError(
            f"{name!r} is the name of a published checkpoint (`biot-bd models list`); choose another"
        )
    return name


def check_version(version: str) -> str:
    """Return a version, or raise.

    Parameters
    ----------
    version : str
        Semantic (https://semver.org), in small letters and without ``+`` and what follows: that
        does not make another version.

    Raises
    ------
    ModelRegistryError
        It is none.

    Examples
    --------
    >>> from biot_bd.deploy.version_names import check_version
    >>> check_version("1.2.0-rc.1")
    '1.2.0-rc.1'
    """
    if not is_version_number(version):
        raise ModelRegistryError(
            f"{version!r} is no version: expected three numbers such as '1.0.0', or a pre-release such as '1.1.0-rc.1'"
        )
    return version


def is_version_number(text: str) -> bool:
    """Return whether a text is a version.

    Examples
    --------
    >>> from biot_bd.deploy.version_names import is_version_number
    >>> is_version_number("1.0.0"), is_version_number("newest")
    (True, False)
    """
    return isinstance(text, str) and len(text) <= LONGEST and _VERSION.fullmatch(text) is not None


def is_prerelease(version: str) -> bool:
    """Return whether a version comes before a release, which nobody gets who does not ask for it.

    Examples
    --------
    >>> from biot_bd.deploy.version_names import is_prerelease
    >>> is_prerelease("1.0.0-rc.1"), is_prerelease("1.0.0")
    (True, False)
    """
    return "-" in version


def precedence(version: str) -> tuple[Any, ...]:
    """Return a key that sorts versions by https://semver.org, section 11.

    Examples
    --------
    >>> from biot_bd.deploy.version_names import precedence
    >>> sorted(["1.10.0", "1.0.0", "1.0.0-rc.1", "1.0.0-rc.10", "1.0.0-rc.2"], key=precedence)
    ['1.0.0-rc.1', '1.0.0-rc.2', '1.0.0-rc.10', '1.0.0', '1.10.0']
    """
    release, _, before = check_version(version).partition("-")
    numbers = tuple(int(number) for number in release.split("."))
    if not before:
        return (*numbers, (1,))
    parts = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in before.split("."))
    return (*numbers, (0, parts))


def newest_release(versions: Iterable[str]) -> str | None:
    """Return the newest version that is no pre-release, None where there is none.

    Examples
    --------
    >>> from biot_bd.deploy.version_names import newest_release
    >>> newest_release(["1.10.0", "1.9.0", "2.0.0-rc.1"])
    '1.10.0'
    """
    return max((one for one in versions if not is_prerelease(one)), key=precedence, default=None)


def split_label(text: str) -> tuple[str, str | None]:
    """Return name and version of ``NAME`` or ``NAME/VERSION``.

    Raises
    ------
    ModelRegistryError
        It is neither.

    Examples
    --------
    >>> from biot_bd.deploy.version_names import split_label
    >>> split_label("mine/1.0.0"), split_label("mine")
    (('mine', '1.0.0'), ('mine', None))
    """
    name, slash, version = text.partition("/")
    return check_name(name), check_version(version) if slash else None
