"""What studies cost: ``biot_bd.evaluation.estimate_cost`` on the speeds in ``results/*.json``.

Prints a table as Markdown and puts it into ``docs/scale.md``, between two marks.  A machine is in
it only where its speeds were measured and kept; nothing is guessed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _bench import RESULTS
from biot_bd.evaluation import Cost, Throughput, estimate_cost
from biot_bd.number_texts import duration_text

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
BEGIN, END = "<!-- costs -->", "<!-- /costs -->"
WINDOW_S, EPOCHS, CANDIDATES, INNER = 10, 20, 9, 3

FORMULA = (
    "With N windows, K folds, E epochs, C candidates, J inner folds and the share v that validates, a fit on n windows trains "
    "on E (1 - v) n windows and predicts E v n. The K outer fits have n = N (1 - 1/K), the K C J inner ones "
    "n = N (1 - 1/K) (1 - 1/J), and each predicts at last what it left out. Windows over windows a second are seconds. Hours "
    "are those of all workers together: they times the price of an hour are what is paid, they over the workers are how long it "
    "takes. `biot_bd.evaluation.estimate_cost(measure_throughput(pipeline, windows), n_windows=len(windows), ...)` says it of "
    "your machine, `biot-bd search --dry-run` of your search."
)


@dataclass(frozen=True)
class Corpus:
    """A data set: hours of recordings, and the folds by subject of a cross-validation."""

    name: str
    hours: float
    folds: int
    why: str

    @property
    def n_windows(self) -> int:
        """Windows that do not overlap."""
        return int(self.hours * 3600 / WINDOW_S)


CORPORA = (
    Corpus("CHB-MIT", 983, 23, "one of 23 subjects out"),
    Corpus("TUSZ 2.0.3", 1473.5, 5, "5 folds of 675 subjects"),
    Corpus("100,000 h", 100_000, 5, "5 folds by subject"),
)


def read(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """Return a result, or None where nobody measured it, or only quickly."""
    path = folder / f"{name}.json"
    result = json.loads(path.read_text()) if path.is_file() else None
    return None if result is None or result["quick"] else result


def speed(result: dict[str, Any], way: str, windows: int, **same: Any) -> float:
    """Return the windows a second of a row."""
    for row in result["rows"]:
        if row["way"] == way and all(row.get(name) == value for name, value in same.items()):
            return float(windows / row["median_s"])
    raise SystemExit(f"no row {way!r} {same or ''} in {result['title']!r}: run its script again")


def processor(folder: Path = RESULTS) -> Throughput:
    """Return what the processor of the kept results does, in bf16."""
    training, inference, reading, preparation = (
        read(name, folder) for name in ("training", "inference", "reading", "preparation")
    )
    if training is None or inference is None or reading is None or preparation is None:
        raise SystemExit("results of training, inference, reading and preparation are needed: run those scripts")
    machine = training["machine"]
    return Throughput(
        training=speed(training, "batch 64: biot_bd, bf16", 64),
        inference=speed(inference, "biot_bd, bf16", 64, batch=64, channels=16, threads=2),
        reading=speed(reading, "biot_bd, int16, percentiles cached", 1000),
        preparing=speed(preparation, "biot_bd, FFT segments (default)", 1),
        machine=f"{machine['processor']['name']}, {machine['torch_threads']} threads, {machine['date']}",
    )


def gpu(of_processor: Throughput, folder: Path = RESULTS) -> Throughput | None:
    """Return what the GPU of ``gpu.py`` does in bf16, windows there; None: not measured."""
    result = read("gpu", folder)
    if result is None:
        return None
    fastest = {
        kind: max(r["windows a second"] for r in result["rows"] if r["way"] == way and "windows a second" in r)
        for kind, way in {"training": "training step, biot_bd, bf16", "inference": "inference, biot_bd, bf16"}.items()
    }
    machine = f"{result['machine']['accelerator']}, {result['machine']['date']}"
    return Throughput(**fastest, preparing=of_processor.preparing, machine=machine)


def studies(corpus: Corpus, throughput: Throughput) -> dict[str, Cost]:
    """Return the costs of one model, of a cross-validation and of a nested search."""
    each = {"n_windows": corpus.n_windows, "epochs": EPOCHS, "recordings_h": corpus.hours}
    return {
        "one model": estimate_cost(throughput, n_folds=1, **each),
        "cross-validation": estimate_cost(throughput, n_folds=corpus.folds, **each),
        "nested search": estimate_cost(
            throughput, n_folds=corpus.folds, n_candidates=CANDIDATES, inner_folds=INNER, **each
        ),
    }


def table(folder: Path = RESULTS) -> str:
    """Return the table, with what it rests on."""
    cpu = processor(folder)
    machines = {"this processor": cpu, "H200": gpu(cpu, folder)}
    said = (
        f"Measured: {cpu.training:.0f} windows a second in training, {cpu.inference:.0f} in prediction, "
        f"{cpu.reading:,.0f} read, {3600 * (cpu.preparing or 0):,.0f} hours of recordings prepared an hour ({cpu.machine}; "
        f"BIOT, 16 channels x {WINDOW_S} s, bf16, batches of 64). Extrapolated: {EPOCHS} epochs, windows of {WINDOW_S} s "
        f"that do not overlap, a fifth of the training windows validates; the search tries {CANDIDATES} candidates in {INNER} "
        "inner folds. A machine that was not measured has no figures."
    )
    if machines["H200"] is not None:
        found = machines["H200"]
        said += f" GPU: {found.training:,.0f} in training, {found.inference:,.0f} in prediction ({found.machine})."
    lines = [said, "", "| data | windows | study | fits | windows trained on | " + " | ".join(machines) + " |"]
    lines.append("|---" * (5 + len(machines)) + "|")
    for corpus in CORPORA:
        for name, cost in studies(corpus, cpu).items():
            folds = "" if name == "one model" else f", {corpus.why}"
            times = [
                "not measured" if other is None else duration_text(3600 * studies(corpus, other)[name].hours)
                for other in machines.values()
            ]
            lines.append(
                f"| {corpus.name} | {corpus.n_windows:,} | {name}{folds} | {cost.fits} | "
                f"{cost.training_windows / 1e6:,.0f} million | {' | '.join(times)} |"
            )
    return "\n".join([*lines, "", FORMULA])


def put(text: str, page: str) -> str:
    """Return a page with the table between its marks."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where the page differs")
    options = parser.parse_args()
    text = table()
    page = PAGE.read_text()
    print(text)
    if options.check:
        raise SystemExit(put(text, page) != page)
    PAGE.write_text(put(text, page))


if __name__ == "__main__":
    main()
