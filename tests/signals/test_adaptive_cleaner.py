"""AdaptiveCleaner: what is planted is found, what is clean keeps its bits, seizures stay."""

import pickle

import mne
import numpy as np
import pandas as pd
import pytest
import scipy.signal
from braindecode.datasets import RawDataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from small_pipeline import few_windows, save_small_pipeline

from biot_bd import PercentileScaler, load_pipeline, prepare
from biot_bd.datasets import load_dataset, make_dataset
from biot_bd.io.timeline import timeline_of
from biot_bd.signals import AdaptiveCleaner, Montage, SignalInfo
from biot_bd.signals.recordings import notes_on
from biot_bd.testing import check_transformer

SFREQ = 256.0
NAMES = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8")


def background(n_chans=6, seconds=10.0, seed=0):
    """Pink noise of 25 uV, most of it shared by all channels."""
    n = round(seconds * SFREQ)
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal((n_chans + 1, n)))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / SFREQ), 0.5))
    x = np.fft.irfft(spectrum, n)
    x = x[1:] + 1.5 * x[:1]
    return 25 * x / x.std(axis=1, keepdims=True)


def recording(x, names=NAMES):
    return mne.io.RawArray(x * 1e-6, mne.create_info(list(names[: len(x)]), SFREQ, "eeg"), verbose="error")


def tone(freq, amplitude, n, phase=0.4):
    return amplitude * np.sin(2 * np.pi * freq * np.arange(n) / SFREQ + phase)


def peak_db(x, freq):
    at_hz, power = scipy.signal.welch(x, SFREQ, nperseg=1024, average="median")
    return 10 * np.log10(power[np.abs(at_hz - freq) <= 0.5].max())


@pytest.mark.parametrize(
    "cleaner",
    [
        AdaptiveCleaner(sfreq_in=200),
        AdaptiveCleaner(sfreq_in=200, line_freqs=(50,), bursts="absent", burst_threshold=4.0),
        AdaptiveCleaner(sfreq_in=200, line_freqs=(), channels="none", bursts="none"),
    ],
)
def test_it_keeps_the_contract(cleaner):
    check_transformer(cleaner)


def test_it_keeps_the_contract_where_there_is_something_to_do():
    x = np.stack([background(4, 12, seed) for seed in range(4)])
    x[0, 1] += tone(50, 60, x.shape[2])
    x[1, 2] = 3.0
    x[2, 0, 1000:1040] += 900
    cleaner = AdaptiveCleaner(sfreq_in=SFREQ, bursts="absent")
    check_transformer(cleaner, x)
    assert [report.is_clean for report in cleaner.report(x)] == [False, False, False, True]


# Line noise -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freqs", [(50.0,), (60.0,), (50.0, 100.0), (60.0, 120.0)])
@pytest.mark.parametrize("seconds", [10, 90])
def test_line_noise_is_measured_and_removed_by_20_db_where_it_is(freqs, seconds):
    x = background(seconds=seconds)
    noisy = x.copy()
    for freq in freqs:
        noisy[2] += tone(freq + 0.03, 40, x.shape[1])
    raw = recording(noisy)
    report = AdaptiveCleaner().report(raw)
    assert report.filtered == {"F3": freqs}
    out = AdaptiveCleaner().apply_to_raw(raw).get_data() * 1e6
    for freq in freqs:
        assert peak_db(noisy[2], freq) - peak_db(out[2], freq) > 20
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(out[others] / 1e6, raw.get_data()[others] * 1e6 / 1e6)
    assert np.sqrt(np.mean((out[2] - x[2]) ** 2)) < 0.25 * x[2].std()


