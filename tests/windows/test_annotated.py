"""Windows labelled by annotations: the rule, its store, relabelling and old stores."""

import json
import shutil

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import Windows, prepare
from biot_bd.signals import Montage
from biot_bd.windows import Annotated, Overlap
from biot_bd.windows.labels import label_table

MONTAGE = Montage("two", ("C3", "C4"), "referential")
PARAMETERS = {"montage": MONTAGE, "sfreq": 50, "window_s": 2, "stride_s": 1}
TASKS = [(1.0, 5.0, "left"), (8.0, 4.0, "right"), (14.0, 0.0, "beep"), (15.0, 3.0, "sz_foc")]


def recording(name, annotations, seconds=20, seed=0, subject="lab/1"):
    rng = np.random.default_rng(seed)
    info = mne.create_info(["C3", "C4"], 100.0, "eeg")
    raw = mne.io.RawArray(rng.normal(0, 2e-5, (2, seconds * 100)), info, verbose="error")
    raw.set_annotations(mne.Annotations(*(zip(*annotations, strict=True) if annotations else ([], [], []))))
    return RawDataset(raw, {"recording": name, "subject": subject})


def dataset(annotations=TASKS, **more):
    return BaseConcatDataset(
        [recording("a", annotations, **more), recording("b", annotations[:2], seed=1, subject="lab/2")]
    )


RULE = Annotated(classes=("left", "right", "rest"), background="rest")


def by_hand(annotations, n_samples, sfreq, window, stride, classes, background, enough):
    """Label sample by sample: (start, label) of each window that is kept."""
    marks = {c: np.zeros(n_samples, bool) for c in classes}
    for onset_s, duration_s, text in annotations:
        if text in marks:
            marks[text][max(0, round(onset_s * sfreq)) : max(0, round((onset_s + duration_s) * sfreq))] = True
    out = []
    for start in range(0, n_samples - window + 1, stride):
        counts = {c: int(m[start : start + window].sum()) for c, m in marks.items()}
        there = [c for c, n in counts.items() if n]
        if len(there) == 1 and counts[there[0]] >= enough:
            out.append((start, classes.index(there[0])))
        elif not there and background is not None:
            out.append((start, classes.index(background)))
    return out


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-20, 220).map(lambda x: x / 10),
            st.integers(0, 80).map(lambda x: x / 10),
            st.sampled_from(["a", "b", "c", "other"]),
        ),
        max_size=8,
    ),
    st.sampled_from([None, 0.5, 1.0, 30.0]),
    st.sampled_from([None, "c"]),
)
def test_a_window_has_the_class_that_covers_it_and_no_other(annotations, min_overlap_s, background):
    classes = ("a", "b", "c")
    rule = Annotated(classes=classes, background=background, min_overlap_s=min_overlap_s)
    table = rule(2000, 100.0, [], window_s=2.0, stride_s=0.5, annotations=annotations)
    enough = 200 if min_overlap_s is None else min(round(min_overlap_s * 100), 200)
    expected = by_hand(annotations, 2000, 100.0, 200, 50, classes, background, enough)
    assert list(zip(table["start_sample"], table["label"], strict=True)) == expected


def test_epochs_begin_at_onsets_and_never_leave_the_recording():
    rule = Annotated(classes=("x", "y"), descriptions={"1": "x", "2": "y"}, at="onset", tmin_s=-0.5, tmax_s=1.5)
    assert rule.window_s == 2.0
    annotations = [(0.2, 0, "1"), (0.5, 0, "2"), (7.003, 9, "1"), (8.5, 0, "2"), (8.52, 0, "1")]
    table = rule(1000, 100.0, [(7, 8)], window_s=2.0, annotations=annotations)
    assert table[["start_sample", "n_samples", "label"]].to_numpy().tolist() == [
        [0, 200, 1],
        [650, 200, 0],
        [800, 200, 1],
    ]
    assert table["seizure_fraction"].tolist() == [0.0, 0.5, 0.0]
    assert set(table["kind"]) == {"epoch"}
    assert table.attrs["notes"] == ["2 annotations without a window, it would leave the recording"]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"classes": "left"}, "several names"),
        ({"classes": ("a",)}, "two or more"),
        ({"classes": ("a", "a")}, "two or more different"),
        ({"classes": ("a", "b"), "descriptions": {"T1": "c"}}, "'T1' is to be of the class 'c'"),
        ({"classes": ("a", "b"), "background": "c"}, "not among"),
        ({"at": "somewhere"}, "at must be one of"),
        ({"min_overlap_s": -1}, "min_overlap_s"),
        ({"at": "onset", "tmin_s": 1, "tmax_s": 0}, "rise"),
        ({"tmax_s": 3}, "tmax_s means nothing with at='grid'"),
        ({"at": "onset", "background": "a", "classes": ("a", "b")}, "background means nothing"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters, told):
    with pytest.raises(ValueError, match=told):
        Annotated(**parameters)


