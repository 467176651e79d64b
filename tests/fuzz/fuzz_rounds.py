"""Fuzz by time: each reader in turn for some seconds, in a process of its own, until the minutes are over.

A reader that kills its process (a library in C) is a finding like any other, with the number of the
input; the next ones go on.  What was done is appended to a log of JSON lines, one a turn.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fuzz_frame import Target, fuzz

KILLED_AFTER_S = 60
"""How much longer than its turn a reader may take; one that hangs in C hears no alarm."""


def distinct(found: list[str], most: int = 2) -> list[str]:
    """Return the first findings of each kind and place, and how many more there were."""
    kept: dict[str, list[str]] = {}
    for one in found:
        what = re.sub(r"/\S*|\d+", "", one.partition(": ")[2])
        kept.setdefault(f"{what[:30]} {one.rpartition(' <- ')[2][-40:]}", []).append(one)
    return [
        text[:400] if n < most else f"{len(same) - most} more like the last"
        for same in kept.values()
        for n, text in enumerate(same[: most + 1])
    ]


def _turn(target: Target, seed: int, first: int, seconds: float, number: Any, answers: Any) -> None:
    os.setsid()

    def counted() -> Any:
        for here in range(first, first + 10**9):
            number.value = here
            yield here

    answers.send(distinct(fuzz(target, seed, counted(), seconds)))


def take_turn(target: Target, seed: int, first: int, seconds: float) -> tuple[int, list[str]]:
    """Fuzz one reader in a process of its own.

    Returns
    -------
    after : int
        The first number that was not tried.
    found : list of str
        Findings; the process's end by a signal is one.
    """
    context = multiprocessing.get_context("fork")
    number, (taker, giver) = context.Value("q", first), context.Pipe(duplex=False)
    process = context.Process(target=_turn, args=(target, seed, first, seconds, number, giver))
    process.start()
    giver.close()
    try:
        found = taker.recv() if taker.poll(seconds + KILLED_AFTER_S) else None
    except EOFError:  # it ended without an answer
        process.join()
        status = process.exitcode or 0
        by = signal.Signals(-status).name if status < 0 else f"exit {status}"
        return number.value + 1, [f"{target.name}, seed {seed}, number {number.value}: ended by {by}"]
    if found is None:
        process.kill()
        process.join()
        return number.value + 1, [f"{target.name}, seed {seed}, number {number.value}: hangs"]
    process.join()
    return number.value, found


def main(targets: list[Target]) -> int:
    """Fuzz from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--turn", type=float, default=15, help="seconds of a reader's turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file of JSON lines, which is continued")
    parser.add_argument("--only", nargs="*", help="names of readers")
    asked = parser.parse_args()
    targets = [target for target in targets if not asked.only or target.name in asked.only]
    end, wrong = time.monotonic() + 60 * asked.minutes, 0
    after = dict.fromkeys((target.name for target in targets), 0)
    if asked.log is not None and asked.log.is_file():
        for line in asked.log.read_text().splitlines():
            if (told := json.loads(line))["seed"] == asked.seed and told["target"] in after:
                after[told["target"]] = max(after[told["target"]], told["after"])
    for target in targets:  # what is made once is made here, but for OpenVINO, which does not stand a fork
        if "openvino" not in target.name:
            with tempfile.TemporaryDirectory() as folder:
                target.make(Path(folder))
    while time.monotonic() < end:
        for target in targets:
            if time.monotonic() > end:
                break
            begin, first = time.monotonic(), after[target.name]
            after[target.name], found = take_turn(target, asked.seed, first, asked.turn)
            wrong += len(found)
            told = {
                "target": target.name,
                "seed": asked.seed,
                "first": first,
                "after": after[target.name],
                "seconds": round(time.monotonic() - begin, 1),
                "findings": found,
            }
            print(f"{target.name}: {first} to {after[target.name]}", *found, sep="\n  ", flush=True)
            if asked.log is not None:
                with asked.log.open("a") as file:
                    file.write(json.dumps(told) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    from fuzz_targets import TARGETS

    sys.exit(main(TARGETS))
