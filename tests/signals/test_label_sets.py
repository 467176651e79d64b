"""Labels judged together: scalp electrodes are found, contacts of the same names never are."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import MissingChannelsError
from biot_bd.registry import montages
from biot_bd.signals import Montage, MontageMapper, SignalInfo, judge_names, plan_montage
from biot_bd.signals.names import ELECTRODES, parse_name

NAMED = ("biot-16", "biot-18", "double-banana-18", "szcore-19")
TEN_TWENTY = montages["szcore-19"].ch_names
CLINICAL = "Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T3 T4 T5 T6 Fz Cz Pz A1 A2 T1 T2".split()


def shaft(stem, n):
    return [f"{stem}{i}" for i in range(1, n + 1)]


def biosemi(letters):
    return [label for letter in letters for label in shaft(letter, 32)]


def made(names, montage):
    return [c.name for c in plan_montage(montages[montage], names).channels if c.how != "missing"]


def assert_refused(names):
    for montage in NAMED:
        for how in ("raise", "drop", "interpolate"):
            with pytest.raises(MissingChannelsError) as caught:
                MontageMapper(montage, on_missing=how).plan(names)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("letters", ["AB", "ABCD", "ABCDE", "ABCDEFGH", "C", "F"])
@pytest.mark.parametrize("form", ["{}", "EEG {}", "{}-Ref", "{}-A1"])
def test_biosemi_labels_are_refused_and_named(letters, form):
    names = [form.format(label) for label in biosemi(letters)] + ["EXG1", "EXG2", "EXG8", "Status"]
    assert_refused(names)
    judged = judge_names(names)
    assert (judged.electrodes, judged.scheme) == ((), "biosemi")
    assert judged.runs == tuple(f"{letter}1 to {letter}32" for letter in letters)
    with pytest.raises(MissingChannelsError, match=r"BioSemi cap .*rename"):
        plan_montage(montages["szcore-19"], names).raise_if_missing()


@pytest.mark.parametrize(
    "names",
    [
        shaft("C", 12),
        [*shaft("A", 12), *shaft("B", 12), *shaft("C", 6), *shaft("F", 10), *shaft("O", 2), *shaft("P", 10)],
        [*shaft("C", 6), *shaft("F", 10), *shaft("P", 8), *shaft("O", 2)],
        [*shaft("T", 8), *shaft("LA", 8), *shaft("C'", 10)],
        [f"POL {label}" for label in [*shaft("C", 16), *shaft("F", 8), *shaft("X", 10)]],
        # Nihon Kohden calls contacts with the name of an electrode EEG ...-Ref, their neighbours POL.
        [f"EEG {c}-Ref" if parse_name(c) and c[1:] in "34" else f"POL {c}" for c in (*shaft("C", 10), *shaft("F", 10))],
        [f"C{i}-C{i + 1}" for i in range(1, 12)] + [f"F{i}-F{i + 1}" for i in range(1, 9)],
        [f"C_{i}" for i in range(1, 13)] + [f"C{i}" for i in range(1, 7)],
        [*shaft("FP", 8), *shaft("A", 12), *shaft("F", 6)],
        [*(f"C{i}'" for i in range(1, 10)), *shaft("F", 4)],
    ],
    ids=lambda names: f"{names[0]}..{names[-1]}",
)
def test_depth_contacts_are_refused(names):
    assert_refused(names)
    assert judge_names(names).electrodes == ()


def test_a_recording_of_both_keeps_the_electrodes_that_no_run_covers():
    plain = judge_names([*CLINICAL, *shaft("LA", 10), *shaft("RH", 10)])
    assert plain.withheld == ()
    assert len(plain.electrodes) == 23
    covered = judge_names(["Fp1", "Fz", "Cz", "EEG F7", "F8", "F3", "F4", *shaft("C", 12), *shaft("P", 6)])
    assert covered.electrodes == ("Fp1", "Fz", "Cz", "F7", "F8", "F3", "F4")
    assert covered.withheld == ("C1", "C2", "C3", "C4", "C5", "C6", "P1", "P2", "P3", "P4", "P5", "P6")
    assert "C1 to C12" in covered.reason
    assert "depth" in covered.reason


def test_a_name_that_is_there_twice_is_taken_only_where_its_writing_tells_which():
    depth = [*shaft("C", 12), *shaft("A", 8)]
    scalp = [f"EEG {e}-Ref" for e in TEN_TWENTY]
    plan = plan_montage(montages["szcore-19"], [*depth, *scalp])
    assert plan.missing == ()
    assert all(name.startswith("EEG") for name in plan.needed)
    assert made([*depth, *(e for e in TEN_TWENTY)], "szcore-19") == [e for e in TEN_TWENTY if e not in ("C3", "C4")]


@pytest.mark.parametrize("name", mne.channels.get_builtin_montages())
def test_every_montage_of_mne_gives_the_electrodes_that_it_names(name):
    names = mne.channels.make_standard_montage(name).ch_names
    judged = judge_names(names)
    if name in ("biosemi128", "biosemi160", "biosemi256"):
        assert (judged.electrodes, judged.scheme) == ((), "biosemi")
    elif name.startswith(("GSN", "EGI")):
        assert (set(judged.electrodes) <= {"Cz"}, judged.scheme) == (True, "egi")
    else:  # position by position what each says by itself
        assert judged.withheld == ()
        assert list(judged.channels) == [parse_name(n) for n in names]
    template = "colin27_1005" if "colin27_1005" in mne.channels.get_builtin_montages() else "standard_1005"
    places = mne.channels.make_standard_montage(template).get_positions()["ch_pos"]
    own = mne.channels.make_standard_montage(name).get_positions()["ch_pos"]
    for label, channel in zip(names, judged.channels, strict=True):
        # Where the cap has it, within some 45 degrees; MNE puts aF3 of the prefixed names on the right.
        if channel is not None and channel.electrode in places and label != "aF3":
            here, there = own[label], places[channel.electrode]
            assert here @ there > 0.7 * np.linalg.norm(here) * np.linalg.norm(there), label


@pytest.mark.parametrize(
    ("extra", "electrodes"),
    [
        (["ECG1", "ECG2", "EMG1", "EMG2", "EMG3", "DC01", "DC02", "DC03", "X1", "X2", "X3", "X4"], CLINICAL),
        (["E1", "E2", "Chin1", "Chin2", "Chin3", "LEG1", "LEG2", "LEG3"], "F3 F4 C3 C4 O1 O2 M1 M2".split()),
        (["EXG1", "EXG2", "EXG3", "EXG4", "Status"], mne.channels.make_standard_montage("biosemi64").ch_names),
        (["F11", "F12", "FT11", "FT12"], mne.channels.make_standard_montage("biosemi64").ch_names),
        (["PG1", "PG2", "Sph1", "Sph2", "1", "2", "61"], CLINICAL),
    ],
)
def test_numbered_signals_beside_the_eeg_are_no_contacts(extra, electrodes):
    judged = judge_names([*electrodes, *extra])
    assert judged.withheld == ()
    assert len(judged.electrodes) == len(electrodes)


def test_a_row_that_a_montage_asks_for_is_taken_and_picking_it_changes_nothing():
    row = Montage("row", ("C1", "C2", "C3", "C4"), "referential")
    assert plan_montage(row, ["C1", "C2", "C3", "C4"]).missing == ()
    assert plan_montage(row, shaft("C", 12)).missing == row.ch_names


def test_windows_in_which_contacts_are_absent_are_judged_by_all_labels():
    names = [*shaft("C", 12), "Fz", "Cz", "Pz", "F3", "F4"]
    x = np.random.default_rng(0).standard_normal((2, len(names), 20))
    x[1, 4:12] = np.nan  # C1 to C4 are left of the shaft
    mapper = MontageMapper("szcore-19", on_missing="drop")
    _, present = mapper.apply(x, ~np.isnan(x[..., 0]), SignalInfo(tuple(names), 200.0, 20, "uV"))
    found = [np.array(TEN_TWENTY)[row].tolist() for row in present]
    assert found == [["F3", "Fz", "Cz", "Pz", "F4"]] * 2


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.dictionaries(
        st.sampled_from(["A", "B", "C", "F", "O", "P", "T", "FP", "FC", "CP", "TP", "LA", "ROF", "A'", "T'", "M", "H"]),
        st.integers(8, 18),
        min_size=1,
    ),
    form=st.sampled_from(["{}", "EEG {}", "POL {}", "EEG {}-Ref", "{}-Ref", "{}_Ref", "{}-G2"]),
    data=st.data(),
)
def test_no_scheme_of_depth_contacts_gives_a_channel(lengths, form, data):
    contacts = [
        label for stem, n in lengths.items() for label in shaft(stem, n) if (stem, n) not in (("F", 10), ("P", 10))
    ]
    names = data.draw(st.permutations([form.format(label) for label in contacts] + ["ECG", "DC01"]))
    for montage in NAMED:
        assert made(names, montage) == []


@settings(max_examples=60, deadline=None)
@given(
    extra=st.sets(st.sampled_from(ELECTRODES)),
    case=st.sampled_from([str, str.upper, str.lower]),
    form=st.sampled_from(
        ["{}", "EEG {}", "POL {}", "EEG-{}", "EEG_{}", "EEG {}-REF", "{}_Ref", "{}-M1", "{} (uV)", "{}."]
    ),
    data=st.data(),
)
def test_any_electrodes_beside_the_19_are_all_taken(extra, case, form, data):
    electrodes = data.draw(st.permutations(sorted({*TEN_TWENTY, *extra} - {"M1"})))
    names = [form.format(case(e)) for e in electrodes]
    judged = judge_names(names)
    assert [c.electrode for c in judged.channels] == electrodes
    assert (judged.scheme, judged.reason, judged.withheld) == ("10-20", "", ())
    for montage in ("biot-16", "double-banana-18", "szcore-19"):
        assert plan_montage(montages[montage], names).missing == ()


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(ELECTRODES), min_size=1, max_size=12), st.randoms())
def test_any_few_electrodes_are_taken(electrodes, random):
    names = random.sample(sorted(electrodes), len(electrodes))
    if not any(set(shaft(stem, 4)) <= electrodes for stem in ("F", "C", "P", "AF", "FC", "CP", "PO")):
        assert [c.electrode for c in judge_names(names).channels] == names
