"""masked-spectrum and masked-patch: closed forms, nothing hidden is seen, one batch is learnt, collapse is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from biot_bd import registry
from biot_bd.models import BIOT, MaskedViT, MultiScaleBIOT, token_stages
from biot_bd.pretraining import BatchRandom, MaskedObjective

N, N_CHANS = 6, 3

pytestmark = pytest.mark.usefixtures("one_thread")


def biot():
    return BIOT(embed_dim=32, num_heads=4, num_layers=1, n_chans=N_CHANS, n_times=1000, n_outputs=2)


def vit(**parameters):
    sizes = {"embed_dim": 32, "num_layers": 1, "num_heads": 4, "patch_samples": 50, **parameters}
    return MaskedViT(n_chans=N_CHANS, n_times=600, n_outputs=2, **sizes)


def multi_scale():
    sizes = {"embed_dim": 32, "num_heads": 4, "num_layers": 1}
    return MultiScaleBIOT(n_chans=N_CHANS, n_times=1000, n_outputs=2, channel_attention=True, **sizes)


# Name of the objective, and the model that it trains.
CASES = {
    "masked-spectrum": ("masked-spectrum", biot),
    "masked-spectrum, several scales": ("masked-spectrum", multi_scale),
    "masked-patch": ("masked-patch", vit),
    "masked-patch, tokens of all channels": ("masked-patch", lambda: vit(channels="together")),
    "masked-patch, spectra": ("masked-patch", biot),
}


def windows(model, seed=0):
    """Rhythms with a frequency and a phase of their own, in a little noise."""
    rng, t = np.random.default_rng(seed), np.arange(model.n_times) / 200
    hz, phase = rng.uniform(2, 12, (N, 1, 1)), rng.uniform(0, 6.28, (N, N_CHANS, 1))
    x = np.sin(2 * np.pi * hz * t + phase) + 0.1 * rng.standard_normal((N, N_CHANS, model.n_times))
    return torch.from_numpy(x.astype(np.float32))


def rng(seed=5):
    return BatchRandom(seed, n=N)


@pytest.fixture(params=CASES)
def made(request):
    """A model, its stages, an objective and windows."""
    name, build = CASES[request.param]
    torch.manual_seed(0)
    model = build()
    stages = token_stages(model)
    return model, stages, registry.objectives[name](stages.sizes, mask_ratio=0.5), windows(model)


def log1p_spectra(x):
    frames = np.lib.stride_tricks.sliding_window_view(x.numpy().astype(float), 200, axis=-1)[:, :, ::100]
    return np.log1p(abs(np.fft.rfft(frames)))


@pytest.mark.parametrize("standardise", ["channel", "token", None])
def test_of_a_zero_prediction_the_loss_is_the_mean_square_of_hidden_targets(standardise):
    model = biot()
    stages, x = token_stages(model), windows(model)
    objective = registry.objectives["masked-spectrum"](stages.sizes, standardise=standardise)
    torch.nn.init.zeros_(objective.decoder[-1].weight)
    torch.nn.init.zeros_(objective.decoder[-1].bias)
    hidden = objective.masking.hidden(rng()).numpy()
    told = {key: value.detach() for key, value in objective(stages, x, rng()).items()}

    content = log1p_spectra(x)
    if standardise == "token":
        target = (content - content.mean(-1, keepdims=True)) / content.std(-1, keepdims=True)
    elif standardise == "channel":
        mean = np.array([[content[i, c, ~hidden[i, c]].mean() for c in range(N_CHANS)] for i in range(N)])
        target = content - mean[..., None, None]
        target /= np.sqrt((target**2).mean((2, 3), keepdims=True))
    else:
        target = content
    assert float(told["loss"]) == pytest.approx(
        np.mean([(target[i][hidden[i]] ** 2).mean() for i in range(N)]), rel=1e-4
    )
    assert float(told["mse_visible"]) == pytest.approx((target[~hidden] ** 2).mean(), rel=1e-4)
    derived = objective.derive(told)
    assert derived["chance"] == pytest.approx(target[hidden].var(0).mean(), rel=1e-3)
    assert derived["skill"] == pytest.approx(1 - float(told["loss"] / told["mse_interpolation"]))
    best = min(derived["chance"], float(told["mse_interpolation"]), float(told["mse_window_mean"]))
    assert derived["skill_strict"] == pytest.approx(1 - float(told["loss"]) / best)


def test_the_guess_is_scored_as_numpy_scores_it():
    model = vit()
    stages, x = token_stages(model), windows(model)
    objective = registry.objectives["masked-patch"](stages.sizes, "block", 0.5, standardise=None)
    hidden = objective.masking.hidden(rng()).numpy()
    told = objective(stages, x, rng())
    errors = []
    for window, rows in zip(x.numpy().astype(float), hidden, strict=True):
        away = rows.repeat(50, 1)
        place = np.arange(600)
        guess = [np.interp(place, place[~a], row[~a]) for row, a in zip(window, away, strict=True)]
        errors.append(((guess - window) ** 2)[away].mean())
    assert float(told["mse_interpolation"]) == pytest.approx(np.mean(errors), rel=1e-4)
    means = [
        [w[c][~rows[c]].mean(0) for c in range(N_CHANS)]
        for w, rows in zip(x.unflatten(2, (12, 50)), hidden, strict=True)
    ]
    patches = x.unflatten(2, (12, 50)).numpy()
    off = [(patches[i][c][hidden[i, c]] - means[i][c].numpy()) ** 2 for i in range(N) for c in range(N_CHANS)]
    assert float(told["mse_window_mean"]) == pytest.approx(np.concatenate(off).mean(), rel=1e-4)


def test_what_is_hidden_is_not_seen(made):
    model, stages, objective, x = made
    model.eval(), objective.eval()
    view = objective.view(stages, x, rng())
    spoilt = torch.where(view.hidden[..., None], 100.0, view.patches)

    def predicted(patches):
        return objective.predict(stages, replace(view, patches=patches), rng()).patches

    before, after = predicted(view.patches), predicted(spoilt)
    assert torch.equal(before, after)
    # What is visible is used.
    other = torch.where(view.hidden[..., None], view.patches, view.patches.flip(0))
    assert (predicted(other) - before).abs()[view.hidden].max() > 1e-4


@pytest.mark.parametrize("case", ["masked-spectrum", "masked-patch"])
def test_samples_of_a_hidden_channel_change_no_prediction(case):
    name, build = CASES[case]
    model = build().eval()
    stages, x = token_stages(model), windows(model)
    objective = registry.objectives[name](stages.sizes, "channel", 0.4).eval()
    before = objective.reconstruct(stages, x, rng())
    gone = before.hidden.all(2)
    assert (gone.sum(1) == 1).all()
    x[gone] += 30 * torch.randn(N, model.n_times)
    after = objective.reconstruct(stages, x, rng())
    assert torch.equal(before.hidden, after.hidden)
    assert torch.allclose(before.predicted, after.predicted, atol=1e-6)
    assert (before.original - after.original)[gone].abs().max() > 0.1


@pytest.mark.parametrize("case", ["masked-spectrum", "masked-patch"])
def test_absent_channels_are_no_targets_and_get_no_attention(case):
    name, build = CASES[case]
    model = build().eval()
    stages, x = token_stages(model), windows(model)
    x[2:, 1] = torch.nan
    objective = registry.objectives[name](stages.sizes, mask_ratio=0.5).eval()
    told, found = objective(stages, x, rng()), objective.reconstruct(stages, x, rng())
    assert all(torch.isfinite(value).all() for value in told.values())
    assert not found.hidden[2:, 1].any()
    assert not any(rows[2:, 1].any() for rows in (found.original, found.predicted, found.interpolated))
    assert all(torch.isfinite(rows).all() for rows in (found.original, found.predicted, found.interpolated))
    assert torch.equal(found.present, torch.isfinite(x).all(2))
    view = objective.view(stages, x, rng())
    spoilt = torch.where(view.present[..., None, None], view.patches, 100.0)
    other = objective.predict(stages, replace(view, patches=spoilt), rng()).patches
    assert torch.equal(other[view.present], objective.predict(stages, view, rng()).patches[view.present])


def test_the_loss_is_a_mean_over_windows_and_logs_carry_no_graph(made):
    model, stages, objective, x = made
    model.eval(), objective.eval()
    whole = objective(stages, x, rng())
    parts = [objective(stages, x[i : i + 2], BatchRandom(5, n=2, start=i, n_all=N)) for i in range(0, N, 2)]
    assert whole["loss"].requires_grad
    for key, value in whole.items():
        assert key == "loss" or not value.requires_grad
        if key != "embedding_std":
            mean = sum(part[key].detach() for part in parts) / 3
            assert torch.allclose(value.detach(), mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("case", "steps", "lr"),
    [
        ("masked-spectrum", 120, 6e-3),
        ("masked-patch", 60, 3e-3),
        pytest.param("masked-patch, tokens of all channels", 60, 3e-3, marks=pytest.mark.slow),
        pytest.param("masked-patch, spectra", 200, 3e-3, marks=pytest.mark.slow),
        pytest.param("masked-spectrum, several scales", 200, 6e-3, marks=pytest.mark.slow),
    ],
)
def test_one_batch_is_learnt_by_heart(case, steps, lr):
    name, build = CASES[case]
    torch.manual_seed(0)
    model = build().eval()  # without dropout: to learn by heart is the aim
    stages, x = token_stages(model), windows(model)[:2]
    objective = registry.objectives[name](stages.sizes, mask_ratio=0.5).eval()
    parameters = [*objective.parameters(), *(p for p in model.parameters() if p.requires_grad)]
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.95))
    for _ in range(steps):
        optimizer.zero_grad()
        told = objective(stages, x, BatchRandom(5, n=2))
        told["loss"].backward()
        optimizer.step()
    derived = objective.derive({key: value.detach() for key, value in told.items()})
    assert float(told["mse"]) < 0.25 * derived["chance"]
    assert derived["skill"] > 0.75


def test_a_collapsed_model_is_told_and_does_no_better_than_chance(made):
    model, stages, objective, x = made
    model.eval(), objective.eval()
    assert float(objective(stages, x, rng())["embedding_std"]) > 1e-3
    embedding = model.encoder.patch_embedding.projection if isinstance(model, BIOT) else model.patch_embedding
    torch.nn.init.zeros_(embedding.weight)
    told = {key: value.detach() for key, value in objective(stages, x, rng()).items()}
    assert float(told["embedding_std"]) < 1e-5
    assert float(told["mse"]) > 0.99 * objective.derive(told)["chance"]


def test_tokens_that_the_guard_leaves_out_do_not_count():
    model = biot().eval()
    stages, x = token_stages(model), windows(model)
    objective = registry.objectives["masked-spectrum"](stages.sizes, "time", 0.5, 4, guard_frames=1)
    told = objective.eval()(stages, x, rng())
    assert float(told["scored_fraction"]) < float(told["masked_fraction"]) == pytest.approx(4 / 9)
    found = objective.reconstruct(stages, x, rng())
    errors = ((found.predicted - found.original) ** 2).mean(-1)
    by_window = [error[scored].mean() for error, scored in zip(errors, found.hidden, strict=True)]
    assert float(told["mse"]) == pytest.approx(float(torch.stack(by_window).mean()), rel=1e-5)


def test_tokens_of_all_channels_are_reconstructed_channel_by_channel():
    model = vit(channels="together").eval()
    stages, x = token_stages(model), windows(model)
    found = registry.objectives["masked-patch"](stages.sizes, "time", standardise=None).reconstruct(stages, x, rng())
    assert torch.equal(found.original, x.unflatten(2, (12, 50)))
    assert (found.hidden == found.hidden[:, :1]).all()
    assert found.unit == "signal"


def test_parameters_that_do_not_fit_are_refused():
    sizes = token_stages(biot()).sizes
    for name in ("masked-spectrum", "masked-patch"):
        cls = registry.objectives[name]
        assert issubclass(cls, MaskedObjective)
        with pytest.raises(ValueError, match="'channel', 'token' or None; found 'none'"):
            cls(sizes, standardise="none")
        with pytest.raises(ValueError, match="found 'frames'"):
            cls(sizes, "frames")
