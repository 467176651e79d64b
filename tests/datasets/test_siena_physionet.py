"""Siena as on PhysioNet: clock-time lists with the typos that they were published with."""

from __future__ import annotations

import shutil

import pytest
from cohort_files import ELECTRODES, by_name, details_of, outcomes_of, patch_header, write_cohort_edf
from epilepsy2bids.eeg import Eeg
from epilepsy2bids.load_annotations import siena as converter

from biot_bd import load_dataset, registry
from biot_bd.datasets import describe_dataset, find_layouts
from biot_bd.datasets.recordings import seizures_of
from biot_bd.datasets.siena_lists import read_seizure_list
from biot_bd.datasets.siena_physionet import load_siena_physionet
from biot_bd.exceptions import RecordingError
from biot_bd.io.edf_header import read_edf_header
from biot_bd.signals import plan_montage
from biot_bd.testing import check_dataset

CHANNELS = [f"EEG {name}" for name in ELECTRODES] + ["EEG Fc1", "EEG Cp5", "EKG EKG", "SPO2", "HR", "1", "MK"]
INFO = "patient_id, age_years, gender, seizure, localization, lateralization, eeg_channel, number_seizures, rec_time_minutes\n"
HEAD = "{0}\n\nData Sampling Rate: 512 Hz\n\nChannels in EDF files:\nChannel 1: Fp1      \r\nChannel 5: 1      \r\n\n"
# The lists' typos, each as published: file on the disk -> its block(s) of the list.
TYPOS = {
    "PN01-1.edf": (
        "Seizure n 1\nFile name: PN01.edf\nRegistration start time: 19.00.44\nRegistration end time: 08.29.41\n\n"
        "Seizure n 1\nStart time: 21:51:02\nEnd time: 21:52:36\n\nSeizure n 2\nStart time: 07:53:17\nEnd time: 07:54:31\n\n"
    ),
    "PN06-1.edf": (
        "Seizure n 1\nFile name: PNO6-1.edf\nRegistration start time: 04.21.22\nRegistration end time: 07.52.00\n"
        "Seizure start time: 05.54.25\nSeizure end time: 05.55.29\n\n"
    ),
    "PN11-1.edf": (
        "Seizure n 1\nFile name: PN11-.edf \nRegistration start time: 11.31.25\nRegistration end time: 13.57.00\n"
        "Seizure start time: 13.37.19\nSeizure end time: 13.38.14\n\n"
    ),
    "PN10-7.8.9.edf": (
        "Seizure n 7\nFile name: PN10-7.8.9.edf\nRegistration start time:1 6.49.25\nRegistration end time: 19.37.44\n"
        "Seizure start time: 17.35.13\nSeizure end time: 17.36.01\n\n"
        "Seizure n 8\nFile name: PN10-7.8.9.edf\nRegistration start time: 16.49.25\nRegistration end time: 19.37.44\n"
        "Seizure start time: 18.20.24\nSeizure end time: 18.20.42\n\n"
    ),
    "PN12-1.2.edf": (
        "Seizure n 1\nFile name: PN12-1.2.edf\nRegistration start time: 15.51.31\nRegistration end time: 18.46.00\n"
        "Seizure start time: 16.13.23\nSeizure end time: 16.14.26\n\n"
        "Seizure n 2\nFile name: PN12-1.2.edf\nSeizure start time: 18.31.01\nSeizure end time: 18.32.09\n\n"
    ),
    "PN00-3.edf": (
        "Seizure n 3\nFile name: PN00-3.edf\nRegistration start time: 18.15.44\nRegistration end time: 18.57.13\n"
        "Seizure start time: 18.28.29\nSeizure end time: 19.29.29\n\n"
    ),
}
SAID = {
    "PN01-1.edf": "PN01.edf of the list is PN01-1.edf",
    "PN06-1.edf": "PNO6-1.edf of the list is PN06-1.edf",
    "PN11-1.edf": "PN11-.edf of the list is PN11-1.edf",
    "PN10-7.8.9.edf": "'1 6.49.25' of the list read as 16.49.25",
    "PN12-1.2.edf": "a seizure without registration lines of its own counts from those above",
    "PN00-3.edf": "seizure end 19.29.29 of the list is 18.29.29",
}


