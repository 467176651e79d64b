"""The time line of any pauses in EEGLAB, FIF and BrainVision against what the test put there, in closed form."""

import datetime as dt
import itertools

import mne
import numpy as np
import pybv
import pytest
import scipy.io
from hypothesis import example, given, settings
from hypothesis import strategies as st

from biot_bd.io.timeline import timeline_of

START = dt.datetime(2020, 2, 28, 22, 11, 12, 345678, tzinfo=dt.UTC)
SFREQ, N = 128, 128 * 60
pytestmark = pytest.mark.filterwarnings("ignore:.*(boundary|Omitted|expanding outside).*:RuntimeWarning")

CUTS = st.lists(st.integers(1, N - 1), max_size=5, unique=True).map(sorted)


def found(line):
    return [(s.first_sample, s.n_samples, s.start_s, s.spliced) for s in line.segments]


def check(line, expected, off_s):
    """Expected: (first sample, samples, start in seconds, spliced) each."""
    segments = found(line)
    assert [(s[0], s[1], s[3]) for s in segments] == [(e[0], e[1], e[3]) for e in expected]
    assert np.allclose([s[2] for s in segments], [e[2] for e in expected], rtol=0, atol=off_s)
    ends = [first + n for first, n, *_ in expected]
    assert all(end <= first for end, (first, *_) in zip(ends, expected[1:], strict=False))
    assert line.n_samples == N


# EEGLAB


def save_eeglab(path, rows, **more):
    """Write zeros with events (type, latency, duration); duration may be left out of all of them."""
    fields = [
        ("type", more.get("type", object)),
        ("latency", float),
        *([("duration", float)] if more.get("durations", True) else []),
    ]
    event = np.array([row[: len(fields)] for row in rows], dtype=fields)
    eeg = {
        "setname": "x", "nbchan": 1, "trials": 1, "pnts": N, "srate": float(SFREQ), "xmin": 0.0, "xmax": (N - 1) / SFREQ,
        "data": np.zeros((1, N), np.float32), "chanlocs": np.array([("Fp1",)], dtype=[("labels", object)]), "event": event,
        "icawinv": [], "icasphere": [], "icaweights": [], "icaact": [], "epoch": [], "times": [], "ref": "common",
        "filename": path.name, "urevent": [], "history": "",
    }  # fmt: skip
    scipy.io.savemat(path, {"EEG": eeg}, appendmat=False)
    return path


LOST = st.one_of(st.integers(1, 10**7), st.floats(0.5, 1e6), st.sampled_from([0.0, np.nan]))


@settings(max_examples=40, deadline=None)
@given(
    cuts=CUTS,
    lost=st.lists(LOST, min_size=5, max_size=5),
    late=st.lists(st.sampled_from([0.5, 1.0]), min_size=5, max_size=5),
    others=st.lists(st.tuples(st.sampled_from(["sz", "boundaries", "BAD"]), st.floats(1, N)), max_size=3),
    durations=st.booleans(),
)
@example(cuts=[N - 1], lost=[5e5] * 5, late=[0.5] * 5, others=[], durations=True)
@example(cuts=[1, 2, 3], lost=[1, np.nan, 2, 0, 0], late=[0.5, 1.0, 0.5, 1, 1], others=[], durations=True)
def test_eeglab_boundaries_with_and_without_duration(tmp_path_factory, cuts, lost, late, others, durations):
    path = tmp_path_factory.mktemp("set") / "x.set"
    rows = [("boundary", cut + shift, samples) for cut, shift, samples in zip(cuts, late, lost, strict=False)]
    rows += [(text, at, 1.0) for text, at in others]
    # EEGLAB sets the mark half a sample early, other programs on the sample itself; MNE counts from 0.
    rows.sort(key=lambda row: row[1])
    save_eeglab(path, rows, durations=durations)
    known = [samples if durations and np.isfinite(samples) else 0.0 for samples in lost]
    expected, moved_s = [], 0.0
    edges = [0, *cuts, N]
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        moved_s += known[k - 1] / SFREQ if k else 0.0
        expected.append((a, b - a, a / SFREQ + moved_s, bool(k) and not known[k - 1]))
    for source in (path, mne.io.read_raw_eeglab(path, verbose="error")):
        check(timeline_of(source), expected, 0.001)


@pytest.mark.parametrize("number", [float, "i2"])
def test_eeglab_boundaries_among_events_that_are_numbers(tmp_path, number):
    rows = [(3, 500.0, 1.0), (-99, 1000.5, 256.0), (99, 2000.0, 1.0), (-99, 3000.5, 0.0)]
    line = timeline_of(save_eeglab(tmp_path / "x.set", rows, type=number))
    assert found(line) == [
        (0, 1000, 0.0, False),
        (1000, 2000, 1000 / SFREQ + 2, False),
        (3000, N - 3000, 3000 / SFREQ + 2, True),
    ]


# FIF, and what MNE marks in memory


