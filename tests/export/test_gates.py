"""Each gate lets an equal model through, and stops the candidate that breaks this gate alone."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from biot_bd.exceptions import ExportGateError
from biot_bd.export.artifact import BOUNDS
from biot_bd.export.gates import COMPANY_SHARE, Remembered, check_export

SIZE = {"n_chans": 4, "n_times": 400, "sfreq": 200.0}
BOUND = BOUNDS["int8"]


def logit(x, present):
    """A model of the mean logarithm of the standard deviations of those channels that are present."""
    with np.errstate(divide="ignore"):
        level = np.log(np.where(present, x.std(axis=-1, dtype=np.float64), 1) + 1e-6)
    return (np.where(present, level, 0).sum(axis=1) / present.sum(axis=1) - 3.5) / 4


def both(p):
    return np.stack([1 - p, p], axis=1)


def model(x, present):
    return both(1 / (1 + np.exp(-logit(x, present))))


class Windows:
    """Windows whose probability under ``first_sample`` is given."""

    def __init__(self, probabilities, y):
        self.x = np.zeros((len(y), 4, 400), np.float32)
        self.x[..., 0] = np.asarray(probabilities)[:, None]
        self.y = np.asarray(y)

    def __len__(self):
        return len(self.y)

    def read(self, rows):
        return self.x[rows]


def first_sample(x, present):
    return both(np.clip(x[:, 0, 0].astype(np.float64), 0, 1))


def failed_gates(reference, candidate, precision="int8", **options):
    with pytest.raises(ExportGateError) as caught:
        check_export(reference, candidate, precision=precision, **(SIZE | options))
    return {check.gate for check in caught.value.report.failed}, caught.value


@pytest.mark.parametrize("precision", BOUNDS)
def test_an_equal_model_passes_and_its_report_is_json(precision):
    report = check_export(model, model, precision=precision, threshold=0.5, **SIZE)
    assert report.passed
    assert report.largest_difference == 0
    assert report.validation is None
    told = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    gates = {"batch sizes", "difference", "decisions", "place in the batch", "company in the batch", "absent channels"}
    assert {check["gate"] for check in told["checks"]} == gates
    assert told["bound"] == BOUNDS[precision]


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(BOUNDS)), st.floats(0.5, 0.95), st.booleans())
def test_the_bound_of_a_difference_is_that_of_the_precision(precision, share, beyond):
    moved = BOUNDS[precision] * (2 - share if beyond else share)

    def candidate(x, present):
        return model(x, present) + np.array([-moved, moved]) * np.where(logit(x, present) < 0, 1, -1)[:, None]

    if beyond:
        gates, error = failed_gates(model, candidate, precision)
        assert "difference" in gates <= {"difference", "decisions"}
        assert str(error).startswith(f"exported model in {precision}: difference on")
        assert len(str(error).splitlines()) == 1
    else:
        report = check_export(model, candidate, precision=precision, **SIZE)
        assert report.largest_difference == pytest.approx(moved, rel=1e-6)


@pytest.mark.parametrize("kind", ["large offset", "loud", "faint", "one sharp artifact", "one channel only", "flat"])
def test_one_odd_kind_is_enough(kind):
    def is_odd(x, present):
        x = np.where(present[..., None], x, 0)
        level = np.abs(x).max(axis=(1, 2))
        mean = np.abs(x.mean(axis=-1)).max(axis=1)
        return {
            "large offset": mean > 500,
            "loud": (level > 1e4) & (np.abs(np.median(x, axis=-1)).max(axis=1) < 5e3),
            "faint": level < 1,
            "one sharp artifact": (level > 9e3) & (np.percentile(np.abs(x), 99, axis=(1, 2)) < 3e3),
            "one channel only": present.sum(axis=1) == 1,
            "flat": ((np.ptp(x, axis=-1) == 0) & present).any(axis=1),
        }[kind]

    def candidate(x, present):
        return both(model(x, present)[:, 1] * np.where(is_odd(x, present), 0.9, 1))

    gates, error = failed_gates(model, candidate)
    assert "difference" in gates
    assert gates <= {"difference", "decisions", "company in the batch"}
    assert any(kind in check.inputs for check in error.report.failed)


def test_a_probability_that_is_nan_never_passes():
    def candidate(x, present):
        return np.where((present.sum(axis=1) == 1)[:, None], np.nan, model(x, present))

    gates, error = failed_gates(model, candidate)
    assert "difference" in gates
    json.dumps(error.report.as_dict(), allow_nan=False)


def test_decisions_on_validation_windows_that_all_lie_near_the_threshold():
    windows = Windows(np.linspace(0.495, 0.505, 200), np.arange(200) % 2)

    def candidate(x, present):
        return both(np.clip(first_sample(x, present)[:, 1] + 0.004, 0, 1))

    gates, error = failed_gates(first_sample, candidate, threshold=0.5, windows=windows, absent_channels=False)
    assert gates == {"decisions"}
    found = next(check.found for check in error.report.failed)
    expected = first_sample(windows.x, None)[:, 1]
    assert found == np.mean((expected >= 0.5) == (expected + 0.004 >= 0.5)) < 0.9


def test_decisions_of_three_classes_are_the_most_probable_ones():
    def three(x, present):
        p = 0.05 + 0.8 * first_sample(x, present)[:, 1]
        return np.stack([p, 0.9 - p, np.full(len(p), 0.1)], axis=1)

    def candidate(x, present):
        p = three(x, present)
        return np.where(p[:, :1] > 0.44, p + np.array([0.004, -0.004, 0]), p)

    windows = Windows(np.linspace(0.496, 0.504, 100), np.arange(100) % 3)
    gates, error = failed_gates(three, candidate, windows=windows, absent_channels=False)
    assert gates == {"decisions"}
    assert [check.gate for check in error.report.unanswered] == ["average precision"]


def test_average_precision_falls_without_one_changed_decision():
    rng = np.random.default_rng(0)
    y = (np.arange(200) < 20).astype(int)
    p = np.where(y == 1, 0.302, 0.3) + rng.uniform(0, 1e-3, 200)
    windows = Windows(p, y)

    def candidate(x, present):
        p = first_sample(x, present)[:, 1]
        return both(np.where((p > 0.29) & (p < 0.31), 0.603 - p, p))

    gates, error = failed_gates(first_sample, candidate, threshold=0.6, windows=windows, absent_channels=False)
    assert gates == {"average precision"}
    p = p.astype(np.float32).astype(float)
    fall = average_precision_score(y, p) - average_precision_score(y, 0.603 - p)
    assert error.report.failed[0].found == pytest.approx(fall)
    assert error.report.validation["average_precision"]["torch"] == 1


def test_labels_of_one_class_are_said():
    windows = Windows(np.linspace(0.1, 0.9, 30), np.zeros(30, int))
    report = check_export(
        first_sample, first_sample, precision="int8", threshold=0.5, windows=windows, absent_channels=False, **SIZE
    )
    assert report.validation == {
        "n_windows": 30,
        "n_seizure_windows": 0,
        "agreement": 1.0,
        "average_precision": None,
    }
    assert [check.gate for check in report.unanswered] == ["average precision"]
    assert "undefined" in report.unanswered[0].note


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("slot", [0, -1, 5])
def test_a_result_that_depends_on_its_slot(slot, precision):
    def candidate(x, present):
        p = model(x, present)
        if len(p) == 8:
            p[slot] += np.array([-0.5, 0.5]) * BOUNDS[precision]
        return p

    gates, error = failed_gates(model, candidate, precision, absent_channels=False)
    assert gates == {"place in the batch", "company in the batch"}
    slots = {check.note for check in error.report.failed if check.gate == "place in the batch"}
    assert slots == {f"most in slot {slot % 8}"}


def test_a_loud_batch_mate():
    """One scale for all windows of a batch, as dynamic quantisation by tensor has."""

    def candidate(x, present):
        moved = 0.5 * BOUND * (np.abs(x).max() > 1e4) * (len(x) > 1)
        moved = moved * (np.abs(x).max(axis=(1, 2)) < 1e4)
        return model(x, present) + np.array([-1, 1]) * moved[:, None]

    gates, _ = failed_gates(model, candidate, absent_channels=False)
    assert gates == {"company in the batch"}


def test_rounding_that_depends_on_the_batch_is_allowed():
    def candidate(x, present):
        return model(x, present) + np.array([-1, 1]) * 0.9 * COMPANY_SHARE * BOUND * (len(x) > 3)

    assert check_export(model, candidate, precision="int8", **SIZE).passed


def test_what_stands_in_an_absent_channel():
    def candidate(x, present):
        return (
            model(x, present) + np.array([-1e-5, 1e-5]) * np.tanh(np.where(present, 0, x[..., 0]).sum(axis=1))[:, None]
        )

    gates, _ = failed_gates(model, candidate)
    assert gates == {"absent channels"}


def test_a_batch_baked_into_the_graph():
    def candidate(x, present):
        if len(x) not in (1, 3):
            raise RuntimeError("cannot reshape\nto (3, 304, 256)")
        return model(x, present)

    gates, error = failed_gates(model, candidate)
    assert gates == {"batch sizes"}
    assert len(error.report.failed) == 2
    assert "a batch of 8" in str(error)
    assert "\n" not in str(error)
    gates, error = failed_gates(model, lambda x, present: model(x, present)[:3])
    assert gates == {"batch sizes"}
    assert "expected (8, 2)" in str(error)


def test_logits_are_no_probabilities():
    gates, error = failed_gates(model, lambda x, present: both(logit(x, present) + 3))
    assert gates == {"batch sizes"}
    assert "no probabilities" in str(error)


def test_a_reference_without_probabilities_is_no_gate():
    with pytest.raises(ValueError, match="the reference must give finite probabilities"):
        check_export(lambda x, present: model(x, present) * np.nan, model, precision="fp32", **SIZE)
    with pytest.raises(ValueError, match=r"precision must be one of fp32, bf16, int8, int8-bf16, found .int4."):
        check_export(model, model, precision="int4", **SIZE)


def test_a_remembered_reference_runs_once_for_all_candidates():
    calls = []

    def counted(x, present):
        calls.append(len(x))
        return model(x, present)

    reference = Remembered(counted)
    check_export(reference, model, precision="fp32", **SIZE)
    first = len(calls)
    check_export(reference, model, precision="bf16", **SIZE)
    assert len(calls) == first > 0
