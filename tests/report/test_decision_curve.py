"""The curve that the report draws is the one that the fold's event detector decided on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_run import HandMade

from biot_bd.events.detector import EventDetector
from biot_bd.report.examples import choose_items, decision_of
from biot_bd.report.run_folder import read_run


def test_stored_events_begin_and_end_where_the_curve_meets_its_thresholds(real_run: Path) -> None:
    run = read_run(real_run)
    n = 0
    for fold in run.folds:
        facts = fold.facts["events"]
        for recording, stored in facts["recordings"].items():
            decision = decision_of(run, recording, fold.number)
            assert decision is not None
            assert len(decision.values) == np.ceil(stored["duration_s"])
            # Without the detector: runs above the release that reach the threshold, as arrays.
            for onset, offset, confidence in stored["events"]:
                n += 1
                inside = decision.values[int(onset) : int(np.ceil(offset))]
                assert inside[0] >= decision.threshold
                assert onset == 0 or decision.values[int(onset) - 1] < decision.threshold
                assert offset == stored["duration_s"] or decision.values[int(offset)] < decision.release
                assert inside.max() == confidence
    assert n


def test_the_curve_is_that_of_the_stored_detector(with_events: HandMade) -> None:
    run = read_run(with_events.folder)
    facts = json.loads((with_events.folder / "folds" / "01" / "fold.json").read_text())
    detector = EventDetector.from_dict(facts["events"]["detector"])
    own = with_events.table[with_events.table["recording"] == "rec02"]
    decision = decision_of(run, "rec02", 1)
    assert decision is not None
    np.testing.assert_array_equal(decision.values, detector.curve(own["proba"], own["start_s"])[1])
    assert decision.threshold == detector.threshold_


def test_a_run_without_event_detector_has_no_curve(hand_made: HandMade) -> None:
    assert decision_of(read_run(hand_made.folder), "rec01", 0) is None


def test_the_report_draws_it_for_every_picture(with_events: HandMade, store: Any) -> None:
    from biot_bd.report import write_report

    text = write_report(with_events.folder, windows=store).read_text(encoding="utf-8")
    shown = sum(len(items) for items, _ in choose_items(with_events.metrics["events"]).values())
    assert shown == 3
    assert text.count("<title>the curve that decides</title>") >= shown
    assert text.count("negative up") >= shown


@pytest.mark.parametrize("wrong", ["nowhere"])
def test_recording_without_test_windows(with_events: HandMade, wrong: str) -> None:
    with pytest.raises(ValueError, match="no windows"):
        decision_of(read_run(with_events.folder), wrong, 0)
