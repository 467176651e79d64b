"""Visible tokens, gathered and put back."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.pretraining.visible import Visible


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_tokens_are_those_that_are_seen_and_return_to_their_places(seed, absent):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.rand(3, 4, 5, generator=generator) < 0.6
    present = torch.rand(3, 4, generator=generator) < 0.7 if absent else None
    grid = torch.randn(3, 4, 5, 2, generator=generator)
    seen = (~hidden if present is None else ~hidden & present[..., None]).flatten(1)
    visible = Visible.of(hidden, present)
    for window in range(3):
        there = slice(None) if visible.mask is None else visible.mask[window]
        assert visible.places[window, there].tolist() == seen[window].nonzero().flatten().tolist()
        assert torch.equal(visible.take(grid)[window, there], grid.flatten(1, 2)[window, seen[window]])
    assert visible.counts().tolist() == seen.sum(1).tolist()
    back = visible.put(visible.take(grid), torch.full((3, 20, 2), 9.0))
    assert torch.equal(back, torch.where(seen[..., None], grid.flatten(1, 2), 9.0))


def test_no_mask_where_windows_see_equally_many():
    hidden = torch.tensor([[[True, False]], [[False, True]]])
    assert Visible.of(hidden).mask is None
    assert Visible.of(torch.tensor([[[True, False]], [[False, False]]])).mask.tolist() == [[True, False], [True, True]]
