from __future__ import annotations

import numpy as np
import pytest

from biot_bd.probes.base import Explanation
from biot_bd.report.drawing.heatmaps import ColourScale, Map, heat_map, maps_of

NAMES = ["A-B", "B-C", "C-D"]


def attention(n_chans: int = 3, n_frames: int = 4, absent: int | None = None, seed: int = 0) -> np.ndarray:
    """Random token attention whose rows sum to 1; NaN in rows and columns of an absent channel."""
    weights = np.random.default_rng(seed).random((n_chans * n_frames,) * 2)
    tokens = np.repeat(np.arange(n_chans) != absent, n_frames)
    weights[:, ~tokens] = 0
    weights /= weights.sum(1, keepdims=True)
    weights[~tokens] = weights[:, ~tokens] = np.nan
    return weights


def explanation(*layers: np.ndarray, **info: object) -> Explanation:
    names = tuple(f"layer{i}" for i in range(len(layers)))
    return Explanation(np.stack(layers)[None], ("window", "layer", "query", "key"), names, dict(info))


def test_maps_equal_sums_over_tokens() -> None:
    weights = attention()
    channels, time = maps_of(explanation(weights), NAMES, 10.0)
    for i in range(3):
        for j in range(3):
            given = np.mean([sum(weights[4 * i + a, 4 * j + b] for b in range(4)) for a in range(4)])
            assert channels.values[i, j] == pytest.approx(given * 3)
        for b in range(4):
            assert time.values[i, b] == pytest.approx(weights[:, 4 * i + b].mean() * 12)


@pytest.mark.parametrize(("absent", "n_present"), [(None, 3), (1, 2)])
def test_uniform_attention_is_one(absent: int | None, n_present: int) -> None:
    tokens = np.repeat(np.arange(3) != absent, 4)
    weights = np.full((12, 12), 1 / tokens.sum())
    weights[~tokens] = weights[:, ~tokens] = np.nan
    channels, time = maps_of(explanation(weights), NAMES, 10.0)
    for found, n_known in ((channels, n_present**2), (time, 4 * n_present)):
        known = found.values[np.isfinite(found.values)]
        assert known.size == n_known
        np.testing.assert_allclose(known, 1)


def test_absent_channel_stays_unknown() -> None:
    channels, time = maps_of(explanation(attention(absent=2)), NAMES, 10.0)
    assert np.isnan(channels.values[2]).all()
    assert np.isnan(channels.values[:, 2]).all()
    assert np.isnan(time.values[2]).all()
    np.testing.assert_allclose(np.nansum(channels.values, axis=1)[:2], 2)


def test_layers_are_early_middle_late_or_the_roles_given() -> None:
    layers = [attention(seed=seed) for seed in range(5)]
    found = list(dict.fromkeys(m.layer for m in maps_of(explanation(*layers), NAMES, 10.0)))
    assert found == ["early layer (layer0)", "middle layer (layer2)", "late layer (layer4)"]
    roles = {"late": "layer3"}
    found = list(dict.fromkeys(m.layer for m in maps_of(explanation(*layers, roles=roles), NAMES, 10.0)))
    assert found == ["late layer (layer3)"]


def test_heads_are_averaged_and_windows_chosen() -> None:
    heads = np.stack([[attention(seed=10 * w + h) for h in range(2)] for w in range(3)])[:, None]
    whole = Explanation(heads, ("window", "layer", "head", "query", "key"), ("only",))
    mean = explanation(heads[2, 0].mean(0))
    np.testing.assert_allclose(
        maps_of(whole, NAMES, 10.0, window=2)[0].values, maps_of(mean, NAMES, 10.0)[0].values, rtol=1e-12
    )


def test_frames_are_labelled_by_their_stored_start() -> None:
    _, time = maps_of(explanation(attention(), frame_start_s=[0.0, 0.5, 1.0, 1.5]), NAMES, 10.0)
    assert time.columns == ["0", "0.5", "1", "1.5"]


def test_signed_values_of_other_probes() -> None:
    values = np.random.default_rng(0).normal(size=(1, 3, 100))
    (found,) = maps_of(Explanation(values, ("window", "channel", "time")), NAMES, 10.0)
    assert not found.ratio
    assert found.values.shape == (3, 40)
    assert found.values[1, 0] == pytest.approx(values[0, 1, :3].mean())
    (single,) = maps_of(Explanation(values[:, :, 0], ("window", "channel")), NAMES, 10.0)
    np.testing.assert_array_equal(single.values[:, 0], values[0, :, 0])


@pytest.mark.parametrize(
    ("values", "dims"),
    [(np.ones((1, 3, 3)), ("window", "query", "channel")), (np.ones((1, 5)), ("window", "channel"))],
)
def test_what_cannot_be_drawn_is_said(values: np.ndarray, dims: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        maps_of(Explanation(values, dims), NAMES, 10.0)


def test_tokens_that_do_not_fit_the_channels() -> None:
    with pytest.raises(ValueError, match="do not fit 5 channels"):
        maps_of(explanation(attention()), ["a", "b", "c", "d", "e"], 10.0)


def test_colours_are_neutral_at_one_and_symmetric_in_ratio() -> None:
    scale = ColourScale(4.0, ratio=True)
    neutral = [int(scale.colour(1.0)[i : i + 2], 16) for i in (1, 3, 5)]
    assert min(neutral) > 240
    assert scale.colour(4.0) == scale.colour(100.0) != scale.colour(2.0)
    assert scale.colour(0.0) == scale.colour(0.25) != scale.colour(4.0)
    assert scale.at(1) == 4
    assert scale.at(-1) == 0.25
    signed = ColourScale(2.0, ratio=False)
    assert signed.colour(0.0) == scale.colour(1.0)
    assert signed.at(-1) == -2


def test_heat_map_says_its_highest_value_and_each_cell() -> None:
    shown = Map("", "time", np.array([[1.0, 2.5], [np.nan, 0.5]]), ["A-B", "B-C"], ["0", "5"], True)
    text = str(heat_map("m", "Title", shown, ColourScale.of([shown])))
    assert "highest 2.5 at A-B, 0" not in text
    assert "highest 2.5 at A-B, 5" in text
    assert "<title>B-C, 5: 0.5</title>" in text
    assert "#bbbbbb" in text
