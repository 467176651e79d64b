"""CHB-MIT in PhysioNet's layout: every oddity has a named outcome."""

import pickle
import warnings

import mne
import numpy as np
import pytest
from edf_files import BIPOLAR, HEADER, entry, write_case, write_edf

from biot_bd.datasets import describe_dataset, load_dataset
from biot_bd.datasets.chbmit import load_chbmit, select_cases
from biot_bd.datasets.recordings import seizures_of
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import read_edf_header
from biot_bd.testing import check_dataset


def by_name(dataset):
    return {part.description["recording"]: part for part in dataset.datasets}


def outcomes_of(dataset):
    return dict(zip(dataset.outcomes["recording"], dataset.outcomes["outcome"], strict=True))


@pytest.fixture(scope="module")
def excerpts(shared):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # MNE would warn of T8-P8 twice
        return load_dataset("chb-mit", shared / "data" / "chbmit-excerpts")


def test_excerpts_load_with_all_30_recordings(excerpts):
    check_dataset(excerpts)
    assert set(outcomes_of(excerpts).values()) == {"loaded"}
    assert len(excerpts.datasets) == 30
    assert excerpts.generated is False
    table = describe_dataset(excerpts).set_index("subject")
    assert list(table.index) == ["chb-mit/01", "chb-mit/02", "chb-mit/03"]
    assert table["seizure_s"].sum() == 278  # the README of the excerpts
    assert table["hours"].sum() * 3600 == pytest.approx(278 + 180)
    assert table["recordings"].tolist() == [11, 5, 14]


def test_excerpts_are_lazy_volts_with_seizures(excerpts, shared):
    part = by_name(excerpts)["chb01_03"]
    assert not part.raw.preload
    assert seizures_of(part.raw) == [(10.0, 50.0)]
    path = shared / "data/chbmit-excerpts/chb01/chb01_03.edf"
    truth = mne.io.read_raw_edf(path, verbose="ERROR")
    np.testing.assert_array_equal(part.raw[:, 1000:1100][0], truth[:, 1000:1100][0])
    assert {"T8-P8-0", "T8-P8-1"} <= set(part.raw.ch_names)


def test_irregular_names_of_excerpts(excerpts):
    found = by_name(excerpts)
    assert found["chb02_16+_ict"].description["run"] == "16+_ict"
    assert found["chb02_16_ict"].description["run"] == "16_ict"
    assert found["chb02_16+_ict"].description["subject"] == "chb-mit/02"
    assert seizures_of(found["chb02_16+_pre"].raw) == []


def test_recordings_survive_pickling(excerpts):
    part = pickle.loads(pickle.dumps(excerpts.datasets[1]))
    assert seizures_of(part.raw) == [(10.0, 50.0)]


def test_case_21_is_the_subject_of_case_1(tmp_path):
    write_case(tmp_path, "chb01", {"chb01_01.edf": []}, ["chb01_01.edf"])
    write_case(tmp_path, "chb21", {"chb21_01.edf": [(5, 15)]}, ["chb21_01.edf"])
    write_case(tmp_path, "chb17", {"chb17a_03.edf": []}, ["chb17a_03.edf"])
    found = by_name(load_chbmit(tmp_path))
    assert {name: (p.description["subject"], p.description["session"]) for name, p in found.items()} == {
        "chb01_01": ("chb-mit/01", "01"),
        "chb21_01": ("chb-mit/01", "02"),
        "chb17a_03": ("chb-mit/17", "01"),
    }
    assert found["chb17a_03"].description["run"] == "a_03"
    assert set(by_name(load_chbmit(tmp_path, subjects="chb-mit/01"))) == {"chb01_01", "chb21_01"}
    assert set(by_name(load_chbmit(tmp_path, subjects=["chb01"]))) == {"chb01_01"}
    assert set(by_name(load_chbmit(tmp_path, subjects=21))) == {"chb21_01"}


def test_missing_and_unlisted_files_are_named(tmp_path):
    listed = {"chb24_01.edf": [(3, 9)], "chb24_03.edf": []}
    write_case(tmp_path, "chb24", listed, ["chb24_01.edf", "chb24_02.edf"])
    (tmp_path / "RECORDS").write_text(
        "chb24/chb24_01.edf\nchb24/chb24_02.edf\nchb24/chb24_05.edf\nchb01/chb01_01.edf\n"
    )
    with pytest.warns(UserWarning, match="chb-mit: ") as caught:
        dataset = load_chbmit(tmp_path)
    assert outcomes_of(dataset) == {
        "chb24_01": "loaded",
        "chb24_03": "missing-file",
        "chb24_02": "unlisted",
        "chb24_05": "unlisted",
    }
    messages = [str(w.message) for w in caught]
    assert len(messages) == 2
    assert "1 of 4 recordings are not on the disk: chb24_03" in messages[0]
    assert "2 of 4 recordings are absent from their summary" in messages[1]
    assert all(w.filename == __file__ for w in caught)
    assert dataset.outcomes["detail"][1].count("chb24_03.edf") == 1

    with pytest.raises(FileNotFoundError, match="1 recordings are not on the disk: chb24_03"):
        load_chbmit(tmp_path, on_missing="raise")
    with pytest.warns(UserWarning, match="labels are unknown"):
        background = load_chbmit(tmp_path, unlisted="background", on_missing="ignore")
    assert outcomes_of(background)["chb24_02"] == "loaded"
    assert outcomes_of(background)["chb24_05"] == "unlisted"
    assert "taken as free of seizures" in background.outcomes.set_index("recording")["detail"]["chb24_02"]


