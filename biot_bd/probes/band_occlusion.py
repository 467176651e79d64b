"""Band occlusion: what the score loses without a rhythm."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dct, idct
from torch import Tensor

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.explained_output import Output
from biot_bd.probes.frequency_bands import Bands, bands_or_default, bins_of_bands, rate_of_model
from biot_bd.probes.question import Question
from biot_bd.probes.signal_occlusion import score_lost
from biot_bd.probes.target_probe import TargetProbe


class BandOcclusionProbe(TargetProbe):
    """Score minus the score with one frequency band of one channel removed.

    The band is cut out of the window's cosine spectrum, which is a filter of zero phase over the
    window mirrored at its ends: nothing jumps there, as it would in the plain spectrum, and bands
    side by side add up to the signal.  What is left keeps its scale.

    Parameters
    ----------
    bands : sequence of (name, low, high), optional
        Edges in Hz; None: delta to gamma.
    sfreq : float, optional
        In Hz; None: the model's.
    output : {"margin", "logit", "probability"}
        What is explained; ``"margin"``: the log odds of the class.
    batch_size : int
        Windows a forward pass.
    progress : bool
        Show a progress bar.

    See Also
    --------
    AmplitudeGradientsProbe : The derivative instead of the loss.
    ChannelOcclusionProbe : All of a channel.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import BandOcclusionProbe
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=400, sfreq=200, **size).eval()
    >>> found = BandOcclusionProbe([("slow", 0, 8), ("fast", 8, 100)])(
    ...     model, torch.randn(1, 2, 400)
    ... )
    >>> found.dims, found.values.shape
    (('window', 'band', 'channel', 'frame'), (1, 2, 2, 1))
    """

    _name = "band-occlusion"
    title = "what the decision loses without each rhythm"
    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        bands: Bands | None = None,
        sfreq: float | None = None,
        output: Output = "margin",
        batch_size: int = 32,
        progress: bool = False,
    ) -> None:
        self.bands = bands
        self.sfreq = sfreq
        self.output = output
        self.batch_size = batch_size
        self.progress = progress

    def _explain(self, question: Question) -> TokenMap:
        bands, sfreq = bands_or_default(self.bands), rate_of_model(question.model, self.sfreq)
        lost = [
            score_lost(question, without, int(self.batch_size), f"{self._name} {name}", self.progress)
            for (name, _, _), without in zip(bands, without_bands(question.x, bands, sfreq), strict=True)
        ]
        return TokenMap(
            question.marked(torch.stack(lost, dim=1)[..., None]),
            self.layout_by_channel(question.model, question.x),
            probe=self._name,
            signed=True,
            target=question.target,
            unit=question.unit,
            bands=tuple(name for name, _, _ in bands),
            info={"bands_hz": [[low, high] for _, low, high in bands]},
        )


def without_bands(x: Tensor, bands: Bands, sfreq: float) -> list[Tensor]:
    """Return signals without each band.

    Parameters
    ----------
    x : Tensor, shape (n, n_chans, n_times)
        Absent channels NaN, and so they stay.
    bands : sequence of (name, low, high)
        Edges in Hz.
    sfreq : float

    Returns
    -------
    list of Tensor, each (n, n_chans, n_times)

    Raises
    ------
    ValueError
        A band is impossible.
    """
    signals = x.double().cpu().numpy()
    freqs_hz = np.arange(x.shape[-1]) * sfreq / (2 * x.shape[-1])
    coefficients = dct(signals, norm="ortho")
    return [
        torch.as_tensor(idct(np.where(inside, 0.0, coefficients), norm="ortho")).to(x)
        for inside in bins_of_bands(bands, freqs_hz, sfreq)
    ]
