"""BIOT, tokenised over all channels at once, with exact masking of absent channels.

:class:`BIOT` has the parameters, the state dict and (in eval mode, to rounding) the outputs of
:class:`braindecode.models.BIOT`.  It adds channel ids, a token table of any size, and windows in
which channels are absent.

References
----------
.. [1] Yang, C., Westover, M. B., Sun, J. (2023). BIOT: Biosignal Transformer for Cross-data
   Learning in the Wild. NeurIPS 36. Code: https://github.com/ycq091044/BIOT
.. [2] Shen, Z. et al. (2021). Efficient Attention: Attention with Linear Complexities. WACV.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from braindecode.models import BIOT as BraindecodeBIOT
from torch import Tensor, nn

from biot_bd.models.absent_channels import AbsentChannels
from biot_bd.models.attention.braindecode_layouts import token_channel_names
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.tokens import TokenSite
from biot_bd.models.biot_stages import BIOTStages
from biot_bd.models.biot_tokens import BIOTTokenSite
from biot_bd.models.checkpoints.loading import build_model, load_checkpoint
from biot_bd.models.checkpoints.report import LoadReport, announce
from biot_bd.models.encoder import BIOTEncoder
from biot_bd.models.fast_attention import all_finite
from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.models.weight_identity import weight_digests


class BIOT(AbsentChannels, BraindecodeBIOT):
    """BIOT of Yang et al. (2023), equal to braindecode's, for windows with absent channels.

    The state dict equals that of :class:`braindecode.models.BIOT`, and so do the outputs in eval
    mode and float32, to ``1e-5 * max(1, |logit|)``; all channels are tokenised at once.  An absent
    channel (NaN throughout, or False in ``present``) is masked exactly: the result is that of the
    model run without it.  In training mode the outputs have the same distribution.

    Parameters
    ----------
    embed_dim : int
        Features of a token, a multiple of ``num_heads``.
    num_heads : int
        Attention heads (not visible in tensor shapes: published encoders need 8).
    num_layers : int
        Transformer layers.
    sfreq : float
        Sampling frequency in Hz; a frame is ``int(sfreq)`` samples long.
    hop_length : int
        Samples from one frame to the next.
    n_outputs, n_chans, n_times : int
        Logits, channels and samples of a window.
    chs_info : list of dict, optional
        MNE's channel descriptions; gives ``n_chans``.
    input_window_seconds : float, optional
        Window length in seconds; with ``sfreq`` gives ``n_times``.
    activation : type of torch.nn.Module
        Activation before the last linear map.
    drop_prob : float
        Dropout of tokens.  0.1 as in the official code; braindecode's default is 0.5.
    max_seq_len : int
        No effect; kept because braindecode and its saved configurations have it.
    att_drop_prob : float
        No effect, in braindecode and the official code neither.
    att_layer_drop_prob : float
        Dropout behind each attention layer.
    channel_ids : sequence of int, optional
        Row of the token table for each channel, e.g. ``[0, 1, 5]`` for three channels of an
        18-channel encoder.  None: ``0, 1, ..., n_chans - 1``.
    n_channel_tokens : int, optional
        Size of the token table.  None: ``n_chans``.
    class_token : bool
        Whether a learnt token stands in front of all others and is what the head reads, in place of
        the mean over tokens.  Its parameter ``encoder.class_token`` is in the state dict only then;
        published encoders have none and leave it fresh.
    token_drop_prob : float
        Share of whole tokens that training leaves out of the sequence, drawn anew for each window;
        0 to below 1.  They get no attention and no part in the mean, as absent channels do.

    Attributes
    ----------
    accepts_absent_channels : bool
        True: ``forward`` reads NaN-throughout channels as absent.
    load_report : LoadReport or None
        What :meth:`from_checkpoint` loaded.
    token_names : tuple of str or None
        Channels in the order of the token table, where a checkpoint says.
    fresh_head : dict or None
        Digests of the weights that :meth:`reset_head` made, which nobody has trained.
    inference_plan : PrecisionPlan
        Precision and micro-batch in eval mode without gradients; see
        :func:`biot_bd.models.inference_plan.measure_inference_plan`.  Kept by pickle and deepcopy,
        not in the state dict.

    Raises
    ------
    ValueError
        A size is missing or impossible, or ``channel_ids`` does not fit.

    See Also
    --------
    biot_bd.models.load_checkpoint : What :meth:`from_checkpoint` reads.
    biot_bd.models.record_attention : The attention of a forward pass.
    biot_bd.BIOTClassifier : A scikit-learn estimator around it.

    Notes
    -----
    Braindecode's ``return_feature=True`` (a tuple as output) is left out; use
    ``forward(x, return_features=True)``.

    Under ``torch.compile``, ``torch.export`` and ``torch.func.vmap`` nothing is raised for bad
    values: absent channels are masked as always, and a channel with some NaN or an empty window
    makes that window's output NaN.  For a graph with a free batch, give ``torch.export`` and
    ``torch.onnx.export(dynamo=True)`` an example of two windows or more: torch takes a 1 for a
    constant.  ``torch.jit.trace`` asks for a model that was built with ``chs_info``;
    ``torch.jit.script``, ``torch.fx.symbolic_trace`` and the ONNX exporter without ``dynamo``
    cannot take this model.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models import BIOT
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=2, n_chans=4, n_times=400, n_outputs=2
    ... ).eval()
    >>> x = torch.randn(3, 4, 400, generator=torch.Generator().manual_seed(0))
    >>> model(x).shape
    torch.Size([3, 2])

    A channel that is NaN throughout is absent, and what else would stand in it does not matter:

    >>> absent = x.clone()
    >>> absent[:, 1] = torch.nan
    >>> present = torch.tensor([[True, False, True, True]] * 3)
    >>> bool((model(absent) == model(x, present=present)).all())
    True
    """

    architecture: tuple[str, ...] = ()  # arguments of a subclass that its weights need
    encoder: BIOTEncoder
    load_report: LoadReport | None = None
    token_names: tuple[str, ...] | None = None
    fresh_head: dict[str, str] | None = None
    inference_plan: PrecisionPlan = PrecisionPlan("fp32", 8)

    def __init__(
        self,
        embed_dim: int = 256,
        num_heads: int = 8,
        num_layers: int = 4,
        sfreq: float = 200,
        hop_length: int = 100,
        n_outputs: int | None = None,
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
        if embed_dim % num_heads or num_layers < 1 or hop_length < 1:
            raise ValueError(
                f"embed_dim={embed_dim} must be a multiple of num_heads={num_heads}, and "
                f"num_layers={num_layers} and hop_length={hop_length} at least 1"
            )
        if not 0 <= token_drop_prob < 1:
            raise ValueError(f"token_drop_prob must be a share, 0 to below 1, got {token_drop_prob}")
        super().__init__(
            embed_dim=embed_dim,
            num_heads=num_heads,
            num_layers=num_layers,
            sfreq=sfreq,
            hop_length=int(hop_length),
            n_outputs=n_outputs,
            n_chans=n_chans,
            chs_info=chs_info,
            n_times=n_times,
            input_window_seconds=input_window_seconds,
            activation=activation,
            drop_prob=drop_prob,
            max_seq_len=max_seq_len,
            att_drop_prob=att_drop_prob,
            att_layer_drop_prob=att_layer_drop_prob,
        )
        self.channel_ids, self.n_channel_tokens = _check_channel_ids(channel_ids, n_channel_tokens, self.n_chans)
        # Drawn as the channel tokens are, behind all other weights, which it leaves as they were.
        first = torch.randn(embed_dim) if class_token else None
        self.encoder = BIOTEncoder(self.encoder, self.channel_ids, self.n_channel_tokens, first, token_drop_prob)
        _check_length(self.encoder, self.n_times)

    def token_layout(self, n_times: int | None = None) -> TokenLayout:
        """Say which channel and which stretch of time each token stands for.

        Parameters
        ----------
        n_times : int, optional
            Samples of a window; None: the model's own.

        Returns
        -------
        TokenLayout

        Raises
        ------
        ValueError
            The window is shorter than one frame or longer than the position table.
        """
        n_frames = _check_length(self.encoder, self.n_times if n_times is None else n_times)
        start_s = np.arange(n_frames) * self.encoder.hop_length / self.sfreq
        names = token_channel_names(self, len(self.channel_ids))
        stop_s = start_s + self.encoder.n_fft / self.sfreq
        if self.encoder.class_token is None:
            return TokenLayout(names, start_s, stop_s)
        return TokenLayout(names, start_s, stop_s, special=("class",), readout="class")

    def token_site(self) -> TokenSite:
        """Return where tokens enter the first layer, to read them there or run others.

        Returns
        -------
        TokenSite
        """
        # Behind an interpolation no channel is absent, and only a hook sees what enters.
        return TokenSite("encoder.transformer") if hasattr(self, "interpolation_layer") else BIOTTokenSite()

    def token_stages(self) -> BIOTStages:
        """Return the stages from windows to tokens and embeddings, one by one.

        Returns
        -------
        TokenStages
        """
        return BIOTStages(self)

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
            embedding of shape (n, embed_dim), and ``"cls_token"``, the same with a class token,
            else None.

        Returns
        -------
        Tensor, shape (n, n_outputs)

        Raises
        ------
        ValueError
            A shape differs from the model's, a channel has some NaN or an infinite value, or a
            window has no channel at all; the message names the window of the batch and the channel.
        """
        self._check_shape(x)
        finite = all_finite(x)
        x, present = self._split_absent(x, present, finite)
        if self.training or torch.is_grad_enabled() or finite is None:
            embedding = self.encoder(x, present)
        else:
            embedding = self.encoder.infer(x, present, self.inference_plan)
        if return_features:
            return {"features": embedding, "cls_token": None if self.encoder.class_token is None else embedding}
        return self.final_layer(embedding)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last linear map by a fresh one with ``n_outputs`` logits.

        A :class:`biot_bd.BIOTClassifier` around it predicts again after ``partial_fit``.
        """
        before = next(self.final_layer.parameters())
        self._set_n_outputs(n_outputs)
        super().reset_head(n_outputs)
        self.final_layer.to(before).train(self.training)
        self.fresh_head = weight_digests(self.final_layer)

    def get_config(self) -> dict[str, Any]:
        """Return all constructor parameters as JSON holds them.

        ``BIOT.from_config`` takes them back.
        """
        config = super().get_config()
        config.pop("return_feature", None)
        return config | {
            "channel_ids": list(self.channel_ids),
            "n_channel_tokens": self.n_channel_tokens,
            "class_token": self.encoder.class_token is not None,
            "token_drop_prob": self.encoder.token_drop_prob,
        }

    def adapted(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Return the encoder of a checkpoint as this model can take it, and what to say of it.

        BIOT takes it as it is; a subclass may have more of it.
        """
        return dict(tensors), ()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BIOT:
        """Build a model, without weights, from ``get_config`` of this class or of braindecode's
        BIOT.
        """
        return super().from_config({k: v for k, v in config.items() if k != "return_feature"})

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
    ) -> BIOT:
        """Build a model with the weights of a checkpoint, strictly.

        To the last tensor, or not at all.

        Parameters
        ----------
        source : str or path
            A known name (``"prest-16"``, ``"shhs-prest-18"``, ``"six-datasets-18"``), a file in any
            published layout, a folder in Hub layout or written by ``save_pipeline``, or a Hub
            repository.
        n_outputs : int, optional
            Logits.  None: those of the checkpoint's head (one logit z becomes the two 0, z), 2
            where it has none.  A head of another size is replaced by a fresh one;
            ``load_report.head`` says so.
        ch_names : sequence of str, optional
            Names of the input channels: each takes the token of its name.
        channel_ids : sequence of int, optional
            Tokens by number instead, e.g. ``range(16)`` for BIOT's 16 channels and an 18-channel
            checkpoint.
        n_chans, n_times : int, optional
            Channels (one a token by default) and samples (10 s by default) of a window.
        sfreq, hop_length, num_heads : optional
            Only checked against the checkpoint, which fixes them; needed where nothing records
            them.
        drop_prob : float
            Dropout of tokens; 0.1 as in the official code.
        class_token : bool, optional
            None: where the checkpoint has one.  True beside a checkpoint without: a fresh one;
            ``load_report.notes`` says so.
        token_drop_prob : float
            Share of whole tokens that training leaves out.

        Returns
        -------
        BIOT
            In training mode; ``load_report`` says what was loaded, and is printed once to stderr.

        Raises
        ------
        FileNotFoundError
            There is no such source.
        OSError
            It must be downloaded and cannot be.
        biot_bd.exceptions.CheckpointError
            A ``ValueError``: the file is damaged, no BIOT, or does not fit.
        """
        model = build_model(
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
        )
        announce(model.load_report)
        return model

    def _n_rows(self) -> int:
        return len(self.channel_ids)  # braindecode's interpolating subclass has other channels in front


