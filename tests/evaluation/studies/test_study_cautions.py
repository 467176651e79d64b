"""What a table of foundation models says that its own numbers cannot tell."""

import pytest
from scipy.stats import permutation_test

from biot_bd.evaluation.studies.study_table import COLUMNS, cautions, cost_text


def row_of(row, **values):
    start = {"cohort": "clinic", "row": row, "state": "finished", "n_subjects": 4, "contamination": "clean"}
    return dict.fromkeys(COLUMNS) | start | values


def always_on(**values):
    found = {"events_fa_per_24h": 0.0, "events_sensitivity": 1.0, "events_f1": 1.0, "sens_fa_auc": 1.0}
    return row_of("always-on", **(found | values))


def test_an_endless_alarm_without_false_alarms_takes_the_meaning_of_event_scores():
    [text] = cautions([always_on()])
    assert text.startswith("clinic: event scores and Sens@FA AUC tell no rows apart")
    assert "event F1 1.000, a Sens@FA AUC of 1.000" in text
    assert cautions([always_on(events_fa_per_24h=240.0)]) == []
    assert cautions([always_on(events_fa_per_24h=None, events_sensitivity=None)]) == []  # no seizures, no events


@pytest.mark.parametrize("n_subjects", [4, 5, 6])
def test_the_smallest_p_is_that_of_an_exact_test_in_which_all_subjects_agree(n_subjects):
    smallest = permutation_test(
        (range(1, n_subjects + 1),), sum, permutation_type="samples", n_resamples=10**4, vectorized=False
    ).pvalue
    rows = [row_of(f"model-{k}", p=0.5, n_subjects=n_subjects) for k in range(3)]
    [text] = cautions(rows)
    assert f"{n_subjects} subjects allow no p below {smallest:.3g} ({3 * smallest:.3g} adjusted for 3 rows)" in text


def test_enough_subjects_are_not_warned_of():
    assert cautions([row_of("one", p=0.5, n_subjects=8), row_of("other", p=0.5, n_subjects=8)]) == []


def test_weights_that_may_have_seen_test_subjects_are_named():
    rows = [row_of("a", contamination="contaminated"), row_of("b", contamination="unknown"), row_of("c")]
    rows.append(row_of("d", contamination="contaminated", state="refused"))
    assert cautions(rows) == [
        "weights that saw test subjects, or may have: a on clinic (contaminated), b on clinic (unknown)"
    ]


def test_a_refused_row_costs_nothing():
    assert cost_text(row_of("labram", state="refused", peak_memory_mb=557.0)) == "–"
    assert cost_text(row_of("eegnet", fit_s=5.0, peak_memory_mb=557.0)) == "5 s folds, 557 MB"
