"""Channel names: what they are read as, and what is never taken for EEG."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biot_bd.signals.names import ELECTRODES, OLD_NAMES, ChannelName, canonical_name, parse_name

TEMPORAL = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}


@pytest.mark.parametrize(
    ("written", "electrode", "reference"),
    [
        ("EEG FP1-REF", "Fp1", "REF"),
        ("EEG T3-LE", "T7", "LE"),
        ("EEG Fz-Avg", "Fz", "AVG"),
        ("F7-CS2", "F7", "CS2"),
        ("CP2-Ref", "CP2", "REF"),
        ("Fc5.", "FC5", None),
        ("Cz..", "Cz", None),
        ("EEG FP2", "Fp2", None),
        (" eeg  o1 ", "O1", None),
        ("EEG F1-Ref-1", "F1", "REF"),
        ("T6-0", "P8", None),
        ("FP1-F7", "Fp1", "F7"),
        ("T8-P8-1", "T8", "P8"),
        ("EEG T4-T6", "T8", "P8"),
        ("C3 - A2", "C3", "A2"),
        ("Fz–Cz", "Fz", "Cz"),
        ("Fp1-A1A2", "Fp1", "LE"),
        ("C3-(A1+A2)/2", "C3", "(A1+A2)/2"),
        ("T8-P8-0-1", "T8", "P8"),
        ("POL Fp1", "Fp1", None),
        ("EEG-Fp1", "Fp1", None),
        ("EEG_Fp1-Ref", "Fp1", "REF"),
        ("Fp1_Ref", "Fp1", "REF"),
        ("C3/A2", "C3", "A2"),
        ("C4:M1", "C4", "M1"),
        ("Fp1-M1", "Fp1", "M1"),
        ("M1", "M1", None),
        ("EEG Fp1-A1A2", "Fp1", "LE"),
        ("Fp1 (uV)", "Fp1", None),
        ("EEG T3-Ref [µV]", "T7", "REF"),
    ],
)
def test_names_as_recordings_write_them(written, electrode, reference):
    assert parse_name(written) == ChannelName(electrode, reference)


@pytest.mark.parametrize(
    "written",
    """- --0 --1 . .-0 -- ECG VNS LOC-ROC EKG1-EKG2 EKG1-CHIN LUE-RAE SpO2 HR MK PLET A 1 61 01 OorLiAchter Sph1 EMG1-EMG2
    C3-EKG O2-ECG1 F7-F7 Fp1-F7-F3 C3-P3-XX PHO2 OSAT DC01 STATUS EEG EEG-REF O2-Sat O2_Sat C3_1
    C3' C03 SEEG_C3""".split()
    + [
        "",
        " ",
        "ECG ECG1",
        "EOG VEOG_I",
        "POL E",
        "POL $A1",
        "POL X1",
        "SaO2 X9",
        "EKG EKG",
        "DIG DTRIG",
        "SEEG C3",
        "ECoG C3",
        "3Hz +5/-5 V",
    ],
)
def test_what_is_no_eeg_channel(written):
    assert parse_name(written) is None
    assert canonical_name(written) is None


def test_canonical_names_of_both_kinds():
    assert [canonical_name(n) for n in ("EEG T3-REF", "fp1-f7", "T8-P8-0", "F7-CS2", "C4-A1")] == [
        "T7", "Fp1-F7", "T8-P8", "F7", "C4-A1",
    ]  # fmt: skip


@given(
    electrode=st.sampled_from(ELECTRODES),
    old=st.booleans(),
    case=st.sampled_from([str.upper, str.lower, str, str.swapcase]),
    prefix=st.sampled_from(["", "EEG ", "eeg ", "EEG  ", "Eeg:"]),
    reference=st.sampled_from(["", "-REF", "-Ref", "-LE", "-le", "-Avg", "-AVG", "-CS2", " - Ref"]),
    dots=st.integers(0, 2),
    duplicate=st.sampled_from(["", "-0", "-1", "-12"]),
    space=st.sampled_from(["", " ", "  "]),
)
def test_any_spelling_of_an_electrode_is_that_electrode(
    electrode, old, case, prefix, reference, dots, duplicate, space
):
    name = TEMPORAL.get(electrode, electrode) if old else electrode
    written = space + prefix + case(name) + "." * dots + reference + duplicate + space
    assert canonical_name(written) == electrode


@given(
    pair=st.lists(st.sampled_from(ELECTRODES), min_size=2, max_size=2, unique=True),
    case=st.sampled_from([str.upper, str.lower, str.title]),
    prefix=st.sampled_from(["", "EEG "]),
    duplicate=st.sampled_from(["", "-0", "-1"]),
    space=st.sampled_from(["", " "]),
)
def test_any_spelling_of_a_derivation_is_that_derivation(pair, case, prefix, duplicate, space):
    old = [TEMPORAL.get(e, e) for e in pair]
    for plus, minus in (pair, old):
        assert canonical_name(f"{prefix}{case(plus)}{space}-{space}{case(minus)}{duplicate}") == "-".join(pair)


@given(st.text(max_size=12))
def test_reading_twice_changes_nothing(text):
    once = canonical_name(text)
    assert once is None or canonical_name(once) == once


@given(st.sampled_from(ELECTRODES), st.sampled_from(ELECTRODES))
def test_different_electrodes_never_share_a_name(a, b):
    assert (canonical_name(a) == canonical_name(b)) == (a == b)


def test_old_names_stand_for_electrodes_of_today():
    assert set(OLD_NAMES.values()) <= set(ELECTRODES)
    assert not set(OLD_NAMES) & set(ELECTRODES)
