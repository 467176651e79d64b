"""Check a pretraining objective: a module that scores windows through the stages of a model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd import registry
from biot_bd.models.token_stages import TokenStages, token_stages
from biot_bd.pretraining import BatchRandom, Objective, Pretrainer, Reconstruction
from biot_bd.testing._base import attempt, build, pickled, require, require_subclass

KINDS = {"spectrum", "signal"}
TOLERANCE = 1e-4
N_WINDOWS, N_CHANS, N_TIMES = 7, 3, 800
_CORPORA = {"corpora": ("first", "second"), "n_classes": (2, 3)}
_TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "spectrum": ("biot", {"embed_dim": 16, "num_heads": 2, "num_layers": 1}),
    "signal": ("masked-vit", {"preset": "tiny"}),
}


def check_objective(
    objective: type[Objective], parameters: Mapping[str, Any] | None = None, *, model: nn.Module | None = None
) -> None:
    """Check a class given to ``register_objectives``.

    Parameters
    ----------
    objective : type
        A subclass of :class:`biot_bd.pretraining.Objective`.
    parameters : mapping, optional
        Constructor parameters to test with, behind the sizes.
    model : torch.nn.Module, optional
        With ``token_stages()``, for windows of 3 channels and 800 samples (at 200 Hz); a tiny model
        of the right kind by default.

    Raises
    ------
    ConformanceError
        Its constructor is not plain; the loss is no finite scalar with a gradient, or a parameter
        gets none; a log is not detached; chance does not all come from ``rng``; the windows are
        changed; the loss is no mean over windows (unless ``across_windows``); an absent channel
        spoils it; a reconstruction depends on what was hidden; it cannot be pickled, or does not
        train in a :class:`biot_bd.Pretrainer`.

    See Also
    --------
    biot_bd.hookspecs.register_objectives : The hook for such classes.
    biot_bd.pretraining.Objective : What each method is asked.

    Examples
    --------
    >>> from biot_bd import registry
    >>> from biot_bd.testing import check_objective
    >>> check_objective(registry.objectives["biot-contrastive"])
    >>> check_objective(dict)
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ConformanceError: dict: expected a subclass of biot_bd.pretraining...
    """
    name = require_subclass(objective, Objective, "biot_bd.pretraining.Objective")
    kinds = objective.kinds
    require(kinds and kinds <= KINDS, f"{name}: kinds must be some of {sorted(KINDS)}, found {kinds!r}")
    model = _tiny_model(kinds) if model is None else model
    case = _Case(objective, parameters, model, name)
    case.check_losses()
    case.check_gradients()
    case.check_chance()
    case.check_parts()
    case.check_absent()
    case.check_hidden()
    case.check_copies()
    case.check_training()


def _tiny_model(kinds: frozenset[str]) -> nn.Module:
    name, sizes = _TINY[_kind(kinds)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = registry.models[name](n_chans=N_CHANS, n_times=N_TIMES, n_outputs=2, sfreq=200.0, **sizes)
    return model


def _kind(kinds: frozenset[str]) -> str:
    return "spectrum" if "spectrum" in kinds else "signal"


class _Altered:
    """The stages of a model that reads something else where tokens are hidden."""

    def __init__(self, stages: TokenStages, hidden: Tensor) -> None:
        self._stages, self._hidden = stages, hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stages, name)

    def patches(self, x: Tensor) -> Tensor:
        patches = self._stages.patches(x)
        hidden = self._hidden if self._hidden.shape == patches.shape[:3] else self._hidden.all(1, keepdim=True)
        return torch.where(hidden[..., None], patches.flip(0) + 3.0, patches)


class _Case:
    """An objective on a model, and windows."""

    def __init__(
        self, objective: type[Objective], parameters: Mapping[str, Any] | None, model: nn.Module, name: str
    ) -> None:
        self.cls, self.parameters, self.model, self.name = objective, dict(parameters or {}), model, name
        self.stages = token_stages(model)
        signature = list(inspect.signature(objective).parameters)
        require(signature, f"{name}: the constructor must take the sizes of tokens first")
        self.supplied = {signature[0]: self.stages.sizes, **(_CORPORA if objective.supervised else {})}
        self.objective: Objective = build(objective, parameters, supplied=self.supplied)
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(N_WINDOWS, N_CHANS, N_TIMES, generator=generator)
        self.targets = torch.stack([torch.arange(N_WINDOWS) % 2, torch.arange(N_WINDOWS) % 2], dim=1)

    def told(self, x: Tensor, case: str, rng: BatchRandom | None = None, rows: slice = slice(None)) -> dict[str, Any]:
        extra = {"targets": self.targets[rows]} if self.cls.supervised else {}
        rng = BatchRandom(5, len(x)) if rng is None else rng
        found = attempt(f"{self.name}: {case}: windows {tuple(x.shape)}", self.objective, self.stages, x, rng, **extra)
        require(isinstance(found, dict) and "loss" in found, f"{self.name}: {case}: expected a dict with 'loss'")
        return dict(found)

    def loss(self, x: Tensor, case: str, **kwargs: Any) -> Tensor:
        loss = self.told(x, case, **kwargs)["loss"]
        require(
            isinstance(loss, Tensor) and loss.ndim == 0 and loss.dtype.is_floating_point,
            f"{self.name}: {case}: the loss must be a floating-point tensor of shape (), got {loss!r:.60}",
        )
        require(torch.isfinite(loss), f"{self.name}: {case}: the loss is {loss.item()}; expected a finite number")
        return loss  # type: ignore[no-any-return]

    def modes(self, training: bool) -> None:
        self.model.train(training)
        self.objective.train(training)

    def check_losses(self) -> None:
        for training in (True, False):
            self.modes(training)
            before = self.x.clone()
            self.loss(self.x, "training" if training else "validation")
            require(torch.equal(self.x, before), f"{self.name}: the windows were changed in place")
            told = self.told(self.x, "logs")
            for key, value in told.items():
                require(isinstance(key, str) and " " not in key, f"{self.name}: a log is called {key!r}")
                require(isinstance(value, Tensor), f"{self.name}: {key} is no tensor but {type(value).__name__}")
                require(key == "loss" or not value.requires_grad, f"{self.name}: the log {key!r} is not detached")
            means = {key: value.detach().double() for key, value in told.items()}
            derived = attempt(f"{self.name}.derive", self.objective.derive, means)
            require(
                all(isinstance(key, str) and isinstance(value, float) for key, value in derived.items()),
                f"{self.name}.derive must return floats by name, got {derived!r:.80}",
            )

    def check_gradients(self) -> None:
        self.modes(True)
        loss = self.loss(self.x, "gradient")
        require(loss.requires_grad, f"{self.name}: the loss has no gradient; was a tensor detached?")
        attempt(f"{self.name}: backward", loss.backward)
        for label, module in (("its parameter", self.objective), ("the model's parameter", self.model)):
            parameters = list(module.named_parameters())
            wrong = [key for key, p in parameters if p.grad is not None and not torch.isfinite(p.grad).all()]
            require(not wrong, f"{self.name}: the gradient of {label} {wrong[:1]} is not finite")
        unused = [key for key, p in self.objective.named_parameters() if p.requires_grad and p.grad is None]
        require(not unused, f"{self.name}: {unused} get no gradient; what nothing trains stops distributed training")
        require(
            any(p.grad is not None and bool(p.grad.any()) for p in self.model.parameters()),
            f"{self.name}: no parameter of the model gets a gradient",
        )
        self.model.zero_grad()
        self.objective.zero_grad()

    def check_chance(self) -> None:
        """All chance comes from rng: torch's, numpy's and the order of calls do not matter."""
        self.modes(False)
        found = []
        with torch.random.fork_rng(devices=[]):
            for seed in (1, 2):
                torch.manual_seed(seed)
                found.append(self.loss(self.x, "the same rng twice").item())
        require(
            found[0] == found[1],
            f"{self.name}: the same windows and rng gave {found[0]} and {found[1]}; take all chance from rng",
        )

    def check_parts(self) -> None:
        if self.cls.across_windows:
            return
        self.modes(False)
        n = len(self.x)
        whole = self.loss(self.x, "a whole batch", rng=BatchRandom(5, n))
        parts = [
            self.loss(self.x[rows], "a part of a batch", rng=BatchRandom(5, size, rows.start, n), rows=rows) * size / n
            for rows, size in ((slice(0, 4), 4), (slice(4, n), n - 4))
        ]
        require(
            torch.isclose(whole, parts[0] + parts[1], rtol=TOLERANCE, atol=TOLERANCE),
            f"{self.name}: a batch costs {whole.item():.6g}, its parts together {(parts[0] + parts[1]).item():.6g}; the "
            "loss must be a mean over windows, or across_windows = True",
        )

    def check_absent(self) -> None:
        if not getattr(self.model, "accepts_absent_channels", False):
            return
        self.modes(True)
        x = self.x.clone()
        x[::2, 1] = torch.nan
        loss = self.loss(x, "an absent channel (NaN throughout)")
        attempt(f"{self.name}: backward with an absent channel", loss.backward)
        finite = all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in self.objective.parameters())
        require(finite, f"{self.name}: an absent channel makes gradients that are not finite")
        self.model.zero_grad()
        self.objective.zero_grad()

    def check_hidden(self) -> None:
        if type(self.objective).reconstruct is Objective.reconstruct:
            return
        self.modes(False)
        with torch.no_grad():
            found = self._reconstruct(self.stages)
            require(found.hidden.any(), f"{self.name}.reconstruct hides nothing")
            altered = self._reconstruct(_Altered(self.stages, found.hidden))
        rows = found.hidden[..., None].expand_as(found.predicted)
        before, after = found.predicted[rows], altered.predicted[rows]
        require(torch.isfinite(before).all(), f"{self.name}.reconstruct predicts what is not finite")
        require(
            torch.allclose(before, after, rtol=TOLERANCE, atol=TOLERANCE),
            f"{self.name}: what it predicts of hidden tokens changes by {float((before - after).abs().max()):.2g} with what "
            "is hidden there; it sees what it should predict",
        )

    def _reconstruct(self, stages: Any) -> Reconstruction:
        rng = BatchRandom(5, len(self.x))
        found = attempt(f"{self.name}.reconstruct", self.objective.reconstruct, stages, self.x, rng)
        require(isinstance(found, Reconstruction), f"{self.name}.reconstruct must return a Reconstruction")
        require(
            found.original.shape == found.predicted.shape == found.interpolated.shape
            and found.hidden.shape == found.original.shape[:3]
            and found.hidden.dtype == torch.bool,
            f"{self.name}.reconstruct: shapes {tuple(found.original.shape)}, {tuple(found.predicted.shape)}, "
            f"{tuple(found.interpolated.shape)} and hidden {tuple(found.hidden.shape)} do not fit",
        )
        return found  # type: ignore[no-any-return]

    def check_copies(self) -> None:
        self.modes(False)
        before = self.loss(self.x, "before pickling").item()
        original, self.objective = self.objective, pickled(self.objective, self.name)
        after = self.loss(self.x, "after pickling").item()
        self.objective = original
        require(before == after, f"{self.name}: the loss is {before} before pickling and {after} after")

    def check_training(self) -> None:
        """Train an epoch by class and ``objective__`` parameters, as a Pretrainer does."""
        name, sizes = _TINY[_kind(self.cls.kinds)]
        given: dict[str, Any] = {f"module__{key}": value for key, value in {**sizes, "sfreq": 200.0}.items()}
        own = {f"objective__{key}": value for key, value in self.parameters.items()}
        net = Pretrainer(name, self.cls, batch_size=4, max_epochs=1, device="cpu", random_state=0, **given)
        net.set_params(train_split=None, **own)
        x, groups = self.x.repeat(2, 1, 1).numpy(), np.repeat(["first/1", "second/1"], N_WINDOWS)
        y = np.arange(2 * N_WINDOWS) % 2 if self.cls.supervised else None
        attempt(f"{self.name}: training an epoch in a Pretrainer", net.fit, x, y, groups=groups)
        require(np.isfinite(net.history[-1, "train_loss"]), f"{self.name}: the loss of a Pretrainer is not finite")
