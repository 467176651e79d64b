"""What every probe of importance gives: values by channel and frame, of which class, signed or
not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.bounded_files import read_npz
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.runs import atomic_path, to_jsonable

FORMAT, VERSION = "biot_bd token map", 1


@dataclass(frozen=True, eq=False)
class TokenMap:
    """Importance by channel and frame, for each window.

    Parameters
    ----------
    values : ndarray of float, shape (n, n_chans, n_frames) or (n, n_bands, n_chans, n_frames)
        NaN where a channel is absent.  The values of a window's tokens add up to what the probe
        shares out (:attr:`unit`).
    layout : TokenLayout
        What channels and frames are.
    probe : str
        Name of the probe, as registered.
    signed : bool
        Whether values speak for (above 0) or against (below 0) the target; else only their size
        means something.
    target : tuple of int, optional
        The class explained, for each window; None where the probe asks about no class.
    unit : str
        What a value is, e.g. ``"logit margin"`` or ``"share of attention"``.
    bands : tuple of str, optional
        Names of the frequency bands, where there is such an axis.
    special : ndarray, shape (n, n_special), optional
        Values of the special tokens.
    info : dict
        Plain facts that JSON holds: parameters, errors, what was chosen.

    Raises
    ------
    ValueError
        Shapes do not fit the layout, or values are infinite.
    TypeError
        ``info`` holds something that JSON does not.

    See Also
    --------
    TokenLayout : What the axes mean.
    biot_bd.probes.Probe : What makes one.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import TokenLayout, TokenMap
    >>> layout = TokenLayout(("C3", "C4"), [0.0, 0.5], [1.0, 1.5])
    >>> found = TokenMap(np.array([[[1.0, 2.0], [3.0, 4.0]]]), layout, probe="energy")
    >>> found.by_channel().tolist(), found.by_time().tolist()
    ([[3.0, 7.0]], [[4.0, 6.0]])
    >>> found.to_samples(sfreq=2, n_times=3).tolist()
    [[[1.0, 1.5, 2.0], [3.0, 3.5, 4.0]]]
    """

    values: NDArray[Any]
    layout: TokenLayout
    probe: str
    signed: bool = False
    target: tuple[int, ...] | None = None
    unit: str = "importance"
    bands: tuple[str, ...] | None = None
    special: NDArray[Any] | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        bands = None if self.bands is None else tuple(map(str, self.bands))
        wanted = (*(() if bands is None else (len(bands),)), self.layout.n_chans, self.layout.n_frames)
        if not np.issubdtype(values.dtype, np.floating) or values.shape[1:] != wanted or not len(values):
            raise ValueError(
                f"probe {self.probe}: values must be floating numbers of shape (n, {', '.join(map(str, wanted))}), "
                f"n > 0; got {values.dtype} {values.shape}"
            )
        if np.isinf(values).any():
            raise ValueError(f"probe {self.probe}: infinite values; NaN is for absent channels only")
        target = None if self.target is None else tuple(int(one) for one in self.target)
        if target is not None and len(target) != len(values):
            raise ValueError(f"probe {self.probe}: {len(target)} targets for {len(values)} windows")
        special = None if self.special is None else np.asarray(self.special)
        if special is not None and special.shape != (len(values), self.layout.n_special):
            raise ValueError(
                f"probe {self.probe}: special must have shape {(len(values), self.layout.n_special)}, got {special.shape}"
            )
        for name, value in (
            ("values", values), ("bands", bands), ("target", target), ("special", special),
            ("info", to_jsonable(self.info)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes of :attr:`values`."""
        return ("window", "channel", "frame") if self.bands is None else ("window", "band", "channel", "frame")

    def by_channel(self) -> NDArray[Any]:
        """Return the sum over frames, shape (n, [n_bands,] n_chans); NaN for absent channels."""
        return _sum(self.values, -1)

    def by_time(self) -> NDArray[Any]:
        """Return the sum over the channels present, shape (n, [n_bands,] n_frames)."""
        return _sum(self.values, -2)

    def by_band(self) -> NDArray[Any]:
        """Return the sum over channels and frames, shape (n, n_bands).

        Raises
        ------
        ValueError
            There are no bands.
        """
        if self.bands is None:
            raise ValueError(f"probe {self.probe} gives no values by frequency band")
        return _sum(_sum(self.values, -1), -1)

    def without_bands(self) -> TokenMap:
        """Return the sum over bands as a map of its own; itself where there are none."""
        return self if self.bands is None else replace(self, values=_sum(self.values, 1), bands=None)

    def to_samples(self, sfreq: float, n_times: int) -> NDArray[Any]:
        """Return values by sample, each the mean over the frames that cover it, for drawing.

        Parameters
        ----------
        sfreq : float
            Samples a second.
        n_times : int
            Samples of the window.

        Returns
        -------
        ndarray, shape (n, [n_bands,] n_chans, n_times)
            NaN for absent channels and where no frame covers a sample.

        Raises
        ------
        ValueError
            The layout does not know its frames in seconds.
        """
        return _spread(self.values, self.layout, sfreq, n_times)

    def on(self, layout: TokenLayout) -> TokenMap:
        """Return the map on the frames of another layout: mean over the samples that each covers,
        times the number of its own frames over theirs, so that sums stay about what they are.

        Parameters
        ----------
        layout : TokenLayout
            Of the same channels, with frames known in seconds.

        Returns
        -------
        TokenMap

        Raises
        ------
        ValueError
            Channels differ, or one of the two does not know its frames in seconds.
        """
        if layout.n_chans != self.layout.n_chans:
            raise ValueError(f"the map has {self.layout.n_chans} channels, the other layout {layout.n_chans}")
        if not (layout.knows_time and self.layout.knows_time):
            raise ValueError(f"probe {self.probe}: frames are not known in seconds, so they cannot be compared")
        overlap_s = np.minimum(self.layout.frame_stop_s[:, None], layout.frame_stop_s) - np.maximum(
            self.layout.frame_start_s[:, None], layout.frame_start_s
        )
        shares = np.maximum(overlap_s, 0)
        covered = shares.sum(axis=0)
        if (covered <= 0).any():
            raise ValueError(f"probe {self.probe}: no frame covers some frame of the other layout")
        scale = self.layout.n_frames / layout.n_frames
        return replace(self, values=self.values @ (shares / covered) * scale, layout=layout, special=None)

    def named(self, ch_names: Sequence[str]) -> TokenMap:
        """Return the same map with other names of channels."""
        return replace(self, layout=self.layout.named(ch_names))

    def as_dict(self) -> dict[str, Any]:
        """Return all but the arrays as plain facts that JSON holds."""
        facts: dict[str, Any] = to_jsonable(
            {
                "format": FORMAT,
                "version": VERSION,
                "dims": self.dims,
                "layout": self.layout.as_dict(),
                "probe": self.probe,
                "signed": self.signed,
                "target": self.target,
                "unit": self.unit,
                "bands": self.bands,
                "info": self.info,
            }
        )
        return facts

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``.npz`` file, atomically; :meth:`load` reads it without pickle."""
        arrays = {"values": self.values} | ({} if self.special is None else {"special": self.special})
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays, facts=np.array(json.dumps(self.as_dict())))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TokenMap:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ValueError
            The file is not a saved map; the message names it.
        """
        try:
            stored = read_npz(path)
            return cls.from_dict(json.loads(str(stored["facts"])), stored["values"], stored.get("special"))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path}: not a saved map of tokens ({type(error).__name__}: {error})") from error

    @classmethod
    def from_dict(cls, facts: dict[str, Any], values: NDArray[Any], special: NDArray[Any] | None = None) -> TokenMap:
        """Put together what :meth:`as_dict` gave and the arrays.

        Raises
        ------
        ValueError
            The facts are of another format, or do not fit the arrays.
        """
        if (facts["format"], facts["version"]) != (FORMAT, VERSION):
            raise ValueError(f"expected {FORMAT} {VERSION}, found {facts['format']} {facts['version']}")
        return cls(
            values,
            TokenLayout.from_dict(facts["layout"]),
            probe=facts["probe"],
            signed=facts["signed"],
            target=None if facts["target"] is None else tuple(facts["target"]),
            unit=facts["unit"],
            bands=None if facts["bands"] is None else tuple(facts["bands"]),
            special=special,
            info=facts["info"],
        )


def _sum(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Sum what is known; NaN where nothing is."""
    return np.where(np.isnan(values).all(axis=axis), np.nan, np.nansum(values, axis=axis))


def _spread(values: NDArray[Any], layout: TokenLayout, sfreq: float, n_times: int) -> NDArray[Any]:
    if not layout.knows_time:
        raise ValueError("the frames of this map are not known in seconds: the model does not know its sfreq")
    starts = np.clip(np.rint(layout.frame_start_s * sfreq).astype(int), 0, n_times)
    stops = np.clip(np.rint(layout.frame_stop_s * sfreq).astype(int), 0, n_times)
    covers = np.zeros((layout.n_frames, n_times))
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        covers[row, start:stop] = 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(values @ covers / covers.sum(axis=0))
