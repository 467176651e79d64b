"""The stages of a model that reads tokens, one by one, for what trains it without labels.

A pretraining objective hides tokens, mixes views or puts something else into their place, so it
needs what lies between a window and an embedding: the content of each token before anything learnt
(:meth:`TokenStages.patches`), its embedding, its place, the layers, and the read-out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of a decoder that goes with a model.

    Parameters
    ----------
    embed_dim, num_layers, num_heads : int
        Features of its tokens, layers, attention heads.

    See Also
    --------
    biot_bd.models.MaskedViT : Its presets say some.

    Examples
    --------
    >>> from biot_bd.models import DecoderSizes, MaskedViT
    >>> MaskedViT.presets["small"].decoder
    DecoderSizes(embed_dim=256, num_layers=4, num_heads=8)
    """

    embed_dim: int
    num_layers: int
    num_heads: int


@dataclass(frozen=True)
class TokenSizes:
    """Sizes of what a model's stages hand on.

    Parameters
    ----------
    n_chans : int
        Rows of the grid of tokens: channels, or 1 where a token is of all channels.
    n_frames : int
        Columns of the grid: stretches of time.
    n_features : int
        Numbers that a token is made from, before anything learnt.
    embed_dim : int
        Features of a token behind its embedding.
    patch_chans : int
        Channels that a token spans; its features are channel by channel.
    decoder : DecoderSizes, optional
        What the model's preset says of the decoder in pretraining; None: nothing.

    See Also
    --------
    TokenStages : Has them as ``sizes``.

    Examples
    --------
    >>> from biot_bd.models import TokenSizes
    >>> TokenSizes(n_chans=16, n_frames=19, n_features=101, embed_dim=256).n_tokens
    304
    """

    n_chans: int
    n_frames: int
    n_features: int
    embed_dim: int
    patch_chans: int = field(default=1, repr=False)
    decoder: DecoderSizes | None = field(default=None, repr=False)

    @property
    def n_tokens(self) -> int:
        """Tokens of a window."""
        return self.n_chans * self.n_frames


class TokenStages(ABC):
    """The stages of a model; tokens lie on a grid of channels and frames, channel by channel.

    Parameters
    ----------
    model : torch.nn.Module
        Its parameters are used, none is added.

    Attributes
    ----------
    kind : str
        What patches hold: ``"spectrum"`` (magnitudes) or ``"signal"`` (samples).

    See Also
    --------
    token_stages : Gives those of a model.
    biot_bd.pretraining.Objective : What uses them.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT, token_stages
    >>> stages = token_stages(
    ...     BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2)
    ... )
    >>> x, present = stages.present(torch.ones(1, 2, 400))
    >>> tokens = stages.place(stages.embed(stages.patches(x)))
    >>> some = torch.tensor([0, 2, 3])  # of channel 0 the frames 0 and 2, of channel 1 frame 0
    >>> tokens.shape, stages.read_out(tokens.flatten(1, 2)[:, some], places=some).shape
    (torch.Size([1, 2, 3, 16]), torch.Size([1, 16]))
    """

    kind: str

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model

    @property
    @abstractmethod
    def sizes(self) -> TokenSizes:
        """Sizes of the tokens of a window."""

    @property
    def n_special(self) -> int:
        """Tokens that :meth:`encode` puts in front of those of the grid, e.g. 1 for a class token.

        They are in what it returns, never in what it is given.
        """
        return 0

    @property
    def feature_hz(self) -> NDArray[np.float64] | None:
        """Frequency of each of the patches' features, in Hz; None where they are none."""
        return None

    @abstractmethod
    def present(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return windows without marks of absent channels, and which tokens' rows are present.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            A channel that is NaN throughout is absent.

        Returns
        -------
        x : Tensor, shape (n, n_chans, n_times)
        present : Tensor of bool, shape (n, sizes.n_chans), or None
            None where all are.
        """

    def token_mask(self, present: Tensor | None) -> Tensor | None:
        """Return which tokens are of present rows, bool (n, n_tokens); None: all are."""
        return None if present is None else present.repeat_interleave(self.sizes.n_frames, dim=1)

    @abstractmethod
    def patches(self, x: Tensor) -> Tensor:
        """Return what each token is made from, (n, n_chans, n_frames, n_features)."""

    @abstractmethod
    def embed(self, patches: Tensor) -> Tensor:
        """Map patches to (n, n_chans, n_frames, embed_dim), without their places."""

    @abstractmethod
    def place(self, tokens: Tensor) -> Tensor:
        """Add to each token of (n, n_chans, n_frames, embed_dim) its channel and its time."""

    def tokens(self, x: Tensor) -> Tensor:
        """Return placed tokens (n, n_tokens, embed_dim) of windows without marks."""
        return self.place(self.embed(self.patches(x))).flatten(1, 2)

    @abstractmethod
    def encode(self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Run the layers on placed tokens, all or some of them.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_tokens, embed_dim)
        mask : Tensor of bool, shape (n, n_tokens), optional
            False for tokens that get no attention.
        places : Tensor of int, shape (n_tokens,) or (n, n_tokens), optional
            Where some tokens are given: their numbers on the grid, ``channel * n_frames + frame``.
            None: they are all there, in order, or the model does not ask.

        Returns
        -------
        Tensor, shape (n, n_special + n_tokens, embed_dim)
        """

    @abstractmethod
    def pool(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the embedding (n, embed_dim) of what :meth:`encode` gave for tokens and mask."""

    def read_out(self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Return the embedding (n, embed_dim) of placed tokens: :meth:`encode` and :meth:`pool`.

        A model may know a shorter way to it.

        Parameters
        ----------
        tokens, mask, places
            As for :meth:`encode`.
        """
        return self.pool(self.encode(tokens, mask, places), mask)

    def embeddings(self, x: Tensor) -> Tensor:
        """Return the embedding (n, embed_dim) of whole windows, as a head would be given it."""
        features: Tensor = self.model(x, return_features=True)["features"]
        return features


def token_stages(model: nn.Module) -> TokenStages:
    """Return the stages of a model: what its method ``token_stages()`` gives.

    Parameters
    ----------
    model : torch.nn.Module
        E.g. :class:`biot_bd.models.BIOT`.

    Raises
    ------
    TypeError
        The model has none.

    Examples
    --------
    >>> from biot_bd.models import BIOT, token_stages
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... )
    >>> token_stages(model).sizes
    TokenSizes(n_chans=2, n_frames=3, n_features=101, embed_dim=16)
    """
    make = getattr(model, "token_stages", None)
    if make is None:
        raise TypeError(
            f"{type(model).__name__} has no token_stages(), which pretraining asks for; take 'biot', 'multi-scale-biot' or "
            "'masked-vit', or give the class such a method (see biot_bd.models.TokenStages)"
        )
    stages: TokenStages = make()
    return stages
