"""Pictures hold what they were given, and need no display."""

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from biot_bd import plots

RNG = np.random.default_rng(0)


def drawn(figure):
    assert isinstance(figure, Figure)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=50)
    assert target.getvalue().startswith(b"\x89PNG")
    return figure.axes


def texts(axis):
    return " ".join(t.get_text() for t in axis.texts)


def test_attention_is_drawn_around_uniform_in_colours_that_never_change():
    weak, strong = 0.9 + 0.2 * RNG.random((6, 6)), np.exp(3 * RNG.standard_normal((6, 6)))
    weak[1] = np.nan
    strong[0, 0] = 0
    limits = set()
    for ratio in (weak, strong):
        axis, bar = drawn(plots.attention_figure(ratio, labels=list("abcdef"), title="early"))
        image = axis.images[0]
        limits.add(image.get_clim())
        colours = image.to_rgba(image.get_array())
        # Above uniform is another hue than below it.
        assert ((colours[..., 0] > colours[..., 2]) == (ratio > 1))[np.isfinite(ratio) & (abs(ratio - 1) > 0.05)].all()
        assert [label.get_text() for label in bar.get_yticklabels()] == ["⅓", "1", "3"]
    assert limits == {(1 / 3, 3.0)}
    assert [label.get_text() for label in axis.get_yticklabels()] == list("ace")  # few labels
    drawn(plots.attention_figure(np.full((3, 4), np.nan)))
    with pytest.raises(ValueError, match="5 labels"):
        plots.attention_figure(weak, labels=list("abcde"))
    with pytest.raises(ValueError, match="expected"):
        plots.attention_figure(weak[0])


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


def test_pyplot_keeps_no_figure():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    plots.eeg_figure(np.zeros((1, 50)), 50, ["A"])
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


def test_the_smoothed_curve_is_the_line_and_windows_are_dots():
    seconds, curve = np.r_[0:20, 30:40].astype(float), RNG.random(30)
    windows = {"times_s": [5.0, 35.0], "proba": [0.3, 0.6]}
    (axis,) = drawn(plots.timeline_figure(**windows, duration_s=40, curve_times_s=seconds, curve=curve))
    dots, line = axis.lines[:2]
    assert (dots.get_linestyle(), line.get_linestyle()) == ("None", "-")
    np.testing.assert_array_equal(dots.get_ydata(), windows["proba"])
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    # Each value holds from its second's start to its end; the line is broken where there is a pause.
    for second, value in zip(seconds, curve, strict=True):
        held = (x >= second - 1e-9) & (x <= second + 1 + 1e-9)
        assert value in y[held]
    assert np.isnan(y).sum() == 2
    axes = drawn(
        plots.eeg_figure(
            np.zeros((1, 4000)), 100, ["A"], proba_times_s=[5], proba=[0.3], curve_times_s=seconds, curve=curve
        )
    )
    assert {text.get_text() for text in axes[1].get_legend().get_texts()} == {"windows", "smoothed curve (decides)"}
    with pytest.raises(ValueError, match="both curve"):
        plots.timeline_figure([5.0], [0.5], 30, curve=[0.1])
    with pytest.raises(ValueError, match="curve_times_s has shape"):
        plots.timeline_figure([5.0], [0.5], 30, curve=[0.1], curve_times_s=[1, 2])


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_the_distance_of_channels_is_a_round_number_that_holds_nearly_all_of_the_signal(unit):
    x = RNG.standard_normal((4, 20_000)) * 30 * unit + np.array([[0], [1000], [-50], [0]]) * unit
    x[3] = np.nan
    distance = plots.channel_distance_uv(x)
    # 98 in 100 values of a normal distribution lie within 2.33 standard deviations.
    assert distance == pytest.approx(200 * unit)
    assert np.mean(np.abs(x[:3] - np.median(x[:3], axis=1, keepdims=True)) <= distance / 2) > 0.98


@pytest.mark.parametrize("x", [np.zeros((2, 50)), np.full((2, 50), np.nan), np.empty((0, 0)), [[np.inf, np.nan]]])
def test_a_signal_that_is_flat_or_unknown_has_a_distance(x):
    assert plots.channel_distance_uv(x) == 1


def luminance(colour):
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("colour", plots.PALETTE)
def test_lines_have_a_contrast_of_three_on_white(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 3


def test_pages_get_every_colour():
    said = dict(part.split(": ") for part in plots.css_colours().rstrip(";").split("; "))
    assert [said[f"--colour{number}"] for number in range(len(plots.PALETTE))] == list(plots.PALETTE)
    assert said["--seizure"] == plots.SEIZURE


def test_colours_and_scale_cost_no_matplotlib():
    code = "import sys; from biot_bd.plots import css_colours; css_colours(); print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
