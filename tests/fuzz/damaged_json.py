"""Damage JSON texts as the world does: one value becomes a nasty one, or the file itself is hurt.

Deterministic: the same text and seed give the same damage.
"""

import json
import random

NASTY = (
    None,
    True,
    False,
    0,
    -1,
    2,
    10**7,
    10**9,
    10**30,
    -(10**300),
    1e-308,
    1.7e308,
    0.5,
    "",
    "x",
    "../../x",
    "a" * 3000,
    "\x00",
    [],
    {},
    [[]],
    [None],
    {"x": 1},
    {"$class": "os:system"},
    {"$tuple": [1]},
    [1, "x", None],
)
RAW = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 5000 + "]" * 5000, "[" * 300 + "]" * 300, "01", "'x'")
"""Texts in place of a value that no dump writes."""
_MARK = "«here»"


def places(value, at=()):
    """Yield the path of every value, of containers too."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


def replaced(value, at, new):
    """Return a copy with another value at a path."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


def without(value, at):
    """Return a copy that lacks what lies at a path."""
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(at) == 1:
        del copy[at[0]]
    else:
        copy[at[0]] = without(value[at[0]], at[1:])
    return copy


def damage(text, seed):
    """Return bytes of a damaged file, and what was done, for messages.

    Parameters
    ----------
    text : str
        JSON.
    seed : int
        Chooses place and damage.
    """
    draw = random.Random(seed)
    value = json.loads(text)
    at = draw.choice([path for path in places(value) if path])
    kind = draw.randrange(10)
    if kind < 5:
        new = draw.choice(NASTY)
        return json.dumps(replaced(value, at, new)).encode(), f"{at} = {str(new)[:40]}"
    if kind < 7:
        raw = draw.choice(RAW)
        dumped = json.dumps(replaced(value, at, _MARK), ensure_ascii=False)
        return dumped.replace(f'"{_MARK}"', raw).encode(), f"{at} = {raw[:20]}"
    if kind == 7:
        return json.dumps(without(value, at)).encode(), f"{at} missing"
    data = text.encode()
    cut = draw.randrange(len(data))
    if kind == 8:
        return data[:cut], f"cut at {cut}"
    return data[:cut] + draw.choice((b"\xff\xfe", b"\x00", b'{"a":1,"a":2}', b"\xef\xbb\xbf")) + data[
        cut + 1 :
    ], f"bytes at {cut}"
