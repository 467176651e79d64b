"""The head with its strongest links as a page that is turned by pointer, finger or keys."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike

from biot_bd.probes.figures._links import Links
from biot_bd.probes.figures._places import places_of
from biot_bd.probes.figures._scales import Scale, ratio_scale
from biot_bd.probes.figures.alt_texts import alt_text_of_links
from biot_bd.probes.figures.head import TITLE, arc, on_surface, outlines, said

MOST_LINKS = 1000
"""Links that a page holds, the strongest: all of them up to 32 channels."""


def head_html(
    matrix: ArrayLike,
    ch_names: Sequence[str],
    *,
    strongest: int = 20,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
) -> str:
    """Return a page of its own with a head to be turned, which asks for nothing outside.

    Parameters
    ----------
    matrix : array-like, shape (n_chans, n_chans)
        Rows attend to columns and sum to 1; absent channels NaN.
    ch_names : sequence of str
        Names of the channels.
    strongest : int
        How many links are shown at first.
    title, caution, footnote : str, optional
        Words; the caution stands in amber under the title.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    ValueError
        As for :func:`head_figure`.

    See Also
    --------
    head_fragment : The part of it that goes into another page.

    Examples
    --------
    >>> from biot_bd.probes.figures import head_html
    >>> page = head_html([[0.2, 0.8], [0.5, 0.5]], ["C3", "C4"])
    >>> page.startswith("<!doctype html>"), "http-equiv" in page
    (True, True)
    """
    shown = title or TITLE
    inner = _part(matrix, ch_names, "head", "h1", strongest, shown, caution, footnote)
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(shown)}</title>\n<style>body {{ margin: 0; background: #fff; }} "
        "main { max-width: 760px; margin: 0 auto; padding: 14px; }</style>\n</head>\n<body>\n<main>\n"
        f"{inner}\n</main>\n</body>\n</html>\n"
    )


def head_fragment(
    matrix: ArrayLike,
    ch_names: Sequence[str],
    *,
    name: str = "head",
    strongest: int = 20,
    title: str | None = None,
    caution: str | None = None,
    footnote: str | None = None,
) -> str:
    """Return the head to be turned as a part of another page: style, markup, data and script.

    Parameters
    ----------
    matrix : array-like, shape (n_chans, n_chans)
        Rows attend to columns and sum to 1; absent channels NaN.
    ch_names : sequence of str
        Names of the channels.
    name : str
        Identifier, unique in the page.
    strongest : int
        How many links are shown at first.
    title, caution, footnote : str, optional
        Words; the caution stands in amber under the title.

    Returns
    -------
    str
        HTML, which works where a page's policy allows inline style and script.

    Raises
    ------
    ValueError
        The matrix is not one of attention, does not fit the names, ``strongest`` is below 1, or
        ``name`` is no plain identifier.

    See Also
    --------
    head_figure : The same as a picture.

    Examples
    --------
    >>> from biot_bd.probes.figures import head_fragment
    >>> "C3 &lt;left&gt;" in head_fragment([[0.2, 0.8], [0.5, 0.5]], ["C3 <left>", "C4"])
    True
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise ValueError(f"name must be a plain identifier such as 'head-1', got {name!r}")
    return _part(matrix, ch_names, name, "p", strongest, title or TITLE, caution, footnote)


