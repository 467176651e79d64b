"""The demo recordings: true EDF files, the same bytes each time, seizures where the summary says."""

from __future__ import annotations

import hashlib
import itertools
import json

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from biot_bd.datasets import demo_signals, describe_dataset, load_dataset
from biot_bd.datasets.chbmit import load_chbmit, read_summary
from biot_bd.datasets.demo import NOTICE, generate_demo, load_demo
from biot_bd.datasets.recordings import seizures_of
from biot_bd.testing import check_dataset

SMALL = {"n_subjects": 2, "recordings": 2, "minutes": 2}


def digests(root):
    files = sorted(p for p in root.rglob("demo*") if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return generate_demo(tmp_path_factory.mktemp("demo"), **SMALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return load_dataset("demo", tmp_path_factory.mktemp("whole"))


def test_six_subjects_with_at_least_two_seizures_each(whole):
    check_dataset(whole)
    assert whole.generated is True
    table = describe_dataset(whole)
    assert table["subject"].tolist() == [f"demo/{i:02d}" for i in range(1, 7)]
    assert table["recordings"].tolist() == [3] * 6
    assert table["hours"].sum() == pytest.approx(1.8)
    assert (table["seizures"] >= 2).all()
    share = table["seizure_s"] / table["hours"] / 3600
    assert 0.05 < share.sum() / 6 < 0.08
    lengths = [off - on for p in whole.datasets for on, off in seizures_of(p.raw)]
    assert min(lengths) >= 12
    assert max(lengths) <= 60
    assert len(set(lengths)) > 5
    free = [not seizures_of(p.raw) for p in whole.datasets]
    assert all(any(free[i : i + 3]) for i in range(0, 18, 3))


def test_recordings_are_as_chb_mit_has_them(root):
    paths = sorted(root.rglob("*.edf"))
    assert [p.name for p in paths] == ["demo01_01.edf", "demo01_02.edf", "demo02_01.edf", "demo02_02.edf"]
    raw = mne.io.read_raw_edf(paths[0], verbose="ERROR")
    assert raw.info["sfreq"] == 256
    assert raw.n_times == 120 * 256
    records = read_summary(root / "demo01" / "demo01-summary.txt")
    assert [r.file for r in records] == ["demo01_01.edf", "demo01_02.edf"]
    assert [r.end_s - r.start_s for r in records] == [120, 120]
    assert [name.removesuffix("-0").removesuffix("-1") for name in raw.ch_names] == list(records[0].ch_names)
    seizures = {p.description["recording"]: seizures_of(p.raw) for p in load_demo(root, **SMALL).datasets}
    assert [seizures[r.file[:-4]] for r in records] == [[(float(a), float(b)) for a, b in r.seizures] for r in records]


def test_every_file_says_that_it_is_generated(root):
    for path in root.rglob("*.edf"):
        header = path.read_bytes()[:256].decode("ascii")
        assert header[8:88].startswith("generated ")
        assert "generated" in header[88:168]
        assert header[168:176] == "01.01.00"
    assert json.loads((root / "demo.json").read_text())["notice"] == NOTICE


def test_demo_is_never_taken_for_chb_mit(root):
    with pytest.raises(FileNotFoundError, match="no case of chb-mit"):
        load_chbmit(root)


def test_the_same_seed_gives_the_same_bytes(root, tmp_path):
    assert digests(generate_demo(tmp_path / "again", **SMALL)) == digests(root)
    other = digests(generate_demo(tmp_path / "other", **SMALL, seed=1))
    assert other.keys() == digests(root).keys()
    assert not set(other.values()) & set(digests(root).values())


def test_only_what_is_missing_or_damaged_is_made_again(root, tmp_path):
    generate_demo(tmp_path, **SMALL)
    before = digests(tmp_path)
    (tmp_path / "demo01" / "demo01_02.edf").unlink()
    damaged = tmp_path / "demo02" / "demo02_01.edf"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.edf")}
    generate_demo(tmp_path, **SMALL)
    assert digests(tmp_path) == before
    changed = {p.name for p, t in times.items() if p.stat().st_mtime_ns != t}
    assert changed == {"demo02_01.edf"}


def test_other_parameters_never_delete_what_is_there(tmp_path):
    generate_demo(tmp_path, **SMALL, seed=4)
    before = digests(tmp_path) | {"demo.json": (tmp_path / "demo.json").read_text()}
    for load in (load_demo, generate_demo):
        with pytest.raises(
            ValueError, match=r"subjects is 2 there and 1 here; seed is 4 there and 0 here; choose another folder"
        ):
            load(tmp_path, n_subjects=1, recordings=2, seed=0)
    note = json.loads(before["demo.json"])
    (tmp_path / "demo.json").write_text(json.dumps(note | {"version": 0}))
    with pytest.raises(ValueError, match="version is 0 there and 1 here"):
        load_demo(tmp_path)
    (tmp_path / "demo.json").write_text(before["demo.json"])
    assert digests(tmp_path) | {"demo.json": (tmp_path / "demo.json").read_text()} == before


def test_without_parameters_those_of_the_folder_hold(tmp_path):
    generate_demo(tmp_path, **SMALL, seed=4)
    before = digests(tmp_path)
    assert describe_dataset(load_dataset("demo", tmp_path))["recordings"].tolist() == [2, 2]
    (tmp_path / "demo02" / "demo02_01.edf").unlink()
    load_demo(tmp_path, minutes=2)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("text", ["[]", "{}", '{"n_subjects": 2}'])
def test_a_note_that_is_none(tmp_path, text):
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(ValueError, match=r"demo\.json: expected version, n_subjects, .*found"):
        load_demo(tmp_path)


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "demo01").mkdir()
    with pytest.raises(FileExistsError, match="not made by this program"):
        generate_demo(tmp_path, **SMALL)
    assert list((tmp_path / "demo01").iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [{"n_subjects": 0}, {"recordings": 0}, {"minutes": 0}, {"minutes": 1.5}, {"seed": -1}, {"n_subjects": True}],
)
def test_wrong_numbers(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*expected a whole number"):
        load_demo(tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_subjects(root):
    assert len(load_demo(root, **SMALL, subjects="demo/02").datasets) == 2
    assert len(load_demo(root, **SMALL, subjects=["demo01"]).datasets) == 2


def test_bipolar_channels_fit_together(root):
    """Channels that name one pair of electrodes twice agree, and a chain closes: FP1-F7-T7-P7-O1 against FP1-F3-C3-P3-O1."""
    x = dict(zip(demo_signals.CH_NAMES, _read_uv(root, "demo01/demo01_01.edf"), strict=True))
    np.testing.assert_allclose(x["T7-P7"], -x["P7-T7"], atol=0.11)
    temporal = x["FP1-F7"] + x["F7-T7"] + x["T7-P7"] + x["P7-O1"]
    parasagittal = x["FP1-F3"] + x["F3-C3"] + x["C3-P3"] + x["P3-O1"]
    np.testing.assert_allclose(temporal, parasagittal, atol=0.5)


def _read_uv(root, name):
    return mne.io.read_raw_edf(root / name, verbose="ERROR").get_data() * 1e6


def test_amplitudes_are_those_of_eeg_and_nothing_clips(whole):
    for part in whole.datasets:
        x = part.raw.get_data() * 1e6
        assert 5 < np.median(x.std(axis=1)) < 80
        assert np.abs(x).max() < 3000


def test_background_falls_with_frequency(whole):
    calm = next(p for p in whole.datasets if not seizures_of(p.raw))
    f, power = welch(calm.raw.get_data() * 1e6, 256, nperseg=1024)
    mean = np.median(power, axis=0)
    assert mean[(f > 2) & (f < 4)].mean() > 3 * mean[(f > 12) & (f < 20)].mean()
    assert mean[(f > 12) & (f < 20)].mean() > 3 * mean[(f > 40) & (f < 55)].mean()


def test_seizures_are_stronger_than_what_was_before(whole):
    ratios = []
    for part in whole.datasets:
        for onset, offset in seizures_of(part.raw):
            x = part.raw.get_data(start=int(onset * 256), stop=int(offset * 256))
            f, power = welch(x, 256, nperseg=512)
            best = power[:, (f >= 2) & (f <= 8)].sum(axis=1).argmax()
            before = part.raw.get_data(best, max(0, int(onset * 256) - 1280), int(onset * 256))[0]
            ratios.append(x[best].std() / before.std())
    assert np.median(ratios) > 1.5


@pytest.mark.parametrize("seed", range(5))
def test_seizures_slow_down_grow_and_spread(seed):
    rng = np.random.default_rng(seed)
    subject = demo_signals.draw_subject(rng)
    x = np.zeros((len(demo_signals.ELECTRODES), 60 * 256))
    demo_signals._seizure(x, rng, subject, 5, 45)
    assert not x[:, : 5 * 256].any()
    ictal = x[:, 5 * 256 : 45 * 256]
    level = np.sqrt((ictal.reshape(len(x), 40, 256) ** 2).mean(axis=2))  # by second
    focus = level.sum(axis=1).argmax()
    assert demo_signals.ELECTRODES[focus][:-1] == subject.focus[:-1]  # the side may be the other one
    assert _peak_hz(ictal[focus, : 8 * 256]) > _peak_hz(ictal[focus, -8 * 256 :]) + 0.5
    assert 1.5 < _peak_hz(ictal[focus, -8 * 256 :]) < 4.5
    assert level[focus, 20:38].mean() > 1.5 * level[focus, :3].mean()
    far = demo_signals.DISTANCES_CM[focus].argmax()
    half = [int(np.argmax(row > row.max() / 2)) for row in (level[focus], level[far])]
    assert half[0] < half[1]
    assert level[far].max() < level[focus].max()


def _peak_hz(x):
    f, power = welch(x, 256, nperseg=1024)
    band = (f >= 1) & (f <= 9)
    return f[band][power[band].argmax()]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 60))
def test_plans_of_seizures(seed, recordings, minutes):
    plan = demo_signals.plan_seizures(np.random.default_rng(seed), recordings, minutes * 60)
    seizures = [s for part in plan for s in part]
    assert len(plan) == recordings
    assert len(seizures) >= 2
    assert all(12 <= off - on <= 60 for on, off in seizures)
    assert all(on > 0 and off < minutes * 60 for on, off in seizures)
    for part in plan:
        assert all(b[0] - a[1] >= 15 for a, b in itertools.pairwise(part))
    if recordings * minutes >= 12:
        assert 0.03 < sum(off - on for on, off in seizures) / (recordings * minutes * 60) < 0.08
    if recordings > 2:
        assert any(not part for part in plan)
