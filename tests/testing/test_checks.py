"""The conformance checks accept what is right and say what is wrong with what is not."""

import mne
import numpy as np
import pandas as pd
import pytest
import torch
from braindecode.datasets import BaseConcatDataset, RawDataset
from sklearn.metrics import brier_score_loss
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

import biot_bd.testing
from biot_bd import registry
from biot_bd.evaluation.metrics import Metric
from biot_bd.probes.base import Explanation, Probe
from biot_bd.signals.montages import Montage
from biot_bd.testing import (
    CHECKS,
    ConformanceError,
    check_callback,
    check_dataset,
    check_exporter,
    check_label_rule,
    check_loss,
    check_metric,
    check_model,
    check_montage,
    check_objective,
    check_probe,
)
from biot_bd.windows.labels import Overlap

FAST = {
    "models": dict.fromkeys(["biot", "eegnet"]),
    "losses": dict.fromkeys(["focal", "cross-entropy", "focal-tversky"]),
    "metrics": dict.fromkeys(["average_precision", "roc_auc", "balanced_accuracy", "sensitivity", "specificity"]),
    "montages": dict.fromkeys(["biot-16", "biot-18", "double-banana-18", "szcore-19"]),
    "label_rules": dict.fromkeys(["overlap", "biot-official"]),
}


def test_every_hook_has_a_check():
    assert set(CHECKS) == set(registry.registries)
    for name in CHECKS.values():
        assert callable(getattr(biot_bd.testing, name))
    assert set(CHECKS.values()) | {"CHECKS", "ConformanceError", "check_transformer"} == set(biot_bd.testing.__all__)


def test_the_error_is_an_assertion_so_test_runners_show_it_as_a_failure():
    assert issubclass(ConformanceError, AssertionError)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FAST.items() for name in names])
def test_what_the_package_brings_keeps_its_own_contracts(kind, name):
    check = getattr(biot_bd.testing, CHECKS[kind])
    check(registry.registries[kind][name])


@pytest.mark.parametrize("name", ["attention", "attention-qk"])
def test_attention_probes_keep_the_contract(name):
    model = registry.models["biot"](n_outputs=2, n_chans=4, n_times=800, sfreq=200)
    check_probe(registry.probes[name], model=model, n_chans=4, n_times=800)


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
        return Explanation(values=x.abs().mean(dim=-1).numpy(), dims=("window", "channel"))


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
        return Explanation(values=np.random.default_rng().random(len(x)), dims=("window",))


class Misaligned(GoodProbe):
    def __call__(self, model, x, target=None):
        return Explanation(values=x.mean(dim=-1).numpy().T, dims=("window", "channel"))


class NotFinite(GoodProbe):
    def __call__(self, model, x, target=None):
        return Explanation(values=np.full(len(x), np.nan), dims=("window",))


class PlainArray(GoodProbe):
    def __call__(self, model, x, target=None):
        return x.numpy()


class FirstTargetOnly(GoodProbe):
    def __call__(self, model, x, target=None):
        chosen = 0 if target is None else int(torch.as_tensor(target).flatten()[0])
        return Explanation(values=np.full(len(x), chosen), dims=("window",))


def test_a_good_probe_passes():
    check_probe(GoodProbe)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (LeavesTraining, r"outputs changed|training modes"),
        (LeavesHooks, r"other hooks than it found in \['head'\]"),
        (LeavesGradients, "other gradients than it found"),
        (ChangesWeights, r"outputs changed"),
        (ChangesInput, "changed its input"),
        (Unseeded, "two calls with one seed differ"),
        (Misaligned, "6 along 'window', but x has 3"),
        (NotFinite, "not all finite"),
        (PlainArray, "expected biot_bd.probes.base.Explanation, got ndarray"),
        (FirstTargetOnly, r"window 1 with target=\[0, 1, 0\]"),
        (GoodProbe(), "expected a class to register"),
    ],
)
def test_a_wrong_probe_is_found(probe, message):
    fails(message, check_probe, probe)


# Metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_and_plain_functions_pass():
    check_metric(Metric("brier", brier_score_loss, needs_classes=(), greater_is_better=False))
    check_metric(mean_difference)


def mean_difference(y, proba):
    return float(proba[y == 1].mean() - proba[y == 0].mean())


def always_one(y, proba):
    return 1.0


def first_only(y, proba):
    return float(proba[-1]) + float(mean_difference(y, proba))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (7, "as a metric"),
        (always_one, "1 for right and 1 for wrong"),
        (Metric("brier", brier_score_loss), "with greater_is_better=True"),
        (first_only, "depends on the order"),
        (lambda y, proba: mean_difference(y, proba), "pickling"),
        (Metric("f", lambda y, proba: float("nan")), "undefined"),
    ],
)
def test_a_wrong_metric_is_found(metric, message):
    fails(message, check_metric, metric)


# Label rules -------------------------------------------------------------------------------------------------------


class OffTheEnd(Overlap):
    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0):
        table = super().__call__(n_samples, sfreq, events, window_s, stride_s)
        return table.assign(start_sample=table["start_sample"] + 1)


class NeverPositive(Overlap):
    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0):
        return super().__call__(n_samples, sfreq, events, window_s, stride_s).assign(label=0)


