"""What a stranger writes; ``try_dist.py`` checks its types against the installed wheel, and never runs it."""

from pathlib import Path
from typing import reveal_type

from biot_bd import BIOTClassifier, Detection, Detector, MontageMapper, Result, Windows, cross_validate, prepare
from biot_bd.datasets import load_dataset
from biot_bd.events import Event


def onsets(detection: Detection) -> list[float]:
    events: list[Event] = list(detection.events)
    return [event.onset_s for event in events]


windows: Windows = prepare(load_dataset("demo", Path("data")), Path("windows"))
result: Result = cross_validate(BIOTClassifier(max_epochs=1), windows, folder="run")
detector: Detector = Detector.load("model", engine="torch")
reveal_type(onsets(detector.detect("night.edf")))
reveal_type(MontageMapper("biot-16"))