def test_a_store_is_labelled_by_its_annotations_and_names_the_classes(tmp_path):
    windows = prepare(dataset(), tmp_path / "w", labels=RULE, **PARAMETERS)
    assert windows.classes == ("left", "right", "rest")
    assert windows.targets is None
    rows = windows.metadata.query("recording == 'b'")
    # By hand: windows of 2 s every second; left 1-6 s, right 8-12 s.
    assert dict(zip(rows["start_s"], rows["label"], strict=True)) == {
        **{1.0 * t: 0 for t in (1, 2, 3, 4)},
        **{1.0 * t: 1 for t in (8, 9, 10)},
        **{1.0 * t: 2 for t in (6, 12, 13, 14, 15, 16, 17, 18)},
    }
    assert windows.summary().loc["lab/2"].to_dict() == {
        "n_recordings": 1,
        "n_windows": 15,
        "n_left_windows": 4,
        "n_right_windows": 3,
        "n_rest_windows": 8,
        "n_absent_channels": 0,
    }
    assert "8 left, 6 right, 16 rest" in repr(windows)
    again = Windows.open(tmp_path / "w")
    assert again.classes == windows.classes
    assert again.fingerprint == windows.fingerprint
    manifest = json.loads((tmp_path / "w/manifest.json").read_text(encoding="utf-8"))
    assert manifest["version"] == manifest["table"]["version"] == 3
    assert any("left out, annotations cover too little" in note for note in manifest["notes"])
    assert manifest["recordings"][0]["annotations"] == [list(row) for row in TASKS]


def test_other_labels_keep_the_annotations_for_a_later_relabel(tmp_path):
    windows = prepare(dataset(), tmp_path / "w", labels="none", **PARAMETERS)
    assert windows.classes == ("background", "seizure")
    direct = prepare(dataset(), tmp_path / "direct", labels=RULE, **PARAMETERS)
    later = windows.relabel(RULE)
    pd.testing.assert_frame_equal(later.metadata, direct.metadata)
    assert later.classes == direct.classes
    back = later.relabel("none")
    assert back.classes == windows.classes
    pd.testing.assert_frame_equal(back.metadata, windows.metadata)


def test_without_classes_there_is_one_for_each_description(tmp_path):
    windows = prepare(dataset(), tmp_path / "w", labels="annotated", **PARAMETERS)
    assert windows.classes == ("beep", "left", "right", "sz", "sz_foc")


def test_seizures_are_annotations_and_a_told_kind_stays(tmp_path):
    rows = [(2.0, 6.0, "sz"), (10.0, 6.0, "sz_foc"), (17.0, 3.0, "left")]
    made = BaseConcatDataset([recording("a", rows)])
    rule = Annotated(classes=("sz", "sz_foc", "left"))
    windows = prepare(made, tmp_path / "w", labels=rule, **PARAMETERS)
    assert windows.metadata.groupby("label")["start_s"].apply(list).to_dict() == {
        0: [2, 3, 4, 5, 6],
        1: [10, 11, 12, 13, 14],
        2: [17, 18],
    }
    seizures = windows.relabel(Overlap(min_overlap_s=2.0))
    assert seizures.metadata.query("label == 1")["start_s"].tolist() == [2, 3, 4, 5, 6, 10, 11, 12, 13, 14]


def test_changed_annotations_give_other_windows_and_no_old_table_is_opened(tmp_path):
    first = prepare(dataset(TASKS[:3]), tmp_path / "w", labels="none", **PARAMETERS)
    signals = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "w/signals").glob("*.npy")}
    labelled = first.relabel(RULE)
    moved = [(on + 1, duration, text) for on, duration, text in TASKS[:3]]
    second = prepare(dataset(moved), tmp_path / "w", labels="none", **PARAMETERS)
    assert second.fingerprint == first.fingerprint  # the same signals, none of them labelled
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "w/signals").glob("*.npy")} == signals
    with pytest.raises(ValueError, match="annotations that have changed; call relabel again"):
        Windows.open(labelled.folder)
    assert second.relabel(RULE).query("label == 0").metadata["start_s"].min() == 2.0


