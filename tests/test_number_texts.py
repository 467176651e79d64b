"""Digits by the kind of number: never more than a kind carries, never a sign of nothing, never a false bound."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import number_texts
from biot_bd.number_texts import hours_text, percent_text, rate_text, score_text, seconds_text, text_of

TEXTS = (score_text, rate_text, hours_text, seconds_text)
finite = st.floats(-1e6, 1e6, allow_nan=False)


def as_number(text):
    return float(text.removeprefix("< ").removeprefix("> ").removesuffix("%"))


@pytest.mark.parametrize("text", [*TEXTS, percent_text])
def test_nothing_is_a_dash(text):
    assert {text(value) for value in (None, math.nan, math.inf, -math.inf)} == {"–"}


@settings(max_examples=150, deadline=None)
@given(finite)
def test_no_sign_of_nothing_and_no_exponent(value):
    for text in TEXTS:
        shown = text(value)
        assert not (shown.startswith("-") and as_number(shown) == 0)
        assert "e" not in shown


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1))
def test_scores_are_right_to_their_last_digit(value):
    shown = score_text(value)
    if shown.startswith("> "):
        assert 0.999 < value < 1
        return
    assert abs(as_number(shown) - value) <= max(0.5e-3, 0) * (1 + 1e-9)
    if 0 < value < 0.00995 and value > 1e-7:  # two significant digits
        assert abs(as_number(shown) - value) <= 0.05 * value * (1 + 1e-9)
    assert (shown == "1.000") == (value == 1)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1e6))
def test_rates_have_three_significant_digits_and_two_decimals_at_most(value):
    shown = rate_text(value)
    if shown == "< 0.01":
        assert 0 < value < 0.005
        return
    digits = shown.replace(".", "").lstrip("0").rstrip("0")
    assert len(digits) <= 3
    assert len(shown.partition(".")[2]) <= 2
    assert abs(as_number(shown) - value) <= max(0.005, 0.005 * value) * (1 + 1e-9)
    assert (as_number(shown) == 0) == (value == 0)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1), st.one_of(st.none(), st.integers(1, 10**6)))
def test_all_and_none_are_said_of_all_and_none(share, n):
    shown = percent_text(share, n)
    assert (shown in ("100%", "100.0%")) == (share == 1)
    assert (shown in ("0%", "0.0%")) == (share == 0)
    if n is None or n < 1000:
        assert "." not in shown


def test_the_kind_follows_from_the_name():
    assert text_of("fa_per_24h", 2816.597) == "2820"
    assert text_of("sensitivity", 2 / 3) == "0.667"
    assert text_of("a metric of a plugin", -0.0001) == "-0.00010"
    assert text_of("hours", 982.94) == "983"
    assert text_of("median_latency_s", -0.0) == "0.0"
    assert all(kind in TEXTS for kind in number_texts.KINDS.values())
