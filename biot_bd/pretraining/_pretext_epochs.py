"""What a pretrainer does with an epoch and with a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler, Subset

from biot_bd.models.inference_plan import precision_context
from biot_bd.models.own_modes import own_modes
from biot_bd.pretraining.batch_random import BatchRandom, PositionRandom
from biot_bd.pretraining.corpora import CORPORA, CorpusBatches, corpus_of
from biot_bd.pretraining.epoch_means import EpochMeans
from biot_bd.pretraining.pretext_module import PretextModule
from biot_bd.pretraining.progress import TrainingProgress
from biot_bd.training._validation import uncompiled
from biot_bd.training.input_data import SignalData
from biot_bd.training.net.batches import NetBatches
from biot_bd.training.net.processes import Processes
from biot_bd.training.net.shares import OwnBatches, Place
from biot_bd.training.precision_plans import training_plan
from biot_bd.training.resume import UNSEEN, RestartPoint, array_digest, describe, mixed_seed
from biot_bd.windows import Windows
from biot_bd.windows.page_shuffle import PageShuffle
from biot_bd.windows.torch_dataset import OnDevice, PackedWindows, collate_windows

_SOME_WINDOWS = 32
"""Enough to time a step with."""


class PretextEpochs(NetBatches):
    """Epochs and batches of a pretraining; see :class:`biot_bd.Pretrainer`."""

    seed_: int
    batches_an_epoch_: int
    precision_: str = "fp32"
    _batches: dict[bool, OwnBatches]
    _means: dict[bool, EpochMeans]
    _parallel: Any = None  # what a training step calls
    _subjects: Any = None  # of the windows of a running fit

    # --- batches ----------------------------------------------------------------------------------

    def _own_iterators(self, train: Subset, valid: Subset | None) -> tuple[Any, Any]:
        """Return the batches of this process: of training, and of validation."""
        self._batches = {True: OwnBatches(self._global_batches(train), self._processes.rank, self._processes.n)}
        if valid is not None:
            order = BatchSampler(SequentialSampler(valid), self._batch_size("valid", valid), drop_last=False)
            self._batches[False] = OwnBatches(order, self._processes.rank, self._processes.n, training=False)
        return self._own_iterator(train, True), None if valid is None else self._own_iterator(valid, False)

    def _own_iterator(self, side: Subset, training: bool) -> Any:
        params = self.get_params_for(f"iterator_{'train' if training else 'valid'}")
        ours = ("batch_size", "shuffle", "drop_last", "sampler", "batch_sampler")
        kept = {key: value for key, value in params.items() if key not in ours}
        loader = (self.iterator_train if training else self.iterator_valid)(
            side, batch_sampler=self._batches[training], **{"generator": torch.Generator(), **kept}
        )
        return OnDevice(loader, self.device) if self._scales_on_device() else loader

    def _global_batches(self, train: Subset) -> Any:
        """Return the batches of an epoch, of all processes together."""
        params = self.get_params_for("iterator_train")
        size, drop_last = self._batch_size("train", train), bool(params.get("drop_last", False))
        if self.sampler == CORPORA or isinstance(self.sampler, Mapping):
            return CorpusBatches(
                self._corpora(train), size, drop_last, "proportional" if self.sampler == CORPORA else self.sampler
            )
        for objective in uncompiled(self.module_).objectives.values():
            batches = objective.batches(self._targets(train), size, drop_last)
            if batches is not None:
                return batches
        windows = getattr(getattr(train.dataset, "windows", None), "windows", None)
        if isinstance(windows, Windows) and self._by_pages(windows):
            return BatchSampler(PageShuffle(windows, positions=train.indices), size, drop_last)
        order = RandomSampler(train) if params.get("shuffle", False) else SequentialSampler(train)
        return BatchSampler(order, size, drop_last)

    def _corpora(self, train: Subset) -> list[str]:
        """Return the corpus of each training window."""
        if self._subjects is None:
            raise ValueError(
                "a sampler of corpora needs subjects with their name space, such as 'chb-mit/01': pass Windows, or fit(X, groups=subjects)"
            )
        return [corpus_of(subject) for subject in np.asarray(self._subjects)[np.asarray(train.indices)]]

    def _batch_size(self, side: str, windows: Subset) -> int:
        size = int(self.get_params_for(f"iterator_{side}")["batch_size"])
        return max(1, len(windows) if size == -1 else min(size, len(windows)))

    @staticmethod
    def _targets(train: Subset) -> Any:
        return np.asarray(train.dataset.y)[np.asarray(train.indices)]  # type: ignore[attr-defined]

    # --- epochs -----------------------------------------------------------------------------------

    def _train(self, data: SignalData, train: Subset, valid: Subset | None, fresh: bool) -> None:
        """Train for ``max_epochs``, or on from a restart point."""
        self.check_training_readiness()
        finetuning = self._finetuning()
        if finetuning is not None:
            finetuning.begin(self)
        iterators, sides = self._own_iterators(train, valid), {"dataset_train": train, "dataset_valid": valid}
        self.batches_an_epoch_ = sum(len(batches) for batches in self._batches.values())
        point = None
        if self.restart_dir is not None and fresh:
            point = RestartPoint(self.restart_dir, self._fit_identity(data, train, valid))
            self._processes.wait()  # so that all see the same one
        self.notify("on_train_begin", X=data, y=None)
        # Not by setattr: skorch would take it for a part of the net.
        self.__dict__["_parallel"] = self._processes.parallel(self.module_)
        try:
            self._repeat_epochs(iterators, sides, point, lambda: self._begin(train))
            if finetuning is not None:
                finetuning.finish(self)
            self.notify("on_train_end", X=data, y=None, **sides)
        finally:
            self.__dict__["_parallel"] = None
            for _, callback in self.callbacks_:
                if isinstance(callback, TrainingProgress):
                    callback.stop()

    def _begin(self, train: Subset) -> None:
        self._compute_in(self._chosen_precision(train))

    def _chosen_precision(self, train: Subset) -> str:
        """Return the precision of training, ``"auto"`` decided by timing the model's own steps."""
        if self.precision != "auto":
            return self.precision
        rows = np.linspace(0, len(train) - 1, min(_SOME_WINDOWS, len(train))).astype(int)
        x, _ = unpack_data(collate_windows(train.__getitems__(rows.tolist())))
        x = x.to(self.device).unpack() if isinstance(x, PackedWindows) else to_tensor(x, device=self.device)
        backbone = uncompiled(self.module_).backbone
        plan, _ = training_plan(backbone, x, self._batch_size("train", train), "auto", None)
        return self._processes.agreed(plan.precision)

    def _compute_in(self, precision: str) -> None:
        self.precision_ = precision
        self._scale_gradients(precision)

    def _one_epoch(self, iterator: Any, iterator_valid: Any, sides: dict[str, Any]) -> None:
        self._check_alike(sides)
        self._means = {True: EpochMeans(), False: EpochMeans()}
        self._batches[True].seed = mixed_seed(self.seed_, len(self.history))
        super()._one_epoch(iterator, iterator_valid, sides)
        # Rows of batches are those of one process, and a restart point would grow by them.
        self.history[-1]["batches"].clear()

    def _check_alike(self, sides: dict[str, Any]) -> None:
        """Raise where processes of one fit are about to train on other data, or another epoch."""
        here = {name: len(side) for name, side in sides.items() if side is not None}
        here = {"epochs done": len(self.history), "batches": len(self._batches[True]), **here}
        main = self._processes.agreed(here)
        if main != here:
            raise RuntimeError(
                f"process {self._processes.rank} of {self._processes.n} is at {here}, the first one at {main}: all must be "
                "given the same windows, and see the same restart_dir"
            )

    def _record_epoch(self) -> None:
        """Write loss, logs and what follows from them into the history, of all processes."""
        for training, prefix in ((True, "train"), (False, "valid")):
            for key, value in self._told(self._means[training], self._processes).items():
                self.history.record(f"{prefix}_{key}", value)
        if False in self._batches:
            self.history.record("valid_batch_count", len(self._batches[False].batches))  # type: ignore[arg-type]

    def _told(self, means: EpochMeans, processes: Processes | None = None) -> dict[str, float]:
        """Return what an epoch's batches tell together: scalar means, and what follows from all."""
        found = means.means(processes)
        if not found:
            return {}
        scalars = {key: float(mean) for key, mean in found.items() if mean.ndim == 0}
        return scalars | uncompiled(self.module_).derive(found)

    # --- restart points ---------------------------------------------------------------------------

    def _fit_identity(self, data: SignalData, train: Subset, valid: Subset | None) -> dict[str, Any]:
        """Return what makes this fit this fit, for its restart point."""
        unseen = (*UNSEEN, "random_state", "device", "accelerator")
        params = {k: v for k, v in self.get_params(deep=False).items() if k not in unseen}
        if self.pretrained is not None:  # its content, wherever it lies
            params["pretrained"] = getattr(self.pretrained_report_, "blob_id", None)
        return {
            "kind": "pretraining",
            "parameters": describe(params),
            "seed": None if self.random_state is None else self.seed_,
            "device": torch.device(self.device).type,
            "input": data.info.as_dict(),
            "data": data.digest(),
            "targets": array_digest(np.asarray(train.dataset.y)),  # type: ignore[attr-defined]
            "train": array_digest(np.asarray(train.indices)),
            "valid": None if valid is None else array_digest(np.asarray(valid.indices)),
        }

    def _restart_state(self) -> dict[str, Any]:
        """Return what a restart point keeps beside the parts of every net."""
        return {"seed": self.seed_, "precision": self.precision_}

    def _read_restart_state(self, state: dict[str, Any]) -> Any:
        return int(state["seed"]), str(state["precision"])

    def _take_restart_state(self, own: Any) -> None:
        """Go on with the chance and the precision that a fit began with."""
        self.seed_, precision = own
        self._compute_in(precision)

    # --- steps ------------------------------------------------------------------------------------

    def _random(self, n: int, training: bool) -> tuple[BatchRandom, Place]:
        """Return the chance of the batch that was read last, and where it lies.

        Anew in training; in validation that of its windows' places, the same in every epoch.
        """
        place = self._batches[training].places.popleft()
        if not training:
            return PositionRandom(place.start, n, device=self.device), place
        seed = mixed_seed(self.seed_, len(self.history), place.batch)
        return BatchRandom(seed, n, place.start, place.n_all, device=self.device), place

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute loss and gradients of a batch."""
        x, targets = unpack_data(batch)
        self._set_training(True)
        rng, place = self._random(len(x), training=True)
        # Dropout of this step and this process, whatever was drawn before: so a fit that is taken
        # up again goes on exactly, and windows of two processes differ in it.
        torch.manual_seed(mixed_seed(self.seed_, len(self.history), place.batch, self._processes.rank))
        with precision_context("tf32" if self.precision_ == "tf32" else "fp32", torch.device(self.device).type):
            found = self._forward(self._parallel or self.module_, x, rng, targets)
            loss = self._finite(self.get_loss(found, targets, X=x, training=True))
            # Processes average their gradients, so a smaller part of the batch weighs less.
            share = place.n * self._processes.n / place.n_all
            self._scaled(loss if share == 1 else loss * share).backward()
        return {"loss": loss, "y_pred": found}

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the loss of a batch, under masks that are the same in every epoch."""
        x, targets = unpack_data(batch)
        self._set_training(False)
        with torch.no_grad():
            found = self._forward(self.module_, x, self._random(len(x), training=False)[0], targets)
            return {"loss": self.get_loss(found, targets, X=x, training=False), "y_pred": found}

    def _forward(self, module: Any, x: Any, rng: BatchRandom, targets: Any) -> dict[str, Tensor]:
        x = to_tensor(x, device=self.device)
        supervised = any(objective.supervised for objective in uncompiled(self.module_).objectives.values())
        y = to_tensor(targets, device=self.device) if supervised else None
        with precision_context(self.precision_, x.device.type):
            found: dict[str, Tensor] = module(x, rng, y)
        return found

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Tensor:
        """Return the loss of a batch, and keep what its objectives tell."""
        self._means[training].add(y_pred, len(X))
        loss: Tensor = y_pred["loss"]
        return loss

    # --- after training ---------------------------------------------------------------------------

    @contextmanager
    def _alone(self, side: Subset) -> Iterator[Any]:
        """Give batches for a validation pass that this process makes by itself."""
        before = {name: vars(self)[name] for name in ("_batches", "_means") if name in vars(self)}
        order = BatchSampler(SequentialSampler(side), self._batch_size("valid", side), drop_last=False)
        self._batches, self._means = {False: OwnBatches(order, training=False)}, {False: EpochMeans()}
        try:
            yield self._own_iterator(side, False)
        finally:
            self.__dict__.update(before)

    def evaluation_step(self, batch: Any, training: bool = False) -> Tensor:
        """Return the embeddings of a batch, float32."""
        x, _ = unpack_data(batch)
        self._set_training(training)
        with torch.set_grad_enabled(training), own_modes(self.device):
            x = to_tensor(x, device=self.device)
            embeddings: Tensor = self._embeddings(uncompiled(self.module_), x)
        return embeddings.float()

    @staticmethod
    def _embeddings(module: PretextModule, x: Tensor) -> Tensor:
        return module.stages().embeddings(x)

    def __getstate__(self) -> dict[str, Any]:
        running = ("_processes", "_batches", "_means", "_parallel", "_subjects")
        return {name: value for name, value in NeuralNet.__getstate__(self).items() if name not in running}
