"""Cross-validation and search at the size of CHB-MIT: what they cost beside the models.

Overhead: ``cross_validate``, ``assess`` and ``write_report`` with given predictions, beside the
commit ``baseline-0`` (of 326,000 windows in three folds, and of few in all), and how it grows with
the number of windows (subject-loo, 24 folds).  Memory: what a parent and two workers of a search
by subject hold for themselves, at 50,000 windows and as the windows grow.  The windows are
generated; all recordings are pieces of one signal file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from _bench import RESULTS, arguments, limit, publish, summarise, target
from _store_of_windows import write_store
from baseline import COMMIT, environment, run

MB = 2**20
WINDOW_BYTES = 16 * 2000 * 4
N_PROCESSES = 3
WANTED, MOST_MB, MOST_EXPONENT = 3.0, 3 * 1024, 1.1
FEW_SPLIT, ALL = "subject-kfold-3", "subject-loo"
GRID = {"biotclassifier__lr": [1e-4, 1e-3, 1e-2], "biotclassifier__batch_size": [32, 64, 128]}

OVERHEAD = """
import inspect, shutil
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from biot_bd import Windows, cross_validate
from biot_bd.evaluation import assess
from biot_bd.report import write_report

class Given(ClassifierMixin, BaseEstimator):
    "Gives probabilities without reading a window."
    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        return self
    def predict_proba(self, X):
        y = X.y
        z = np.random.default_rng(len(y)).normal(size=len(y)) - 3 + 2.5 * y
        p = 1 / (1 + np.exp(-z))
        return np.stack([1 - p, p], axis=1)

windows = Windows.open(folder / STORE)
if inspect.signature(cross_validate).parameters["cv"].default == "person-loo":  # the baseline's word
    CV = CV.replace("subject", "person")
shutil.rmtree(own / "run", ignore_errors=True)
marks = [time.perf_counter()]
result = cross_validate(Given(), windows, cv=CV, folder=own / "run", progress=False)
marks.append(time.perf_counter())
assess(result)
marks.append(time.perf_counter())
write_report(own / "run")
marks.append(time.perf_counter())
pooled = result.metrics["pooled"]
scores = [pooled[name]["value"] for name in ("average_precision", "roc_auc")]
tell(marks[-1] - marks[0], {"parts": np.diff(marks).tolist(), "scores": scores, "rows": len(result.predictions)})
"""

SEARCH = """
import json, sys
from itertools import islice
from pathlib import Path
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from biot_bd import BIOTClassifier, PercentileScaler, Windows
from biot_bd.evaluation import SubjectSplit, search
from biot_bd.training.sampling.strategies import ClassBalanced

store, how, folder, grid = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])
torch.set_num_threads(1)
windows = Windows.open(store)
net = BIOTClassifier(
    max_epochs=1, batch_size=64, sampler=ClassBalanced(epoch_size=256), train_split=None, patience=None, random_state=0,
    device="cpu", module__embed_dim=8, module__num_heads=1, module__num_layers=1,
)
pipeline = make_pipeline(PercentileScaler(), net)
print("READY", flush=True)
if how == "search":
    cvs = {"cv": "subject-kfold-2", "inner_cv": "subject-kfold-2"}
    search(pipeline, grid, windows, folder=folder, n_jobs=2, progress=False, scoring="roc_auc", **cvs)
else:
    cv = SubjectSplit("subject-kfold-3")
    if how == "one-subject":  # the size of what is selected grows, not the time
        cv = list(islice(SubjectSplit("subject-loo").split(windows, windows.y, windows.groups), 3))
    found = GridSearchCV(pipeline, grid, cv=cv, scoring="roc_auc", n_jobs=2, refit=False, error_score="raise")
    found.fit(windows, windows.y, groups=windows.groups)
"""


# --- overhead -------------------------------------------------------------------------------------


def measured(python: Path, store: str, cv: str, folder: Path, own: Path) -> tuple[float, Any]:
    """Return the seconds of a cross-validation, its statistics and report, and what it says."""
    return run(python, f"STORE, CV = {store!r}, {cv!r}\n{OVERHEAD}", folder, own)


def against_baseline(folder: Path, store: str, cv: str, rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time both, in turning order; stop where the pooled scores differ."""
    pythons = {"now": Path(sys.executable), "baseline": environment(RESULTS / "baseline-environment")}
    times: dict[str, list[float]] = {who: [] for who in pythons}
    told: dict[str, Any] = {}
    for turn in range(rounds):
        for who in list(pythons)[:: 1 if turn % 2 else -1]:
            seconds, told[who] = measured(pythons[who], store, cv, folder, folder / who)
            times[who].append(seconds)
    np.testing.assert_allclose(told["now"]["scores"], told["baseline"]["scores"], rtol=1e-9)
    rows = summarise(times, ["baseline"])
    for row in rows:
        row |= {"windows": store, "cv": cv, **dict(zip(PARTS, told[str(row["way"])]["parts"], strict=True))}
    return rows, f"{told['now']['rows']:,} rows of predictions, {told['baseline']['rows']:,} in the baseline"


def exponent(n_windows: list[int], seconds: list[float]) -> float:
    """Return the slope of the logarithms: 1 where time grows as the windows do."""
    return float(np.polyfit(np.log(n_windows), np.log(seconds), 1)[0])


# --- memory ---------------------------------------------------------------------------------------


