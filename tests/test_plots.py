"""Pictures hold what they were given, and need no display."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score

from biot_bd import plots

RNG = np.random.default_rng(0)
Y = np.array([0, 0, 1, 0, 1, 1, 0, 0])
P = np.array([0.1, 0.4, 0.35, 0.2, 0.9, 0.8, 0.5, 0.05])


def drawn(figure):
    assert isinstance(figure, Figure)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=50)
    assert target.getvalue().startswith(b"\x89PNG")
    return figure.axes


def texts(axis):
    return " ".join(t.get_text() for t in axis.texts)


def test_attention_maps_share_one_scale():
    early, late = RNG.random((4, 4)), RNG.random((4, 4)) * 3
    late[1] = np.nan
    axes = drawn(plots.attention_figure({"early": early, "late": late}, labels=list("abcd"), title="t"))
    np.testing.assert_array_equal(axes[0].images[0].get_array(), early)
    assert axes[0].images[0].get_clim() == axes[1].images[0].get_clim() == (0, np.nanmax(late))
    assert [axis.get_title() for axis in axes[:2]] == ["early", "late"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list("abcd")
    drawn(plots.attention_figure({"absent": np.full((3, 3), np.nan)}))
    with pytest.raises(ValueError, match="5 labels"):
        plots.attention_figure({"early": early}, labels=list("abcde"))
    with pytest.raises(ValueError, match="expected"):
        plots.attention_figure({"early": early[0]})
    with pytest.raises(ValueError, match="found none"):
        plots.attention_figure({})


def test_pr_curve_is_drawn_as_average_precision_sums_it():
    (axis,) = drawn(plots.pr_figure({"a": (Y, P)}))
    line = axis.lines[0]
    recall, precision = line.get_data()
    assert line.get_drawstyle() == "steps-post"
    area = -np.sum(np.diff(recall) * np.asarray(precision)[:-1])
    assert area == pytest.approx(average_precision_score(Y, P))
    assert "prevalence 0.375" in axis.get_legend().get_texts()[0].get_text()
    with pytest.raises(ValueError, match="needs both classes"):
        plots.pr_figure({"a": (np.ones(3), np.ones(3))})
    with pytest.raises(ValueError, match="shape"):
        plots.pr_figure({"a": (Y, P[:-1])})


def test_roc_curve_area():
    (axis,) = drawn(plots.roc_figure({"a": (Y, P), "b": (Y, 1 - P)}))
    false_rate, true_rate = axis.lines[1].get_data()
    # Mann-Whitney: the share of pairs in the right order.
    pairs = np.mean([p > n for p in P[Y == 1] for n in P[Y == 0]])
    assert np.trapezoid(true_rate, false_rate) == pytest.approx(pairs)
    assert f"{pairs:.3f}" in axis.get_legend().get_texts()[0].get_text()


def test_confusion_matrix_shows_counts_and_shares():
    (axis,) = drawn(plots.confusion_figure([[90, 10], [1, 3]], ["background", "seizure"]))
    assert "90\n90.0 %" in texts(axis)
    assert "3\n75.0 %" in texts(axis)
    drawn(plots.confusion_figure([[0, 0], [0, 0]], [0, 1]))
    with pytest.raises(ValueError, match=r"expected \(3, 3\)"):
        plots.confusion_figure([[1, 2], [3, 4]], [0, 1, 2])


def test_eeg_with_probabilities():
    x = RNG.standard_normal((3, 500)) * 50
    x[1] = np.nan
    axes = drawn(
        plots.eeg_figure(
            x,
            100,
            ["A", "B", "C"],
            start_s=60,
            events=[(61, 63)],
            proba_times_s=[61, 62.5, 64],
            proba=[0.1, 0.8, 0.2],
            threshold=0.5,
        )
    )
    assert axes[0].get_xlim() == (60, pytest.approx(64.99))
    assert len(axes[0].lines) == 2
    assert "absent" in texts(axes[0])
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), [0.1, 0.8, 0.2])
    assert axes[0].patches
    drawn(plots.eeg_figure(np.zeros((2, 50)), 50, ["A", "B"]))
    with pytest.raises(ValueError, match="2 channels"):
        plots.eeg_figure(x, 100, ["A", "B"])
    with pytest.raises(ValueError, match="both proba"):
        plots.eeg_figure(x, 100, ["A", "B", "C"], proba=[0.1])
    with pytest.raises(ValueError, match="expected"):
        plots.eeg_figure(x, 100, ["A", "B", "C"], proba=[0.1, 0.2], proba_times_s=[1])


@pytest.mark.parametrize("height", [0.003, 1.0, 42.0, 900.0])
def test_channels_do_not_overlap_for_any_unit(height):
    x = np.sin(np.linspace(0, 60, 2000)) * height
    axis = drawn(plots.eeg_figure([x, x], 200, ["A", "B"]))[0]
    top, bottom = (np.asarray(line.get_ydata()) for line in axis.lines)
    assert top.min() > bottom.max() - 0.1 * height


def test_history_leaves_out_what_is_not_defined():
    (axis,) = drawn(plots.history_figure({"train": [1.0, 0.5], "valid": [None, 0.7]}, best_epoch=2, ylabel="loss"))
    np.testing.assert_array_equal(axis.lines[1].get_ydata(), [np.nan, 0.7])
    np.testing.assert_array_equal(axis.lines[0].get_xdata(), [1, 2])
    assert "taken" in texts(axis)


def test_pyplot_keeps_no_figure():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    plots.history_figure({"a": [1.0]})
    assert plt.get_fignums() == before


def test_a_timeline_shows_curve_events_gaps_and_threshold():
    times, proba = np.arange(5, 7200, 5.0), RNG.random(1439)
    (axis,) = drawn(
        plots.timeline_figure(times, proba, 7200, events=[(600, 660)], gaps=[(3600, 4500)], threshold=0.7, title="t")
    )
    np.testing.assert_allclose(axis.lines[0].get_xdata(), times / 3600)
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), proba)
    assert (axis.get_xlabel(), axis.get_xlim()) == ("time (h)", (0, 2))
    spans = [(p.get_x() * 3600, (p.get_x() + p.get_width()) * 3600, p.get_hatch()) for p in axis.patches]
    np.testing.assert_allclose([s[:2] for s in spans], [(600, 660), (3600, 4500)])
    assert [hatch for *_, hatch in spans] == [None, "///"]
    assert axis.lines[-1].get_xdata()[0] == pytest.approx(630 / 3600)  # the mark of a short event
    (short,) = drawn(plots.timeline_figure([5.0], [0.5], 30))
    assert short.get_xlabel() == "time (s)"
    with pytest.raises(ValueError, match="shape"):
        plots.timeline_figure([1, 2], [0.5], 30)