def test_a_case_without_summary_is_never_background(tmp_path):
    write_case(tmp_path, "chb01", {"chb01_01.edf": []}, ["chb01_01.edf"])
    write_edf(tmp_path / "chb02" / "chb02_01.edf")
    with pytest.warns(UserWarning, match="no summary beside them"):
        dataset = load_chbmit(tmp_path, unlisted="background")
    assert outcomes_of(dataset) == {"chb01_01": "loaded", "chb02_01": "no-summary"}


def test_one_case_folder_is_a_root_too(shared):
    assert len(load_chbmit(shared / "data/chbmit-excerpts/chb02").datasets) == 5


def test_annotations_outside_the_file_are_faults(shared):
    """The headers' EDFs last 2 s, the official seizures are minutes later."""
    root = shared / "data" / "epilepsy2bids-headers" / "chbmit"
    with pytest.raises(RecordingError, match=r"chb05_06\.edf: seizure from 417 s to 532 s is not inside .* 2 s"):
        load_chbmit(root, on_missing="ignore")
    with pytest.warns(UserWarning, match="impossible annotations"):
        dataset = load_chbmit(root, on_missing="ignore", on_error="skip")
    found = outcomes_of(dataset)
    assert found["chb05_06"] == found["chb08_02"] == "bad-annotation"
    assert found["chb05_01"] == "loaded"
    assert found["chb05_07"] == "missing-file"
    assert len(found) == len(dataset.outcomes)


@pytest.mark.parametrize(
    ("seizure", "expected"),
    [((5, 20), (5, 20)), ((0, 10), (0, 10)), ((5, 21), None), ((20, 25), None), ((8, 8), None), ((9, 8), None)],
)
def test_seizures_at_the_edges(tmp_path, seizure, expected):
    write_case(tmp_path, "chb01", {"chb01_01.edf": [seizure]}, ["chb01_01.edf"])
    if expected is None:
        with pytest.raises(RecordingError, match=r"chb01_01\.edf: seizure") as caught:
            load_chbmit(tmp_path)
        assert caught.value.outcome == "bad-annotation"
    else:
        assert seizures_of(load_chbmit(tmp_path).datasets[0].raw) == [expected]


def test_an_end_within_the_last_second_is_rounding(tmp_path):
    write_case(tmp_path, "chb01", {"chb01_01.edf": [(5, 20)]}, [])
    write_edf(tmp_path / "chb01" / "chb01_01.edf", seconds=19.5)
    assert seizures_of(load_chbmit(tmp_path).datasets[0].raw) == [(5.0, 19.5)]


def test_dummy_and_other_channels(tmp_path):
    names = ["FP1-F7", "-", "F7-T7", "-", ".", "T8-P8", "T8-P8", "ECG", "LOC-ROC", "VNS"]
    write_case(tmp_path, "chb12", {"chb12_06.edf": []}, [])
    write_edf(tmp_path / "chb12" / "chb12_06.edf", names)
    dataset = load_chbmit(tmp_path)
    raw = dataset.datasets[0].raw
    assert raw.ch_names == ["FP1-F7", "F7-T7", "T8-P8-0", "T8-P8-1", "ECG", "LOC-ROC", "VNS"]
    assert raw.get_channel_types() == ["eeg"] * 4 + ["ecg", "eog", "misc"]
    assert dataset.outcomes["detail"][0] == "3 dummy channels dropped"


def test_one_dummy_channel(tmp_path):
    write_case(tmp_path, "chb12", {"chb12_06.edf": []}, [])
    path = write_edf(tmp_path / "chb12" / "chb12_06.edf", ["FP1-F7", "-", "F7-T7"])
    raw = load_chbmit(tmp_path).datasets[0].raw
    truth = mne.io.read_raw_edf(path, verbose="ERROR")
    assert raw.ch_names == ["FP1-F7", "F7-T7"]
    np.testing.assert_array_equal(raw.get_data(), truth.get_data(["FP1-F7", "F7-T7"]))


