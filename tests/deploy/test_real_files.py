"""Every real file gives a table that the field's tools read, or one line with the missing electrodes or the length."""

from collections import Counter

import pytest
from epilepsy2bids.annotations import Annotations

from biot_bd.deploy import Detector, read_detection
from biot_bd.deploy.recording_files import find_items
from biot_bd.deploy.results import Outputs, detect_items

FOLDERS = ("chbmit-excerpts", "eegmmidb", "edf-oddities", "epilepsy2bids-headers")


@pytest.mark.parametrize("threshold", [1e-4, 1.0])
@pytest.mark.parametrize("causal", [False, True])
def test_a_table_or_one_line(shared, model, tmp_path, causal, threshold):
    items = find_items([shared / "data" / name for name in FOLDERS])
    files = [p for name in FOLDERS for p in (shared / "data" / name).rglob("*") if p.suffix.lower() in (".edf", ".bdf")]
    assert {item.path for item in items} == set(files)
    assert len(items) >= 80
    options = {"threshold": threshold, "causal": causal}
    counts = Counter()
    for outcome in detect_items(items, model, options, Outputs(tmp_path / "out")):
        if outcome.error is not None:
            assert "\n" not in outcome.error
            assert str(outcome.item.path) in outcome.error
            assert "missing electrodes: " in outcome.error or "shorter than a window of 10 s" in outcome.error
            assert outcome.files == []
            counts["refused"] += 1
            continue
        record, path = sorted(outcome.files)
        assert read_detection(record).detection.duration_s == outcome.facts["duration_s"]
        events = Annotations.loadTsv(path).events
        duration = outcome.facts["duration_s"]
        assert {event["recordingDuration"] for event in events} == {round(duration, 2)}
        found = [(e["onset"], e["onset"] + e["duration"]) for e in events if e["eventType"].value == "sz"]
        if threshold == 1.0:
            assert [(e["eventType"].value, e["onset"], e["duration"]) for e in events] == [
                ("bckg", 0, round(duration, 2))
            ]
        else:
            # A model that is always on covers the whole recording: causal values begin with the end of the first window.
            assert len(found) == 1 or causal
            if not causal:
                assert found[0] == pytest.approx((0, duration), abs=0.011)
        assert outcome.facts["gaps"] == []
        counts["written"] += 1
    assert counts["written"] >= 34
    assert counts["refused"] >= 40
    assert counts.total() == len(items)


def test_excerpts_of_seizures_and_their_names(shared, model):
    detector = Detector.load(model)
    found = detector.detect(shared / "data" / "edf-oddities" / "MB0400FU.EDF")
    assert found.channels["T7-P7"] == "EEG T3-Ref minus EEG T5-Ref"
    assert found.start_s[-1] + 10 == pytest.approx(found.duration_s)
    assert (
        detector.detect(shared / "data" / "chbmit-excerpts" / "chb01" / "chb01_03.edf").channels["T8-P8"] == "T8-P8-0"
    )
