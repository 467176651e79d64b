"""SeizeIT1: tables of two neurologists without a line of columns, seizures without a stop."""

import pytest
from edf_files import write_edf

from biot_bd import load_dataset, registry
from biot_bd.datasets import find_layouts
from biot_bd.datasets.recordings import seizures_of
from biot_bd.datasets.seizeit1 import load_seizeit1
from biot_bd.exceptions import RecordingError
from biot_bd.signals import plan_montage
from biot_bd.testing import check_dataset

NAMES = "Fp1 Fp2 F3 F4 F7 F8 Fz C3 C4 Cz T3 T4 T5 T6 P3 P4 Pz O1 O2 OorLiAchter OorReAchter OorLiTop OorReTop Sph1 ECG".split()
COMMENTS = '# Source: SeizeIt1\n# Subject: {}\n# Recording: {}\n# Hemisphere: "bi"=Bihemispherical\n \n\n\n'


def write_recording(root, name="P_ID64_r1", a1=(), a2=None, seconds=120, ch_names=("Fp1", "Fp2")):
    """Write an EDF and the tables; rows are given as they stand in the file, without tabs."""
    subject, _, run = name.rpartition("_")
    write_edf(root / subject / f"{name}.edf", ch_names, seconds, sfreq=64)
    for expert, rows in (("a1", a1), ("a2", a2)):
        if rows is not None:
            text = COMMENTS.format(subject, run) + "".join("\t".join(row.split(" ", 3)) + "\n" for row in rows)
            (root / subject / f"{name}_{expert}.tsv").write_text(text)


def outcomes_of(dataset):
    return dict(zip(dataset.outcomes["recording"], dataset.outcomes["outcome"], strict=True))


def detail_of(dataset, name="P_ID64_r1"):
    return dataset.outcomes.set_index("recording")["detail"][name]


def test_the_real_headers_load_where_their_tables_have_no_seizure(shared):
    """The EDFs last 2 s and have their own headers; 16 of 24 real tables are comments only."""
    root = shared / "data" / "epilepsy2bids-headers" / "seizeit"
    with pytest.warns(UserWarning, match="seizeit1: ") as caught:
        dataset = load_dataset("seizeit1", root, on_error="skip")
    assert len(caught) == 2
    check_dataset(dataset)
    assert dataset.outcomes["outcome"].value_counts().to_dict() == {"loaded": 16, "bad-annotation": 5, "unlisted": 3}
    assert "the stop of the seizure at 8971 s is not known" in detail_of(dataset)
    raw = dataset.datasets[0].raw
    assert raw.info["sfreq"] == 250
    assert {"OorLiAchter", "OorReAchter", "OorLiTop", "OorReTop", "Sph1"} <= set(raw.ch_names)
    assert raw.get_channel_types()[raw.ch_names.index("ECG")] == "ecg"
    plan = plan_montage(registry.montages["biot-16"], raw.ch_names)
    assert plan.origins["T7-P7"] == "T3 minus T5"
    assert {channel.how for channel in plan.channels} == {"difference"}
    assert [found.dataset for found in find_layouts(root)] == ["seizeit1"]


def test_runs_are_in_order_and_seizures_have_their_kind(tmp_path):
    write_recording(
        tmp_path, "P_ID64_r1", ["5 9 FIA Hem:L, bhe: 0", "20.5 30 F-BTC x", "40 50 strange x"], ch_names=NAMES
    )
    for run in ("r10", "r2"):
        write_recording(tmp_path, f"P_ID64_{run}")
    dataset = load_seizeit1(tmp_path)
    check_dataset(dataset)
    assert [part.description["run"] for part in dataset.datasets] == ["r1", "r2", "r10"]
    first = dataset.datasets[0]
    assert first.description["subject"] == "seizeit1/64"
    assert first.description["expert"] == "a1"
    assert seizures_of(first.raw) == [(5.0, 9.0), (20.5, 30.0), (40.0, 50.0)]
    assert first.raw.annotations.description.tolist() == ["sz_foc_ia", "sz_foc_f2b", "sz"]
    assert seizures_of(dataset.datasets[1].raw) == []
    assert detail_of(dataset, "P_ID64_r2") == "expert a1: 0 seizures"


@pytest.mark.parametrize(
    ("expert", "expected"),
    [
        ("a1", [(10, 30), (60, 70)]),
        ("a2", [(20, 40), (80, 90)]),
        ("both", [(20, 30)]),
        ("either", [(10, 40), (60, 70), (80, 90)]),
    ],
)
def test_whose_seizures_count_is_an_option(tmp_path, expert, expected):
    write_recording(tmp_path, a1=["10 30 FIA x", "60 70 FA x"], a2=["20 40 FIA x", "80 90 FA x"])
    dataset = load_seizeit1(tmp_path, expert=expert)
    assert seizures_of(dataset.datasets[0].raw) == expected
    assert dataset.datasets[0].description["expert"] == expert
    if expert in ("both", "either"):
        assert detail_of(
            dataset
        ) == f"expert a1: 2 seizures; expert a2: 2 seizures; {expert}: {len(expected)} seizure" + (
            "s" if len(expected) > 1 else ""
        )


