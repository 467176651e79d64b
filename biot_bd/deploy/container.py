"""The entry point of the container.

One recording in, one SzCORE table out, named by INPUT and OUTPUT.

``python -m biot_bd.deploy.container`` reads from the environment:

- ``INPUT``: the recording, absolute or below ``DATA`` (default ``/data``, read-only);
- ``OUTPUT``: the table to write, absolute or below ``RESULTS`` (default ``/output``);
- ``MODEL``: folder of the saved or exported model (default ``/model``, where the image has it);
- optional ``STRIDE_S``, ``THRESHOLD``, ``ON_MISSING`` (default ``drop``: a missing channel is
  masked, as the public board scores a missing table as no detection), ``PRECISION`` and
  ``ENGINE``.

Exit status: 0 and a table, or 1, no table and one line on stderr.  A recording that is shorter than
a window gets a table that says ``bckg``, as the public board wants one of every recording, and a
note on stderr that nothing could be looked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run(environment: Mapping[str, str]) -> Path:
    """Detect in one recording and write its table.

    Parameters
    ----------
    environment : mapping of str to str
        See the module.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    ValueError
        A variable is missing or no number, or the recording cannot be used.
    OSError
        The model is not there, or the table cannot be written.
    """
    source = _place(environment, "INPUT", "DATA", "/data")
    target = _place(environment, "OUTPUT", "RESULTS", "/output")
    if target.suffix.lower() != ".tsv":
        raise ValueError(f"OUTPUT={target}: expected a name that ends in .tsv")
    options: dict[str, Any] = {
        "on_missing": environment.get("ON_MISSING", "drop"),
        "precision": environment.get("PRECISION") or None,
        "engine": environment.get("ENGINE") or "auto",
    }
    for variable, option in (("STRIDE_S", "stride_s"), ("THRESHOLD", "threshold")):
        if environment.get(variable):
            options[option] = _number(variable, environment[variable])
    from biot_bd.deploy.detector import Detector
    from biot_bd.deploy.results import write_events
    from biot_bd.events.files import write_event_file
    from biot_bd.events.scoring import RATE_HZ
    from biot_bd.exceptions import ShortRecordingError
    from biot_bd.models.checkpoints.demonstration import IN_SHORT, demonstration_among

    detector = Detector.load(environment.get("MODEL", "/model"), **options)
    try:
        detection = detector.detect(source)
    except ShortRecordingError as error:
        if error.duration_s * RATE_HZ < 1:  # of no length, for the scorer
            raise
        print(f"note: {error}; nothing could be looked for in it, the table says bckg", file=sys.stderr)
        told = {} if demonstration_among(detector.notes) is None else {"model": IN_SHORT}
        return write_event_file(target, [], error.duration_s, start=error.start_time, facts=told)
    for note in detection.notes:
        print(f"note: {note}", file=sys.stderr)
    return write_events(target, detection, "tsv")


def _place(environment: Mapping[str, str], name: str, base: str, default: str) -> Path:
    value = environment.get(name)
    if not value:
        raise ValueError(f"{name} is not set: it names the {'recording' if name == 'INPUT' else 'table to write'}")
    return Path(environment.get(base, default)) / value  # an absolute value stands for itself


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name}={text!r}: expected a number") from None


def main() -> int:
    """Run with the environment of the process; return the exit status."""
    try:
        print(run(os.environ))
    except Exception as error:
        print(f"biot_bd container: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
