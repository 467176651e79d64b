"""Units that other formats than EDF tell: known and read so, or the channel is named with its reason."""

import mne
import numpy as np
import pytest

from biot_bd.exceptions import DetectionError
from biot_bd.io import open_recording, unusable_channels

NAMES = ["Fp1", "F7"]


class RawANT(mne.io.RawArray):
    """Stands in for MNE's class, whose library reads only files of the amplifier's own software."""


class RawCurry(mne.io.RawArray):
    """The same of Curry."""


def of_ant(units):
    raw = RawANT(np.ones((2, 100)), mne.create_info(NAMES, 100.0, "eeg"), verbose="error")
    raw._raw_extras = [{"orig_ch_units": units}]  # as mne.io.ant.ant.RawANT keeps them, in lower case
    return raw


def of_curry(units):
    raw = RawCurry(np.ones((2, 100)), mne.create_info(NAMES, 100.0, "eeg"), verbose="error")
    raw._orig_units = dict(zip(NAMES, units, strict=True))
    return raw


@pytest.mark.parametrize("unit", ["uv", "µv", "v"])
def test_ant_in_units_that_mne_scales(unit):
    assert unusable_channels(of_ant(["uv", unit])) == {}


@pytest.mark.parametrize(
    ("unit", "reason"),
    [("nv", "unit 'nv' was read as 1 V, it is 1e-09 V"), ("mv", "'mv' is not known"), ("", "'' is not known")],
)
def test_ant_in_units_that_mne_leaves_as_they_are(unit, reason):
    found = unusable_channels(of_ant(["uv", unit]))
    assert list(found) == ["F7"]
    assert reason in found["F7"]
    picked = of_ant(["uv", unit]).pick(["F7"]).rename_channels({"F7": "here"})
    assert list(unusable_channels(picked)) == ["here"]


@pytest.mark.parametrize(
    ("unit", "reason"), [("mV", "read as 1 V, it is 0.001 V"), ("µV", "read as 1 V"), ("n/a", "not known")]
)
def test_curry_knows_microvolts_and_volts(unit, reason):
    assert unusable_channels(of_curry(["uV", "V"])) == {}
    found = unusable_channels(of_curry(["uV", unit]))
    assert list(found) == ["F7"]
    assert reason in found["F7"]


def test_bci2000_whose_gains_mne_does_not_apply(tmp_path):
    parts = [
        "HeaderLen= {:5d} SourceCh= 2 StatevectorLen= 1", "[ State Vector Definition ]", "Running 1 1 0 0",
        "[ Parameter Definition ]", "Source int SamplingRate= 200 256 1 % // rate",
        "Source floatlist SourceChGain= 2 0.003 0.003 // gain", "",
    ]  # fmt: skip
    text = "\r\n".join(parts)
    text = text.format(len(text.format(0)))
    path = tmp_path / "a.dat"
    frames = np.zeros(400, [("signal", "<i2", 2), ("state", "u1")])
    frames["signal"] = np.random.default_rng(0).integers(-9000, 9000, (400, 2))
    path.write_bytes(text.encode() + frames.tobytes())
    with pytest.raises(DetectionError, match=r"a\.dat: cannot be read"):  # MNE does not open it lazily
        open_recording(path)
    raw = mne.io.read_raw_bci2k(path, preload=True, verbose="error")
    # MNE gives the digits themselves as volts.
    np.testing.assert_array_equal(raw.get_data(raw.ch_names[:2]), frames["signal"].T)
    assert unusable_channels(raw) == dict.fromkeys(raw.ch_names[:2], "its gain is not read")


def test_what_has_no_unit_is_left_alone():
    kinds = ["eeg", "misc", "ecg", "stim"]
    info = mne.create_info(["Fp1", "F7", "ECG", "STI"], 100.0, kinds)
    assert unusable_channels(mne.io.RawArray(np.ones((4, 100)), info, verbose="error")) == {}
