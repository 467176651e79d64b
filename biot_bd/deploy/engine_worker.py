"""One engine in a process of its own, so that its start and memory can be told: ``bench`` asks it.

Run as ``python -m biot_bd.deploy.engine_worker``; it takes a line of JSON on stdin and answers with
one on stdout, until stdin ends.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

N_WINDOWS = 64


def main() -> None:
    """Answer questions until there are no more."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    worker = Worker()
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(worker, f"answer_{question.pop('ask')}")(**question)
        except Exception as error:  # told by the parent, whatever it is
            answer = {"error": " ".join(str(error).split()) or type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Worker:
    """A model that was loaded by an engine, and what is asked of it."""

    def __init__(self) -> None:
        self.empty_mb = resident_mb()

    def answer_load(self, folder: str, engine: str, precision: str, n_windows: int) -> dict[str, Any]:
        """Load a model and score one window.

        The answer has the processor seconds since the process began.
        """
        from biot_bd.deploy.model import load_model

        self.model = load_model(folder, engine)
        notes = self.model.set_precision(precision, n_windows)
        self.x = generated_windows(len(self.model.montage.ch_names), self.model.n_times, self.model.sfreq, 1)
        self.model.score(self._batch(range(1)))
        cpu_s = time.process_time()
        found = {"precision": self.model.precision, "notes": notes, "window_s": self.model.window_s}
        return {**found, "start_cpu_s": cpu_s}

    def answer_windows(self, file: str | None) -> dict[str, Any]:
        """Take the windows of a file, or generated ones."""
        from biot_bd.bounded_files import read_npy

        model = self.model
        made = generated_windows(len(model.montage.ch_names), model.n_times, model.sfreq, N_WINDOWS)
        self.x = made if file is None else read_npy(file)
        return {}

    def answer_probabilities(self, batch: int) -> dict[str, Any]:
        """Score all windows, in batches."""
        import numpy as np

        starts = range(0, len(self.x), batch)
        parts = [self.model.score(self._batch(range(i, min(i + batch, len(self.x))))) for i in starts]
        return {"probabilities": np.concatenate(parts).tolist()}

    def answer_time(self, batch: int, seconds: float) -> dict[str, Any]:
        """Score one batch again and again for some seconds, at least once."""
        windows = self._batch(range(batch))
        calls, began, cpu = 0, time.perf_counter(), time.process_time()
        while not calls or time.perf_counter() - began < seconds:
            self.model.score(windows)
            calls += 1
        took_s = time.perf_counter() - began
        return {"calls": calls, "seconds": took_s, "cpu_s": time.process_time() - cpu}

    def answer_memory(self) -> dict[str, Any]:
        """Return by how much resident memory has grown at most."""
        return {"memory_mb": resident_mb(peak=True) - self.empty_mb}

    def _batch(self, numbers: range) -> Any:
        """Return windows by number, from the first again where there are no more."""
        import numpy as np

        from biot_bd.deploy.signal_chain import WindowBatch

        x = self.x[np.array(numbers) % len(self.x)]
        return WindowBatch(x, ~np.isnan(x).all(axis=2), np.arange(len(x), dtype=np.float64))


def generated_windows(n_chans: int, n_times: int, sfreq: float, n: int) -> Any:
    """Return windows with the spectrum of EEG, every other one with a rhythm on some channels.

    Parameters
    ----------
    n_chans, n_times : int
        Size of a window.
    sfreq : float
        Rate in Hz.
    n : int
        Windows.

    Returns
    -------
    ndarray of float32, shape (n, n_chans, n_times)
        Microvolts, the same every time.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    fall = np.maximum(np.fft.rfftfreq(n_times, 1 / sfreq), 0.5) ** -0.75
    x = np.fft.irfft(np.fft.rfft(rng.standard_normal((n, n_chans, n_times))) * fall, n_times)
    x *= 20 / x.std(axis=2, keepdims=True)
    rhythm = 60 * np.sin(2 * np.pi * 3 * np.arange(n_times) / sfreq) ** 3
    x[1::2] += rhythm * (rng.random((n // 2, n_chans, 1)) < 0.6)
    return x.astype(np.float32)


def resident_mb(peak: bool = False) -> float:
    """Return the memory of this process that is resident, or its highest value, in MB."""
    try:
        found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s*(\d+) kB", Path("/proc/self/status").read_text())
        if found is not None:
            return int(found[1]) / 1024
    except OSError:
        pass  # not on Linux
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / 1024 / (1024 if sys.platform == "darwin" else 1)


if __name__ == "__main__":
    main()
