"""How several processes train one classifier: each its part of every batch.

All have the same weights, draw the same batches and take the loss of the whole batch, so that what
is learnt, recorded and decided (scores, early stopping) is alike in all.  A process needs the
logits of the others for that, a few numbers a window, and the sum of their gradients.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from skorch.callbacks import PrintLog, ProgressBar
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from biot_bd.models.weight_identity import weight_digests
from biot_bd.runs import fingerprint
from biot_bd.training._validation import uncompiled
from biot_bd.training.classifier._training_loop import TrainingLoop
from biot_bd.training.finetuning.callback import FineTuning
from biot_bd.training.micro_batches import batch_normalising, decomposes, gradients_by_logits, gradients_by_window
from biot_bd.training.net.distributed import processes_of
from biot_bd.training.net.processes import Processes
from biot_bd.training.net.shares import BatchParts, Place, part_lengths
from biot_bd.training.private_paths import names_paths
from biot_bd.training.resume import mixed_seed, random_states, seeded, set_random_states
from biot_bd.training.tensorboard_folder import FolderLogger

_RUNNING = ("_processes", "_parts", "_part", "_targets", "_epoch_seed", "_batch_sampler")
_BY_BATCH_SAMPLER = ("batch_size", "shuffle", "sampler", "drop_last", "batch_sampler")


class SharedTraining(TrainingLoop):
    """What a classifier does where processes share its fit.

    See :class:`biot_bd.training.BIOTClassifier`.
    """

    _parts: dict[bool, BatchParts] | None = None  # of training and validation, while a fit is shared
    _part: Place | None = None  # of the batch that is computed
    _targets: Tensor | None = None  # of the whole batch
    _epoch_seed: int = 0
    _batch_sampler: BatchParts | None = None  # of the loader that is made

    # --- the processes ----------------------------------------------------------------------------

    def _meet(self) -> None:
        """Find the processes that share the coming fit."""
        wanted = getattr(self.accelerator, "mixed_precision", None)
        if wanted not in (None, "no", self.precision):
            raise ValueError(
                f"Accelerator(mixed_precision={wanted!r}), but precision={self.precision!r}, which decides here; say "
                f"precision={wanted!r}, one of fp32, tf32, bf16, fp16 and auto"
            )
        self._processes = processes_of(self)

    def _part_company(self) -> None:
        self._processes = Processes()

    @property
    def device(self) -> Any:
        """The device in use; None leaves it to an ``Accelerator``, if there is one."""
        given = getattr(self.accelerator, "device", None)
        if self.__dict__["device"] is None and given is not None:
            return str(given)
        return super().device

    @device.setter
    def device(self, value: Any) -> None:
        self.__dict__["device"] = value

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy keeps: no other process, who shares no fit of a copy."""
        state = {name: value for name, value in super().__getstate__().items() if name not in _RUNNING}
        if self.accelerator is not None:
            state["accelerator"] = None
        return state

    def __sklearn_clone__(self) -> Any:
        made = super().__sklearn_clone__()
        if self.accelerator is not None:
            made.accelerator = self.accelerator  # itself, not a copy: it is that of the process
        return made

    # --- a fit ------------------------------------------------------------------------------------

    def _begin_alike(self) -> None:
        """Draw the same numbers in all processes."""
        if self._processes.n > 1:
            set_random_states(self._processes.agreed(random_states()))

    def _fit_iterators(self, train: Subset, valid: Any) -> tuple[Any, Any]:
        whole = super()._fit_iterators(train, valid)
        if self._processes.n == 1:
            return whole
        parts: dict[bool, BatchParts] = {}
        made: list[Any] = []
        for side, loader, training in ((train, whole[0], True), (valid, whole[1], False)):
            if loader is None:
                made.append(None)
                continue
            parts[training] = BatchParts(_batches_of(loader), self._processes.rank, self._processes.n)
            self._batch_sampler = parts[training]
            try:
                made.append(self.get_iterator(side, training=training))
            finally:
                self._batch_sampler = None
        self._parts = parts
        return made[0], made[1]

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters with a prefix; the loaders of a shared fit give out parts."""
        params = super().get_params_for(prefix)
        if self._batch_sampler is None or not prefix.startswith("iterator_"):
            return params
        kept = {name: value for name, value in params.items() if name not in _BY_BATCH_SAMPLER}
        return {
            **kept,
            "batch_size": 1,
            "batch_sampler": self._batch_sampler,
        }  # 1: as torch wants it beside the sampler

    def _run_epochs(self, data: Any, train: Subset, valid: Any, groups: Any, seed: int | None) -> None:
        if self._processes.n == 1:
            super()._run_epochs(data, train, valid, groups, seed)
            return
        self._check_shareable(self._fit_identity(data, train, valid, groups, seed))
        self._share_weights()
        try:
            super()._run_epochs(data, train, valid, groups, seed)
        finally:
            self._parts = self._part = self._targets = None

    def _check_shareable(self, identity: dict[str, Any]) -> None:
        """Raise, in all processes, where they cannot train one model together."""
        normalising = batch_normalising(uncompiled(self.module_).train())
        if normalising is not None:
            raise ValueError(
                f"{normalising!r} of {type(uncompiled(self.module_)).__name__} normalises over the batch, of which each of "
                f"{self._processes.n} processes sees a part; train it in one process (accelerator=None)"
            )
        digests = self._processes.gathered({name: fingerprint({"value": value}) for name, value in identity.items()})
        other = [name for name in digests[0] if any(digest[name] != digests[0][name] for digest in digests)]
        if other:
            raise RuntimeError(
                f"the {self._processes.n} processes of this fit differ in {', '.join(other)}: all must be given the same "
                "windows and parameters; accelerator=None trains in each process apart"
            )

    def _share_weights(self) -> None:
        """Take the main process's weights in all."""
        for part in (uncompiled(self.module_), uncompiled(self.criterion_)):
            if isinstance(part, torch.nn.Module):
                self._processes.share_weights(part)

    def _largest_batch(self, dataset: Any) -> int:
        return max(part_lengths(super()._largest_batch(dataset), self._processes.n))

    def _choose_plans(self, dataset: Any) -> None:
        """Choose both plans; those of the main process hold in all."""
        super()._choose_plans(dataset)
        if self._processes.n > 1:
            plans = self._processes.agreed((self.facts_.inference_plan, self.facts_.training_plan))
            self._take_plans(*plans)

    def _tell_plans(self) -> None:
        if self._writes_files():
            super()._tell_plans()

    def initialize_callbacks(self) -> Any:
        """Make the callbacks; those that write or print are the main process's."""
        super().initialize_callbacks()
        if not self._processes.is_main:
            self.callbacks_ = [(name, callback) for name, callback in self.callbacks_ if not _writes(callback)]
        return self

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call callbacks, with targets and predictions of all windows of a shared batch."""
        if method_name == "on_train_end" and self._parts is not None:
            super().notify(method_name, **cb_kwargs)
            self._share_weights()  # of a checkpoint, which the main process alone has read
            return
        if self._parts is not None and method_name == "on_batch_begin":
            self._part = self._parts[cb_kwargs["training"]].places.popleft()
        if self._part is not None and self._targets is not None and method_name == "on_batch_end":
            self.history.record_batch(
                "train_batch_size" if cb_kwargs["training"] else "valid_batch_size", self._part.n_all
            )
            cb_kwargs["batch"] = (unpack_data(cb_kwargs["batch"])[0], self._targets.cpu())
            self._part = self._targets = None
        super().notify(method_name, **cb_kwargs)

    # --- an epoch ---------------------------------------------------------------------------------

    def _one_epoch(self, iterator: Any, iterator_valid: Any, sides: dict[str, Any]) -> None:
        if self._parts is not None:
            self._agree_on_epoch()
        super()._one_epoch(iterator, iterator_valid, sides)
        if self._parts is not None:  # with what callbacks wrote that only the main process has
            row = {key: value for key, value in self.history[-1].items() if key != "batches"}
            self.history[-1].update(self._processes.agreed(row))

    def _agree_on_epoch(self) -> None:
        """Begin an epoch with the same numbers and weights in all processes.

        Raises
        ------
        RuntimeError
            Weights are others, or another epoch is due.
        """
        set_random_states(self._processes.agreed(random_states()))
        state = hashlib.blake2b(torch.get_rng_state().numpy().tobytes(), digest_size=6)
        self._epoch_seed = int.from_bytes(state.digest(), "big")
        found = self._processes.gathered((len(self.history), fingerprint(weight_digests(uncompiled(self.module_)))))
        if len(set(found)) > 1:
            raise RuntimeError(
                f"the {self._processes.n} processes of this fit have done {[n for n, _ in found]} epochs and have other "
                "weights; does a callback change them by chance, or in some processes only?"
            )

    # --- a batch ----------------------------------------------------------------------------------

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the loss of a batch and its gradients, of which each process has a part."""
        if self._part is None:
            return super().train_step_single(batch, **fit_params)
        self._take_targets(batch)
        # Windows of two processes differ in dropout, and what all draw together goes on alike.
        with seeded(mixed_seed(self._epoch_seed, self._part.batch, self._processes.rank)):
            step = super().train_step_single(batch, **fit_params)
        if isinstance(self.criterion_, torch.nn.Module):  # each process has the whole gradient of the loss's own
            for parameter in self.criterion_.parameters():
                if parameter.grad is not None:
                    parameter.grad /= self._processes.n
        self._processes.sum_gradients(parameter for _, parameter in self.get_all_learnable_params())
        return step

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the loss of a batch without gradients."""
        if self._part is None:
            found: dict[str, Any] = super().validation_step(batch, **fit_params)
            return found
        self._take_targets(batch)
        self._set_training(False)
        x, y = unpack_data(batch)
        with torch.no_grad():
            y_pred, y = self._of_batch(self.infer(x), y)
            return {"loss": self.get_loss(y_pred, y, X=x, training=False), "y_pred": y_pred}

    def _take_targets(self, batch: Any) -> None:
        self._targets = self._joined(to_tensor(unpack_data(batch)[1], device=self.device))

    def _joined(self, x: Tensor) -> Tensor:
        """Return the rows of all windows of the batch."""
        part = self._part
        return x if part is None else self._processes.joined(x[: part.n], part_lengths(part.n_all, self._processes.n))

    def _of_batch(self, y_pred: Any, y: Any) -> tuple[Any, Any]:
        """Return logits and targets of the whole batch; others' logits are constants here."""
        part = self._part
        if part is None:
            return super()._of_batch(y_pred, y)
        own = (y_pred[0] if isinstance(y_pred, tuple) else y_pred).float()
        all_rows = self._joined(own)
        whole = torch.cat([all_rows[: part.start], own[: part.n], all_rows[part.start + part.n :]])
        if part.n == 0:  # without a window of its own: gradients of 0
            whole = whole + 0.0 * own.sum()
        return whole, self._targets

    def _mix(self, finetuning: FineTuning, x: Tensor) -> tuple[Tensor, tuple[float, Tensor] | None]:
        """Mix windows with others of the same process, in the same shares in all."""
        part = self._part
        if part is None:
            return super()._mix(finetuning, x)
        with seeded(mixed_seed(self._epoch_seed, part.batch)):
            mixed, mixture = super()._mix(finetuning, x)
        if mixture is None:
            return mixed, None
        share, partners = mixture
        return mixed, (share, self._joined(partners + part.start))

    def _micro_batches(self, x: Tensor, y: Tensor, size: int) -> dict[str, Any]:
        part, targets = self._part, self._targets
        if part is None or targets is None:
            return super()._micro_batches(x, y, size)
        criterion, rows = uncompiled(self.criterion_), slice(part.start, part.start + part.n)
        contexts = self._precision_context, self._scaled
        learns = any(True for _ in criterion.parameters())
        if decomposes(criterion) and type(self).get_loss is TrainingLoop.get_loss and not learns:
            terms = self._loss_terms(targets)
            normalisers = [criterion.normaliser(all_rows) for _, all_rows in terms]
            own = [(share, all_rows[rows]) for share, all_rows in terms]
            _, logits = gradients_by_window(self._logits, x, own, criterion, size, *contexts, normalisers)
            with torch.no_grad():
                whole, _ = self._of_batch(logits, y)
                return {"loss": self._finite(self.get_loss(whole, targets, X=x, training=True)), "y_pred": whole}
        seen: list[Tensor] = []

        def loss_of(logits: Tensor) -> Tensor:
            whole, _ = self._of_batch(logits, y)
            seen.append(whole.detach())
            return self.get_loss(whole, targets, X=x, training=True)

        loss, _ = gradients_by_logits(self._logits, x, loss_of, size, *contexts)
        return {"loss": self._finite(loss), "y_pred": seen[0]}


