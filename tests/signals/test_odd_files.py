"""Every odd or foreign file either maps to a montage or says which electrodes it lacks."""

from collections import Counter

import mne
import numpy as np
import pytest

from biot_bd.exceptions import MissingChannelsError
from biot_bd.signals import MontageMapper
from biot_bd.signals.montages import BIOT_16, SZCORE_19

# What must come of each folder's files: (biot-16, szcore-19), True where it maps.
EXPECTED = {
    "MB0400FU": (True, True),
    "chtypes_edf": (True, True),
    "duplicate_channel_labels": (False, False),
    "subsecond_starttime": (False, False),
    "test": (True, True),
    "test_edf_overlapping_annotations": (True, True),
    "test_edf_stim_channel": (True, True),
    "test_uneven_samp": (False, False),
    "chb": (True, False),
    "P_ID": (True, True),
    "PN": (True, True),
    "S001": (True, True),
}


def files(shared):
    for folder in ("edf-oddities", "epilepsy2bids-headers", "eegmmidb"):
        yield from sorted(f for f in (shared / "data" / folder).rglob("*") if f.suffix.lower() in (".edf", ".bdf"))


def expected(stem):
    if stem in EXPECTED:
        return EXPECTED[stem]
    return next(value for start, value in EXPECTED.items() if stem.startswith(start))


def test_each_maps_or_names_the_missing_electrodes(shared):
    outcomes = Counter()
    for path in files(shared):
        raw = mne.io.read_raw(path, preload=False, verbose="error")
        for montage, maps in zip((BIOT_16, SZCORE_19), expected(path.stem), strict=True):
            outcomes[montage.name, maps] += 1
            mapper = MontageMapper(montage)
            if maps:
                made = mapper.apply_to_raw(raw)
                assert tuple(made.ch_names) == montage.ch_names, path
                assert np.isfinite(made.get_data()).all(), path
                continue
            with pytest.raises(MissingChannelsError, match="missing electrodes: ") as caught:
                mapper.plan(raw.ch_names, where=path.name)
            assert path.name in str(caught.value)
            assert set(caught.value.electrodes) <= set(montage.electrodes)
            for electrode in caught.value.electrodes:
                assert electrode in str(caught.value)
    assert sum(outcomes.values()) == 2 * len(list(files(shared))) >= 2 * 50
    assert outcomes["biot-16", True] >= 40


def test_what_the_three_electrodes_of_a_short_file_give(shared):
    raw = mne.io.read_raw(shared / "data" / "edf-oddities" / "subsecond_starttime.edf", verbose="error")
    with pytest.raises(MissingChannelsError) as caught:
        MontageMapper("biot-16").apply_to_raw(raw)
    # Fp1, F7 and T3 are there, so two channels could be made and these electrodes are not missing.
    assert len(caught.value.channels) == 14
    assert not {"Fp1", "F7", "T7"} & set(caught.value.electrodes)
    made = MontageMapper("biot-16", on_missing="drop").apply_to_raw(raw).get_data()
    there = raw.get_data()
    np.testing.assert_allclose(made[0], there[0] - there[1], atol=1e-15)
    np.testing.assert_allclose(made[1], there[1] - there[2], atol=1e-15)
    assert np.isnan(made[2:]).all()


def test_signals_of_a_clinical_file_are_differences_of_its_electrodes(shared):
    raw = mne.io.read_raw(shared / "data" / "edf-oddities" / "MB0400FU.EDF", verbose="error")
    made = MontageMapper("biot-16").apply_to_raw(raw)
    t7_p7 = raw.get_data(["EEG T3-Ref"])[0] - raw.get_data(["EEG T5-Ref"])[0]
    np.testing.assert_allclose(made.get_data(["T7-P7"])[0], t7_p7, atol=1e-15)