def test_a_clean_recording_is_the_same_bits_and_stays_lazy(shared, tmp_path):
    x = background(seconds=70)
    raw = recording(x)
    out = AdaptiveCleaner(bursts="absent").apply_to_raw(raw)
    assert out.get_data().tobytes() == raw.get_data().tobytes()
    assert notes_on(out) == []
    windows = np.stack([background(seed=seed) for seed in range(3)]).astype(np.float32)
    assert AdaptiveCleaner(sfreq_in=SFREQ).transform(windows).tobytes() == windows.tobytes()
    raw.save(tmp_path / "clean_raw.fif", fmt="double", verbose="error")
    lazy = mne.io.read_raw_fif(tmp_path / "clean_raw.fif", verbose="error")
    assert not AdaptiveCleaner().apply_to_raw(lazy).preload


def test_a_window_that_is_shorter_than_the_filter_is_left_and_said():
    x = background(3, 5)
    x[0] += tone(50, 60, x.shape[1])
    cleaner = AdaptiveCleaner(sfreq_in=SFREQ)
    report = cleaner.report(x[None])[0]
    assert report.is_clean
    assert report.lines == [
        "line noise found and left: channel 0",
        "line noise was left, as 5 s are shorter than a filter (6.6 s)",
    ]
    np.testing.assert_array_equal(cleaner.transform(x[None])[0], x)


# Channels ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faulty():
    """Two minutes: one channel flat, one lost in noise, one 15 times too loud, one too quiet."""
    x = background(len(NAMES), 120)
    rng = np.random.default_rng(5)
    x[3] = 7.0
    x[5] = 0.1 * x[5] + scipy.signal.lfilter(
        *scipy.signal.butter(2, 40 / (SFREQ / 2), "high"), rng.normal(0, 60, x.shape[1])
    )
    x[8] = 15 * background(1, 120, seed=9)[0]
    x[10] *= 0.05
    return x


def test_bad_channels_become_absent_and_the_report_says_why(faulty):
    raw = recording(faulty)
    out = AdaptiveCleaner().apply_to_raw(raw)
    report = AdaptiveCleaner().report(raw)
    assert sorted(report.absent) == ["C4", "F4", "F7", "O1"]
    assert report.absent["F4"] == "flat"
    assert report.absent["C4"].startswith("noise above 30 Hz is ")
    assert report.absent["O1"].startswith("amplitude 1")
    assert report.absent["O1"].endswith(" times that of the others")
    data = out.get_data()
    absent = np.isnan(data).all(axis=1)
    assert [name for name, lost in zip(NAMES, absent, strict=True) if lost] == ["F4", "C4", "O1", "F7"]
    assert data[~absent].tobytes() == raw.get_data()[~absent].tobytes()
    assert notes_on(out) == report.lines
    assert pickle.loads(pickle.dumps(report)).as_dict()["absent"] == report.absent


def test_pyprep_finds_the_same_faults(faulty):
    pytest.importorskip("pyprep")
    ours = AdaptiveCleaner(bursts="none").report(recording(faulty)).absent
    theirs = AdaptiveCleaner(bursts="none", channels="pyprep").report(recording(faulty)).absent
    assert set(ours) == set(theirs)
    assert "deviation" in theirs["O1"]
    assert "hf_noise" in theirs["C4"]
    assert theirs["F4"] == "flat"


def test_autoreject_sets_the_amplitude_of_bursts():
    pytest.importorskip("autoreject")
    x = background(4, 60)
    x[1, 5000:5060] += 1500
    report = AdaptiveCleaner(burst_threshold="autoreject").report(recording(x))
    assert [(burst.channel, round(burst.onset_s)) for burst in report.bursts] == [("Fp2", 20)]
    short = AdaptiveCleaner(burst_threshold="autoreject", sfreq_in=SFREQ).report(x[None, :, :2560])[0]
    assert short.bursts == []
    assert short.remarks == ["bursts were not looked for: autoreject needs 60 s"]


