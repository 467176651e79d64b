"""Every callback of skorch: in a fit, in a saved and loaded model, and in training on with that."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch import callbacks as skorch_callbacks

from _clients.checks import LEFT_OUT, REFUSED, WORKS, LeftOutError, check, same, true
from _clients.world import World, net
from biot_bd import BIOTClassifier, load_pipeline, save_pipeline

CLIENT = "skorch, callbacks"
WHAT = "trains as by hand, is saved and loaded with the same probabilities; another fit of both is the same"
SERVICES = {
    "WandbLogger": "wandb",
    "NeptuneLogger": "neptune",
    "MlflowLogger": "mlflow",
    "SacredLogger": "sacred",
}
WRITES = "loading a model takes over no callback that writes files; give it anew with `set_params(callbacks=...)`"
Making = Callable[[Path], Any]
MADE: dict[str, Making] = {
    "BatchScoring": lambda folder: skorch_callbacks.BatchScoring("accuracy", lower_is_better=False),
    "Checkpoint": lambda folder: skorch_callbacks.Checkpoint(dirname=str(folder / "checkpoint")),
    "EarlyStopping": lambda folder: skorch_callbacks.EarlyStopping("train_loss", patience=1),
    "EpochScoring": lambda folder: skorch_callbacks.EpochScoring("roc_auc", lower_is_better=False),
    "EpochTimer": lambda folder: skorch_callbacks.EpochTimer(),
    "Freezer": lambda folder: skorch_callbacks.Freezer("encoder*"),
    "GradientNormClipping": lambda folder: skorch_callbacks.GradientNormClipping(0.1),
    "Initializer": lambda folder: skorch_callbacks.Initializer("final_layer*weight", fn=torch.nn.init.zeros_),
    "InputShapeSetter": lambda folder: skorch_callbacks.InputShapeSetter(),
    "LRScheduler": lambda folder: skorch_callbacks.LRScheduler("StepLR", step_size=1),
    "ParamMapper": lambda folder: skorch_callbacks.ParamMapper("final_layer*", at=1),
    "PassthroughScoring": lambda folder: skorch_callbacks.PassthroughScoring("train_loss", on_train=True),
    "PrintLog": lambda folder: skorch_callbacks.PrintLog(),
    "ProgressBar": lambda folder: skorch_callbacks.ProgressBar(),
    "TrainEndCheckpoint": lambda folder: skorch_callbacks.TrainEndCheckpoint(dirname=str(folder / "end")),
    "Unfreezer": lambda folder: skorch_callbacks.Unfreezer("encoder*"),
}
WHY = {
    "Checkpoint": WRITES,
    "TrainEndCheckpoint": WRITES,
    "InputShapeSetter": "shapes reach the module without it",
    "ParamMapper": "with the function that it has by default; one of one's own is saved by its address",
}
EXPECTED = {"InputShapeSetter": REFUSED}


def fitted(world: World, callback: Any, **parameters: Any) -> BIOTClassifier:
    x, y, groups = world.arrays
    made = net(train_split="subject", max_epochs=2, callbacks=[("theirs", callback)], **parameters)
    return made.fit(x, y, groups=groups)


def check_saved(world: World, model: BIOTClassifier, folder: Path) -> None:
    """Compare a model with what is loaded of it, and another fit of both."""
    x, y, groups = world.arrays
    truth = model.predict_proba(x)
    save_pipeline(model, folder / "model")
    loaded = load_pipeline(folder / "model")
    same(loaded.predict_proba(x), truth, "probabilities after loading")
    again = loaded.fit(x, y, groups=groups)
    same(len(again.history), len(model.history), "epochs of another fit")
    same(again.predict_proba(x), truth, "probabilities of another fit")


def check_effects(name: str, model: BIOTClassifier, plain: BIOTClassifier, folder: Path) -> None:
    """Look for what a callback is there for."""
    last = model.history[-1]
    weights, others = model.module_.state_dict(), plain.module_.state_dict()
    encoder = [key for key in weights if key.startswith("encoder")]
    if name == "BatchScoring":
        true(0 <= last["accuracy"] <= 1, "the history has an accuracy")
    elif name == "EpochScoring":
        same(last["roc_auc"], last["valid_roc_auc"], "AUC, theirs and ours", 1e-6)
    elif name == "Checkpoint":
        true((folder / "checkpoint" / "params.pt").is_file(), "weights are written")
    elif name == "TrainEndCheckpoint":
        true((folder / "end" / "train_end_params.pt").is_file(), "weights are written")
    elif name == "LRScheduler":
        true(last["event_lr"] < model.history[0]["event_lr"], "the learning rate falls")
    elif name == "Freezer":
        true(not any(p.requires_grad for n, p in model.module_.named_parameters() if n.startswith("encoder")), "frozen")
        true(not all(torch.equal(weights[key], others[key]) for key in encoder), "another encoder than unfrozen")
    elif name in ("GradientNormClipping", "Initializer"):
        true(not all(torch.equal(weights[key], others[key]) for key in weights), "other weights than without it")
    elif name == "EarlyStopping":
        true(model.get_params()["callbacks__theirs__patience"] == 1, "its parameters are there")
    else:  # it changes no weights
        true(all(torch.equal(weights[key], others[key]) for key in weights), "the same weights as without it")


def register(name: str, making: Making) -> None:
    @check(CLIENT, name, WHAT, expected=EXPECTED.get(name, WORKS), why=WHY.get(name, ""))
    def run(world: World) -> None:
        x, y, groups = world.arrays
        plain = net(train_split="subject", max_epochs=2).fit(x, y, groups=groups)
        with tempfile.TemporaryDirectory() as folder:
            model = fitted(world, making(Path(folder)))
            check_effects(name, model, plain, Path(folder))
            check_saved(world, model, Path(folder))


for _name, _making in MADE.items():
    register(_name, _making)


@check(
    CLIENT,
    "TensorBoard",
    "scalars of a fit are those of its history",
    expected=f"{WORKS} or refused",
    why="`log_dir` does it, can be cloned and saved",
)
def tensorboard(world: World) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder:
        model = fitted(world, skorch_callbacks.TensorBoard(SummaryWriter(folder)))
        events = EventAccumulator(folder).Reload()
        tag = next(t for t in events.Tags()["scalars"] if t.endswith("train_loss") or t.endswith("Loss/train"))
        same([e.value for e in events.Scalars(tag)], model.history[:, "train_loss"], "training loss", 1e-6)


@check(CLIENT, "LoadInitState", "goes on from a Checkpoint's weights, optimizer and history")
def load_init_state(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first = fitted(world, skorch_callbacks.Checkpoint(dirname=folder, monitor=None))
        state = skorch_callbacks.LoadInitState(skorch_callbacks.Checkpoint(dirname=folder, monitor=None))
        found = fitted(world, state)
        same(len(found.history), len(first.history) + 2, "epochs of both")
        same(found.history[:2, "train_loss"], first.history[:, "train_loss"], "history of the first")
        true(found.history[2]["train_loss"] < first.history[0]["train_loss"], "the loss goes on from where it was")


@check(CLIENT, "WarmRestartLR", "a schedule inside of LRScheduler: rates fall and restart")
def warm_restart(world: World) -> None:
    model = fitted(world, skorch_callbacks.LRScheduler(policy="WarmRestartLR", base_period=1, max_lr=1e-3, min_lr=1e-5))
    true(all(1e-5 <= rate <= 1e-3 for rate in np.ravel(model.history[:, "event_lr"])), "rates are in its range")


@check(CLIENT, "Callback", "one of one's own, by class and by instance: is called each epoch")
def own_callback(world: World) -> None:
    calls = []

    class Own(skorch_callbacks.Callback):
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            calls.append(len(net.history))

    for callback in (Own, Own()):
        fitted(world, callback)
    same(calls, [1, 2, 1, 2], "calls")


def left_out(name: str, package: str) -> None:
    @check(CLIENT, name, "logs to a service", expected=LEFT_OUT)
    def run(world: World) -> None:
        raise LeftOutError(f"needs the package {package} and its service")


for _name, _package in SERVICES.items():
    left_out(_name, _package)
