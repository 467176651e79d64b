"""BIOT for scoring only: the encoder and the head of a saved model, without braindecode's import.

``import braindecode`` takes longer than everything else that scoring a window needs.  The modules
below have the names, shapes and numbers of :class:`biot_bd.models.BIOT`, so its state dict fits
them to the last tensor.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from linear_attention_transformer import LinearAttentionTransformer
from torch import Tensor, nn

from biot_bd.models.encoder import BIOTEncoder
from biot_bd.models.fast_attention import all_finite
from biot_bd.models.inference_plan import PrecisionPlan

MAX_FRAMES = 1000
"""Rows of the position table of every BIOT; a state dict with another number does not load."""


class _PatchEmbedding(nn.Module):
    """Project the spectrum of each frame."""

    def __init__(self, n_freqs: int, embed_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(n_freqs, embed_dim)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Map (n, n_freqs, n_frames) to (n, n_frames, embed_dim)."""
        return self.projection(spectrum.transpose(1, 2))


class _Positions(nn.Module):
    """Add the position of each frame; in eval mode there is no dropout."""

    pe: Tensor

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.empty(1, MAX_FRAMES, embed_dim))
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_frames, embed_dim) to the same shape."""
        return self.dropout(x + self.pe[:, : x.shape[1]])


class ScoringBIOT(nn.Module):
    """BIOT in eval mode, to be filled by ``load_state_dict`` with the weights of a
    :class:`biot_bd.models.BIOT`.

    Its weights are uninitialised memory until then.

    Parameters
    ----------
    embed_dim, num_heads, num_layers : int
        Sizes of the transformer.
    sfreq : float
        In Hz; a frame is ``int(sfreq)`` samples long.
    hop_length : int
        Samples from one frame to the next.
    n_times, n_outputs : int
        Samples of a window, at least one frame; logits.
    channel_ids : sequence of int
        Row of the token table for each channel of the input.
    n_channel_tokens : int
        Size of the token table.
    activation : type of torch.nn.Module
        Activation before the last linear map.
    class_token : bool
        Whether the model has one.

    Raises
    ------
    ValueError
        A window is shorter than a frame, or the hop longer: the full model then chooses other
        sizes.
    """

    accepts_absent_channels = True

    inference_plan: PrecisionPlan = PrecisionPlan("fp32", 8)

    def __init__(
        self,
        *,
        embed_dim: int,
        num_heads: int,
        num_layers: int,
        sfreq: float,
        hop_length: int,
        n_times: int,
        n_outputs: int,
        channel_ids: Sequence[int],
        n_channel_tokens: int,
        activation: type[nn.Module] = nn.ELU,
        class_token: bool = False,
    ) -> None:
        super().__init__()
        self.n_chans, self.n_times = len(channel_ids), int(n_times)
        n_fft = int(sfreq)
        if n_times < n_fft or hop_length > sfreq:
            raise ValueError(
                f"windows of {n_times} samples with a hop of {hop_length} do not suit frames of {n_fft} samples; "
                "use biot_bd.models.BIOT, which adapts them"
            )
        with torch.device("meta"):  # nobody needs random weights that are replaced at once
            parts = nn.ModuleDict(
                {
                    "patch_embedding": _PatchEmbedding(n_fft // 2 + 1, embed_dim),
                    "transformer": LinearAttentionTransformer(
                        dim=embed_dim, heads=num_heads, depth=num_layers, max_seq_len=MAX_FRAMES
                    ),
                    "positional_encoding": _Positions(embed_dim),
                    "classification_head": nn.Linear(embed_dim, n_outputs),
                }
            )
        parts.to_empty(device="cpu")
        head = parts.pop("classification_head")
        # An embedding on "meta" would import torch's compiler (0.9 s) for its random numbers.
        tokens = nn.Embedding.from_pretrained(torch.empty(n_channel_tokens, embed_dim), freeze=False)
        like_braindecode = SimpleNamespace(
            n_fft=n_fft, hop_length=int(hop_length), channel_tokens=tokens, **dict(parts.items())
        )
        first = torch.empty(embed_dim) if class_token else None
        self.encoder = BIOTEncoder(like_braindecode, channel_ids, n_channel_tokens, first)
        self.final_layer = nn.Sequential(OrderedDict(activation_layer=activation(), classification_head=head))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            Windows whose channels are finite, or NaN throughout where they are absent; unlike the
            full model, it does not look for bad values
            (:class:`biot_bd.training.input_data.SignalData` does).

        Returns
        -------
        Tensor, shape (n, n_outputs)
        """
        finite = all_finite(x)
        present = None
        if not finite:
            present = ~x.isnan().all(dim=-1)
            x = torch.where(present[..., None], x, x.new_zeros(()))
            if finite is not None and bool(present.all()):
                present = None
        if torch.is_grad_enabled() or finite is None:
            return self.final_layer(self.encoder(x, present))
        return self.final_layer(self.encoder.infer(x, present, self.inference_plan))
