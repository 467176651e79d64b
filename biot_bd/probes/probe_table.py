"""What the tests of probes found: one row for each probe and test."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict, get_args

import pandas as pd

from biot_bd.json_values import check_values, naming
from biot_bd.runs import read_json, to_jsonable, write_json

FORMAT, VERSION = "biot_bd probe table", 1
Outcome = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What one test found of one probe.

    Parameters
    ----------
    probe : str
        Name of the probe.
    test : str
        Name of the test.
    outcome : {"passed", "failed", "not applicable"}
        What came out.
    value : float or None
        What was measured; None where nothing was.
    bound : float or None
        What it was compared with.
    at_least : bool
        Whether ``bound`` is the least that passes; else it is the most.
    title : str
        The test in words, such as ``"adds up to the change of the output"``.
    reason : str
        What the value is, of how much, or why there is none.

    Raises
    ------
    ValueError
        There is no such outcome, or something was measured without a value.

    See Also
    --------
    ProbeTable : Holds them.

    Examples
    --------
    >>> from biot_bd.probes import ProbeResult
    >>> ProbeResult(
    ...     probe="energy", test="planted-distractor", outcome="failed", value=0.61, bound=0.9
    ... ).measured
    '0.61 (at least 0.9)'
    """

    probe: str
    test: str
    outcome: Outcome
    value: float | None = None
    bound: float | None = None
    at_least: bool = True
    title: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in get_args(Outcome):
            raise ValueError(f"outcome must be one of {', '.join(get_args(Outcome))}; got {self.outcome!r}")
        if self.outcome == "not applicable" and not self.reason:
            raise ValueError(f"{self.probe}, {self.test}: what is not applicable needs a reason")

    @property
    def measured(self) -> str:
        """The value and its bound in words; empty where nothing was measured."""
        if self.value is None:
            return ""
        word = "at least" if self.at_least else "at most"
        return f"{self.value:.3g}" + ("" if self.bound is None else f" ({word} {self.bound:.3g})")


class _Row(TypedDict):
    probe: str
    test: str
    outcome: str
    value: float | None
    bound: float | None
    at_least: bool
    title: str
    reason: str


class _Table(TypedDict):
    format: str
    version: int
    rows: list[_Row]
    info: dict[str, Any]


@dataclass(frozen=True, eq=False)
class ProbeTable:
    """Which probe passed which test.

    Parameters
    ----------
    rows : sequence of ProbeResult
        One a probe and test, in the order of probes, then tests.
    info : dict
        Of what: model, windows, seeds; plain facts.

    See Also
    --------
    evaluate : Makes it.

    Examples
    --------
    >>> from biot_bd.probes import ProbeResult, ProbeTable
    >>> facts = {
    ...     "probe": "energy",
    ...     "test": "planted-distractor",
    ...     "title": "tells evidence apart",
    ... }
    >>> table = ProbeTable([ProbeResult(outcome="failed", value=0.6, bound=0.9, **facts)])
    >>> table.failed("energy")
    ['tells evidence apart: 0.6 (at least 0.9)']
    >>> table.caution("energy")
    'This probe failed 1 of 1 tests: tells evidence apart: 0.6 (at least 0.9).'
    >>> table.caution("attention") is None
    True
    """

    rows: tuple[ProbeResult, ...]
    info: dict[str, Any] = field(default_factory=dict)

    def __init__(self, rows: Iterable[ProbeResult], info: Mapping[str, Any] | None = None) -> None:
        object.__setattr__(self, "rows", tuple(rows))
        object.__setattr__(self, "info", dict(to_jsonable(dict(info or {}))))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def probes(self) -> tuple[str, ...]:
        """Names of the probes."""
        return tuple(dict.fromkeys(row.probe for row in self.rows))

    @property
    def tests(self) -> tuple[str, ...]:
        """Names of the tests."""
        return tuple(dict.fromkeys(row.test for row in self.rows))

    def of(self, probe: str, test: str) -> ProbeResult:
        """Return one row.

        Raises
        ------
        KeyError
            There is no such row.
        """
        for row in self.rows:
            if (row.probe, row.test) == (probe, test):
                return row
        raise KeyError(
            f"no test {test!r} of probe {probe!r}; probes: {', '.join(self.probes)}; tests: {', '.join(self.tests)}"
        )

    def failed(self, probe: str) -> list[str]:
        """Return what a probe failed, in words; empty where it failed nothing."""
        return [
            f"{row.title or row.test}: {row.measured or row.reason}"
            for row in self.rows
            if row.probe == probe and row.outcome == "failed"
        ]

    def caution(self, probe: str) -> str | None:
        """Return the sentence that belongs into every picture of a probe; None where it failed
        nothing.
        """
        failed = self.failed(probe)
        if not failed:
            return None
        made = sum(row.probe == probe and row.outcome != "not applicable" for row in self.rows)
        return f"This probe failed {len(failed)} of {made} tests: {'; '.join(failed)}."

    def as_frame(self) -> pd.DataFrame:
        """Return one row for each probe and test, with all that was found."""
        return pd.DataFrame([asdict(row) for row in self.rows])

    def overview(self) -> pd.DataFrame:
        """Return probes by tests: the value and what came out of it."""
        words = {(row.probe, row.test): _short(row) for row in self.rows}
        cells = [[words.get((probe, test), "") for test in self.tests] for probe in self.probes]
        return pd.DataFrame(cells, index=pd.Index(self.probes, name="probe"), columns=list(self.tests))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, atomically."""
        write_json(
            path,
            {"format": FORMAT, "version": VERSION, "rows": [asdict(row) for row in self.rows], "info": self.info},
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ProbeTable:
        """Read what :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            It is no saved table; the message names it.
        """
        facts = read_json(path)
        with naming(path):
            check_values(facts, _Table)
            if (facts["format"], facts["version"]) != (FORMAT, VERSION):
                raise ValueError(f"expected {FORMAT} {VERSION}, found {facts['format']} {facts['version']}")
            return cls([ProbeResult(**row) for row in facts["rows"]], facts["info"])


def _short(row: ProbeResult) -> str:
    """Return a cell of the overview."""
    if row.outcome == "not applicable":
        return "-"
    value = "" if row.value is None else f" {row.value:.2g}"
    return f"{row.outcome}{value}"
