"""Fits that two processes share: run by test_processes.py under torchrun, and in its own process.

    torchrun --nproc-per-node 2 shared_classifier_fits.py FOLDER NAME...

Each process writes what it has after a fit to ``FOLDER/NAME-RANK.pt``.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, Checkpoint, EpochScoring
from skorch.hf import AccelerateMixin
from training_data import make_data

from biot_bd.training import BIOTClassifier
from biot_bd.training._validation import plain_scalar
from biot_bd.training.finetuning import TwoStage

X, Y, GROUPS = make_data(n_subjects=6, per_subject=11)


class Accelerated(AccelerateMixin, BIOTClassifier):
    """As skorch's documentation mixes it."""


class Killed(Callback):
    """Where asked, end the second process as a machine that fails does."""

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        if os.environ.get("KILLED_IN_EPOCH") == str(len(net.history)) and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)


def net(*, dropout: float = 0.0, cls: Any = BIOTClassifier, **parameters: Any) -> BIOTClassifier:
    """Return a small classifier; plain gradient descent, as Adam makes steps of rounding."""
    settings = {
        "module__embed_dim": 16,
        "module__num_heads": 2,
        "module__num_layers": 1,
        "module__drop_prob": dropout,
        "module__att_drop_prob": dropout,
        "module__att_layer_drop_prob": dropout,
        "optimizer": torch.optim.SGD,
        "lr": 2e-3,
        "max_epochs": 3,
        "batch_size": 11,  # 55 training windows, or 44: parts of 6 and 5
        "random_state": 3,
        "device": "cpu",
        "micro_batch": None,
    }
    return cls(**{**settings, **parameters})


def accelerated(**parameters: Any) -> BIOTClassifier:
    """Return the same with skorch's mixin."""
    from accelerate import Accelerator

    return net(cls=Accelerated, accelerator=Accelerator(cpu=True), **{"device": None, **parameters})


FITS = {
    "plain": lambda folder: net(),
    "mixin": lambda folder: accelerated(),
    "adamw": lambda folder: net(optimizer=torch.optim.AdamW, lr=1e-3, gradient_clip_norm=0.5),
    "weighted": lambda folder: net(
        criterion="cross-entropy", class_weight=[1.0, 7.0], batch_size=9, criterion__label_smoothing=0.1
    ),
    # The last batch of 55 has one window, which the second process has no part of.
    "one-left": lambda folder: net(batch_size=18, validation_fraction=0.2),
    "micro": lambda folder: net(micro_batch=5, class_weight="balanced"),
    "micro-logits": lambda folder: net(micro_batch=5, criterion=torch.nn.CrossEntropyLoss),
    "stopped-early": lambda folder: net(max_epochs=12, patience=2, lr=0.1, callbacks=["accuracy"]),
    "sampled": lambda folder: net(sampler="class-balanced", finetune=TwoStage(head_epochs=1)),
    "dropout": lambda folder: net(dropout=0.3, augment="light", finetune=["mixup"]),
    "bf16": lambda folder: net(precision="bf16"),
    "written": lambda folder: net(
        dropout=0.2,
        max_epochs=4,
        restart_dir=folder / "restart",
        log_dir=folder / "log",
        callbacks=[
            ("killed", Killed()),
            ("kept", Checkpoint(dirname=str(folder / "kept"), monitor="valid_loss_best", load_best=True)),
        ],
        patience=None,
    ),
    "scored": lambda folder: net(
        callbacks=[("f1", EpochScoring("f1", lower_is_better=False)), ("both", EpochScoring("roc_auc", on_train=True))]
    ),
}


def kept(fitted: BIOTClassifier) -> dict[str, Any]:
    """Return what is to be compared of a fit."""
    left_out = ("batches", "dur")
    rows = [{k: plain_scalar(v) for k, v in row.items() if k not in left_out} for row in fitted.history]
    counts = [sum(batch.get("train_batch_size", 0) for batch in row["batches"]) for row in fitted.history]
    return {
        "weights": fitted.module_.state_dict(),
        "history": rows,
        "train_windows": counts,
        "proba": torch.from_numpy(fitted.predict_proba(X)),
        "subjects": [*fitted.train_subjects_, "|", *fitted.valid_subjects_],
        "callbacks": [name for name, _ in fitted.callbacks_],
    }


def fitted(name: str, folder: Path) -> dict[str, Any]:
    """Return what a fit of this name learnt."""
    return kept(FITS[name](folder).fit(X, Y, groups=GROUPS))


def main() -> None:
    """Fit one after the other, and write."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        torch.save(fitted(name, folder), folder / f"{name}-{os.environ['RANK']}.pt")


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    import shared_classifier_fits  # its classes have the same address in every process

    shared_classifier_fits.main()