def test_interpolation_is_that_of_mne_and_only_where_it_is_wanted(faulty):
    raw = recording(faulty)
    report = AdaptiveCleaner(interpolate=True).report(raw)
    assert sorted(report.interpolated) == ["C4", "F4", "F7", "O1"]
    truth = raw.copy().set_montage("standard_1005", verbose="error")
    truth.info["bads"] = ["F4", "C4", "O1", "F7"]
    truth.interpolate_bads(verbose="error")
    out = AdaptiveCleaner(interpolate=True).apply_to_raw(raw).get_data()
    np.testing.assert_allclose(out, truth.get_data(), atol=1e-7)
    few = AdaptiveCleaner(interpolate=True).report(recording(faulty[[0, 1, 3, 2, 4]] * [[1], [1], [0], [0], [0]]))
    assert few.interpolated == ()
    assert "too few" in few.remarks[0]
    bipolar = SignalInfo(("Fp1-F7", "F7-T7"), SFREQ, 2560, "uV")
    with pytest.raises(ValueError, match=r"interpolate=True needs referential channels .* Fp1-F7, F7-T7"):
        AdaptiveCleaner(interpolate=True).output_info(bipolar)


# Bursts and seizures ----------------------------------------------------------------------------------------------------


def seizure(freq, seconds, amplitude, kind):
    """A rhythm that slows down by a third: waves, or spikes and waves."""
    n = round(seconds * SFREQ)
    phase = 2 * np.pi * np.cumsum(np.linspace(freq, freq * 2 / 3, n)) / SFREQ
    wave = np.sin(phase) if kind == "waves" else np.exp(-8 * (1 - np.cos(phase))) * 2 - 0.7 * np.cos(phase)
    return amplitude * wave * np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.2 * SFREQ))


@settings(max_examples=40, deadline=None)
@given(
    freq=st.floats(2.5, 14),
    seconds=st.floats(1.5, 30),
    onset_s=st.floats(0, 25),
    amplitude=st.floats(100, 600),
    kind=st.sampled_from(["waves", "spikes"]),
    seed=st.integers(0, 5),
)
def test_a_seizure_is_never_a_burst(freq, seconds, onset_s, amplitude, kind, seed):
    """Focal, 4 to 24 times louder than what is around it, whole or cut by the end of the window."""
    x = background(6, 30, seed)
    ictal = seizure(freq, seconds, amplitude, kind)[: x.shape[1] - round(onset_s * SFREQ)]
    x[1:3, round(onset_s * SFREQ) : round(onset_s * SFREQ) + len(ictal)] += ictal
    report = AdaptiveCleaner(line_freqs=(), bursts="absent", sfreq_in=SFREQ).report(x[None])[0]
    assert report.bursts == []
    assert report.is_clean


@pytest.mark.parametrize("seconds", [15, 50])
def test_channels_of_a_seizure_are_not_bad(seconds):
    """Up to 50 s of 120 s, in a third of the channels."""
    x = background(len(NAMES), 120)
    ictal = seizure(9, seconds, 500, "spikes")
    x[:4, 10_000 : 10_000 + len(ictal)] += ictal
    report = AdaptiveCleaner(bursts="absent").report(recording(x))
    assert report.is_clean
    if seconds == 15:
        assert {(loud.channel, loud.kept_because) for loud in report.kept} == {
            (n, "longer than 2 s") for n in NAMES[:4]
        }


def test_real_seizures_of_chb_mit_stay(shared):
    """Four recordings from 10 s before a seizure to its end: the mains are found, no burst, no bad channel."""
    dataset = load_dataset("chb-mit", shared / "data" / "chbmit-excerpts", subjects=1)
    whole = [part.raw for part in dataset.datasets if part.raw.times[-1] > 30]
    assert len(whole) == 4
    for raw in whole:
        report = AdaptiveCleaner(bursts="absent").report(raw)
        assert report.absent == {}
        assert report.bursts == []
        assert {freqs[0] for freqs in report.filtered.values()} == {60.0}


def pops(x):
    """Plant a pop of 0.2 s and a movement of 0.6 s."""
    x[1, 2000:2050] += 700
    x[4, 5000:5150] += 900 * np.hanning(150)
    return x


