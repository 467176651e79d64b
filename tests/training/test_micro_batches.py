"""Micro-batches give the gradient, the loss and the weights of the whole batch."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.callbacks import Callback
from torch import nn
from training_data import make_data, small

from biot_bd import BIOT, registry
from biot_bd.losses import CrossEntropyLoss, FocalLoss
from biot_bd.training import BIOTClassifier
from biot_bd.training.finetuning.recipes import EMA, Mixup
from biot_bd.training.micro_batches import decomposes, gradients_by_logits, gradients_by_window, why_whole


class Brier(nn.Module):
    """A mean over windows that does not say that it is one."""

    def forward(self, input, target):
        return ((input.softmax(1) - nn.functional.one_hot(target, input.shape[1])) ** 2).sum(1).mean()


class Ranking(nn.Module):
    """A loss over pairs of windows, with a parameter of its own that is learnt."""

    def __init__(self):
        super().__init__()
        self.margin = nn.Parameter(torch.tensor(0.3))

    def forward(self, input, target):
        score = input[:, 1] - input[:, 0]
        gap = score[target == 1][:, None] - score[target == 0][None]
        return nn.functional.softplus(self.margin - gap).mean()


class Squared(FocalLoss):
    """Inherits what FocalLoss says of itself, and breaks it."""

    def forward(self, input, target):
        return super().forward(input, target) ** 2


class Network(nn.Module):
    def __init__(self, dropout=0.0):
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Dropout(dropout), nn.LayerNorm(8), nn.Linear(8, 3)
        )

    def forward(self, x):
        return self.net(x)


LOSSES = {
    "focal": FocalLoss(2.0),
    "focal, weighted": FocalLoss(0.5, alpha=[0.2, 0.5, 1.0], weight=[1, 3, 0.5]),
    "focal, sum": FocalLoss(reduction="sum"),
    "cross-entropy": CrossEntropyLoss(),
    "cross-entropy, weighted": CrossEntropyLoss(weight=[1, 5, 0.2]),
    "cross-entropy, smooth": CrossEntropyLoss(weight=[1, 5, 0.2], label_smoothing=0.2),
    "cross-entropy, prior": CrossEntropyLoss(prior_correction=[7, 2, 1], tau=0.8),
    "cross-entropy, sum": CrossEntropyLoss(weight=[1, 5, 0.2], reduction="sum"),
}


def gradients(model, loss):
    return [p.grad.clone() for part in (model, loss) for p in part.parameters()]


def whole(model, loss, x, terms):
    model.zero_grad()
    loss.zero_grad()
    logits = model(x)
    value = sum(share * loss(logits, y) for share, y in terms)
    value.backward()
    return value.detach(), logits.detach(), gradients(model, loss)


def compare(found, model, loss, expected):
    value, logits, gradient = expected
    torch.testing.assert_close(found[0], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], logits, rtol=1e-5, atol=1e-6)
    for a, b in zip(gradients(model, loss), gradient, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert not found[0].requires_grad
    assert not found[1].requires_grad


def draw(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, 3, generator=generator)
    y, other = (torch.randint(0, 3, (n,), generator=generator) for _ in range(2))
    torch.manual_seed(seed)
    return Network(), x, y, other


@given(
    n=st.integers(1, 20),
    size=st.integers(1, 22),
    seed=st.integers(0, 99),
    name=st.sampled_from(sorted(LOSSES)),
    share=st.sampled_from([1.0, 0.3]),
)
@settings(max_examples=80, deadline=None)
def test_by_window(n, size, seed, name, share):
    model, x, y, other = draw(n, seed)
    loss = copy.deepcopy(LOSSES[name])
    assert decomposes(loss)
    terms = [(share, y), (1 - share, other)]
    expected = whole(model, loss, x, terms)
    model.zero_grad()
    compare(gradients_by_window(model, x, terms, loss, size, nullcontext), model, loss, expected)


@given(
    n=st.integers(2, 20),
    size=st.integers(1, 22),
    seed=st.integers(0, 99),
    name=st.sampled_from(["Brier", "Ranking", "Squared", *sorted(LOSSES)]),
)
@settings(max_examples=80, deadline=None)
def test_by_logits(n, size, seed, name):
    model, x, y, _ = draw(n, seed)
    y[:2] = torch.tensor([0, 1])
    others = {"Brier": Brier, "Ranking": Ranking, "Squared": Squared}
    loss = others[name]() if name in others else copy.deepcopy(LOSSES[name])
    expected = whole(model, loss, x, [(1.0, y)])
    model.zero_grad()
    loss.zero_grad()
    found = gradients_by_logits(model, x, lambda logits: loss(logits, y), size, nullcontext)
    compare(found, model, loss, expected)


def test_what_counts_as_decomposing():
    assert not decomposes(Brier())
    assert not decomposes(nn.CrossEntropyLoss())
    assert not decomposes(Squared())
    assert not decomposes(FocalLoss(reduction="none"))
    for name, loss in registry.losses.items():
        assert decomposes(loss()) == (name != "focal-tversky")


def test_both_passes_draw_the_same_masks():
    model, x, y, _ = draw(12, 3)
    model.net[3].p = 0.5
    torch.manual_seed(7)
    logits = torch.cat([model(part) for part in x.split(5)])
    Brier()(logits, y).backward()
    expected, after = gradients(model, Brier()), torch.rand(3)
    model.zero_grad()
    torch.manual_seed(7)
    _, found = gradients_by_logits(model, x, lambda z: Brier()(z, y), 5, nullcontext)
    assert torch.equal(found, logits)
    torch.testing.assert_close(gradients(model, Brier()), expected)
    assert torch.equal(torch.rand(3), after)  # the generator is where one pass leaves it


def test_a_module_that_never_repeats_itself_raises():
    class Restless(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.calls = Network(), 0

        def forward(self, x):
            self.calls += 1
            return self.net(x) * self.calls

    _, x, y, _ = draw(12, 3)
    with pytest.raises(RuntimeError, match="set micro_batch=None"):
        gradients_by_logits(Restless(), x, lambda z: Brier()(z, y), 5, nullcontext)


def test_weights_are_cast_once_for_all_micro_batches():
    model, x, y, _ = draw(16, 0)
    casts = []
    for step in (gradients_by_window, None):
        with torch.profiler.profile() as profile:
            if step is None:
                for rows in range(0, 16, 4):
                    with torch.autocast("cpu", dtype=torch.bfloat16):
                        z = model(x[rows : rows + 4])
                    FocalLoss()(z, y[rows : rows + 4]).backward()
            else:
                step(model, x, [(1.0, y)], FocalLoss(), 4, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
        casts.append(sum(event.count for event in profile.key_averages() if event.key == "aten::_to_copy"))
    assert casts[0] <= casts[1] - 3 * 4  # 4 tensors (two maps) in each of 3 further micro-batches


# --- what must stay whole ---------------------------------------------------------------------------------


class Centred(nn.Module):
    def __init__(self, n_chans, n_times, n_outputs):
        super().__init__()
        self.out = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, n_outputs))

    def forward(self, x):
        return self.out(x.abs() - x.abs().mean(0))


class Apart(Centred):
    def forward(self, x):
        return self.out(x.abs())


def test_which_modules_may_be_split(data):
    x = torch.from_numpy(data[0][:6])
    shape = {"n_chans": 4, "n_times": 300, "n_outputs": 2}
    tiny = BIOT(embed_dim=16, num_heads=2, num_layers=1, **shape)
    assert why_whole(tiny, x) is None
    assert why_whole(Apart(**shape), x) is None
    assert "differ by" in why_whole(Centred(**shape), x)
    norm = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1200), nn.Linear(1200, 2))
    before = copy.deepcopy(norm.state_dict())
    assert why_whole(norm.eval(), x) == "'1' normalises over the batch"
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
    assert not norm.training


@pytest.mark.parametrize("module", ["eegnet", Centred])
def test_they_stay_whole_with_a_note(module):
    x, y, groups = make_data(n_times=400)
    settings = {"module": module, "max_epochs": 2, "batch_size": 16, "random_state": 0, "device": "cpu", "lr": 1e-3}
    split = BIOTClassifier(micro_batch=4, **settings).fit(x, y, groups=groups)
    assert "batches stay whole" in split.precision_report_["notes"][0]
    assert split.precision_report_["training_plan"]["micro_batch"] is None
    plain = BIOTClassifier(micro_batch=None, **settings).fit(x, y, groups=groups)
    assert all(torch.equal(v, plain.module_.state_dict()[k]) for k, v in split.module_.state_dict().items())


# --- through the classifier -------------------------------------------------------------------------------


class Pieces(Callback):
    """Note the sizes of the batches that the module is given while training."""

    def on_train_begin(self, net, **kwargs):
        self.sizes_ = set()

        def look(module, args):
            if torch.is_grad_enabled():
                self.sizes_.add(len(args[0]))

        self.hook_ = net.module_.register_forward_pre_hook(look)

    def on_train_end(self, net, **kwargs):
        self.hook_.remove()


def both(data, **kwargs):
    x, y, groups = data
    nets = []
    for size in (None, 5):
        pieces = Pieces()
        settings = {
            "module__drop_prob": 0.0,
            "module__att_layer_drop_prob": 0.0,
            "optimizer": torch.optim.SGD,
            "lr": 2e-3,
        }
        net = small(micro_batch=size, callbacks=[("pieces", pieces)], **{**settings, **kwargs})
        nets.append(net.fit(x, y, groups=groups))
        assert max(dict(net.callbacks_)["pieces"].sizes_) == (16 if size is None else 5)
    return nets


@pytest.mark.parametrize(
    "settings",
    [
        *({"criterion": name} for name in registry.losses),
        {"criterion": Brier},
        {"criterion": Ranking},
        {"criterion": Squared},
        {"class_weight": "balanced"},
        {"criterion": "cross-entropy", "class_weight": {0: 1, 1: 7}},
        {"criterion": "cross-entropy", "finetune": ["label-smoothing"]},
        {"criterion": "cross-entropy", "criterion__prior_correction": True},
        {"finetune": [Mixup(1.0)], "class_weight": "balanced", "criterion": "cross-entropy"},
        {"finetune": [Mixup(1.0)], "criterion": Brier},
        {"gradient_clip_norm": 1e-2},
        {"finetune": [EMA(0.9)]},
        {"finetune": "lora"},
        {"finetune": "linear-probe"},
        {"finetune": "gradual", "module__num_layers": 2},
        {"sampler": "class-balanced"},
        {"augment": "light", "module__sfreq": 100},
        {"optimizer": torch.optim.LBFGS, "lr": 1e-3, "max_epochs": 1, "optimizer__max_iter": 2},
        {"module": Apart, "lr": 1e-4},
    ],
    ids=str,
)
def test_fits_are_the_same(data, settings):
    if settings.get("module") is Apart:
        x, y, groups = data
        nets = [
            BIOTClassifier(
                Apart,
                micro_batch=m,
                optimizer=torch.optim.SGD,
                max_epochs=3,
                batch_size=16,
                random_state=0,
                lr=1e-4,
            ).fit(x, y, groups=groups)
            for m in (None, 5)
        ]
    else:
        nets = both(data, **settings)
    one, other = nets
    assert other.precision_report_["training_plan"] == {"precision": "fp32", "micro_batch": 5}
    for name in ("train_loss", "valid_loss", "gradient_norm", "train_roc_auc"):
        np.testing.assert_allclose(one.history[:, name], other.history[:, name], rtol=2e-4, atol=1e-6, err_msg=name)
    state = other.module_.state_dict()
    for name, value in one.module_.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_absent_channels_in_some_micro_batches_only(data):
    x, y, groups = data
    x = x.copy()
    x[::7, 2] = np.nan
    one, other = both((x, y, groups))
    np.testing.assert_allclose(one.predict_proba(x), other.predict_proba(x), atol=1e-4)


def test_fp16_with_its_scaler(data):
    x, y, _ = data
    found = []
    for precision, size in (("fp32", None), ("fp16", None), ("fp16", 5)):
        net = small(precision=precision, micro_batch=size, max_epochs=0, train_split=None, module__drop_prob=0.0)
        net.set_params(module__att_layer_drop_prob=0.0).fit(x, y)
        if precision == "fp16":  # the first scales overflow, and then the step is left out
            net.scaler_ = torch.amp.GradScaler("cpu", init_scale=2.0**6)
        net.optimizer_ = torch.optim.SGD(net.module_.parameters(), lr=0.0)
        net.history.new_epoch()
        net.train_step((torch.from_numpy(x[:16]), torch.from_numpy(y[:16])))
        found.append(torch.cat([p.grad.ravel() for p in net.module_.parameters()]))
    exact, whole, split = found
    assert (whole - exact).norm() < 0.03 * exact.norm()
    assert (split - exact).norm() < 0.03 * exact.norm()


def test_bf16_gradient_in_micro_batches_is_close_to_fp32(data):
    one, _ = both(data, max_epochs=1)
    _, low = both(data, max_epochs=1, precision="bf16")
    assert one.history[0, "gradient_norm"] == pytest.approx(low.history[0, "gradient_norm"], rel=0.05)
    assert one.history[0, "gradient_norm"] != low.history[0, "gradient_norm"]


def test_loss_that_explodes_raises(data):
    x, y, groups = data
    with pytest.raises(FloatingPointError, match=r"epoch \d+; lower lr"):
        small(optimizer=torch.optim.SGD, lr=1e38, criterion="cross-entropy", micro_batch=3).fit(x, y, groups=groups)
