"""How far probes agree, against correlations by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from biot_bd.models import TokenLayout, TokenMap, whole_layout
from biot_bd.report.explain.agreement import compare, top_channels, top_moment_s

NAMES = ("A-B", "B-C", "C-D", "D-E", "E-F", "F-G")
LAYOUT = TokenLayout(NAMES, [0.0, 0.5, 1.0], [1.0, 1.5, 2.0])


def of(values, layout=LAYOUT, probe="p", **more):
    return TokenMap(np.asarray(values, dtype=float)[None], layout, probe=probe, **more)


def by_hand(a, b):
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def test_pairs_are_rank_correlated_over_channels_and_moments():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 6, 3))
    found = compare({"a": of(a), "b": of(b), "c": of(-a)})
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found["a", "b"].correlation == pytest.approx(by_hand(a.ravel(), b.ravel()))
    assert found["a", "c"].correlation == pytest.approx(-1)
    assert found["a", "b"].by == "channel and time"


def test_absent_channels_are_left_out():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 6, 3))
    a[4] = b[4] = np.nan
    kept = [0, 1, 2, 3, 5]
    found = compare({"a": of(a), "b": of(b)})["a", "b"]
    assert found.correlation == pytest.approx(by_hand(a[kept].ravel(), b[kept].ravel()))
    assert "E-F" not in top_channels(of(a))


def test_a_probe_without_times_is_compared_by_channel():
    rng = np.random.default_rng(3)
    a, whole = rng.random((6, 3)), rng.random((6, 1))
    found = compare({"a": of(a), "whole": of(whole, whole_layout(6, 400, 200, NAMES))})["a", "whole"]
    assert found.by == "channel"
    assert found.correlation == pytest.approx(by_hand(a.sum(1), whole[:, 0]))


def test_a_flat_map_has_no_correlation_and_other_channels_no_pair():
    a = np.random.default_rng(4).random((6, 3))
    other = of(np.ones((2, 3)), TokenLayout(("x", "y"), [0.0, 0.5, 1.0], [1.0, 1.5, 2.0]))
    found = compare({"a": of(a), "flat": of(np.ones((6, 3))), "other": other})
    assert found["a", "flat"].correlation is None
    assert set(found) == {("a", "flat")}


def test_shared_channels_are_those_at_the_top_of_both():
    a = np.diag([6.0, 5, 4, 3, 2, 1])[:, :3] + np.array([[9], [8], [7], [1], [1], [1]])
    b = np.array([[1], [9], [8], [7], [1], [1]]) * np.ones((6, 3))
    assert top_channels(of(a)) == ("A-B", "B-C", "C-D")
    found = compare({"a": of(a), "b": of(b)})["a", "b"]
    assert (found.shared, found.of) == (("B-C", "C-D"), 3)


def test_the_top_moment_is_in_seconds_where_they_are_known():
    values = np.zeros((6, 3))
    values[2, 1] = 1
    assert top_moment_s(of(values)) == (0.5, 1.5)
    assert top_moment_s(of(values, TokenLayout(NAMES, [np.nan] * 3, [np.nan] * 3))) is None
