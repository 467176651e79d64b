"""What a reader of a search must know."""

from __future__ import annotations

from collections.abc import Sequence

from biot_bd.evaluation.model_selection.contamination import Origin, check_contamination
from biot_bd.evaluation.searching.candidate_scores import choice_notes
from biot_bd.evaluation.searching.grids import params_text
from biot_bd.evaluation.searching.inner_folds import inner_notes
from biot_bd.evaluation.searching.search_rounds import FoldSearch, SearchPlan


def seen_notes(rounds: SearchPlan, origins: Sequence[Origin]) -> list[str]:
    """Say where checkpoints saw subjects by whom candidates are compared, which none of them may
    gain by.

    Parameters
    ----------
    rounds : SearchPlan
    origins : sequence of Origin
        Weights that a candidate may start from.
    """
    inside = {subject for one in rounds.inner for fold in one.folds for subject in fold.test}
    seen = check_contamination(origins, inside, recordings=rounds.data.recording_table, allow=True)
    return (
        []
        if seen is None
        else [f"candidates are compared on subjects whom a checkpoint saw: {seen.text.removeprefix('contaminated: ')}"]
    )


def choice_lines(rounds: SearchPlan, found: Sequence[FoldSearch]) -> list[str]:
    """Say what was chosen, and what a reader must know of how.

    Parameters
    ----------
    rounds : SearchPlan
    found : sequence of FoldSearch
        One an outer fold.
    """
    metric, n_candidates = rounds.metric.name, max(len(fold.params) for fold in found)
    chosen: dict[str, list[str]] = {}
    for fold in found:
        chosen.setdefault(params_text(fold.final), []).append(str(fold.fold))
    lines = [f"parameters chosen in each fold by {metric} of inner folds, out of {n_candidates} candidates"]
    lines += [
        f"chosen in {'fold' if len(folds) == 1 else 'folds'} {', '.join(folds)}: {params}"
        for params, folds in chosen.items()
    ]
    lines += inner_notes(rounds.inner, rounds.outer)
    undefined = [
        (o.fold, o.inner, o.reason) for f in found for o in f.outcomes if o.state == "finished" and o.score is None
    ]
    if undefined:
        n = len({(fold, inner) for fold, inner, _ in undefined})
        of = sum(len(one.folds) for one in rounds.inner)
        lines.append(
            f"{metric} is undefined in {n} of {of} inner folds (e.g. {undefined[0][2]}); a candidate's mean is that of the others"
        )
    for fold in found:
        lines += choice_notes(f"fold {fold.fold}", fold.scores, fold.chosen, metric)
    return lines
