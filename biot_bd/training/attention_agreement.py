"""Whether runs of the same data attend alike: correlations of the maps that TensorBoard holds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MAPS = "attention_map/"
WINDOWS = "attention/windows"
AGREEMENT = "attention_agreement/"


def compare_attention(log_dirs: Sequence[str | os.PathLike[str]], folder: Any = None) -> pd.DataFrame:
    """Correlate the attention of several runs of the same data, e.g. of several seeds.

    Parameters
    ----------
    log_dirs : sequence of path
        Folders that :class:`~biot_bd.training.TensorBoardLogger` wrote, two or more.
    folder : path, optional
        Where to write the mean over pairs as scalars ``attention_agreement/early`` and so on, for
        TensorBoard; best beside the runs.  None writes nothing.

    Returns
    -------
    DataFrame
        One row for each pair of runs, layer and epoch that both have drawn: ``first``, ``second``
        (the folders as given), ``layer`` (``early``, ``middle``, ``late``, or ``only``), ``epoch``
        and ``correlation``: Pearson's, over the cells of the two maps, of the logarithm of the
        ratio to uniform attention; NaN where one of the maps is uniform.

    Raises
    ------
    ValueError
        Fewer than two folders, one without attention maps, or maps of other windows or channels: a
        correlation would compare data, not runs.

    See Also
    --------
    TensorBoardLogger : Writes the maps.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from biot_bd.training import BIOTClassifier, compare_attention
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 400)).astype("float32")
    >>> size = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dirs = [Path(folder, f"seed-{seed}") for seed in (0, 1)]
    ...     for seed, log_dir in enumerate(dirs):
    ...         net = BIOTClassifier(
    ...             max_epochs=1, train_split=None, log_dir=log_dir, device="cpu", **size
    ...         )
    ...         _ = net.set_params(random_state=seed).fit(x, [0, 1] * 4)
    ...     found = compare_attention(dirs)
    >>> found.columns.tolist(), found["layer"].tolist(), found["epoch"].tolist()
    (['first', 'second', 'layer', 'epoch', 'correlation'], ['only'], [1])
    """
    names = [os.fspath(log_dir) for log_dir in log_dirs]
    if len(names) < 2:
        raise ValueError(f"compare_attention needs the folders of two runs or more, got {len(names)}")
    runs = {name: _read(name) for name in names}
    _check_same_windows(runs)
    rows = []
    for first, second in itertools.combinations(names, 2):
        maps, others = runs[first][1], runs[second][1]
        for layer, epoch in maps:
            if (layer, epoch) in others:
                value = _correlation(maps[layer, epoch], others[layer, epoch])
                rows.append((first, second, layer, epoch, value))
    found = pd.DataFrame(rows, columns=["first", "second", "layer", "epoch", "correlation"])
    if folder is not None:
        _write(found, folder)
    return found


def _read(folder: str) -> tuple[str, dict[tuple[str, int], NDArray[np.float64]]]:
    """Return the text that names the windows, and the maps by layer and epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(folder, size_guidance={"tensors": 0, "images": 1, "scalars": 1})
    if Path(folder).is_dir():
        events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith(MAPS)]
    if not tags:
        raise ValueError(f"{folder}: no attention maps; give folders that a TensorBoardLogger wrote for a transformer")
    text = make_ndarray(events.Tensors(f"{WINDOWS}/text_summary")[-1].tensor_proto).item().decode()
    maps = {
        (tag.removeprefix(MAPS), int(event.step)): make_ndarray(event.tensor_proto).astype(np.float64)
        for tag in tags
        for event in events.Tensors(tag)
    }
    return text, maps


def _check_same_windows(runs: dict[str, tuple[str, Any]]) -> None:
    first, (expected, _) = next(iter(runs.items()))
    for name, (text, _) in runs.items():
        if text != expected:
            raise ValueError(
                f"{first} and {name} show the attention of other windows ({expected} | {text}): compare runs of the same data"
            )


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if one.shape != other.shape:
        raise ValueError(f"maps of {one.shape} and {other.shape} cannot be compared: the runs have other tokens")
    known = np.isfinite(one) & np.isfinite(other) & (one > 0) & (other > 0)
    a, b = np.log(one[known]), np.log(other[known])
    if len(a) < 2 or min(a.std(), b.std()) < 1e-6:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _write(found: pd.DataFrame, folder: Any) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(os.fspath(folder)) as writer:
        means = found.groupby(["layer", "epoch"], as_index=False)["correlation"].mean().dropna()
        for row in means.itertuples():
            writer.add_scalar(f"{AGREEMENT}{row.layer}", row.correlation, row.epoch)
