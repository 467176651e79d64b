"""``Pretrainer``: a model trained without labels, as a skorch net and a transformer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch import Tensor
from torch.utils.data import Subset

from biot_bd import registry
from biot_bd.models.checkpoints.pretrained_model import build_configured
from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.inference_plan import precision_context
from biot_bd.models.own_modes import own_modes
from biot_bd.models.token_stages import token_stages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.epoch_means import EpochMeans
from biot_bd.pretraining.pretext_module import PretextModule
from biot_bd.training._validation import resolve_device
from biot_bd.training.input_data import InputInfo, SignalData
from biot_bd.training.pretrained import recordings_of
from biot_bd.training.resume import seeded
from biot_bd.training.valid_splits import SubjectValidSplit, check_subjects_apart
from biot_bd.windows.torch_dataset import WindowsDataset, collate_windows


class NoCriterion:
    """What skorch calls its loss: objectives compute theirs themselves.

    No module on purpose: accelerate wraps every module, and one without parameters fails.
    """


class Pretrainer(NeuralNet):
    """Train a model without labels.

    Parameters
    ----------
    module : str, class or module
        A registered model (``"biot"``, ``"masked-vit"``, ...) with ``token_stages()``.
    objective : str, type or mapping
        A registered objective, its class, or several with weights:
        ``{"masked-spectrum": 1.0, "biot-contrastive": 0.5}``.  Parameters: ``objective__KEY`` of
        one, ``objective__NAME__KEY`` of several.
    """

    input_info_: InputInfo
    _module_config: dict[str, Any] | None = None

    def __init__(
        self,
        module: Any = "biot",
        objective: Any = "masked-spectrum",
        *,
        optimizer: Any = torch.optim.AdamW,
        lr: float = 1e-4,
        max_epochs: int = 20,
        batch_size: int = 64,
        train_split: Any = "subject",
        validation_fraction: float = 0.2,
        random_state: int | None = None,
        device: str | None = "auto",
        precision: str = "fp32",
        log_dir: Any = None,
        restart_dir: Any = None,
        callbacks: Any = None,
        pretrained: Any = None,
        verbose: int = 0,
        iterator_train__shuffle: bool = True,
        iterator_train__drop_last: bool = True,
        **kwargs: Any,
    ) -> None:
        own = {name: value for name, value in locals().items() if name in self._own_names()}
        objectives = {key: kwargs.pop(key) for key in list(kwargs) if key.startswith("objective__")}
        super().__init__(module, **{"criterion": NoCriterion, **kwargs})
        self.__dict__.update(own | objectives)

    @classmethod
    def _own_names(cls) -> list[str]:
        signature = inspect.signature(Pretrainer.__init__).parameters.values()
        return [p.name for p in signature if p.name != "self" and p.kind is not p.VAR_KEYWORD]

    @property
    def device(self) -> Any:
        """The device in use: what the parameter says, with ``"auto"`` decided."""
        return resolve_device(self.__dict__["device"])

    @device.setter
    def device(self, value: Any) -> None:
        self.__dict__["device"] = value

    # --- building ---------------------------------------------------------------------------------

    def _objectives(self) -> dict[str, tuple[type, float, dict[str, Any]]]:
        """Return class, weight and parameters of each objective, by name."""
        given = {k.removeprefix("objective__"): v for k, v in vars(self).items() if k.startswith("objective__")}
        if isinstance(self.objective, Mapping):
            return {
                name: (
                    registry.objectives[name],
                    float(weight),
                    {k.removeprefix(f"{name}__"): v for k, v in given.items() if k.startswith(f"{name}__")},
                )
                for name, weight in self.objective.items()
            }
        if isinstance(self.objective, str):
            return {self.objective: (registry.objectives[self.objective], 1.0, given)}
        return {self.objective.__name__: (self.objective, 1.0, given)}

    def initialize_module(self) -> Any:
        """Build the model for the data, and the objectives for the model."""
        module = registry.models[self.module] if isinstance(self.module, str) else self.module
        taken = inspect.signature(module).parameters
        facts = {name: getattr(self.input_info_, name) for name in ("n_chans", "n_times", "sfreq", "ch_names")}
        facts |= {"n_outputs": 2}
        known = {name: value for name, value in facts.items() if value is not None and name in taken}
        arguments = {**known, **self.get_params_for("module")}
        if self._module_config is not None:
            backbone = build_configured(module, {**arguments, **self._module_config}, Path())
        else:
            backbone = module(**arguments)
        sizes = token_stages(backbone).sizes
        objectives, weights = {}, {}
        for name, (cls, weight, parameters) in self._objectives().items():
            objectives[name], weights[name] = cls(sizes, **parameters), weight
        self.module_ = PretextModule(backbone, objectives, weights)
        return self

    # --- data -------------------------------------------------------------------------------------

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Return a torch data set that reads batches of ``X``; one of ours passes through."""
        if isinstance(X.dataset if isinstance(X, Subset) else X, WindowsDataset):
            return X
        data = X if isinstance(X, SignalData) else SignalData(X)
        if hasattr(self, "input_info_"):
            self.input_info_.check_same(data.info)
        return data.dataset(y)

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters with a prefix; iterators read whole batches."""
        params: dict[str, Any] = super().get_params_for(prefix)
        if prefix.startswith("iterator_"):
            params = {"batch_size": self.batch_size, "collate_fn": collate_windows, **params}
        return params

    def get_split_datasets(self, X: Any, y: Any = None, groups: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Return training and validation windows (None without validation), no subject in both."""
        dataset = self.get_dataset(X, y)
        if self.train_split is None:
            return Subset(dataset, list(range(len(dataset)))), None
        split = self.train_split
        if split == "subject":
            split = SubjectValidSplit(self.validation_fraction, self.random_state or 0)
        train, valid = split(dataset, np.zeros(len(dataset), dtype=int), groups)
        check_subjects_apart(train, valid, dataset, groups)
        return train, valid

    # --- training ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Pretrainer:
        """Train from the beginning; ``y`` is not used."""
        data = SignalData(X)
        self.input_info_ = data.info
        with seeded(self.random_state), own_modes(self.device, training=True):
            train, valid = self.get_split_datasets(data, None, data.groups if groups is None else groups)
            self.initialize()
            names = data.groups if groups is None else groups
            sides = [() if names is None or s is None else tuple(sorted(set(np.asarray(names)[np.asarray(s.indices)]))) for s in (train, valid)]
            self.train_subjects_, self.valid_subjects_ = sides
            self.provenance_ = Provenance("a model trained from scratch").extended([*sides[0], *sides[1]], how="unsupervised", recordings=recordings_of(X, [*sides[0], *sides[1]]))
            self.notify("on_train_begin", X=data, y=None)
            iterator = self.get_iterator(train, training=True)
            iterator_valid = None if valid is None else self.get_iterator(valid, training=False)
            for _ in range(self.max_epochs):
                self._one_epoch(iterator, iterator_valid, {"dataset_train": train, "dataset_valid": valid})
            self.notify("on_train_end", X=data, y=None)
        return self

    def _one_epoch(self, iterator: Any, iterator_valid: Any, sides: dict[str, Any]) -> None:
        self._means = {True: EpochMeans(), False: EpochMeans()}
        self._n_validated = 0
        self.notify("on_epoch_begin", **sides)
        self.run_single_epoch(iterator, training=True, prefix="train", step_fn=self.train_step)
        self.run_single_epoch(iterator_valid, training=False, prefix="valid", step_fn=self.validation_step)
        for training, prefix in ((True, "train"), (False, "valid")):
            means = self._means[training].means()
            if not means:
                continue
            told = {key: float(mean) for key, mean in means.items() if mean.ndim == 0 and key != "loss"}
            for key, value in {**told, **self.module_.derive(means)}.items():
                self.history.record(f"{prefix}_{key}", value)
        self.notify("on_epoch_end", **sides)

    def _random(self, n: int, training: bool) -> BatchRandom:
        """Return the chance of a batch: anew in training, the same each epoch in validation."""
        if training:
            return BatchRandom(int(torch.randint(2**31, (1,))), n, device=self.device)
        self._n_validated += 1
        return BatchRandom(self._n_validated, n, device=self.device)

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Run the objectives on a batch of windows."""
        x = to_tensor(x, device=self.device)
        with precision_context(self.precision, x.device.type):
            return self.module_(x, self._random(len(x), self.module_.training))

    def get_loss(self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False) -> Tensor:
        """Return the loss of a batch, and keep what its objectives tell."""
        self._means[training].add(y_pred, len(X))
        loss: Tensor = y_pred["loss"]
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} in epoch {len(self.history)}; lower lr")
        return loss

    def evaluate(self, X: Any) -> dict[str, float]:
        """Return the means that the objectives tell of windows."""
        self._means[False] = EpochMeans()
        self._n_validated = 0
        dataset = self.get_dataset(X)
        for batch in self.get_iterator(dataset, training=False):
            self.validation_step(batch)
        means = self._means[False].means()
        return {key: float(value) for key, value in {**means, **self.module_.derive(means)}.items()}

    # --- embeddings -------------------------------------------------------------------------------

    def evaluation_step(self, batch: Any, training: bool = False) -> Tensor:
        """Return the embeddings of a batch."""
        x, _ = unpack_data(batch)
        self._set_training(training)
        with torch.set_grad_enabled(training), own_modes(self.device):
            return token_stages(self.module_.backbone).embeddings(to_tensor(x, device=self.device))

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return embeddings, float32 (n, embed_dim)."""
        self.check_is_fitted()
        embeddings: NDArray[np.float32] = NeuralNet.predict_proba(self, X)
        return embeddings

    def fit_transform(self, X: Any, y: Any = None, groups: Any = None) -> NDArray[np.float32]:
        """Fit, and return the embeddings of the same windows."""
        return self.fit(X, y, groups).transform(X)

    def _get_predict_nonlinearity(self) -> Any:
        return lambda embeddings: embeddings
