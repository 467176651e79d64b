"""Models on which what a probe must give is known in closed form."""

import torch
from torch import nn

from biot_bd.models import TokenLayout
from biot_bd.models.attention.tokens import TokenSite


class LinearModel(nn.Module):
    """Logits are products with one weight a sample."""

    sfreq = 100.0

    def __init__(self, n_chans=3, n_times=200, n_outputs=2, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(n_outputs, n_chans, n_times, generator=generator))

    def forward(self, x):
        return torch.einsum("nct,kct->nk", x, self.weight)


class AbsentLinearModel(LinearModel):
    """The same, where an absent channel counts nothing."""

    accepts_absent_channels = True

    def forward(self, x):
        return super().forward(x.nan_to_num())


class TokenModel(nn.Module):
    """Tokens are stretches of 50 samples, frame by frame behind a class token; logits are linear in
    their mean, with a weight by token.
    """

    sfreq = 100.0

    def __init__(self, n_chans=3, n_frames=4, special=("class",), drops=True):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.n_chans, self.n_frames, self.special, self.drops = n_chans, n_frames, special, drops
        self.layers = nn.Identity()
        self.head = nn.Parameter(torch.randn(2, 50, generator=generator))
        self.first = nn.Parameter(torch.randn(1, len(special), 50, generator=generator))

    def forward(self, x):
        tokens = x.unflatten(-1, (self.n_frames, 50)).transpose(1, 2).flatten(1, 2)
        tokens = self.layers(torch.cat([self.first.expand(len(x), -1, -1), tokens], dim=1))
        return tokens.mean(dim=1) @ self.head.T

    def token_layout(self, n_times=None):
        starts = torch.arange(self.n_frames).numpy() / 2
        names = tuple(f"C{i}" for i in range(self.n_chans))
        return TokenLayout(names, starts, starts + 0.5, order="frame", special=self.special)

    def token_site(self):
        return TokenSite("layers", drops=self.drops)
