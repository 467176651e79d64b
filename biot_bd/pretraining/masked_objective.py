"""What masked objectives share: hide tokens, predict them, score them beside a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from biot_bd.models.token_stages import TokenSizes, TokenStages
from biot_bd.pretraining.batch_random import BatchRandom
from biot_bd.pretraining.embedding_std import embedding_std
from biot_bd.pretraining.interpolation import by_channel, interpolate, rows_by_channel
from biot_bd.pretraining.masks import Geometry, Masking
from biot_bd.pretraining.objective import Objective
from biot_bd.pretraining.reconstruction import Reconstruction
from biot_bd.pretraining.target_scale import Standardise, TargetScale, check_standardise
from biot_bd.pretraining.visible import Visible


@dataclass(frozen=True)
class Prediction:
    """What a masked objective makes of a window whose hidden tokens it does not see.

    Parameters
    ----------
    patches : Tensor, shape (n, n_chans, n_frames, n_features)
        In the scale of the targets.
    penalties : Tensor, shape (n,), optional
        What joins a window's loss beside its error, e.g. a divergence.
    told : dict of str to Tensor
        Further logs, means over windows.
    """

    patches: Tensor
    penalties: Tensor | None = None
    told: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskedView:
    """A batch with some tokens hidden.

    Parameters
    ----------
    patches : Tensor, shape (n, n_chans, n_frames, n_features)
        As the model makes its tokens from them; those of hidden tokens must not be read to predict.
    hidden, scored : Tensor of bool, shape (n, n_chans, n_frames)
        Tokens that are hidden, and those of them that count in the loss.
    present : Tensor of bool, shape (n, n_chans), or None
    content : Tensor, of the shape of ``patches``
        What is asked for before it is standardised.
    scale : TargetScale
    kind : str
        ``"spectrum"`` or ``"signal"``.
    """

    patches: Tensor
    hidden: Tensor
    scored: Tensor
    present: Tensor | None
    content: Tensor
    scale: TargetScale
    kind: str

    @property
    def visible(self) -> Tensor:
        """Tokens that the model sees, bool (n, n_chans, n_frames)."""
        return ~self.hidden if self.present is None else ~self.hidden & self.present[..., None]


class MaskedObjective(Objective):
    """Base of objectives that predict hidden tokens from visible ones.

    A subclass writes :meth:`predict`.  The loss is the mean squared error over a window's scored
    tokens, then the mean over windows.

    Parameters
    ----------
    sizes : TokenSizes
        Of the model's tokens.
    mask_geometry : {"token", "time", "channel", "block"}
        What is hidden, see :class:`biot_bd.pretraining.Masking`.
    mask_ratio : float
        Share of tokens that is hidden.
    block_frames : int
        Length of a block in frames.
    guard_frames : int
        Frames from the nearest visible one that a token needs to be scored.
    standardise : {"channel", "token"} or None
        Scale of the targets: by mean and standard deviation of the channel's visible tokens, or
        each token by its own (its level is not asked for then).

    See Also
    --------
    biot_bd.pretraining.Masking : Chooses what is hidden.
    biot_bd.pretraining.interpolate : The guess from neighbours.

    Notes
    -----
    Targets of spectra are ``log(1 + magnitude)``.  Logs, beside the loss:

    - ``mse``: of scored tokens; ``mse_visible``: of visible ones, which the loss leaves out.
    - ``mse_interpolation``: that of the guess from visible neighbours; ``mse_window_mean``: that of
      the mean of the channel's visible tokens, the stronger guess where spectra are steady.
    - ``chance``: MSE of one mean token for all windows, the best of constants.
    - ``skill``: 1 - mse / mse_interpolation; ``skill_strict``: against the best of these three.
      Each is left out where a guess has no error.
    - ``masked_fraction``, ``scored_fraction``: of present tokens.
    - ``embedding_std``: of whole windows' embeddings, in validation alone, as it takes a second
      pass; near 0 the model has collapsed.  (Embeddings of visible parts differ by what is visible,
      collapsed or not.)

    Examples
    --------
    One that always says that a token is as the mean of its channel's visible ones:

    >>> import torch
    >>> from biot_bd.models import BIOT
    >>> from biot_bd.pretraining import BatchRandom, MaskedObjective
    >>> from biot_bd.pretraining.masked_objective import Prediction
    >>> class Level(MaskedObjective):
    ...     def predict(self, tokens, view, rng):
    ...         return Prediction(torch.zeros_like(view.patches))
    >>> stages = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=1000, n_outputs=2
    ... ).token_stages()
    >>> told = Level(stages.sizes)(stages, torch.randn(8, 2, 1000), BatchRandom(1, n=8))
    >>> 0.9 < float(told["loss"]) < 1.1
    True
    """

    def __init__(
        self,
        sizes: TokenSizes,
        mask_geometry: Geometry = "block",
        mask_ratio: float = 0.5,
        block_frames: int = 3,
        guard_frames: int = 0,
        standardise: Standardise | None = "channel",
    ) -> None:
        super().__init__(sizes)
        check_standardise(standardise)
        self.masking = Masking(sizes, mask_geometry, mask_ratio, block_frames, guard_frames)
        self.standardise = standardise

    def predict(self, tokens: TokenStages, view: MaskedView, rng: BatchRandom) -> Prediction:
        """Predict all tokens from those of ``view.patches`` that are visible."""
        raise NotImplementedError

    def view(self, tokens: TokenStages, x: Tensor, rng: BatchRandom) -> MaskedView:
        """Hide tokens of a batch of windows (n, n_chans, n_times)."""
        x, present = tokens.present(x)
        patches = tokens.patches(x)
        hidden = self.masking.hidden(rng, present)
        content = patches.detach().float()
        content = torch.log1p(content) if tokens.kind == "spectrum" else content
        visible = ~hidden if present is None else ~hidden & present[..., None]
        scale = TargetScale.of(content, visible, self.standardise)
        scored = self.masking.scored(hidden, present)
        return MaskedView(patches, hidden, scored, present, content, scale, tokens.kind)

    def forward(self, tokens: TokenStages, x: Tensor, rng: BatchRandom) -> dict[str, Tensor]:
        """Return the loss, and how well hidden tokens are predicted and guessed."""
        view = self.view(tokens, x, rng)
        prediction = self.predict(tokens, view, rng)
        target = view.scale.target(view.content)
        difference = prediction.patches.float() - target
        mse = mean_error(difference, view.scored)
        losses = mse if prediction.penalties is None else mse + prediction.penalties
        return {
            "loss": losses.mean(),
            "mse": mse.mean().detach(),
            "mse_visible": mean_error(difference.detach(), view.visible).mean(),
            **self._guesses(view, target),
            **_fractions(view),
            **prediction.told,
            **({} if self.training else self._spread(tokens, x)),
        }

    @torch.no_grad()
    def _spread(self, tokens: TokenStages, x: Tensor) -> dict[str, Tensor]:
        return {"embedding_std": embedding_std(tokens.embeddings(x))}

    @torch.no_grad()
    def _guesses(self, view: MaskedView, target: Tensor) -> dict[str, Tensor]:
        """Return the errors of those who have learnt nothing."""
        share = (view.scored / view.scored.sum((1, 2), keepdim=True))[..., None]
        window_mean = view.scale.guess(_window_mean(view.content, view.visible))
        return {
            "mse_interpolation": mean_error(self._interpolated(view) - target, view.scored).mean(),
            "mse_window_mean": mean_error(window_mean - target, view.scored).mean(),
            "target_mean": (target * share).sum((1, 2)).mean(0),
            "target_square": (target.square() * share).sum((1, 2)).mean(0),
        }

    def _interpolated(self, view: MaskedView) -> Tensor:
        filled = interpolate(
            view.content, view.hidden, view.present, kind=view.kind, patch_chans=self.sizes.patch_chans
        )
        return view.scale.guess(filled)

    def derive(self, means: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the error of the best constant token, and skill over it and other guesses."""
        chance = float((means["target_square"] - means["target_mean"].square()).clamp(min=0).mean())
        mse, guess, level = (float(means[key]) for key in ("mse", "mse_interpolation", "mse_window_mean"))
        guesses = {"skill": guess, "skill_strict": min(guess, level, chance)}
        return {"chance": chance, **{key: 1 - mse / error for key, error in guesses.items() if error > 0}}

    @torch.no_grad()
    def reconstruct(self, tokens: TokenStages, x: Tensor, rng: BatchRandom) -> Reconstruction:
        """Return hidden tokens as they are, as predicted and as interpolated, channel by channel.

        ``hidden`` marks the tokens that are scored; 0 stands in absent channels.
        """
        view, chans = self.view(tokens, x, rng), self.sizes.patch_chans

        def rows(patches: Tensor) -> Tensor:
            absent = None if view.present is None else ~view.present[..., None, None]
            return by_channel(patches if absent is None else patches.masked_fill(absent, 0.0), chans)

        return Reconstruction(
            original=rows(view.scale.target(view.content)),
            predicted=rows(self.predict(tokens, view, rng).patches.float()),
            interpolated=rows(self._interpolated(view)),
            hidden=rows_by_channel(view.scored, chans),
            present=None if view.present is None else rows_by_channel(view.present, chans),
            kind=view.kind,
            unit=self._unit(view.kind),
        )

    def _unit(self, kind: str) -> str:
        what = "log(1 + magnitude)" if kind == "spectrum" else "signal"
        return what if self.standardise is None else f"{what}, standardised by {self.standardise}"