def test_referential_recordings_of_case_12(tmp_path):
    write_case(tmp_path, "chb12", {"chb12_27.edf": [], "chb12_28.edf": []}, [])
    write_edf(tmp_path / "chb12" / "chb12_27.edf", ["F7-CS2", "T7-CS2", "-", "C2-CS2", "CP2-CS2"])
    write_edf(tmp_path / "chb12" / "chb12_28.edf", ["F7", "T7", "-", "01", "EKG1-CHIN"])
    dataset = load_chbmit(tmp_path)
    assert dataset.datasets[0].raw.ch_names == ["F7", "T7", "C2", "CP2"]
    assert dataset.datasets[1].raw.ch_names == ["F7", "T7", "O1", "EKG1-CHIN"]
    assert dataset.outcomes["detail"].tolist() == [
        "1 dummy channels dropped; reference CS2",
        "1 dummy channels dropped; channel 01 read as O1",
    ]


def test_damaged_files_are_named(tmp_path):
    files = {"chb01_01.edf": [], "chb01_02.edf": [], "chb01_03.edf": [], "chb01_04.edf": []}
    write_case(tmp_path, "chb01", files, list(files))
    whole = (tmp_path / "chb01" / "chb01_01.edf").read_bytes()
    (tmp_path / "chb01" / "chb01_01.edf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "chb01" / "chb01_02.edf").write_bytes(b"<html>not found</html>" * 30)
    (tmp_path / "chb01" / "chb01_03.edf").write_bytes(b"")
    with pytest.raises(
        RecordingError, match=r"chb01_01\.edf: incomplete: the header declares 20 records, the file holds 9"
    ):
        load_chbmit(tmp_path)
    with pytest.warns(UserWarning, match="3 of 4 recordings cannot be read"):
        dataset = load_chbmit(tmp_path, on_error="skip")
    assert list(outcomes_of(dataset).values()) == ["unreadable"] * 3 + ["loaded"]
    assert "not that of an EDF" in dataset.outcomes["detail"][1]


def test_roots_that_are_not_chb_mit(tmp_path, shared):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_chbmit(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no case of chb-mit .*chb01/chb01-summary.txt"):
        load_chbmit(tmp_path)
    with pytest.raises(FileNotFoundError, match="no chb09 here"):
        load_chbmit(shared / "data/chbmit-excerpts", subjects=["chb01", 9])
    with pytest.raises(ValueError, match=r"no recording could be loaded \(676 missing-file"):
        load_chbmit(shared / "data" / "chbmit-annotations", on_missing="ignore", subjects=None)


def test_unreadable_summary_and_foreign_files_raise(tmp_path):
    write_case(tmp_path, "chb01", {"chb02_01.edf": []}, [])
    with pytest.raises(ValueError, match=r"files of another case: chb02_01\.edf"):
        load_chbmit(tmp_path)
    (tmp_path / "chb01" / "chb01-summary.txt").write_text(HEADER + entry("chb01_01.edf") + "???\n")
    with pytest.raises(ValueError, match=r"chb01-summary\.txt, line"):
        load_chbmit(tmp_path)


@pytest.mark.parametrize("option", ["unlisted", "on_missing", "on_error"])
def test_unknown_choices(tmp_path, option):
    with pytest.raises(ValueError, match=f"{option}='perhaps': expected one of"):
        load_chbmit(tmp_path, **{option: "perhaps"})


@pytest.mark.parametrize(
    ("subjects", "cases"),
    [
        (None, None), (1, {"01"}), ("chb21", {"21"}), (["01", "chb24"], {"01", "24"}), ("chb-mit/01", {"01", "21"}),
        ("chb-mit/21", {"21"}),
    ],
)  # fmt: skip
def test_select_cases(subjects, cases):
    assert select_cases(subjects) == cases


@pytest.mark.parametrize("subjects", ["chbmit/01", "siena/01", "chb001", "../chb01", [], -1])
def test_select_cases_refuses(subjects):
    with pytest.raises(ValueError, match="subject"):
        select_cases(subjects)


def test_the_header_agrees_with_mne(shared):
    for path in sorted((shared / "data" / "epilepsy2bids-headers").rglob("*.edf"))[:8]:
        header = read_edf_header(path)
        declared, present = header.declared, header.present
        raw = mne.io.read_raw_edf(path, verbose="ERROR")
        assert declared == present == raw._raw_extras[0]["n_records"]


def test_the_23_channels_of_chb_mit(tmp_path):
    write_case(tmp_path, "chb01", {"chb01_01.edf": []}, [])
    write_edf(tmp_path / "chb01" / "chb01_01.edf", BIPOLAR)
    assert len(load_chbmit(tmp_path).datasets[0].raw.ch_names) == 23