def _batches_of(loader: Any) -> Any:
    """Return what a loader draws whole batches from."""
    while not isinstance(loader, DataLoader):
        loader = getattr(loader, "loader", None)
        if loader is None:
            raise ValueError(
                "iterator_train and iterator_valid must be DataLoaders of torch where processes share a fit, which gives "
                "each its part of a batch"
            )
    return loader.batch_sampler


def _writes(callback: Any) -> bool:
    return isinstance(callback, (FolderLogger, PrintLog, ProgressBar)) or names_paths(callback)


def take_own_steps(cls: type, own: type) -> None:
    """Have a class that mixes in skorch's ``AccelerateMixin`` train by the steps of ``own``.

    The mixin's own leave out precision, micro-batches, augmentation and recipes, share batches and
    losses otherwise, and wrap the module.  What a class of somebody's defines in front of it stays.

    Parameters
    ----------
    cls : type
        With the mixin among its bases, or not.
    own : type
        The classifier.
    """
    mixin = next(
        (base for base in cls.__mro__ if (base.__module__, base.__name__) == ("skorch.hf", "AccelerateMixin")), None
    )
    if mixin is None:
        return
    for name, value in vars(mixin).items():
        if name == "__init__" or not callable(value) or not hasattr(own, name):
            continue
        if next(base for base in cls.__mro__ if name in vars(base)) is mixin:
            setattr(cls, name, getattr(own, name))
