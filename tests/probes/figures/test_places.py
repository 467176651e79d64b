"""Channels stand where their electrodes are."""

import numpy as np
import pytest
from drawn_maps import BIOT, SINGLE

from biot_bd.probes.figures._places import around, places_of, template


def test_electrodes_stand_as_on_the_head():
    places = places_of(SINGLE)
    at = dict(zip(SINGLE, places.xy, strict=True))
    assert np.hypot(*at["Cz"]) < 0.1
    assert at["Fp1"][0] < 0 < at["Fp2"][0]
    assert at["O1"][1] < at["P3"][1] < at["C3"][1] < at["F3"][1] < at["Fp1"][1]
    ring = [SINGLE.index(name) for name in ("Fp1", "T7", "T8", "O2")]
    assert np.hypot(*places.xy[ring].T) == pytest.approx(0.87, abs=0.1)
    np.testing.assert_allclose(at["F3"] * (-1, 1), at["F4"], atol=0.06)
    np.testing.assert_allclose(np.linalg.norm(places.xyz, axis=1), 1)
    assert 0.07 < template()[1] < 0.11  # metres
    assert places.note is None


def test_derivations_lie_between_their_electrodes():
    places = places_of(["F7-T7", "F7", "T3"])
    np.testing.assert_allclose(places.ends[0], places.xy[1:])
    np.testing.assert_allclose(places.xy[0], places.xy[1:].mean(axis=0))
    assert np.isnan(places.ends[1:]).all()


def test_unknown_names_stand_beside_the_head_or_on_a_ring():
    few = places_of([*SINGLE, "ECG"])
    assert few.on_head
    assert few.xy[-1][1] < -1.2
    assert few.note == "No place on the head is known for ECG: drawn beside it."
    ring = places_of(["one", "two", "C3", "four"])
    assert not ring.on_head
    np.testing.assert_allclose(ring.xy, [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-9)
    assert "schematic ring" in ring.note


@pytest.mark.parametrize("names", [BIOT, SINGLE, ("C3", "C4"), ("a", "b", "c")])
def test_around_a_circle_left_is_left_and_places_are_evenly_apart(names):
    places = places_of(names)
    angles = around(places)
    apart = np.diff(np.sort(angles % (2 * np.pi)))
    np.testing.assert_allclose(apart, 2 * np.pi / len(names))
    if places.on_head:
        left = places.xy[:, 0] < -0.05
        assert (np.cos(angles[left]) < 1e-9).all()
        right = places.xy[:, 0] > 0.05
        assert (np.cos(angles[right]) > -1e-9).all()
