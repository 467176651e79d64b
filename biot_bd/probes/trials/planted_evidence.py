"""Whether a probe finds planted evidence, and tells it from a burst of the same waveform that is
none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from biot_bd.models.attention.layouts import layout_of
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.planted import PlantedWindows
from biot_bd.probes.planted_models import PlantedModel
from biot_bd.probes.trials.base import Candidate, Case, NotApplicable, Trial, token_values

N_WINDOWS = 24


def evidence_auc(found: TokenMap, planted: PlantedWindows) -> tuple[float, float]:
    """Return how often tokens of the evidence have more than others of the same window.

    Parameters
    ----------
    found : TokenMap
        What a probe says of ``planted.x``, asked about class 1.
    planted : PlantedWindows
        Windows with evidence and distractor.

    Returns
    -------
    distractor, background : float
        Area under the ROC curve, mean over windows: against tokens of the distractor, and against
        tokens without any burst.  0.5 is chance; below it the probe prefers the others.

    Raises
    ------
    ValueError
        The map's frames are not known in seconds.

    See Also
    --------
    evaluate : Compares it with bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import TokenMap, whole_layout
    >>> from biot_bd.probes import PlantedTask, evidence_auc
    >>> planted = PlantedTask(n_chans=3, evidence=(0,), distractor=(2,)).both(1)
    >>> values = np.array([[[1.0], [0.0], [2.0]]])
    >>> evidence_auc(TokenMap(values, whole_layout(3, 1000, 200), probe="by hand"), planted)
    (0.0, 1.0)
    """
    values = token_values(found)
    evidence, distractor, background = planted.places(found.layout)
    return _mean_auc(values, evidence, distractor), _mean_auc(values, evidence, background)


def _mean_auc(values: NDArray[np.float64], first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the mean over windows of P(a > b) + P(a == b) / 2, a of the first, b of the second."""
    areas = []
    for window, chosen, other in zip(values, first, second, strict=True):
        difference = window[chosen][:, None] - window[other]
        if difference.size:
            areas.append(float((difference > 0).mean() + (difference == 0).mean() / 2))
    return float(np.mean(areas)) if areas else float("nan")


class _Planted(Trial):
    """Shared by both: the median over seeds, with all of them in the reason."""

    which: int

    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of; see :class:`Trial`."""
        models = case.planted
        behind = [one for one in models if not one.learnt]
        if behind:
            raise NotApplicable(
                f"the planted model of seed {behind[0].seed} did not learn the task (accuracy {behind[0].accuracy:.2f})"
            )
        areas = [self._area(candidate, case, one) for one in models]
        if not np.isfinite(areas).all():
            raise NotApplicable("frames are too coarse to tell the planted bursts apart")
        name = type(models[0].model).__name__
        by_seed = ", ".join(f"{area:.2f}" for area in areas)
        return float(np.median(areas)), f"AUC on {name} trained on planted bursts, median of {by_seed}"

    def _area(self, candidate: Candidate, case: Case, planted: PlantedModel) -> float:
        return _areas(candidate, case, planted)[self.which]


def _areas(candidate: Candidate, case: Case, planted: PlantedModel) -> tuple[float, float]:
    """Explain the same windows of a model once for both tests."""
    kept = case.kept
    key = (candidate.name, planted.seed, id(planted.model))
    if key not in kept:
        windows = planted.task.both(N_WINDOWS, random_state=20_000 + planted.seed)
        found = case.explain(candidate.probe, planted.model, windows.x, 1)
        kept[key] = evidence_auc(_by_token(found, planted), windows)
    return kept[key]


def _by_token(found: TokenMap, planted: PlantedModel) -> TokenMap:
    """Return a map with finer frames than tokens on the frames of tokens."""
    tokens = layout_of(planted.model, planted.task.n_times)
    if tokens is None or not tokens.knows_time or tokens.n_chans != found.layout.n_chans:
        return found
    return found.on(tokens) if found.layout.n_frames > tokens.n_frames else found


class PlantedDistractor(_Planted):
    """Against a burst of the same waveform in a channel where it means the other class."""

    name = "planted-distractor"
    title = "tells planted evidence from a distractor of the same waveform"
    bound = 0.9
    which = 0


class PlantedBackground(_Planted):
    """Against the rest of the window, which the energy of the input passes without any model."""

    name = "planted-background"
    title = "finds planted evidence among the background"
    bound = 0.8
    which = 1
