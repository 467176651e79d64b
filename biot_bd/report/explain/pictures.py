"""Pictures of an explained window as files, and as what a page holds of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from PIL import Image

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes import figures
from biot_bd.report.explain.model import Signal
from biot_bd.report.explain.probe_runs import AttentionFlow
from biot_bd.report.explain.window import ExplainedWindow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARPNESS = 1.75
"""Pixels of a PNG for each of the page."""
FOLDER = "pictures"
PHONE_PX = 362
DESK_PX = 1080
SQUARE_PX = 620
SCALP_PX = 460

Draw = Callable[..., "Figure"]


@dataclass(frozen=True)
class Shown:
    """A picture that was taken.

    Parameters
    ----------
    name : str
        Of its files, without an ending.
    title : str
        What it shows.
    alt : str
        What is to be seen in it, for those who cannot see it.
    desk, phone : str
        The PNG as a data URI, for a wide and for a narrow window.
    size, phone_size : (int, int)
        Width and height of both in CSS pixels.
    files : tuple of str
        Names of its files, relative to the folder of the explanation.
    """

    name: str
    title: str
    alt: str
    desk: str
    phone: str
    size: tuple[int, int]
    phone_size: tuple[int, int]
    files: tuple[str, ...]

    def noted(self) -> dict[str, Any]:
        """Return as JSON what :meth:`Album.find` must be told of it."""
        return {"name": self.name, "title": self.title, "alt": self.alt, "size": list(self.size)}


class Album:
    """Takes pictures: as PNG and SVG into a folder, and as what a page holds.

    Parameters
    ----------
    folder : Path or None
        Of the explanation; None: no files, for a page that holds all.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def add(self, name: str, title: str, draw: Draw, width_px: int = DESK_PX) -> Shown:
        """Take a picture, as ``pictures/NAME.png`` and ``.svg`` where there is a folder.

        Parameters
        ----------
        name : str
            Letters, digits and ``-``.
        title : str
            What it shows.
        draw : callable
            ``draw(width_px=...)`` gives a figure whose label says what is to be seen.
        width_px : int
            Width on a wide page.

        Returns
        -------
        Shown
        """
        figure, narrow = draw(width_px=width_px), draw(width_px=PHONE_PX)
        desk, phone = _drawn(figure), _drawn(narrow)
        files: tuple[str, ...] = ()
        if self.folder is not None:
            files = (f"{FOLDER}/{name}.png", f"{FOLDER}/{name}.svg")
            (self.folder / FOLDER).mkdir(exist_ok=True)
            (self.folder / files[0]).write_bytes(desk)
            figure.savefig(self.folder / files[1], metadata={"Title": title, "Date": None})
        alt = str(figure.get_label())
        return Shown(name, title, alt, _uri(desk), _uri(phone), _size(figure), _size(narrow), files)

    def find(self, noted: Mapping[str, Any]) -> Shown:
        """Return a picture that lies in the folder; on a narrow page it is the wide one, smaller.

        Parameters
        ----------
        noted : mapping
            As :meth:`Shown.noted` gives it.

        Raises
        ------
        OSError
            Its PNG is not there.
        """
        if self.folder is None:
            raise ValueError("an album without a folder has no pictures of before")
        name, (width, height) = str(noted["name"]), noted["size"]
        files = (f"{FOLDER}/{name}.png", f"{FOLDER}/{name}.svg")
        uri = _uri((self.folder / files[0]).read_bytes())
        narrow = (PHONE_PX, round(height * PHONE_PX / width))
        return Shown(name, str(noted["title"]), str(noted["alt"]), uri, uri, (width, height), narrow, files)


def _drawn(figure: Figure) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=figure.dpi * SHARPNESS)
    return drawn.getvalue()


