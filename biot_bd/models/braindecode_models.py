"""Models of braindecode that need a word more than their constructor to classify windows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from braindecode.models import InterpolatedModel, SignalJEPA, SignalJEPA_PreLocal
from braindecode.models import Labram as _Labram
from braindecode.models.labram import LABRAM_CHANNEL_ORDER
from torch import Tensor


class Labram(_Labram):
    """LaBraM of braindecode that keeps the names of its channels.

    Braindecode's own wants them at each ``forward``, where no training loop gives any, and else
    takes exactly its 128 channels.

    Parameters
    ----------
    n_outputs, n_chans, n_times : int
        Logits, channels and samples of a window.
    sfreq : float
        Sampling rate in Hz.
    ch_names : sequence of str
        Channels in the order of the windows, each one of
        ``braindecode.models.labram.LABRAM_CHANNEL_ORDER`` in any case.
    **parameters
        Further parameters of :class:`braindecode.models.Labram`.

    Raises
    ------
    ValueError
        A channel is none of LaBraM's.

    See Also
    --------
    biot_bd.models.ModelContract : What LaBraM expects of windows.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.models.braindecode_models import Labram
    >>> small = dict(num_layers=1, embed_dim=40, num_heads=2)
    >>> model = Labram(2, 2, 400, 200.0, ch_names=["Fp1", "Cz"], **small)
    >>> model(torch.zeros(3, 2, 400)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_outputs: int,
        n_chans: int,
        n_times: int,
        sfreq: float = 200.0,
        ch_names: Sequence[str] = (),
        **parameters: Any,
    ) -> None:
        known = {name.upper() for name in LABRAM_CHANNEL_ORDER}
        unknown = [name for name in ch_names if name.upper() not in known]
        if unknown or len(ch_names) != n_chans:
            raise ValueError(
                f"LaBraM needs ch_names of its {n_chans} channels, each one of its {len(known)}; found {len(ch_names)}"
                + (f", and it knows no {', '.join(unknown)}" if unknown else "")
                + "; use module='interpolated-labram' for other channels"
            )
        super().__init__(n_outputs=n_outputs, n_chans=n_chans, n_times=n_times, sfreq=sfreq, **parameters)
        self.ch_names = tuple(ch_names)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Compute logits, ``(n, n_outputs)``, of windows ``(n, n_chans, n_times)``."""
        return super().forward(x, *args, **{"ch_names": list(self.ch_names), **kwargs})


def _pretraining_channels() -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(SignalJEPA(n_times=256, sfreq=128, channel_embedding="pretrain_aligned").chs_info)


#: SignalJEPA with a classification head (its "pre-local" variant) behind an interpolation onto the
#: 62 channels that it was pretrained with; braindecode's own gives features, not logits.
InterpolatedSignalJEPA = InterpolatedModel(
    SignalJEPA_PreLocal, _pretraining_channels(), name="InterpolatedSignalJEPA_PreLocal"
)
