"""Pictures are written as PNG and SVG, and stand in the page at two widths."""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from biot_bd.models import TokenLayout, TokenMap
from biot_bd.report.explain.model import Signal
from biot_bd.report.explain.pictures import PHONE_PX, Album, scalp_picture, traces_picture
from biot_bd.signals.info import SignalInfo

SIGNAL = Signal(np.zeros((1, 2, 400), np.float32), SignalInfo(("C3", "C4"), 200.0, 400, "uV"))


def flat(width_px):
    figure = Figure(figsize=(width_px / 100, 1), dpi=100, label="Nothing.")
    figure.add_axes((0, 0, 1, 1)).plot([0, 1])
    return figure


def image_of(source):
    return Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,"))))


def test_a_picture_is_two_files_and_two_widths_of_the_page(tmp_path):
    shown = Album(tmp_path).add("flat", "A line", flat, 800)
    assert shown.files == ("pictures/flat.png", "pictures/flat.svg")
    assert (tmp_path / shown.files[1]).read_text().startswith("<?xml")
    assert (shown.size, shown.phone_size, shown.alt) == ((800, 100), (PHONE_PX, 100), "Nothing.")
    assert image_of(shown.desk).size == (1400, 175)
    assert abs(image_of(shown.phone).width - PHONE_PX * 1.75) <= 1
    assert Album().add("flat", "A line", flat).files == ()


def test_a_map_is_drawn_as_far_as_it_tells_times_and_channels():
    words = {"target_name": "seizure", "caution": None, "footnote": None}
    layout = TokenLayout(("C3", "C4"), [0.0], [2.0])
    whole = TokenMap(np.ones((1, 2, 1)), layout, probe="p")
    assert traces_picture(Album(), "p", "P", whole, SIGNAL, **words) is None
    timeless = TokenMap(np.ones((1, 2, 2)), TokenLayout(("C3", "C4"), [np.nan] * 2, [np.nan] * 2), probe="p")
    assert traces_picture(Album(), "p", "P", timeless, SIGNAL, **words) is None
    mixed = TokenMap(np.ones((1, 1, 2)), TokenLayout(("all channels",), [0.0, 1.0], [1.0, 2.0]), probe="p")
    assert scalp_picture(Album(), "p", "P", mixed, **words) is None
    shown = scalp_picture(Album(), "p", "P", whole, **words)
    assert shown is not None
    assert shown.alt
