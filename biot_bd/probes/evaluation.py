"""Are probes true?  All tests of all probes on one model, as one table."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd import registry
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.base import Probe
from biot_bd.probes.planted_models import PlantedModel, kept_planted_models
from biot_bd.probes.probe_table import ProbeResult, ProbeTable
from biot_bd.probes.trials.attention import Reconstruction, RowSums
from biot_bd.probes.trials.base import Candidate, Case, Trial, one_line
from biot_bd.probes.trials.completeness import Completeness
from biot_bd.probes.trials.deletion import Deletion, Insertion
from biot_bd.probes.trials.invariance import BatchMates, ChannelOrder
from biot_bd.probes.trials.planted_evidence import PlantedBackground, PlantedDistractor
from biot_bd.probes.trials.random_weights import RandomWeights

TRIALS: dict[str, Trial] = {
    trial.name: trial
    for trial in (
        Reconstruction(), RowSums(), Completeness(), PlantedDistractor(), PlantedBackground(), Deletion(),
        Insertion(), RandomWeights(), BatchMates(), ChannelOrder(),
    )
}  # fmt: skip
"""All tests, by name."""
REFUSALS = (ValueError, TypeError, NotImplementedError, ImportError)
"""What a probe raises that says why it cannot be run on a model; anything else is its fault."""


def evaluate(
    model: nn.Module,
    x: Tensor,
    probes: Sequence[str | Probe] | Mapping[str, Probe] | None = None,
    *,
    target: int | Sequence[int] | Tensor | None = None,
    tests: Sequence[str] | None = None,
    planted: Sequence[PlantedModel] | None = None,
    random_state: int = 0,
) -> ProbeTable:
    """Test probes on a model and windows.

    ==================  =======================================================================
    test                what a probe that passes does
    ==================  =======================================================================
    reconstruction      its attention maps, put into the layers, give the layers' outputs
    row-sums            rows of its maps, and what it gives in shares, add up to 1
    completeness        its values add up to the change of the output that they share out
    planted-distractor  tells planted evidence from a burst of the same waveform that is none
    planted-background  finds planted evidence among the background (no proof: energy does, too)
    deletion            without the tokens that it puts first the output falls faster than by
                        chance
    insertion           with the tokens that it puts first alone the output stands higher than
                        by chance
    random-weights      its maps change when all weights are drawn at random
    batch-mates         says the same of a window whatever windows stand beside it
    channel-order       its values follow their channels when these are reordered
    ==================  =======================================================================

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode.
    x : Tensor of float, shape (n, n_chans, n_times)
        Windows as the model sees them; a few are enough, and two the least for all tests.
    probes : sequence of str or Probe, or mapping of str to Probe, optional
        Names in ``biot_bd.registry.probes``, or probes themselves.  None: all that are registered,
        plugins' too.
    target : int, sequence of int or Tensor, optional
        The class to ask about.  None: the one that the model predicts for each window.
    tests : sequence of str, optional
        Names out of the table above.  None: all.
    planted : sequence of PlantedModel, optional
        Models for the planted tests (:func:`train_planted`).  None: small BIOTs, trained on this
        machine once (a minute each) and kept in ``$BIOT_BD_CACHE``.
    random_state : int
        Seed of all that is drawn.

    Returns
    -------
    ProbeTable
        One row a probe and test, "not applicable" with a reason where one does not apply.

    Raises
    ------
    ValueError
        There is no such test, the windows are no windows, or ``planted`` is empty.
    biot_bd.exceptions.UnknownNameError
        There is no such probe.

    See Also
    --------
    ProbeTable.caution : What to write into the picture of a probe that failed.
    train_planted : The planted tests on a model of another class.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import evaluate
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=600, sfreq=200, **size).eval()
    >>> table = evaluate(
    ...     model, torch.randn(2, 2, 600), ["attention"], tests=["row-sums", "completeness"]
    ... )
    >>> [(row.test, row.outcome) for row in table.rows]
    [('row-sums', 'passed'), ('completeness', 'not applicable')]
    """
    Probe.check_input(model, x)
    chosen = _named(probes)
    trials = [TRIALS[name] for name in _known_tests(tests)]
    x = x.to(next(model.parameters(), x).device)
    with torch.no_grad():
        classes = Probe.targets(model(x), target)
    if planted is not None and not len(planted):
        raise ValueError("planted is empty: give models that train_planted trained, or None for small BIOTs")
    make_planted = kept_planted_models if planted is None else functools.partial(tuple, planted)
    case = Case(model, x, classes, random_state, make_planted)
    rows: list[ProbeResult] = []
    for name, probe in chosen.items():
        rows += _judged(name, probe, trials, case)
    info = {
        "model": type(model).__name__,
        "n_windows": len(x),
        "target": classes.tolist(),
        "random_state": random_state,
        "tests": [trial.name for trial in trials],
    }
    return ProbeTable(rows, info)


def _judged(name: str, probe: Any, trials: Sequence[Trial], case: Case) -> list[ProbeResult]:
    """Return all rows of a probe; where it cannot be run on this model, why."""
    try:
        probe = probe() if isinstance(probe, type) else probe
        found = case.explain(probe, case.model, case.x, case.target)
    except REFUSALS as error:
        return [trial.result(name, "not applicable", None, one_line(error)) for trial in trials]
    except Exception as error:
        return [trial.result(name, "failed", None, one_line(error)) for trial in trials]
    if not isinstance(found, TokenMap):
        raise TypeError(f"probe {name} must return a TokenMap, returned {type(found).__name__}")
    return [trial.judge(Candidate(name, probe, found), case) for trial in trials]


def _named(probes: Sequence[str | Probe] | Mapping[str, Probe] | None) -> dict[str, Any]:
    """Return probes, or their classes, by name."""
    if probes is None:
        probes = list(registry.probes)
    if isinstance(probes, Mapping):
        return dict(probes)
    if isinstance(probes, str):
        raise ValueError(f"probes must be a sequence, e.g. [{probes!r}], not a text")
    named = [_named_one(one) for one in probes]
    twice = sorted({name for name, _ in named if [name for name, _ in named].count(name) > 1})
    if twice:
        raise ValueError(f"several probes are named {', '.join(twice)}: give a mapping of names of your own to probes")
    return dict(named)


def _named_one(probe: str | Probe) -> tuple[str, Any]:
    if isinstance(probe, str):
        return probe, registry.probes[probe]
    for name, known in registry.probes.items():
        if type(probe) is known:
            return name, probe
    return type(probe).__name__, probe


def _known_tests(tests: Sequence[str] | None) -> list[str]:
    if tests is None:
        return list(TRIALS)
    unknown = [name for name in tests if name not in TRIALS]
    if isinstance(tests, str) or unknown:
        raise ValueError(f"tests must be names out of {', '.join(TRIALS)}; got {tests!r}")
    return list(tests)
