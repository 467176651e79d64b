"""The encoder of BIOT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from linear_attention_transformer import linear_attention_transformer as lat
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.models import fast_attention
from biot_bd.models.fast_attention import Layer
from biot_bd.models.fast_inference import WeightCopies, infer, needs_copies
from biot_bd.models.inference_plan import DTYPES, PrecisionPlan, precision_context


def linear_attn(q: Tensor, k: Tensor, v: Tensor, kv_mask: Tensor | None = None) -> Tensor:
    """Linear attention of the library, with a mask that ``torch.compile`` can follow.

    The library writes its mask into ``k`` and ``v`` in place, which compilers refuse.

    Parameters
    ----------
    q, k, v : Tensor, shape (n, heads, tokens, features)
    kv_mask : Tensor of bool, shape (n, tokens), optional
        False for tokens that get no attention.

    Returns
    -------
    Tensor, shape (n, heads, tokens, features)
    """
    if kv_mask is not None:
        absent = ~kv_mask[:, None, :, None]
        k, v = k.masked_fill(absent, -torch.inf), v.masked_fill(absent, 0.0)
    return lat.linear_attn(q, k, v)


class BIOTEncoder(nn.Module):
    """The encoder of BIOT: spectrum frames of all channels to one embedding.

    It takes over the submodules of braindecode's encoder, so parameters keep their names.

    Parameters
    ----------
    encoder : torch.nn.Module
        ``braindecode.models.BIOT(...).encoder``.
    channel_ids : sequence of int
        Row of the token table for each input channel.
    n_channel_tokens : int
        Size of the token table.
    class_token : Tensor, shape (embed_dim,), optional
        First values of a token in front of all others, which is then what is read out.  None: the
        mean over tokens is.
    token_drop_prob : float
        Share of whole tokens that training leaves out of the sequence.

    See Also
    --------
    biot_bd.models.BIOT : The encoder with a head.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT
    >>> encoder = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... ).encoder.eval()
    >>> x = torch.zeros(1, 2, 400)
    >>> encoder.spectrum(x).shape, encoder.tokens(x).shape, encoder(x).shape
    (torch.Size([1, 2, 3, 101]), torch.Size([1, 6, 16]), torch.Size([1, 16]))
    """

    index: Tensor

    def __init__(
        self,
        encoder: Any,
        channel_ids: Sequence[int],
        n_channel_tokens: int,
        class_token: Tensor | None = None,
        token_drop_prob: float = 0.0,
    ) -> None:
        super().__init__()
        self.token_drop_prob = float(token_drop_prob)
        self._copies: dict[torch.dtype, WeightCopies] = {}
        own = (type(encoder.patch_embedding), type(encoder.positional_encoding))
        self._front_types = (nn.Linear, nn.Embedding, nn.Dropout, *own)
        self.n_fft = int(encoder.n_fft)
        self.hop_length = int(encoder.hop_length)
        # Same order of registration as braindecode's: the state dict has the same order too.
        self.patch_embedding: Any = encoder.patch_embedding
        self.transformer: nn.Module = encoder.transformer
        self.positional_encoding: Any = encoder.positional_encoding
        table: nn.Embedding = encoder.channel_tokens
        if table.num_embeddings != n_channel_tokens:
            table = nn.Embedding(n_channel_tokens, table.embedding_dim)
        self.channel_tokens = table
        for layer in self.transformer.modules():
            if isinstance(layer, lat.SelfAttention):
                layer.global_attn_fn = linear_attn
        # Not persistent, as in braindecode: it never reaches the state dict.
        self._channel_ids = tuple(channel_ids)
        self.register_buffer("index", torch.tensor(self._channel_ids, dtype=torch.long), persistent=False)
        # Last, and none by default: the state dict is the published one then.
        self.class_token: nn.Parameter | None
        self.register_parameter("class_token", None if class_token is None else nn.Parameter(class_token))

    def _apply(self, fn: Any, recurse: bool = True) -> BIOTEncoder:
        """Move or convert as every module; ``to_empty`` leaves no garbage in the index."""
        before = self.index
        super()._apply(fn, recurse)
        if self.index is not before:
            self._fill_index(self.index.device)
        return self

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Mapping[str, Any], *others: Any
    ) -> None:
        """Load as every module; an index on "meta" follows the weights that ``assign=True``
        brings.
        """
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)
        rows = state_dict.get(prefix + "channel_tokens.weight")
        if rows is not None and local_metadata.get("assign_to_params_buffers"):
            self._fill_index(rows.device)  # rows taken by an index on "meta" are garbage, without an error

    def _fill_index(self, device: torch.device) -> None:
        self.index = torch.tensor(self._channel_ids, dtype=torch.long, device=device)

    @property
    def max_frames(self) -> int:
        """Most frames that the position table holds."""
        return int(self.positional_encoding.pe.shape[1])

    def n_frames(self, n_times: int) -> int:
        """Return how many frames a window of ``n_times`` samples gives (0 or less: too short)."""
        return (n_times - self.n_fft) // self.hop_length + 1

    def spectrum(self, x: Tensor) -> Tensor:
        """Return the magnitude spectrum of every frame (rectangular window, no padding).

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)

        Returns
        -------
        Tensor, shape (n, n_chans, n_frames, n_fft // 2 + 1)
        """
        return self.transform(self._frames(x)).abs()

    def transform(self, frames: Tensor) -> Tensor:
        """Return the complex spectrum of frames, (..., n_fft) to (..., n_features)."""
        return torch.fft.rfft(frames)

    def feature_hz(self, sfreq: float) -> NDArray[Any]:
        """Return the frequency in Hz of each number that a token is made from, (n_features,)."""
        return np.fft.rfftfreq(self.n_fft, 1 / sfreq)

    @property
    def n_features(self) -> int:
        """Numbers that a token is made from: those of a frame's spectrum."""
        return self.n_fft // 2 + 1

    def mix_channels(self, tokens: Tensor, mask: Tensor | None, places: Tensor | None = None) -> Tensor:
        """Return tokens behind what comes between them and the first layer, here nothing.

        Parameters
        ----------
        tokens, mask, places
            As for :meth:`encode`.

        Returns
        -------
        Tensor, shape (n, n_tokens, embed_dim)
        """
        return tokens

    def _frames(self, x: Tensor) -> Tensor:
        if x.dtype in (torch.float16, torch.bfloat16):  # no FFT of these on most devices
            x = x.float()
        return x.unfold(-1, self.n_fft, self.hop_length)

    def tokens(self, x: Tensor) -> Tensor:
        """Return the tokens that enter the first layer: the class token where there is one, and the
        others channel by channel.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)

        Returns
        -------
        Tensor, shape (n, n_chans * n_frames, embed_dim), with one token more in front where there
        is a class token
        """
        spectrum = self.spectrum(x).to(self._dtype())
        if not self._is_plain():
            patches = self.patch_embedding(spectrum.flatten(0, 1).transpose(1, 2)).unflatten(0, spectrum.shape[:2])
            patches = patches + self.channel_tokens(self.index)[:, None]
            return self.with_class(
                self.positional_encoding(patches.flatten(0, 1)).reshape(x.shape[0], -1, patches.shape[-1])
            )
        tokens = self._embed(spectrum).flatten(1, 2)
        drop = self.positional_encoding.dropout
        return self.with_class(fast_attention.dropout(tokens, drop.p, drop.training))

    def with_class(self, tokens: Tensor) -> Tensor:
        """Put the class token in front of tokens (n, n_tokens, embed_dim), where there is one."""
        if self.class_token is None:
            return tokens
        return torch.cat([self.class_token.to(tokens.dtype).expand(tokens.shape[0], 1, -1), tokens], dim=1)

    def token_mask(self, present: Tensor | None, tokens: Tensor) -> Tensor | None:
        """Return which tokens are of present channels.

        Parameters
        ----------
        present : Tensor of bool, shape (n, n_chans), optional
            False where a channel is absent; None: all are present.
        tokens : Tensor, shape (n, n_tokens, embed_dim)
            As :meth:`tokens` gives them.

        Returns
        -------
        Tensor of bool, shape (n, n_tokens), or None
        """
        if present is None:
            return None
        n_special = 0 if self.class_token is None else 1
        mask = present.repeat_interleave((tokens.shape[1] - n_special) // present.shape[1], dim=1)
        return torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1) if n_special else mask

    def drop_tokens(self, tokens: Tensor, mask: Tensor | None) -> Tensor | None:
        """Leave whole tokens out in training, at random.

        Parameters
        ----------
        tokens, mask
            As for :meth:`encode`.

        Returns
        -------
        Tensor of bool, shape (n, n_tokens), or None
            The mask of those that stay.
        """
        # A recipe that freezes the embedding has its modules, not this one, in eval mode.
        if not self.token_drop_prob or not self.positional_encoding.training:
            return mask
        there = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask
        kept = there & (torch.rand(tokens.shape[:2], device=tokens.device) >= self.token_drop_prob)
        if self.class_token is not None:
            kept = torch.cat([there[:, :1], kept[:, 1:]], dim=1)
        return torch.where(kept.any(dim=1, keepdim=True), kept, there)

    def _embed(self, spectrum: Tensor) -> Tensor:
        """Map (n, n_chans, n_frames, n_freqs) to (n, n_chans, n_frames, embed_dim)."""
        place = self.channel_tokens.weight[self.index][:, None] + self.positional_encoding.pe[0, : spectrum.shape[2]]
        return self.patch_embedding.projection(spectrum) + place

    def _dtype(self) -> torch.dtype:
        """Return the parameters' type.

        Where the projection is quantised its weight is a method, or integers.
        """
        weight = self.patch_embedding.projection.weight
        floating = isinstance(weight, Tensor) and weight.is_floating_point()
        dtype: torch.dtype = weight.dtype if floating else self.positional_encoding.pe.dtype
        return dtype

    def _is_plain(self) -> bool:
        """Say whether nothing observes or replaces the modules in front of the transformer."""
        if fast_attention.is_followed():
            return False
        front = (self.patch_embedding, self.positional_encoding, self.channel_tokens)
        return fast_attention.is_untouched([part for module in front for part in module.modules()], self._front_types)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Encode windows.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            Finite throughout; what stands in absent channels does not matter.
        present : Tensor of bool, shape (n, n_chans), optional
            False where a channel is absent.  Its tokens get no attention and no part in the mean.

        Returns
        -------
        Tensor, shape (n, embed_dim)
        """
        tokens = self.tokens(x)
        return self.encode(tokens, self.drop_tokens(tokens, self.token_mask(present, tokens)))

    def encode(self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Run the transformer on tokens and read it out.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_tokens, embed_dim)
            As :meth:`tokens` gives them, or some of them.
        mask : Tensor of bool, shape (n, n_tokens), optional
            False for tokens that get no attention and no part in the mean.
        places : Tensor of int, shape (n_tokens,) or (n, n_tokens), optional
            Which of all tokens these are, by number; None: all of them.

        Returns
        -------
        Tensor, shape (n, embed_dim)
            The class token where there is one (the first token), else the mean.
        """
        tokens = self.mix_channels(tokens, mask, places)
        layers = fast_attention.fast_layers(self.transformer, linear_attn)
        if layers is not None:
            return fast_attention.encode(layers, tokens, mask, self.class_token is not None)
        tokens = self._by_modules(tokens, mask)
        if self.class_token is not None:
            return tokens[:, 0]
        if mask is None:
            return tokens.mean(dim=1)
        kept = torch.where(mask[..., None], tokens, tokens.new_zeros(()))
        return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True).to(tokens.dtype)

    def encode_tokens(self, tokens: Tensor, mask: Tensor | None = None, places: Tensor | None = None) -> Tensor:
        """Run the transformer on tokens without reading it out.

        Parameters
        ----------
        tokens, mask, places
            As for :meth:`encode`.

        Returns
        -------
        Tensor, shape (n, n_tokens, embed_dim)
        """
        tokens = self.mix_channels(tokens, mask, places)
        layers = fast_attention.fast_layers(self.transformer, linear_attn)
        return self._by_modules(tokens, mask) if layers is None else fast_attention.encode_tokens(layers, tokens, mask)

    def _by_modules(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        encoded: Tensor = self.transformer(tokens) if mask is None else self.transformer(tokens, input_mask=mask)
        return encoded

    def infer(self, x: Tensor, present: Tensor | None, plan: PrecisionPlan) -> Tensor:
        """Encode windows without gradients, in the precision and the micro-batches of a plan.

        Parameters
        ----------
        x, present
            As for :meth:`forward`.
        plan : PrecisionPlan

        Returns
        -------
        Tensor, shape (n, embed_dim), of the parameters' type
            Windows that a half precision cannot hold are computed again in full precision.
        """
        device = x.device.type
        own = self._dtype()
        dtype = DTYPES.get(plan.precision)
        dtype = None if dtype == own else dtype
        layers = fast_attention.fast_layers(self.transformer, linear_attn) if self._is_plain() else None
        if layers is None or (dtype is None and torch.is_autocast_enabled(device)):
            # Whole batches: who observes the modules sees one call of each, as in training.
            with precision_context(plan.precision if dtype else "fp32", device):
                return self(x, present).to(own)
        copies = self._current_copies(layers, x.shape[0] * x.shape[1] * self.n_frames(x.shape[2]), dtype or own)
        parts = []
        with (
            torch.autocast(device, enabled=False),
            precision_context("tf32" if plan.precision == "tf32" else "fp32", device),
        ):
            for part, kept in _split(x, present, plan.micro_batch or len(x)):
                spectrum = _magnitude(self.transform(self._frames(part))).to(own)
                tokens = self.with_class(self._embed(spectrum).flatten(1, 2))
                mask = self.token_mask(kept, tokens)
                tokens = self.mix_channels(tokens, mask)
                parts.append(infer(layers, tokens, mask, copies, self.class_token is not None))
        features = torch.cat(parts)
        if dtype is not None and not bool(features.sum().isfinite()):
            bad = ~features.isfinite().all(dim=1)
            again = None if present is None else present[bad]
            features[bad] = self.infer(x[bad], again, PrecisionPlan("fp32", plan.micro_batch))
        return features

    def infer_tokens(
        self,
        tokens: Tensor,
        mask: Tensor | None = None,
        micro_batch: int | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Encode tokens without gradients, in full precision.

        Parameters
        ----------
        tokens, mask, places
            As for :meth:`encode`.
        micro_batch : int, optional
            Windows at a time; None: all.

        Returns
        -------
        Tensor, shape (n, embed_dim)
        """
        layers = fast_attention.fast_layers(self.transformer, linear_attn)
        if layers is None:
            return self.encode(tokens, mask, places)
        tokens = self.mix_channels(tokens, mask, places)
        copies = self._current_copies(layers, tokens.shape[0] * tokens.shape[1], tokens.dtype)
        device = tokens.device.type
        with torch.autocast(device, enabled=False), precision_context("fp32", device):
            parts = _split(tokens, mask, micro_batch or len(tokens))
            takes_first = self.class_token is not None
            return torch.cat([infer(layers, part, kept, copies, takes_first) for part, kept in parts])

    def _current_copies(self, layers: list[Layer], n_rows: int, dtype: torch.dtype) -> WeightCopies | None:
        """Return the copies of the weights for products of a type (None: none needed), made anew
        where a weight has changed.
        """
        if not needs_copies(layers, dtype, n_rows):
            return None
        copies = self._copies.get(dtype)
        if copies is not None and not copies.is_current(layers):
            self._copies.clear()  # those of other types are of the same weights
            copies = None
        if copies is None:
            copies = self._copies[dtype] = WeightCopies(layers, dtype)
        return copies

    def __getstate__(self) -> dict[str, Any]:
        """Leave the copies of weights out of pickles and deep copies."""
        return self.__dict__ | {"_copies": {}}


def _magnitude(spectrum: Tensor) -> Tensor:
    """Return ``abs`` of a complex spectrum, faster, without a gradient at 0, below 1e19."""
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag).sqrt_()


def _split(x: Tensor, present: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    for start in range(0, len(x), size) or (0,):
        stop = start + size
        yield x[start:stop], None if present is None else present[start:stop]
