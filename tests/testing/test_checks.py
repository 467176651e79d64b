"""The conformance checks accept what is right and say what is wrong with losses, models, probes and others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

import biot_bd.testing
from biot_bd import BIOT, registry
from biot_bd.exceptions import ConformanceError
from biot_bd.pretraining import Objective, Reconstruction
from biot_bd.probes import Probe, TokenLayout, TokenMap
from biot_bd.testing import (
    CHECKS,
    check_callback,
    check_exporter,
    check_loss,
    check_model,
    check_objective,
    check_probe,
)

OURS = {
    "models": ["biot", "eegnet"],
    "losses": ["focal", "cross-entropy", "focal-tversky"],
    "metrics": ["average_precision", "roc_auc", "balanced_accuracy", "sensitivity", "specificity"],
    "montages": ["biot-16", "biot-18", "double-banana-18", "szcore-19"],
    "label_rules": ["overlap", "biot-official"],
    "readers": ["bdf", "nihon-kohden", "ant", "bci2000"],
}


def test_every_hook_has_a_check():
    assert set(CHECKS) == set(registry.registries)
    for name in CHECKS.values():
        assert callable(getattr(biot_bd.testing, name))
    assert set(CHECKS.values()) | {"CHECKS", "ConformanceError", "check_transformer"} == set(biot_bd.testing.__all__)


def test_the_error_is_an_assertion_so_test_runners_show_it_as_a_failure():
    assert issubclass(ConformanceError, AssertionError)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in OURS.items() for name in names])
def test_what_the_package_brings_keeps_its_own_contracts(kind, name):
    check = getattr(biot_bd.testing, CHECKS[kind])
    check(registry.registries[kind][name])


@pytest.fixture(scope="module")
def small_biot():
    torch.manual_seed(0)
    return BIOT(n_outputs=2, n_chans=3, n_times=500, sfreq=200, embed_dim=16, num_heads=2, num_layers=2).eval()


@pytest.mark.parametrize("name", [name for name in registry.probes if name != "deeplift"])
def test_every_probe_keeps_the_contract(name, small_biot):
    check_probe(registry.probes[name], model=small_biot, n_chans=3, n_times=500)


def test_the_tensorboard_callback_keeps_the_contract(tmp_path):
    check_callback(registry.callbacks["tensorboard"], {"log_dir": str(tmp_path)})


def fails(message, check, *args, **kwargs):
    with pytest.raises(ConformanceError, match=message):
        check(*args, **kwargs)


# Losses ------------------------------------------------------------------------------------------------------------


class GoodLoss(nn.Module):
    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = weight

    def forward(self, logits, targets):
        return self.weight * nn.functional.cross_entropy(logits, targets)


class Unreduced(GoodLoss):
    def forward(self, logits, targets):
        return nn.functional.cross_entropy(logits, targets, reduction="none")


class Overflowing(GoodLoss):
    def forward(self, logits, targets):
        return -(logits.exp() / logits.exp().sum(1, keepdim=True)).log().gather(1, targets[:, None]).mean()


class Upwards(GoodLoss):
    def forward(self, logits, targets):
        return -nn.functional.cross_entropy(logits, targets)


class Detached(GoodLoss):
    def forward(self, logits, targets):
        return nn.functional.cross_entropy(logits, targets).detach()


class InPlace(GoodLoss):
    def forward(self, logits, targets):
        with torch.no_grad():
            logits += 1
        return nn.functional.cross_entropy(logits, targets)


class ByPosition(GoodLoss):
    def forward(self, logits, targets):
        weight = torch.arange(1.0, len(logits) + 1)
        return (weight * nn.functional.cross_entropy(logits, targets, reduction="none")).mean()


class NeedsBothClasses(GoodLoss):
    def forward(self, logits, targets):
        each = nn.functional.cross_entropy(logits, targets, reduction="none")
        return each[targets == 0].mean() + each[targets != 0].mean()


class TwoClassesOnly(GoodLoss):
    def forward(self, logits, targets):
        z = logits[:, 1] - logits[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(z, targets.float())


class Swallowing(GoodLoss):
    def __init__(self, **kwargs):
        super().__init__()


class Unpicklable(GoodLoss):
    def __init__(self):
        super().__init__()
        self.function = lambda x: x


class Constant(GoodLoss):
    def forward(self, logits, targets):
        return (logits * 0).sum() + 1


def test_a_good_loss_passes_with_and_without_parameters():
    check_loss(GoodLoss)
    check_loss(GoodLoss, {"weight": 2.0})
    check_loss(TwoClassesOnly, n_classes=(2,))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Unreduced, r"expected one number \(shape \(\)\), got shape \(12,\)"),
        (Overflowing, "logits of 10000 at the target: the loss is nan"),
        (Upwards, "right must cost less"),
        (Detached, "the loss has no gradient"),
        (InPlace, "changed in place"),
        (ByPosition, "the order of the batch matters"),
        (NeedsBothClasses, "a batch of class 0 only: the loss is nan"),
        (TwoClassesOnly, "3 classes, a batch of class 2 only: a higher score of that class does not lower the loss"),
        (Swallowing, "name every parameter"),
        (Unpicklable, "pickling"),
        (Constant, "right must cost less"),
        (GoodLoss(), "expected a subclass of torch.nn.Module"),
        (nn.NLLLoss, "skorch is not finite"),
        (dict, "expected a subclass of torch.nn.Module"),
    ],
)
def test_a_wrong_loss_is_found(loss, message):
    fails(message, check_loss, loss)


def test_wrong_test_parameters_are_found():
    fails(r"the constructor has no parameter \['gama'\]; it has \['weight'\]", check_loss, GoodLoss, {"gama": 1})


# Models ------------------------------------------------------------------------------------------------------------


class GoodModel(nn.Module):
    def __init__(self, n_outputs=2, n_chans=16, n_times=2000):
        super().__init__()
        self.head = nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        return self.head(x.std(dim=-1))


class Softmax(GoodModel):
    def forward(self, x):
        return super().forward(x).softmax(dim=1)


class OneLogit(GoodModel):
    def forward(self, x):
        return super().forward(x)[:, :1]


class Restless(GoodModel):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), training=True)


class Sharing(GoodModel):
    def forward(self, x):
        return self.head((x - x.mean(dim=0)).std(dim=-1))


class Nameless(GoodModel):
    def __init__(self, n_outputs, **kwargs):
        super().__init__()


class Unsaved(GoodModel):
    def __init__(self, n_outputs=2, n_chans=16, n_times=2000):
        super().__init__(n_outputs, n_chans, n_times)
        self.weight = torch.rand(n_chans)

    def forward(self, x):
        return self.head(x.std(dim=-1) * self.weight)


class FillsZeros(GoodModel):
    accepts_absent_channels = True

    def forward(self, x):
        return super().forward(x.nan_to_num(0.0))


class LeavesOut(GoodModel):
    accepts_absent_channels = True

    def forward(self, x):
        spread = x.std(dim=-1)
        there = ~spread.isnan()
        return self.head(spread.nan_to_num(0.0) / there.float().mean(dim=1, keepdim=True))


class PassesNaN(GoodModel):
    accepts_absent_channels = True


def test_a_good_model_passes():
    check_model(GoodModel)
    check_model(GoodModel, n_chans=3, n_times=100, n_outputs=4)
    check_model(LeavesOut)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Softmax, "drop the softmax"),
        (OneLogit, r"expected logits of shape \(4, 2\), got \(4, 1\)"),
        (Restless, "two passes in eval mode differ"),
        (Sharing, "depend on the batch"),
        (Nameless, r"does not name \['n_chans', 'n_times'\]"),
        (Unsaved, "state_dict does not hold"),
        (FillsZeros, "treated like one of zeros"),
        (PassesNaN, "an all-NaN channel gives NaN"),
    ],
)
def test_a_wrong_model_is_found(model, message):
    fails(message, check_model, model)


# Probes ------------------------------------------------------------------------------------------------------------


class GoodProbe(Probe):
    def __call__(self, model, x, target=None):
        return self.answer(model, x, x.abs().mean(dim=-1, keepdim=True))

    def answer(self, model, x, values, **more):
        return TokenMap(np.asarray(values), self.layout_by_channel(model, x), probe="good", **more)


class LeavesTraining(GoodProbe):
    def __call__(self, model, x, target=None):
        model.train()
        return super().__call__(model, x, target)


class LeavesHooks(GoodProbe):
    def __call__(self, model, x, target=None):
        model.head.register_forward_hook(lambda *_: None)
        return super().__call__(model, x, target)


class LeavesGradients(GoodProbe):
    def __call__(self, model, x, target=None):
        model(x).sum().backward()
        return super().__call__(model, x, target)


class ChangesWeights(GoodProbe):
    def __call__(self, model, x, target=None):
        with torch.no_grad():
            model.head.weight *= 2
        return super().__call__(model, x, target)


class ChangesInput(GoodProbe):
    def __call__(self, model, x, target=None):
        x += 1
        return super().__call__(model, x, target)


class Unseeded(GoodProbe):
    def __call__(self, model, x, target=None):
        return self.answer(model, x, np.random.default_rng().random((*x.shape[:2], 1)))


class FewerWindows(GoodProbe):
    def __call__(self, model, x, target=None):
        return super().__call__(model, x[:-1], target)


class OtherChannels(GoodProbe):
    def __call__(self, model, x, target=None):
        return super().__call__(model, x[:, :4], target)


class TooLong(GoodProbe):
    def __call__(self, model, x, target=None):
        layout = TokenLayout(tuple("abcdef"), [0.0], [2.5])
        return TokenMap(np.zeros((len(x), 6, 1)), layout, probe="too-long")


class NotFinite(GoodProbe):
    def __call__(self, model, x, target=None):
        return self.answer(model, x, np.full((*x.shape[:2], 1), np.nan))


class PlainArray(GoodProbe):
    def __call__(self, model, x, target=None):
        return x.numpy()


class FirstTargetOnly(GoodProbe):
    def __call__(self, model, x, target=None):
        chosen = 0 if target is None else int(torch.as_tensor(target).flatten()[0])
        return self.answer(model, x, np.full((*x.shape[:2], 1), float(chosen)))


class SaysAnotherTarget(GoodProbe):
    def __call__(self, model, x, target=None):
        return self.answer(model, x, x.abs().mean(dim=-1, keepdim=True), target=(0,) * len(x))


class ByTheBatch(GoodProbe):
    """As integrated gradients are whose baseline is the mean of the windows given."""

    def __call__(self, model, x, target=None):
        return self.answer(model, x, (x - x.mean(dim=0)).abs().mean(dim=-1, keepdim=True))


class ZeroWhereAbsent(GoodProbe):
    def __call__(self, model, x, target=None):
        return super().__call__(model, x.nan_to_num(0.0), target)


class SpreadsNaN(GoodProbe):
    def __call__(self, model, x, target=None):
        values = x.abs().mean(dim=-1, keepdim=True)
        return self.answer(model, x, values / values.sum(dim=1, keepdim=True))


class NumberAsTitle(GoodProbe):
    title = 3


class NeedsMagic(GoodProbe):
    needs = frozenset({"magic"})


class Pooled(nn.Module):
    """A model at 200 Hz that leaves absent channels out."""

    accepts_absent_channels = True
    sfreq = 200.0

    def forward(self, x):
        z = x.nanmean(dim=(1, 2))
        return torch.stack([z, -z], dim=1)


def test_a_good_probe_passes():
    check_probe(GoodProbe)
    check_probe(GoodProbe, model=Pooled())


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (LeavesTraining, r"outputs changed|training modes"),
        (LeavesHooks, r"other hooks than it found in \['head'\]"),
        (LeavesGradients, "other gradients than it found"),
        (ChangesWeights, r"outputs changed"),
        (ChangesInput, "changed its input"),
        (Unseeded, "two calls with one seed differ"),
        (FewerWindows, "2 windows in the map, but x has 3"),
        (OtherChannels, "its layout has 4 channels, but x has 6"),
        (NotFinite, "not all finite"),
        (PlainArray, "expected biot_bd.probes.TokenMap, got ndarray"),
        (FirstTargetOnly, r"window 1 with target=\[0, 1, 0\]"),
        (SaysAnotherTarget, r"its map says \(0, 0, 0\)"),
        (ByTheBatch, "the first window alone is explained otherwise"),
        (NumberAsTitle, "title must be words, got 3"),
        (NeedsMagic, "needs must be a set out of"),
        (GoodProbe(), "expected a class to register"),
    ],
)
def test_a_wrong_probe_is_found(probe, message):
    fails(message, check_probe, probe)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (TooLong, "frames from 0 to 2.5 s, but a window lasts 2 s"),
        (ZeroWhereAbsent, r"channel 1 of window 1 is absent.*NaN were \[\]"),
        (SpreadsNaN, r"NaN were \[\(1, 0\), \(1, 1\)"),
    ],
)
def test_wrong_seconds_and_absent_channels_are_found(probe, message):
    fails(message, check_probe, probe, model=Pooled())


# Callbacks, objectives, exporters ------------------------------------------------------------------------------------


class Greedy(Callback):
    def __init__(self, seen=0):
        self.seen = seen

    def on_epoch_end(self, net, **kwargs):
        self.seen += 1


class HoldsAFile(Callback):
    def on_train_begin(self, net, **kwargs):
        self.file_ = open(__file__)  # noqa: SIM115

    def on_train_end(self, net, **kwargs):
        pass


class Stops(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise ValueError("no")


def test_callbacks():
    check_callback(EarlyStopping)
    check_callback(EarlyStopping, {"patience": 1, "monitor": "valid_loss"})
    fails(r"training changed the parameters \['seen'\]", check_callback, Greedy)
    fails("in a trained net: pickling", check_callback, HoldsAFile)
    fails("training with it raised ValueError: no", check_callback, Stops)
    fails("expected a subclass of skorch.callbacks.Callback", check_callback, EarlyStopping())


class Level(Objective):
    """Predict the mean level of a window's tokens from its embedding."""

    kinds = frozenset({"spectrum"})

    def __init__(self, sizes, scale=1.0):
        super().__init__(sizes)
        self.scale = scale
        self.head = nn.Linear(sizes.embed_dim, 1)

    def forward(self, tokens, x, rng):
        level = self.level(tokens, x)
        return {"loss": self.errors(tokens, x, level, rng).mean(), "level": level.mean().detach()}

    def level(self, tokens, x):
        x, present = tokens.present(x)
        there = torch.ones(x.shape[:2], dtype=torch.bool) if present is None else present
        levels = tokens.patches(x).log1p().mean((2, 3))
        return (levels * there).sum(1) / there.sum(1)

    def errors(self, tokens, x, level, rng):
        return self.scale * (self.head(tokens.embeddings(x))[:, 0] - level).square()


