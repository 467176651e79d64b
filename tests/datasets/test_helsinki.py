"""The Helsinki neonatal set: 79 of 79, three experts, consensus, ends of labels, odd headers."""

from __future__ import annotations

import numpy as np
import pyedflib
import pytest
from cohort_files import ELECTRODES, by_name, details_of, outcomes_of, own_signal, patch_header, write_cohort_edf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from biot_bd import load_dataset, prepare
from biot_bd.datasets import find_layouts
from biot_bd.datasets.helsinki import load_helsinki
from biot_bd.datasets.helsinki_annotations import agreed, read_expert, runs_of
from biot_bd.datasets.recordings import seizures_of
from biot_bd.exceptions import RecordingError
from biot_bd.testing import check_dataset

CHANNELS = [*(f"EEG {name}-Ref" for name in ELECTRODES), "ECG EKG-REF", "Resp Effort-REF"]
SECONDS = 30
# Seizure seconds by expert of recording 4; everybody sees 5 to 9, A and B to 12, C alone 20 to 22.
VOTES = {"A": [(5, 12)], "B": [(5, 12)], "C": [(5, 9), (20, 22)]}


def vector(spans, length=SECONDS):
    seconds = np.zeros(length, int)
    for onset, offset in spans:
        seconds[onset:offset] = 1
    return seconds


def write_csv(root, expert, columns):
    """As published: numbers of the recordings, then a row a second, empty behind the end."""
    lines = [",".join(map(str, columns))]
    for second in range(max(map(len, columns.values()))):
        lines.append(",".join(str(v[second]) if second < len(v) else "" for v in columns.values()))
    (root / f"annotations_2017_{expert}.csv").write_text("\n".join(lines) + "\n")


