"""A scalar of numpy is a number wherever a number is asked for, whatever its width."""

import numpy as np
import pytest
from small_model import RandomWindows, save_small_model

from biot_bd import load_dataset, load_pipeline, prepare
from biot_bd.evaluation.metrics.calibration import calibration
from biot_bd.evaluation.metrics.thresholds import choose_threshold
from biot_bd.evaluation.statistics.intervals import macro_interval
from biot_bd.evaluation.statistics.paired_tests import paired_test
from biot_bd.events import EventDetector
from biot_bd.losses import FocalLoss
from biot_bd.probes import AttentionProbe
from biot_bd.runs import to_jsonable
from biot_bd.windows import Overlap

f16, f32, f64, i8, u8, i64 = np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64
SCORES = {f"s/{n}": value for n, value in enumerate([0.5, 0.75, 0.25, 1.0, 0.625])}
OTHERS = {name: value / 2 for name, value in SCORES.items()}
Y, PROBA = np.tile([0, 0, 1], 20), np.random.default_rng(0).random(60)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("numbers")


@pytest.fixture(scope="module")
def model(place):
    return load_pipeline(save_small_model(place / "model"))


def demo(place, model, n_subjects, recordings, minutes, seed):
    found = load_dataset(
        "demo", place / "edf", n_subjects=n_subjects, recordings=recordings, minutes=minutes, seed=seed
    )
    return found.description["recording"].tolist(), [recording.raw.n_times for recording in found.datasets]


def prepared(place, model, sfreq, window_s, stride_s, min_overlap_s):
    recordings = load_dataset("demo", place / "edf", n_subjects=2, recordings=1, minutes=5, seed=3)
    rule = Overlap(min_overlap_s=min_overlap_s)
    windows = prepare(recordings, place / "windows", sfreq=sfreq, window_s=window_s, stride_s=stride_s, labels=rule)
    again = windows.relabel(rule, window_s=window_s, stride_s=window_s)
    return windows.fingerprint, windows.shape, windows.label_rule, again.fingerprint, again.folder.name


def interval(place, model, level, n_resamples, random_state):
    options = {"level": level, "n_resamples": n_resamples, "random_state": random_state}
    return macro_interval(SCORES, **options), paired_test(SCORES, OTHERS, **options)


def threshold(place, model, rule, n_bins):
    return choose_threshold(Y, PROBA, rule), calibration(Y, PROBA, n_bins=n_bins)


def events(place, model, threshold, smoothing_s, merge_gap_s, target):
    detector = EventDetector(threshold=threshold, smoothing_s=smoothing_s, merge_gap_s=merge_gap_s, target=None)
    start_s = np.arange(60) * 5.0
    found = detector.predict(PROBA, start_s, 400.0)
    other = EventDetector(target="fa_per_24h", target_fa_per_24h=target)
    return found, to_jsonable(other.get_params())


def attention(place, model, layer, batch_size):
    windows = model[:-1].transform(RandomWindows(3))
    return AttentionProbe(layers=[layer], batch_size=batch_size).explain(model[-1], windows).values


def loss(place, model, gamma, alpha):
    import torch

    logits = torch.linspace(-1, 1, 12).reshape(6, 2)
    return FocalLoss(gamma=gamma, alpha=alpha)(logits, torch.tensor([0, 1] * 3)).item()


CASES = {
    "demo": (demo, (2, 1, 5, 3), [(i64(2), i8(1), i8(5), u8(3)), (u8(2), i64(1), np.uint16(5), np.int16(3))]),
    "prepare": (prepared, (200, 10.0, 5.0, 2), [(u8(200), i8(10), i8(5), i8(2)), (f32(200), f16(10), f64(5), f32(2))]),
    "interval": (interval, (0.75, 199, 3), [(f32(0.75), np.int16(199), u8(3)), (f64(0.75), u8(199), i64(3))]),
    "threshold": (threshold, (0.5, 5), [(f32(0.5), i8(5)), (f16(0.5), u8(5))]),
    "events": (events, (0.5, 10, 30, 2), [(f16(0.5), i8(10), u8(30), i8(2)), (f64(0.5), f32(10), i64(30), f32(2))]),
    "attention": (attention, (0, 2), [(i64(0), i8(2)), (u8(0), u8(2))]),
    "loss": (loss, (2, 0.25), [(i8(2), f16(0.25)), (f32(2), f64(0.25))]),
}


def same(first, second):
    if isinstance(first, (tuple, list)):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            same(one, other)
    elif isinstance(first, np.ndarray):
        np.testing.assert_array_equal(first, second)
    else:
        assert repr(first) == repr(second)


@pytest.mark.parametrize("name", CASES)
def test_it_counts_as_pythons(name, place, model):
    call, plain, numbers = CASES[name]
    expected = call(place, model, *plain)
    for given in numbers:
        same(call(place, model, *given), expected)
