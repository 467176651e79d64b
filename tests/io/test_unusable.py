"""Microvolts of EDF, BDF and GDF from any header: right, or the channel is absent with its reason."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_files import PREFIXES, meant_uv, write_digital, write_gdf, write_units

from biot_bd.io import open_recording, read_blocks, unusable_channels
from biot_bd.io.channel_readers import EdfReader
from biot_bd.io.unusable import read_otherwise, unit_notes
from biot_bd.signals.montages import BIOT_16, plan_montage

ELECTRODES = [*"Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()]
SPELLED = [(prefix + b"V", uv) for prefix, uv in PREFIXES.items()]
SPELLED += [
    (b"UV", 1.0),
    (b"uv", 1.0),
    (b"uVolts", 1.0),
    (b"uV\0\0", 1.0),
    (b"mVolt", 1e3),
    (b"volts", 1e6),
    (b"nvolt", 1e-3),
]


def read(path, names=None):
    recording = open_recording(path)
    return np.concatenate(list(read_blocks(recording, names or recording.raw.ch_names)), axis=1), recording


def digits(rng, n_chans, low=-300, high=300, n=400):
    return rng.integers(low, high, (n_chans, n)).astype(np.int32)


def number(value):
    """As many digits as a header's field holds, of which zeros at the end are none."""
    texts = (f"{value:.{k}{form}}" for form in "gf" for k in range(7, 0, -1))
    return next(text for text in texts if len(text) <= 8 and "e" not in text)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(SPELLED),
    st.sampled_from([".edf", ".bdf"]),
    st.floats(250, 4000),
    st.floats(-0.9, 0.9),
    st.sampled_from([(-32768, 32767), (-2048, 2047), (0, 4095), (32767, -32768), (-5000, 20000)]),
    st.integers(0, 2**32),
)
def test_any_unit_and_range_means_what_the_standard_says(tmp_path_factory, spelled, ending, top, shift, bounds, seed):
    unit, uv = spelled
    low, high = number(top * (shift - 1) / uv), number(top * (shift + 1) / uv)
    digital = digits(np.random.default_rng(seed), 2, max(-300, min(bounds)), min(300, max(bounds)))
    path = tmp_path_factory.mktemp("unit") / f"a{ending}"
    write_digital(path, ["Fp1", "F7"], digital, 200, unit=unit, low=low, high=high, digital_low=bounds[0], digital_high=bounds[1])  # fmt: skip
    x, recording = read(path)
    truth = meant_uv(digital, uv, low, high, *bounds)
    np.testing.assert_allclose(x, truth, rtol=1e-5, atol=2e-6 * top)
    assert recording.unusable == {}
    assert unit_notes(recording.raw, ("Fp1", "F7")) == []


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(SPELLED), min_size=19, max_size=19), st.sampled_from([".edf", ".bdf"]))
def test_any_mixture_of_units_in_one_header_gives_what_microvolts_give(tmp_path_factory, units, ending):
    folder = tmp_path_factory.mktemp("mixed")
    x = np.random.default_rng(0).normal(0, 30, (19, 400))
    mixed, plain = (
        read(write_units(folder / f"{name}{ending}", ELECTRODES, x, 200, spelled, 3200))[0]
        for name, spelled in (("mixed", units), ("plain", [(b"uV", 1.0)] * 19))
    )
    plan = plan_montage(BIOT_16, ELECTRODES)
    # A range in volts has few digits in a header.
    np.testing.assert_allclose(plan.apply(mixed), plan.apply(plain), atol=0.01 * 3200 / 32767 * 200)
    np.testing.assert_allclose(plan.apply(mixed), plan.apply(x.astype(np.float32)), atol=0.3)


def test_a_unit_that_is_corrected_is_read_by_the_fast_reader_and_in_copies(tmp_path):
    digital = digits(np.random.default_rng(0), 2)
    for unit, note in (("UV", []), ("", ["unit '' read as uV, by the range: Fp1, F7"])):
        path = write_digital(tmp_path / f"a{unit}.edf", ["Fp1", "F7"], digital, 200, unit=unit)
        raw = open_recording(path).raw
        np.testing.assert_allclose(EdfReader(path, ["Fp1"]).scales, [(0.1, 0.0)], atol=1e-9)
        for same in (raw, raw.copy(), raw.copy().load_data(), raw.copy().pick(["Fp1", "F7"])):
            np.testing.assert_allclose(same.get_data() * 1e6, digital / 10, atol=1e-3)
            assert unusable_channels(same) == {}
            assert unit_notes(same, ("Fp1", "F7")) == note
        assert list(read_otherwise(raw).items()) == [("Fp1", 1.0), ("F7", 1.0)]
        assert set(read_otherwise(raw.copy().pick(["F7"]).rename_channels({"F7": "here"}))) == {"here"}


