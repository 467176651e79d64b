"""One pretraining of corpora with other channels: shares, homogeneous batches, exact absence, restarts."""

from collections import Counter

import hypothesis.strategies as st
import mne
import numpy as np
import pytest
import torch
from braindecode.datasets import BaseConcatDataset, RawDataset
from hypothesis import given, settings
from skorch.callbacks import Callback
from tiny_pretraining import rows, same_weights, small_net

from biot_bd import Windows, prepare
from biot_bd.models import BIOT, token_stages
from biot_bd.pretraining import BatchRandom
from biot_bd.pretraining.corpora import CorpusBatches, divided
from biot_bd.pretraining.objectives.supervised_multitask import SupervisedMultitask
from biot_bd.signals import Montage
from biot_bd.windows import Annotated

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS = {"lab": ("C3", "Cz", "C4"), "ward": ("Fz", "Cz")}
TASKS = {"lab": ("left", "right", "feet"), "ward": ("rest", "word")}


def prepared(folder, space):
    """Prepare two subjects of a corpus with tasks of its own, 36 s each, 2 s a window."""
    rng, parts = np.random.default_rng(len(space)), []
    for subject in ("1", "2", "3"):
        names, tasks = CHANNELS[space], TASKS[space]
        raw = mne.io.RawArray(rng.normal(0, 2e-5, (len(names), 7200)), mne.create_info(list(names), 200.0, "eeg"))
        marks = [(12.0 * k / len(tasks) * 3, 36.0 / len(tasks), task) for k, task in enumerate(tasks)]
        raw.set_annotations(mne.Annotations(*zip(*marks, strict=True)))
        parts.append(RawDataset(raw, {"recording": f"{space}{subject}", "subject": f"{space}/{subject}"}))
    montage = Montage(space, CHANNELS[space], "referential")
    rule = Annotated(classes=TASKS[space])
    return prepare(BaseConcatDataset(parts), folder, montage=montage, labels=rule, window_s=2, stride_s=2)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    return Windows.mix([prepared(root / space, space) for space in CHANNELS])


class SeenBatches(Callback):
    """Note which corpus the windows of each training batch are of, by the channels that are there."""

    def __init__(self):
        self.seen = []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            present = ~torch.isnan(batch[0][:, :, 0])
            self.seen.append({tuple(row) for row in present.tolist()})


LAB, WARD = (True, True, True, False), (False, True, False, True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(1, 400))
def test_batches_are_divided_by_the_weights_to_the_nearest_whole_one(weights, total):
    counts = divided(total, weights)
    assert sum(counts) == max(total, len(weights))
    exact = np.array(weights) / sum(weights) * sum(counts)
    assert min(counts) >= 1
    if exact.min() >= 1:
        assert np.abs(counts - exact).max() < 1
    # Nobody could swap one batch and come nearer to the weights.
    error = np.square(counts - exact)
    for a in range(len(counts)):
        for b in range(len(counts)):
            if a != b and counts[a] > 1:
                moved = np.square(counts[a] - 1 - exact[a]) + np.square(counts[b] + 1 - exact[b])
                assert moved >= error[a] + error[b] - 1e-6


def test_a_corpus_with_more_than_its_share_gives_another_part_each_epoch():
    torch.manual_seed(0)
    batches = CorpusBatches(["big"] * 40 + ["small"] * 8, 4, shares={"big": 1, "small": 3})
    seen = Counter()
    for _ in range(20):
        epoch = list(batches)
        kinds = Counter(batch[0] >= 40 for batch in epoch)
        assert kinds == {False: 3, True: 9}
        assert all(len({row >= 40 for row in batch}) == 1 for batch in epoch)
        seen.update(row for batch in epoch for row in batch)
    assert len(seen) == 48  # no window is left out for good
    # Every window of a corpus is as likely as another: chi-square within 5 sigma of its mean.
    big = np.array([seen[row] for row in range(40)])
    assert np.square(big - big.mean()).sum() / big.mean() < 39 + 5 * np.sqrt(2 * 39)
    assert all(80 <= seen[row] <= 100 for row in range(40, 48))  # 9 batches of 4 over 8 windows: 4 or 5 times an epoch


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"lab": 1}, "weights are for the corpora lab, and the training windows are of lab, ward"),
        ({"lab": 1, "ward": 1, "other": 1}, "for the corpora lab, other, ward"),
        ({"lab": 1, "ward": 0}, "finite numbers > 0"),
        ({"lab": 1, "ward": float("nan")}, "finite numbers > 0"),
        ({}, "finite numbers > 0"),
        ("by-corpus", "sampler must be None, 'page-shuffle', 'corpora' or weights by corpus"),
    ],
)
def test_weights_that_make_no_sense_are_refused(mixed, weights, told):
    with pytest.raises(ValueError, match=told):
        small_net(sampler=weights).fit(mixed)


