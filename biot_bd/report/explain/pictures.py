"""Pictures of an explained window as files, and as what a page holds of them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes import figures
from biot_bd.report.explain.model import Signal
from biot_bd.report.explain.probe_runs import AttentionFlow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
FOLDER = "pictures"


@dataclass(frozen=True)
class Shown:
    """A picture that was written.

    Parameters
    ----------
    name : str
        Of its files, without an ending.
    title : str
        What it shows.
    alt : str
        What is to be seen in it, for those who cannot see it.
    source : str
        The PNG as a data URI.
    width, height : int
        In CSS pixels.
    files : tuple of str
        Names of its files, relative to the folder of the explanation.
    """

    name: str
    title: str
    alt: str
    source: str
    width: int
    height: int
    files: tuple[str, ...]

    @property
    def wide(self) -> bool:
        """Whether it needs a scroll area on a phone."""
        return self.width > 1.5 * self.height


class Album:
    """Takes pictures: as PNG and SVG into a folder, and as what a page holds.

    Parameters
    ----------
    folder : Path or None
        Of the explanation; None: no files, for a page that holds all.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def add(self, name: str, title: str, alt: str, figure: Figure) -> Shown:
        """Take a figure, as ``pictures/NAME.png`` and ``.svg`` where there is a folder.

        Parameters
        ----------
        name : str
            Letters, digits and ``-``.
        title, alt : str
            What it shows, and what is to be seen.
        figure : matplotlib.figure.Figure

        Returns
        -------
        Shown
        """
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI)
        files: tuple[str, ...] = ()
        if self.folder is not None:
            files = (f"{FOLDER}/{name}.png", f"{FOLDER}/{name}.svg")
            (self.folder / FOLDER).mkdir(exist_ok=True)
            (self.folder / files[0]).write_bytes(drawn.getvalue())
            figure.savefig(self.folder / files[1], metadata={"Title": title, "Date": None})
        width, height = np.rint(figure.get_size_inches() * 96).astype(int).tolist()
        source = f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
        return Shown(name, title, alt, source, width, height, files)


def probe_pictures(
    album: Album,
    name: str,
    title: str,
    found: TokenMap,
    signal_uv: Signal,
    seizures: list[tuple[float, float]],
    caution: str | None,
) -> list[Shown]:
    """Draw what a probe says: under the EEG where it tells times, and on the scalp.

    Parameters
    ----------
    album : Album
        Takes the pictures.
    name : str
        Of the probe.
    title : str
        What it shows, in words for clinicians.
    found : TokenMap
        Of one window.
    signal_uv : Signal
        The window in microvolts, in the same channels.
    seizures : list of (onset_s, offset_s)
        Annotated ones in the window, from its start.
    caution : str or None
        Why not to trust it.

    Returns
    -------
    list of Shown
    """
    alt = figures.alt_text(found)
    options: dict[str, Any] = {"caution": caution, "footnote": f"probe {name}, {found.unit}"}
    shown = []
    if found.layout.knows_time and signal_uv.info.sfreq and found.layout.n_chans == signal_uv.x.shape[1]:
        figure = figures.traces_figure(
            found, signal_uv.x, float(signal_uv.info.sfreq), title=f"{title}, under the EEG", **options
        )
        shown.append(album.add(f"{name}-traces", f"{title}, under the EEG", alt, figure))
    figure = figures.scalp_figure(found, title=f"{title}, on the scalp", **options)
    return [*shown, album.add(f"{name}-scalp", f"{title}, on the scalp", alt, figure)]


def flow_pictures(album: Album, flow: AttentionFlow, signal_uv: Signal) -> dict[str, Any]:
    """Draw who attends to whom by channel, in an early, a middle and a late layer.

    Parameters
    ----------
    album : Album
        Takes the pictures.
    flow : AttentionFlow
        The maps.
    signal_uv : Signal
        Names of the channels.

    Returns
    -------
    dict
        ``pictures`` (list of Shown) and ``head`` (the interactive one as HTML); none and empty
        where the channels of the tokens are not known.
    """
    if flow.channels is None:
        return {"pictures": [], "head": ""}
    names = next(layout.ch_names for layout in flow.layouts.values() if layout is not None)
    if len(names) == len(signal_uv.ch_names):
        names = signal_uv.ch_names
    layers = list(flow.maps)
    roles = {f"{role} layer": flow.channels[number] for role, number in flow.roles.items()}
    paths = "; ".join(f"{role}: {layers[number]}" for role, number in flow.roles.items())
    late = flow.channels[-1]
    title = "Attention flow between channels"
    shown = [
        album.add("attention-layers", title, "", figures.layers_figure(roles, names, title=title, footnote=paths)),
        album.add("attention-circle", title, "", figures.circle_figure(late, names, footnote=layers[-1])),
        album.add("attention-head", title, "", figures.head_figure(late, names, footnote=layers[-1])),
    ]
    return {"pictures": shown, "head": Markup(figures.head_html(late, names))}
