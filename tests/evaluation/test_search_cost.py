"""What a search costs: counted window by window on real folds, and in closed form; speeds are those of a clock."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from biot_bd import BIOTClassifier
from biot_bd.evaluation import Throughput, estimate_cost, measure_throughput

FAST = Throughput(training=10.0, inference=40.0, reading=200.0, preparing=2.0)


@settings(max_examples=50, deadline=None)
@given(
    subjects=st.integers(2, 12),
    windows=st.integers(1, 20),
    epochs=st.integers(1, 5),
    candidates=st.integers(1, 4),
    inner=st.integers(2, 4),
)
def test_it_is_what_a_loop_over_all_fits_counts(subjects, windows, epochs, candidates, inner):
    """Every subject has as many windows as inner folds share evenly, so that counts are whole."""
    n = windows * inner * subjects
    trained = predicted = fits = 0
    for outer in range(subjects):
        inside = [s for s in range(subjects) if s != outer]
        n_inside = len(inside) * windows * inner
        for _ in itertools.product(range(candidates), range(inner)):
            fits += 1
            fold = n_inside // inner
            trained += epochs * 0.75 * (n_inside - fold)
            predicted += epochs * 0.25 * (n_inside - fold) + fold
        fits += 1
        trained += epochs * 0.75 * n_inside
        predicted += epochs * 0.25 * n_inside + windows * inner
    cost = estimate_cost(
        FAST,
        n_windows=n,
        n_folds=subjects,
        epochs=epochs,
        n_candidates=candidates,
        inner_folds=inner,
        validation_fraction=0.25,
        recordings_h=9.0,
        price_an_hour=3.0,
    )
    assert cost.fits == fits
    np.testing.assert_allclose([cost.training_windows, cost.inference_windows], [trained, predicted], rtol=1e-9)
    seconds = [9 / 2, (trained + predicted) / 200, trained / 10, predicted / 40]
    np.testing.assert_allclose(
        [cost.preparing_h, cost.reading_h, cost.training_h, cost.inference_h], np.array(seconds) / 3600
    )
    assert cost.price == pytest.approx(3 * sum(seconds) / 3600)


def test_workers_share_the_fits_and_prepare_once():
    one = estimate_cost(FAST, n_windows=3600, n_folds=4, epochs=10, recordings_h=7200.0)
    many = estimate_cost(FAST, n_windows=3600, n_folds=4, epochs=10, recordings_h=7200.0, n_workers=9)
    assert one.preparing_h == many.preparing_h == 1
    assert one.hours == many.hours == one.wall_h
    assert many.wall_h == pytest.approx(1 + (one.hours - 1) / 4)  # no fit is cut in two
    assert "with 9 workers" in str(many)
    assert "workers" not in str(one)


def test_one_model_of_all_tests_nobody():
    cost = estimate_cost(Throughput(10, 40), n_windows=100, n_folds=1, epochs=2, validation_fraction=0)
    assert (cost.fits, cost.training_windows, cost.inference_windows) == (1, 200, 0)
    assert str(cost) == "1 fit, 20.0 s (training 20.0 s)"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_folds": 0}, "n_folds must be at least 1, found 0"),
        ({"n_candidates": 3}, "n_candidates=3, inner_folds=0; 0 and 0 for"),
        ({"n_candidates": 3, "inner_folds": 1}, "2 inner folds or more"),
        ({"validation_fraction": 1.0}, "validation_fraction must be from 0 to below 1"),
        ({"recordings_h": -1.0}, "recordings_h must be hours"),
        ({"recordings_h": 5.0}, "says nothing of preparing"),
    ],
)
def test_numbers_of_no_search_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        estimate_cost(Throughput(1, 1), **({"n_windows": 10, "n_folds": 2, "epochs": 1} | wrong))
    with pytest.raises(ValueError, match="training must be a positive number a second, found 0"):
        Throughput(0, 1)


def test_speeds_are_those_of_a_clock_and_nothing_is_left_behind(tmp_path, one_thread):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4, 200)).astype("float32")
    y, groups = (np.arange(80) % 10 == 0).astype(int), np.repeat(["a", "b", "c", "d"], 20)
    small = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}
    net = BIOTClassifier(**small, max_epochs=50, log_dir=tmp_path / "log", restart_dir=tmp_path / "restart")
    start = time.perf_counter()
    measured = measure_throughput(make_pipeline(net), x, y, groups, n_windows=40)
    assert 0 < 40 / measured.training + 40 / measured.inference < time.perf_counter() - start
    assert "threads" in measured.machine
    assert list(tmp_path.iterdir()) == []
    assert not net.initialized_
    with pytest.raises(TypeError, match="found FunctionTransformer"):
        measure_throughput(FunctionTransformer(), x, y, groups)
