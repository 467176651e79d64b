"""OpenVINO and nncf without the messages that they send home.

Both come with ``openvino-telemetry``, which reports every import and every call to a server unless
somebody opted out in a file of the home folder.  A machine in a hospital must not have to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PACKAGE = "openvino_telemetry"
_MISSING = object()


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Import and call OpenVINO and nncf inside, and no message is made.

    While the block runs ``openvino_telemetry`` cannot be imported, for which both packages have a
    silent replacement.  Where somebody imported it before, its consent is withdrawn while the block
    runs, and nobody's file of consent is written or changed.

    Yields
    ------
    None

    See Also
    --------
    biot_bd.export.int8 : Quantises inside of it.

    Examples
    --------
    >>> import sys
    >>> with no_telemetry():
    ...     import openvino
    >>> "openvino_telemetry" in sys.modules
    False
    """
    before = sys.modules.get(_PACKAGE, _MISSING)
    sender = _sender(before)
    consent = getattr(sender, "consent", None)
    if sender is not None:
        sender.consent = False
    sys.modules[_PACKAGE] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is _MISSING:
            del sys.modules[_PACKAGE]
        else:
            sys.modules[_PACKAGE] = before  # type: ignore[assignment]
        if sender is not None:
            sender.consent = consent


def _sender(module: Any) -> Any:
    """Return the one object of the process that sends, where there is one already."""
    make = getattr(module, "Telemetry", None)
    if make is None:
        return None
    try:
        return make()
    except RuntimeError:  # imported, but nobody set it up
        return None
