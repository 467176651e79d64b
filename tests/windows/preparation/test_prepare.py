import json
import os
import shutil
import warnings
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.preprocessing import Preprocessor

from biot_bd import PercentileScaler, Windows, prepare
from biot_bd.exceptions import PreparationError
from biot_bd.registry import montages
from biot_bd.signals import plan_montage, resample_fft, resample_polyphase
from biot_bd.windows import Overlap
from biot_bd.windows.preparation import prepare as preparation


def manifest_of(folder):
    return json.loads((Path(folder) / "manifest.json").read_text())


def times_of(folder):
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in Path(folder).rglob("*.*") if p.is_file()}


def contents_of(folder):
    """What a store says and holds, whatever the file times."""
    windows = Windows.open(folder)
    return windows.metadata, np.asarray(windows), windows.present, manifest_of(folder)


def assert_same_store(one, other):
    for a, b in zip(contents_of(one), contents_of(other), strict=True):
        if isinstance(a, pd.DataFrame):
            pd.testing.assert_frame_equal(a, b)
        elif isinstance(a, dict):
            assert a == b
        else:
            np.testing.assert_array_equal(a, b)


def exact_uv(raw, montage="biot-16"):
    """The montage's channels in uV, float64, by MNE and the plan."""
    raw = raw.copy().load_data()
    return plan_montage(montages[montage], raw.ch_names).apply(raw.get_data() * 1e6)


@pytest.mark.parametrize(("resample", "function"), [("fft", resample_fft), ("polyphase", resample_polyphase)])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_signals_are_within_half_a_step_of_the_resampled_recording(excerpts, tmp_path, resample, function, dtype):
    windows = prepare(excerpts, tmp_path, resample=resample, dtype=dtype)
    entries = {e["recording"]: e for e in manifest_of(tmp_path)["recordings"]}
    assert len(entries) == 30
    for item in excerpts.datasets:
        entry = entries[item.description["recording"]]
        expected = function(exact_uv(item.raw), 256, 200)
        stored = np.load(tmp_path / entry["file"])
        assert (stored.dtype, entry["dtype"]) == (np.dtype(dtype), dtype)
        steps = np.array(entry["steps_uv"])[:, None] if dtype == "int16" else 0.0
        # Half a step, and 1e-6 of the largest value for float32 arithmetic.
        bound = steps * 0.5 + 1e-6 * np.abs(expected).max() + 1e-4
        assert (np.abs(stored * (steps if dtype == "int16" else 1) - expected) <= bound).all()
        rows = np.flatnonzero(windows.metadata["recording"] == entry["recording"])
        for row in rows:
            start = round(windows.metadata["start_s"][row] * 200)
            assert (np.abs(windows[int(row)] - expected[:, start : start + 2000]) <= bound).all()


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_the_published_inputs_come_out(excerpts, tmp_path, shared, dtype):
    golden = np.load(shared / "golden/chbmit-official-rule-inputs.npz")
    rule = json.loads((shared / "golden/chbmit-official-rule-windows.json").read_text())["chb01"]
    windows = prepare(excerpts, tmp_path, labels="biot-official", resample="fft-window", dtype=dtype)
    assert windows.label_rule == "biot-official"
    assert windows.shape[1:] == (16, 2000)
    table = pd.read_parquet(tmp_path / "windows.parquet")
    for recording in ("chb01_03", "chb01_15"):
        found = table[table["recording"] == recording]
        rows = zip(found["start_sample"], found["n_samples"], found["kind"].astype(str), found["label"], strict=True)
        expected = [
            (w["start_sample"], w["samples"], w["kind"], w["label"]) for w in rule if w["recording"] == recording
        ]
        assert sorted(rows) == sorted(expected)
    scaled = windows.map(PercentileScaler(95))
    steps = np.array(next(e for e in manifest_of(tmp_path)["recordings"] if e["recording"] == "chb01_03")["steps_uv"])
    for name in golden.files:
        recording, start = name.rsplit("-", 1)
        [row] = np.flatnonzero(
            (table["recording"] == recording) & (table["start_sample"] == int(start)) & (table["kind"] == "grid")
        )
        error = np.abs(scaled[int(row)] - golden[name])
        # Half a step of the stored sample over the percentile; the resampling and the percentile carry it on.
        percentile = np.load(tmp_path / "percentiles.npy")[row][:, None]
        bound = 2e-6 if dtype == "float32" else 2e-6 + 2.5 * steps[:, None] / percentile
        assert (error <= bound).all()


