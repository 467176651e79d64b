"""One frame for all fuzzers: seeded, structure-aware damage to a valid file, and what a reader may answer.

A reader gives a result or one line (``ValueError`` or ``OSError``) that names the file; anything else is a
finding, printed as reader, seed and number, from which the same input is made again.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import math
import random
import re
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

SECONDS, MEMORY = 10, 4 * 2**30
NASTY = (
    "0 -1 1 nan inf -inf 1e999 1e-300 1_0 0x10 99999999 -2147483649 18446744073709551616 1,5 n/a None é ☃ %s".split()
)
NASTY += ["", " ", "\0", "\t", "\n", "\u2028", '"', "../../x", "a" * 5000, "1" * 400, "31.02.20", "25.61.61"]
VALUES = [None, True, False, 0, -1, 10**30, 1e308, math.nan, math.inf, "", "a", "\0", "../x", [], {}, [[]], {"": {}}]


class TooSlowError(BaseException):
    """Not an ``Exception``: no reader may take a hang for a damaged file."""


@dataclass(frozen=True)
class Target:
    """A reader under test: a valid file (relative to a folder), how it is damaged, how it is read."""

    name: str
    make: Callable[[Path], Path]
    damage: Callable[[random.Random, bytes], bytes]
    read: Callable[[Path], object]


def damage_bytes(rng: random.Random, data: bytes) -> bytes:
    """Cut, flip, repeat, splice or overwrite."""
    kind, at = rng.randrange(5), rng.randrange(len(data) + 1)
    until = min(len(data), at + rng.choice((1, 2, 8, 64, 4096)))
    if kind == 0:
        return data[:at]
    if kind == 1:
        out = bytearray(data)
        for _ in range(rng.randint(1, 30)):
            if out:
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)
    if kind == 2:
        return data[:until] + data[at:until] * rng.randint(1, 20) + data[until:]
    if kind == 3:
        return data[:at] + data[rng.randrange(len(data) + 1) :]
    return data[:at] + rng.choice((b"\0", b"\xff", b"\x80", b" ")) * (until - at) + data[until:]


def damage_header(rng: random.Random, data: bytes) -> bytes:
    """Put nasty values into fields of an EDF or BDF header, or damage any bytes."""
    count = int(data[252:256])
    fixed = [(0, 8), (8, 80), (88, 80), (168, 8), (176, 8), (184, 8), (192, 44), (236, 8), (244, 8), (252, 4)]
    at, fields = 256, []
    for width in (16, 80, 8, 8, 8, 8, 8, 80, 8, 32):
        fields += [(at + k * width, width) for k in range(count)]
        at += count * width
    if rng.random() < 0.3:
        return damage_bytes(rng, data)
    for _ in range(rng.randint(1, 3)):
        start, width = rng.choice(rng.choice((fixed, fields)))
        value = rng.choice(NASTY).encode()[:width].ljust(width)
        data = data[:start] + value + data[start + width :]
    return data if rng.random() < 0.8 else damage_bytes(rng, data)


def damage_text(rng: random.Random, data: bytes) -> bytes:
    """Replace words and cells by nasty values; swap, drop and repeat lines."""
    if rng.random() < 0.2:
        return damage_bytes(rng, data)
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.randint(1, 4)):
        k = rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind < 3:
            parts = re.split(r"([\t,: ])", lines[k])
            parts[rng.randrange(len(parts))] = rng.choice(NASTY)
            lines[k] = "".join(parts)
        elif kind == 3:
            lines.insert(k, lines[rng.randrange(len(lines))])
        elif kind == 4 and len(lines) > 1:
            del lines[k]
        else:
            lines[k] += rng.choice(("\t", ",", '"', "\r", "x"))
    return "\n".join(lines).encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig")), "replace")


def damage_json(rng: random.Random, data: bytes) -> bytes:
    """Replace, drop and nest values anywhere in the tree."""
    if rng.random() < 0.1:
        return damage_bytes(rng, data)
    if rng.random() < 0.02:
        return b"[" * 200_000
    tree = json.loads(data)
    for _ in range(rng.randint(1, 2)):
        places = [(holder, key) for holder in _holders(tree) for key in _keys(holder)]
        if not places:
            break
        holder, key = rng.choice(places)
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(rng.choice((*VALUES, rng.choice(NASTY), [holder[key]], {"x": holder[key]})))
    return json.dumps(tree).encode()


def damage_parquet(rng: random.Random, data: bytes) -> bytes:
    """Put nasty values into cells and columns, drop columns, rows and the order of rows."""
    if rng.random() < 0.2:
        return damage_bytes(rng, data)
    table = pd.read_parquet(io.BytesIO(data))
    for _ in range(rng.randint(1, 2)):
        column = rng.choice(list(table.columns))
        kind, values = rng.randrange(5), table[column].astype(object)
        if kind < 2 and len(table):
            value = rng.choice((*VALUES[:11], *NASTY[:3], 2**40, -(2**40), 0.5, b"x"))
            values.iloc[rng.randrange(len(table)) if kind else slice(None)] = value
            table[column] = values
        elif kind == 2 and len(table.columns) > 1:
            table = table.drop(columns=column)
        elif kind == 3:
            table = table.iloc[: rng.randrange(len(table) + 1)]
        else:
            table = pd.concat([table, table.sample(frac=1, random_state=rng.randrange(100))])
    out = io.BytesIO()
    try:
        table.to_parquet(out, index=False)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):  # kinds that one column cannot hold
        table.astype(str).to_parquet(out, index=False)
    return out.getvalue()


def _keys(holder):
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


def _holders(tree):
    if isinstance(tree, (dict, list)):
        yield tree
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _holders(value)


def finding(target: Target, path: Path, data: bytes) -> str | None:
    """Read one input; return what is wrong with the answer, or None."""
    path.write_bytes(data)
    before, memory = resource.getrlimit(resource.RLIMIT_AS), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    former = signal.signal(signal.SIGALRM, _too_slow)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(path)
    except (ValueError, OSError) as error:
        text = str(error)
        if not _names(text, path):
            return f"does not name the file: {type(error).__name__}: {text[:200]} {_place(error)}"
        return None if len(text.splitlines()) == 1 else f"more than one line: {text[:300]!r}"
    except TooSlowError as error:
        return f"longer than {SECONDS} s {_place(error)}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]} {_place(error)}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        resource.setrlimit(resource.RLIMIT_AS, before)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    return f"took {more / 2**30:.1f} GiB" if more > 2**30 else None


def _names(text: str, path: Path) -> bool:
    """Whether a message names the file, or a folder that it lies in: by its path, not by a common name."""
    return (
        any(str(folder) in text for folder in path.parents if len(folder.parts) > 2) or path.name in text.split(":")[0]
    )


def _too_slow(*_):
    raise TooSlowError


def _place(error):
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/biot_bd/" in frame.filename]
    return " <- ".join(f"{Path(f.filename).name}:{f.lineno}" for f in [frames[-1], *ours[:-4:-1]])


def fuzz(target: Target, seed: int, numbers: range, seconds: float = math.inf) -> list[str]:
    """Return the findings among some inputs; stops after some seconds."""
    import time

    found, end = [], time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = target.make(Path(folder))
        data = path.read_bytes()
        target.read(path)  # a valid input must be read, so that damage is all there is to find
        for number in numbers:
            if time.monotonic() > end:
                break
            rng = random.Random(f"{target.name} {seed} {number}")
            if wrong := finding(target, path, target.damage(rng, data)):
                found.append(f"{target.name}, seed {seed}, number {number}: {wrong}")
    return found


def main(targets: list[Target]) -> int:
    """Fuzz from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", nargs="*", help="names of readers")
    asked = parser.parse_args()
    wrong = 0
    for target in targets:
        if asked.only and target.name not in asked.only:
            continue
        found = fuzz(target, asked.seed, range(asked.first, asked.first + asked.n))
        wrong += len(found)
        print(f"{target.name}: {asked.n} inputs, {len(found)} findings", *found, sep="\n  ", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    from fuzz_targets import TARGETS

    sys.exit(main(TARGETS))
