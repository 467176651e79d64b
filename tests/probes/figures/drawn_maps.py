"""Maps and matrices that pictures are drawn of."""

import io

import numpy as np

from biot_bd import registry
from biot_bd.models import TokenLayout, TokenMap

BIOT = registry.montages["biot-16"].ch_names
SINGLE = tuple("Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2".split())


def layout_of(ch_names, n_frames=19, known=True):
    starts = np.arange(n_frames) * 0.5 if known else np.full(n_frames, np.nan)
    return TokenLayout(tuple(ch_names), starts, starts + 1.0)


def a_map(
    ch_names=BIOT, n_frames=19, n=2, *, signed=False, absent=(), peak=None, bands=None, known=True, seed=0, **more
):
    rng = np.random.default_rng(seed)
    shape = (n, *((len(bands),) if bands else ()), len(ch_names), n_frames)
    values = rng.normal(0, 0.1, shape) if signed else rng.uniform(0.5, 1.5, shape)
    if peak is not None:
        values[..., peak[0], peak[1]] += 4
    values[..., list(absent), :] = np.nan
    more.setdefault("probe", "mine")
    return TokenMap(
        values,
        layout_of(ch_names, n_frames, known),
        signed=signed,
        bands=bands,
        target=(1,) * n if signed else None,
        **more,
    )


def a_matrix(n=16, *, absent=(), seed=0, spread=1.0):
    matrix = np.exp(np.random.default_rng(seed).normal(0, spread, (n, n)))
    matrix[list(absent)] = matrix[:, list(absent)] = np.nan
    return matrix / np.nansum(matrix, axis=1, keepdims=True)


def words(figure):
    """Return all that stands above and below the axes."""
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def saved(figure):
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=50)
    return target.getvalue()


def labelled(axis, label):
    (found,) = [one for one in axis.get_children() if one.get_label() == label]
    return found
