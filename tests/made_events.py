"""Annotated and detected events, made of seeds, that lie at least two seconds apart or overlap by as much."""

import numpy as np


def random_events(seed, duration_s=3600.0):
    """Return reference, hypothesis and duration; both lists are sorted and without overlap."""
    rng = np.random.default_rng(seed)
    # Borders on different whole numbers of an even grid: what does not overlap is two seconds apart.
    borders = rng.choice(np.arange(2, int(duration_s) - 2, 2), 2 * int(rng.integers(4, 30)), replace=False)
    owner = rng.random(len(borders)) < 0.5
    lists = []
    for mine in (owner, ~owner):
        times = np.sort(borders[mine]).astype(float)
        times = times[: len(times) // 2 * 2].reshape(-1, 2)
        lists.append([tuple(pair) for pair in times[rng.random(len(times)) < 0.8].tolist()])
    return *lists, duration_s