class ByMoments(Level):
    def errors(self, tokens, x, level, rng):
        return super().errors(tokens, x, level, rng) / level.std()


class OwnDice(Level):
    def errors(self, tokens, x, level, rng):
        return super().errors(tokens, x, level + torch.rand(len(x)), rng)


class Attached(Level):
    def forward(self, tokens, x, rng):
        loss = super().forward(tokens, x, rng)["loss"]
        return {"loss": loss, "twice": 2 * loss}


class Idle(Level):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.idle = nn.Parameter(torch.zeros(1))


class HeadOnly(Level):
    def errors(self, tokens, x, level, rng):
        return (self.head(tokens.embeddings(x).detach())[:, 0] - level).square()


class Overwrites(Level):
    def level(self, tokens, x):
        return super().level(tokens, x.mul_(1.0001))


class Blinded(Level):
    """Not told of absent channels, whose samples are no numbers."""

    def level(self, tokens, x):
        return tokens.patches(x).log1p().mean((1, 2, 3))


class Peeks(Level):
    """Its reconstruction is the truth itself."""

    def reconstruct(self, tokens, x, rng):
        patches = tokens.patches(x)
        hidden = rng.uniform(*patches.shape[1:3]) < 0.5
        return Reconstruction(patches, patches, patches, hidden, None, "spectrum", "magnitude")


