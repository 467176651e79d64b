"""From microvolts to probabilities through full-size BIOT in every engine, against braindecode in
float32.

The model is trained on generated recordings first (some minutes, kept in ``benchmarks/cache``): how
far a precision moves probabilities, and whether int8 passes the gates, depends on weights that have
learnt something.  ``--quick`` takes a small model.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import biot_bd  # noqa: F401  (braindecode imports beside a CPU torch)
from _bench import arguments, interleave, publish, summarise
from biot_bd import load_pipeline, save_pipeline
from biot_bd.deploy.engine_candidates import find_candidates
from biot_bd.deploy.model import ModelScorer, load_model
from biot_bd.deploy.signal_chain import WindowBatch
from biot_bd.exceptions import ExportError, MissingExtraError
from biot_bd.export import export_model
from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.windows import Windows
from inference import floor

CACHE = Path(__file__).parent / "cache"
PEER = "braindecode, fp32"
BATCH = 64
SMALL = {"module__embed_dim": 64, "module__num_heads": 4, "module__num_layers": 2, "module__hop_length": 200}
# (engine, precision, threads): ratio to the peer at batch 64, largest difference of a probability.
WANTED = {
    ("torch", "fp32", 1): (2.0, 1e-5),
    ("torch", "bf16", 1): (5.5, 5e-4),
    ("openvino", "fp32", 1): (2.9, 1e-5),
    ("openvino", "bf16", 1): (5.5, 5e-3),
    ("openvino", "int8", 2): (8.0, 1e-2),
}
EPOCHS, MINUTES, SUBJECTS = 4, 10, 6


def trained(quick: bool) -> tuple[Path, Path]:
    """Return a trained model and its windows, from an earlier run where there was one."""
    name = "small" if quick else "full"
    store, raw, model = CACHE / "windows", CACHE / f"trained-{name}", CACHE / f"model-{name}"
    if not (store / "manifest.json").is_file():
        from biot_bd import load_dataset, prepare

        recordings = load_dataset("demo", CACHE / "edf", n_subjects=SUBJECTS, recordings=2, minutes=MINUTES)
        prepare(recordings, store)
    if not (raw / "pipeline.json").is_file():
        words = [str(Path(sys.executable).parent / "biot-bd"), "train", str(store), "-o", str(raw)]
        words += ["--epochs", str(1 if quick else EPOCHS), "--precision", "auto", "--batch-size", "32"]
        words += [word for item in (SMALL.items() if quick else ()) for word in ("--param", f"{item[0]}={item[1]}")]
        subprocess.run(words, check=True)
    if not (model / "pipeline.json").is_file():
        # Trained fast; saved as one of fp32, which loads without braindecode, as most are.
        pipeline = load_pipeline(raw)
        pipeline[-1].precision = "fp32"
        pipeline[-1]._take_plans(PrecisionPlan("fp32", 8))
        save_pipeline(pipeline, model, record=pipeline.record_)
        shutil.copy(raw / "events.json", model)
    return model, store


def exported(model: Path, store: Path, notes: list[str]) -> None:
    """Export the model anew to each format, and to int8, into its ``exports/``."""
    shutil.rmtree(model / "exports", ignore_errors=True)
    for format, int8 in (("onnx", False), ("openvino", False), ("openvino", True), ("onnx", True)):
        name = f"{format}-int8" if int8 else format
        try:
            export_model(model, model / "exports" / name, format=format, int8=int8, store=store)
        except (ExportError, MissingExtraError) as error:
            notes.append(f"{name}: not exported: {error}")


def peer(model: Path, scorer: ModelScorer) -> Callable[[WindowBatch], np.ndarray]:
    """Return braindecode's BIOT with the model's weights, behind the same scaling."""
    from braindecode.models import BIOT

    from biot_bd import PercentileScaler

    ours = load_pipeline(model)[-1].module_
    sizes = {"n_outputs": 2, "n_chans": 16, "n_times": scorer.n_times, "sfreq": scorer.sfreq}
    config = {name: getattr(ours, name) for name in ("embed_dim", "num_heads", "num_layers", "hop_length")}
    theirs = BIOT(**sizes, **config).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    step, info = PercentileScaler(), scorer._info

    def score(batch: WindowBatch) -> np.ndarray:
        x, _ = step.apply(batch.x, batch.present, info)
        with torch.inference_mode():
            return theirs(torch.from_numpy(x)).softmax(1)[:, 1].numpy()

    return score


def windows_of(store: Path, n: int) -> WindowBatch:
    """Return windows of all recordings, half of them of seizures where there are enough."""
    windows = Windows.open(store)
    rng = np.random.default_rng(0)
    by_class = [np.flatnonzero(windows.y == label) for label in (0, 1)]
    rows = np.sort(np.concatenate([rng.choice(rows, min(len(rows), n // 2), replace=False) for rows in by_class]))
    x = windows.read(rows).astype(np.float32)
    return WindowBatch(x, np.ones(x.shape[:2], bool), np.arange(len(x), dtype=np.float64))


def part(batch: WindowBatch, rows: Any) -> WindowBatch:
    return WindowBatch(batch.x[rows], batch.present[rows], batch.start_s[rows])


def place_error(model: ModelScorer, batch: WindowBatch) -> float:
    """Return by how much a window's probability depends on its place, and on louder company."""
    window = batch.x[:1]
    same = WindowBatch(
        np.repeat(window, BATCH, axis=0), np.ones((BATCH, window.shape[1]), bool), np.arange(BATCH) * 1.0
    )
    loud = same.x.copy()
    loud[1::2] = 1000 * batch.x[1]
    alone = model.score(part(same, slice(0, 1)))
    found = np.concatenate([model.score(same), model.score(WindowBatch(loud, same.present, same.start_s))[::2]])
    return float(np.abs(found - alone).max())


