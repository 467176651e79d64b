"""skorch itself: its helpers, what its nets offer, its own nets around our modules."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from _clients.checks import REFUSED, WORKS, check, missing, same, true
from _clients.world import SIZE, World, net, pipe
from biot_bd import BIOTClassifier, PercentileScaler
from biot_bd.models import BIOT
from biot_bd.windows.torch_dataset import WindowsDataset

CLIENT = "skorch, helpers and nets"
EITHER = f"{WORKS} or {REFUSED}"


def fitted(world: World, **parameters: Any) -> BIOTClassifier:
    x, y, groups = world.arrays
    return net(**parameters).fit(x, y, groups=groups)


@check(CLIENT, "SliceDict", "as `X`: one input named x", expected=EITHER, why="BIOT has one input: hand on the array")
def slice_dict(world: World) -> None:
    from skorch.helper import SliceDict

    x, y, groups = world.arrays
    found = net().fit(SliceDict(x=x), y, groups=groups)
    same(found.predict_proba(SliceDict(x=x)), fitted(world).predict_proba(x), "probabilities")


@check(
    CLIENT,
    "SliceDataset",
    "of our torch data set, as `X` in `cross_val_score`",
    expected=EITHER,
    why="`Windows` can be indexed as they are, and know their subjects",
)
def slice_dataset(world: World) -> None:
    from sklearn.model_selection import cross_val_score
    from skorch.helper import SliceDataset

    windows = world.windows.map(PercentileScaler())
    data = WindowsDataset(windows, world.y)
    found = cross_val_score(net(), SliceDataset(data), world.y, cv=world.rows, scoring="roc_auc", error_score="raise")
    same(found, world.aucs(world.fits()), "AUC", 1e-6)


@check(
    CLIENT,
    "predefined_split",
    "of windows of other subjects, as `train_split`",
    expected=EITHER,
    why="`FixedSubjects` names them",
)
def predefined(world: World) -> str | None:
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    x, y, groups = world.arrays
    test = np.isin(groups, sorted(set(groups))[:2])
    valid = predefined_split(Dataset(x[test], y[test]))
    found = net(train_split=valid).fit(x[~test], y[~test], groups=groups[~test])
    truth = net().fit(x[~test], y[~test], groups=groups[~test])
    same(found.predict_proba(x), truth.predict_proba(x), "probabilities")
    loss = torch.nn.functional.nll_loss(torch.log(torch.tensor(found.predict_proba(x[test]))), torch.tensor(y[test]))
    true(np.isfinite(found.history[-1, "valid_loss"]) and torch.isfinite(loss), "the loss of validation is a number")


@check(CLIENT, "ValidSplit(5)", "as `train_split`: splits by window", expected=REFUSED)
def valid_split(world: World) -> None:
    from skorch.dataset import ValidSplit

    fitted(world, train_split=ValidSplit(5, stratified=True))


@check(CLIENT, "get_params, set_params, clone", "before and after a fit the same parameters; a clone fits alike")
def parameters(world: World) -> None:
    x, y, groups = world.arrays
    before = repr(net())
    model = fitted(world)
    true(repr(clone(model)) == before, "a clone of a fitted net reads as before the fit")
    same(clone(model).fit(x, y, groups=groups).predict_proba(x), model.predict_proba(x), "probabilities")
    model.set_params(iterator_valid__batch_size=7)
    same(model.predict_proba(x), fitted(world).predict_proba(x), "probabilities in other batches", 1e-6)


@check(CLIENT, "partial_fit", "goes on: twice an epoch has a history of two, and other weights than once")
def partial_fit(world: World) -> None:
    x, y, groups = world.arrays
    model = net().partial_fit(x, y, groups=groups)
    once = model.predict_proba(x)
    same(once, fitted(world).predict_proba(x), "the first epoch")
    model.partial_fit(x, y, groups=groups)
    same(len(model.history), 2, "epochs")
    true(not np.array_equal(model.predict_proba(x), once), "other probabilities")


@check(CLIENT, "warm_start", "`fit` twice goes on from the weights")
def warm_start(world: World) -> None:
    x, y, groups = world.arrays
    model = net(warm_start=True).fit(x, y, groups=groups)
    first = model.history[-1, "train_loss"]
    model.fit(x, y, groups=groups)
    true(model.history[-1, "train_loss"] < first, "the loss goes on falling")


@check(
    CLIENT,
    "save_params, load_params",
    "weights, optimizer and history by torch and by safetensors: the same probabilities",
)
def save_params(world: World) -> None:
    x, _, _ = world.arrays
    model = fitted(world)
    truth = model.predict_proba(x)
    with tempfile.TemporaryDirectory() as folder:
        for safe in (False, True):
            weights = Path(folder) / f"weights-{safe}"
            model.save_params(f_params=weights, use_safetensors=safe)
            other = fitted(world, random_state=1)
            true(not np.array_equal(other.predict_proba(x), truth), "another net says otherwise")
            other.load_params(f_params=weights, use_safetensors=safe)
            same(other.predict_proba(x), truth, "probabilities")


@check(CLIENT, "forward, forward_iter, infer", "logits of which the softmax is `predict_proba`")
def forward(world: World) -> None:
    x, _, _ = world.arrays
    model = fitted(world)
    truth = model.predict_proba(x)
    same(torch.softmax(model.forward(x), 1), truth, "forward", 1e-6)
    same(torch.softmax(torch.cat(list(model.forward_iter(x))), 1), truth, "forward_iter", 1e-6)


@check(CLIENT, "get_loss, validation_step, train_step_single", "the loss of a batch is that of the criterion")
def steps(world: World) -> None:
    x, y, _ = world.arrays
    model = fitted(world)
    batch = torch.from_numpy(x[:8]), torch.from_numpy(y[:8])
    found = model.validation_step(batch)
    truth = model.criterion_(model.module_.eval()(batch[0]), batch[1])
    same(found["loss"].detach(), truth.detach(), "loss", 1e-6)


@check(
    CLIENT,
    "SkorchDoctor",
    "watches the activations of each layer of our net",
    why="builds the module before it sees data: name the shapes by `module__*`",
)
def doctor(world: World) -> None:
    from skorch.helper import SkorchDoctor

    x, y, _ = world.arrays
    shape = {"module__n_chans": 16, "module__n_times": 2000, "module__n_outputs": 2, "module__sfreq": 200}
    watcher = SkorchDoctor(net(**shape))
    watcher.fit(x, y)
    layers = {name for record in watcher.activation_recs_["module"] for name in record}
    true(any(name.startswith("encoder") for name in layers), "layers of the encoder are watched")


@check(CLIENT, "NeuralNetClassifier(BIOT)", "skorch's own net around our module: probabilities of a loop in torch")
def plain_net(world: World) -> None:
    from skorch import NeuralNetClassifier

    x, y, _ = world.arrays
    torch.manual_seed(0)
    size = {key.removeprefix("module__"): value for key, value in SIZE.items()}
    size |= {"n_chans": 16, "n_times": 2000, "n_outputs": 2, "sfreq": 200}
    size |= {"drop_prob": 0.0, "att_drop_prob": 0.0, "att_layer_drop_prob": 0.0}
    other = NeuralNetClassifier(
        BIOT,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=0.01,
        max_epochs=1,
        batch_size=len(x),
        train_split=None,
        verbose=0,
        iterator_train__shuffle=False,
        **{f"module__{key}": value for key, value in size.items()},
    ).initialize()
    truth = BIOT(**size)
    truth.load_state_dict(other.module_.state_dict())
    other.partial_fit(x, y)
    optimizer = torch.optim.SGD(truth.train().parameters(), lr=0.01)
    torch.nn.functional.cross_entropy(truth(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    optimizer.step()
    with torch.no_grad():
        same(other.predict_proba(x), torch.softmax(truth.eval()(torch.from_numpy(x)), 1), "probabilities", 1e-5)


@check(CLIENT, "hf.AccelerateMixin", "one process: the same probabilities as without")
def accelerated(world: World) -> None:
    missing("accelerate")
    from accelerate import Accelerator
    from skorch.hf import AccelerateMixin

    class Accelerated(AccelerateMixin, BIOTClassifier):
        pass

    x, y, groups = world.arrays
    given = {**net().get_params(deep=False), "device": None, "accelerator": Accelerator(cpu=True)}
    model = Accelerated(**given)
    model.fit(x, y, groups=groups)
    same(model.predict_proba(x), fitted(world).predict_proba(x), "probabilities", 1e-5)


@check(
    CLIENT,
    "Windows in a search of skorch's parameters",
    "`module__*`, `optimizer__*`, `criterion__*` in a grid: by hand",
)
def grid_of_parts(world: World) -> None:
    from sklearn.model_selection import GridSearchCV

    grid = {"biotclassifier__module__num_layers": [1, 2], "biotclassifier__optimizer__weight_decay": [0.1]}
    search = GridSearchCV(pipe(), grid, cv=world.split, scoring="roc_auc", error_score="raise", refit=False)
    search.fit(world.windows, world.y)
    truth = [
        world.aucs(world.fits(pipe(module__num_layers=layers, optimizer__weight_decay=0.1))).mean() for layers in (1, 2)
    ]
    same(search.cv_results_["mean_test_score"], truth, "AUC", 1e-12)
