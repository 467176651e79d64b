"""The objective ``band-power``: tell how much power each band of a hidden token has.

Chien, H.-Y. S. et al. (2022). MAEEG: Masked auto-encoder for EEG representation learning. arXiv:
2211.02625, with band powers in the place of samples.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from biot_bd.models import TokenSizes, TokenStages
from biot_bd.pretraining import BatchRandom, Objective


class BandPower(Objective):
    """Hide tokens, and predict the logarithm of their power in bands from the others.

    Parameters
    ----------
    sizes : TokenSizes
        Of the model's tokens.
    mask_ratio : float
        Share of the tokens that are hidden.
    n_bands : int
        Into how many bands of equal width a spectrum is cut.
    """

    kinds = frozenset({"spectrum"})

    def __init__(self, sizes: TokenSizes, mask_ratio: float = 0.5, n_bands: int = 5) -> None:
        super().__init__(sizes)
        self.n_hidden = round(mask_ratio * sizes.n_tokens)
        if not 0 < self.n_hidden < sizes.n_tokens:
            raise ValueError(
                f"mask_ratio={mask_ratio} hides {self.n_hidden} of {sizes.n_tokens} tokens; hide some, and leave some"
            )
        if not 0 < n_bands <= sizes.n_features:
            raise ValueError(f"n_bands must be 1 to {sizes.n_features}, the bins of a spectrum; got {n_bands}")
        self.n_bands = n_bands
        self.mask_token = nn.Parameter(torch.zeros(sizes.embed_dim))
        self.head = nn.Linear(sizes.embed_dim, n_bands)

    def forward(self, tokens: TokenStages, x: Tensor, rng: BatchRandom) -> dict[str, Tensor]:
        """Return the mean squared error over hidden tokens.

        Parameters
        ----------
        tokens : TokenStages
        x : Tensor of shape (n, n_chans, n_times)
            A channel that is NaN throughout is absent.
        rng : BatchRandom

        Returns
        -------
        dict
            ``loss``; ``guess``, the error of a window's own mean over visible tokens.
        """
        x, there = self._present(tokens, x)
        patches = tokens.patches(x)
        hidden = self._hidden(rng)
        target, predicted = self._powers(patches), self._predicted(tokens, patches, hidden, there)
        guess = _mean(target, there & ~hidden)[:, None]
        told = {"loss": self._error(predicted, target, hidden & there)}
        return {**told, "guess": self._error(guess, target, hidden & there).detach()}

    def derive(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the skill over the guess: 1 is perfect, 0 as good as the guess."""
        return {"skill": 1.0 - float(means["loss"] / means["guess"])}

    def _present(self, tokens: TokenStages, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows without NaN, and which tokens are there, (n, n_tokens)."""
        x, present = tokens.present(x)
        if present is None:
            present = torch.ones(len(x), self.sizes.n_chans, dtype=torch.bool, device=x.device)
        return x, present.repeat_interleave(self.sizes.n_frames, dim=1)

    def _hidden(self, rng: BatchRandom) -> Tensor:
        """Return which tokens of each window are hidden, (n, n_tokens), the same number in all."""
        rank = rng.uniform(self.sizes.n_tokens).argsort(dim=1).argsort(dim=1)
        return rank < self.n_hidden

    def _powers(self, patches: Tensor) -> Tensor:
        """Return log powers by band, (n, n_tokens, n_bands)."""
        bands = patches.float().square().flatten(1, 2).tensor_split(self.n_bands, dim=2)
        return torch.stack([band.mean(dim=2) for band in bands], dim=2).add(1e-6).log()

    def _predicted(self, tokens: TokenStages, patches: Tensor, hidden: Tensor, there: Tensor) -> Tensor:
        embedded = tokens.embed(patches)
        grid = hidden.unflatten(1, embedded.shape[1:3])
        seen = torch.where(grid[..., None], self.mask_token.to(embedded.dtype), embedded)
        encoded = tokens.encode(tokens.place(seen).flatten(1, 2), there)
        predicted: Tensor = self.head(encoded).float()
        return predicted

    @staticmethod
    def _error(predicted: Tensor, target: Tensor, scored: Tensor) -> Tensor:
        """Return the mean over windows of what each window's scored tokens give."""
        return _mean((predicted - target).square().mean(dim=2, keepdim=True), scored).mean()


def _mean(values: Tensor, rows: Tensor) -> Tensor:
    """Return means (n, k) of values (n, n_tokens, k) over the tokens of each window that count."""
    return (values * rows[..., None]).sum(dim=1) / rows.sum(dim=1, keepdim=True).clamp(min=1)