def test_headers_without_faults_say_nothing(tmp_path):
    for unit, top in (("uV", 3276.8), (b"\xb5V", 3276.8), ("mV", 3.2768), ("V", 0.00328)):
        path = write_digital(tmp_path / "a.edf", ["Fp1"], digits(np.random.default_rng(0), 1), 200, unit=unit, low=-top, high=top)  # fmt: skip
        raw = open_recording(path).raw
        assert read_otherwise(raw) == unusable_channels(raw) == {}


# What makes a channel absent, and what is said.
FAULTS = {
    "blank that fits several": ({"unit": "", "low": -3.2768, "high": 3.2767}, "its unit is blank, and the range"),
    "blank that fits none": ({"unit": "", "low": -1, "high": 1}, "its unit is blank, and the range"),
    "not voltage": ({"unit": "mmHg"}, "unit 'mmHg' is not known"),
    "carelessly mV": ({"unit": "mv"}, "unit 'mv' is not known"),
    "mV with a range of uV": ({"unit": "mV"}, "a digital step would be 100 uV"),
    "V with a range of uV": ({"unit": "V"}, "a digital step would be 100000 uV"),
    "physical equal": ({"low": 0, "high": 0}, "its physical minimum and maximum are both 0"),
    "physical equal, not zero": ({"low": 5, "high": 5}, "its physical minimum and maximum are both 5"),
    "digital equal": ({"digital_low": 7, "digital_high": 7}, "its digital minimum and maximum are both 7"),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("ending", [".edf", ".bdf"])
def test_what_makes_a_channel_absent(tmp_path, kind, ending):
    fields, reason = FAULTS[kind]
    good = {"unit": "uV", "low": -3276.8, "high": 3276.7, "digital_low": -32768, "digital_high": 32767}
    digital = digits(np.random.default_rng(0), 3)
    columns = {name: [value, fields.get(name, value), value] for name, value in good.items()}
    path = write_digital(tmp_path / f"a{ending}", ["Fp1", "F7", "T3"], digital, 200, **columns)
    recording = open_recording(path)
    assert list(recording.unusable) == ["F7"]
    assert reason in recording.unusable["F7"]
    assert read_otherwise(recording.raw) == recording.unusable
    # The others are as they are.
    np.testing.assert_allclose(read(path, ["Fp1", "T3"])[0], digital[[0, 2]] / 10, atol=1e-3)
    plan = plan_montage(BIOT_16, recording.raw.ch_names, recording.unusable)
    assert {"Fp1-F7", "F7-T7"} <= set(plan.missing)
    assert plan.needed == ()  # no pair is left of three electrodes in a row


def test_a_recording_that_mne_opened_and_loaded_is_not_believed(tmp_path):
    path = write_digital(tmp_path / "a.edf", ["Fp1", "F7"], digits(np.random.default_rng(0), 2), 200, unit=["uV", "UV"])
    raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    assert "was read as 1 V, it is 1e-06 V; open the file by biot_bd.io.open_recording" in unusable_channels(raw)["F7"]
    blank = write_digital(tmp_path / "b.edf", ["Fp1"], digits(np.random.default_rng(0), 1), 200, unit="")
    assert list(unusable_channels(mne.io.read_raw_edf(blank, verbose="error"))) == ["Fp1"]
    told = mne.io.read_raw_edf(blank, units="uV", preload=True, verbose="error")
    assert unusable_channels(told) == {}


@pytest.mark.parametrize(("code", "uv"), [(4275, 1.0), (4274, 1e3), (4256, 1e6), (4276, 1e-3), (512, 1.0), (0, 1.0)])
def test_codes_of_gdf(tmp_path, code, uv):
    digital = digits(np.random.default_rng(0), 2)
    low, high = -3276.8 / uv, 3276.7 / uv
    x, recording = read(write_gdf(tmp_path / "a.gdf", ["Fp1", "F7"], digital, 200, [code, 4275], [low, -3276.8], [high, 3276.7]))  # fmt: skip
    np.testing.assert_allclose(x, digital / 10, atol=1e-3)
    assert (recording.unusable, recording.notes) == ({}, [])
    assert bool(unit_notes(recording.raw, ("Fp1", "F7"))) == (code in (512, 0))


@pytest.mark.parametrize(("code", "low", "high", "reason"), [(3872, -3276.8, 3276.7, "code 3872"), (512, -0.0032, 0.0032, "blank"), (4275, 0, 0, "both 0")])  # fmt: skip
def test_gdf_that_tells_no_voltage(tmp_path, code, low, high, reason):
    path = write_gdf(tmp_path / "a.gdf", ["Fp1", "F7"], digits(np.random.default_rng(0), 2), 200, [code, 4275], [low, -3276.8], [high, 3276.7])  # fmt: skip
    recording = open_recording(path)
    assert list(recording.unusable) == ["Fp1"]
    assert reason in recording.unusable["Fp1"]