@pytest.mark.parametrize("expert", ["a2", "both", "either"])
def test_without_an_experts_table_the_labels_are_unknown(tmp_path, expert):
    write_recording(tmp_path, a1=["10 30 FIA x"])
    write_recording(tmp_path, "P_ID64_r2", a2=())
    with pytest.warns(UserWarning, match="labels that are not known"):
        dataset = load_seizeit1(tmp_path, expert=expert)
    assert outcomes_of(dataset) == {"P_ID64_r1": "unlisted", "P_ID64_r2": "loaded"}
    free = load_seizeit1(tmp_path, expert=expert, unlisted="background")
    assert seizures_of(free.datasets[0].raw) == []
    assert free.datasets[0].description["labels_from"] == "none"
    assert "taken as free of seizures" in detail_of(free)


def test_a_seizure_without_a_stop_is_left_out_refused_or_given_one_by_name(tmp_path):
    write_recording(tmp_path, a1=["10 30 FIA x", "100 None FIA x"])
    write_recording(tmp_path, "P_ID64_r2")
    with pytest.warns(UserWarning, match="a seizure without a stop"):
        dataset = load_seizeit1(tmp_path)
    assert outcomes_of(dataset) == {"P_ID64_r1": "unlisted", "P_ID64_r2": "loaded"}
    with pytest.raises(RecordingError, match=r"P_ID64_r1_a1\.tsv: the stop of the seizure at 100 s is not known"):
        load_seizeit1(tmp_path, unknown_stop="raise")
    assumed = load_seizeit1(tmp_path, unknown_stop="assume-15s")
    assert seizures_of(assumed.datasets[0].raw) == [(10.0, 30.0), (100.0, 115.0)]
    assert "stop of the seizure at 100 s not known, 15 s assumed" in detail_of(assumed)
    assert seizures_of(load_seizeit1(tmp_path, unknown_stop="assume-30s").datasets[0].raw)[1] == (100.0, 120.0)
    for wrong in ("assume-0s", "assume-s", "60", 30):
        with pytest.raises(ValueError, match=r"unknown_stop=.*assume-30s"):
            load_seizeit1(tmp_path, unknown_stop=wrong)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("start stop type comment", "line 8: found 'start.tstop.ttype.tcomment'; expected start, stop"),
        ("10", "line 8: found '10'; expected start, stop"),
        ("10 soon FIA x", "line 8: found '10.tsoon.tFIA.tx'"),
        ("100 125 FIA x", "seizure from 100 s to 125 s is not inside the recording of 120 s"),
        ("30 10 FIA x", "seizure from 30 s to 10 s does not end after it begins"),
    ],
)
def test_a_row_that_is_none_or_outside_is_an_error(tmp_path, row, said):
    write_recording(tmp_path, a1=[row])
    with pytest.raises(RecordingError, match=said.replace(".t", r"\\t")):
        load_seizeit1(tmp_path)


def test_a_stop_within_the_last_second_is_rounding(tmp_path):
    write_recording(tmp_path, a1=["100 120 FIA x"], seconds=119.5)
    assert seizures_of(load_seizeit1(tmp_path).datasets[0].raw) == [(100.0, 119.5)]


def test_a_table_of_another_recording_is_refused(tmp_path):
    write_recording(tmp_path)
    table = tmp_path / "P_ID64" / "P_ID64_r1_a1.tsv"
    table.write_text(COMMENTS.format("P_ID65", "r1"))
    with pytest.raises(RecordingError, match=r"its comments say subject 'P_ID65', its name 'P_ID64'"):
        load_seizeit1(tmp_path)


def test_what_is_not_on_the_disk_is_named(tmp_path):
    write_recording(tmp_path)
    (tmp_path / "P_ID64" / "P_ID64_r2_a1.tsv").write_text("# Source: SeizeIt1\n")
    with pytest.warns(UserWarning, match="1 of 2 recordings are not on the disk: P_ID64_r2"):
        dataset = load_seizeit1(tmp_path / "P_ID64")
    assert outcomes_of(dataset) == {"P_ID64_r1": "loaded", "P_ID64_r2": "missing-file"}
    with pytest.raises(FileNotFoundError, match="no P_ID07 here"):
        load_seizeit1(tmp_path, subjects=["P_ID64", 7])
    with pytest.raises(ValueError, match="expected P_ID64, 64 or seizeit1/64"):
        load_seizeit1(tmp_path, subjects="chb01")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no recording of SeizeIT1 .*P_ID01_r1\.edf"):
        load_seizeit1(tmp_path / "empty")
