"""A model and the objectives that train it, as one module for skorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from biot_bd.models.token_stages import TokenStages, token_stages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.objective import Objective


class PretextModule(nn.Module):
    """A model without its head, and objectives with weights.

    Parameters
    ----------
    backbone : torch.nn.Module
        With ``token_stages()``; its ``final_layer`` is left out: a head that nothing trains would
        stop distributed training and spoil checkpoints.
    objectives : mapping of str to Objective
        By name.
    weights : mapping of str to float
        Of their losses, by the same names.
    """

    def __init__(self, backbone: nn.Module, objectives: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.backbone.final_layer = nn.Identity()
        self.objectives = nn.ModuleDict(objectives)
        self.weights = dict(weights)

    def stages(self) -> TokenStages:
        """Return the stages of the model."""
        return token_stages(self.backbone)

    def forward(self, x: Tensor, rng: BatchRandom, targets: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``"loss"``, the weighted sum, and what each objective tells.

        Logs of several objectives have the objective's name in front, as in
        ``"masked-spectrum_mse"``; one alone needs none.
        """
        stages, total = self.stages(), x.new_zeros(())
        told: dict[str, Tensor] = {}
        for name, objective in self._each():
            extra: dict[str, Any] = {"targets": targets} if objective.supervised else {}
            found = objective(stages, x, rng, **extra)
            total = total + self.weights[name] * found["loss"].float()
            told |= {self.key(name, key): value.detach() for key, value in found.items() if self._tells(key)}
        return {"loss": total, **told}

    def _each(self) -> list[tuple[str, Objective]]:
        return [(name, cast(Objective, objective)) for name, objective in self.objectives.items()]

    def _tells(self, key: str) -> bool:
        return key != "loss" or len(self.objectives) > 1

    def key(self, name: str, key: str) -> str:
        """Return under which key the log of an objective is kept."""
        return key if len(self.objectives) == 1 else f"{name}_{key}"

    def derive(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Return what the objectives derive from an epoch's means."""
        found: dict[str, float] = {}
        for name, objective in self._each():
            prefix = self.key(name, "")
            own = {key.removeprefix(prefix): mean for key, mean in means.items() if key.startswith(prefix)}
            found |= {self.key(name, key): value for key, value in objective.derive(own).items()}
        return found
