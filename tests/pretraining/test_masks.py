"""Hidden tokens: how many, in which shape, never all, never of absent channels."""

import itertools
import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from biot_bd.models import TokenSizes
from biot_bd.pretraining import BatchRandom, Masking

GEOMETRIES = ("token", "time", "channel", "block")


def sizes(n_chans=4, n_frames=19):
    return TokenSizes(n_chans=n_chans, n_frames=n_frames, n_features=5, embed_dim=8)


def runs_on_a_ring(row):
    """Lengths of the hidden stretches of a row whose ends meet."""
    turned = row.roll(-int(row.logical_not().nonzero()[0]))
    return [len(list(group)) for value, group in itertools.groupby(turned.tolist()) if value]


@st.composite
def cases(draw):
    n_chans, n_frames = draw(st.integers(2, 6)), draw(st.integers(2, 25))
    presence = st.lists(st.booleans(), min_size=n_chans, max_size=n_chans).filter(any)
    present = draw(st.none() | st.lists(presence, min_size=3, max_size=3).map(torch.tensor))
    return n_chans, n_frames, draw(st.floats(0.05, 0.95)), draw(st.integers(1, 8)), present, draw(st.integers(0, 999))


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from(GEOMETRIES))
def test_each_window_hides_its_share_of_present_tokens_and_never_all(case, geometry):
    n_chans, n_frames, ratio, block, present, seed = case
    hidden = Masking(sizes(n_chans, n_frames), geometry, ratio, block).hidden(BatchRandom(seed, n=3), present)
    there = torch.ones(3, n_chans, dtype=torch.bool) if present is None else present
    assert hidden.shape == (3, n_chans, n_frames)
    assert not hidden[~there].any()
    for window, rows in zip(hidden, there, strict=True):
        n_present, n_hidden = int(rows.sum()), int(window.sum())
        assert 0 < n_hidden < n_present * n_frames
        # Of what is counted in this geometry, the share is met to half a unit, but where one must stay on a side.
        whole_channels = geometry == "channel" and n_present > 1
        units = n_present if whole_channels else n_present * n_frames if geometry == "token" else n_frames
        a_unit = {"token": 1, "channel": n_frames if whole_channels else 1}.get(geometry, n_present)
        assert n_hidden % a_unit == 0
        n_units = n_hidden // a_unit
        assert abs(n_units - ratio * units) <= 0.5 + 1e-4 or n_units in (1, units - 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.floats(0.05, 0.95), st.integers(1, 9), st.integers(0, 999))
def test_blocks_are_made_of_whole_blocks_and_one_rest(n_frames, ratio, block, seed):
    hidden = Masking(sizes(3, n_frames), "block", ratio, block).hidden(BatchRandom(seed, n=4))
    for row in hidden.flatten(0, 1):
        # Blocks that touch make one stretch; the rest is part of one stretch alone; the window's ends cut some.
        rests = [length % block for length in runs_on_a_ring(row)]
        rest = int(row.sum()) % block
        assert sorted(filter(None, rests)) == [rest] * (rest > 0)


def test_in_time_all_channels_hide_the_same_frames_and_by_block_each_its_own():
    rng = BatchRandom(0, n=50)
    in_time = Masking(sizes(), "time").hidden(rng)
    assert (in_time == in_time[:, :1]).all()
    by_block = Masking(sizes(), "block").hidden(BatchRandom(0, n=50))
    assert (by_block != by_block[:, :1]).any()


def test_whole_channels_are_hidden_and_the_only_one_hides_frames_instead():
    present = torch.ones(6, 4, dtype=torch.bool)
    present[0, 1:] = False
    hidden = Masking(sizes(), "channel", 0.5).hidden(BatchRandom(1, n=6), present)
    assert (hidden[1:].all(2) | ~hidden[1:].any(2)).all()
    assert (hidden[1:].all(2).sum(1) == 2).all()
    assert 0 < hidden[0, 0].sum() < 19


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_token_is_hidden_as_often_as_the_share_says(geometry):
    # 4,000 windows: a share of 8/16 has a standard error of 0.008, at the ends as in the middle.
    often = Masking(sizes(4, 16), geometry, 0.5, 2).hidden(BatchRandom(7, n=4000)).float().mean(0)
    assert abs(often - 0.5).max() < 5 * math.sqrt(0.25 / 4000)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_two_processes_hide_what_one_does_whatever_is_absent_in_theirs(geometry):
    masking, present = Masking(sizes(), geometry), torch.ones(6, 4, dtype=torch.bool)
    present[4, 2] = False
    one = BatchRandom(3, n=6)
    parts = [BatchRandom(3, n=3, start=start, n_all=6) for start in (0, 3)]
    whole = masking.hidden(one, present)
    assert torch.equal(whole, torch.cat([masking.hidden(parts[0]), masking.hidden(parts[1], present[3:])]))
    # What is drawn afterwards is the same too.
    assert torch.equal(one.uniform(2), torch.cat([part.uniform(2) for part in parts]))


def test_a_guard_scores_tokens_that_are_far_enough_from_visible_ones():
    masking = Masking(sizes(1, 9), "block", 0.6, 5, guard_frames=1)
    hidden = torch.tensor([[[0, 1, 1, 1, 1, 0, 0, 1, 1]]], dtype=torch.bool)
    expected = torch.tensor([[[0, 0, 1, 1, 0, 0, 0, 0, 1]]], dtype=torch.bool)
    assert torch.equal(masking.scored(hidden), expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 25), st.integers(0, 99), st.sampled_from(("time", "block", "channel")), st.integers(1, 2))
def test_with_a_guard_every_window_still_scores_something(n_frames, seed, geometry, guard):
    block, present = 2 * guard + 1, torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    try:
        masking = Masking(sizes(3, n_frames), geometry, 0.5, block, guard)
    except ValueError:
        assert round(0.5 * n_frames) < block
        return
    hidden = masking.hidden(BatchRandom(seed, n=3), present)
    scored = masking.scored(hidden, present)
    assert (scored.sum((1, 2)) > 0).all()
    assert not (scored & ~hidden).any()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"geometry": "tokens"}, "must be one of token, time, channel, block; found 'tokens'"),
        ({"mask_ratio": 1.0}, "between 0 and 1, found 1.0"),
        ({"mask_ratio": 0}, "between 0 and 1, found 0"),
        ({"block_frames": 0}, "at least 1"),
        ({"guard_frames": -1}, "at least 0"),
        ({"guard_frames": 2}, "blocks of at least 5 hidden frames; found mask_geometry='block' with blocks of 3"),
        ({"geometry": "token", "guard_frames": 1}, "blocks of 1: raise block_frames"),
    ],
)
def test_what_cannot_be_hidden_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Masking(sizes(), **wrong)


def test_a_grid_too_small_to_hide_from_is_refused():
    with pytest.raises(ValueError, match="one frame"):
        Masking(sizes(4, 1))
    with pytest.raises(ValueError, match="tokens have one row"):
        Masking(sizes(1, 9), "channel")
