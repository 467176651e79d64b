"""BIOT's contrastive task against the official way written channel by channel, and what it must hide."""

import copy
import math

import numpy as np
import pytest
import scipy.stats
import torch

from biot_bd import Pretrainer
from biot_bd.models import BIOT, MaskedViT, MultiScaleBIOT, TokenSizes, token_stages
from biot_bd.pretraining import BatchRandom
from biot_bd.pretraining.objectives.biot_contrastive import BIOTContrastive

SMALL = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "n_chans": 4, "n_times": 1200, "n_outputs": 2}
NO_DROPOUT = {"drop_prob": 0.0, "att_layer_drop_prob": 0.0}

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:This model has only been trained:UserWarning"),
]


def build(cls=BIOT, seed=0, objective=None, **changes):
    torch.manual_seed(seed)
    model = cls(**{**SMALL, **changes})
    return model, BIOTContrastive(token_stages(model).sizes, **(objective or {}))


def windows(n=6, n_chans=4, n_times=1200, seed=1):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def run(model, objective, x, seed=0):
    return objective(token_stages(model), x, BatchRandom(seed, len(x)))


def views_of(model, objective, x, seed=0):
    """Return what the objective compares: the masked view in front of its head, and the whole one."""
    read = []
    stages = token_stages(model)
    read_out = stages.read_out
    stages.read_out = lambda *given: read.append(read_out(*given)) or read[-1]
    objective(stages, x, BatchRandom(seed, len(x)))
    return read[-2].detach(), read[-1].detach()


def kept_of(objective, seed=0):
    return objective.kept_frames(BatchRandom(seed, 1))


# As the official code


def official_views(model, x, kept, seed):
    """The official way by hand: channel after channel, kept frames in random order, then all joined."""
    encoder, rng = model.encoder, np.random.default_rng(seed)
    some, all_frames = [], []
    for i in range(x.shape[1]):
        spectrum = torch.stft(
            x[:, i], 200, 100, center=False, onesided=True, return_complex=True, window=torch.ones(200)
        ).abs()
        tokens = encoder.patch_embedding.projection(spectrum.transpose(1, 2)) + encoder.channel_tokens.weight[i]
        tokens = tokens + encoder.positional_encoding.pe[:, : tokens.shape[1]]
        all_frames.append(tokens)
        some.append(tokens[:, rng.permutation(np.flatnonzero(kept[i].numpy()))])
    return [encoder.transformer(torch.cat(parts, dim=1)).mean(dim=1) for parts in (some, all_frames)]


