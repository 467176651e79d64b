"""supervised-multitask: closed forms, heads apart, absent channels unseen, one batch learnt, collapse told."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from biot_bd.models import BIOT, token_stages
from biot_bd.pretraining import BatchRandom
from biot_bd.pretraining.objectives.supervised_multitask import SupervisedMultitask

pytestmark = pytest.mark.usefixtures("one_thread")

# Two made-up corpora in one montage of three channels: the first has channels 0 and 1, the second 1 and 2.
N, HAS = 12, {0: [0, 1], 1: [1, 2]}


def model_of(n_chans=3, **parameters):
    return BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=n_chans, n_times=400, n_outputs=2, **parameters)


@pytest.fixture
def data():
    """Windows and targets: in the first corpus a label is a rhythm, in the second one of three amplitudes."""
    rng, t = np.random.default_rng(0), np.arange(400) / 200
    corpus = np.repeat([0, 1], N // 2)
    label = np.concatenate([np.arange(N // 2) % 2, np.arange(N // 2) % 3])
    x = np.full((N, 3, 400), np.nan, dtype=np.float32)
    for row in range(N):
        hz = (4, 10)[label[row]] if corpus[row] == 0 else 7
        size = 1 if corpus[row] == 0 else (0.3, 1, 3)[label[row]]
        wave = size * np.sin(2 * np.pi * hz * t + rng.uniform(0, 6)) + 0.1 * rng.standard_normal((2, 400))
        x[row, HAS[corpus[row]]] = wave
    return torch.from_numpy(x), torch.from_numpy(np.column_stack([corpus, label]))


def objective_of(model, **parameters):
    return SupervisedMultitask(token_stages(model).sizes, ("chb-mit", "tuev"), (2, 3), **parameters).eval()


def told_by(objective, model, x, targets):
    return objective(token_stages(model), x, BatchRandom(0, n=len(x)), targets)


def test_heads_that_know_nothing_score_the_logarithm_of_their_classes(data):
    model = model_of().eval()
    objective = objective_of(model, weights=(1.0, 0.5))
    for head in objective.heads:
        torch.nn.init.zeros_(head[1].weight)
        torch.nn.init.zeros_(head[1].bias)
    x, targets = data
    told = {key: value.detach() for key, value in told_by(objective, model, x, targets).items()}
    assert float(told["loss"]) == pytest.approx((math.log(2) + 0.5 * math.log(3)) / 2)
    derived = objective.derive(told)
    assert derived["loss_chb-mit"] == pytest.approx(math.log(2))
    assert derived["loss_tuev"] == pytest.approx(math.log(3))
    assert derived["accuracy_tuev"] == pytest.approx(1 / 3)
    assert derived["skill"] == pytest.approx(0, abs=1e-5)


def test_chance_is_the_entropy_of_labels_within_their_corpora(data):
    x, targets = data
    rows = [0, 1, 2, 6, 7, 9, 10]  # labels 0, 1, 0 and 0, 1, 0, 1
    model = model_of().eval()
    objective = objective_of(model, weights=(2.0, 1.0))
    derived = objective.derive(told_by(objective, model, x[rows], targets[rows]))
    first, second = entropy([2, 1]), entropy([2, 2])
    assert derived["chance_chb-mit"] == pytest.approx(first)
    assert derived["chance_tuev"] == pytest.approx(second)
    assert derived["chance"] == pytest.approx((2 * 3 * first + 4 * second) / 7)


def test_each_corpus_trains_its_own_head_and_all_train_the_encoder(data):
    x, targets = data
    model = model_of()
    objective = objective_of(model)
    told_by(objective, model, x[:6], targets[:6])["loss"].backward()
    own, other = (head[1].weight.grad for head in objective.heads)
    assert own.abs().max() > 0
    # Zeros and not None: distributed training waits for the gradient of every parameter.
    assert other is not None
    assert not other.any()
    assert model.encoder.patch_embedding.projection.weight.grad.abs().max() > 0


def test_labels_and_heads_of_other_corpora_change_no_loss(data):
    x, targets = data
    model = model_of().eval()
    objective = objective_of(model)
    before = told_by(objective, model, x[:6], targets[:6])["loss"]
    torch.nn.init.normal_(objective.heads[1][1].weight)
    assert torch.equal(before, told_by(objective, model, x[:6], targets[:6])["loss"])
    # A mixed batch adds what its parts give.
    parts = [told_by(objective, model, x[rows], targets[rows])["loss"] for rows in (slice(0, 6), slice(6, 12))]
    assert torch.allclose(told_by(objective, model, x, targets)["loss"], sum(parts) / 2)


def test_channels_that_a_corpus_has_not_are_not_seen(data):
    x, targets = data
    model = model_of().eval()
    objective = objective_of(model)
    stages = token_stages(model)
    filled, present = stages.present(x)
    assert present[6].tolist() == [False, True, True]
    # The second corpus through the same weights, with tokens of its own two channels alone.
    tokens = stages.place(stages.embed(stages.patches(filled)))[6:, 1:].flatten(1, 2)
    logits = objective.heads[1](stages.read_out(tokens))
    expected = torch.nn.functional.cross_entropy(logits, targets[6:, 1])
    assert torch.allclose(told_by(objective, model, x[6:], targets[6:])["loss"], expected, atol=1e-5)


def test_both_corpora_are_learnt_by_heart(data):
    x, targets = data
    torch.manual_seed(0)
    model = model_of().eval()
    objective = objective_of(model)
    parameters = [*objective.parameters(), *(p for p in model.parameters() if p.requires_grad)]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    for step in range(60):
        rows = slice(0, 6) if step % 2 else slice(6, 12)
        optimizer.zero_grad()
        told_by(objective, model, x[rows], targets[rows])["loss"].backward()
        optimizer.step()
    told = told_by(objective, model, x, targets)
    derived = objective.derive({key: value.detach() for key, value in told.items()})
    assert derived["accuracy_chb-mit"] == derived["accuracy_tuev"] == 1
    assert derived["skill"] > 0.8


def test_a_collapsed_encoder_is_told_and_does_no_better_than_chance(data):
    x, targets = data
    model = model_of().eval()
    torch.nn.init.zeros_(model.encoder.patch_embedding.projection.weight)
    objective = objective_of(model)
    told = {key: value.detach() for key, value in told_by(objective, model, x[:6], targets[:6]).items()}
    assert float(told["embedding_std"]) < 1e-5
    derived = objective.derive(told)
    assert derived["skill"] <= 1e-6
    assert "loss_tuev" not in derived  # no window of it


def test_batches_are_of_one_corpus(data):
    _, targets = data
    objective = objective_of(model_of(), shares="equal")
    batches = list(objective.batches(targets.numpy(), 3, drop_last=True))
    assert len(batches) == 4
    assert all(len({int(targets[row, 0]) for row in batch}) == 1 for batch in batches)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"corpora": (), "n_classes": ()}, "expected names of corpora"),
        ({"corpora": "chb-mit", "n_classes": (2,)}, "expected names of corpora"),
        ({"corpora": ("a", "a"), "n_classes": (2, 2)}, "different names"),
        ({"corpora": ("a", "b"), "n_classes": (2,)}, r"a corpus \(2\), found 1 and 2"),
        ({"corpora": ("a",), "n_classes": (1,)}, "2 or more"),
        ({"corpora": ("a",), "n_classes": (2,), "weights": (0.0,)}, "weights positive"),
        ({"corpora": ("a",), "n_classes": (2,), "shares": "half"}, "found 'half'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters, told):
    with pytest.raises(ValueError, match=told):
        SupervisedMultitask(token_stages(model_of()).sizes, **parameters)


def test_without_labels_it_says_what_it_needs(data):
    model = model_of()
    with pytest.raises(ValueError, match="learns from labels"):
        objective_of(model)(token_stages(model), data[0], BatchRandom(0, n=N))
