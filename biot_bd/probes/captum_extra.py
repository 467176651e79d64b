"""captum, which comes with the extra ``explain``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from biot_bd.exceptions import MissingExtraError


def captum_attr(name: str) -> Any:
    """Return a method of captum by the name of its class.

    Raises
    ------
    biot_bd.exceptions.MissingExtraError
        captum is not installed.
    """
    try:
        return getattr(import_module("captum.attr"), name)
    except ImportError as error:
        raise MissingExtraError(f"captum's {name} needs the package captum: pip install 'biot-bd[explain]'") from error