def test_bursts_are_reported_and_made_absent_on_wish():
    raw = recording(pops(background(6, 30)))
    kept = AdaptiveCleaner().apply_to_raw(raw)
    assert kept.get_data().tobytes() == raw.get_data().tobytes()
    report = AdaptiveCleaner(bursts="absent").report(raw)
    assert [(burst.channel, burst.kept_because) for burst in report.bursts] == [("Fp2", ""), ("C3", "")]
    for burst, (onset, stop) in zip(report.bursts, [(2000, 2050), (5020, 5130)], strict=True):
        assert burst.onset_s <= onset / SFREQ
        assert burst.onset_s + burst.duration_s >= stop / SFREQ
        assert burst.duration_s <= 1
    out = AdaptiveCleaner(bursts="absent").apply_to_raw(raw).get_data()
    lost = np.isnan(out)
    assert sorted(np.flatnonzero(lost.any(axis=1))) == [1, 4]
    assert lost[1, 2000:2050].all()
    assert lost[4, 5020:5130].all()
    assert lost.sum() < 2 * SFREQ
    assert (out[~lost] == raw.get_data()[~lost]).all()


def test_in_a_window_the_channel_of_a_burst_is_absent():
    windows = np.stack([background(6, 10, 1), pops(background(6, 30))[:, :2560]])
    out = AdaptiveCleaner(sfreq_in=SFREQ, bursts="absent").transform(windows)
    assert np.argwhere(np.isnan(out).all(axis=2)).tolist() == [[1, 1]]
    np.testing.assert_array_equal(np.nan_to_num(out, nan=0)[0], windows[0])


# Times, stores, models ---------------------------------------------------------------------------------------------------


def test_annotations_pauses_and_clock_stay_as_they_are():
    x = background(6, 40)
    x[0] += tone(60, 60, x.shape[1])
    parts = [recording(x[:, :5120]), recording(x[:, 5120:])]
    raw = mne.concatenate_raws(parts, verbose="error")
    raw.set_annotations(mne.Annotations([20, 5, 30], [0, 4, 6.5], ["BAD boundary: 60 s missing", "sz", "sz_foc"]))
    raw.set_meas_date(1_000_000)
    out = AdaptiveCleaner().apply_to_raw(raw)
    assert out.annotations == raw.annotations
    assert out.first_samp == raw.first_samp
    assert timeline_of(out) == timeline_of(raw)
    assert timeline_of(out).gaps == [(20.0, 80.0)]
    alone = AdaptiveCleaner().apply_to_raw(recording(x[:, :5120]))
    np.testing.assert_allclose(out.get_data()[0, :5120], alone.get_data()[0], atol=1e-12)


def test_a_store_holds_what_was_done_and_the_same_times(faulty, tmp_path):
    raw = recording(pops(np.stack([*faulty[:3], faulty[8], *faulty[4:8]])), NAMES)
    raw.set_annotations(mne.Annotations([30], [20.5], ["sz"]))
    raw.set_meas_date(0)
    about = {"subject": "ward/1", "session": "1", "run": "1", "recording": "a"}
    outcomes = pd.DataFrame({"recording": ["a"], "outcome": ["loaded"], "detail": [""]})
    dataset = make_dataset([RawDataset(raw, about)], outcomes)
    montage = Montage("ward", ("Fp1", "Fp2", "F3", "F4", "C3"), "referential")
    plain = prepare(dataset, tmp_path / "plain", montage=montage, stride_s=10)
    cleaner = AdaptiveCleaner(bursts="absent").as_preprocessor()
    windows = prepare(dataset, tmp_path / "clean", montage=montage, stride_s=10, preprocessors=[cleaner])
    assert windows.metadata[["start_s", "stop_s", "label"]].equals(plain.metadata[["start_s", "stop_s", "label"]])
    absent = np.isnan(windows.read(range(len(windows)))).all(axis=2)
    assert absent[:, 3].all()  # F4 is 15 times too loud
    assert np.flatnonzero(absent[:, 1]).tolist() == [0]  # the pop of Fp2 after 8 s
    assert not absent[:, [0, 2]].any()
    notes = windows.entries[0].notes
    assert any(note.startswith("F4 absent: amplitude 1") for note in notes)
    assert any("bursts of" in note for note in notes)
    again = prepare(dataset, tmp_path / "clean", montage=montage, stride_s=10, preprocessors=[cleaner])
    assert again.fingerprint == windows.fingerprint


