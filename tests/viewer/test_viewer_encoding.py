"""Signals as text: what is decoded is what was encoded, within half a step; budgets; refusals."""

import base64
import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from biot_bd.signals import Montage, plan_montage
from biot_bd.viewer import (
    Traces,
    ViewedRecording,
    derived_traces,
    reading_montage,
    samples_message,
    viewer_about,
    viewer_fragment,
    viewer_json,
    write_viewer,
)
from biot_bd.viewer.encoding import RESOLUTIONS, Resolution, Samples

SFREQ = 128.0


def encode_chunk(values, resolution):
    return Samples(values).encode(resolution)


def decoded(chunk, n_chans, step_uv):
    """Read a chunk by its description, with other means than the page's."""
    body = np.frombuffer(zlib.decompress(base64.b64decode(chunk["data"])), np.uint8)
    planes = body[n_chans:].reshape(2, n_chans, chunk["n"]).astype(np.int64)
    zigzag = planes[0] + 256 * planes[1]
    values = np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2)
    out = np.empty(values.shape)
    for channel, order in enumerate(body[:n_chans]):
        row = values[channel]
        for _ in range(order):
            row = np.cumsum(row)
        row = (row + 2**15) % 2**16 - 2**15
        step = chunk.get("steps", {}).get(str(channel), step_uv)
        out[channel] = row * step + chunk.get("offset", {}).get(str(channel), 0)
    for channel, first, stop in chunk.get("absent", []):
        out[channel, first:stop] = np.nan
    return out


values_uv = st.one_of(
    st.floats(-400, 400, width=32),
    st.floats(-2e5, 2e5, width=32),
    st.just(float("nan")),
    st.sampled_from([0.0, 3276.7, -3276.8, 1e6]),
)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=values_uv), st.data())
def test_what_is_decoded_is_what_was_encoded(values, data):
    resolution = data.draw(st.sampled_from(RESOLUTIONS))
    chunk = json.loads(json.dumps(encode_chunk(values, resolution)))
    found = decoded(chunk, len(values), resolution.step_uv)
    assert np.array_equal(np.isnan(found), np.isnan(values))
    for channel, row in enumerate(values.astype(float)):
        step = chunk.get("steps", {}).get(str(channel), resolution.step_uv)
        known = ~np.isnan(row)
        assert np.abs(found[channel] - row)[known].max(initial=0) <= step / 2 + 1e-6 * np.abs(row[known]).max(initial=0)


def test_a_step_is_only_larger_where_the_range_or_the_loudness_wants_it():
    rng = np.random.default_rng(0)
    quiet, loud = 10 * rng.standard_normal(4000), 400 * rng.standard_normal(4000)
    assert "steps" not in encode_chunk(np.stack([quiet, loud]), Resolution(2.0))
    steps = encode_chunk(np.stack([quiet, loud]), Resolution(2.0, 1 / 8))["steps"]
    assert steps == {"1": pytest.approx(400 / 8, rel=0.05)}
    far = encode_chunk((quiet + 150_000)[None], Resolution(0.1))
    assert "steps" not in far
    assert far["offset"].keys() == {"0"}
    quiet[5] = 10_000
    assert encode_chunk(quiet[None], Resolution(0.1))["steps"] == {"0": pytest.approx(10_000 / 32766, rel=0.01)}


def eeg(n_chans, seconds, seed=0, scale=30.0):
    """EEG-like noise: power falls with the square of the frequency."""
    rng = np.random.default_rng(seed)
    n = round(seconds * SFREQ)
    spectrum = np.fft.rfft(rng.standard_normal((n_chans, n))) / np.maximum(np.fft.rfftfreq(n, 1 / SFREQ), 1.0)
    x = np.fft.irfft(spectrum, n)
    return (scale * x / x.std()).astype(np.float32)


NAMES = (
    "Fp1-F7 F7-T7 T7-P7 P7-O1 Fp1-F3 F3-C3 C3-P3 P3-O1 Fz-Cz Cz-Pz Fp2-F4 F4-C4 C4-P4 P4-O2 Fp2-F8 F8-T8 T8-P8 P8-O2"
).split()


def test_the_finest_step_that_fits_is_chosen():
    pieces = [Traces(eeg(18, 60, seed), SFREQ, 300.0 * seed, NAMES) for seed in range(3)]
    viewed = ViewedRecording("night", 3600.0)
    resolutions = []
    for budget in (2_000_000, 400_000, 300_000):
        text = viewer_json(viewed, pieces, budget_bytes=budget)
        assert len(text.encode()) <= budget
        page = json.loads(text)
        assert len(page["pieces"]) == 3
        resolutions.append(page["step_uv"])
    assert resolutions == sorted(resolutions)
    assert resolutions[0] == 0.1 < resolutions[-1]


