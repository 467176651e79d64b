"""Whether what a JSON file holds has the form that code expects: the form is a type annotation."""

from __future__ import annotations

import os
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from biot_bd.exceptions import BiotBdError

DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    AssertionError,
    EOFError,
)
"""What damaged content may raise in those who read it and build from it."""
_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
_WORDS[type(None)] = "null"
_NOTHING = object()


def check_values(value: Any, wanted: Any, where: str = "") -> None:
    """Raise where values read from JSON are not of a type.

    Parameters
    ----------
    value : object
        What :func:`biot_bd.runs.read_json` returned, or a part of it.
    wanted : type annotation
        ``Any``, ``None``, ``bool``, ``int``, ``float`` (whole numbers too), ``str``, ``list[...]``,
        ``dict[str, ...]``, a ``TypedDict`` (other keys may be there), or a union of these.
    where : str
        Keys that lead there, for the message.

    Raises
    ------
    ValueError
        The message names the key, what was expected and what was found.

    Examples
    --------
    >>> from typing import TypedDict
    >>> from biot_bd.json_values import check_values
    >>> class Facts(TypedDict):
    ...     seed: int
    ...     scores: dict[str, float | None]
    >>> check_values({"seed": 0, "scores": {"auc_pr": 0.7, "f1": None}}, Facts)
    >>> check_values({"seed": 0, "scores": {"auc_pr": "high"}}, Facts)
    Traceback (most recent call last):
    ...
    ValueError: scores.auc_pr: expected a number or null, found 'high'
    """
    _check(value, wanted, where, whole=True)


def check_present(value: Any, wanted: Any, where: str = "") -> None:
    """Raise as :func:`check_values` does, but for keys that are missing: older files lack some.

    Parameters
    ----------
    value, wanted, where
        As for :func:`check_values`.

    Raises
    ------
    ValueError
        A value that is there is of another type.
    """
    _check(value, wanted, where, whole=False)


def _check(value: Any, wanted: Any, where: str, whole: bool) -> None:
    members = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    found = next((one for one in members if _is_a(value, _plain(one))), _NOTHING)
    if found is _NOTHING:
        told = _WORDS[type(value)] if isinstance(value, (dict, list)) else repr(value)[:80]
        raise ValueError(f"{where or 'the file'}: expected {_in_words(wanted)}, found {told}")
    wanted, origin = found, get_origin(found)
    before = f"{where}." if where else ""
    if is_typeddict(wanted):
        hints = get_type_hints(wanted, include_extras=True)
        for key, hint in hints.items():
            optional = get_origin(hint) is NotRequired
            if key in value:
                _check(value[key], get_args(hint)[0] if optional else hint, f"{before}{key}", whole)
            elif whole and not optional and key not in wanted.__optional_keys__:
                raise ValueError(f"{before}{key} is missing")
    elif origin is list:
        for number, one in enumerate(value):
            _check(one, get_args(wanted)[0], f"{where}[{number}]", whole)
    elif origin is dict:
        for key, one in value.items():
            _check(one, get_args(wanted)[1], f"{before}{key}", whole)


@contextmanager
def naming(where: str | os.PathLike[str], kind: type[Exception] = ValueError) -> Iterator[None]:
    """Turn what damaged content raises into one error that names its file or folder.

    Parameters
    ----------
    where : path
        The file or folder.
    kind : type of Exception
        The error to raise.

    Raises
    ------
    Exception
        Of ``kind``; errors of biot_bd and those of one line that name ``where`` go through.

    Examples
    --------
    >>> from biot_bd.json_values import naming
    >>> with naming("run/metrics.json"):
    ...     {}["macro"]
    Traceback (most recent call last):
    ...
    ValueError: run/metrics.json: damaged (lacks 'macro')
    """
    try:
        yield
    except DAMAGE as error:
        named = os.fspath(where) in str(error) and len(str(error).splitlines()) == 1
        if named or isinstance(error, BiotBdError):
            raise
        told = " ".join(str(error).split())[:300]
        what = f"lacks {told}" if type(error) is KeyError else f"{type(error).__name__}: {told}"
        raise kind(f"{where}: damaged ({what})") from error


def _plain(wanted: Any) -> Any:
    origin = get_origin(wanted)
    return origin if origin in (list, dict) else dict if is_typeddict(wanted) else wanted


def _is_a(value: Any, plain: Any) -> bool:
    if plain is Any:
        return True
    if plain is None or plain is type(None):
        return value is None
    if isinstance(value, bool):
        return plain is bool
    if plain is float:
        return isinstance(value, (int, float))
    return isinstance(value, Mapping if plain is dict else plain)


def _in_words(wanted: Any) -> str:
    if get_origin(wanted) in (Union, types.UnionType):
        return " or ".join(map(_in_words, get_args(wanted)))
    plain = _plain(wanted)
    return _WORDS.get(type(None) if plain is None else plain, "something else")