def test_parameters_are_plain_and_copied():
    cleaner = AdaptiveCleaner(line_freqs=(50.0,), bursts="absent", sfreq_in=100)
    assert clone(cleaner).get_params() == cleaner.get_params() == pickle.loads(pickle.dumps(cleaner)).get_params()
    info = SignalInfo(("Fp1", "Fp2"), SFREQ, 2560, "uV")
    assert AdaptiveCleaner(line_freqs=(), channels="none").is_identity(info)
    assert not AdaptiveCleaner().is_identity(info)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"channels": "all"}, "channels='all': expected one of 'robust', 'pyprep', 'none'"),
        ({"bursts": True}, "bursts=True: expected one of"),
        ({"line_freqs": (50, 300)}, r"line_freqs=\(50, 300\) must lie between 0 and 128 Hz"),
        ({"line_db": 0}, "line_db=0: expected a number above 0"),
        ({"burst_threshold": "auto"}, "burst_threshold='auto'"),
        ({"sfreq_in": 200}, "sfreq_in=200 Hz, but the data carry 256.0 Hz"),
    ],
)
def test_wrong_parameters_are_named(params, said):
    with pytest.raises(ValueError, match=said):
        AdaptiveCleaner(**params).output_info(SignalInfo(("Fp1", "Fp2"), SFREQ, 2560, "uV"))
    with pytest.raises(ValueError, match="put it before the scaler"):
        AdaptiveCleaner().output_info(SignalInfo(("Fp1",), SFREQ, 2560, None))


def test_a_cleaner_is_saved_with_its_model(tmp_path):
    folder = save_small_pipeline(
        tmp_path / "model", steps=[AdaptiveCleaner(line_freqs=(50.0,), bursts="absent"), PercentileScaler()]
    )
    loaded = load_pipeline(folder)
    assert loaded.steps[0][1].get_params() == AdaptiveCleaner(line_freqs=(50.0,), bursts="absent").get_params()
    windows = few_windows()
    assert np.isfinite(loaded.predict_proba(windows)).all()


def test_real_windows_lose_their_mains_and_nothing_else(shared, tmp_path):
    """Four seizures of CHB-MIT: 60 Hz falls by 20 dB, all other bands by less than 0.1 dB, labels are the same."""
    dataset = load_dataset("chb-mit", shared / "data" / "chbmit-excerpts", subjects=1)
    dataset = make_dataset([p for p in dataset.datasets if p.raw.times[-1] > 30], dataset.outcomes)
    plain = prepare(dataset, tmp_path / "plain", stride_s=10)
    cleaned = prepare(dataset, tmp_path / "clean", stride_s=10, preprocessors=[AdaptiveCleaner().as_preprocessor()])
    pd.testing.assert_frame_equal(plain.metadata, cleaned.metadata)
    at_hz = np.fft.rfftfreq(2000, 1 / 200)
    power = [
        np.median(np.abs(np.fft.rfft(w.read(range(len(w))) * np.hanning(2000))) ** 2, axis=(0, 1))
        for w in (plain, cleaned)
    ]
    for low_hz, high_hz, most_db in ((1, 30, 0.1), (30, 57, 0.1), (63, 90, 0.1)):
        band = (at_hz >= low_hz) & (at_hz <= high_hz)
        assert abs(10 * np.log10(power[1][band].mean() / power[0][band].mean())) < most_db
    mains = np.abs(at_hz - 60) < 0.2
    assert 10 * np.log10(power[1][mains].mean() / power[0][mains].mean()) < -20
    assert all(note.startswith("line noise removed: 60") for entry in cleaned.entries for note in entry.notes)