class Guesses(Peeks):
    def reconstruct(self, tokens, x, rng):
        found = super().reconstruct(tokens, x, rng)
        seen = found.original.masked_fill(found.hidden[..., None], 0.0)
        guess = seen.mean((1, 2), keepdim=True).expand_as(seen)
        return replace(found, predicted=guess)


class HoldsAFunction(Level):
    def __init__(self, sizes):
        super().__init__(sizes)
        self.function = lambda x: x


class Loose(Level):
    def __init__(self, sizes, **options):
        super().__init__(sizes)


@pytest.mark.parametrize("name", list(registry.objectives))
def test_every_objective_keeps_the_contract(name):
    check_objective(registry.objectives[name])


def test_an_objective_of_ones_own_passes():
    check_objective(Level)
    check_objective(Guesses, {"scale": 2.0})


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (dict, "dict: expected a subclass of biot_bd.pretraining.Objective"),
        (Loose, r"takes \*\*options; name every parameter"),
        (ByMoments, "the loss must be a mean over windows, or across_windows = True"),
        (OwnDice, "take all chance from rng"),
        (Attached, "the log 'twice' is not detached"),
        (Idle, r"\['idle'\] get no gradient"),
        (HeadOnly, "no parameter of the model gets a gradient"),
        (Overwrites, "the windows were changed in place"),
        (Blinded, "an absent channel .* expected a finite number"),
        (Peeks, "it sees what it should predict"),
        (HoldsAFunction, "pickling"),
    ],
)
def test_what_an_objective_breaks_is_said(objective, message):
    fails(message, check_objective, objective)


def write_well(pipeline, path):
    path.write_text(str(pipeline))
    return path


def write_nothing(pipeline, path):
    return path


def leave_rubbish(pipeline, path):
    (path.parent / "rest.tmp").touch()
    return write_well(pipeline, path)


def return_nothing(pipeline, path):
    write_well(pipeline, path)


def one_parameter(pipeline):
    return pipeline


def test_exporters(tmp_path):
    check_exporter(write_well, "pipeline", tmp_path / "a")
    fails("where nothing is", check_exporter, write_nothing, "pipeline", tmp_path / "b")
    fails(r"left \['rest.tmp'\]", check_exporter, leave_rubbish, "pipeline", tmp_path / "c")
    fails("expected the path it wrote, got NoneType", check_exporter, return_nothing, "pipeline", tmp_path / "d")
    fails("its parameters", check_exporter, one_parameter, "pipeline", tmp_path / "e")
    fails("exists already", check_exporter, write_well, "pipeline", tmp_path / "a")