def test_the_last_stretches_are_left_out_with_a_note_where_nothing_else_fits():
    pieces = [Traces(eeg(18, 60, seed), SFREQ, 300.0 * (9 - seed), NAMES) for seed in range(4)]
    page = json.loads(viewer_json(ViewedRecording("night", 3600.0), pieces, budget_bytes=250_000))
    kept = [piece["start_s"] for piece in page["pieces"]]
    assert kept
    assert kept == sorted(traces.start_s for traces in pieces[: len(kept)])
    assert f"EEG of {4 - len(kept)} of 4 stretches is left out" in page["about"]["notes"][-1]
    with pytest.raises(ValueError, match="give shorter stretches or a larger budget_bytes"):
        viewer_json(ViewedRecording("night", 3600.0), pieces, budget_bytes=20_000)


def test_a_curve_is_told_to_its_step_with_regular_times_as_two_numbers():
    curve = np.linspace(0, 1, 100)
    curve[7] = np.nan
    viewed = ViewedRecording("r", 100.0, curve_times_s=np.arange(100) + 0.5, curve=curve)
    series = viewer_about(viewed, ["Cz"], ["Cz"], SFREQ)["curve"]
    assert (series["from_s"], series["step_s"]) == (0.5, 1.0)
    found = decoded(series["chunk"], 1, series["step"])[0]
    assert np.allclose(found, curve, rtol=0, atol=0.5e-4 + 1e-9, equal_nan=True)
    uneven = ViewedRecording("r", 9.0, window_times_s=[1, 2, 7], window_probabilities=[0, 1, 0.5])
    assert viewer_about(uneven, ["Cz"], ["Cz"], SFREQ)["windows"]["times_s"] == [1, 2, 7]


def test_what_is_encoded_stays_as_it_was():
    """Also a curve far from 0, which is taken off before it is written."""
    curve = np.full(50, 5000.0)
    curve.flags.writeable = False
    viewer_about(ViewedRecording("r", 50.0, curve_times_s=np.arange(50), curve=curve), ["Cz"], ["Cz"], SFREQ)
    values = np.full((2, 300), 5000.0, np.float64)
    before = values.copy()
    Samples(values).encode(RESOLUTIONS[0])
    assert np.array_equal(values, before)


def test_names_of_a_file_stay_text():
    name = "</script><img src=x onerror=alert(1)>&"
    traces = Traces(np.zeros((1, 128)), SFREQ, 0.0, ["Cz"], [name])
    text = viewer_json(ViewedRecording(name, 1.0, notes=[name]), [traces])
    fragment = str(viewer_fragment(text, name))
    assert fragment.count("</script>") == 2
    assert "<img" not in fragment
    assert json.loads(text)["about"]["file_names"] == [name]


def test_a_page_is_one_file_that_asks_for_nothing(tmp_path):
    traces = Traces(eeg(18, 20), SFREQ, 0.0, NAMES)
    page = write_viewer(tmp_path / "v.html", ViewedRecording("a <b>", 20.0), [traces], links=[("b.html", "x < y")])
    text = page.read_text("utf-8")
    assert "default-src 'none'" in text
    assert "a &lt;b&gt;" in text
    assert "x &lt; y" in text
    assert not [word for word in ("src=", "url(", "@import", "http://", "https://") if word in text]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values_uv": np.zeros((2, 4))}, "expected (n_chans, n_samples)"),
        ({"values_uv": np.zeros((1, 0))}, "expected (n_chans, n_samples)"),
        ({"values_uv": np.array([[np.inf]])}, "write NaN where there is no signal"),
        ({"sfreq": 0.0}, "sfreq above 0"),
        ({"start_s": np.nan}, "must be finite"),
        ({"file_names": ["a", "b"]}, "give one for each"),
        ({"values_uv": np.zeros((2, 4)), "ch_names": ["Cz", "Cz"]}, "must be unique"),
    ],
)
def test_traces_that_make_no_sense_are_refused(change, message):
    given = {"values_uv": np.zeros((1, 4)), "sfreq": SFREQ, "start_s": 0.0, "ch_names": ["Cz"]} | change
    with pytest.raises(ValueError) as caught:
        Traces(**given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration_s": 0.0}, "duration_s must be a number above 0"),
        ({"curve": [0.5]}, "curve has 1 values for 0 times"),
        ({"window_times_s": [0.5]}, "window_probabilities has 0 values for 1 times"),
        ({"events": [{"onset_s": 9.0, "offset_s": 8.0}]}, "ends before it begins"),
    ],
)
def test_recordings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ViewedRecording(**{"name": "r", "duration_s": 10.0} | change)


