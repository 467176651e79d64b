"""scitex-seizure-metrics: what its detection report calls reference events are seconds.

Three seizures of 50 s in an hour, found by a perfect detector; beside it the events of timescoring,
which it calls.
"""

from __future__ import annotations

import numpy as np
from scitex_seizure_metrics import detection
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring


def measure() -> dict[str, int]:
    """Count reference events in both."""
    y = np.zeros(3600, dtype=int)
    for start in (600, 1500, 2700):
        y[start : start + 50] = 1
    report = detection.evaluate(y, y.astype(float))
    events = EventScoring(Annotation(y.astype(bool), 1), Annotation(y.astype(bool), 1))
    return {
        "seizures": 3,
        "n_ref_events of the report": int(report.n_ref_events),
        "n_tp of the report": int(report.n_tp),
        "reference events of timescoring": int(events.refTrue),
    }