def test_a_sampler_of_corpora_needs_subjects(mixed):
    x = np.nan_to_num(mixed.read(range(16)))
    with pytest.raises(ValueError, match="needs subjects with their name space"):
        small_net(sampler="corpora", train_split=None).fit(x)


def test_each_batch_is_of_one_corpus_and_there_are_as_many_as_asked(mixed):
    noted = SeenBatches()
    small_net(sampler={"lab": 1, "ward": 4}, callbacks=[noted], max_epochs=1, train_split=None).fit(mixed)
    assert all(len(batch) == 1 for batch in noted.seen)
    counts = Counter(next(iter(batch)) for batch in noted.seen)
    assert counts == {LAB: 2, WARD: 10}  # 54 + 54 windows, 8 a batch: 6 + 6 batches, by 1 to 4
    plain = SeenBatches()
    small_net(callbacks=[plain], max_epochs=1, train_split=None).fit(mixed)
    assert any(len(batch) == 2 for batch in plain.seen)  # without it they are shuffled together


SIZES = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "n_times": 400, "n_outputs": 2}


def own_model(union, places):
    """Return a model of some channels of another one, with its weights and their channel tokens."""
    own = BIOT(n_chans=len(places), **SIZES).eval()
    tokens = "encoder.channel_tokens.weight"
    state = {key: value for key, value in union.state_dict().items() if key in own.state_dict() and key != tokens}
    own.load_state_dict(state, strict=False)
    with torch.no_grad():
        taken = union.encoder.channel_tokens.weight[torch.as_tensor(list(union.channel_ids))[places]]
        own.encoder.channel_tokens.weight[torch.as_tensor(list(own.channel_ids))] = taken
    return own


def windows_of(mixed, space, n):
    """Return windows of a corpus, about 1 large, and their labels."""
    some = mixed[np.array([str(subject).startswith(space) for subject in mixed.groups])]
    return torch.from_numpy(some.read(range(n)) / 20), some.y[:n]


@pytest.mark.parametrize(("space", "places"), [("lab", [0, 1, 2]), ("ward", [3, 1])])
def test_embeddings_losses_and_gradients_are_those_of_the_own_montage(mixed, space, places):
    """Absent channels change nothing: neither what a window means nor what is learnt from it."""
    torch.manual_seed(0)
    union = BIOT(n_chans=4, **SIZES).eval()
    own, number = own_model(union, places), list(TASKS).index(space)
    objective = SupervisedMultitask(token_stages(union).sizes, ("lab", "ward"), (3, 2)).eval()
    x, y = windows_of(mixed, space, 18)
    targets = torch.from_numpy(np.column_stack([np.full(18, number), y]))
    with torch.no_grad():
        whole, alone = token_stages(union).embeddings(x), token_stages(own).embeddings(x[:, places])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)
    told = [
        objective(token_stages(model), part, BatchRandom(0, n=18), targets)
        for model, part in ((union, x), (own, x[:, places]))
    ]
    assert float(told[0]["loss"].detach()) > 0.1
    torch.testing.assert_close(told[0]["loss"], told[1]["loss"], rtol=1e-5, atol=1e-6)
    for found in told:
        found["loss"].backward()
    wanted = dict(own.named_parameters())
    for name, parameter in union.named_parameters():
        if parameter.grad is not None and "channel_tokens" not in name:
            torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-3, atol=1e-5)
    learnt = union.encoder.channel_tokens.weight.grad[torch.as_tensor(list(union.channel_ids))].abs().sum(1)
    assert [float(size) > 0 for size in learnt] == [place in places for place in range(4)]


