"""A vision transformer over patches of signal, for masked autoencoders and their offspring.

References
----------
.. [1] Dosovitskiy, A. et al. (2021). An Image is Worth 16x16 Words: Transformers for Image
   Recognition at Scale. ICLR.
.. [2] He, K. et al. (2022). Masked Autoencoders Are Scalable Vision Learners. CVPR.
.. [3] Touvron, H. et al. (2021). Training data-efficient image transformers. ICML.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from braindecode.models.base import EEGModuleMixin
from torch import Tensor, nn

from biot_bd.models.absent_channels import AbsentChannels
from biot_bd.models.attention.braindecode_layouts import token_channel_names
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.fast_attention import all_finite
from biot_bd.models.masked_vit_sizes import PRESETS, Channels, ViTSizes, fitting_patches
from biot_bd.models.masked_vit_stages import MaskedViTStages
from biot_bd.models.stages_site import StagesTokenSite
from biot_bd.models.vit_layers import TokenPlaces, ViTLayer, init_linear
from biot_bd.models.weight_identity import weight_digests


class MaskedViT(AbsentChannels, EEGModuleMixin, nn.Module):
    """Vision transformer over patches of signal, the encoder of a masked autoencoder.

    A window is cut into patches of ``patch_samples``, each channel by itself (``channels="each"``)
    or all channels together; patches are mapped linearly, get learnt positions, and pass
    transformer layers with norms in front.  The head reads the mean over tokens.  The decoder of
    pretraining belongs to the objective (``"masked-patch"``, ``"masked-vae"``), so that a
    classifier carries none.

    With tokens of one channel, an absent channel (NaN throughout, or False in ``present``) is
    masked exactly: the result is that of the model run without it.

    Parameters
    ----------
    preset : {"tiny", "small", "base", "seed"}
        Sizes that the parameters below take where they are None.  ``"seed"``: patches of 4 samples
        of all channels, 24 layers of 1,024 features.
    patch_samples : int, optional
        Length of a patch; it divides ``n_times``.
    channels : {"each", "together"}, optional
        Whether a token is of one channel or of all.
    embed_dim : int, optional
        Features of a token, a multiple of ``num_heads``.
    num_layers, num_heads : int, optional
        Transformer layers, attention heads.
    mlp_ratio : float
        Hidden features of a layer's feed-forward part, as a multiple of ``embed_dim``.
    drop_prob : float
        Dropout of placed tokens and behind both parts of a layer; 0 as in masked autoencoders.
    n_outputs : int
        Logits.
    n_chans : int, optional
        Channels of a window; None: those of ``chs_info``, or 16.
    chs_info : list of dict, optional
        MNE's channel descriptions.
    n_times : int, optional
        Samples of a window; None: from ``input_window_seconds``, or 10 s.
    input_window_seconds : float, optional
        Window length in seconds.
    sfreq : float
        Sampling frequency in Hz.

    Attributes
    ----------
    presets : dict of str to ViTSizes
        What each preset says.
    accepts_absent_channels : bool
        Whether ``forward`` reads NaN-throughout channels as absent: with ``channels="each"``.
    decoder_sizes : DecoderSizes
        The preset's, for objectives that reconstruct.
    fresh_head : dict or None
        Digests of the weights that :meth:`reset_head` made, which nobody has trained.

    Raises
    ------
    ValueError
        There is no such preset, sizes contradict, or patches do not divide a window.

    See Also
    --------
    biot_bd.Pretrainer : Trains it without labels.
    biot_bd.models.record_attention : The attention of a forward pass.
    biot_bd.BIOTClassifier : A scikit-learn estimator around it: ``BIOTClassifier("masked-vit")``.

    Notes
    -----
    Positions are learnt for one length of window, so weights fit windows of that length only.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import MaskedViT
    >>> model = MaskedViT(
    ...     n_chans=3, n_times=400, patch_samples=100, embed_dim=16, num_layers=2, num_heads=2
    ... ).eval()
    >>> model(torch.zeros(5, 3, 400)).shape
    torch.Size([5, 2])
    >>> model(torch.zeros(5, 3, 400), return_features=True)["features"].shape
    torch.Size([5, 16])
    """

    presets: ClassVar[dict[str, ViTSizes]] = PRESETS
    _set_n_outputs: Any  # of the mixin, which has no types
    n_outputs: int
    n_chans: int
    n_times: int
    sfreq: float
    final_layer: nn.Module
    fresh_head: dict[str, str] | None = None

    def __init__(
        self,
        preset: str = "tiny",
        patch_samples: int | None = None,
        channels: Channels | None = None,
        embed_dim: int | None = None,
        num_layers: int | None = None,
        num_heads: int | None = None,
        mlp_ratio: float = 4.0,
        drop_prob: float = 0.0,
        n_outputs: int = 2,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float = 200.0,
    ) -> None:
        if n_chans is None and chs_info is None:
            n_chans = 16
        if n_times is None and input_window_seconds is None:
            input_window_seconds = 10.0
        super().__init__(
            n_outputs=n_outputs,
            n_chans=n_chans,
            chs_info=chs_info,
            n_times=n_times,
            input_window_seconds=input_window_seconds,
            sfreq=sfreq,
        )
        if preset not in PRESETS:
            raise ValueError(f"MaskedViT: preset must be one of {', '.join(PRESETS)}; found {preset!r}")
        own = PRESETS[preset]
        self.preset = preset
        self.patch_samples = own.patch_samples if patch_samples is None else int(patch_samples)
        self.channels = own.channels if channels is None else channels
        self.embed_dim = own.embed_dim if embed_dim is None else embed_dim
        self.num_layers = own.num_layers if num_layers is None else num_layers
        self.num_heads = own.num_heads if num_heads is None else num_heads
        self.mlp_ratio, self.drop_prob, self.decoder_sizes = mlp_ratio, drop_prob, own.decoder
        self._check_sizes()
        self.accepts_absent_channels = self.channels == "each"
        self.n_token_rows = self.n_chans if self.channels == "each" else 1
        self._build()

    def _check_sizes(self) -> None:
        if self.channels not in ("each", "together"):
            raise ValueError(f"MaskedViT: channels must be 'each' or 'together', found {self.channels!r}")
        if self.num_layers < 1:
            raise ValueError(f"MaskedViT: num_layers must be at least 1, found {self.num_layers}")
        if self.patch_samples < 1 or self.n_times % self.patch_samples:
            fitting = ", ".join(map(str, fitting_patches(self.n_times)))
            raise ValueError(
                f"MaskedViT: patches of {self.patch_samples} samples do not divide windows of {self.n_times}; give "
                f"patch_samples (module__patch_samples) one of {fitting or 'its divisors'}, or other windows"
            )

    def _build(self) -> None:
        features = self.patch_samples * self.n_chans // self.n_token_rows
        self.patch_embedding = nn.Linear(features, self.embed_dim)
        self.places = TokenPlaces(self.n_token_rows, self.n_times // self.patch_samples, self.embed_dim)
        self.dropout = nn.Dropout(self.drop_prob)
        self.layers = nn.ModuleList(
            ViTLayer(self.embed_dim, self.num_heads, self.mlp_ratio, self.drop_prob) for _ in range(self.num_layers)
        )
        self.norm = nn.LayerNorm(self.embed_dim, eps=1e-6)
        self.final_layer = nn.Linear(self.embed_dim, self.n_outputs)
        self.apply(init_linear)

    def token_layout(self, n_times: int | None = None) -> TokenLayout:
        """Say which channel and which stretch of time each token stands for.

        Parameters
        ----------
        n_times : int, optional
            Samples of a window; None, or the model's own.

        Returns
        -------
        TokenLayout

        Raises
        ------
        ValueError
            Windows of another length, for which there are no positions.
        """
        if n_times not in (None, self.n_times):
            raise ValueError(f"MaskedViT has positions for windows of {self.n_times} samples, found {n_times}")
        start_s = np.arange(self.n_times // self.patch_samples) * self.patch_samples / self.sfreq
        names = token_channel_names(self, self.n_chans) if self.channels == "each" else ("all channels",)
        return TokenLayout(names, start_s, start_s + self.patch_samples / self.sfreq)

    def token_site(self) -> StagesTokenSite:
        """Return where tokens enter the first layer, to read them there or run others.

        Returns
        -------
        TokenSite
        """
        return StagesTokenSite("layers.0")

    def token_stages(self) -> MaskedViTStages:
        """Return the stages from windows to tokens and embeddings, one by one.

        Returns
        -------
        TokenStages
        """
        return MaskedViTStages(self)

    def forward(self, x: Tensor, present: Tensor | None = None, return_features: bool = False) -> Any:
        """Compute logits.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            Windows; a channel that is NaN throughout is absent.
        present : Tensor of bool, shape (n, n_chans), optional
            False marks further absent channels, whatever stands in them.
        return_features : bool
            Braindecode's contract for its foundation models: give a dict with ``"features"``, the
            embedding of shape (n, embed_dim), and ``"cls_token"``, None.

        Returns
        -------
        Tensor, shape (n, n_outputs)

        Raises
        ------
        ValueError
            A shape differs from the model's, a channel has some NaN or an infinite value, a window
            has no channel at all, or a channel is absent where tokens are of all channels.
        """
        self._check_shape(x)
        x, present = self._split_absent(x, present, all_finite(x))
        stages = self.token_stages()
        embedding = stages.read_out(stages.tokens(x), stages.token_mask(present))
        return {"features": embedding, "cls_token": None} if return_features else self.final_layer(embedding)

    def _n_rows(self) -> int:
        return self.n_chans

    def _split_absent(self, x: Tensor, present: Tensor | None, finite: bool | None) -> tuple[Tensor, Tensor | None]:
        if self.channels == "together" and finite is None and present is None:
            return x, None  # inside a graph: nothing to mask, a NaN goes through
        x, present = super()._split_absent(x, present, finite)
        if self.channels == "together" and present is not None:
            window, channel = (~present).nonzero()[0].tolist()
            raise ValueError(
                f"window {window} of the batch: channel {self._channel_name(channel)} is absent, and MaskedViT with "
                "channels='together' has no token of one channel to leave out; use channels='each', or drop such windows"
            )
        return x, present

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last linear map by a fresh one with ``n_outputs`` logits.

        A :class:`biot_bd.BIOTClassifier` around it predicts again after ``partial_fit``.
        """
        before = next(self.final_layer.parameters())
        self._set_n_outputs(n_outputs)
        head = nn.Linear(self.embed_dim, n_outputs, device=before.device, dtype=before.dtype)
        init_linear(head)
        self.final_layer = head
        self.fresh_head = weight_digests(self.final_layer)
