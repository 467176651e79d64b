"""Where tokens enter the first layer of a model: read them there, and run the model with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.layouts import known, layout_of


@dataclass(frozen=True)
class TokenSite:
    """Where tokens enter the first layer of a model.

    A model of one's own brings one by a method ``token_site()``, and the layout of the tokens by
    ``token_layout(n_times)``.

    Parameters
    ----------
    path : str
        Module whose first argument are the tokens, (n, n_tokens, d) or, on a grid, (n, n_chans,
        n_frames, d).
    drops : bool
        Whether the model runs with fewer tokens, and what is left keeps its place: each carries its
        own channel and frame, and the head reads a mean or a special token.
    batch_first : bool
        False where the module takes (n_tokens, n, d).

    See Also
    --------
    token_site : Gives that of a model.
    TokenLayout : What the tokens stand for.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT, token_site
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... ).eval()
    >>> x = torch.randn(3, 2, 400)
    >>> site = token_site(model)
    >>> tokens = site.read(model, x)
    >>> tokens.shape, bool(torch.allclose(site.run(model, x, tokens), model(x), atol=1e-6))
    (torch.Size([3, 6, 16]), True)
    >>> site.run(
    ...     model, x, tokens, kept=torch.tensor([0, 1, 2])
    ... ).shape  # the first channel alone
    torch.Size([3, 2])
    """

    path: str
    drops: bool = True
    batch_first: bool = True

    def layout(self, model: nn.Module, n_times: int | None = None) -> TokenLayout:
        """Return what the tokens stand for.

        Parameters
        ----------
        model : torch.nn.Module
        n_times : int, optional
            Samples of a window; None: the model's own.

        Returns
        -------
        TokenLayout

        Raises
        ------
        ValueError
            It is not known.
        """
        layout = layout_of(model, n_times)
        if layout is None:
            raise ValueError(
                f"{type(model).__name__}: what its tokens stand for is not known; give it a method token_layout()"
            )
        return layout

    def read(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the tokens of windows.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode.
        x : Tensor, shape (n, n_chans, n_times)
            Absent channels NaN, where the model takes them.

        Returns
        -------
        Tensor, shape (n, n_tokens, d)
            With gradients to ``x`` where these are on; absent channels have some finite values.
        """
        seen: list[Tensor] = []

        def look(module: nn.Module, args: tuple[Any, ...]) -> None:
            seen.append(self._flat(args[0]))
            raise _Seen  # the layers behind need not run

        hook = model.get_submodule(self.path).register_forward_pre_hook(look)
        try:
            model(x)
        except _Seen:
            return seen[0]
        finally:
            hook.remove()
        raise ValueError(f"{type(model).__name__} ran without calling its module {self.path!r}: no tokens entered it")

    def run(self, model: nn.Module, x: Tensor, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """Run the model on windows with other tokens in the place of theirs.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode.
        x : Tensor, shape (n, n_chans, n_times)
            Windows; they say which channels are absent, whatever the tokens are.
        tokens : Tensor, shape (n, n_tokens, d)
            As from :meth:`read`; gradients flow through them.
        kept : Tensor of bool, shape (n_tokens,), or of int, shape (k,) or (n, k), optional
            The tokens that are there, for all windows or for each; the others are dropped from the
            sequence.  Special tokens must be among them.  None: all.

        Returns
        -------
        Tensor
            What the model gives: logits.

        Raises
        ------
        ValueError
            Tokens of another shape, none kept, a special token dropped, or the model needs all of
            its tokens (:attr:`drops`).
        """
        layout = self.layout(model, x.shape[-1])
        self._check(model, x, tokens, layout)
        if kept is not None:
            tokens = take(tokens, self._places(model, kept, len(x), layout))
        return self._run(model, x, tokens)

    def _run(self, model: nn.Module, x: Tensor, tokens: Tensor) -> Tensor:
        def replace(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            entering = tokens if self.batch_first else tokens.transpose(0, 1)
            return (entering.reshape(args[0].shape) if args[0].ndim == 4 else entering, *args[1:])

        hook = model.get_submodule(self.path).register_forward_pre_hook(replace)
        try:
            logits: Tensor = model(x)
        finally:
            hook.remove()
        return logits

    def _flat(self, entering: Tensor) -> Tensor:
        if entering.ndim == 4:
            return entering.flatten(1, 2)
        return entering if self.batch_first else entering.transpose(0, 1)

    @staticmethod
    def _check(model: nn.Module, x: Tensor, tokens: Tensor, layout: TokenLayout) -> None:
        if tokens.ndim != 3 or tokens.shape[:2] != (len(x), layout.n_tokens):
            raise ValueError(
                f"{type(model).__name__}: tokens of {len(x)} windows must have shape ({len(x)}, {layout.n_tokens}, "
                f"features), got {tuple(tokens.shape)}"
            )

    def _places(self, model: nn.Module, kept: Tensor, n_windows: int, layout: TokenLayout) -> Tensor:
        """Return the numbers of the tokens that are kept, in order, shape (n or 1, k)."""
        name = type(model).__name__
        if not self.drops:
            raise ValueError(
                f"{name} needs all of its tokens, so none can be dropped: leave out kept= and put other tokens in their "
                "place, e.g. the mean token"
            )
        places = _numbers(kept, n_windows, layout.n_tokens)
        if not places.shape[1]:
            raise ValueError(f"{name}: no token is kept of {layout.n_tokens}; keep one or more")
        # In order, and each once: special tokens are in front, or are not all there.
        front = places[:, : layout.n_special]
        if front.shape[1] < layout.n_special or not bool((front == torch.arange(layout.n_special)).all()):
            raise ValueError(
                f"{name}: kept= leaves out a special token ({', '.join(layout.special)}), on which the head may rest"
            )
        return places

    def _some(
        self, model: nn.Module, tokens: Tensor, mask: Tensor | None, kept: Tensor | None, layout: TokenLayout
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the tokens that are kept, which of them are of present channels, their numbers."""
        places = None
        if kept is not None:
            places = self._places(model, kept, len(tokens), layout)
            tokens, mask = take(tokens, places), None if mask is None else take(mask, places)
        if mask is not None and not bool(mask.any(dim=1).all()):
            window = int((~mask.any(dim=1)).nonzero()[0])
            raise ValueError(f"window {window} keeps tokens of absent channels only; keep one of a present channel")
        return tokens, mask, places


class _Seen(Exception):
    """The tokens have been seen."""


def take(tokens: Tensor, places: Tensor) -> Tensor:
    """Return some tokens (n, k, ...) of (n, n_tokens, ...), by their numbers (n or 1, k)."""
    rows = torch.arange(len(tokens), device=tokens.device)[:, None]
    return tokens[rows, places.to(tokens.device)]


def _numbers(kept: Tensor, n_windows: int, n_tokens: int) -> Tensor:
    """Return numbers of tokens, in order, shape (n_windows or 1, k)."""
    kept = torch.as_tensor(kept).cpu()
    if kept.dtype == torch.bool and kept.shape == (n_tokens,):
        return kept.nonzero().T
    whole = not (kept.is_floating_point() or kept.is_complex() or kept.dtype == torch.bool)
    if whole and (kept.ndim == 1 or (kept.ndim == 2 and len(kept) == n_windows)):
        places = torch.atleast_2d(kept.long()).sort(dim=-1).values
        inside = not places.numel() or (int(places.min()) >= 0 and int(places.max()) < n_tokens)
        if inside and bool((places[:, 1:] > places[:, :-1]).all()):
            return places
    raise ValueError(
        f"kept must be a bool tensor of shape ({n_tokens},), or numbers of tokens from 0 to {n_tokens - 1}, each once, "
        f"of shape (k,) or ({n_windows}, k); got {kept.dtype} of shape {tuple(kept.shape)}"
    )


def token_site(model: nn.Module) -> TokenSite:
    """Return where tokens enter the first layer of a model.

    Parameters
    ----------
    model : torch.nn.Module
        One with a method ``token_site()``, as BIOT has, or a transformer of braindecode: BENDR,
        BIOT, CBraMod, EEGConformer, EEGDINO, LaBraM, MSVTNet, PBT, STEEGFormer.

    Returns
    -------
    TokenSite

    Raises
    ------
    ValueError
        It is not known.

    See Also
    --------
    layout_of : What the tokens stand for.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import token_site
    >>> token_site(torch.nn.Identity())
    Traceback (most recent call last):
        ...
    ValueError: Identity: where its tokens enter is not known; give it a method token_site()
    """
    own: Any = getattr(model, "token_site", None)
    if callable(own):
        site = own()
        if not isinstance(site, TokenSite):
            raise TypeError(f"{type(model).__name__}.token_site() must give a TokenSite, gave {type(site).__name__}")
        return site
    make = known(model, _SITES)
    if make is None:
        raise ValueError(f"{type(model).__name__}: where its tokens enter is not known; give it a method token_site()")
    given: Any = model
    return make(given)


#: By name of braindecode's class.
_SITES: dict[str, Callable[[Any], TokenSite]] = {
    "BENDR": lambda model: TokenSite("contextualizer.transformer_layers.0", batch_first=False),
    "BIOT": lambda model: TokenSite("encoder.transformer"),
    "CBraMod": lambda model: TokenSite("encoder", drops=False),
    "EEGConformer": lambda model: TokenSite("transformer", drops=False),  # its head reads all tokens by place
    "EEGDINO": lambda model: TokenSite("encoder_layers.0", drops=False),
    # As a decoder of codes its attention knows how far patches are from one another.
    "Labram": lambda model: TokenSite("blocks.0", drops=bool(model.neural_tokenizer)),
    "MSVTNet": lambda model: TokenSite("transformer.trans"),
    "PBT": lambda model: TokenSite("transformer_encoder"),
    "STEEGFormer": lambda model: TokenSite("encoder"),
}
