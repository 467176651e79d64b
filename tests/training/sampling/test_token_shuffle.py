"""Shuffled windows against BIOT with other channel ids, and against permuted spectra."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import small

from biot_bd.models import BIOT
from biot_bd.training import TokenShuffle, load_pipeline, save_pipeline
from biot_bd.training.input_data import InputInfo
from biot_bd.training.resume import seeded
from biot_bd.training.sampling.augmentation import build_augmenter


def windows(n=3, n_chans=4, n_times=600, seed=1):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def biot(channel_ids=None):
    torch.manual_seed(0)
    return BIOT(
        n_chans=4, n_times=600, n_outputs=2, embed_dim=16, num_heads=2, num_layers=2, hop_length=200,
        channel_ids=channel_ids, n_channel_tokens=4,
    ).eval()  # fmt: skip


def order_of(x, y):
    """The order that turns the rows of x (k, d) into those of y."""
    return [int((x == row).all(dim=-1).nonzero()) for row in y]


def test_shuffled_channels_are_a_model_with_other_channel_ids():
    x = windows()
    shuffled = TokenShuffle(which="channels", random_state=0)(x)
    with torch.no_grad():
        found = biot()(shuffled)
        for i in range(len(x)):
            order = order_of(x[i], shuffled[i])
            torch.testing.assert_close(
                found[i : i + 1], biot(np.argsort(order).tolist())(x[i : i + 1]), atol=1e-5, rtol=0
            )
    assert (found - biot()(x)).abs().max() > 1e-4


def test_shuffled_time_is_a_permuted_spectrum():
    x = windows(n_times=650)
    shuffled = TokenShuffle(which="time", random_state=0)(x)
    assert torch.equal(shuffled[..., 600:], x[..., 600:])
    encoder = biot().encoder
    before, after = encoder.spectrum(x[..., :600]), encoder.spectrum(shuffled[..., :600])
    orders = set()
    for i in range(len(x)):
        order = order_of(before[i, 0], after[i, 0])
        orders.add(tuple(order))
        assert torch.equal(after[i], before[i][:, order])  # the same for all channels
    assert len(orders) > 1


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["channels", "time", "all"]), st.integers(1, 100), st.integers(0, 3), st.integers(0, 99))
def test_nothing_is_lost_and_absence_moves_along(which, piece, absent, seed):
    x = windows(n_times=210)
    x[1, absent] = torch.nan
    found = TokenShuffle(which=which, n_samples_piece=piece, random_state=seed)(x)
    assert torch.equal(found.isnan().all(dim=-1).sum(dim=1), torch.tensor([0, 1, 0]))
    a, b = (np.sort(one.flatten(1).numpy(), axis=1) for one in (x, found))
    np.testing.assert_array_equal(a, b)


def test_probability_is_a_share_of_the_windows():
    x = windows(400, 4, 400)
    with seeded(0):
        changed = (
            build_augmenter(("TokenShuffle", {"which": "channels"}), InputInfo(4, 400, None, None, "scaled"))(x) != x
        )
    assert 0.35 < changed.flatten(1).any(dim=1).float().mean() < 0.6


@pytest.mark.parametrize(
    ("parameters", "match"),
    [({"which": "tokens"}, "one of channels, time, all"), ({"n_samples_piece": 0}, "at least 1")],
)
def test_bad_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        TokenShuffle(**parameters)


def test_windows_without_two_pieces_are_refused():
    with pytest.raises(ValueError, match="fewer than two pieces of n_samples_piece=400"):
        TokenShuffle(n_samples_piece=400)(windows())


@pytest.mark.parametrize(
    "augment", [("TokenShuffle", {"which": "time", "n_samples_piece": 100}), TokenShuffle(0.5, "channels")]
)
def test_in_training_and_in_a_saved_pipeline(data, tmp_path, augment):
    x, y, groups = data
    net = small(augment=augment, max_epochs=1).fit(x, y, groups=groups)
    plain = small(max_epochs=1).fit(x, y, groups=groups)
    assert net.history[0, "train_loss"] != plain.history[0, "train_loss"]
    again = load_pipeline(save_pipeline(net, tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))
