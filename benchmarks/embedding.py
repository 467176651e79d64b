"""A comparison of frozen models by probes, fold by fold: embeddings that are kept against embedding
anew in each fold.

Five small models, all folds by subject, two probes.  The usual way of benchmarks embeds the
training and the test windows of each fold again and shares them among probes at most; ours asks an
``Embedder`` in a pipeline, whose embeddings lie on disk.  Both give the same scores.  Embedding
takes the same time in each fold, so of the usual way ``--peer-folds`` are measured and multiplied.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _bench import interleave, limit, publish, summarise, target

MODELS: dict[str, dict[str, Any]] = {
    "biot": {"embed_dim": 64, "num_heads": 4, "num_layers": 2, "hop_length": 200},
    "multi-scale-biot": {"embed_dim": 64, "num_heads": 4, "num_layers": 2, "hop_length": 200},
    "masked-vit": {"embed_dim": 64, "num_heads": 4, "num_layers": 2},
    "eegconformer": {"num_layers": 4, "num_heads": 4},
    "contrawr": {},
}
FOLDS, WINDOWS, WINDOW_S = 10, 50_000, 4
OURS, PEER = "biot_bd, kept on disk", "embedded anew in each fold"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 windows, one round")
    parser.add_argument("--rounds", type=int, default=1, help="interleaved rounds (default 1)")
    parser.add_argument("--windows", type=int, default=None, help=f"default {WINDOWS}, quick 2000")
    parser.add_argument("--peer-folds", type=int, default=None, help="folds of the usual way that are measured")
    found = parser.parse_args()
    found.windows = found.windows or (2000 if found.quick else WINDOWS)
    found.peer_folds = found.peer_folds or (FOLDS if found.quick else 2)
    return found


def made(folder: Path, n_windows: int) -> Path:
    """Prepare generated recordings of twenty subjects that give so many windows, a second apart."""
    from biot_bd import load_dataset, prepare

    minutes = max(2, -(-(n_windows // 20 + 2 * WINDOW_S) // 60))
    demo = load_dataset("demo", folder / "demo", n_subjects=20, recordings=1, minutes=minutes, seed=0)
    return prepare(demo, folder / "store", window_s=WINDOW_S, stride_s=1).folder


def opened(store: Path, n_windows: int) -> Any:
    """Return so many windows, as many of each subject."""
    from biot_bd import Windows

    windows = Windows.open(store)
    turn = np.concatenate([np.arange((windows.groups == subject).sum()) for subject in np.unique(windows.groups)])
    return windows[np.sort(np.argsort(turn, kind="stable")[:n_windows])]


def steps(model: str) -> list[Any]:
    from biot_bd import registry
    from biot_bd.signals import FixedScaler, PercentileScaler

    return [PercentileScaler() if registry.models.contract(model).scale == "percentile-95" else FixedScaler(100)]


def probes() -> list[Any]:
    from biot_bd.embedding import LinearProbe, RidgeProbe

    return [LinearProbe(C=0.01), RidgeProbe(alpha=(1.0, 100.0))]


def folds_of(windows: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import GroupKFold

    return list(GroupKFold(FOLDS).split(windows.y, groups=windows.groups))


def embedder(model: str, cache: Any) -> Any:
    from biot_bd import Embedder

    return Embedder(model, module_params=MODELS[model], cache=cache, device="cpu")


def score(probe: Any, x: Any, y: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(y, probe.predict_proba(x)[:, 1]))


def kept(model: str, windows: Any, folds: list[Any]) -> list[float]:
    from sklearn.pipeline import make_pipeline

    found = []
    with tempfile.TemporaryDirectory() as cache:
        for train, test in folds:
            for probe in probes():
                pipeline = make_pipeline(*steps(model), embedder(model, cache), probe).fit(
                    windows[train], windows.y[train]
                )
                found.append(score(pipeline, windows[test], windows.y[test]))
    return found


def anew(model: str, windows: Any, folds: list[Any]) -> list[float]:
    found, mapped = [], windows
    for step in steps(model):
        mapped = mapped.map(step)
    for train, test in folds:
        model_of_fold = embedder(model, False)
        x_train, x_test = model_of_fold.fit_transform(mapped[train]), model_of_fold.transform(mapped[test])
        for probe in probes():
            found.append(score(probe.fit(x_train, windows.y[train]), x_test, windows.y[test]))
    return found


# --- memory ---------------------------------------------------------------------------------------


def _watched(store: Path, n_windows: int, result: Any) -> None:
    """Embed windows in this fresh process; put the resident memory above the imports, in MB."""
    import psutil

    torch.set_num_threads(1)
    windows = opened(store, n_windows)
    mapped = windows.map(steps("biot")[0])
    with tempfile.TemporaryDirectory() as cache:
        embedder("biot", False).fit_transform(mapped[:64])  # kernels and lazy imports are not what is asked
        process = psutil.Process()
        before = peak = process.memory_info().rss
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.is_set():
                peak = max(peak, process.memory_info().rss)
                time.sleep(0.005)

        watcher = threading.Thread(target=watch)
        watcher.start()
        embedder("biot", cache).fit_transform(mapped)
        done.set()
        watcher.join()
    result.put((peak - before) / 2**20)


def peak_mb(store: Path, n_windows: int) -> float:
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    process = context.Process(target=_watched, args=(store, n_windows, result))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the process that measures memory ended with {process.exitcode}")
    return float(result.get())


def main() -> None:
    asked = options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = made(Path(folder), asked.windows)
        windows = opened(store, asked.windows)
        folds = folds_of(windows)
        some = folds[: asked.peer_folds]
        seconds: dict[str, list[float]] = {OURS: [0.0] * asked.rounds, PEER: [0.0] * asked.rounds}
        rows = []
        for model in MODELS:
            scores: dict[str, list[float]] = {}

            def run(way: str, chosen: list[Any], model: str = model, scores: dict[str, list[float]] = scores) -> None:
                scores[way] = (kept if way == OURS else anew)(model, windows, chosen)

            ways = {OURS: lambda: run(OURS, folds), PEER: lambda: run(PEER, some)}
            times = interleave(ways, asked.rounds, warm_up=False)
            times[PEER] = [one * FOLDS / len(some) for one in times[PEER]]
            apart = np.abs(np.array(scores[OURS][: len(scores[PEER])]) - scores[PEER]).max()
            if apart > 1e-6:
                raise SystemExit(f"{model}: scores differ by {apart:.1e}")
            for way, own in times.items():
                seconds[way] = [a + b for a, b in zip(seconds[way], own, strict=True)]
            rows += [{**row, "way": f"{model}: {row['way']}"} for row in summarise(times, [PEER])]
        whole = summarise(seconds, [PEER])
        few, many = peak_mb(store, len(windows) // 5), peak_mb(store, len(windows))
        size_mb = len(windows) * windows.shape[1] * windows.shape[2] * 4 / 2**20
        numbers_mb = len(windows) * MODELS["biot"]["embed_dim"] * 4 / 2**20
    measured = "all" if len(some) == FOLDS else f"{len(some)}, multiplied by {FOLDS / len(some):g}"
    notes = [
        f"{len(windows)} generated windows of {WINDOW_S} s, 20 subjects ({size_mb:.0f} MB in float32), {len(MODELS)} small models, "
        f"{FOLDS} folds by subject, 2 probes, one thread",
        f"the usual way: folds measured: {measured}; scores are the same within 1e-6",
        f"memory above the imports: {few:.0f} MB for a fifth of the windows, {many:.0f} MB for all, of which {numbers_mb:.0f} MB are the "
        "embeddings themselves",
    ]
    targets = [
        target("frozen comparison of 5 models: kept embeddings against those of each fold", whole[0], PEER, 5.0),
        limit(
            "embedding five times as many windows: more memory than the embeddings take",
            many - few - 0.8 * numbers_mb,
            40,
            "MB",
        ),
    ]
    rows += [{**row, "way": f"all: {row['way']}"} for row in whole]
    publish("embedding", "Probes over frozen models, seconds", rows, notes, asked.quick, targets)


if __name__ == "__main__":
    main()
