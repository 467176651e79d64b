from __future__ import annotations

import mne
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import registry
from biot_bd.report.drawing.chains import CHAINS, chain_of, in_chains, side_of

LONGITUDINAL = {
    "left temporal": "Fp1-F7 F7-T7 T7-P7 P7-O1",
    "right temporal": "Fp2-F8 F8-T8 T8-P8 P8-O2",
    "left parasagittal": "Fp1-F3 F3-C3 C3-P3 P3-O1",
    "right parasagittal": "Fp2-F4 F4-C4 C4-P4 P4-O2",
    "midline": "Fz-Cz Cz-Pz",
}


@pytest.mark.parametrize(("chain", "names"), LONGITUDINAL.items())
def test_chains_of_the_longitudinal_montage(chain: str, names: str) -> None:
    assert {chain_of(name) for name in names.split()} == {chain}
    assert {chain_of(name.upper()) for name in names.split()} == {chain}


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("F7-T3", "left temporal"),  # former names
        ("T5-O1", "left temporal"),
        ("EEG T4-REF", "right temporal"),
        ("C3", "left parasagittal"),
        ("EEG Cz-LE", "midline"),
        ("C3-Cz", "left parasagittal"),
        ("F3-F4", "other"),  # across the midline
        ("ECG", "other"),
        ("", "other"),
        ("VNS", "other"),
    ],
)
def test_other_names(name: str, chain: str) -> None:
    assert chain_of(name) == chain


def test_sides_are_those_of_the_head() -> None:
    """Against the positions of MNE: x is negative on the left."""
    positions = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]
    for name, (x, _, _) in positions.items():
        if name.upper() in ("A1", "A2", "M1", "M2") or not name[-1].isdigit():
            continue
        assert side_of(name) == ("left" if x < 0 else "right"), name


def test_every_channel_has_one_place_and_chains_stand_in_reading_order() -> None:
    for name in registry.montages:
        montage = registry.montages[name]
        found = in_chains(montage.ch_names)
        assert sorted(index for _, own in found for index in own) == list(range(len(montage.ch_names)))
        assert [chain for chain, _ in found] == [chain for chain in CHAINS if chain in dict(found)]


@given(st.text(max_size=12))
@settings(max_examples=50, deadline=None)
def test_any_label_has_a_chain(name: str) -> None:
    assert chain_of(name) in CHAINS
    assert side_of(name) in ("left", "middle", "right")
