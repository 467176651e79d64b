"""Pictures in one or two sentences, for those who cannot see them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.figures._links import Links
from biot_bd.probes.figures._scales import ratio_to_average
from biot_bd.probes.figures._words import listed, title_of, window_of


def alt_text(found: TokenMap, *, window: int | None = 0, start_s: float = 0.0) -> str:
    """Say what is highest in a map, in a sentence or two.

    Parameters
    ----------
    found : TokenMap
        What a probe gave.
    window : int or None
        Which window; None: the mean of all.
    start_s : float
        Where the window begins in its recording, in seconds: added to all times.

    Returns
    -------
    str
        Title of the probe, size of the map, the highest cell (and the lowest of a signed map), and
        which channels are absent.

    Raises
    ------
    ValueError
        There is no such window.

    See Also
    --------
    alt_text_of_links : Of who attends to whom.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import TokenLayout, TokenMap
    >>> from biot_bd.probes.figures import alt_text
    >>> layout = TokenLayout(("C3", "C4"), [0.0, 0.5], [1.0, 1.5])
    >>> alt_text(TokenMap(np.array([[[1.0, 2.0], [3.0, 10.0]]]), layout, probe="mine"))
    'Importance by the probe mine, 2 channels x 2 moments: highest at C4, 0.5 to 1.5 s (...).'
    """
    values, layout = window_of(found.values, window), found.layout
    moments = f" x {layout.n_frames} moments" if layout.n_frames > 1 else ""
    rhythms = f" x {len(found.bands)} frequency bands" if found.bands else ""
    start = f"{title_of(found)}, {layout.n_chans} channels{moments}{rhythms}: "
    if not np.isfinite(values).any():
        return start + "no channel is present."
    shown = values if found.signed else ratio_to_average(values)
    text = start + f"highest at {_place(found, shown, np.nanargmax(shown), start_s)}"
    if found.signed:
        text += f", lowest at {_place(found, shown, np.nanargmin(shown), start_s)}"
    present = np.isfinite(values).any(axis=-1).reshape(-1, layout.n_chans).any(axis=0)
    absent = [name for name, here in zip(layout.ch_names, present, strict=True) if not here]
    return text + "." + (f" Absent: {listed(absent)}." if absent else "")


def _place(found: TokenMap, shown: NDArray[Any], at: np.intp, begin_s: float) -> str:
    layout = found.layout
    *band, channel, frame = (int(place) for place in np.unravel_index(int(at), shown.shape))
    value = float(shown[(*band, channel, frame)])
    size = f"{value:.3g} {found.unit}" if found.signed else f"{value:.3g} times the average"
    start_s, stop_s = (begin_s + float(ends[frame]) for ends in (layout.frame_start_s, layout.frame_stop_s))
    if layout.n_frames == 1:
        when = ""
    elif not layout.knows_time:
        when = f", moment {frame + 1} of {layout.n_frames}"
    elif stop_s - start_s < 0.1:
        when = f", {start_s:.6g} s"
    else:
        when = f", {start_s:.6g} to {stop_s:.6g} s"
    rhythm = f", {found.bands[band[0]]}" if found.bands and band else ""
    return f"{layout.ch_names[channel]}{rhythm}{when} ({size})"


def alt_text_of_links(matrix: ArrayLike, ch_names: tuple[str, ...] | list[str], *, most: int = 3) -> str:
    """Say which channels attend most to which others.

    Parameters
    ----------
    matrix : array-like, shape (n_chans, n_chans)
        Rows attend to columns and sum to 1; absent channels NaN.
    ch_names : sequence of str
        Names of the channels.
    most : int
        How many links to name.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        The matrix is not one of attention, or does not fit the names.

    See Also
    --------
    circle_figure : The picture.

    Examples
    --------
    >>> from biot_bd.probes.figures import alt_text_of_links
    >>> alt_text_of_links([[0.2, 0.8], [0.5, 0.5]], ["C3", "C4"], most=1)
    'Attention flow between 2 channels: most from C3 to C4 (1.6 times an even share).'
    """
    links = Links.of(matrix, ch_names)
    found = [
        f"from {links.ch_names[i]} to {links.ch_names[j]} ({ratio:.3g} times an even share)"
        for i, j, ratio in links.strongest(most)
    ]
    start = f"Attention flow between {links.present.sum()} channels: "
    text = start + (f"most {', '.join(found)}." if found else "no two channels are present.")
    absent = [name for name, here in zip(links.ch_names, links.present, strict=True) if not here]
    return text + (f" Absent: {listed(absent)}." if absent else "")
