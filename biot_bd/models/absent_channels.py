"""Windows in which channels are absent: read the marks, check the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from biot_bd.models.fast_attention import all_finite


class AbsentChannels:
    """Mixin of a model of braindecode that leaves out channels which are NaN throughout.

    Attributes
    ----------
    accepts_absent_channels : bool
        True: ``forward`` reads NaN-throughout channels as absent.
    """

    accepts_absent_channels = True
    n_times: int
    sfreq: float
    _chs_info: Any

    def _n_rows(self) -> int:
        """Return how many channels the encoder is given."""
        raise NotImplementedError

    def present_channels(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return windows as the encoder takes them, and which channels are present.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            A channel that is NaN throughout is absent.

        Returns
        -------
        x : Tensor, shape (n, n_chans, n_times)
            0 in absent channels.
        present : Tensor of bool, shape (n, n_chans), or None
            None where all channels of all windows are.

        Raises
        ------
        ValueError
            As :meth:`forward`.
        """
        self._check_shape(x)
        return self._split_absent(x, None, all_finite(x))

    def _check_shape(self, x: Tensor) -> None:
        n_chans, name = self._n_rows(), type(self).__name__
        if x.ndim != 3 or x.shape[1] != n_chans:
            raise ValueError(
                f"{name} expects windows of shape (n, {n_chans}, {self.n_times}), got {tuple(x.shape)}; "
                "map the montage first, or build the model for these channels"
            )
        if x.shape[2] != self.n_times:
            raise ValueError(
                f"{name} was built for n_times={self.n_times} ({self.n_times / self.sfreq:g} s at {self.sfreq:g} Hz), got "
                f"windows of {x.shape[2]} samples; resample the windows, or build the model with n_times={x.shape[2]}"
            )
        if not x.is_floating_point():
            raise ValueError(f"{name} expects floating-point windows, got {x.dtype}; convert with x.float()")

    def _split_absent(self, x: Tensor, present: Tensor | None, finite: bool | None) -> tuple[Tensor, Tensor | None]:
        """Return ``x`` without NaN marks and the mask of present channels (None: all are
        present).
        """
        if present is not None:
            if present.shape != x.shape[:2] or present.dtype != torch.bool:
                raise ValueError(
                    f"present must be a bool tensor of shape {tuple(x.shape[:2])}, "
                    f"got {present.dtype} {tuple(present.shape)}"
                )
            present = present.to(x.device)
        if finite is None:  # no branch on values inside a graph
            absent = x.isnan().all(dim=-1)
            present = ~absent if present is None else present & ~absent
            return torch.where(present[..., None], x, x.new_zeros(())), present
        if finite and present is None:
            return x, None
        missing = x.isnan()
        found = ~missing.all(dim=-1)
        present = found if present is None else present & found
        self._check_values(x, missing, present)
        if bool(present.all()):
            return x, None
        return torch.where(present[..., None], x, x.new_zeros(())), present

    def _check_values(self, x: Tensor, missing: Tensor, present: Tensor) -> None:
        bad = (present & ~x.isfinite().all(dim=-1)).nonzero()
        if len(bad):
            window, channel = bad[0].tolist()
            n_nan = int(missing[window, channel].sum())
            n_infinite = int(x[window, channel].isinf().sum())
            raise ValueError(
                f"window {window} of the batch, channel {self._channel_name(channel)}: {n_nan} of {x.shape[2]} samples are "
                f"NaN and {n_infinite} infinite; an absent channel is NaN throughout, anything else must be finite: "
                f"clean or drop it ({len(bad)} such channels in this batch)"
            )
        empty = (~present.any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"window {empty[0]} of the batch has no channel present ({len(empty)} such windows); drop it"
            )

    def _channel_name(self, channel: int) -> str:
        infos = self._chs_info or []
        name = infos[channel].get("ch_name") if len(infos) == self._n_rows() else None
        return f"{channel} ({name})" if name else str(channel)
