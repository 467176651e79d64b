"""The EEG of an event of the gallery for the viewer, which pages, scales and filters it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.report.drawing.curves import EegExcerpt
from biot_bd.viewer import Traces, ViewedRecording, viewer_json
from biot_bd.viewer.traces import for_display

BUDGET_BYTES = 260_000
"""Of one event; a gallery has twelve at most."""
PREPARED = "EEG as it was prepared for the model, not as the file has it; the store keeps no clock time"

Spans = Sequence[tuple[float, float]]


def viewer_data(
    recording: str, duration_s: float, excerpt: EegExcerpt, shown: pd.DataFrame, seizures: Spans, alarms: Spans
) -> str:
    """Return what the viewer opens: the excerpt, and what is known of its whole recording.

    Parameters
    ----------
    recording : str
    duration_s : float
        Of the recording.
    excerpt : EegExcerpt
        In uV, with the decision where there is one.
    shown : DataFrame
        Predictions on the recording's windows, of one fold.
    seizures, alarms : sequence of (onset_s, offset_s)
        Annotated and detected, of the whole recording.

    Returns
    -------
    str
        JSON that can stand in a script element.

    Raises
    ------
    ValueError
        The excerpt does not fit into the budget at any resolution.
    """
    values, sfreq = for_display(excerpt.signal_uv, excerpt.sfreq)
    curve: dict[str, Any] = {}
    if (decision := excerpt.decision) is not None:
        curve = {"curve": decision.values, "curve_times_s": np.arange(len(decision.values))}
        curve["threshold"] = decision.threshold
    rows = shown.sort_values("start_s")
    viewed = ViewedRecording(
        recording,
        max(duration_s, excerpt.stop_s),
        sfreq=excerpt.sfreq,
        events=[{"onset_s": a, "offset_s": b} for a, b in alarms],
        reference=[{"onset_s": a, "offset_s": b, "label": "annotated seizure"} for a, b in seizures],
        window_times_s=((rows["start_s"] + rows["stop_s"]) / 2).to_numpy(),
        window_probabilities=rows["proba"].to_numpy(),
        notes=[PREPARED],
        **curve,
    )
    return viewer_json(viewed, [Traces(values, sfreq, excerpt.start_s, excerpt.ch_names)], budget_bytes=BUDGET_BYTES)
