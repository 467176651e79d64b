"""Folds of windows, made of seeds: labels, probabilities, recordings."""

import numpy as np

HOUR = 360  # windows of 10 s


def recording(rng, name, n, separation, seizures):
    labels = np.zeros(n, dtype=int)
    for _ in range(seizures):
        onset = rng.integers(0, n - 8)
        labels[onset : onset + rng.integers(1, 8)] = 1
    logits = rng.normal(size=n) + separation * labels - 2
    return labels, 1 / (1 + np.exp(-logits)), np.full(n, name)


def fold(rng, n_recordings=3, seizures=2, separation=2.5):
    made = [
        recording(rng, f"rec{i}", int(rng.integers(HOUR, 3 * HOUR)), separation, seizures) for i in range(n_recordings)
    ]
    return tuple(map(np.concatenate, zip(*made, strict=True)))


def random_folds(seed):
    rng = np.random.default_rng(seed)
    return [
        fold(rng, int(rng.integers(1, 4)), int(rng.integers(0, 4)), rng.uniform(0, 4))
        for _ in range(rng.integers(1, 5))
    ]


def _perfect():
    y, _, names = fold(np.random.default_rng(1))
    return [(y, y.astype(float), names)]


def _with(change, seed=2):
    y, p, names = fold(np.random.default_rng(seed))
    return [(y, change(y, p), names)]


CASES = {
    "perfect detector of 0 and 1": _perfect,
    "constant": lambda: _with(lambda y, p: np.full(len(p), 0.3)),
    "never": lambda: _with(lambda y, p: np.zeros(len(p))),
    "always": lambda: _with(lambda y, p: np.ones(len(p))),
    "ties": lambda: _with(lambda y, p: np.round(p, 1)),
    "one recording": lambda: [fold(np.random.default_rng(4), 1, 3)],
    "a fold without seizures": lambda: [fold(np.random.default_rng(5), 2, 0), fold(np.random.default_rng(6))],
    "no seizure at all": lambda: [fold(np.random.default_rng(5), 2, 0)],
    "probabilities squeezed to one end": lambda: _with(lambda y, p: p**12),
}
