"""Fits that a launcher's processes share: run by test_distributed.py under torchrun, and in its own process.

    torchrun --nproc-per-node 2 shared_fits.py FOLDER NAME...

Each process writes the weights, the history and what it was to ``FOLDER/NAME-RANK.pt``.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback

from biot_bd import Pretrainer

N_CHANS, N_TIMES, WINDOWS_A_SUBJECT = 4, 600, 19


def recordings() -> tuple[np.ndarray, np.ndarray]:
    """Return windows of five subjects, one of them without a channel, and their subjects."""
    rng = np.random.default_rng(0)
    groups = np.repeat(list("abcde"), WINDOWS_A_SUBJECT)
    t = np.arange(N_TIMES) / 200
    x = rng.standard_normal((len(groups), N_CHANS, N_TIMES)) + np.sin(
        2 * np.pi * rng.uniform(2, 20, (len(groups), 1, 1)) * t
    )
    x[groups == "a", 1] = np.nan
    return x.astype(np.float32), groups


BEGUN: list[int] = []
"""Epochs that a fit began in this process."""


class Watched(Callback):
    """Keep which epochs begin; where asked, end the second process as a machine that fails does."""

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        BEGUN.append(len(net.history))
        if os.environ.get("KILLED_IN_EPOCH") == str(len(net.history)) and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)


def net(objective: Any, *, dropout: float = 0.0, epochs: int = 3, **parameters: Any) -> Pretrainer:
    """Return a small fit; plain gradient descent, as Adam makes steps of rounding."""
    return Pretrainer(
        "biot",
        objective,
        module__embed_dim=16,
        module__num_heads=2,
        module__num_layers=2,
        module__drop_prob=dropout,
        module__att_drop_prob=dropout,
        module__att_layer_drop_prob=dropout,
        optimizer=torch.optim.SGD,
        lr=0.01,
        max_epochs=epochs,
        batch_size=9,
        random_state=3,
        device="cpu",
        **parameters,
    )


FITS = {
    "masked": lambda folder: net("masked-spectrum"),
    "contrastive": lambda folder: net("biot-contrastive"),
    "both": lambda folder: net({"masked-spectrum": 1.0, "biot-contrastive": 0.5}, iterator_train__drop_last=False),
    "whole": lambda folder: net("masked-spectrum", dropout=0.2, epochs=5),
    "stopped": lambda folder: net(
        "masked-spectrum", dropout=0.2, epochs=5, restart_dir=folder / "restart", callbacks=[("watched", Watched())]
    ),
}


def fitted(name: str, folder: Path) -> dict[str, Any]:
    """Return what a fit of this name learnt, as it is to be compared."""
    x, groups = recordings()
    BEGUN.clear()
    pretrainer = FITS[name](folder).fit(x, groups=groups)
    rows = [{key: value for key, value in row.items() if key not in ("batches", "dur")} for row in pretrainer.history]
    return {"weights": pretrainer.module_.state_dict(), "history": rows, "begun": list(BEGUN)}


def main() -> None:
    """Fit one after the other, and write."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        torch.save(fitted(name, folder), folder / f"{name}-{os.environ['RANK']}.pt")


if __name__ == "__main__":
    import shared_fits  # its classes have the same address in every process, also in one that was not launched

    shared_fits.main()
