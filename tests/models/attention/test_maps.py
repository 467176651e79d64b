"""Which layers are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biot_bd.models.attention.maps import early_middle_late


@given(st.integers(1, 60))
def test_chosen_layers_are_in_order_and_span_the_depth(depth):
    chosen = early_middle_late(depth)
    numbers = list(chosen.values())
    assert numbers == sorted(set(numbers))
    assert len(chosen) == min(depth, 3)
    assert (numbers[0], numbers[-1]) == (0, depth - 1)
    assert list(chosen) == {1: ["only"], 2: ["early", "late"]}.get(depth, ["early", "middle", "late"])


def test_no_layer_raises():
    with pytest.raises(ValueError, match="one attention layer or more"):
        early_middle_late(0)
