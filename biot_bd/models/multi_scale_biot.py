"""BIOT with spectra of several lengths, and attention over the channels of a frame.

References
----------
.. [1] Yang, C., Westover, M. B., Sun, J. (2023). BIOT: Biosignal Transformer for Cross-data
   Learning in the Wild. NeurIPS 36.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from biot_bd.models.attention.layout import Folded
from biot_bd.models.biot import BIOT
from biot_bd.models.channel_attention import ChannelAttention
from biot_bd.models.checkpoints.loading import build_model, load_checkpoint
from biot_bd.models.checkpoints.report import announce
from biot_bd.models.multi_scale_encoder import MultiScaleEncoder, check_scale_factors

PRESETS: dict[str, dict[str, int]] = {
    "tiny": {"embed_dim": 256, "num_heads": 8, "num_layers": 4},
    "small": {"embed_dim": 512, "num_heads": 8, "num_layers": 8},
    "base": {"embed_dim": 768, "num_heads": 12, "num_layers": 14},
    "large": {"embed_dim": 1024, "num_heads": 16, "num_layers": 28},
}
"""Sizes of the transformer: 3, 25, 100 and 353 million parameters; tiny has those of BIOT."""

_PROJECTION = "encoder.patch_embedding.projection.weight"


class MultiScaleBIOT(BIOT):
    """BIOT that sees each frame at several resolutions of time and frequency.

    A token of BIOT [1]_ is the spectrum of one second, which smears what is shorter.  Here a token
    holds the spectra of the whole frame, of its halves, quarters and eighths (at 200 Hz of 200,
    100, 50 and 25 samples), so that slow rhythms and fast transients each have a length that suits
    them; the grid of channels and frames, the places, the transformer, the head and the handling of
    absent channels are those of :class:`biot_bd.models.BIOT`.  With factor 1 alone it is BIOT.

    Parameters
    ----------
    preset : {"tiny", "small", "base", "large"}
        Sizes of the transformer where ``embed_dim``, ``num_heads`` and ``num_layers`` say nothing:
        256 wide and 4 deep (as BIOT), 512 and 8, 768 and 14, 1,024 and 28.
    scale_factors : sequence of int
        Into how many stretches a frame is cut, for each scale.
    channel_attention : bool
        Whether tokens of a frame attend to one another across channels
        (:class:`biot_bd.models.channel_attention.ChannelAttention`) before the transformer.
    embed_dim, num_heads, num_layers : int, optional
        Sizes of the transformer; None: those of the preset.
    sfreq, hop_length : optional
        As for :class:`biot_bd.models.BIOT`.
    n_outputs, n_chans, n_times : int, optional
        None, and nothing else that tells: 2 logits, 16 channels, 10 s.
    chs_info, input_window_seconds, activation, drop_prob, max_seq_len : optional
        As for :class:`biot_bd.models.BIOT`.
    att_drop_prob, att_layer_drop_prob : float
        As there.
    channel_ids, n_channel_tokens, class_token, token_drop_prob : optional
        As there.

    Attributes
    ----------
    presets : dict
        Sizes by name of preset.

    Raises
    ------
    ValueError
        No such preset, impossible scale factors, or as :class:`biot_bd.models.BIOT`.

    See Also
    --------
    biot_bd.models.BIOT : One scale.
    biot_bd.Pretrainer : Trains it without labels.

    References
    ----------
    .. [1] Yang, C., Westover, M. B., Sun, J. (2023). BIOT: Biosignal Transformer for Cross-data
       Learning in the Wild. NeurIPS 36.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import MultiScaleBIOT
    >>> model = MultiScaleBIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=4, n_times=400
    ... ).eval()
    >>> model(torch.zeros(3, 4, 400)).shape, model.token_stages().sizes.n_features
    (torch.Size([3, 2]), 411)
    """

    presets: Mapping[str, Mapping[str, int]] = PRESETS
    architecture = ("scale_factors", "channel_attention")
    folded_attention: Mapping[str, Folded] = {"channel_attention": "frame"}
    encoder: MultiScaleEncoder

    def __init__(
        self,
        preset: str = "tiny",
        scale_factors: Sequence[int] = (1, 2, 4, 8),
        channel_attention: bool = False,
        embed_dim: int | None = None,
        num_heads: int | None = None,
        num_layers: int | None = None,
        sfreq: float = 200,
        hop_length: int = 100,
        n_outputs: int | None = 2,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.1,
        max_seq_len: int = 1024,
        att_drop_prob: float = 0.2,
        att_layer_drop_prob: float = 0.2,
        channel_ids: Sequence[int] | None = None,
        n_channel_tokens: int | None = None,
        class_token: bool = False,
        token_drop_prob: float = 0.0,
    ) -> None:
        if preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        given = {"embed_dim": embed_dim, "num_heads": num_heads, "num_layers": num_layers}
        sizes = PRESETS[preset] | {name: value for name, value in given.items() if value is not None}
        untold = n_times is None and input_window_seconds is None
        super().__init__(
            **sizes,
            sfreq=sfreq,
            hop_length=hop_length,
            n_outputs=2 if n_outputs is None else n_outputs,
            n_chans=16 if n_chans is None and chs_info is None else n_chans,
            chs_info=chs_info,
            n_times=int(10 * sfreq) if untold else n_times,
            input_window_seconds=input_window_seconds,
            activation=activation,
            drop_prob=drop_prob,
            max_seq_len=max_seq_len,
            att_drop_prob=att_drop_prob,
            att_layer_drop_prob=att_layer_drop_prob,
            channel_ids=channel_ids,
            n_channel_tokens=n_channel_tokens,
            class_token=class_token,
            token_drop_prob=token_drop_prob,
        )
        self.preset = preset
        self.scale_factors = check_scale_factors(scale_factors, self.encoder.n_fft)
        attention = None
        if channel_attention:
            grid = {"n_chans": len(self.channel_ids), "n_frames": self.encoder.n_frames(self.n_times)}
            attention = ChannelAttention(self.embed_dim, self.num_heads, **grid, drop_prob=att_layer_drop_prob)
        self.encoder = MultiScaleEncoder(self.encoder, self.scale_factors, attention)

    def get_config(self) -> dict[str, Any]:
        """Return all constructor parameters as JSON holds them, sizes that the preset gave
        included.

        ``MultiScaleBIOT.from_config`` takes them back.
        """
        sizes = ("embed_dim", "num_heads", "num_layers", "n_outputs", "n_times")
        config = {**super().get_config(), **{name: int(getattr(self, name)) for name in sizes}}
        return config | {
            "n_chans": len(self.channel_ids),
            "preset": self.preset,
            "scale_factors": list(self.scale_factors),
            "channel_attention": self.encoder.channel_attention is not None,
        }

    def adapted(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Return the encoder of a checkpoint as this model can take it, and what to say of it.

        The projection of BIOT becomes that of factor 1, the other scales begin at zero, and channel
        attention adds nothing yet: the outputs are those of BIOT.

        Parameters
        ----------
        tensors : mapping of str to Tensor
            The encoder of BIOT, or of a model of this class.

        Returns
        -------
        tensors : dict of str to Tensor
        notes : tuple of str
            For the report.
        """
        encoder, notes, own = dict(tensors), [], self.encoder
        weight = encoder[_PROJECTION]
        if weight.shape[1] == own.n_fft // 2 + 1 < own.n_features and 1 in self.scale_factors:
            start = own.first_feature(1)
            encoder[_PROJECTION] = weight.new_zeros(len(weight), own.n_features)
            encoder[_PROJECTION][:, start : start + weight.shape[1]] = weight
            notes.append("the projection of BIOT is that of scale factor 1, those of the others begin at zero")
        if own.channel_attention is not None and not any("channel_attention" in name for name in encoder):
            notes.append("channel attention is fresh: the checkpoint has none")
        return encoder, tuple(notes)

    @classmethod
    def from_checkpoint(
        cls,
        source: str | os.PathLike[str],
        n_outputs: int | None = None,
        *,
        ch_names: Sequence[str] | None = None,
        channel_ids: Sequence[int] | None = None,
        n_chans: int | None = None,
        n_times: int | None = None,
        sfreq: float | None = None,
        hop_length: int | None = None,
        num_heads: int | None = None,
        drop_prob: float = 0.1,
        class_token: bool | None = None,
        token_drop_prob: float = 0.0,
        scale_factors: Sequence[int] | None = None,
        channel_attention: bool | None = None,
    ) -> MultiScaleBIOT:
        """Build a model that begins as the BIOT, or the MultiScaleBIOT, of a checkpoint.

        With the weights of BIOT its outputs are those of that BIOT until it is trained (see
        :meth:`adapted`).

        Parameters
        ----------
        source, n_outputs, ch_names, channel_ids, n_chans, n_times : optional
            As for :meth:`biot_bd.models.BIOT.from_checkpoint`.
        sfreq, hop_length, num_heads, drop_prob, class_token, token_drop_prob : optional
            As there.
        scale_factors : sequence of int, optional
            With 1 among them.  None: those of the checkpoint, (1, 2, 4, 8) for one of BIOT.
        channel_attention : bool, optional
            None: where the checkpoint has it.  True beside a checkpoint without: a fresh one;
            ``load_report.notes`` says so.

        Returns
        -------
        MultiScaleBIOT
            In training mode; ``load_report`` says what was loaded.

        Raises
        ------
        FileNotFoundError
            There is no such source.
        OSError
            It must be downloaded and cannot be.
        biot_bd.exceptions.CheckpointError
            A ``ValueError``: the file is damaged, no BIOT, or does not fit; factor 1 is missing.
        """
        model: Any = build_model(
            load_checkpoint(source),
            n_outputs,
            ch_names=ch_names,
            model_class=cls,
            channel_ids=channel_ids,
            n_chans=n_chans,
            n_times=n_times,
            sfreq=sfreq,
            hop_length=hop_length,
            num_heads=num_heads,
            drop_prob=drop_prob,
            class_token=class_token,
            token_drop_prob=token_drop_prob or None,
            scale_factors=scale_factors,
            channel_attention=channel_attention,
        )
        announce(model.load_report)
        built: MultiScaleBIOT = model
        return built