@settings(max_examples=25, deadline=None)
@given(
    cuts=CUTS,
    skips=st.lists(st.tuples(st.integers(0, N - 1), st.integers(1, N // 3)), max_size=3),
    mark=st.sampled_from([["BAD boundary", "EDGE boundary"], ["BAD boundary"], ["EDGE boundary"]]),
    early=st.sampled_from([0, 0.5]),
    saved=st.booleans(),
    first=st.sampled_from([0, 700]),
    dated=st.booleans(),
)
def test_fif_boundaries_and_skips(tmp_path_factory, cuts, skips, mark, early, saved, first, dated):
    info = mne.create_info(["Fp1"], float(SFREQ), "eeg")
    raw = mne.io.RawArray(np.zeros((1, N)), info, first_samp=first, verbose="error")
    raw.set_meas_date(START if dated else None)
    at = [(cut - early) / SFREQ for cut in cuts for _ in mark]
    spans = [(a, min(a + n, N)) for a, n in skips]
    shift_s = raw.first_time if dated else 0.0
    onsets = np.array([*at, *(a / SFREQ for a, _ in spans)], float) + shift_s
    lengths = [0.0] * len(at) + [(b - a) / SFREQ for a, b in spans]
    texts = [text for _ in cuts for text in mark] + ["BAD_ACQ_SKIP"] * len(spans)
    raw.set_annotations(mne.Annotations(onsets, lengths, texts, orig_time=START if dated else None))
    recorded = np.ones(N, bool)
    for a, b in spans:
        recorded[a:b] = False
    if saved and recorded.any():
        path = tmp_path_factory.mktemp("fif") / "x_raw.fif"
        raw.save(path, verbose="error")
        raw = path
    # Runs of what was recorded, divided at the marks within.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], recorded, [False]]).astype(int))).reshape(-1, 2)
    expected = []
    for a, b in edges.tolist():
        inside = [cut for cut in cuts if a < cut < b]
        starts = [a, *inside]
        expected += [(s, e - s, s / SFREQ, s in inside) for s, e in zip(starts, [*inside, b], strict=True)]
    line = timeline_of(raw)
    check(line, expected, 1e-6)
    assert line.start_time == (START + dt.timedelta(seconds=first / SFREQ) if dated else None)


# BrainVision


def stamp(when):
    return f"{when:%Y%m%d%H%M%S%f}"


STEP = st.one_of(
    st.floats(0.1, 1e6).map(lambda gap_s: ("gap", gap_s)),
    st.just(("gap", 0.0)),
    st.floats(1, 1e4).map(lambda back_s: ("back", back_s)),
    st.sampled_from([("none", ""), ("none", "0" * 20), ("none", "20201340101010000000"), ("none", "2020")]),
)


@settings(max_examples=25, deadline=None)
@given(cuts=CUTS, steps=st.lists(STEP, min_size=5, max_size=5), dated=st.booleans())
@example(cuts=[100, 200], steps=[("none", ""), ("gap", 7.5)] * 3, dated=True)
@example(cuts=[100], steps=[("gap", 86400.0)] * 5, dated=True)  # over 29 February
@example(cuts=[1, 2], steps=[("gap", 1100.0), ("back", 1.0), *[("gap", 0.0)] * 3], dated=True)
def test_brainvision_new_segments_with_and_without_dates(tmp_path_factory, cuts, steps, dated):
    folder = tmp_path_factory.mktemp("bv")
    options = {"meas_date": START if dated else None, "unit": "µV"}
    data = np.zeros((1, N))
    pybv.write_brainvision(data=data, sfreq=SFREQ, ch_names=["Fp1"], fname_base="x", folder_out=str(folder), **options)
    markers = folder / "x.vmrk"
    text = markers.read_text()
    if not dated and "New Segment" not in text:
        text += "Mk1=New Segment,,1,1,0\n"
    expected, end_s = [(0, cuts[0] if cuts else N, 0.0, False)], (cuts[0] if cuts else N) / SFREQ
    for k, (cut, stop) in enumerate(zip(cuts, [*cuts, N][1:], strict=False)):
        how, value = steps[k]
        if how == "none":
            # Without a first date MNE takes the next one, and refuses the file where that is none.
            told, at_s = value if dated else "", end_s
        else:
            true_s = end_s + (value if how == "gap" else -value - 0.1)
            told, at_s = stamp(START + dt.timedelta(seconds=true_s)), true_s if how == "gap" else end_s
        # Without a first date later ones tell nothing of what was before.
        known = how == "gap" and dated
        at_s = at_s if known else end_s
        text += f"Mk{k + 2}=New Segment,,{cut + 1},1,0{',' + told if told else ''}\n"
        expected.append((cut, stop - cut, at_s, not known))
        end_s = at_s + (stop - cut) / SFREQ
    markers.write_text(text)
    line = timeline_of(folder / "x.vhdr")
    check(line, expected, 0.05)
    assert line.start_time == (START if dated else None)
    assert sum("goes back" in note for note in line.notes) == (
        sum(how == "back" for _, (how, _) in zip(cuts, steps, strict=False)) if dated else 0
    )
