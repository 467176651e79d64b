"""Montages, and plans from a recording's channels to them."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import MissingChannelsError
from biot_bd.registry import montages
from biot_bd.signals.montages import BIOT_16, BIOT_18, DOUBLE_BANANA_18, SZCORE_19, Montage, plan_montage

CHBMIT = """FP1-F7 F7-T7 T7-P7 P7-O1 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2 FP2-F8 F8-T8 T8-P8-0 P8-O2
FZ-CZ CZ-PZ P7-T7 T7-FT9 FT9-FT10 FT10-T8 T8-P8-1""".split()
TEN_TWENTY = list(SZCORE_19.ch_names)


def how(plan):
    return [channel.how for channel in plan.channels]


def test_the_registry_brings_the_four_montages():
    for montage in (BIOT_16, BIOT_18, DOUBLE_BANANA_18, SZCORE_19):
        assert montages[montage.name] is montage
        assert pickle.loads(pickle.dumps(montage)) == montage
    assert [m.n_chans for m in (BIOT_16, BIOT_18, DOUBLE_BANANA_18, SZCORE_19)] == [16, 18, 18, 19]


def test_biot_16_has_the_order_of_the_published_encoders():
    published = "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2"
    assert " ".join(BIOT_16.ch_names).upper() == published
    assert BIOT_18.ch_names == (*BIOT_16.ch_names, "C3-A2", "C4-A1")
    assert set(DOUBLE_BANANA_18.ch_names) == {*BIOT_16.ch_names, "Fz-Cz", "Cz-Pz"}


def test_a_montage_reads_its_pairs_from_its_names():
    assert Montage("two", ("Fz-Cz", "T3-T5"), "bipolar").pairs == (("Fz", "Cz"), ("T7", "P7"))
    assert Montage("two", ("T3", "Fz"), "referential").pairs == (("T7", None), ("Fz", None))
    assert Montage("named", ("left", "right"), "bipolar", (("F7", "T7"), ("F8", "T8"))).electrodes == (
        "F7", "T7", "F8", "T8",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("m", (), "bipolar"), "no channels"),
        (("m", ("Fz-Cz", "Fz-Cz"), "bipolar"), "twice"),
        (("m", ("Fz",), "unipolar"), "unipolar"),
        (("m", ("Fz",), "bipolar"), "does not fit a bipolar"),
        (("m", ("ECG",), "referential"), "'ECG' names no electrode"),
        (("m", ("left",), "bipolar", (("F7", "T3"),)), "unknown electrode 'T3'"),
        (("m", ("left",), "bipolar", (("F7", "T7"), ("F8", "T8"))), "2 pairs for 1"),
    ],
)
def test_a_montage_that_contradicts_itself_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        Montage(*arguments)


def test_chbmit_is_taken_as_it_is_and_the_first_duplicate_wins():
    plan = plan_montage(BIOT_16, CHBMIT)
    assert how(plan) == ["direct"] * 16
    assert [CHBMIT[c.sources[0]].upper().removesuffix("-0") for c in plan.channels] == [
        name.upper() for name in BIOT_16.ch_names
    ]
    assert "T8-P8-0" in plan.needed
    assert "T8-P8-1" not in plan.needed
    assert len(plan.needed) == 16


def test_a_channel_that_stands_the_other_way_round_is_turned():
    turned = [n if n != "F7-T7" else "T7-F7" for n in CHBMIT]
    plan = plan_montage(BIOT_16, turned)
    assert plan.channels[1].how == "reversed"
    assert plan.channels[1].weights == (-1.0,)
    x = np.arange(len(turned), dtype=float)[:, None] * np.ones(3)
    assert (plan.apply(x)[1] == -1.0 * turned.index("T7-F7")).all()


def test_differences_need_one_reference():
    same = plan_montage(BIOT_16, ["Fp1-CS2", "F7-CS2", "ECG"])
    assert same.channels[0].how == "difference"
    assert same.needed == ("Fp1-CS2", "F7-CS2")
    other = plan_montage(BIOT_16, ["Fp1-A1", "F7-A2"])
    assert other.channels[0].how == "missing"
    both = plan_montage(BIOT_16, ["Fp1-A1", "F7-A2", "Fp1-A2"])
    assert both.channels[0].sources == (2, 1)


def test_an_existing_derivation_goes_before_a_difference():
    assert plan_montage(BIOT_16, ["Fp1", "F7", "Fp1-F7"]).channels[0].how == "direct"


def test_referential_montages_never_mix_references():
    mixed = [f"{e}-A1" for e in TEN_TWENTY[:12]] + [f"{e}-A2" for e in TEN_TWENTY[12:]]
    plan = plan_montage(SZCORE_19, mixed)
    assert plan.missing == tuple(TEN_TWENTY[12:])
    assert plan_montage(SZCORE_19, [f"{e}-A1" for e in TEN_TWENTY]).missing == ()
    # A bipolar chain holds no referential electrode.
    assert plan_montage(SZCORE_19, CHBMIT).missing == SZCORE_19.ch_names


def test_an_electrode_that_is_itself_the_reference_is_missing_not_zero():
    against_cz = [f"{e}-Cz" for e in TEN_TWENTY if e != "Cz"]
    assert plan_montage(SZCORE_19, against_cz).missing == ("Cz",)
    assert plan_montage(DOUBLE_BANANA_18, against_cz).missing == ()


def test_the_referential_recordings_of_chbmit_with_their_misspelt_o1():
    names = "F7 T7 P7 - FP1 F3 C3 P3 01 -- FZ CZ PZ - FP2 F4 C4 P4 O2 - F8 T8 P8".split()
    plan = plan_montage(BIOT_16, names)
    assert plan.missing == ()
    assert "01" in plan.needed
    # Numbers are numbers where nothing says otherwise.
    assert plan_montage(BIOT_16, ["P7", "01", "02", "P3"]).missing == BIOT_16.ch_names


def test_the_error_names_channels_electrodes_and_what_was_found():
    plan = plan_montage(BIOT_18, [*CHBMIT, "ECG"])
    with pytest.raises(MissingChannelsError) as caught:
        plan.raise_if_missing("chb01_03")
    text = str(caught.value)
    assert text.startswith("chb01_03: montage 'biot-18'")
    assert "C3-A2, C4-A1" in text
    assert "missing electrodes: C3, A2, C4, A1 (only in other derivations: C3, C4)" in text
    assert "not EEG: ECG" in text
    assert caught.value.electrodes == ("C3", "A2", "C4", "A1")
    assert str(pickle.loads(pickle.dumps(caught.value))) == text
    plan_montage(BIOT_16, CHBMIT).raise_if_missing()


def test_the_error_of_channels_that_cannot_be_used_says_nothing_of_other_derivations():
    names = [f"EEG {electrode}-REF" for electrode in TEN_TWENTY]
    with pytest.raises(MissingChannelsError) as caught:
        plan_montage(BIOT_16, names, dict.fromkeys(names, "its unit is blank")).raise_if_missing()
    assert "other derivations" not in str(caught.value)
    assert "cannot be used: EEG Fp1-REF, " in str(caught.value)
    with pytest.raises(MissingChannelsError, match=r"derivations: Fp1, F7\); cannot be used: FP1-F7: empty"):
        plan_montage(BIOT_16, CHBMIT, {"FP1-F7": "empty"}).raise_if_missing()


def test_all_montages_of_chbmit_map_or_name_electrodes(shared):
    names = set()
    for summary in sorted((shared / "data" / "chbmit-annotations").glob("*-summary.txt")):
        blocks = summary.read_text(errors="replace").split("Channels")[1:]
        for block in blocks:
            found = [line.split(":", 1)[1].strip() for line in block.splitlines() if line.startswith("Channel ")]
            plan = plan_montage(BIOT_16, found)
            assert plan.missing == () or plan.missing_electrodes
            names.add((summary.stem, len(plan.missing)))
    assert ("chb01-summary", 0) in names
    assert {case for case, missing in names if missing} == set()


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(["{e}", "EEG {e}-REF", "{e}.", "{e}-CS2", "EEG {e}-LE-0", "{e}-Cz9"]),
    order=st.permutations(range(19)),
    noise=st.lists(st.sampled_from(["ECG", "-", "--0", "LOC-ROC", "POL E"]), max_size=4),
)
def test_any_referential_recording_gives_the_differences_of_its_electrodes(form, order, noise):
    rng = np.random.default_rng(1)
    potential = dict(zip(TEN_TWENTY, rng.standard_normal((19, 8)), strict=True))
    electrodes = [TEN_TWENTY[i] for i in order]
    names = [*noise, *(form.format(e=e) for e in electrodes)]
    x = np.vstack([np.full((len(noise), 8), 1e6), *(potential[e][None] for e in electrodes)])
    for montage in (BIOT_16, DOUBLE_BANANA_18, SZCORE_19):
        plan = plan_montage(montage, names)
        made = plan.apply(x)
        for row, (plus, minus) in zip(made, montage.pairs, strict=True):
            np.testing.assert_array_equal(row, potential[plus] - potential[minus] if minus else potential[plus])
        used = [names.index(n) for n in plan.needed]
        np.testing.assert_array_equal(plan.reduced().apply(x[used]), made)