def _part(
    matrix: ArrayLike,
    ch_names: Sequence[str],
    name: str,
    heading: str,
    strongest: int,
    title: str,
    caution: str | None,
    footnote: str | None,
) -> str:
    links = Links.of(matrix, ch_names)
    first = links.strongest(strongest)
    places = places_of(links.ch_names)
    alt = alt_text_of_links(matrix, links.ch_names)
    kept = links.pairs()[:MOST_LINKS]
    scale = ratio_scale([ratio for *_, ratio in first], "", depth="lines")
    xyz = on_surface(places)
    data: dict[str, Any] = {
        "names": links.ch_names,
        "present": links.present.tolist(),
        "on_head": places.on_head,
        "xyz": np.round(xyz, 4).tolist(),
        "links": [
            [i, j, round(ratio, 5), to_hex(scale.colours([ratio])[0]), np.round(arc(xyz[i], xyz[j], 25), 3).tolist()]
            for i, j, ratio in kept
        ],
        "n_links": len(links.pairs()),
        "outlines": [np.round(line, 3).tolist() for line in outlines()] if places.on_head else [],
        "alt": alt,
    }
    text = (
        json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )
    static = files("biot_bd.probes.figures") / "static"
    style = (static / "head.css").read_text(encoding="utf-8")
    script = (static / "head.js").read_text(encoding="utf-8").replace("HEAD3D", json.dumps(name))
    notes = [said(links, first), places.note, links.flat_note()]
    return "\n".join(
        [
            f'<section class="head3d" id="{name}" aria-label="{html.escape(alt)}">',
            f"<style>{style}</style>",
            f'<{heading} class="title">{html.escape(title)}</{heading}>',
            f'<p class="caution">Caution: {html.escape(caution)}</p>' if caution else "",
            *(f"<p>{html.escape(note)}</p>" for note in notes if note),
            _controls(links, name, strongest),
            f'<svg viewBox="-1.42 -1.3 2.84 2.6" tabindex="0" role="application" aria-label="Head, turned by arrow keys" '
            f'aria-describedby="{name}-how"></svg>',
            _key(scale),
            f'<p class="how" id="{name}-how">Drag the head, or use the arrow keys on it, to turn it. Tap a channel to see its '
            "links alone.</p>",
            f'<p data-part="told" aria-live="polite">{html.escape(alt)}</p>',
            _table(links, first),
            f'<p class="foot">{html.escape(footnote)}</p>' if footnote else "",
            "<noscript><p>The head needs JavaScript; the table holds the same links.</p></noscript>",
            f'<script type="application/json">{text}</script>',
            f"<script>{script}</script>",
            "</section>",
        ]
    )


def _controls(links: Links, name: str, strongest: int) -> str:
    views = "".join(
        f'<button type="button" data-view="{view}">{text}</button>'
        for view, text in (
            ("above", "From above"),
            ("left", "Left"),
            ("right", "Right"),
            ("front", "Front"),
            ("behind", "Behind"),
        )
    )
    options = "".join(f'<option value="{k}">{html.escape(text)}</option>' for k, text in enumerate(links.ch_names))
    most = max(1, min(len(links.pairs()), 120))
    return (
        f'<div class="controls" role="group" aria-label="View">{views}</div>\n<div class="controls">'
        f'<label>Strongest links <input type="range" data-part="number" min="1" max="{most}" value="{min(strongest, most)}">'
        f'<span data-part="counted"></span></label>'
        f'<label>Channel <select data-part="channel"><option value="-1">all channels</option>{options}</select></label></div>'
    )


def _key(scale: Scale) -> str:
    low, _, high = scale.ticks
    stops = ", ".join(to_hex(colour) for colour in scale.colours([low, low**0.5, 1.0, high**0.5, high]))
    return (
        f'<div class="key"><span>{scale.marks[0]}</span><i style="background: linear-gradient(to right, {stops})"></i>'
        f"<span>{scale.marks[-1]}</span><span>an even share of attention</span></div>"
    )


def _table(links: Links, first: Sequence[tuple[int, int, float]]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(links.ch_names[i])}</td><td>{html.escape(links.ch_names[j])}</td><td>{ratio:.3g}</td></tr>"
        for i, j, ratio in first
    )
    return (
        "<details><summary>These links as a table</summary><table><thead><tr><th scope=col>Looks</th><th scope=col>Is looked "
        f"at</th><th scope=col>Times an even share</th></tr></thead><tbody>{rows}</tbody></table></details>"
    )