def test_views_are_those_of_the_official_code_whatever_the_order_of_frames():
    model, objective = build()
    model.eval(), objective.eval()
    x = windows()
    found = views_of(model, objective, x)
    for seed in (0, 1):
        expected = official_views(model, x, kept_of(objective), seed)
        for view, truth in zip(found, expected, strict=True):
            torch.testing.assert_close(view, truth, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        logits = (
            torch.nn.functional.normalize(expected[1])
            @ torch.nn.functional.normalize(objective.predictor(expected[0])).T
        )
        loss = torch.nn.functional.cross_entropy(logits / 0.2, torch.arange(len(x)))
        torch.testing.assert_close(run(model, objective, x)["loss"], loss, atol=1e-5, rtol=1e-5)


def official_choice(n_frames, rng):
    return rng.choice(n_frames, rng.integers(n_frames // 2, n_frames), replace=False)


@pytest.mark.parametrize("n_frames", [2, 3, 11, 19])
def test_frames_are_kept_as_often_as_in_the_official_code(n_frames):
    objective = BIOTContrastive(TokenSizes(n_chans=3, n_frames=n_frames, n_features=5, embed_dim=4))
    ours = torch.cat([kept_of(objective, seed) for seed in range(1500)])
    rng = np.random.default_rng(0)
    theirs = [official_choice(n_frames, rng) for _ in range(len(ours))]
    numbers = range(n_frames // 2, n_frames)
    n_kept = ours.sum(dim=1).numpy(), np.array([len(choice) for choice in theirs])
    counts = [[int((n == number).sum()) for number in numbers] for n in n_kept]
    assert sum(counts[0]) == len(ours)  # none outside of half to all but one
    by_frame = [ours.sum(dim=0).tolist(), np.bincount(np.concatenate(theirs), minlength=n_frames).tolist()]
    for table in [counts, by_frame] if len(numbers) > 1 else [by_frame]:
        assert scipy.stats.chi2_contingency(table).pvalue > 0.01
    together = ours.reshape(-1, 3, n_frames).float().mean(dim=2).numpy().T
    if len(numbers) > 1:
        assert np.abs(np.corrcoef(together) - np.eye(3)).max() < 0.08  # each channel for itself


def test_a_batch_shares_one_choice_of_frames():
    model, objective = build()
    model.eval()
    one = windows(1)
    masked, _ = views_of(model, objective, torch.cat([one, windows(3), one]))
    torch.testing.assert_close(masked[0], masked[-1], atol=1e-6, rtol=1e-5)


def test_both_views_drop_features_of_their_own():
    model, objective = build(drop_prob=0.5, att_layer_drop_prob=0.0)
    objective.kept_frames = lambda rng: torch.ones(4, 11, dtype=torch.bool)  # nothing but dropout tells them apart
    masked, whole = views_of(model.train(), objective, windows())
    assert (masked - whole).abs().max() > 1e-3
    masked, whole = views_of(model.eval(), objective, windows())
    torch.testing.assert_close(masked, whole)


# What it hides, learns and says


def test_samples_that_only_frames_left_out_see_change_nothing_of_the_masked_view():
    model, objective = build()
    model.eval()
    kept = kept_of(objective)
    gone = [(c, f) for c in range(4) for f in range(1, 11) if not kept[c, f - 1] and not kept[c, f]]
    assert gone
    x = windows()
    other = x.clone()
    for channel, frame in gone:  # frame f sees samples 100 f to 100 f + 200
        other[:, channel, 100 * frame : 100 * frame + 100] += 5 * windows(6, 1, 100, seed=2)[:, 0]
    (before, whole), (after, other_whole) = views_of(model, objective, x), views_of(model, objective, other)
    assert torch.equal(before, after)
    assert (whole - other_whole).abs().max() > 1e-3
    channel, frame = kept.nonzero()[0].tolist()
    other[:, channel, 100 * frame + 50] += 1.0
    assert not torch.equal(views_of(model, objective, other)[0], before)


def test_it_overfits_one_batch():
    model, objective = build(**NO_DROPOUT)
    x = windows(8) * torch.linspace(0.5, 3.0, 8)[:, None, None]
    optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=3e-3)
    for step in range(40):
        optimizer.zero_grad()
        run(model, objective, x, seed=step)["loss"].backward()
        optimizer.step()
    found = run(model.eval(), objective.eval(), x, seed=1000)
    assert found["loss"] < 0.35 * math.log(8)
    assert found["top1"] == 1.0


def test_a_collapsed_encoder_is_told():
    model, objective = build()
    torch.nn.init.zeros_(model.encoder.patch_embedding.projection.weight)  # tokens then say nothing of the window
    found = {key: value.detach() for key, value in run(model.eval(), objective.eval(), windows(5)).items()}
    assert found["embedding_std"] == pytest.approx(0.0, abs=1e-5)
    assert found["loss"] == pytest.approx(math.log(5), abs=1e-5)
    derived = objective.derive({key: value.double() for key, value in found.items()})
    assert derived == pytest.approx({"chance": math.log(5), "skill": 0.0}, abs=1e-5)
    model, objective = build()
    assert run(model.eval(), objective.eval(), windows(5))["embedding_std"] > 0.01


def test_what_it_tells_of_a_batch():
    model, objective = build()
    found = run(model, objective, windows())
    assert found["kept"] == pytest.approx(float(kept_of(objective).float().mean()))
    assert all(not value.requires_grad for key, value in found.items() if key != "loss")
    assert float(found["log_n"]) == pytest.approx(math.log(6))


# Absent channels


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_an_absent_channel_is_as_if_it_were_not_there(micro_batch):
    model, objective = build(objective={"micro_batch": micro_batch}, **NO_DROPOUT)
    model.eval()
    less = BIOT(**{**SMALL, "n_chans": 3, "channel_ids": [0, 2, 3], "n_channel_tokens": 4}).eval()
    less.load_state_dict(model.state_dict())
    one_less = BIOTContrastive(token_stages(less).sizes)
    kept = kept_of(objective)
    x = windows()
    x[:, 1] = torch.nan
    one_less.load_state_dict(objective.state_dict())
    found = objective.views(token_stages(model), x, kept)
    expected = one_less.views(token_stages(less), x[:, [0, 2, 3]], kept[[0, 2, 3]])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        assert a.isfinite().all()


def test_rows_of_the_channel_table_serve_a_corpus_with_other_channels():
    model, objective = build(channel_ids=[4, 5, 6, 7], n_channel_tokens=9)
    run(model, objective, windows())["loss"].backward()
    touched = model.encoder.channel_tokens.weight.grad.abs().sum(dim=1) > 0
    assert touched.tolist() == [False] * 4 + [True] * 4 + [False]


# Micro-batches


@pytest.mark.parametrize("size", [1, 4, 6])
def test_micro_batches_give_the_loss_and_the_gradients_of_the_whole_batch(size):
    model, objective = build(**NO_DROPOUT, objective={"micro_batch": None})
    other = copy.deepcopy((model, objective))
    other[1].micro_batch = size
    x = windows()
    x[2, 3] = torch.nan
    losses = []
    for pair in ((model, objective), other):
        losses.append(run(*pair, x)["loss"])
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-6)
    for a, b in zip((model, objective), other, strict=True):
        for (name, truth), found in zip(a.named_parameters(), b.parameters(), strict=True):
            if not name.startswith("final_layer"):
                torch.testing.assert_close(found.grad, truth.grad, atol=1e-6, rtol=1e-3, msg=name)


def test_half_precision_keeps_the_loss_in_single_precision_and_near():
    model, objective = build(**NO_DROPOUT)
    exact = run(model, objective, windows())["loss"].detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run(model, objective, windows())["loss"].detach()
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(exact), rel=0.02)


# Other models, and what is refused


@pytest.mark.parametrize("changes", [{"class_token": True}, {"token_drop_prob": 0.3}])
def test_other_forms_of_biot_learn_by_it(changes):
    model, objective = build(**changes)
    run(model, objective, windows())["loss"].backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("final_layer"))


