"""What the score loses when a channel's signal is replaced."""

from __future__ import annotations

import torch
from torch import Tensor

from biot_bd.probes.progress_bar import with_progress
from biot_bd.probes.question import Question


def score_lost(question: Question, replaced: Tensor, batch_size: int, what: str, progress: bool) -> Tensor:
    """Return the score minus that with one channel replaced, for each channel.

    Parameters
    ----------
    question : Question
    replaced : Tensor, shape (n, n_chans, n_times)
        What each channel holds instead; NaN: it is absent.
    batch_size : int
        Windows a forward pass.
    what : str
        For the progress bar.
    progress : bool
        Show one.

    Returns
    -------
    Tensor, shape (n, n_chans)
        NaN where the channel was absent before.
    """
    lost = torch.full_like(question.x[..., 0], torch.nan)
    batches = question.present.nonzero().split(batch_size)
    with torch.no_grad():
        for batch in with_progress(batches, len(batches), what, progress):
            rows, channels = batch.unbind(dim=1)
            x = question.x[rows]
            x[torch.arange(len(x), device=x.device), channels] = replaced[rows, channels]
            lost[rows, channels] = question.scores[rows] - question.score_of(x, rows)
    return lost
