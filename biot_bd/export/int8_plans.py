"""Which linear maps of a graph may compute in int8, told from the graph alone.

int8 has 256 steps between the smallest and the largest value that calibration saw.  So a map is
taken where its input cannot leave that range far: behind a normalisation (or a softmax), with
nothing in between but other such maps and functions of single values.  The signal itself, sums that
run past the normalisations, and products of two activations (a window with one channel has other
ones than a whole window) stay in float, as do maps that compute once a window, which cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from biot_bd.exceptions import ExportError

Kind = Literal["signal", "still", "map", "bounding", "other"]


class _State(IntEnum):
    STILL = 0  # holds for every signal: weights, sizes, masks
    BOUNDED = 1
    FREE = 2


@dataclass(frozen=True)
class Operation:
    """A node of a graph, as far as it matters here.

    Parameters
    ----------
    name : str
        Its name in the graph.
    kind : {"signal", "still", "map", "bounding", "other"}
        The signal itself; what does not depend on the signal's values (constants, sizes, the mask);
        a product or convolution; what bounds its output (normalisations, softmax); everything else.
    sources : tuple of str
        Names of the operations before it.
    rank : int or None
        Dimensions of its output; a result of two has one row a window.

    See Also
    --------
    plans : Chooses among them.
    """

    name: str
    kind: Kind
    sources: tuple[str, ...] = ()
    rank: int | None = None


@dataclass(frozen=True)
class Plan:
    """A choice of linear maps.

    Parameters
    ----------
    int8 : tuple of str
        Names of those that compute in int8.
    left_in_float : tuple of str
        Names of all others.

    See Also
    --------
    plans : Makes them.
    """

    int8: tuple[str, ...]
    left_in_float: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.int8)} of {len(self.int8) + len(self.left_in_float)} linear maps in int8"


def plans(operations: Sequence[Operation]) -> Iterator[Plan]:
    """Yield choices of linear maps for int8, the fastest first.

    First all maps whose input is bounded; then without the last of them, the last quarter, half and
    three quarters: what is rounded last is not normalised any more before it is decided on.  A
    graph without normalisations has all its maps instead but the first ones, which see the signal.

    Parameters
    ----------
    operations : sequence of Operation
        In an order in which sources come first.

    Yields
    ------
    Plan

    Raises
    ------
    ExportError
        The graph has no such map.

    See Also
    --------
    biot_bd.export.int8.quantise : Tries them.

    Examples
    --------
    >>> graph = [
    ...     Operation("x", "signal"),
    ...     Operation("project", "map", ("x",), 3),
    ...     Operation("norm", "bounding", ("project",), 3),
    ...     Operation("w1", "map", ("norm",), 3),
    ...     Operation("gelu", "other", ("w1",), 3),
    ...     Operation("w2", "map", ("gelu",), 3),
    ...     Operation("sum", "other", ("project", "w2"), 3),
    ...     Operation("head", "map", ("sum",), 2),
    ... ]
    >>> [plan.int8 for plan in plans(graph)]
    [('w1', 'w2'), ('w1',)]
    """
    maps, bounded, behind_others = _survey(operations)
    chosen = bounded or behind_others
    if not chosen:
        raise ExportError(
            f"int8: none of the graph's {len(maps)} linear maps lies behind another one or a normalisation"
        )
    n = len(chosen)
    left_out = sorted({0, 1, -(-n // 4), -(-n // 2), -(-3 * n // 4)})
    for count in left_out:
        if count < n:
            taken = tuple(chosen[: n - count])
            yield Plan(taken, tuple(name for name in maps if name not in taken))


def _survey(operations: Sequence[Operation]) -> tuple[list[str], list[str], list[str]]:
    """Return linear maps: all, those with a bounded input, those behind another one."""
    states: dict[str, _State] = {}
    depth: dict[str, int] = {}  # linear maps on the way
    maps: list[str] = []
    bounded: list[str] = []
    behind: list[str] = []
    for one in operations:
        before = [states[name] for name in one.sources if name in states]
        below = max((depth[name] for name in one.sources if name in depth), default=0)
        state = max(before, default=_State.STILL)
        if one.kind == "signal":
            state = _State.FREE
        elif one.kind == "still":
            state = _State.STILL
        elif one.kind == "bounding":
            state = min(state, _State.BOUNDED)
        elif one.kind == "map":
            if sum(found != _State.STILL for found in before) > 1:
                state = _State.FREE
            elif state != _State.STILL:
                maps.append(one.name)
                if one.rank != 2:
                    bounded += [one.name] * (state == _State.BOUNDED)
                    behind += [one.name] * (below > 0)
                below += 1
        states[one.name], depth[one.name] = state, below
    return maps, bounded, behind
