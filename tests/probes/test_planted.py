"""Planted evidence against loops by hand, and scikit-learn's AUC."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from biot_bd.models import TokenLayout, TokenMap, signal_layout, whole_layout
from biot_bd.probes import PlantedTask, evidence_auc

TASK = PlantedTask()
TOKENS = TokenLayout(tuple("abcdefgh"), np.arange(9) * 0.5, np.arange(9) * 0.5 + 1)


def test_windows_are_repeatable_and_bursts_lie_where_they_are_said_to():
    windows, again = TASK.single(40), TASK.single(40)
    assert torch.equal(windows.x, again.x)
    assert not torch.equal(windows.x, TASK.single(40, random_state=5).x)
    assert windows.y.tolist() == [1, 0] * 20
    for y, evidence, distractor in zip(windows.y, windows.evidence, windows.distractor, strict=True):
        assert (evidence.sum(), distractor.sum()) == ((200, 0) if y else (0, 200))
        channels = np.flatnonzero((evidence if y else distractor).any(axis=1))
        assert set(channels) <= set(TASK.evidence if y else TASK.distractor)
    assert set(np.flatnonzero(windows.evidence.any(axis=(0, 2)))) == {1, 2}


def test_the_two_bursts_have_the_same_waveform_and_nothing_else_is_added():
    quiet, loud = (PlantedTask(amplitude=amplitude).both(6) for amplitude in (0.0, 3.0))
    added = (loud.x - quiet.x).numpy()
    assert not added[~(loud.evidence | loud.distractor)].any()
    t_s = np.arange(200) / 200
    wave = 3 * (np.sin(2 * np.pi * 3 * t_s) + np.sin(2 * np.pi * 17 * t_s)) * np.hanning(200)
    for window in range(6):
        for mask in (loud.evidence[window], loud.distractor[window]):
            np.testing.assert_allclose(added[window][mask], wave, atol=1e-5)
    np.testing.assert_allclose(quiet.x.std(dim=-1, correction=0), 1, rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["tokens", "samples", "whole", "mixed"]))
def test_frames_hold_a_burst_that_fills_half_of_them_or_has_half_of_itself_inside(seed, kind):
    planted = TASK.both(2, random_state=seed)
    layout = {
        "tokens": TOKENS,
        "samples": signal_layout(8, 1000, 200),
        "whole": whole_layout(8, 1000, 200),
        "mixed": TokenLayout(("all",), TOKENS.frame_start_s, TOKENS.frame_stop_s),
    }[kind]
    evidence, distractor, background = planted.places(layout)
    for window in range(2):
        for channel in range(layout.n_chans):
            rows = slice(None) if kind == "mixed" else [channel]
            for frame in range(0, layout.n_frames, 7 if kind == "samples" else 1):
                start, stop = (round(at[frame] * 200) for at in (layout.frame_start_s, layout.frame_stop_s))
                inside = planted.evidence[window][rows].any(axis=0)[start:stop].sum()
                others = planted.distractor[window][rows].any(axis=0)[start:stop].sum()
                needed = min(stop - start, 200) / 2
                assert evidence[window, channel, frame] == (inside >= needed and inside > 0)
                assert distractor[window, channel, frame] == (others >= needed and others > 0)
                assert background[window, channel, frame] == (inside == others == 0)
    assert evidence.any(axis=(1, 2)).all()
    assert distractor.any(axis=(1, 2)).all()


def test_auc_is_that_of_scikit_learn_window_by_window():
    planted = TASK.both(12)
    values = np.round(np.random.default_rng(0).normal(size=(12, 8, 9)), 1)  # with ties
    places = planted.places(TOKENS)
    wanted = []
    for other in places[1:]:
        areas = []
        for window in range(12):
            one, two = values[window][places[0][window]], values[window][other[window]]
            areas.append(roc_auc_score([1] * len(one) + [0] * len(two), np.r_[one, two]))
        wanted.append(np.mean(areas))
    assert evidence_auc(TokenMap(values, TOKENS, probe="p"), planted) == pytest.approx(tuple(wanted))


def test_energy_finds_any_burst_and_an_oracle_the_right_one():
    planted = TASK.both(40)
    frames = planted.x.unfold(-1, 200, 100).square().mean(-1).numpy()
    distractor, background = evidence_auc(TokenMap(frames, TOKENS, probe="energy"), planted)
    assert background > 0.98
    assert 0.35 < distractor < 0.65
    oracle = planted.places(TOKENS)[0].astype(float)
    assert evidence_auc(TokenMap(oracle, TOKENS, probe="oracle"), planted) == (1.0, 1.0)
    assert evidence_auc(TokenMap(-oracle, TOKENS, probe="against"), planted) == (0.0, 0.0)
    assert evidence_auc(TokenMap(0 * oracle, TOKENS, probe="nothing"), planted) == (0.5, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"evidence": (6,)},
        {"evidence": ()},
        {"distractor": (8,)},
        {"n_times": 399},
        {"burst_s": 0.001},
        {"distractor_says": "no"},
    ],
)
def test_impossible_tasks_are_refused(wrong):
    with pytest.raises(ValueError, match=r"different channels|do not fit|distractor_says must be"):
        PlantedTask(**wrong)


def test_maps_that_cannot_be_compared_are_refused():
    planted = TASK.both(1)
    with pytest.raises(ValueError, match="not known in seconds"):
        planted.places(signal_layout(8, 1000, None))
    with pytest.raises(ValueError, match="3 channels, the planted windows 8"):
        planted.places(whole_layout(3, 1000, 200))


def test_a_distractor_that_says_nothing_is_as_frequent_in_both_classes():
    windows = PlantedTask(distractor_says="nothing").single(40)
    with_evidence, with_distractor = (mask.any(axis=(1, 2)) for mask in (windows.evidence, windows.distractor))
    assert np.array_equal(with_evidence, windows.y == 1)
    assert [int((with_distractor & (windows.y == y)).sum()) for y in (0, 1)] == [10, 10]
    assert not (windows.evidence.any(axis=1) & windows.distractor.any(axis=1)).any()  # never at one time
