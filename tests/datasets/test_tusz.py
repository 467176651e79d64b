"""TUSZ: official split, labels by name and not by order, rates, odd headers, doubled sessions."""

from __future__ import annotations

import shutil
from itertools import pairwise

import numpy as np
import pytest
from cohort_files import ELECTRODES, by_name, details_of, outcomes_of, own_signal, patch_header, write_cohort_edf

from biot_bd import load_dataset
from biot_bd.datasets import describe_dataset, find_layouts
from biot_bd.datasets.recordings import seizures_of
from biot_bd.datasets.tusz import load_tusz
from biot_bd.datasets.tusz_labels import read_tusz_labels
from biot_bd.events import read_event_file
from biot_bd.exceptions import RecordingError
from biot_bd.testing import check_dataset

AR = [f"EEG {name.upper()}-REF" for name in ELECTRODES] + ["EEG A1-REF", "EEG EKG1-REF", "IBI", "PHOTIC-REF"]
LE = [name.replace("-REF", "-LE") for name in AR[:20]][::-1]
SECONDS = 40
HEADER = "# version = csv_v1.0.0\n# bname = {0}\n# duration = {1:.4f} secs\n# montage_file = x\n#\n"
COLUMNS = "channel,start_time,stop_time,label,confidence\n"


def write_labels(path, rows, duration=SECONDS):
    text = HEADER.format(path.stem, duration) + COLUMNS
    path.write_text(text + "".join(f"{ch},{on:.4f},{off:.4f},{label},1.0000\n" for ch, on, off, label in rows))


def write_recording(root, split, name, rows, *, montage="01_tcp_ar", ch_names=AR, **options):
    """One EDF with csv_bi and csv; ``rows`` are (onset, offset, csv's label) of seizures."""
    patient, session, _ = name.split("_")
    path = root / "edf" / split / patient / f"{session}_2003" / montage / f"{name}.edf"
    write_cohort_edf(path, ch_names, seconds=SECONDS, **options)
    edges = [0.0, *(t for on, off, _ in rows for t in (on, off)), float(SECONDS)]
    whole = [("TERM", a, b, "seiz" if i % 2 else "bckg") for i, (a, b) in enumerate(pairwise(edges))]
    write_labels(path.with_suffix(".csv_bi"), [row for row in whole if row[2] > row[1]])
    pairs = [("FP1-F7", 0.0, float(SECONDS), "bckg")]
    for on, off, label in rows:  # of two channels, one a second later: one seizure
        pairs += [("F7-T3", on, off - 1, label), ("T3-T5", on + 1, off, label)]
    write_labels(path.with_suffix(".csv"), pairs[::-1])
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("tusz") / "v2.0.3"
    rng = np.random.default_rng(0)
    write_recording(
        root, "train", "aaaaaaac_s001_t000", [(5.5, 15.25, "fnsz")], patient="aaaaaaac F 01-JAN-1918 aaaaaaac Age:36"
    )
    write_recording(
        root, "train", "aaaaaaac_s001_t001", [], ch_names=list(rng.permutation(AR)), patient="aaaaaaac F X X Age:999"
    )
    write_recording(
        root, "train", "aaaaaaab_s002_t000", [(20, 30, "gnsz")], montage="02_tcp_le", ch_names=LE, sfreq=256
    )
    no_ears = [name for name in AR if "A1" not in name]
    write_recording(root, "dev", "aaaaadkj_s002_t000", [], montage="03_tcp_ar_a", ch_names=no_ears, sfreq=400)
    path = write_recording(root, "eval", "aaaaaaaq_s007_t000", [(10, 20, "cpsz")], rates={"IBI": 1, "PHOTIC-REF": 32})
    patch_header(path, 168, "01:01:03")
    for token in ("t000", "t001"):
        write_recording(root, "eval", f"aaaaaqvx_s001_{token}", [(3, 9, "tcsz")], start=f"1{token[-1]}.00.00")
    return root


@pytest.fixture(scope="module")
def dataset(corpus):
    return load_dataset("tusz", corpus)


