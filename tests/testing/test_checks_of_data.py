"""The checks of metrics, label rules, montages and data sets say what is wrong."""

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from sklearn.metrics import brier_score_loss

from biot_bd import load_dataset
from biot_bd.evaluation.metrics.window_metrics import Metric
from biot_bd.exceptions import ConformanceError
from biot_bd.signals.montages import Montage
from biot_bd.testing import check_dataset, check_label_rule, check_metric, check_montage
from biot_bd.windows.labels import Overlap


def fails(message, check, *args, **kwargs):
    with pytest.raises(ConformanceError, match=message):
        check(*args, **kwargs)


# Metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_and_plain_functions_pass():
    check_metric(Metric("brier", brier_score_loss, needs_classes=(), greater_is_better=False))
    check_metric(mean_difference)


def mean_difference(y, proba):
    return float(proba[y == 1].mean() - proba[y == 0].mean())


def always_one(y, proba):
    return 1.0


def first_only(y, proba):
    return float(proba[-1]) + float(mean_difference(y, proba))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (7, "as a metric"),
        (always_one, "1 for right and 1 for wrong"),
        (Metric("brier", brier_score_loss), "with greater_is_better=True"),
        (first_only, "depends on the order"),
        (lambda y, proba: mean_difference(y, proba), "pickling"),
        (Metric("f", lambda y, proba: float("nan")), "undefined"),
    ],
)
def test_a_wrong_metric_is_found(metric, message):
    fails(message, check_metric, metric)


# Label rules -------------------------------------------------------------------------------------------------------


class OffTheEnd(Overlap):
    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0):
        table = super().__call__(n_samples, sfreq, events, window_s, stride_s)
        return table.assign(start_sample=table["start_sample"] + 1)


class NeverPositive(Overlap):
    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0):
        return super().__call__(n_samples, sfreq, events, window_s, stride_s).assign(label=0)


class NoFraction(Overlap):
    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0):
        return super().__call__(n_samples, sfreq, events, window_s, stride_s).drop(columns="seizure_fraction")


class WrongFraction(Overlap):
    def __call__(self, n_samples, sfreq, events, window_s=10.0, stride_s=5.0):
        return super().__call__(n_samples, sfreq, events, window_s, stride_s).assign(seizure_fraction=0.5)


class FixedWindow(Overlap):
    def __call__(self, n_samples, sfreq, events):
        return super().__call__(n_samples, sfreq, events)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (OffTheEnd, "windows lie outside"),
        (NeverPositive, "0 windows are positive"),
        (NoFraction, r"columns \['seizure_fraction'\] are missing"),
        (WrongFraction, "seizure_fraction is not the share"),
        (FixedWindow, r"do not take \['window_s', 'stride_s'\]"),
        (Overlap(), "expected a class to register"),
    ],
)
def test_a_wrong_label_rule_is_found(rule, message):
    fails(message, check_label_rule, rule)


# Montages ----------------------------------------------------------------------------------------------------------


def test_a_montage_of_ones_own_passes():
    check_montage(Montage("mine", ("Fp1-F7", "O2-P8"), "bipolar"))
    check_montage(Montage("two", ("Cz", "Fz"), "referential"))


def test_a_wrong_montage_is_found():
    fails("expected an instance of biot_bd.signals.montages.Montage", check_montage, {"a": ("Fp1", "F7")})
    turned = Montage("turned", ("Fp1-F7",), "bipolar", pairs=(("F7", "Fp1"),))
    fails(r"montage 'turned': ", check_montage, turned)


# Data sets ---------------------------------------------------------------------------------------------------------


def recording(name="r1", subject="set/1", *, scale=30e-6, onset=2.0, duration=3.0, text="sz", **changes):
    signal = np.random.default_rng(0).standard_normal((2, 2000)) * scale
    raw = mne.io.RawArray(signal, mne.create_info(["Fp1-F7", "F7-T7"], 100.0, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations([onset], [duration], [text]), verbose="error", emit_warning=False)
    description = {"subject": subject, "session": "1", "run": "1", "recording": name} | changes
    return RawDataset(raw, pd.Series({key: value for key, value in description.items() if value is not None}))


def dataset(*parts, outcomes=None, generated=False):
    joined = BaseConcatDataset(list(parts))
    names = [part.description.get("recording") for part in parts]
    rows = [(name, "loaded", "") for name in names] if outcomes is None else outcomes
    joined.outcomes = pd.DataFrame(rows, columns=["recording", "outcome", "detail"])
    joined.generated = generated
    return joined


def test_real_and_generated_recordings_pass(shared, tmp_path):
    check_dataset(load_dataset("chb-mit", shared / "data" / "chbmit-excerpts"))
    demo = load_dataset("demo", tmp_path, n_subjects=2, recordings=1, minutes=2)
    assert demo.generated
    check_dataset(demo)


def test_a_good_data_set_passes():
    rows = [("r1", "loaded", ""), ("r2", "loaded", ""), ("r3", "missing-file", "r3.edf does not exist")]
    check_dataset(dataset(recording("r1"), recording("r2", text="sz_foc_ia"), outcomes=rows))
    check_dataset(dataset(recording(text="artefact", onset=0.0), generated=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [recording()], "expected a braindecode.datasets.BaseConcatDataset, got list"),
        (lambda: dataset(recording(), recording()), r"occur more than once: \['r1'\]"),
        (lambda: dataset(recording(subject="1")), "'subject' is '1'; expected a subject with a name space"),
        (lambda: dataset(recording(subject=1)), "expected a subject with a name space"),
        (lambda: dataset(recording(session=None)), r"the description lacks \['session'\]"),
        (lambda: dataset(recording(name="a/b")), "becomes a file name"),
        (lambda: dataset(recording(scale=30.0)), "Microvolts must be multiplied by 1e-6"),
        (lambda: dataset(recording(scale=0.0)), "a flat recording must be left out"),
        (lambda: dataset(recording(text="seizure")), "descriptions of seizures start with 'sz'"),
        (lambda: dataset(recording(duration=0.0)), "has no length"),
        (lambda: dataset(recording(), outcomes=[]), r"not 'loaded' in dataset.outcomes: \['r1'\]"),
        (
            lambda: dataset(recording(), outcomes=[("r1", "loaded", ""), ("r2", "loaded", "")]),
            r"calls recordings 'loaded' that are not there: \['r2'\]",
        ),
        (
            lambda: dataset(recording(), outcomes=[("r1", "loaded", ""), ("r2", "unreadable", " ")]),
            r"does not say why these were left out: \['r2'\]",
        ),
        (lambda: dataset(recording(), outcomes=[("r1", "loaded", "")] * 2), "mentions recordings twice"),
        (lambda: dataset(recording(), generated="no"), "dataset.generated is 'no'"),
    ],
)
def test_a_wrong_data_set_is_found(make, message):
    fails(message, check_dataset, make())


def test_a_seizure_past_the_end_is_found():
    part = recording()
    late = mne.Annotations([18.0], [3.0], ["sz"])
    part.raw._annotations = late  # set_annotations would cut it
    fails("from 18.000 s to 21.000 s is outside the recording of 20.000 s", check_dataset, dataset(part))


def test_a_data_set_without_outcomes_is_found():
    joined = BaseConcatDataset([recording()])
    fails("expected a pandas.DataFrame with one row for every recording", check_dataset, joined)
