"""Amplitude gradients: how the score moves with the amplitude of each rhythm.

braindecode's ``visualization.amplitude_gradients`` computes the same and is not called: it leaves
gradients on the model's parameters, divides by the number of windows, and fails on absent channels,
on models in float64 and on windows that lie on a GPU.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.explained_output import Output
from biot_bd.probes.frequency_bands import Bands, bands_or_default, bins_of_bands, rate_of_model
from biot_bd.probes.question import Question
from biot_bd.probes.target_probe import TargetProbe


class AmplitudeGradientsProbe(TargetProbe):
    """Gradient of the score with respect to the amplitudes of the spectrum, by channel and
    band; phases stay.

    As in [1]_, but signed.

    Parameters
    ----------
    scale : {"relative", "absolute"}
        ``"relative"``: gradient times amplitude, summed over a band: the change of the score when
        the band grows by a factor, as a derivative.  ``"absolute"``: mean gradient over a band's
        frequencies, as published; it does not say how much of the rhythm there is.
    bands : sequence of (name, low, high), optional
        Edges in Hz; None: delta to gamma.
    sfreq : float, optional
        In Hz; None: the model's.
    output : {"margin", "logit", "probability"}
        What is explained; ``"margin"``: the log odds of the class.
    batch_size : int
        Windows a pass.

    See Also
    --------
    BandOcclusionProbe : What the score loses without a band.

    References
    ----------
    .. [1] Schirrmeister, R. T. et al. (2017). Deep learning with convolutional neural networks for
       EEG decoding and visualization. Human Brain Mapping 38, 5391-5420.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import AmplitudeGradientsProbe
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=400, sfreq=200, **size).eval()
    >>> found = AmplitudeGradientsProbe()(model, torch.randn(1, 2, 400))
    >>> found.bands, found.by_band().shape
    (('delta', 'theta', 'alpha', 'beta', 'gamma'), (1, 5))
    """

    _name = "amplitude-gradients"
    title = "which rhythms would move the decision if they grew (amplitude gradients)"
    needs = frozenset({"gradients"})

    def __init__(
        self,
        scale: Literal["relative", "absolute"] = "relative",
        bands: Bands | None = None,
        sfreq: float | None = None,
        output: Output = "margin",
        batch_size: int = 32,
    ) -> None:
        self.scale = scale
        self.bands = bands
        self.sfreq = sfreq
        self.output = output
        self.batch_size = batch_size

    def _explain(self, question: Question) -> TokenMap:
        if self.scale not in ("relative", "absolute"):
            raise ValueError(f"scale must be 'relative' or 'absolute', got {self.scale!r}")
        bands, sfreq = bands_or_default(self.bands), rate_of_model(question.model, self.sfreq)
        bins = bins_of_bands(bands, np.fft.rfftfreq(question.x.shape[-1], 1 / sfreq), sfreq)
        parts = [
            self._by_band(question, rows, torch.as_tensor(bins, device=question.x.device))
            for rows in torch.arange(len(question.x), device=question.x.device).split(int(self.batch_size))
        ]
        by = "relative change" if self.scale == "relative" else "unit"
        return TokenMap(
            question.marked(torch.cat(parts)),
            self.layout_by_channel(question.model, question.x),
            probe=self._name,
            signed=True,
            target=question.target,
            unit=f"change of the {question.unit} by {by} of amplitude",
            bands=tuple(name for name, _, _ in bands),
            info={"bands_hz": [[low, high] for _, low, high in bands], "scale": self.scale},
        )

    def _by_band(self, question: Question, rows: Tensor, bins: Tensor) -> Tensor:
        """Return values (n, n_bands, n_chans, 1) of some windows."""
        x = question.x[rows]
        spectrum = torch.fft.rfft(x.to(torch.promote_types(x.dtype, torch.float32)))
        amplitudes, phases = spectrum.abs().requires_grad_(), spectrum.angle()
        # An absent channel is NaN throughout in both, and so in what is made of them.
        signals = torch.fft.irfft(torch.polar(amplitudes, phases), n=x.shape[-1]).to(x.dtype)
        (slopes,) = torch.autograd.grad(question.score_of(signals, rows).sum(), amplitudes)
        if self.scale == "relative":
            slopes = slopes * amplitudes.detach()
        members = bins.to(slopes.dtype)
        if self.scale == "absolute":
            members = members / members.sum(dim=1, keepdim=True)
        return torch.einsum("ncf,bf->nbc", slopes, members)[..., None]
