"""Which processor this is, and what of it decides how fast a model computes."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
# Instructions that products of matrices use, as Linux names them on x86 and on ARM.
DECIDING = frozenset(
    """avx2 fma f16c avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_bf16 amx_int8 amx_fp16
    asimd asimdhp asimddp bf16 i8mm sve sve2 svebf16 svei8mm sme""".split()
)


@dataclass(frozen=True)
class Processor:
    """A processor, as far as the choice of an engine or a precision depends on it.

    Parameters
    ----------
    name : str
        As the system calls it; machines of a cloud often share a vague one.
    features : tuple of str
        Instructions for products of matrices that it has, sorted, e.g. ``"avx512_bf16"``; empty
        where the system does not tell.
    count : int
        Processors that this process may use.

    See Also
    --------
    this_processor : The one of this machine.

    Examples
    --------
    >>> from biot_bd.processor import Processor
    >>> Processor("AMD EPYC", ("avx2", "avx512f"), 2).as_dict()
    {'name': 'AMD EPYC', 'features': ['avx2', 'avx512f'], 'count': 2}
    """

    name: str
    features: tuple[str, ...]
    count: int

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON holds them."""
        return {**asdict(self), "features": list(self.features)}


@lru_cache(maxsize=1)
def this_processor() -> Processor:
    """Return the processor of this machine, from what the system says; nothing heavy is imported.

    Returns
    -------
    Processor

    Examples
    --------
    >>> from biot_bd.processor import this_processor
    >>> this_processor().count > 0
    True
    """
    text = ""
    with contextlib.suppress(OSError):
        text = CPUINFO.read_text("utf-8", "replace")
    return read_processor(text)


def read_processor(cpuinfo: str) -> Processor:
    r"""Return the processor that a text like ``/proc/cpuinfo`` describes.

    Parameters
    ----------
    cpuinfo : str
        Of x86 or ARM; where it is empty, Python's own name of the processor is taken.

    Returns
    -------
    Processor

    Examples
    --------
    >>> from biot_bd.processor import read_processor
    >>> read_processor("model name : A 7\nflags : fpu avx2 amx_bf16\n").features
    ('amx_bf16', 'avx2')
    """
    name = re.search(r"^model name[ \t]*:[ \t]*(\S.*)", cpuinfo, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)[ \t]*:(.*)", cpuinfo, re.MULTILINE)
    found = DECIDING & set(flags[1].split()) if flags else set()
    known = name[1].strip() if name else platform.processor() or platform.machine()
    return Processor(known, tuple(sorted(found)), _count())


def n_threads() -> int:
    """Return how many threads may compute: the processors that this process may run on, and
    no more than ``OMP_NUM_THREADS``.
    """
    cores = _count()
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) > 0 else cores


def _count() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