def _uri(png: bytes) -> str:
    """Return a picture as the page holds it: in 256 colours, a third of the size."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as full:
        few = full.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(small, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}"


def _size(figure: Figure) -> tuple[int, int]:
    width, height = figure.get_size_inches() * figure.dpi
    return round(width), round(height)


def traces_picture(
    album: Album,
    name: str,
    title: str,
    found: TokenMap,
    signal_uv: Signal,
    window: ExplainedWindow | None = None,
    **words: Any,
) -> Shown | None:
    """Draw what a probe says under the EEG; None where it does not tell times.

    Parameters
    ----------
    album : Album
        Takes the picture.
    name, title : str
        Of the probe, and what it shows in words for clinicians.
    found : TokenMap
        Of one window.
    signal_uv : Signal
        The window in microvolts, in the channels that the network sees.
    window : ExplainedWindow, optional
        For the times of its axis and annotated seizures.
    **words
        Of the figure: ``target_name``, ``caution``, ``footnote``.

    Returns
    -------
    Shown or None
    """
    sfreq = signal_uv.info.sfreq
    if not (found.layout.knows_time and sfreq and found.layout.n_frames > 1):
        return None
    place: dict[str, Any] = {} if window is None else {"start_s": window.begin_s, "events": window.seizures}
    draw = partial(
        figures.traces_figure, found, signal_uv.x, float(sfreq), ch_names=signal_uv.ch_names, **place, **words
    )
    return album.add(f"{name}-traces", f"{title}, under the EEG", draw)


def scalp_picture(album: Album, name: str, title: str, found: TokenMap, **words: Any) -> Shown | None:
    """Draw what a probe says by channel on the head; None where it knows no channels.

    Parameters
    ----------
    album, name, title, found, **words
        As for :func:`traces_picture`.

    Returns
    -------
    Shown or None
    """
    if found.layout.n_chans < 2:
        return None
    draw = partial(figures.scalp_figure, found, **words)
    return album.add(f"{name}-scalp", f"{title}, on the head", draw, SCALP_PX if found.bands is None else DESK_PX)


def layers_picture(album: Album, flow: AttentionFlow, signal_uv: Signal, caution: str | None = None) -> Shown | None:
    """Draw who attends to whom by channel in an early, a middle and a late layer; None where the
    channels of the tokens are not known.

    Parameters
    ----------
    album : Album
        Takes the picture.
    flow : AttentionFlow
        The maps.
    signal_uv : Signal
        Names of the channels.
    caution : str, optional
        Why not to trust it.

    Returns
    -------
    Shown or None
    """
    if flow.channels is None:
        return None
    layers = list(flow.maps)
    by_layer = {f"{role} layer": flow.channels[number] for role, number in flow.roles.items()}
    paths = "; ".join(f"{role}: {layers[number]}" for role, number in flow.roles.items())
    draw = partial(figures.layers_figure, by_layer, ch_names=_names(flow, signal_uv), caution=caution, footnote=paths)
    return album.add("attention-layers", "Attention flow between channels, by layer", draw)


def links_pictures(
    album: Album, flow: AttentionFlow, signal_uv: Signal, caution: str | None = None
) -> tuple[list[Shown], Markup]:
    """Draw the links between channels in the last layer: around a circle, on the head, and on one
    to be turned.

    Parameters
    ----------
    album, flow, signal_uv, caution
        As for :func:`layers_picture`.

    Returns
    -------
    pictures : list of Shown
        None where the channels of the tokens are not known.
    head : Markup
        The interactive one.
    """
    if flow.channels is None:
        return [], Markup()
    last: dict[str, Any] = {
        "matrix": flow.channels[-1],
        "ch_names": _names(flow, signal_uv),
        "caution": caution,
        "footnote": f"last layer: {list(flow.maps)[-1]}",
    }
    circle, head = partial(figures.circle_figure, **last), partial(figures.head_figure, **last)
    shown = [
        album.add("attention-circle", "Attention flow between channels, last layer", circle, SQUARE_PX),
        album.add("attention-head", "The strongest attention flow, on the head", head),
    ]
    return shown, Markup(figures.head_fragment(**last))


def _names(flow: AttentionFlow, signal_uv: Signal) -> tuple[str, ...]:
    names = next(layout.ch_names for layout in flow.layouts.values() if layout is not None)
    return signal_uv.ch_names if len(names) == len(signal_uv.ch_names) else names