def test_cut_windows_are_stretched_to_full_length(excerpts, tmp_path):
    from scipy.signal import resample

    windows = prepare(excerpts, tmp_path, labels="biot-official", resample="fft-window", dtype="float32")
    table = pd.read_parquet(tmp_path / "windows.parquet")
    [row] = np.flatnonzero((table["recording"] == "chb01_03") & (table["n_samples"] == 257))
    raw = next(d.raw for d in excerpts.datasets if d.description["recording"] == "chb01_03")
    start = table["start_sample"][row]
    expected = resample(exact_uv(raw)[:, start : start + 257], 2000, axis=-1)
    np.testing.assert_allclose(windows[int(row)], expected, atol=1e-3)


def test_scaled_int16_windows_are_within_half_a_step_over_the_percentile(excerpts, tmp_path):
    coarse = prepare(excerpts, tmp_path / "int16")
    fine = prepare(excerpts, tmp_path / "float32", dtype="float32")
    steps = {e["recording"]: e["steps_uv"] for e in manifest_of(tmp_path / "int16")["recordings"]}
    step = np.array([steps[recording] for recording in coarse.metadata["recording"]])[..., None]
    percentile = np.load(tmp_path / "int16/percentiles.npy")[..., None]
    x, z = (np.asarray(windows.map(PercentileScaler())) for windows in (coarse, fine))
    # Sample and percentile are each off by at most half a step: |x/p - z| <= step/2/p * (1 + |z|).
    assert (np.abs(x - z) <= 0.5 * step / percentile * (1 + np.abs(z)) + 1e-5).all()
    assert np.abs(x - z).max() > 0


def test_a_rule_that_fixes_its_windows_refuses_others(small, tmp_path):
    with pytest.raises(ValueError, match="fft-window"):
        prepare(small, tmp_path, labels="biot-official")
    with pytest.raises(ValueError, match="window_s"):
        prepare(small, tmp_path, labels="biot-official", resample="fft-window", window_s=5)
    with pytest.raises(ValueError, match="stride_s"):
        prepare(small, tmp_path, labels="biot-official", resample="fft-window", stride_s=2)


