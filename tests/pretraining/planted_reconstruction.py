"""An objective whose reconstructions are planted, so that their scores are known."""

import torch
from torch import nn

from biot_bd.pretraining import Objective, Reconstruction


class Planted(Objective):
    """Hides every second token and says of them what its parameter ``error`` asks for."""

    def __init__(self, sizes, error=0.5):
        super().__init__(sizes)
        self.error = error
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, tokens, x, rng):
        x, _ = tokens.present(x)
        loss = (self.scale * tokens.embeddings(x)).square().mean()
        return {"loss": loss, "mse": loss.detach()}

    def derive(self, means):
        return {"skill": 1 - self.error**2, "chance": 1.0}

    def reconstruct(self, tokens, x, rng):
        x, present = tokens.present(x)
        patches = tokens.patches(x)
        hidden = (torch.arange(patches.shape[2]) % 2 == 0).expand(patches.shape[:3])
        if present is not None:
            hidden = hidden & present[..., None]
        # The guess is wrong by one everywhere, the prediction by ``error``.
        return Reconstruction(patches, patches + self.error, patches + 1, hidden, present, tokens.kind, "magnitude")
