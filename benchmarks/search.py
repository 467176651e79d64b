"""A subject-wise grid search over the learning rate of a small BIOT.

Time and memory, ours against braindecode's usual way.

The usual way keeps all windows in memory as one array, reads them one by one, and scores every
epoch by string callbacks, which predict the training windows a second time.  Ours reads batches
from the store and scores the epoch's own predictions.  Both search the same grid over the same
outer folds by subject, with the same model, batch and epochs.
"""

from __future__ import annotations

import gc
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _bench import arguments, interleave, limit, publish, summarise

MODEL = {"embed_dim": 64, "num_heads": 4, "num_layers": 2}
GRID = {"lr": [1e-3, 5e-3]}
BATCH, FOLDS, INNER = 32, 2, 3
OURS, PEER = "biot_bd, Windows from the store", "braindecode, arrays in memory"


def windows_of(store: Path) -> Any:
    from biot_bd import PercentileScaler, Windows

    return Windows.open(store).map(PercentileScaler())


def arrays_of(store: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all windows, their labels and subjects in memory, as braindecode's way wants them."""
    windows = windows_of(store)
    return np.asarray(windows), windows.y, windows.groups


def our_net(epochs: int) -> Any:
    from biot_bd import BIOTClassifier

    model = {f"module__{name}": value for name, value in MODEL.items()}
    return BIOTClassifier(
        max_epochs=epochs,
        batch_size=BATCH,
        criterion="cross-entropy",
        validation_fraction=1 / INNER,
        patience=None,
        random_state=0,
        device="cpu",
        **model,
    )


def peer_net(epochs: int, n_chans: int, n_times: int) -> Any:
    from braindecode import EEGClassifier
    from braindecode.models import BIOT
    from skorch.dataset import ValidSplit

    import biot_bd  # noqa: F401  (braindecode imports beside a CPU torch)

    model = {f"module__{name}": value for name, value in MODEL.items()}
    return EEGClassifier(
        BIOT,
        module__n_chans=n_chans,
        module__n_times=n_times,
        module__n_outputs=2,
        module__sfreq=200,
        module__drop_prob=0.1,
        max_epochs=epochs,
        batch_size=BATCH,
        optimizer=torch.optim.AdamW,
        train_split=ValidSplit(INNER, stratified=True),
        callbacks=["balanced_accuracy", "roc_auc"],
        iterator_train__shuffle=True,
        iterator_train__drop_last=False,
        classes=[0, 1],
        verbose=0,
        device="cpu",
        **model,
    )


def search(net: Any, x: Any, y: np.ndarray, groups: np.ndarray) -> Any:
    from sklearn.model_selection import GridSearchCV, GroupKFold

    found = GridSearchCV(net, GRID, cv=GroupKFold(FOLDS), scoring="roc_auc", refit=False, error_score="raise")
    return found.fit(x, y, groups=groups)


def our_search(store: Path, epochs: int) -> Any:
    windows = windows_of(store)
    return search(our_net(epochs), windows, windows.y, windows.groups)


def peer_search(store: Path, epochs: int) -> Any:
    x, y, groups = arrays_of(store)
    return search(peer_net(epochs, *x.shape[1:]), x, y, groups)


WAYS: dict[str, Callable[[Path, int], Any]] = {OURS: our_search, PEER: peer_search}


def check_agreement(store: Path) -> None:
    """Stop unless both networks have the same parameters and, with the same weights, the same
    probabilities.
    """
    x, y, groups = arrays_of(store)
    rows = np.r_[np.flatnonzero(y == 0)[:20], np.flatnonzero(y == 1)[:20]]
    ours = our_net(1).set_params(train_split=None).fit(x[rows], y[rows], groups=groups[rows])
    peer = peer_net(1, *x.shape[1:]).initialize()
    peer.module_.load_state_dict(ours.module_.state_dict())
    difference = np.abs(ours.predict_proba(x[rows]) - peer.predict_proba(x[rows])).max()
    if difference > 1e-5:
        raise SystemExit(f"with the same weights the probabilities differ by {difference:.1e}")


# --- memory ---------------------------------------------------------------------------------------


def _watched(way: str, store: Path, epochs: int, result: Any) -> None:
    """Run a search in this fresh process.

    Put the resident memory above that after the imports, in MB.
    """
    import psutil

    import biot_bd.training.classifier.biot_classifier  # noqa: F401

    torch.set_num_threads(1)
    process = psutil.Process()
    # One fit of a few windows first: kernels and lazy imports are not what is compared.
    x, y, groups = (part[:: max(len(part) // 40, 1)] for part in arrays_of(store))
    our_net(1).set_params(train_split=None).fit(x, y, groups=groups)
    del x, y, groups
    gc.collect()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    WAYS[way](store, epochs)
    done.set()
    watcher.join()
    result.put((peak - before) / 2**20)


def peak_mb(way: str, store: Path) -> float:
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    process = context.Process(target=_watched, args=(way, store, 1, result))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{way}: the process that measures memory ended with {process.exitcode}")
    return result.get()


def main() -> None:
    options = arguments(__doc__ or "")
    torch.set_num_threads(1)
    from biot_bd import load_dataset, prepare

    subjects, minutes, epochs = (4, 3, 1) if options.quick else (6, 3, 2)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        demo = load_dataset("demo", Path(folder) / "demo", n_subjects=subjects, recordings=1, minutes=minutes, seed=0)
        windows = prepare(demo, store, stride_s=5)
        check_agreement(store)
        found = {}

        def keep(way: str) -> None:
            found[way] = WAYS[way](store, epochs).cv_results_["mean_test_score"]

        times = interleave({way: lambda way=way: keep(way) for way in WAYS}, options.rounds)
        memory = {way: peak_mb(way, store) for way in WAYS}
        rows = summarise(times, [PEER])
        for row in rows:
            row["MB at the peak"] = memory[str(row["way"])]
        size_mb = windows.shape[0] * windows.shape[1] * windows.shape[2] * 4 / 2**20
    scores = "; ".join(f"{way}: {', '.join(f'{s:.2f}' for s in found[way])}" for way in found)
    notes = [
        f"{len(windows)} windows of {subjects} subjects ({size_mb:.0f} MB in float32), {len(GRID['lr'])} settings x "
        f"{FOLDS} folds by subject, {epochs} epoch(s) in batches of {BATCH}, one thread",
        "with the same weights both networks give the same probabilities within 1e-5",
        f"mean ROC AUC of the settings (other random numbers, other inner splits): {scores}",
        "memory: above the imports and one small fit, in a process of its own, one epoch",
    ]
    targets = [limit("grid search: memory against arrays in memory", memory[OURS], memory[PEER], "MB", floor=None)]
    publish("search", "Grid search over learning rates, seconds", rows, notes, options.quick, targets)


if __name__ == "__main__":
    main()