def peak_of_search(store: Path, how: str, folder: Path, grid: dict[str, list[float]]) -> dict[str, Any]:
    """Run a search in processes of its own; return what they held at their peak, in MB.

    ``unshared_mb`` is what would be free again if they ended (USS, summed over parent and workers);
    ``signal_rss_mb`` and ``signal_pss_mb`` are the pages of the signal file that they have mapped,
    counted in each process and shared out among them.
    """
    words = [sys.executable, "-W", "ignore", "-c", SEARCH, os.fspath(store), how, os.fspath(folder), json.dumps(grid)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    peak: dict[str, float] = dict.fromkeys(("unshared_mb", "signal_rss_mb", "signal_pss_mb", "n_processes"), 0.0)
    while parent.poll() is None:
        found = _memory_of(psutil.Process(parent.pid))
        if found["unshared_mb"] > peak["unshared_mb"]:
            peak |= {name: found[name] for name in ("unshared_mb", "n_processes")}
        if found["signal_rss_mb"] > peak["signal_rss_mb"]:
            peak |= {name: found[name] for name in ("signal_rss_mb", "signal_pss_mb")}
        time.sleep(0.3)
    if parent.returncode:
        raise SystemExit(f"the search ended with {parent.returncode}:\n{parent.communicate()[1][-2000:]}")
    return {**peak, "seconds": time.perf_counter() - started}


def _memory_of(parent: psutil.Process) -> dict[str, float]:
    total = dict.fromkeys(("unshared_mb", "signal_rss_mb", "signal_pss_mb", "n_processes"), 0.0)
    try:
        everyone = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return total
    for process in everyone:
        try:
            own = process.memory_full_info().uss / MB
            maps = [one for one in process.memory_maps() if one.path.endswith("shared.npy")]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        total["unshared_mb"] += own
        total["n_processes"] += 1
        total["signal_rss_mb"] += sum(one.rss for one in maps) / MB
        total["signal_pss_mb"] += sum(one.pss for one in maps) / MB
    return total


Found = tuple[list[dict[str, Any]], list[str], list[dict[str, Any]]]
PARTS = ("cross_validate_s", "assess_s", "write_report_s")


def growth_of_overhead(folder: Path, sizes: list[int]) -> Found:
    """Time this checkout at several sizes, all subjects left out in turn."""
    rows, grown = [], []
    for n in sizes:
        seconds, told = measured(Path(sys.executable), str(n), ALL, folder, folder / "now")
        grown.append(seconds)
        parts = dict(zip(PARTS, told["parts"], strict=True))
        rows.append({"way": "now", "median_s": seconds, "windows": str(n), "cv": ALL, **parts})
    slope = exponent(sizes[-2:], grown[-2:])
    note = (
        f"seconds grow with the number of windows to the power of {exponent(sizes, grown):.2f} "
        f"({', '.join(f'{n:,}' for n in sizes)}), {slope:.2f} between the last two"
    )
    return rows, [note], [limit("overhead: exponent of its growth with the windows", slope, MOST_EXPONENT, "")]


def memory_of_grids(folder: Path, n: int) -> Found:
    """Measure a 3 x 3 grid with two workers, scikit-learn's and ours."""
    rows, targets = [], []
    for how, what in (("grid", "GridSearchCV"), ("search", "biot_bd.evaluation.search")):
        found = peak_of_search(folder / str(n), how, folder / f"searched-{how}", GRID)
        rows.append({"way": f"{what}, 3 x 3, 2 workers", "windows": str(n), **found})
        said = f"{what}, 3 x 3, 2 workers, {n:,} windows ({n * WINDOW_BYTES / MB:,.0f} MB in float32): unshared memory"
        targets.append(limit(said, found["unshared_mb"], MOST_MB, "MB"))
    return rows, [], targets


def growth_of_memory(folder: Path, sizes: list[int]) -> Found:
    """Measure two candidates at several sizes, each tested on three single subjects."""
    few = {"biotclassifier__lr": GRID["biotclassifier__lr"][:2]}
    found = [peak_of_search(folder / str(n), "one-subject", folder / "unused", few) for n in sizes]
    way = "GridSearchCV, 2 candidates, 2 workers, tests on single subjects"
    rows = [{"way": way, "windows": str(n), **one} for n, one in zip(sizes, found, strict=True)]
    more = (found[-1]["unshared_mb"] - found[0]["unshared_mb"]) / (sizes[-1] - sizes[0]) * MB / N_PROCESSES
    note = (
        f"unshared memory grows by {more:.0f} bytes a window in each of {N_PROCESSES} processes (the table of windows); a window "
        f"in float32 has {WINDOW_BYTES:,}"
    )
    what = "search, 2 workers: unshared memory of each process, a window more"
    return rows, [note], [limit(what, more, WINDOW_BYTES / 100, "bytes")]


def main() -> None:
    options = arguments(__doc__ or "")
    sizes, few, many = ([4_000, 8_000], 4_000, 8_000) if options.quick else ([20_000, 80_000, 326_000], 20_000, 50_000)
    rounds = options.rounds if "--rounds" in sys.argv else 1  # one of the baseline takes minutes
    rows, notes, targets = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in sorted({*sizes, few, many}):
            # The signal under what is searched could not be overlooked in a process: 2 s a window.
            write_store(folder / str(n), n, signal_s=2.0 * n if n == many else None)
        for n, cv in ((sizes[-1], FEW_SPLIT), (few, ALL)):
            found, said = against_baseline(folder, str(n), cv, rounds)
            rows += found
            notes.append(f"{n:,} windows, {cv}: {said}")
            what = f"overhead of cross_validate, statistics and report, {n:,} windows, {cv}, against {COMMIT}"
            targets.append(target(what, found[0], "baseline", WANTED))
        for part in (growth_of_overhead(folder, sizes), memory_of_grids(folder, many), growth_of_memory(folder, sizes)):
            for whole, new in zip((rows, notes, targets), part, strict=True):
                whole += new
    publish("scale", "Cross-validation and search at scale", rows, notes, options.quick, targets)


if __name__ == "__main__":
    main()