def test_all_loads_with_official_split_and_facts(dataset):
    check_dataset(dataset)
    assert set(outcomes_of(dataset).values()) == {"loaded"}
    rows = {name: part.description for name, part in by_name(dataset).items()}
    wanted = ["subject", "session", "run", "split", "montage"]
    assert rows["aaaaaaac_s001_t000"][wanted].tolist() == ["tusz/aaaaaaac", "s001", "t000", "train", "01_tcp_ar"]
    assert {name: row["split"] for name, row in rows.items()} == {
        "aaaaaaab_s002_t000": "train",
        "aaaaaaac_s001_t000": "train",
        "aaaaaaac_s001_t001": "train",
        "aaaaadkj_s002_t000": "dev",
        "aaaaaaaq_s007_t000": "eval",
        "aaaaaqvx_s001_t000": "eval",
        "aaaaaqvx_s001_t001": "eval",
    }
    assert rows["aaaaaaac_s001_t000"][["age_years", "sex"]].tolist() == [36.0, "f"]
    assert np.isnan(rows["aaaaaaac_s001_t001"]["age_years"])
    assert rows["aaaaaaab_s002_t000"]["sex"] == ""
    assert {tuple(name for name, kind in zip(p.raw.ch_names, p.raw.get_channel_types(), strict=True) if kind == "ecg")
            for p in dataset.datasets if p.description["montage"] != "02_tcp_le"} == {("EEG EKG1-REF",)}  # fmt: skip


def test_seizures_of_csv_bi_are_those_that_the_event_reader_reads(corpus, dataset):
    for name, part in by_name(dataset).items():
        table = next(corpus.rglob(f"{name}.csv_bi"))
        assert seizures_of(part.raw) == [event[:2] for event in read_event_file(table).events]
    assert seizures_of(by_name(dataset)["aaaaaaac_s001_t000"].raw) == [(5.5, 15.25)]
    assert describe_dataset(dataset)["seizures"].sum() == 5


def test_csv_joins_channels_and_keeps_types(corpus):
    dataset = load_tusz(corpus, labels="csv", split=["train", "eval"])
    found = {name: (seizures_of(p.raw), list(p.raw.annotations.description)) for name, p in by_name(dataset).items()}
    assert found["aaaaaaac_s001_t000"] == ([(5.5, 15.25)], ["sz_fnsz"])
    assert found["aaaaaaab_s002_t000"] == ([(20.0, 30.0)], ["sz_gnsz"])
    assert found["aaaaaaac_s001_t001"] == ([], [])


def test_channels_are_told_by_label_whatever_their_order(dataset):
    for name in ("aaaaaaac_s001_t000", "aaaaaaac_s001_t001"):
        raw = by_name(dataset)[name].raw
        for channel in ("EEG T3-REF", "EEG O2-REF"):
            uv = raw.get_data([channel])[0] * 1e6
            np.testing.assert_allclose(uv, own_signal(channel, SECONDS * 128), atol=0.02)
    assert by_name(dataset)["aaaaaaac_s001_t000"].raw.ch_names != by_name(dataset)["aaaaaaac_s001_t001"].raw.ch_names


def test_other_rates_within_a_file_and_a_damaged_date_do_not_matter(dataset):
    raw = by_name(dataset)["aaaaaaaq_s007_t000"].raw
    assert (raw.n_times, raw.info["sfreq"]) == (SECONDS * 128, 128)
    uv = raw.get_data(["EEG FP1-REF"])[0] * 1e6
    np.testing.assert_allclose(uv, own_signal("EEG FP1-REF", SECONDS * 128), atol=0.02)
    assert by_name(dataset)["aaaaadkj_s002_t000"].raw.info["sfreq"] == 400


def test_what_later_versions_corrected_is_told(dataset):
    details = details_of(dataset)
    assert details["aaaaaqvx_s001_t001"] == "the same EEG as aaaaaqvx_s001_t000: counts twice"
    assert "TUSZ 2.0.2 added one" in details["aaaaadkj_s002_t000"]
    assert details["aaaaaqvx_s001_t000"] == details["aaaaaaac_s001_t000"] == ""