def test_stretches_of_several_kinds_are_refused():
    viewed, one = ViewedRecording("r", 60.0), Traces(np.zeros((1, 256)), SFREQ, 0.0, ["Cz"])
    with pytest.raises(ValueError, match="at least one"):
        viewer_json(viewed, [])
    with pytest.raises(ValueError, match="several channels or rates"):
        viewer_json(viewed, [one, Traces(np.zeros((1, 256)), SFREQ, 9.0, ["Pz"])])
    with pytest.raises(ValueError, match="overlap at 1 s"):
        viewer_json(viewed, [one, Traces(np.zeros((1, 256)), SFREQ, 1.0, ["Cz"])])


def test_a_message_holds_the_samples_as_they_are():
    values = np.array([[0.0, 12.34, np.nan], [-4000.0, 5.0, 0.04]])
    message = samples_message(Traces(values, SFREQ, 2.5, ["a", "b"]))
    size = int.from_bytes(message[:4], "little")
    facts = json.loads(message[4 : 4 + size])
    steps = np.frombuffer(message[4 + size :], "<i2").reshape(2, facts["n"])
    assert (4 + size) % 4 == 0
    assert facts["step_uv"] == 0.2  # the range of int16 wants it
    found = np.where(steps == -32768, np.nan, steps * facts["step_uv"])
    assert np.allclose(found, values, rtol=0, atol=0.1 + 1e-3, equal_nan=True)


def test_traces_are_derived_and_brought_down_without_aliases():
    plan = plan_montage(Montage("two", ("F7-T7", "Fz-Cz"), "bipolar"), ["EEG F7-Ref", "EEG T3-Ref", "ECG"])
    t = np.arange(4 * 512) / 512
    slow, fast = 50 * np.sin(2 * np.pi * 8 * t), 200 * np.sin(2 * np.pi * 110 * t)  # 110 Hz would alias to 18
    x = np.stack([slow + fast, np.zeros_like(slow)]).astype(np.float32)
    x[0, 1024:1100] = np.nan
    traces = derived_traces(x, 512.0, 7.0, plan)
    assert (traces.sfreq, traces.start_s, traces.file_names) == (128.0, 7.0, ("EEG F7-Ref minus EEG T3-Ref", "missing"))
    at = np.arange(traces.values_uv.shape[1]) / 128
    unknown = (at >= 2.0) & (at < 1100 / 512 - 1e-9)
    assert np.array_equal(np.isnan(traces.values_uv[0]), unknown)
    inside = (at > 0.3) & (at < 1.7)
    assert np.abs(traces.values_uv[0] - 50 * np.sin(2 * np.pi * 8 * at))[inside].max() < 1.0
    assert np.isnan(traces.values_uv[1]).all()


def test_a_lower_rate_stays():
    plan = plan_montage(Montage("one", ("F7-T7",), "bipolar"), ["F7-T7"])
    x = np.arange(50, dtype=np.float32)[None]
    x[0, 3] = np.inf
    traces = derived_traces(x, 100.0, 0.0, plan)
    assert traces.sfreq == 100.0
    assert np.isnan(traces.values_uv[0, 3])
    assert np.array_equal(traces.values_uv[0, 4:], x[0, 4:])


def test_what_a_reader_needs_of_a_recording():
    from biot_bd.signals.montages import BIOT_16, DOUBLE_BANANA_18, SZCORE_19

    referential = [f"EEG {name}-Ref" for name in SZCORE_19.ch_names]
    assert reading_montage(SZCORE_19, referential) == DOUBLE_BANANA_18
    assert reading_montage(SZCORE_19, referential[:-1]) == SZCORE_19
    assert reading_montage(BIOT_16, referential).ch_names == (*BIOT_16.ch_names, "Fz-Cz", "Cz-Pz")
    assert reading_montage(BIOT_16, ["FP1-F7"]) == BIOT_16
    assert reading_montage(DOUBLE_BANANA_18, referential) == DOUBLE_BANANA_18
