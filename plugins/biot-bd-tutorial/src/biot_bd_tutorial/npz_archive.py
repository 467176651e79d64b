"""The exporter ``npz``: weights as an archive of NumPy, with windows to check a reader by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biot_bd.export import graph_of
from biot_bd.runs import atomic_path

N_PROBE = 4


def export_npz(pipeline: Any, path: str | os.PathLike[str]) -> Path:
    """Write the weights of a pipeline's graph, and a few windows with their probabilities.

    Parameters
    ----------
    pipeline : Pipeline, BIOTClassifier or path
        A fitted pipeline, or the folder of a saved one.
    path : path
        The archive: ``weight.NAME`` of each tensor, ``probe_uv`` (n, n_chans, n_times) in
        microvolts, ``probe_probabilities`` (n, n_classes).

    Returns
    -------
    Path
        The archive.
    """
    path = Path(path)
    with graph_of(pipeline) as graph, torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        x = 30 * torch.randn(N_PROBE, graph.n_chans, graph.n_times, generator=generator)
        present = torch.ones(x.shape[:2], dtype=torch.bool)
        probabilities, _ = graph(*(x, present)[: len(graph.input_names)])
        weights = {f"weight.{name}": value.numpy() for name, value in graph.state_dict().items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, probe_uv=x.numpy(), probe_probabilities=probabilities.numpy(), **weights)
    return path