def encode_visible(tokens: TokenStages, view: MaskedView) -> tuple[Tensor, Visible]:
    """Encode the visible tokens of a batch alone.

    Parameters
    ----------
    tokens : TokenStages
    view : MaskedView

    Returns
    -------
    encoded : Tensor, shape (n, k, embed_dim)
        Without special tokens.
    visible : Visible
        Where they lie.
    """
    visible = Visible.of(view.hidden, view.present)
    placed = visible.take(tokens.place(tokens.embed(view.patches)))
    return tokens.encode(placed, visible.mask, visible.places)[:, tokens.n_special :], visible


def mean_error(difference: Tensor, scored: Tensor) -> Tensor:
    """Return each window's mean square over its scored tokens.

    Parameters
    ----------
    difference : Tensor, shape (n, n_chans, n_frames, n_features)
    scored : Tensor of bool, shape (n, n_chans, n_frames)

    Returns
    -------
    Tensor, shape (n,)
    """
    errors = difference.square().mean(-1).masked_fill(~scored, 0.0)
    return errors.sum((1, 2)) / scored.sum((1, 2))


def _window_mean(content: Tensor, visible: Tensor) -> Tensor:
    """Return the mean of each channel's visible tokens (the window's where it has none)."""
    some = visible.any(2)[..., None, None]
    total = content.masked_fill(~visible[..., None], 0.0).sum(2, keepdim=True)
    of_channel = total / visible.sum(2)[..., None, None].clamp(min=1)
    across = of_channel.sum(1, keepdim=True) / some.sum(1, keepdim=True)
    return torch.where(some, of_channel, across).expand_as(content)


def _fractions(view: MaskedView) -> dict[str, Tensor]:
    """Return the mean shares of present tokens that are hidden and that are scored."""
    n_present = view.hidden.sum((1, 2)) + view.visible.sum((1, 2))
    return {
        "masked_fraction": (view.hidden.sum((1, 2)) / n_present).mean(),
        "scored_fraction": (view.scored.sum((1, 2)) / n_present).mean(),
    }