@pytest.mark.parametrize("channel_attention", [False, True])
def test_the_multi_scale_model_learns_by_it(channel_attention):
    model, objective = build(MultiScaleBIOT, scale_factors=(1, 2), channel_attention=channel_attention)
    run(model, objective, windows())["loss"].backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None and not name.startswith("final_layer")]
    assert missing == []


@pytest.mark.parametrize("channels", ["each", "together"])
def test_the_masked_vit_learns_by_it(channels):
    torch.manual_seed(0)
    sizes = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    model = MaskedViT(n_chans=4, n_times=1200, patch_samples=100, channels=channels, **sizes)
    objective = BIOTContrastive(token_stages(model).sizes)
    run(model, objective, windows())["loss"].backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None and not name.startswith("final_layer")]
    assert missing == []


def test_its_history_tells_the_loss_at_chance_and_the_skill_over_it():
    model = {f"module__{key}": value for key, value in SMALL.items() if key in ("embed_dim", "num_heads", "num_layers")}
    net = Pretrainer(
        "biot", "biot-contrastive", max_epochs=2, batch_size=4, device="cpu", random_state=0, module__sfreq=200, **model
    )
    subjects = np.repeat(["a", "b", "c", "d"], 4)
    net.fit(windows(16).numpy(), groups=subjects)
    assert net.history[-1, "train_chance"] == pytest.approx(math.log(4))
    assert net.history[-1, "valid_chance"] == pytest.approx(math.log(4))
    for side in ("train", "valid"):
        loss, skill = net.history[-1, f"{side}_loss"], net.history[-1, f"{side}_skill"]
        assert skill == pytest.approx(1 - loss / math.log(4), abs=1e-6)
        assert net.history[-1, f"{side}_embedding_std"] > 0
    assert net.transform(windows(3).numpy()).shape == (3, 16)


def test_batches_of_one_window_are_refused_in_training_and_told_elsewhere():
    model, objective = build()
    with pytest.raises(ValueError, match="this has one; take another batch_size, or iterator_train__drop_last=True"):
        run(model, objective, windows(1))
    found = run(model.eval(), objective.eval(), windows(1))
    assert found["loss"].item() == found["log_n"].item() == 0.0
    with pytest.raises(ValueError, match="contrast with nothing"):
        objective.derive(found)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"micro_batch": 0}, "micro_batch must be a positive number"),
        ({"micro_batch": True}, "micro_batch must be a positive number"),
        ({"micro_batch": "all"}, "micro_batch must be a positive number"),
    ],
)
def test_impossible_parameters_are_refused(parameters, words):
    with pytest.raises(ValueError, match=words):
        BIOTContrastive(TokenSizes(4, 11, 101, 16), **parameters)


def test_windows_of_one_frame_are_refused():
    with pytest.raises(ValueError, match="has one; use longer windows"):
        BIOTContrastive(TokenSizes(4, 1, 101, 16))
