"""Contacts and numbered caps in detection, streams and preparation: never a scalp electrode."""

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from deploy_files import ELECTRODES, write_edf

from biot_bd import prepare
from biot_bd.deploy import Detector
from biot_bd.deploy.live import LiveDetector
from biot_bd.exceptions import DetectionError, MissingChannelsError, PreparationError

DEPTH = [f"{stem}{i}" for stem in "ACFOPT" for i in range(1, 11)]
BIOSEMI = [f"{stem}{i}" for stem in "ABCD" for i in range(1, 33)]


@pytest.mark.parametrize("how", ["raise", "drop", "interpolate"])
@pytest.mark.parametrize(("names", "says"), [(DEPTH, "A1 to A10.*depth"), (BIOSEMI, "A1 to A32.*BioSemi cap")])
def test_no_detection_and_no_store_from_contacts(model, tmp_path, names, says, how):
    path = write_edf(tmp_path / "x.edf", [f"EEG {n}-Ref" for n in names], seconds=12)
    detector = Detector.load(model, on_missing=how)
    with pytest.raises(DetectionError, match=rf"x\.edf.*{says}") as caught:
        detector.detect(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DetectionError, match=says):
        LiveDetector(Detector.load(model, on_missing=how, causal=True), names, 256)
    raw = mne.io.read_raw_edf(path, verbose="error")
    dataset = BaseConcatDataset([RawDataset(raw, pd.Series({"recording": "x", "subject": "s"}))])
    with pytest.raises((PreparationError, MissingChannelsError), match=says):
        prepare(dataset, tmp_path / "store", on_missing=how)


def test_electrodes_beside_depth_are_used_and_a_note_says_what_is_not(model, tmp_path):
    scalp = [e for e in ELECTRODES if e not in ("C3", "C4")]
    path = write_edf(tmp_path / "x.edf", [*(f"C{i}" for i in range(1, 13)), *scalp], seconds=30)
    found = Detector.load(model, on_missing="drop").detect(path)
    assert [k for k, how in found.channels.items() if how == "missing"] == ["F3-C3", "C3-P3", "F4-C4", "C4-P4"]
    assert any("C1 to C12" in note and "C3" in note for note in found.notes)
    alone = Detector.load(model, on_missing="drop").detect(write_edf(tmp_path / "y.edf", scalp, seconds=30))
    assert not any("contacts" in note for note in alone.notes)
    assert found.channels.keys() == alone.channels.keys()
    assert np.isfinite(found.probabilities).all()
