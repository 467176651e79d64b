"""The masked variational autoencoder: its divergence, what it hides, what it learns, what it draws."""

import pytest
import torch

from biot_bd.models import BIOT, MaskedViT, TokenSizes
from biot_bd.pretraining import BatchRandom
from biot_bd.pretraining.objectives.masked_vae import MaskedVAE

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"latent_dim": 6, "decoder_embed_dim": 32, "decoder_num_layers": 1, "decoder_num_heads": 2}


def rhythms(n, seed=0, n_chans=3):
    """Windows of one rhythm each, the same in all channels but for its phase."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(200) / 100
    rate = 2 + 4 * torch.rand(n, 1, 1, generator=generator)
    return torch.sin(6.2832 * (rate * t + torch.rand(n, n_chans, 1, generator=generator)))


def made(seed=0, **parameters):
    torch.manual_seed(seed)
    model = MaskedViT(n_chans=3, n_times=200, sfreq=100, patch_samples=20, embed_dim=32, num_layers=2, num_heads=2)
    stages = model.token_stages()
    return model, stages, MaskedVAE(stages.sizes, **{**SMALL, **parameters})


def trained(x, steps, lr=3e-3, fixed=False, **parameters):
    model, stages, objective = made(**parameters)
    optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=lr)
    for step in range(steps):
        optimizer.zero_grad()
        objective(stages, x, BatchRandom(0 if fixed else step, len(x)))["loss"].backward()
        optimizer.step()
    return model.eval(), stages, objective.eval()


def say_constant(objective, mean, log_variance):
    """Let the posterior be one Gaussian, whatever the input."""
    with torch.no_grad():
        objective.posterior.weight.zero_()
        objective.posterior.bias[:6], objective.posterior.bias[6:] = mean, log_variance


def test_the_loss_is_the_error_and_beta_times_the_divergence_a_value():
    _, stages, objective = made(beta=0.3, visible_weight=0.5)
    x = rhythms(4)
    say_constant(objective.eval(), mean=1.5, log_variance=-0.7)
    told = objective(stages, x, BatchRandom(0, 4))
    a_part = (1.5**2 + torch.tensor(-0.7).exp().item() - 1 + 0.7) / 2
    n_visible = 30 - round(0.75 * 30)
    assert float(told["kl"]) == pytest.approx(a_part * 6 * n_visible, rel=1e-5)
    assert float(told["kl_token"]) == pytest.approx(a_part * 6, rel=1e-5)
    expected = told["mse"] + 0.5 * told["mse_visible"] + 0.3 * a_part * 6 * n_visible / (30 * 20)
    assert told["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_free_bits_are_paid_by_nobody():
    x = rhythms(4)
    losses = {}
    for free_bits in (0.0, 0.2, 3.0):
        _, stages, objective = made(beta=1.0, free_bits=free_bits)
        say_constant(objective.eval(), mean=1.0, log_variance=0.0)  # half a nat a part
        losses[free_bits] = objective(stages, x, BatchRandom(0, 4))["loss"].item()
    assert losses[0.2] == losses[0.0]
    n_visible = 30 - round(0.75 * 30)
    assert losses[3.0] - losses[0.0] == pytest.approx((3.0 - 0.5) * 6 * n_visible / 600, rel=1e-4)


def test_one_batch_can_be_learnt_by_heart():
    x = rhythms(2)
    _, stages, objective = trained(x, 200, beta=1e-4, latent_dim=16, fixed=True)
    told = objective(stages, x, BatchRandom(0, 2))
    found = objective.derive(told)
    assert found["skill"] > 0.9
    assert found["reconstruction"] < 0.2 * found["chance"]
    assert found["active_units"] > 0
    assert float(told["embedding_std"]) > 0.1


@pytest.mark.parametrize("geometry", ["token", "time", "channel", "block"])
def test_what_is_hidden_moves_no_prediction(geometry):
    _, stages, objective = made(mask_geometry=geometry, mask_ratio=0.5)
    x = rhythms(4)
    objective.eval()
    first = objective.reconstruct(stages, x, BatchRandom(3, 4))
    hidden = first.hidden.repeat_interleave(20, dim=2)
    other = torch.where(hidden, 50 * torch.randn_like(x), x)
    again = objective.reconstruct(stages, other, BatchRandom(3, 4))
    assert torch.equal(first.hidden, again.hidden)
    torch.testing.assert_close(again.predicted, first.predicted, rtol=1e-5, atol=1e-6)
    seen = objective.reconstruct(stages, torch.where(hidden, x, 2 * torch.randn_like(x)), BatchRandom(3, 4))
    assert not torch.allclose(seen.predicted, first.predicted, atol=1e-3)


@pytest.mark.slow
def test_a_heavy_divergence_silences_the_latent_and_free_bits_keep_it_speaking():
    x = rhythms(16)
    found = {}
    for name, parameters in {
        "light": {"beta": 1e-3},
        "heavy": {"beta": 300.0},
        "free": {"beta": 300.0, "free_bits": 0.5},
    }.items():
        _, stages, objective = trained(x, 120, **parameters)
        told = objective(stages, x, BatchRandom(0, 16))
        found[name] = float(told["kl_token"]), objective.derive(told)["active_units"]
    assert found["light"][1] == 6
    assert found["heavy"][0] < 0.05
    assert found["heavy"][1] == 0
    assert found["free"][0] > 0.5 * 6 * 0.5
    assert found["light"][0] > 10 * found["heavy"][0]


def test_a_posterior_that_says_one_thing_is_seen_as_collapsed():
    _, stages, objective = made()
    x = rhythms(8)
    alive = objective.derive(objective(stages, x, BatchRandom(0, 8)))["active_units"]
    say_constant(objective, mean=0.0, log_variance=0.0)
    told = objective(stages, x, BatchRandom(0, 8))
    assert alive > 0
    assert objective.derive(told)["active_units"] == 0
    assert float(told["kl"]) == 0


def test_a_unit_is_active_where_windows_differ_not_where_places_do():
    objective = MaskedVAE(TokenSizes(1, 2, 8, 16), latent_dim=3, mask_ratio=0.5)
    # Seen in half of the windows: place 0 says -2, place 1 says 2 (first unit); -0.5 or 0.5 (second);
    # -0.05 or 0.05, a variance of 0.0025 (third).
    means = {
        "latent_seen": torch.tensor([[0.5], [0.5]]),
        "latent_mean": 0.5 * torch.tensor([[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0]]),
        "latent_square": 0.5 * torch.tensor([[4.0, 0.25, 0.0025], [4.0, 0.25, 0.0025]]),
        **dict.fromkeys(("mse", "mse_interpolation", "mse_window_mean"), torch.tensor(1.0)),
        **dict.fromkeys(("target_mean", "target_square"), torch.zeros(8)),
    }
    assert objective.derive(means)["active_units"] == 1


def test_the_latent_is_drawn_in_training_and_its_mean_in_use():
    _, stages, objective = made()
    x = rhythms(4)
    losses = [float(objective(stages, x, BatchRandom(seed, 4))["mse_visible"]) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    say_constant(objective, mean=0.0, log_variance=6.0)
    loud = float(objective(stages, x, BatchRandom(0, 4))["mse"])
    objective.eval()
    calm = [float(objective(stages, x, BatchRandom(0, 4))["mse"]) for _ in range(2)]
    assert calm[0] == calm[1] != loud


@pytest.mark.parametrize("absent", [False, True])
def test_a_batch_is_the_mean_of_its_parts(absent):
    _, stages, objective = made(free_bits=0.1)
    x = rhythms(6)
    if absent:
        x[1, 0] = torch.nan
        x[4, 1:] = torch.nan
    whole = objective(stages, x, BatchRandom(5, 6))
    parts = [(n, objective(stages, x[start : start + n], BatchRandom(5, n, start, 6))) for start, n in ((0, 4), (4, 2))]
    for key in ("loss", "kl", "latent_mean", "latent_square"):
        mean = sum(n * part[key] for n, part in parts) / 6
        torch.testing.assert_close(whole[key], mean, rtol=1e-4, atol=1e-5)


def test_an_absent_channel_is_nobodys_target():
    _, stages, objective = made()
    objective.eval()
    x = rhythms(4)
    x[2, 1] = torch.nan
    found = objective.reconstruct(stages, x, BatchRandom(0, 4))
    assert not found.hidden[2, 1].any()
    assert found.predicted.isfinite().all()
    assert objective(stages, x, BatchRandom(0, 4))["loss"].isfinite()


def test_windows_are_drawn_from_the_prior():
    _, _, objective = made()
    first, same, other = (objective.sample(BatchRandom(seed, 5)) for seed in (0, 0, 1))
    assert first.shape == (5, 3, 10, 20)
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)


@pytest.mark.slow
def test_drawn_windows_have_the_rhythm_of_those_learnt():
    t = torch.arange(200) / 100
    x = torch.sin(6.2832 * (5.0 * t + torch.rand(64, 3, 1, generator=torch.Generator().manual_seed(0))))
    _, _, objective = trained(x, 400, beta=0.05, mask_ratio=0.5, visible_weight=1.0)
    drawn = objective.sample(BatchRandom(0, 32)).flatten(2, 3)
    power = torch.fft.rfft(drawn).abs().square().mean((0, 1))
    assert int(power[1:].argmax()) + 1 == 10  # 5 Hz of windows of 2 s
    assert float(power[9:12].sum() / power[1:].sum()) > 0.5


def test_spectra_of_biot_work_too():
    torch.manual_seed(0)
    model = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=3, n_times=1000, n_outputs=2, class_token=True)
    stages = model.token_stages()
    objective = MaskedVAE(stages.sizes, **SMALL)
    told = objective(stages, torch.randn(4, 3, 1000), BatchRandom(0, 4))
    told["loss"].backward()
    assert told["loss"].isfinite()
    assert objective.posterior.weight.grad.abs().sum() > 0


def test_tokens_of_all_channels_are_drawn_channel_by_channel():
    model = MaskedViT(
        n_chans=3, n_times=200, channels="together", patch_samples=20, embed_dim=16, num_layers=1, num_heads=2
    )
    stages = model.token_stages()
    objective = MaskedVAE(stages.sizes, **SMALL)
    assert objective.sample(BatchRandom(0, 2)).shape == (2, 3, 10, 20)
    assert objective.reconstruct(stages, rhythms(2), BatchRandom(0, 2)).predicted.shape == (2, 3, 10, 20)


@pytest.mark.parametrize("wrong", [{"latent_dim": 0}, {"beta": -1.0}, {"free_bits": -0.1}, {"visible_weight": -1.0}])
def test_sizes_and_weights_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="masked-vae: latent_dim="):
        made(**wrong)
