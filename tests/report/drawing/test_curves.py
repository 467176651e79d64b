from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from biot_bd.report.drawing.curves import (
    Decision,
    EegExcerpt,
    _pr_curve,
    _roc_curve,
    curves_of,
    eeg_picture,
    pr_picture,
    training_picture,
)
from biot_bd.report.drawing.svg import Panel, Picture, envelope, line_style, nice_ticks


def scored(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.2).astype(int)
    return y, np.round(np.clip(0.3 * y + rng.random(n) * 0.7, 0, 1), 2)


def area(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def test_area_under_the_drawn_curves_is_the_score() -> None:
    y, p = scored()
    assert area(*_pr_curve(y, p)) == pytest.approx(average_precision_score(y, p), abs=1e-12)
    assert area(*_roc_curve(y, p)) == pytest.approx(roc_auc_score(y, p), abs=1e-12)


def test_points_of_the_curves_are_those_of_scikit_learn() -> None:
    y, p = scored()
    rows = curves_of(y, p)
    assert len(rows) == len(np.unique(p))
    precision, recall, threshold = precision_recall_curve(y, p)
    np.testing.assert_allclose([row["threshold"] for row in rows], threshold[::-1])
    np.testing.assert_allclose([row["precision"] for row in rows], precision[:-1][::-1])
    np.testing.assert_allclose([row["recall"] for row in rows], recall[:-1][::-1])
    for row in rows[:: len(rows) // 7]:
        called = p >= row["threshold"]
        assert row["false_positive_rate"] == pytest.approx(called[y == 0].mean())


def test_thinned_curves_stay_close() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random(20_000) < 0.1).astype(int)
    p = rng.normal(y, 1.0)
    x, precision = _pr_curve(y, p)
    assert len(x) < 900
    assert area(x, precision) == pytest.approx(average_precision_score(y, p), abs=0.02)


def test_one_line_a_subject_and_a_pooled_one() -> None:
    y, p = scored()
    text = str(pr_picture({"a/1": (y, p), "a/2": (y, p)}, (y, p)))
    assert text.count('class="line thin"') == 2
    assert text.count('class="line pooled"') == 1
    assert f"{y.mean():.3f}" in text


def test_lines_of_many_subjects_differ() -> None:
    assert len({line_style(i) for i in range(24)}) == 24


def test_envelope_keeps_extremes_of_every_piece() -> None:
    x = np.random.default_rng(0).normal(size=10_000)
    x[1234], x[8000] = 50, -60
    position, value = envelope(x, 100)
    assert len(value) == 200
    for k in range(100):
        piece = x[100 * k : 100 * (k + 1)]
        assert set(value[2 * k : 2 * k + 2]) == {piece.min(), piece.max()}
    np.testing.assert_array_equal(x[position.astype(int)], value)


def test_envelope_leaves_gaps_and_short_signals() -> None:
    x = np.arange(10.0)
    np.testing.assert_array_equal(envelope(x, 8)[1], x)
    y = np.ones(1000)
    y[500:] = np.nan
    _, value = envelope(y, 10)
    assert np.isnan(value).sum() == 5


def test_gap_breaks_the_line() -> None:
    picture = Picture("p", 10, 10, "t", "d")
    picture.path([0, 1, 2, 3, 4], [0, 1, np.nan, 3, 4])
    path = re.search(r' d="([^"]*)"', str(picture))
    assert path is not None
    assert path[1].count("M") == 2
    assert "nan" not in path[1]


def test_panel_scales() -> None:
    panel = Panel(10, 20, 100, 50, (0, 10), (-1, 1))
    assert float(panel.x(5)) == 60
    assert float(panel.y(1)) == 20
    assert float(panel.y(-1)) == 70


@pytest.mark.parametrize("limits", [(1.0, 1.0), (0.0, float("nan")), (2.0, 1.0)])
def test_axis_without_extent_is_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite limits"):
        nice_ticks(*limits)


def excerpt(**changes: object) -> EegExcerpt:
    rng = np.random.default_rng(0)
    values: dict[str, object] = {
        "signal_uv": rng.normal(0, 30, (3, 4000)),
        "sfreq": 200.0,
        "start_s": 100.0,
        "ch_names": ["A-B", "B-C", "C-D"],
        "window": (105.0, 115.0),
        "centres_s": np.array([105.0, 110.0, 115.0]),
        "proba": np.array([0.1, 0.9, 0.4]),
        "threshold": 0.5,
        "seizures": [(90.0, 108.0)],
        **changes,
    }
    return EegExcerpt(**values)  # type: ignore[arg-type]


def test_eeg_shades_the_seizure_where_it_lies() -> None:
    text = str(eeg_picture("e", "t", excerpt()))
    shaded = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*class="seizure"', text)
    assert shaded is not None
    # 960 units for 20 s; the part before the picture is cut off.
    assert float(shaded[1]) == pytest.approx(72)
    assert float(shaded[2]) == pytest.approx(8 / 20 * 960)
    assert text.count('class="dot above"') == 1


def test_eeg_scale_follows_the_signal() -> None:
    loud = re.search(r">(\d+) µV<", str(eeg_picture("e", "t", excerpt())))
    soft = re.search(r">(\d+) µV<", str(eeg_picture("e", "t", excerpt(signal_uv=excerpt().signal_uv / 10))))
    assert loud is not None
    assert soft is not None
    assert int(loud[1]) == 10 * int(soft[1]) == 200


def test_absent_channel_is_said_and_not_drawn() -> None:
    signal = np.array(excerpt().signal_uv)
    signal[1] = np.nan
    text = str(eeg_picture("e", "t", excerpt(signal_uv=signal)))
    assert ">absent<" in text
    assert text.count('class="trace ') == 2
    assert "nan" not in text.lower()


def test_training_curve_marks_the_kept_epoch() -> None:
    series = {"training": np.array([1.0, 0.5, 0.25]), "validation": np.array([1.0, np.nan, 0.5])}
    text = str(training_picture("l", "Loss", series, "Loss", 2))
    assert "epoch 2: weights kept" in text
    assert text.count("<circle") == 5
    with pytest.raises(ValueError, match="no finite value"):
        training_picture("l", "Loss", {"training": np.array([np.nan])}, "Loss", None)


def traces_of(text: str) -> list[np.ndarray]:
    """The points (x, y) of each drawn trace, in the order of drawing."""
    paths = re.findall(r'<path d="([^"]*)" class="trace', text)
    return [np.array(path.replace("M", "").split(), dtype=float).reshape(-1, 2) for path in paths]


def test_negative_is_up() -> None:
    signal = np.zeros((1, 400))
    signal[0, 100], signal[0, 300] = -100.0, 100.0
    (points,) = traces_of(str(eeg_picture("e", "t", excerpt(signal_uv=signal, ch_names=["F7-T7"]))))
    base = np.median(points[:, 1])
    assert points[100, 1] < base < points[300, 1]  # pixels grow downwards
    assert "negative up" in str(eeg_picture("e", "t", excerpt()))


def test_one_channel_full_of_artefacts_does_not_flatten_the_rest() -> None:
    rng = np.random.default_rng(0)
    names = ["Fp1-F7", "F7-T7", "T7-P7", "P7-O1"]
    quiet = rng.normal(0, 20, (4, 4000))
    loud = quiet.copy()
    loud[2] *= 500
    bars = [
        re.search(r">([\d.]+) µV<", str(eeg_picture("e", "t", excerpt(signal_uv=x, ch_names=names))))
        for x in (quiet, loud)
    ]
    assert bars[0] is not None
    assert bars[1] is not None
    assert bars[0][1] == bars[1][1]


def test_the_calibration_bar_is_as_high_and_wide_as_it_says() -> None:
    signal = np.zeros((1, 4000))
    signal[0, 2000:] = 100.0
    text = str(eeg_picture("e", "t", excerpt(signal_uv=signal, ch_names=["F7-T7"])))
    bar = re.search(r'<path d="M([\d.]+) ([\d.]+) [\d.]+ ([\d.]+) ([\d.]+) [\d.]+" class="bar"', text)
    said = re.search(r">([\d.]+) µV<", text)
    assert bar is not None
    assert said is not None
    left, top, bottom, right = map(float, bar.groups())
    assert right - left == pytest.approx(960 / 20, abs=0.1)  # 20 s in 960 units
    (points,) = traces_of(text)
    step = points[-1, 1] - points[0, 1]
    assert (bottom - top) / float(said[1]) == pytest.approx(step / 100.0, rel=1e-2)


def test_the_drawn_curve_crosses_the_threshold_where_the_alarm_begins() -> None:
    values = np.array([0.1] * 106 + [0.7] * 8 + [0.2] * 30)
    decision = Decision(values, threshold=0.5, release=0.3)
    text = str(eeg_picture("e", "t", excerpt(decision=decision, alarms=[(106.0, 114.0)], threshold=None)))
    line = re.search(r'<path d="M([^"]*)" class="line proba"', text)
    mark = re.search(r'<path d="M[\d.]+ ([\d.]+) [^"]*" class="reference threshold"', text)
    bar = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="8.00" class="alarm-bar"', text)
    assert line is not None
    assert mark is not None
    assert bar is not None
    x, y = np.array(line[1].split(), dtype=float).reshape(-1, 2).T
    above = y <= float(mark[1])
    assert x[np.argmax(above)] == pytest.approx(float(bar[1]), abs=0.06)
    assert x[len(above) - 1 - np.argmax(above[::-1])] == pytest.approx(float(bar[1]) + float(bar[2]), abs=0.06)
    assert ">alarm release<" in text


def test_labels_of_thresholds_that_lie_close_do_not_overlap() -> None:
    decision = Decision(np.full(140, 0.1), threshold=0.52, release=0.5)
    text = str(eeg_picture("e", "t", excerpt(decision=decision, threshold=0.51)))
    heights = [float(y) for y in re.findall(r'<text x="1036.0" y="([\d.]+)" class="tick"', text)]
    assert len(heights) == 3
    assert np.diff(sorted(heights)).min() >= 12