def block(file, start, end, *seizures):
    lines = ["Seizure n 1", f"File name: {file}", f"Registration start time: {start}", f"Registration end time: {end}"]
    for onset, offset in seizures:
        lines += [f"Seizure start time: {onset}", f"Seizure end time: {offset} ", "", "Seizure n 2 (in sleep):"]
    return "\n".join(lines) + "\n"


def write_list(folder, *blocks):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"Seizures-list-{folder.name}.txt"
    path.write_text(HEAD.format(folder.name) + "".join(blocks))
    return path


@pytest.mark.parametrize("file", TYPOS)
def test_lists_with_known_typos_are_read_as_epilepsy2bids_reads_them(tmp_path, file):
    path = write_list(tmp_path / file[:4], TYPOS[file])
    found = read_seizure_list(path)
    assert [record.file for record in found] == [file]
    assert found[0].seizures == [tuple(map(int, one)) for one in converter._loadSeizures(str(path.with_name(file)))]
    assert found[0].corrections == [SAID[file]]


def test_lists_on_real_headers_are_read_as_epilepsy2bids_reads_them(shared):
    root = shared / "data" / "epilepsy2bids-headers" / "siena"
    for patient, n_files in (("PN00", 5), ("PN16", 2)):
        found = {r.file: r for r in read_seizure_list(root / patient / f"Seizures-list-{patient}.txt")}
        assert len(found) == n_files
        for file, record in found.items():
            assert record.seizures == [tuple(map(int, s)) for s in converter._loadSeizures(str(root / patient / file))]


