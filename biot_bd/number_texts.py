"""How numbers stand in texts and tables: as many digits as their kind carries, never ``-0.000``.

One rule for pages, printed results and messages.  JSON keeps every digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

NO_NUMBER = "–"
_EXACT_PERCENT = 1000  # so many cases carry a tenth of a percent


def score_text(value: float | None) -> str:
    """Return a score, a probability, a share, or a difference of two.

    Parameters
    ----------
    value : float or None
        None, or one that is not finite, is a dash.

    Returns
    -------
    str
        Three decimals; below 0.01 two significant digits, as a prevalence of 0.0031 is not 0.003;
        1.000 is said of 1 only.

    See Also
    --------
    text_of : Chooses by the name of a score.

    Examples
    --------
    >>> from biot_bd.number_texts import score_text
    >>> score_text(0.81552), score_text(0.00314), score_text(-0.0), score_text(None)
    ('0.816', '0.0031', '0.000', '–')
    """
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    if 0 < abs(value) < 0.00995:
        digits = 1 - math.floor(math.log10(abs(float(f"{value:.1e}"))))
        return _unsigned_zero(f"{value:.{min(digits, 9)}f}")
    if 0.9995 <= value < 1:
        return "> 0.999"
    return _unsigned_zero(f"{value:.3f}")


def rate_text(value: float | None) -> str:
    """Return a rate, such as false alarms per 24 h.

    Parameters
    ----------
    value : float or None
        As in :func:`score_text`.

    Returns
    -------
    str
        At most three significant digits and two decimals.

    Examples
    --------
    >>> from biot_bd.number_texts import rate_text
    >>> [rate_text(value) for value in (2816.597, 13.68, 0.137, 0.002, 0)]
    ['2820', '13.7', '0.14', '< 0.01', '0']
    """
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    if 0 < value < 0.005:
        return "< 0.01"
    rounded = float(f"{value:.2e}")
    return _without_zeros(f"{rounded:.{0 if abs(rounded) >= 100 else 1 if abs(rounded) >= 10 else 2}f}")


def hours_text(value: float | None) -> str:
    """Return a length of time in hours, without its unit.

    Parameters
    ----------
    value : float or None
        As in :func:`score_text`.

    Returns
    -------
    str
        Whole hours from 100 on, else at most three significant digits and two decimals.

    Examples
    --------
    >>> from biot_bd.number_texts import hours_text
    >>> [hours_text(value) for value in (0.3, 1.2345, 23.456, 982.9375)]
    ['0.3', '1.23', '23.5', '983']
    """
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    return _unsigned_zero(f"{value:.0f}") if abs(value) >= 99.95 else rate_text(value)


def seconds_text(value: float | None) -> str:
    """Return a time in seconds, without its unit.

    Parameters
    ----------
    value : float or None
        As in :func:`score_text`.

    Returns
    -------
    str
        Tenths below 100, whole seconds from there.

    Examples
    --------
    >>> from biot_bd.number_texts import seconds_text
    >>> [seconds_text(value) for value in (-0.04, 2.5, 361.4)]
    ['0.0', '2.5', '361']
    """
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    return _unsigned_zero(f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}")


def ratio_text(value: float | None) -> str:
    """Return how many times something is as large as another, without a sign for times.

    Parameters
    ----------
    value : float or None
        As in :func:`score_text`.

    Returns
    -------
    str
        Tenths below 100, whole numbers from there.

    Examples
    --------
    >>> from biot_bd.number_texts import ratio_text
    >>> ratio_text(10.4615), ratio_text(None)
    ('10.5', '–')
    """
    return seconds_text(value)


def percent_text(share: float | None, n: int | None = None) -> str:
    """Return a share as a percentage; all and none are said of all and none only.

    Parameters
    ----------
    share : float or None
        From 0 to 1.
    n : int, optional
        Of how many cases; from 1000 on there is a decimal.

    Returns
    -------
    str

    Examples
    --------
    >>> from biot_bd.number_texts import percent_text
    >>> percent_text(2 / 3, 3), percent_text(0.9999), percent_text(0.0213, 12_780)
    ('67%', '> 99%', '2.1%')
    """
    if share is None or not math.isfinite(share):
        return NO_NUMBER
    digits = 1 if n is not None and n >= _EXACT_PERCENT else 0
    text, step = f"{100 * share:.{digits}f}", 10.0**-digits
    if float(text) >= 100 and share < 1:
        return f"> {100 - step:.{digits}f}%"
    if float(text) <= 0 and share > 0:
        return f"< {step:.{digits}f}%"
    return f"{_unsigned_zero(text)}%"


def duration_text(value_s: float | None) -> str:
    """Return a length of time with its unit.

    Parameters
    ----------
    value_s : float or None
        In seconds; None is a dash.

    Returns
    -------
    str

    Examples
    --------
    >>> from biot_bd.number_texts import duration_text
    >>> duration_text(2.54), duration_text(95), duration_text(9000), duration_text(400_000)
    ('2.5 s', '1.6 min', '2.5 h', '4.6 days')
    """
    if value_s is None or not math.isfinite(value_s):
        return NO_NUMBER
    for size_s, unit in ((365.25 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if value_s >= (2 * size_s if unit in ("years", "days") else size_s):
            return f"{value_s / size_s:.1f} {unit}"
    return f"{seconds_text(value_s)} s"


def count_text(n: int, one: str, more: str | None = None) -> str:
    """Return a number of things, in the singular where there is one.

    Parameters
    ----------
    n : int
        How many.
    one : str
        What one is called.
    more : str, optional
        What several are called; ``one`` with an s by default.

    Returns
    -------
    str

    Examples
    --------
    >>> from biot_bd.number_texts import count_text
    >>> count_text(1, "subject"), count_text(2, "seizure")
    ('1 subject', '2 seizures')
    """
    return f"{n} {one if n == 1 else more or one + 's'}"


KINDS: Mapping[str, Callable[[float | None], str]] = {
    "fa_per_24h": rate_text,
    "false_alarm_h_per_24h": rate_text,
    "median_latency_s": seconds_text,
    "latency_s": seconds_text,
    "wall_s": seconds_text,
    "hours": hours_text,
}
"""How a score of that name is written; others by :func:`score_text`."""


def text_of(name: str, value: float | None) -> str:
    """Return a value by what it is called.

    Parameters
    ----------
    name : str
        A score, e.g. ``"fa_per_24h"``.
    value : float or None
        Its value; None is a dash.

    Returns
    -------
    str

    Examples
    --------
    >>> from biot_bd.number_texts import text_of
    >>> text_of("sensitivity", 2 / 3), text_of("fa_per_24h", 2 / 3)
    ('0.667', '0.67')
    """
    return KINDS.get(name, score_text)(value)


def signed_text(name: str, value: float | None) -> str:
    """Return a difference of two values of a score, with its sign.

    Parameters
    ----------
    name : str
        The score.
    value : float or None
        The difference; None is a dash.

    Returns
    -------
    str

    Examples
    --------
    >>> from biot_bd.number_texts import signed_text
    >>> (
    ...     signed_text("roc_auc", 0.0214),
    ...     signed_text("fa_per_24h", -12.34),
    ...     signed_text("f1", -0.0),
    ... )
    ('+0.021', '-12.3', '0.000')
    """
    if value is None or value <= 0 or not math.isfinite(value):
        return text_of(name, value)
    return f"+{text_of(name, value)}" if text_of(name, value)[0].isdigit() else text_of(name, value)


def cell_text(cell: Mapping[str, Any], name: str = "", signed: bool = False) -> str:
    """Return a value with the ends of its interval in brackets.

    Parameters
    ----------
    cell : mapping
        ``value``, ``low`` and ``high``.
    name : str
        The score.
    signed : bool
        Whether it is a difference.

    Returns
    -------
    str

    Examples
    --------
    >>> from biot_bd.number_texts import cell_text
    >>> cell_text({"value": 0.5, "low": 0.25, "high": 0.75})
    '0.500 [0.250, 0.750]'
    >>> cell_text({"value": 12.34, "low": None, "high": None}, "fa_per_24h")
    '12.3'
    """
    texts = [signed_text(name, cell[key]) if signed else text_of(name, cell[key]) for key in ("value", "low", "high")]
    return texts[0] if cell["low"] is None or cell["value"] is None else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _without_zeros(text: str) -> str:
    return _unsigned_zero(text.rstrip("0").rstrip(".") if "." in text else text)


def _unsigned_zero(text: str) -> str:
    return text[1:] if text.startswith("-") and float(text) == 0 else text
