"""NeuroAtlas: its headline number, Sens@FA AUC, does not depend on the ranking alone.

One made-up fold of 24 h, 20 seizures. The same ranking is shown under five monotone maps; a
perfect detector that says 0 or 1; and a good one, before and after 5 % of the quiet windows were
made to alarm always.
"""

from __future__ import annotations

import numpy as np
from neuroatlas.extensions.tasks._event_sens_fa import fold_metrics

WINDOW_S = 10.0
N_WINDOWS, N_SEIZURES, SEIZURE_WINDOWS = 8640, 20, 2


def made_fold(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores of a detector that is better than chance, and one recording's name."""
    rng = np.random.default_rng(seed)
    y = np.zeros(N_WINDOWS, dtype=int)
    for start in np.linspace(100, N_WINDOWS - 100, N_SEIZURES).astype(int):
        y[start : start + SEIZURE_WINDOWS] = 1
    logit = rng.normal(0, 1, N_WINDOWS) + 1.5 * y
    return y, 1 / (1 + np.exp(-logit)), np.full(N_WINDOWS, "one")


def auc(y: np.ndarray, p: np.ndarray, recordings: np.ndarray) -> float | None:
    """Return the peer's number."""
    found: float | None = fold_metrics(y, p, recordings, window_s=WINDOW_S)["event_sens_fa_auc"]
    return None if found is None else round(found, 3)


def measure() -> dict[str, float | None]:
    """Return the peer's AUC of detectors that rank windows alike, and of three others."""
    y, p, recordings = made_fold()
    maps = {
        "p": p,
        "p ** 12": p**12,
        "1 - (1 - p) ** 12": 1 - (1 - p) ** 12,
        "0.5 + p / 50": 0.5 + p / 50,
        "p / 200": p / 200,
    }
    found = {f"the same ranking as {name}": auc(y, mapped, recordings) for name, mapped in maps.items()}
    found["perfect, says 0 or 1"] = auc(y, y.astype(float), recordings)
    always = p.copy()
    quiet = np.flatnonzero(y == 0)
    always[np.random.default_rng(1).choice(quiet, len(quiet) // 20, replace=False)] = 1.0
    found["5 % of the quiet windows always alarm"] = auc(y, always, recordings)
    return found
