"""Run braindecode's own model tests, from a checkout of its repository, on biot_bd's BIOT.

Braindecode's ``BIOT`` is replaced in its list of models (and ``InterpolatedBIOT`` built anew on
ours) before its tests are imported; the library under them is the installed one.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import biot_bd

LEFT_OUT = {
    "test_model_has_categorization_badges": "badges of the pages of braindecode's website, which ours are not on",
    "test_legacy_params": "the old `return_feature=True` changes the type of the output; "
    "`forward(x, return_features=True)` gives the embedding",
}
"""Tests that must fail, by the name of their function, and why."""

RESULT = Path(__file__).parent / "braindecode_models.md"


class Recorder:
    """A pytest plugin that keeps the tests on BIOT and counts how they end."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.words: dict[str, dict[str, None]] = defaultdict(dict)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[Any]) -> None:
        kept = [item for item in items if _is_about_biot(item)]
        config.hook.pytest_deselected(items=[item for item in items if not _is_about_biot(item)])
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and not (report.when == "setup" and report.outcome != "passed"):
            return
        name = report.nodeid.split("::")[-1].split("[")[0]
        wanted_failure = report.failed and name in LEFT_OUT
        self.outcomes[name]["left out" if wanted_failure or report.skipped else report.outcome] += 1
        if wanted_failure:
            self.words[name][LEFT_OUT[name]] = None
        elif report.skipped:
            self.words[name]["braindecode skips it: " + report.longrepr[2].removeprefix("Skipped: ")] = None  # type: ignore[index]
        elif report.failed:
            self.words[name][report.longreprtext.splitlines()[-1]] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            self.outcomes[report.nodeid]["left out" if report.skipped else "failed"] += 1
            self.words[report.nodeid][str(report.longrepr).splitlines()[-1]] = None

    def total(self, outcome: str) -> int:
        """Return how many tests ended so: "passed", "failed" or "left out"."""
        return sum(counts[outcome] for counts in self.outcomes.values())


def _is_about_biot(item: Any) -> bool:
    """Say whether a test, its parameters or its fixtures name BIOT."""
    return any("biot" in name.lower() for name in (item.name, *item.fixturenames))


def take_the_place() -> None:
    """Put biot_bd's BIOT in the place of braindecode's, wherever its tests look for it."""
    import braindecode.models as models
    from braindecode.models import biot, util
    from braindecode.models.interpolated import InterpolatedModel

    if not util.models_dict:
        util._init_models_dict()
    interpolated = InterpolatedModel(biot_bd.BIOT, biot._BIOT_TARGET_CHS_INFO)
    for module in (models, biot):
        module.BIOT, module.InterpolatedBIOT = biot_bd.BIOT, interpolated
    util.models_dict["BIOT"] = biot_bd.BIOT
    util.interpolated_models_dict["InterpolatedBIOT"] = interpolated


def page(recorder: Recorder, source: str) -> str:
    """Return the table in Markdown."""
    lines = [
        f"Braindecode's tests of models that name BIOT, from its repository at {source}, run on "
        f"{datetime.date.today()} with braindecode {version('braindecode')}, torch {version('torch')} and "
        f"biot_bd's BIOT in the place of braindecode's: {recorder.total('passed')} passed, "
        f"{recorder.total('failed')} failed, {recorder.total('left out')} left out.",
        "",
        "| test | passed | failed | left out | why |",
        "|---|---|---|---|---|",
    ]
    for name, counts in sorted(recorder.outcomes.items()):
        numbers = " | ".join(str(counts[outcome] or "") for outcome in ("passed", "failed", "left out"))
        why = "; ".join(recorder.words[name]).replace("|", "\\|")
        lines.append(f"| `{name}` | {numbers} | {why} |")
    return "\n".join(lines) + "\n"


def commit_of(source: Path) -> str:
    """Return commit and date of a checkout, or say that it is none."""
    found = subprocess.run(
        ["git", "-C", str(source), "log", "-1", "--format=commit %h of %cs"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "an unknown commit"


@contextlib.contextmanager
def inside(folder: str) -> Iterator[None]:
    """Work in a folder for a while: some tests write files where they stand."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> int:
    """Run the tests, print the table and keep it beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="a checkout of braindecode's repository")
    parser.add_argument("-k", dest="only", default="", help="pytest's choice of tests; the table is then only printed")
    options = parser.parse_args()
    source = options.source.resolve()
    tests = source / "test" / "unit_tests" / "models"
    if not tests.is_dir():
        parser.error(f"{options.source} has no test/unit_tests/models; give a checkout of braindecode's repository")
    take_the_place()
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder, inside(folder):
        code = pytest.main(
            [str(tests), "-q", "--tb=line", "-W", "ignore", "-p", "no:cacheprovider", "--rootdir", str(source)]
            + ["-k", options.only] * bool(options.only),
            plugins=[recorder],
        )
    table = page(recorder, commit_of(source))
    print(table)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(code)
    if not options.only:
        RESULT.write_text(table, encoding="utf-8")
    return 1 if recorder.total("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
