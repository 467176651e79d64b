"""What `doctor` takes for a folder of 1,000 recordings, by their headers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from _bench import arguments, interleave, limit, publish, summarise, write_recording

WANTED_MS = 10.0
TABLE = "onset\tduration\teventType\n2\t5\tsz\n"


def write_folder(folder: Path, n: int) -> None:
    """Write recordings of 23 channels that share one file's bytes, each beside its event table."""
    one = write_recording(folder.parent / "one.edf", 12, seed=0)
    for i in range(n):
        where = folder / f"P{i // 10:03d}"
        where.mkdir(parents=True, exist_ok=True)
        os.link(one, where / f"r{i:04d}.edf")
        (where / f"r{i:04d}_events.tsv").write_text(TABLE)


def main() -> None:
    from biot_bd.datasets import inspect_folder, load_dataset

    options = arguments(__doc__ or "")
    n = 100 if options.quick else 1000
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base, "clinic")
        write_folder(folder, n)
        facts = inspect_folder(folder)[0]
        if (len(facts.used), sum(one.n_seizures for one in facts.used), facts.stops_prepare) != (n, n, False):
            raise SystemExit(f"{len(facts.used)} of {n} recordings would be used")
        inspecting, loading = "inspect_folder (doctor)", "load_dataset alone"
        seconds = interleave(
            {
                inspecting: lambda: inspect_folder(folder),
                loading: lambda: load_dataset("recordings-folder", folder),
            },
            min(options.rounds, 3),
            warm_up=False,
        )
    rows = summarise(seconds, [loading], per=n / 1000)
    found = rows[0]
    goal = limit(
        "doctor, a file",
        found["median_s"],  # type: ignore[arg-type]  # seconds a thousand files: milliseconds a file
        WANTED_MS,
        "ms",
        spread=found["range_s"],  # type: ignore[arg-type]
        floor=rows[1]["median_s"],  # type: ignore[arg-type]
    )
    notes = [f"{n} EDFs of 23 channels with their event tables, page cache warm; figures are seconds a thousand files"]
    publish("doctor", "Looking at a folder, seconds a thousand files", rows, notes, options.quick, [goal])


if __name__ == "__main__":
    main()
