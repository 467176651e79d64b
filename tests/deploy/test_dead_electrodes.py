"""An electrode that is flat takes no part in derived channels: in prepare, detect and stream alike."""

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from deploy_files import ELECTRODES, save_edf
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import load_dataset, prepare
from biot_bd.deploy import Detector
from biot_bd.deploy.signal_chain import SignalChain
from biot_bd.events.detector import EventDetector
from biot_bd.exceptions import PreparationError
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.montages import BIOT_16, plan_montage
from biot_bd.windows.store import read_manifest

OLD_NAMES = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
RATE, SECONDS = 200, 60


class Seen:
    """A model that keeps what it is shown."""

    montage, sfreq, window_s, threshold, precision = BIOT_16, 200.0, 10.0, 0.5, None

    def __init__(self):
        self.present = []

    def score(self, batch):
        self.present.append(batch.present)
        return np.where(batch.present.any(axis=1), 0.1, np.nan)


def detector(causal=False, on_missing="drop"):
    events = EventDetector(window_s=10, smoothing_s=0, causal=causal, target=None)
    return Detector(Seen(), events, stride_s=5, on_missing=on_missing)


def noise(seed=0):
    return np.random.default_rng(seed).normal(0, 30, (19, SECONDS * RATE))


def expected_presence(dead):
    """By window and channel: no electrode of its pair is dead from the window's start to its end."""
    starts = np.arange(0, SECONDS - 9, 5)
    there = np.ones((len(starts), 16), bool)
    for electrode, begin_s, end_s in dead:
        for c, pair in enumerate(BIOT_16.pairs):
            if electrode in [OLD_NAMES.get(e, e) for e in pair]:
                there[(starts >= begin_s) & (starts + 10 <= end_s), c] = False
    return there


stretches = st.tuples(
    st.sampled_from(ELECTRODES), st.integers(0, 50), st.integers(5, 60), st.sampled_from([0, 7, -300])
)


@settings(max_examples=12, deadline=None)
@given(st.lists(stretches, max_size=5), st.booleans(), st.sampled_from([7, 977, 100_000]))
def test_any_dead_electrodes_make_the_same_channels_absent_everywhere(tmp_path_factory, found, causal, chunk):
    folder, x, dead = tmp_path_factory.mktemp("dead"), noise(), []
    for electrode, begin_s, length_s, level_uv in found:
        row, end_s = ELECTRODES.index(electrode), min(begin_s + length_s, SECONDS)
        if any(electrode == other for other, *_ in dead):
            continue  # two stretches of one electrode may join
        x[row, begin_s * RATE : end_s * RATE] = level_uv
        dead.append((electrode, begin_s, end_s))
    there = expected_presence(dead)
    raw = mne.io.RawArray(x * 1e-6, mne.create_info(ELECTRODES, RATE, "eeg"), verbose="error")
    data = BaseConcatDataset([RawDataset(raw, pd.Series({"subject": "a", "recording": "r"}))])
    windows = prepare(data, folder / "store")
    kept = there.any(axis=1)
    np.testing.assert_array_equal(windows.present, there[kept])

    seen = detector(causal)
    seen.detect(raw)
    np.testing.assert_array_equal(np.concatenate(seen.scorer.present), there)

    plan = plan_montage(BIOT_16, ELECTRODES)
    chain = SignalChain(plan, RATE, 200, 10, 5, causal)
    needed = x[[ELECTRODES.index(name) for name in plan.needed]]
    rows = []
    for start in range(0, x.shape[1], max(chunk, 50)):
        chain.push(needed[:, start : start + max(chunk, 50)])
        if (batch := chain.pop()) is not None:
            rows.append(batch.present)
    chain.finish()
    if (batch := chain.pop()) is not None:
        rows.append(batch.present)
    np.testing.assert_array_equal(np.concatenate(rows), there)


@pytest.fixture
def dead_p7(tmp_path):
    x = noise()
    x[ELECTRODES.index("T5")] = 0
    return save_edf(tmp_path / "edf" / "sub-01" / "a.edf", ELECTRODES, x, RATE)


def test_an_electrode_of_zeros_is_named_in_notes(dead_p7, tmp_path):
    found = detector().detect(dead_p7)
    assert any("flat" in note and "T5 (11 windows)" in note and "of 11 windows" in note for note in found.notes)
    assert any("T7-P7 (11 windows), P7-O1 (11 windows)" in note for note in found.notes)
    data = load_dataset("edf-folder", tmp_path / "edf", unlisted="background")
    windows = prepare(data, tmp_path / "store")
    assert [windows.ch_names[c] for c in np.flatnonzero(~windows.present.any(axis=0))] == ["T7-P7", "P7-O1"]
    assert any("flat throughout" in note and "T5" in note for note in read_manifest(tmp_path / "store")["notes"])
    with pytest.raises(PreparationError, match="T7-P7 is flat"):
        prepare(data, tmp_path / "raises", on_bad="raise")


def test_a_dead_electrode_is_no_source_of_interpolated_channels():
    x = noise()
    names = [name for name in ELECTRODES if name != "C3"]
    x = np.delete(x, ELECTRODES.index("C3"), axis=0)
    x[names.index("Fp2"), 20 * RATE : 40 * RATE] = 0
    raw = mne.io.RawArray(x * 1e-6, mne.create_info(names, RATE, "eeg"), verbose="error")
    seen = detector(on_missing="interpolate")
    seen.detect(raw)
    present = np.concatenate(seen.scorer.present)
    plan = MontageMapper(BIOT_16, on_missing="interpolate").plan(names)
    needs = np.array([names.index("Fp2") in channel.sources for channel in plan.channels])
    assert needs.sum() >= 4  # two derived, and all that are interpolated
    assert not present[4:7, needs].any()  # 20 to 30 s, 25 to 35 s, 30 to 40 s
    assert present[4:7, ~needs].all()
    assert present[:3].all()
    assert present[8:].all()


def test_a_recorded_reference_of_zeros_takes_nothing_from_channels_named_against_it():
    names = [f"{e}-Cz" if e != "Cz" else e for e in ELECTRODES]
    x = noise()
    x[ELECTRODES.index("Cz")] = 0
    raw = mne.io.RawArray(x * 1e-6, mne.create_info(names, RATE, "eeg"), verbose="error")
    seen = detector()
    found = seen.detect(raw)
    assert np.concatenate(seen.scorer.present).all()
    assert not any("flat" in note for note in found.notes)


def test_electrodes_joined_by_a_bridge_differ_by_nothing():
    x = noise()
    x[ELECTRODES.index("F7")] = x[ELECTRODES.index("Fp1")]
    raw = mne.io.RawArray(x * 1e-6, mne.create_info(ELECTRODES, RATE, "eeg"), verbose="error")
    seen = detector()
    seen.detect(raw)
    absent = ~np.concatenate(seen.scorer.present)
    assert [BIOT_16.ch_names[c] for c in np.flatnonzero(absent.all(axis=0))] == ["Fp1-F7"]
    assert absent.sum() == len(absent)