def compare(model: Path, windows: WindowBatch, threads: int, rounds: int, notes: list[str]) -> list[dict[str, Any]]:
    """Check what each engine computes, then time all in turns."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # the engines of exported models ask for it
    scorer = load_model(model, "torch")
    theirs = peer(model, scorer)
    expected = np.concatenate([theirs(part(windows, slice(i, i + BATCH))) for i in range(0, len(windows), BATCH)])
    batch = part(windows, np.arange(BATCH) % len(windows))
    found = [one for one in find_candidates(model)[0] if one.engine != "torch"]
    ways: dict[str, Callable[[], object]] = {PEER: lambda: theirs(batch)}
    facts: dict[str, dict[str, Any]] = {}
    for engine, precision, folder in [("torch", "fp32", model), ("torch", "bf16", model)] + [
        (one.engine, one.precision, one.folder) for one in found
    ]:
        loaded = load_model(folder, engine)
        told = loaded.set_precision(precision, BATCH)
        if loaded.precision != precision:
            notes.append(f"{engine} {precision}, {threads} thread(s): {'; '.join(told)}")
            continue
        scores = np.concatenate(
            [loaded.score(part(windows, slice(i, i + BATCH))) for i in range(0, len(windows), BATCH)]
        )
        way = f"{engine}, {precision}"
        facts[way] = {
            "engine": engine,
            "precision": precision,
            "largest error": float(np.abs(scores - expected).max()),
            "decisions changed": int(((scores >= scorer.threshold) != (expected >= scorer.threshold)).sum()),
            "place and company": place_error(loaded, windows),
        }
        ways[way] = lambda loaded=loaded: loaded.score(batch)  # type: ignore[misc]
    if threads == 1:
        ways["floor: fp32 matrix products"] = floor(BATCH, 16, torch.float32)
        ways["floor: bf16 matrix products"] = floor(BATCH, 16, torch.bfloat16)
    # Of one thread its processor time: others on the machine do not lengthen it.
    clock = time.process_time if threads == 1 else time.perf_counter
    rows = summarise(interleave(ways, rounds, clock=clock), [PEER])
    for row in rows:
        row |= facts.get(str(row["way"]), {}) | {"windows a second": BATCH / float(row["median_s"])}  # type: ignore[arg-type]
    return [{"threads": threads, **row} for row in rows]


def targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was wanted beside what was measured; a row that is missing was not reached."""
    found: list[dict[str, Any]] = []
    for (engine, precision, threads), (wanted, most) in WANTED.items():
        name = f"{engine} {precision}, batch {BATCH}, {threads} thread(s), to {PEER}"
        # Of int8 with its rest in fp32 and in bf16 the faster one counts.
        same = [
            r
            for r in rows
            if (r.get("engine"), r["threads"]) == (engine, threads)
            and (r["precision"] == precision or r["precision"].removesuffix("-bf16") == precision == "int8")
        ]
        row = max(same, key=lambda r: r[f"times as fast as {PEER}"][0], default=None)
        if row is None:
            found.append({"what": name, "measured": 0.0, "spread": None, "wanted": wanted, "floor": None, "unit": "x"})
            continue
        median, low, high = row[f"times as fast as {PEER}"]
        least = next((r for r in rows if r["way"] == f"floor: {precision} matrix products"), None)
        floor_ = None if least is None or threads != 1 else least[f"times as fast as {PEER}"][0]
        goal = {"what": name, "measured": median, "spread": [low, high], "wanted": wanted, "floor": floor_, "unit": "x"}
        error = {
            "measured": row["largest error"],
            "spread": None,
            "wanted": most,
            "floor": None,
            "unit": "",
            "at_most": True,
        }
        found += [goal, {"what": f"{engine} {precision}: largest error of a probability", **error}]
        if precision == "int8":
            place = {**error, "measured": row["place and company"], "wanted": 1e-3}
            found.append({"what": "int8: what place and company in the batch change", **place})
    return found


def main() -> None:
    options = arguments(__doc__ or "")
    notes: list[str] = []
    model, store = trained(options.quick)
    exported(model, store, notes)
    windows = windows_of(store, BATCH if options.quick else 4 * BATCH)
    rows = [row for threads in (1, 2) for row in compare(model, windows, threads, options.rounds, notes)]
    fast = statistics.median(row["median_s"] for row in rows if row["way"] == PEER)
    notes += [
        f"errors: {len(windows)} windows of generated recordings, to {PEER} (a batch takes {fast:.2f} s), behind the same scaling; "
        "place and company: what a window's probability changes by in other slots of the batch and beside windows a thousand times "
        "louder",
        "one thread: processor seconds; two threads: seconds by the clock",
        "floors: the matrix products of the same shapes alone, by torch, in micro-batches of 8, memory reused",
    ]
    title = f"Engines: full-size BIOT from microvolts to probabilities, seconds a batch of {BATCH}"
    publish("engines", title, rows, notes, options.quick, targets(rows))


if __name__ == "__main__":
    main()
