"""Folders of arrays: the JSON, units, windows with splices, and everything that is refused."""

import json

import numpy as np
import pytest

from biot_bd import load_dataset, prepare
from biot_bd.datasets import find_layouts, load_arrays, open_array
from biot_bd.exceptions import RecordingError
from biot_bd.io.timeline import timeline_of
from biot_bd.signals import Montage
from biot_bd.testing import check_dataset
from biot_bd.windows import Annotated

PAIR = Montage("pair", ("C3", "C4"), "referential")


def write(folder, recordings, **about):
    folder.mkdir(exist_ok=True)
    known = {"format": "biot_bd arrays", "sfreq": 100, "unit": "uV", "ch_names": ["C3", "C4"], "namespace": "lab"}
    entries = {**known, **about, "recordings": recordings}
    text = json.dumps({key: value for key, value in entries.items() if value is not None})
    (folder / "arrays.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(0, 20, (2, 3000)).astype(np.float32))
    np.save(tmp_path / "b.npy", rng.normal(0, 200, (2, 2000)).astype(np.int16))
    np.savez(tmp_path / "c.npz", x=rng.normal(0, 2e-5, (2, 1500)), other=np.zeros(3))
    np.save(tmp_path / "d.npy", rng.normal(0, 20, (6, 2, 200)).astype(np.float32))
    return write(
        tmp_path,
        [
            {"file": "a.npy", "subject": "01", "annotations": [[2.0, 5.0, "sz"], [10.0, 4.0, "left"]]},
            {"file": "b.npy", "subject": "01", "recording": "second", "session": "2", "unit": "nV"},
            {"file": "c.npz", "key": "x", "subject": "02", "unit": "V", "sfreq": 50},
            {"file": "d.npy", "subject": "03", "labels": ["left", "right"] * 3},
        ],
    )


def test_arrays_are_recordings_in_volts(folder):
    dataset = load_dataset("arrays", folder)
    by_name = {p.description["recording"]: p for p in dataset.datasets}
    assert list(by_name) == ["lab_a", "second", "lab_c_x", "lab_d"]
    assert [p.description["subject"] for p in dataset.datasets] == ["lab/01", "lab/01", "lab/02", "lab/03"]
    a = np.load(folder / "a.npy")
    np.testing.assert_allclose(by_name["lab_a"].raw.get_data(), a * 1e-6, rtol=1e-6)
    np.testing.assert_allclose(by_name["lab_a"].raw.get_data([1], 250, 260), a[1:, 250:260] * 1e-6, rtol=1e-6)
    np.testing.assert_allclose(by_name["second"].raw.get_data(), np.load(folder / "b.npy") * 1e-9, rtol=1e-9)
    np.testing.assert_allclose(by_name["lab_c_x"].raw.get_data(), np.load(folder / "c.npz")["x"], rtol=1e-9)
    assert by_name["lab_c_x"].raw.info["sfreq"] == 50
    assert not any(p.raw.preload for p in dataset.datasets)
    assert not dataset.generated
    assert find_layouts(folder)[0].dataset == "arrays"


def test_the_data_set_keeps_to_what_this_package_needs(folder):
    check_dataset(load_arrays(folder, subjects=["02", "03"]))


def test_windows_that_were_cut_before_stay_apart(folder, tmp_path):
    dataset = load_arrays(folder, subjects="03")
    raw, x = dataset.datasets[0].raw, np.load(folder / "d.npy")
    np.testing.assert_allclose(
        raw.get_data(start=150, stop=450), np.concatenate(list(x), 1)[:, 150:450] * 1e-6, rtol=1e-6
    )
    line = timeline_of(raw)
    assert [(s.first_sample, s.n_samples, s.spliced) for s in line.segments] == [
        (200 * k, 200, k > 0) for k in range(6)
    ]
    rule = Annotated(classes=("left", "right"))
    windows = prepare(
        dataset, tmp_path / "w", montage=PAIR, sfreq=100, window_s=2, stride_s=1, labels=rule, dtype="float32"
    )
    assert windows.y.tolist() == [0, 1] * 3
    np.testing.assert_allclose(windows.read(range(6)), x, atol=1e-5)


def test_preparing_reads_from_the_map(folder, tmp_path):
    windows = prepare(load_arrays(folder, subjects="01"), tmp_path / "w", montage=PAIR, sfreq=100, stride_s=10)
    x = np.load(folder / "a.npy")[:, :1000]
    assert windows.seizures[["onset_s", "offset_s"]].to_numpy().tolist() == [[2.0, 7.0]]
    np.testing.assert_allclose(windows[0], x, atol=0.01)


@pytest.mark.parametrize(
    ("about", "entry", "told"),
    [
        ({"unit": None}, {}, r"unit is missing: give it for the whole folder, or in recordings\[0\]"),
        ({"sfreq": None}, {}, "sfreq is missing"),
        ({"unit": "counts"}, {}, "unit='counts': expected a unit of voltage"),
        ({"sfreq": 0}, {}, "sfreq=0"),
        ({"format": "other"}, {}, "format is 'other', expected 'biot_bd arrays'"),
        ({}, {"file": "../a.npy"}, "expected a path inside the folder"),
        ({}, {"subject": "lab/01"}, "expected a name without /"),
        ({}, {"subject": 1}, r"recordings\[0\].subject: expected a text, found 1"),
        ({}, {"annotations": [[1.0, "sz"]]}, r"annotations\[0\]: expected \[onset_s, duration_s, description\]"),
        ({}, {"annotations": [["1", 2, "sz"]]}, r"annotations\[0\]\[0\]: expected a number"),
        ({}, {"labels": ["x"]}, "labels are for windows"),
        ({}, {"key": "x"}, "names an array of an .npz file"),
    ],
)
def test_what_the_json_lacks_or_gets_wrong_is_named(folder, about, entry, told):
    write(folder, [{"file": "a.npy", "subject": "01", **entry}], **about)
    with pytest.raises(ValueError, match=told):
        load_arrays(folder)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"file": "gone.npy"}, "gone.npy: no such file"),
        ({"file": "objects.npy"}, "objects.npy: not an array of numbers"),
        ({"file": "text.npy"}, "text.npy: not an array of numbers"),
        ({"file": "complex.npy"}, "expected real numbers, found complex128"),
        ({"file": "a.npy", "ch_names": ["C3"]}, r"shape \(2, 3000\) for 1 channels"),
        ({"file": "c.npz"}, "key=None, and it holds x, other"),
        ({"file": "c.npz", "key": "y"}, "key='y', and it holds x, other"),
        ({"file": "a.npy", "annotations": [[28.0, 4.0, "sz"]]}, "expected a time inside the recording of 30 s"),
        ({"file": "a.npy", "annotations": [[28.0, 0.0, "sz_foc"]]}, "expected a time inside"),
    ],
)
def test_arrays_that_cannot_be_used_are_named_or_skipped(folder, entry, told):
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(folder / "complex.npy", np.ones((2, 10), complex))
    (folder / "text.npy").write_text("not numpy", encoding="utf-8")
    good = {"file": "a.npy", "subject": "01"}
    write(folder, [good, {"subject": "01", **entry, "recording": "bad"}])
    if entry["file"] != "gone.npy":
        with pytest.raises(RecordingError, match=told):
            load_arrays(folder)
    dataset = load_arrays(folder, on_error="skip")
    assert dataset.outcomes["recording"].tolist() == ["lab_a", "bad"]
    assert told.replace("\\", "") in dataset.outcomes["detail"][1]


def test_the_name_space_is_the_folder_where_nothing_else_is_told(folder):
    write(folder, [{"file": "a.npy", "subject": "01"}], namespace=None)
    part = load_arrays(folder).datasets[0]
    assert part.description["subject"] == f"{folder.name}/01"
    assert part.description["namespace_from"] == "folder"
    assert load_dataset("arrays", folder, namespace="x").datasets[0].description["subject"] == "x/01"


def test_one_array_is_opened_by_other_loaders(folder):
    raw = open_array(folder / "a.npy", sfreq=100, unit="mV", ch_names=["C3", "C4"], annotations=[(1, 2, "word")])
    assert raw.get_data()[0, 5] == pytest.approx(np.load(folder / "a.npy")[0, 5] * 1e-3)
    assert raw.annotations.description.tolist() == ["word"]
    picked = raw.copy().pick(["C4"]).crop(1, 2).load_data()
    np.testing.assert_allclose(picked.get_data()[0], np.load(folder / "a.npy")[1, 100:201] * 1e-3)