class Killed(Exception):
    pass


class KillOnce(Callback):
    """Stop in the middle of the third epoch while a file is there."""

    def __init__(self, switch):
        self.switch = switch

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == 3 and self.switch.exists():
            raise Killed


def test_a_killed_fit_goes_on_bit_for_bit(mixed, tmp_path):
    switch = tmp_path / "kill"
    common = {"sampler": {"lab": 1, "ward": 2}, "max_epochs": 4, "module__drop_prob": 0.2}
    whole = small_net(**common).fit(mixed)
    switch.touch()
    with pytest.raises(Killed):
        small_net(**common, restart_dir=tmp_path / "r", callbacks=[KillOnce(switch)]).fit(mixed)
    switch.unlink()
    torch.manual_seed(99)
    again = small_net(**common, restart_dir=tmp_path / "r", callbacks=[KillOnce(switch)]).fit(mixed)
    assert rows(whole) == rows(again)
    assert same_weights(whole, again)


@pytest.mark.parametrize("sampler", [None, {"lab": 1, "ward": 1}])
def test_two_corpora_of_other_montages_train_one_head_each(mixed, sampler):
    noted = SeenBatches()
    net = small_net("supervised-multitask", sampler=sampler, callbacks=[noted], max_epochs=1).fit(mixed)
    assert net.corpora_.names == ("lab", "ward")
    assert net.corpora_.n_classes == (3, 2)
    assert all(len(batch) == 1 for batch in noted.seen)
    assert {"train_accuracy_lab", "train_accuracy_ward"} <= set(net.history[-1])


def test_masked_objectives_learn_from_the_mixture(mixed):
    net = small_net("masked-spectrum", sampler={"lab": 1, "ward": 1}, max_epochs=3).fit(mixed)
    assert net.history[-1]["train_loss"] < net.history[0]["train_loss"]
    assert net.transform(mixed).shape == (len(mixed), 16)
    assert net.input_info_.ch_names == ("C3", "Cz", "C4", "Fz")


@pytest.mark.parametrize("objective", ["masked-spectrum", "biot-contrastive"])
@pytest.mark.parametrize("model", ["biot", "multi-scale-biot"])
def test_tokens_that_no_window_has_are_left_out_without_a_difference(mixed, objective, model, monkeypatch):
    """With and without them losses and gradients agree; without, the layers see fewer tokens."""
    torch.manual_seed(0)
    net = small_net(objective).set_params(module=model, train_split=None, max_epochs=1).fit(mixed)
    module = net.module_.eval()
    x, _ = windows_of(mixed, "ward", 8)
    n_tokens = []

    def step():
        module.zero_grad()
        told = module(x, BatchRandom(0, n=8))
        told["loss"].backward()
        return told["loss"].detach(), [p.grad.clone() for p in module.parameters() if p.grad is not None]

    kind = type(module.stages())
    monkeypatch.setattr(kind, "encode", _counting(kind.encode, n_tokens))
    monkeypatch.setattr(kind, "read_out", _counting(kind.read_out, n_tokens))
    few, own = step()
    fewer, n_tokens[:] = sum(n_tokens), []
    monkeypatch.setattr(
        "biot_bd.pretraining.present_tokens._there", lambda placed, mask, places: (placed, mask, places)
    )
    whole, all_ = step()
    torch.testing.assert_close(few, whole, rtol=1e-5, atol=1e-6)
    for a, b in zip(own, all_, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    assert fewer < 0.7 * sum(n_tokens)  # 2 of 4 channels


def _counting(call, n_tokens):
    def counted(self, tokens, *args):
        n_tokens.append(tokens.shape[1])
        return call(self, tokens, *args)

    return counted