def test_parts_and_patients_are_chosen(corpus):
    assert set(outcomes_of(load_tusz(corpus / "edf", split="dev"))) == {"aaaaadkj_s002_t000"}
    assert len(load_tusz(corpus, subjects=["tusz/aaaaaaac"]).datasets) == 2
    with pytest.raises(FileNotFoundError, match="no patient aaaaaaac here"):
        load_tusz(corpus, split="eval", subjects="aaaaaaac")
    with pytest.raises(ValueError, match="split='test': expected one of 'train', 'dev', 'eval'"):
        load_tusz(corpus, split="test")
    with pytest.raises(FileNotFoundError, match="holds no part of TUSZ; expected"):
        load_tusz(corpus / "edf" / "train")
    assert [(layout.path, layout.dataset, layout.why) for layout in find_layouts(corpus)] == [
        (corpus, "tusz", "patients of TUSZ by split: train 2, dev 1, eval 2")
    ]


def test_a_patient_in_two_parts_is_refused(tmp_path):
    for split in ("train", "eval"):
        write_recording(tmp_path, split, "aaaaaaac_s001_t000", [], ch_names=AR[:2])
    with pytest.raises(ValueError, match="patient aaaaaaac is in train and in eval"):
        load_tusz(tmp_path)


def test_files_without_labels_and_of_other_names(tmp_path):
    path = write_recording(tmp_path, "train", "aaaaaaac_s001_t000", [], ch_names=AR[:2])
    write_recording(tmp_path, "train", "aaaaaaac_s001_t001", [], ch_names=AR[:2])
    path.with_suffix(".csv_bi").unlink()
    with pytest.warns(UserWarning, match="have no file of labels"):
        dataset = load_tusz(tmp_path)
    assert outcomes_of(dataset) == {"aaaaaaac_s001_t000": "unlisted", "aaaaaaac_s001_t001": "loaded"}
    shutil.copy(path, path.with_name("night.edf"))
    with pytest.raises(ValueError, match=r"night\.edf: expected <patient>/<session>_<year>/<montage>"):
        load_tusz(tmp_path)


@pytest.mark.parametrize(
    ("rows", "duration", "message"),
    [
        ([("TERM", 0, 40, "spike")], 40, "unknown label 'spike'"),
        ([("TERM", 5, 5, "seiz")], 40, "from 5 s to 5 s; expected an end behind the beginning"),
        ([("TERM", 0, 45, "bckg")], 40, "ends at 45 s, the file declares 40 s"),
        ([("TERM", 0, 90, "bckg")], 90, "is of a recording of 90 s, aaaaaaac_s001_t000.edf lasts 40 s"),
        ([], 40, "has no row of labels, so the labels are unknown"),
    ],
)
def test_labels_that_do_not_fit_are_errors(tmp_path, rows, duration, message):
    path = write_recording(tmp_path, "train", "aaaaaaac_s001_t000", [], ch_names=AR[:2])
    write_recording(tmp_path, "dev", "aaaaaaad_s001_t000", [], ch_names=AR[:2])
    write_labels(path.with_suffix(".csv_bi"), rows, duration)
    with pytest.raises(RecordingError, match=message) as caught:
        load_tusz(tmp_path)
    assert "aaaaaaac_s001_t000.csv_bi" in str(caught.value)
    with pytest.warns(UserWarning, match="have impossible annotations"):
        dataset = load_tusz(tmp_path, on_error="skip")
    assert outcomes_of(dataset) == {"aaaaaaac_s001_t000": "bad-annotation", "aaaaaaad_s001_t000": "loaded"}


def test_what_is_no_seizure_is_told_and_not_taken(tmp_path):
    path = tmp_path / "aaaaaaac_s001_t000.csv"
    write_labels(
        path,
        [("FP1-F7", 2, 4, "nesz"), ("F7-T3", 2, 5, "nesz"), ("F7-T3", 9, 12, "possible"), ("F7-T3", 20, 22, "absz")],
    )
    found = read_tusz_labels(path)
    assert found.seizures == [(20.0, 22.0, "sz_absz")]
    assert found.notes == [
        "1 event 'nesz' not taken: not epileptic",
        "1 event 'possible' not taken: uncertain",
        "32 s have no row of labels",
    ]
