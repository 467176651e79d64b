"""Reviews written by hand, in the form that `biot-bd review` saves."""

import json
from pathlib import Path

from biot_bd.events import write_event_file


def write_review(
    results, reviewer, recording, marks, duration_s, *, digest=None, read_whole=True, detections=(), weights="w"
):
    """Write sidecar and table of one recording; marks are (kind, onset_s, offset_s, detected)."""
    stem = Path(results, "reviews", reviewer, recording)
    facts = {
        "format": "biot_bd review",
        "version": 1,
        "reviewer": reviewer,
        "revision": 1,
        "read_whole": read_whole,
        "started": "2026-01-02T03:04:05+00:00",
        "saved": "2026-01-02T03:14:05+00:00",
        "software": "0",
        "recording": {
            "recording": recording,
            "source": f"/eeg/{recording}.edf",
            "digest": digest,
            "duration_s": duration_s,
            "start_time": None,
        },
        "model": {"name": "model", "weights": weights, "path": "/models/model"},
        "detections": [list(one) for one in detections],
        "marks": [
            {
                "kind": kind,
                "onset_s": onset,
                "offset_s": offset,
                "detected": detected,
                "type": "sz",
                "remark": "",
                "time": "2026-01-02T03:04:06+00:00",
            }
            for kind, onset, offset, detected in marks
        ],
    }
    events = sorted((onset, offset) for kind, onset, offset, _ in marks if kind != "rejected")
    table = write_event_file(stem.with_name(f"{stem.name}_events.tsv"), events, duration_s)
    stem.with_name(f"{stem.name}_review.json").write_text(json.dumps(facts))
    return table