def test_preprocessors_move_annotations_with_the_samples(tmp_path):
    from braindecode.preprocessing import Preprocessor

    crop = [Preprocessor("crop", tmin=3.0, apply_on_array=False)]
    rule = Annotated(classes=("left", "right"))
    made = prepare(dataset(), tmp_path / "w", labels=rule, preprocessors=crop, **PARAMETERS)
    starts = made.query("recording == 'b'").metadata.groupby("label")["start_s"].apply(list).to_dict()
    assert starts == {0: [0, 1], 1: [5, 6, 7]}
    (tmp_path / "w/manifest.json").unlink()  # as a killed call leaves it
    again = prepare(dataset(), tmp_path / "w", labels=rule, preprocessors=crop, **PARAMETERS)
    pd.testing.assert_frame_equal(again.metadata, made.metadata)


def test_a_store_of_before_says_how_to_get_annotations(tmp_path):
    prepare(dataset([(1.0, 5.0, "sz")]), tmp_path / "w", labels="none", **PARAMETERS)
    manifest = json.loads((tmp_path / "w/manifest.json").read_text(encoding="utf-8"))
    assert manifest["version"] == 2
    assert all("annotations" not in entry for entry in manifest["recordings"])
    with pytest.raises(ValueError, match="run the same prepare again"):
        Windows.open(tmp_path / "w").relabel("annotated")


def test_damaged_annotations_in_a_manifest_are_named(tmp_path):
    prepare(dataset(), tmp_path / "w", labels="none", **PARAMETERS)
    path = tmp_path / "w/manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["recordings"][0]["annotations"][1] = ["8 s", 4.0, "right"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    (tmp_path / "w").rename(tmp_path / "v")
    with pytest.raises(ValueError, match=r"manifest.json.*annotations\[1\]\[0\]: expected a number"):
        Windows.open(tmp_path / "v")


def test_a_class_without_any_window_is_told(tmp_path):
    rule = Annotated(classes=("left", "feet"), min_overlap_s=1.0)
    with pytest.warns(UserWarning, match=r"no window of class feet \(annotations there: beep, left, right, sz_foc\)"):
        prepare(dataset(), tmp_path / "w", labels=rule, **PARAMETERS)


def test_windows_of_other_classes_are_not_joined(tmp_path):
    first = prepare(dataset(), tmp_path / "w", labels=RULE, **PARAMETERS)
    shutil.copytree(tmp_path / "w", tmp_path / "v")
    other = Windows.open(tmp_path / "v").relabel(Annotated(classes=("right", "left")))
    with pytest.raises(ValueError, match="left, right, rest and right, left; give both one label rule with relabel"):
        Windows.concat([first, other])


class Voted:
    """Three raters: shares of votes for three classes."""

    classes = ("no", "maybe", "yes")
    needs_annotations = True

    def __init__(self, whole=4):
        self.whole = whole

    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0, annotations=()):
        start = np.array([round(onset_s * sfreq) for onset_s, _, _ in annotations], np.int64)
        votes = np.array([[int(v) for v in text.split()] for _, _, text in annotations], float).reshape(-1, 3)
        length = np.full(len(start), round(window_s * sfreq))
        table = label_table(start, length, votes.argmax(axis=1), "votes", np.empty((0, 2), np.int64))
        for k, name in enumerate(("target_0", "target_1", "target_2")):
            table[name] = votes[:, k] / self.whole
        return table


def test_votes_are_served_as_targets_and_go_with_the_windows(tmp_path):
    votes = [(1.0, 0.0, "3 1 0"), (5.0, 0.0, "0 2 2"), (9.0, 0.0, "0 0 4")]
    windows = prepare(dataset(votes), tmp_path / "w", labels=Voted(), **PARAMETERS)
    expected = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 4], [3, 1, 0], [0, 2, 2]]) / 4
    np.testing.assert_array_equal(windows.targets, expected)
    np.testing.assert_array_equal(windows[[4, 0]].targets, expected[[4, 0]])
    assert windows.y.tolist() == [0, 1, 2, 0, 1]
    assert Windows.open(tmp_path / "w").targets.dtype == np.float64
    assert windows.relabel("none").targets is None
    shutil.copytree(tmp_path / "w", tmp_path / "v")
    both = Windows.concat([windows, Windows.open(tmp_path / "v")])[len(windows) :]
    np.testing.assert_array_equal(both.targets, expected)


def test_votes_that_are_no_shares_are_refused(tmp_path):
    votes = [(1.0, 0.0, "3 1 0"), (5.0, 0.0, "0 2 2")]
    with pytest.raises(ValueError, match=r"recording a: .*row 0: target_\* are \[1.5, 0.5, 0.0\]; expected shares"):
        prepare(dataset(votes), tmp_path / "w", labels=Voted(whole=2), **PARAMETERS)
