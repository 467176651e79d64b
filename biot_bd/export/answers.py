"""Whether an engine answers at all, asked in a process of its own.

What hangs or crashes in an engine's own code takes the process with it, so it is tried where that
does no harm.  Run as ``python -m biot_bd.export.answers`` by :func:`check_answers`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from biot_bd.exceptions import ExportGateError

LIMIT_S = 60.0
"""Much longer than any graph took to start and to compute a few windows."""
BATCHES = (1, 3)


def check_answers(
    file: Path, inputs: Sequence[str], engine: str, precision: str, n_chans: int, n_times: int, limit_s: float = LIMIT_S
) -> None:
    """Raise where an engine does not come back from a graph.

    Parameters
    ----------
    file : Path
        The graph.
    inputs : sequence of str
        Names of its inputs.
    engine, precision : str
        By what, and how.
    n_chans, n_times : int
        Size of a window.
    limit_s : float
        How long it may take, with the engine's start.

    Raises
    ------
    ExportGateError
        It took longer, or the process ended by a signal.  What the engine says in words is left to
        the gates.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.export.answers import check_answers
    >>> check_answers(Path("no.onnx"), ["x"], "openvino", "bf16", 4, 400, limit_s=1e-3)
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ExportGateError: openvino in bf16: gave no answer within 0.001 s; ...
    """
    asked = [sys.executable, "-m", __name__, str(file), engine, precision, str(n_chans), str(n_times), *inputs]
    try:
        done = subprocess.run(asked, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportGateError(
            f"{engine} in {precision}: gave no answer within {limit_s:g} s; it is not used so for this model"
        ) from error
    if done.returncode < 0:
        raise ExportGateError(
            f"{engine} in {precision}: its process ended by signal {-done.returncode}; it is not used so for this model"
        )


def main(file: str, engine: str, precision: str, n_chans: str, n_times: str, *inputs: str) -> None:
    """Compute windows of noise."""
    run = import_module(f"biot_bd.export.engines.{engine}").build(Path(file), inputs, precision)
    x = np.random.default_rng(0).normal(0, 30, (max(BATCHES), int(n_chans), int(n_times))).astype(np.float32)
    for n in BATCHES:
        run(x[:n], np.ones((n, int(n_chans)), dtype=np.bool_))


if __name__ == "__main__":
    main(*sys.argv[1:])