def test_real_headers_load_whole_with_their_seizures(shared, tmp_path):
    """The real headers with as many records as their lists say; what follows 2 s is a hole of zeros."""
    shutil.copytree(shared / "data" / "epilepsy2bids-headers" / "siena", tmp_path / "siena")
    for patient in ("PN00", "PN16"):
        for record in read_seizure_list(tmp_path / "siena" / patient / f"Seizures-list-{patient}.txt"):
            path = tmp_path / "siena" / patient / record.file
            header = read_edf_header(path)
            patch_header(path, 236, f"{record.duration_s:<8d}")
            with path.open("r+b") as file:
                file.truncate(header.n_bytes + record.duration_s * header.record_bytes)
    with pytest.warns(UserWarning, match="12 of 19 recordings are not on the disk: PN01, PN03, PN05"):
        dataset = load_dataset("siena-physionet", tmp_path / "siena")
    found = {name: seizures_of(part.raw) for name, part in by_name(dataset).items()}
    assert found["PN00-1"] == [(1143.0, 1213.0)]
    assert found["PN00-3"] == [(765.0, 825.0)]
    assert found["PN16-2"] == [(8574.0, 8681.0)]
    assert sum(map(len, found.values())) == len(found) == 7
    assert set(by_name(dataset)["PN16-1"].raw.annotations.description) >= {"sz_foc_ia"}
    for part in dataset.datasets:
        plan = plan_montage(registry.montages["biot-16"], part.raw.ch_names)
        assert all(channel.how == "difference" for channel in plan.channels)
    raw = by_name(dataset)["PN16-1"].raw
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    assert (types["EEG FP2"], types["SPO2"], types["61"], types["A"]) == ("eeg", "misc", "misc", "misc")
    row = by_name(dataset)["PN16-1"].description
    assert row[["age_years", "sex", "seizure_type", "lateralization"]].tolist() == [41.0, "f", "IAS", "L"]
    assert details_of(dataset)["PN00-3"] == SAID["PN00-3.edf"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("siena-original")
    (root / "subject_info.csv").write_text(
        INFO + "PN00,55,Male,IAS,T,R,29,1,198\nPN10,25,Male,FBTC,F,Bilateral,20,3,1002\nPN17,42,Male,IAS,T,R,29,2,308\n"
    )
    write_list(
        root / "PN00",
        block("PN00-1.edf ", "23.59.50", "00.00.30", ("00:00:05", "00.00.15")),
        block("PN00-2.edf", "10.00.00", "10.00.40", ("10.00.10", "10.00.20")),
    )
    write_cohort_edf(root / "PN00" / "PN00-1.edf", CHANNELS, start="23.59.50")
    write_list(
        root / "PN10",
        block("PN10-4.5.6.edf", "08.00.00", "08.00.40", ("08.00.05", "08.00.15"), ("08.00.20", "08.00.31")),
    )
    write_cohort_edf(root / "PN10" / "PN10-4.5.6.edf", CHANNELS, start="08.00.00")
    write_cohort_edf(root / "PN10" / "PN10-9.edf", CHANNELS, start="09.00.00")
    return root


@pytest.fixture(scope="module")
def dataset(tree):
    return load_dataset("siena-physionet", tree, on_missing="ignore")


def test_every_recording_has_an_outcome_and_its_facts(dataset):
    check_dataset(dataset)
    assert outcomes_of(dataset) == {
        "PN00-1": "loaded",
        "PN00-2": "missing-file",
        "PN10-4.5.6": "loaded",
        "PN10-9": "unlisted",
        "PN17": "missing-file",
    }
    found = {name: (seizures_of(part.raw), part.description) for name, part in by_name(dataset).items()}
    seizures, row = found["PN10-4.5.6"]
    assert seizures == [(5.0, 15.0), (20.0, 31.0)]
    assert row[["subject", "session", "run", "age_years", "sex"]].tolist() == ["siena/10", "01", "4.5.6", 25.0, "m"]
    assert details_of(dataset)["PN10-4.5.6"] == "subject_info.csv counts 3 seizures of the patient, the list 2"
    assert list(by_name(dataset)["PN10-4.5.6"].raw.annotations.description) == ["sz_foc_f2b", "sz_foc_f2b"]
    assert not any(part.raw.preload for part in dataset.datasets)


def test_seizures_after_midnight_count_from_the_day_before(dataset):
    assert seizures_of(by_name(dataset)["PN00-1"].raw) == [(15.0, 25.0)]


def test_both_editions_name_one_patient_alike(tree, tmp_path):
    folder = tmp_path / "sub-00" / "ses-01" / "eeg"
    write_cohort_edf(folder / "sub-00_ses-01_task-szMonitoring_run-00_eeg.edf", Eeg.ELECTRODES_10_20)
    (folder / "sub-00_ses-01_task-szMonitoring_run-00_events.tsv").write_text(
        "onset\tduration\teventType\n15\t10\tsz_foc_ia\n"
    )
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-00\n")
    bids = load_dataset("siena", tmp_path)
    original = load_siena_physionet(tree, subjects=0, on_missing="ignore")
    assert [part.description["subject"] for part in bids.datasets] == ["siena/00"]
    assert [part.description["subject"] for part in original.datasets] == ["siena/00"]
    assert list(bids.datasets[0].raw.annotations.description) == list(original.datasets[0].raw.annotations.description)


def test_patients_are_chosen_by_any_of_their_names(tree):
    for label in ("PN10", "10", 10, "siena/10"):
        assert list(describe_dataset(load_siena_physionet(tree, subjects=label))["subject"]) == ["siena/10"]
    assert list(describe_dataset(load_siena_physionet(tree / "PN10"))["subject"]) == ["siena/10"]
    with pytest.raises(FileNotFoundError, match="no PN07 here"):
        load_siena_physionet(tree, subjects=["PN07"])
    with pytest.raises(ValueError, match=r"expected a patient \(PN00, 00, 0\)"):
        load_siena_physionet(tree, subjects="chb01")
    with pytest.raises(FileNotFoundError, match="2 recordings are not on the disk: PN00-2, PN17"):
        load_siena_physionet(tree, on_missing="raise")


def test_files_of_no_list_are_background_only_where_asked(tree):
    dataset = load_siena_physionet(tree, subjects=10, unlisted="background")
    assert outcomes_of(dataset)["PN10-9"] == "loaded"
    assert "taken as free of seizures" in details_of(dataset)["PN10-9"]


def test_the_layout_is_recognised_by_its_names(tree):
    assert [(layout.dataset, layout.why) for layout in find_layouts(tree)] == [
        ("siena-physionet", "2 patients of Siena as on PhysioNet: PN00, PN10")
    ]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (block("PN00-1.edf", "13.00.00", "13.00.40", ("13.00.05", "13.00.15")), "begins at 12.00.00 by its header and at 13"),
        (block("PN00-1.edf", "12.00.00", "12.00.40", ("12.00.35", "12.00.55")), "seizure from 35 s to 55 s is not inside"),
        (block("PN00-1.edf", "12.00.00", "12.00.40", ("12.00.05", "13.00.15")), "would last 3,610 s"),
        (block("PN00-1.edf", "12.00.00", "12.00.40", ("12.00.05", "12.00.05")), "would last 0 s"),
        (block("PN00-1.edf", "12.00.00", "12.00.40", ("12.00.61", "12.00.15")), "'12.00.61' is no time of the day"),
        (block("PN00-1.edf", "noon", "12.00.40", ("12.00.05", "12.00.15")), r"txt, line \d+: expected a clock time"),
        (block("PN00-1.edf", "12.00.00", "12.00.40", ("12.00.05", "12.00.15")) + block("PN00-1.edf", "12.30.00", "12.40.40"),
         "two registration starts, 12.00.00 and 12.30.00"),
        (block("PN00-1.edf", "12.00.00", "12.00.40"), "PN00-1.edf: listed without a seizure"),
        ("File name: PN00-1.edf\nSeizure start time: 12.00.05\n", "no registration start that its time counts from"),
        ("File name: PN00-1.edf\nRegistration start time: 12.00.00\nSeizure start time: 12.00.05\nSeizure n 2\n",
         "a seizure start without an end"),
        ("File name: PN00-1.edf\nRegistration start time: 12.00.00\nSeizure end time: 12.00.05\n", "a seizure end without a start"),
        ("File name: PN00-1.edf\nfrom 12.00.05 to 12.00.09\n", "expected 'name: time', found 'from"),
        ("File name: night.edf\n", "'night.edf' is no file of the database"),
        ("Seizure start time: 12.00.05\n", "stands before the first 'File name:'"),
        ("nothing\n", "no 'File name:' line"),
        (block("PN01-1.edf", "12.00.00", "12.00.40", ("12.00.05", "12.00.15")), "lists files of another patient: PN01-1.edf"),
    ],
)  # fmt: skip
def test_contradictions_are_errors_that_name_the_file(tmp_path, listed, message):
    path = write_list(tmp_path / "PN00", listed)
    write_cohort_edf(tmp_path / "PN00" / "PN00-1.edf", CHANNELS[:2], start="12.00.00")
    with pytest.raises(RecordingError, match=message) as caught:
        load_siena_physionet(tmp_path)
    assert str(path.parent) in str(caught.value)
    write_list(tmp_path / "PN02", block("PN02-1.edf", "12.00.00", "12.30.00", ("12.00.05", "12.00.15")))
    write_cohort_edf(tmp_path / "PN02" / "PN02-1.edf", CHANNELS[:2], start="12.00.01")
    with pytest.warns(UserWarning, match="have impossible annotations"):
        dataset = load_siena_physionet(tmp_path, on_error="skip")
    assert outcomes_of(dataset) == {"PN00-1": "bad-annotation", "PN02-1": "loaded"}
    assert details_of(dataset)["PN02-1"] == "lasts 40 s, by the list 1,800 s"


def test_a_patient_without_a_list_has_unknown_labels(tmp_path):
    write_cohort_edf(tmp_path / "PN05" / "PN05-2.edf", CHANNELS[:2])
    write_list(tmp_path / "PN00", block("PN00-1.edf", "12.00.00", "12.00.40", ("12.00.05", "12.00.15")))
    write_cohort_edf(tmp_path / "PN00" / "PN00-1.edf", CHANNELS[:2], start="12.00.00")
    with pytest.warns(UserWarning, match="have no list beside them"):
        dataset = load_siena_physionet(tmp_path, unlisted="background")
    assert outcomes_of(dataset) == {"PN00-1": "loaded", "PN05-2": "no-summary"}