def write_set(root, numbers, lengths=None):
    for expert, spans in VOTES.items():
        columns = {n: vector(spans if n == 4 else [], (lengths or {}).get((expert, n), SECONDS)) for n in numbers}
        write_csv(root, expert, columns)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All 79, of which three have headers that pyedflib refuses."""
    root = tmp_path_factory.mktemp("helsinki")
    write_set(root, range(1, 80), lengths={("B", 50): 25})
    for n in range(1, 80):
        names = CHANNELS if n < 79 else [name.removeprefix("EEG ").removesuffix("-Ref") for name in CHANNELS]
        write_cohort_edf(root / f"eeg{n}.edf", names[:3] if n not in (1, 4, 50, 79) else names, seconds=SECONDS)
    for n, text in ((4, "-800\0\0\0\0"), (29, "-8,0e+02"), (50, "-800.\0")):
        n_chans = 3 if n == 29 else len(CHANNELS)
        patch_header(root / f"eeg{n}.edf", 256 + n_chans * 104, text.ljust(8))
    (root / "clinical_information.csv").write_bytes(
        b"\xef\xbb\xbfID,Gender,BW (g),GA (weeks),EEG to PMA (weeks),Diagnosis,Neuroimaging Findings,Primary Localisation\n"
        b'4,m,3500 to 4000,39 to 40,40,"asphyxia, mild",N/A,L\n'
    )
    return root


@pytest.fixture(scope="module")
def dataset(whole):
    return load_dataset("helsinki-neonatal", whole)


def test_79_of_79_load_although_pyedflib_refuses_three(whole, dataset):
    for n in (4, 29, 50):
        with pytest.raises(OSError, match="Physical Minimum"):
            pyedflib.EdfReader(str(whole / f"eeg{n}.edf"))
    check_dataset(dataset)
    assert set(outcomes_of(dataset).values()) == {"loaded"}
    assert len(dataset.datasets) == 79
    raw = by_name(dataset)["eeg4"].raw
    uv = raw.get_data(["EEG Fp1-Ref"], stop=500)[0] * 1e6
    np.testing.assert_allclose(uv, own_signal("EEG Fp1-Ref", SECONDS * 128)[:500], atol=0.03)
    assert [p.description["subject"] for p in dataset.datasets][:2] == ["helsinki/01", "helsinki/02"]


def test_the_unlabelled_end_is_left_out_and_not_background(dataset):
    raw = by_name(dataset)["eeg50"].raw
    assert raw.n_times / raw.info["sfreq"] == 25
    assert "ends where its labels do, at 25 s of 30.0 s" in details_of(dataset)["eeg50"]
    assert by_name(dataset)["eeg4"].raw.n_times == SECONDS * 128


def test_a_cut_recording_is_prepared_to_its_last_labelled_second(whole, tmp_path):
    windows = prepare(load_helsinki(whole, subjects=[50]), tmp_path / "store")
    assert windows.metadata["stop_s"].tolist() == [10, 15, 20, 25]
    row = [list(windows.ch_names).index(name) for name in ("Fp1-F7", "T8-P8")]
    assert windows.present.all()
    first, second = windows[0][row]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("consensus", "seizures", "n_experts"),
    [
        ("all", [(5.0, 9.0)], 3),
        ("majority", [(5.0, 12.0)], 3),
        ("any", [(5.0, 12.0), (20.0, 22.0)], 3),
        ("A", [(5.0, 12.0)], 1),
        ("C", [(5.0, 9.0), (20.0, 22.0)], 1),
    ],
)
def test_consensus_decides_what_a_seizure_is(whole, consensus, seizures, n_experts):
    part = load_helsinki(whole, subjects="eeg4", consensus=consensus).datasets[0]
    assert seizures_of(part.raw) == seizures
    assert part.description[["consensus", "n_experts"]].tolist() == [consensus, n_experts]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.booleans(), max_size=12), min_size=3, max_size=3))
def test_consensus_counts_votes_up_to_the_shortest_vector(votes):
    vectors = {expert: np.array(v, bool) for expert, v in zip("ABC", votes, strict=True)}
    counted = [sum(second) for second in zip(*votes, strict=False)]
    for rule, least in (("all", 3), ("majority", 2), ("any", 1)):
        found = agreed(vectors, rule)
        assert found.tolist() == [n >= least for n in counted]
        marked = {s for onset, offset in runs_of(found) for s in range(int(onset), int(offset))}
        assert marked == {s for s, n in enumerate(counted) if n >= least}
    assert agreed(vectors, "B").tolist() == votes[1]


def test_clinical_facts_are_texts_of_the_description(dataset):
    facts = by_name(dataset)["eeg4"].description
    assert facts[["sex", "birth_weight_g", "diagnosis", "neuroimaging", "localization"]].tolist() == [
        "m", "3500 to 4000", "asphyxia, mild", "", "L",
    ]  # fmt: skip
    assert by_name(dataset)["eeg1"].description["sex"] == ""


@pytest.mark.parametrize(("variable", "shape"), [("annotat_new", (1, -1)), ("annotat_A", (-1, 1))])
def test_version_1_is_read_whatever_its_variable_is_called(tmp_path, variable, shape):
    for expert, spans in VOTES.items():
        cells = np.empty(4, dtype=object)
        for n in range(4):
            cells[n] = vector(spans if n == 3 else [], SECONDS - 2 * (expert == "B")).reshape(shape).astype(np.uint8)
        savemat(tmp_path / f"annotations_2017_{expert}.mat", {variable: cells})
    for n in (1, 4):
        write_cohort_edf(tmp_path / f"eeg{n}.edf", CHANNELS[:3], seconds=SECONDS)
    with pytest.warns(UserWarning, match="2 of 4 recordings are not on the disk: eeg2, eeg3"):
        dataset = load_helsinki(tmp_path, consensus="majority")
    assert outcomes_of(dataset) == {"eeg1": "loaded", "eeg2": "missing-file", "eeg3": "missing-file", "eeg4": "loaded"}
    assert seizures_of(by_name(dataset)["eeg4"].raw) == [(5.0, 12.0)]
    assert by_name(dataset)["eeg4"].raw.n_times == 28 * 128
    with pytest.raises(FileNotFoundError, match="2 recordings are not on the disk"):
        load_helsinki(tmp_path, on_missing="raise")
    (tmp_path / "annotations_2017_B.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"annotations_2017_B\.csv \(or \.mat\) is not there"):
        load_helsinki(tmp_path)
    assert len(load_helsinki(tmp_path, consensus="A", on_missing="ignore").datasets) == 2


def test_recordings_that_an_expert_left_out_have_unknown_labels(tmp_path):
    write_set(tmp_path, [1, 4])
    write_csv(tmp_path, "C", {1: vector([])})
    for n in (1, 4, 7):
        write_cohort_edf(tmp_path / f"eeg{n}.edf", CHANNELS[:3], seconds=SECONDS)
    with pytest.warns(UserWarning, match="are not annotated by all who count"):
        dataset = load_helsinki(tmp_path)
    assert outcomes_of(dataset) == {"eeg1": "loaded", "eeg4": "unlisted", "eeg7": "unlisted"}
    assert details_of(dataset)["eeg4"] == "not annotated by C, so its labels by 'all' are unknown"


def test_a_range_that_lost_a_digit_is_told(tmp_path):
    write_set(tmp_path, [1])
    path = write_cohort_edf(tmp_path / "eeg1.edf", CHANNELS[:3], seconds=SECONDS)
    patch_header(path, 256 + 3 * 104, "-80     ")
    detail = details_of(load_helsinki(tmp_path))["eeg1"]
    assert "physical range not symmetric, check the amplitude: EEG Fp1-Ref (-80 to 800)" in detail


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n0,0\n2,1\n", "recording 1, second 1: 2; expected 0 or 1"),
        ("1,2\n0,0\n,1\n0,1\n", "recording 1, second 1: nan; expected 0 or 1"),
        ("time,2\n0,0\n", "columns are time, 2"),
        ("1,2\nno,0\n", "could not convert"),
    ],
)
def test_annotations_of_another_form_name_their_file(tmp_path, text, message):
    path = tmp_path / "annotations_2017_A.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=message) as caught:
        read_expert(path)
    assert str(path) in str(caught.value)


def test_matlab_files_of_another_form_name_their_file(tmp_path):
    path = tmp_path / "annotations_2017_A.mat"
    cells = np.empty(1, dtype=object)
    cells[0] = np.zeros((3, 9))
    for content, message in (
        ({"x": np.zeros(3)}, "variables are x; expected one cell array"),
        ({"annotat": cells}, r"cell 1 is of shape \(3, 9\)"),
    ):
        savemat(path, content)
        with pytest.raises(RecordingError, match=message):
            read_expert(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(RecordingError, match=r"annotations_2017_A\.mat"):
        read_expert(path)


def test_the_layout_and_options(whole):
    assert [(layout.dataset, layout.why) for layout in find_layouts(whole)] == [
        ("helsinki-neonatal", "79 recordings of the Helsinki neonatal set, annotated by A, B, C")
    ]
    with pytest.raises(ValueError, match="consensus='most': expected one of 'all', 'majority', 'any', 'A'"):
        load_helsinki(whole, consensus="most")
    with pytest.raises(FileNotFoundError, match="no eeg80 here"):
        load_helsinki(whole, subjects=[80])
    with pytest.raises(ValueError, match=r"expected a recording \(eeg4, 04, 4\)"):
        load_helsinki(whole, subjects="PN04")
