"""The objective keeps the contract of biot_bd, computes what it says, and does not see what it hides."""

import numpy as np
import pytest
import torch

from biot_bd import registry
from biot_bd.models import BIOT, token_stages
from biot_bd.pretraining import BatchRandom, Pretrainer
from biot_bd.testing import check_objective
from biot_bd_tutorial.band_power import BandPower


def test_found_by_name():
    assert registry.objectives["band-power"] is BandPower
    assert registry.objectives.owner("band-power") == "tutorial"


@pytest.fixture(scope="module")
def stages():
    torch.manual_seed(0)
    return token_stages(BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=3, n_times=800, n_outputs=2).eval())


def windows(n, n_chans=3, n_times=800):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("parameters", [{}, {"mask_ratio": 0.25, "n_bands": 1}])
def test_the_objective_keeps_the_contract(parameters):
    check_objective(BandPower, parameters)


def test_the_loss_is_the_error_of_log_powers_of_hidden_tokens_in_numpy(stages):
    objective, x = BandPower(stages.sizes, n_bands=4).eval(), windows(5)
    told = objective(stages, x, BatchRandom(2, 5))
    hidden = objective._hidden(BatchRandom(2, 5)).numpy()
    patches = stages.patches(x).detach().numpy().reshape(5, -1, 101)
    target = np.stack([np.log((band**2).mean(2) + 1e-6) for band in np.array_split(patches, 4, axis=2)], axis=2)
    predicted = objective._predicted(stages, stages.patches(x), torch.from_numpy(hidden), torch.ones(5, 21).bool())
    squares = (predicted.detach().numpy() - target) ** 2
    assert told["loss"].item() == pytest.approx(squares[hidden].mean(), rel=1e-5)
    guesses = [target[i][~hidden[i]].mean(axis=0) for i in range(5)]
    expected = np.mean([(guesses[i] - target[i][hidden[i]]) ** 2 for i in range(5)])
    assert told["guess"].item() == pytest.approx(expected, rel=1e-4)
    assert objective.derive(told)["skill"] == pytest.approx(1 - squares[hidden].mean() / expected, rel=1e-4)


def test_what_is_hidden_does_not_reach_the_prediction(stages):
    objective, patches = BandPower(stages.sizes).eval(), stages.patches(windows(5))
    hidden, there = objective._hidden(BatchRandom(2, 5)), torch.ones(5, 21).bool()
    changed = torch.where(hidden.reshape(5, 3, 7)[..., None], patches + 5.0, patches)
    before, after = (objective._predicted(stages, some, hidden, there) for some in (patches, changed))
    torch.testing.assert_close(before, after)


def test_it_learns_one_batch_by_heart():
    """Powers of its hidden tokens are predicted far better than by their window's mean."""
    x = windows(8).numpy() * np.linspace(0.2, 5.0, 8, dtype=np.float32)[:, None, None]
    size = {"module__embed_dim": 32, "module__num_heads": 2, "module__num_layers": 1, "module__drop_prob": 0.0}
    net = Pretrainer("biot", "band-power", **size, batch_size=8, max_epochs=60, lr=3e-3, train_split=None, device="cpu")
    net.set_params(random_state=0).fit(x)
    assert net.history[-1]["train_loss"] < 0.1 * net.history[0]["train_loss"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"mask_ratio": 1.0}, "hides 21 of 21 tokens"), ({"n_bands": 200}, "n_bands must be 1 to 101")],
)
def test_an_objective_that_could_not_learn_is_refused(stages, parameters, message):
    with pytest.raises(ValueError, match=message):
        BandPower(stages.sizes, **parameters)