def test_nothing_is_clipped_where_samples_exceed_the_range(make, tmp_path):
    def square(digital):  # full-scale steps overshoot when they are resampled
        digital[:] = np.where(np.arange(digital.shape[1]) // 100 % 2, 2047, -2047)

    dataset = make.dataset([(make.edf(tmp_path / "a.edf", 20, change=square), "a", "p", [])])
    windows = prepare(dataset, tmp_path / "w")
    expected = resample_fft(exact_uv(dataset.datasets[0].raw), 256, 200)
    assert np.abs(expected).max() > 810
    step = manifest_of(tmp_path / "w")["recordings"][0]["steps_uv"][0]
    assert np.abs(windows[0] - expected[:, :2000]).max() <= step * 0.5 + 1e-3


def test_a_coarse_step_makes_the_recording_float32(make, tmp_path):
    dataset = make.dataset([(make.edf(tmp_path / "a.edf", 20, top=20_000.0), "a", "p", [])])
    windows = prepare(dataset, tmp_path / "w")
    [entry] = manifest_of(tmp_path / "w")["recordings"]
    assert entry["dtype"] == "float32"
    assert "Fp1-F7" in entry["dtype_reason"]
    assert "0.5 uV" in entry["dtype_reason"]
    expected = resample_fft(exact_uv(dataset.datasets[0].raw), 256, 200)
    np.testing.assert_allclose(windows[0], expected[:, :2000], atol=0.01)


def test_bipolar_channels_are_derived_from_referential_ones(make, shared, tmp_path):
    path = shared / "data/eegmmidb/S001R01.edf"
    windows = prepare(make.dataset([(path, "a", "p", [])]), tmp_path)
    raw = mne.io.read_raw_edf(path, preload=True, verbose="error")
    expected = resample_fft((raw.get_data(["Fp1."]) - raw.get_data(["F7.."])) * 1e6, 160, 200)
    step = manifest_of(tmp_path)["recordings"][0]["steps_uv"][0]
    assert np.abs(windows[0][0] - expected[0, :2000]).max() <= step * 0.5 + 1e-3


def test_missing_channels_raise_or_are_absent(make, tmp_path):
    names = [n for n in make.channels if n not in ("F7-T7", "T8-P8")]
    dataset = make.dataset([(make.edf(tmp_path / "a.edf", 20, ch_names=names), "a", "p", [])])
    with pytest.raises(PreparationError, match=r"recording a .*a\.edf.*F7-T7") as caught:
        prepare(dataset, tmp_path / "w")
    assert "on_error='skip'" in str(caught.value)
    windows = prepare(dataset, tmp_path / "w", on_missing="drop")
    absent = [i for i, name in enumerate(windows.ch_names) if name in ("F7-T7", "T8-P8")]
    x = np.asarray(windows)
    assert np.isnan(x).all(axis=-1)[:, absent].all()
    assert np.isnan(x).any(axis=-1).sum() == 2 * len(windows)
    np.testing.assert_array_equal(windows.present, ~np.isnan(x[:, :, 0]))


def test_an_exactly_zero_channel_is_missing_where_the_data_set_says_so(make, tmp_path):
    def zero(digital):
        digital[1] = 0

    path = make.edf(tmp_path / "a.edf", 20, change=zero)
    with pytest.raises(PreparationError, match="F7-T7"):
        prepare(make.dataset([(path, "a", "p", [], {"zero_is_missing": True})]), tmp_path / "w")
    dataset = make.dataset([(path, "a", "p", [], {"zero_is_missing": True})])
    windows = prepare(dataset, tmp_path / "x", on_missing="drop")
    assert not manifest_of(tmp_path / "x")["recordings"][0]["present"][1]
    assert windows.present.sum(axis=1).tolist() == [15] * len(windows)


def test_flat_stretches_are_absent_in_their_windows_only(make, tmp_path):
    def flatten(digital):
        digital[0, 10 * 256 : 25 * 256] = 7  # whole windows at 10 and 15 s
        digital[:, 40 * 256 : 50 * 256] = -3  # the window at 40 s: nothing is left

    dataset = make.dataset([(make.edf(tmp_path / "a.edf", 60, change=flatten), "a", "p", [])])
    windows = prepare(dataset, tmp_path / "w")
    starts = windows.metadata["start_s"]
    assert 40.0 not in set(starts)
    assert starts[~windows.present[:, 0]].tolist() == [10.0, 15.0]
    assert windows.present[:, 1:].all()
    notes = " ".join(manifest_of(tmp_path / "w")["notes"])
    assert "Fp1-F7 (3 windows)" in notes
    assert "1 windows left out" in notes
    assert np.isfinite(windows.map(PercentileScaler()).read(np.flatnonzero(windows.present.all(axis=1)))).all()
    with pytest.raises(PreparationError, match=r"recording a, channel Fp1-F7 is flat.* at 10 s"):
        prepare(dataset, tmp_path / "v", on_bad="raise")
    with pytest.warns(UserWarning, match="Fp1-F7"):
        prepare(dataset, tmp_path / "u", on_bad="warn")


def test_values_that_are_not_finite_make_the_channel_absent_there(make, tmp_path):
    x = np.random.default_rng(0).normal(0, 50e-6, (18, 60 * 256))
    x[2, 21 * 256] = np.nan
    raw = mne.io.RawArray(x, mne.create_info(list(make.channels), 256, "eeg"), verbose="error")
    windows = prepare(make.dataset([(raw, "a", "p", [])]), tmp_path)
    place = windows.ch_names.index("T7-P7")
    assert windows.metadata["start_s"][~windows.present[:, place]].tolist() == [15.0, 20.0]
    assert np.delete(windows.present, place, axis=1).all()
    x[2, 21 * 256] = 0
    good = resample_fft(x[2] * 1e6, 256, 200)
    np.testing.assert_allclose(windows[0][place], good[:2000], atol=0.02)


def test_a_second_call_does_nothing(small, tmp_path):
    first = prepare(small, tmp_path / "w")
    before = times_of(tmp_path / "w")
    second = prepare(small, tmp_path / "w")
    assert times_of(tmp_path / "w") == before
    assert first.fingerprint == second.fingerprint


def test_only_what_changed_is_done_again(small, make, tmp_path):
    folder = tmp_path / "w"
    first = prepare(small, folder)
    before = times_of(folder)
    make.edf(tmp_path / "edf/r2.edf", 45, 99)
    again = make.dataset([(tmp_path / f"edf/r{i}.edf", f"r{i}", f"test/{i // 2}", [(12, 27)]) for i in range(6)])
    second = prepare(again, folder)
    after = times_of(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert {n for n in changed if n.startswith("signals/")} == {"signals/r2.npy", "signals/r2.json"}
    assert len(second) == len(first) + 1
    assert second.fingerprint != first.fingerprint


def test_another_rule_rewrites_only_the_table(small, tmp_path):
    folder = tmp_path / "w"
    prepare(small, folder)
    before = times_of(folder)
    windows = prepare(small, folder, labels=Overlap(1), stride_s=2, window_s=4)
    after = times_of(folder)
    assert {n for n in after if after[n] != before[n]} == {"manifest.json", "percentiles.npy", "windows.parquet"}
    assert windows.shape[1:] == (16, 800)
    assert windows.label_rule == "overlap(min_overlap_s=1)"
    prepare(small, tmp_path / "fresh", labels=Overlap(1), stride_s=2, window_s=4)
    assert_same_store(folder, tmp_path / "fresh")


def test_windows_of_a_table_that_was_rewritten_do_not_read_the_wrong_rows(small, tmp_path):
    import pickle

    from biot_bd.windows import window_index as sources

    text = pickle.dumps(prepare(small, tmp_path / "w"))
    prepare(small, tmp_path / "w", stride_s=2)
    sources.open_source.cache_clear()
    sources._open_table.cache_clear()
    with pytest.raises(ValueError, match="prepared anew"):
        pickle.loads(text)


def test_other_signals_need_another_folder(small, tmp_path):
    prepare(small, tmp_path / "w")
    before = times_of(tmp_path / "w")
    with pytest.raises(ValueError, match=r"sfreq is 200\.0 there and 100\.0 here.*another folder"):
        prepare(small, tmp_path / "w", sfreq=100)
    assert times_of(tmp_path / "w") == before


def test_recordings_can_be_added(small, tmp_path):
    few = type(small)(small.datasets[:2])
    prepare(few, tmp_path / "w")
    before = times_of(tmp_path / "w")
    prepare(small, tmp_path / "w")
    after = times_of(tmp_path / "w")
    assert all(after[name] == before[name] for name in before if name.startswith("signals/"))
    prepare(small, tmp_path / "fresh")
    assert_same_store(tmp_path / "w", tmp_path / "fresh")


@pytest.mark.parametrize("many_hours", [0, 130])  # processes and threads
def test_two_workers_give_what_one_gives(small, tmp_path, monkeypatch, many_hours):
    monkeypatch.setattr(preparation, "MANY_HOURS", many_hours)
    prepare(small, tmp_path / "one")
    level, filters = mne.set_log_level(return_old_level=True), list(warnings.filters)
    mne.set_log_level(level)
    prepare(small, tmp_path / "two", n_jobs=2)
    assert mne.set_log_level(level, return_old_level=True) == level
    assert list(warnings.filters) == filters
    assert_same_store(tmp_path / "one", tmp_path / "two")


def test_a_recording_shorter_than_a_window_is_named(make, shared, tmp_path):
    path = shared / "data/epilepsy2bids-headers/chbmit/chb05/chb05_01.edf"
    dataset = make.dataset([(path, "chb05_01", "p", [])])
    with pytest.raises(PreparationError, match=r"chb05_01.*lasts 2 s.*shorter than a window of 10 s"):
        prepare(dataset, tmp_path)
    with pytest.raises(PreparationError, match=r"none of 1 recordings.*lasts 2 s"):
        prepare(dataset, tmp_path, on_error="skip")


def test_broken_recordings_are_skipped_by_name(small, make, tmp_path):
    short = make.edf(tmp_path / "short.edf", 3)
    bad = make.edf(tmp_path / "bad.edf", 30)
    items = make.dataset([(short, "short", "p", []), (bad, "bad", "p", [])])
    bad.write_bytes(b"no recording any more")
    gone = make.dataset([(make.edf(tmp_path / "gone.edf", 30), "gone", "p", [])])
    (tmp_path / "gone.edf").unlink()
    dataset = type(small)([*small.datasets[:2], *items.datasets, *gone.datasets])
    with pytest.raises(PreparationError, match="gone"):
        prepare(dataset, tmp_path / "w")
    with pytest.warns(UserWarning, match="3 of 4 recordings were skipped|3 of 5 recordings were skipped") as caught:
        windows = prepare(dataset, tmp_path / "w", on_error="skip")
    assert all(name in str(caught[-1].message) for name in ("short", "bad", "gone"))
    failures = {f["recording"]: f["outcome"] for f in manifest_of(tmp_path / "w")["failures"]}
    assert failures["short"] == "too-short"
    assert set(failures) == {"short", "bad", "gone"}
    assert set(windows.metadata["recording"]) == {"r0", "r1"}
    with pytest.warns(UserWarning, match="skipped"):  # said every time, not only the first
        prepare(dataset, tmp_path / "w", on_error="skip")


def test_names_are_needed_and_unique(small, make, tmp_path):
    path = make.edf(tmp_path / "a.edf", 20)
    with pytest.raises(ValueError, match="two recordings are named 'a'"):
        prepare(make.dataset([(path, "a", "p", []), (path, "a", "q", [])]), tmp_path / "w")
    with pytest.raises(ValueError, match=r"description\['subject'\].*adapt_dataset"):
        prepare(make.dataset([(path, "a", 1, [])]), tmp_path / "w")
    with pytest.raises(TypeError, match="BaseConcatDataset"):
        prepare([path], tmp_path / "w")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_bad": "ignore"}, "on_bad"),
        ({"dtype": "float16"}, "dtype"),
        ({"resample": "soxr"}, "resample"),
        ({"sfreq": 0}, "sfreq"),
        ({"window_s": float("nan")}, "window_s"),
        ({"on_error": "no"}, "on_error"),
    ],
)
def test_parameters_are_checked_before_anything_is_written(small, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(small, tmp_path / "w", **options)
    assert not (tmp_path / "w").exists()


def test_preprocessors_are_applied_and_recognised(small, tmp_path):
    few = type(small)(small.datasets[:1])
    steps = [Preprocessor("filter", l_freq=1.0, h_freq=30.0)]
    windows = prepare(few, tmp_path / "w", preprocessors=steps)
    raw = small.datasets[0].raw.copy().load_data().filter(1.0, 30.0, verbose="error")
    expected = resample_fft(exact_uv(raw), 256, 200)
    assert np.abs(windows[0] - expected[:, :2000]).max() <= 0.02
    assert not small.datasets[0].raw.preload
    before = times_of(tmp_path / "w")
    prepare(few, tmp_path / "w", preprocessors=[Preprocessor("filter", l_freq=1.0, h_freq=30.0)])
    assert times_of(tmp_path / "w") == before
    with pytest.raises(ValueError, match="preprocessors"):
        prepare(few, tmp_path / "w", preprocessors=[Preprocessor("filter", l_freq=1.0, h_freq=40.0)])
    with pytest.raises(TypeError, match="Preprocessor"):
        prepare(few, tmp_path / "v", preprocessors=["filter"])
    with pytest.raises(TypeError, match="no name"):
        prepare(few, tmp_path / "v", preprocessors=[Preprocessor(lambda x: x)])


def test_events_follow_a_preprocessor_that_crops(small, tmp_path):
    few = type(small)(small.datasets[:1])
    windows = prepare(few, tmp_path, preprocessors=[Preprocessor("crop", tmin=10)])
    assert manifest_of(tmp_path)["recordings"][0]["events"] == [[2.0, 17.0]]
    assert len(windows) == 5


def test_the_manifest_tells_what_the_data_set_tells(small, tmp_path):
    small.generated = True
    small.outcomes = pd.DataFrame(
        {"recording": ["r0", "x"], "outcome": ["loaded", "missing-file"], "detail": ["", None]}
    )
    windows = prepare(small, tmp_path / "w")
    assert windows.generated
    assert "generated" in repr(windows)
    manifest = manifest_of(tmp_path / "w")
    assert manifest["outcomes"][1] == {"recording": "x", "outcome": "missing-file", "detail": None}
    assert [e["outcome"] for e in manifest["recordings"]] == ["prepared"] * 6


def test_a_seizure_that_no_window_holds_is_told(make, tmp_path):
    dataset = make.dataset([(make.edf(tmp_path / "a.edf", 38), "a", "p", [(36, 38)])])
    with pytest.warns(UserWarning, match=r"a: no positive window for the seizure\(s\) at 36 s"):
        prepare(dataset, tmp_path / "w")


def test_recordings_whose_names_are_no_file_names(make, tmp_path):
    path = make.edf(tmp_path / "a.edf", 20)
    dataset = make.dataset([(path, "sub-01/ses 1", "p", []), (path, "sub-01_ses_1", "p", []), (path, "../x", "p", [])])
    windows = prepare(dataset, tmp_path / "w")
    assert set(windows.metadata["recording"]) == {"sub-01/ses 1", "sub-01_ses_1", "../x"}
    assert len(list((tmp_path / "w/signals").glob("*.npy"))) == 3
    assert not (tmp_path / "x.npy").exists()


def test_a_finished_store_can_be_opened_where_nothing_can_be_written(small, tmp_path):
    prepare(small, tmp_path / "w")
    shutil.rmtree(tmp_path / "w/.lock", ignore_errors=True)
    (tmp_path / "w/.lock").unlink(missing_ok=True)
    os.chmod(tmp_path / "w", 0o555)
    try:
        assert len(prepare(small, tmp_path / "w")) == len(Windows.open(tmp_path / "w"))
        assert not (tmp_path / "w/.lock").exists()
    finally:
        os.chmod(tmp_path / "w", 0o755)


def test_no_warning_where_all_is_well(small, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(small, tmp_path / "w")