def _check_length(encoder: BIOTEncoder, n_times: int) -> int:
    n_frames = encoder.n_frames(n_times)
    if n_frames < 1:
        raise ValueError(f"BIOT needs windows of at least one frame, {encoder.n_fft} samples; got {n_times}")
    if n_frames > encoder.max_frames:
        raise ValueError(
            f"windows of {n_times} samples give {n_frames} frames, and BIOT has positions for {encoder.max_frames}; "
            "use shorter windows or a longer hop_length"
        )
    return n_frames


def _check_channel_ids(
    channel_ids: Sequence[int] | None, n_channel_tokens: int | None, n_chans: int
) -> tuple[tuple[int, ...], int]:
    size = n_chans if n_channel_tokens is None else int(n_channel_tokens)
    ids = tuple(range(n_chans)) if channel_ids is None else tuple(int(i) for i in channel_ids)
    if len(ids) != n_chans or len(set(ids)) != len(ids):
        raise ValueError(f"channel_ids must name one token for each of the {n_chans} channels, each once; got {ids}")
    outside = [i for i in ids if not 0 <= i < size]
    if outside:
        raise ValueError(
            f"channel ids {outside} are outside the token table of n_channel_tokens={size} (ids 0 to {size - 1}); "
            f"set n_channel_tokens, e.g. {max(ids) + 1}"
        )
    return ids, size
