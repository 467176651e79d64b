"""Whether the seeds of a study attend alike, for TensorBoard."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from biot_bd.training import compare_attention

AGREEMENT = "attention-agreement"


def write_seed_agreement(folder: Path, regimes: Iterable[str], seeds: Sequence[int]) -> None:
    """Write ``<regime>/attention-agreement/<fold>`` beside the runs of each regime's seeds.

    Nothing for regimes without attention, and for folds whose data the seeds do not share.

    Parameters
    ----------
    folder : Path
        Of the study.
    regimes : iterable of str
    seeds : sequence of int

    See Also
    --------
    biot_bd.training.compare_attention : What is written.
    """
    for regime in regimes:
        target = folder / regime / AGREEMENT
        shutil.rmtree(target, ignore_errors=True)  # that of fewer seeds
        logs = [folder / regime / f"seed-{seed}" / "tensorboard" for seed in seeds]
        for fold in sorted(path.name for path in logs[0].glob("fold-*")):
            with suppress(ValueError):  # nothing to compare
                compare_attention([log / fold for log in logs], target / fold)