class NoFraction(Overlap):
    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0):
        return super().__call__(n_samples, sfreq, events, window_s, stride_s).drop(columns="seizure_fraction")


class WrongFraction(Overlap):
    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0):
        return super().__call__(n_samples, sfreq, events, window_s, stride_s).assign(seizure_fraction=0.5)


class FixedWindow(Overlap):
    def __call__(self, n_samples, sfreq, events):
        return super().__call__(n_samples, sfreq, events)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (OffTheEnd, "windows lie outside"),
        (NeverPositive, "0 windows are positive"),
        (NoFraction, r"columns \['seizure_fraction'\] are missing"),
        (WrongFraction, "seizure_fraction is not the share"),
        (FixedWindow, r"do not take \['window_s', 'stride_s'\]"),
        (Overlap(), "expected a class to register"),
    ],
)
def test_a_wrong_label_rule_is_found(rule, message):
    fails(message, check_label_rule, rule)


# Montages ----------------------------------------------------------------------------------------------------------


def test_a_montage_of_ones_own_passes():
    check_montage(Montage("mine", ("Fp1-F7", "O2-P8"), "bipolar"))
    check_montage(Montage("two", ("Cz", "Fz"), "referential"))


def test_a_wrong_montage_is_found():
    fails("expected an instance of biot_bd.signals.montages.Montage", check_montage, {"a": ("Fp1", "F7")})
    turned = Montage("turned", ("Fp1-F7",), "bipolar", pairs=(("F7", "Fp1"),))
    fails(r"montage 'turned': ", check_montage, turned)


# Data sets ---------------------------------------------------------------------------------------------------------


def recording(name="r1", person="set/1", *, scale=30e-6, onset=2.0, duration=3.0, text="sz", **changes):
    signal = np.random.default_rng(0).standard_normal((2, 2000)) * scale
    raw = mne.io.RawArray(signal, mne.create_info(["Fp1-F7", "F7-T7"], 100.0, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations([onset], [duration], [text]), verbose="error", emit_warning=False)
    description = {"subject": person, "session": "1", "run": "1", "recording": name} | changes
    return RawDataset(raw, pd.Series({key: value for key, value in description.items() if value is not None}))


def dataset(*parts, outcomes=None, generated=False):
    joined = BaseConcatDataset(list(parts))
    names = [part.description.get("recording") for part in parts]
    rows = [(name, "loaded", "") for name in names] if outcomes is None else outcomes
    joined.outcomes = pd.DataFrame(rows, columns=["recording", "outcome", "detail"])
    joined.generated = generated
    return joined


def test_a_good_data_set_passes():
    rows = [("r1", "loaded", ""), ("r2", "loaded", ""), ("r3", "missing-file", "r3.edf does not exist")]
    check_dataset(dataset(recording("r1"), recording("r2", text="sz_foc_ia"), outcomes=rows))
    check_dataset(dataset(recording(text="artefact", onset=0.0), generated=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [recording()], "expected a braindecode.datasets.BaseConcatDataset, got list"),
        (lambda: dataset(recording(), recording()), r"occur more than once: \['r1'\]"),
        (lambda: dataset(recording(person="1")), "'subject' is '1'; expected a person with a name space"),
        (lambda: dataset(recording(person=1)), "expected a person with a name space"),
        (lambda: dataset(recording(session=None)), r"the description lacks \['session'\]"),
        (lambda: dataset(recording(name="a/b")), "becomes a file name"),
        (lambda: dataset(recording(scale=30.0)), "Microvolts must be multiplied by 1e-6"),
        (lambda: dataset(recording(scale=0.0)), "a flat recording must be left out"),
        (lambda: dataset(recording(text="seizure")), "descriptions of seizures start with 'sz'"),
        (lambda: dataset(recording(duration=0.0)), "has no length"),
        (lambda: dataset(recording(), outcomes=[]), r"not 'loaded' in dataset.outcomes: \['r1'\]"),
        (
            lambda: dataset(recording(), outcomes=[("r1", "loaded", ""), ("r2", "loaded", "")]),
            r"calls recordings 'loaded' that are not there: \['r2'\]",
        ),
        (
            lambda: dataset(recording(), outcomes=[("r1", "loaded", ""), ("r2", "unreadable", " ")]),
            r"does not say why these were left out: \['r2'\]",
        ),
        (lambda: dataset(recording(), outcomes=[("r1", "loaded", "")] * 2), "mentions recordings twice"),
        (lambda: dataset(recording(), generated="no"), "dataset.generated is 'no'"),
    ],
)
def test_a_wrong_data_set_is_found(make, message):
    fails(message, check_dataset, make())


def test_a_seizure_past_the_end_is_found():
    part = recording()
    late = mne.Annotations([18.0], [3.0], ["sz"])
    part.raw._annotations = late  # set_annotations would cut it
    fails("from 18.000 s to 21.000 s is outside the recording of 20.000 s", check_dataset, dataset(part))


def test_a_data_set_without_outcomes_is_found():
    joined = BaseConcatDataset([recording()])
    fails("expected a pandas.DataFrame with one row for every recording", check_dataset, joined)


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


def test_objectives():
    check_objective(GoodLoss)
    fails("expected a subclass of torch.nn.Module", check_objective, dict)
    fails("pickling", check_objective, Unpicklable)


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
