"""Another table over the same signals."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from biot_bd.runs import write_json
from biot_bd.windows.labels import make_label_rule, rule_name
from biot_bd.windows.store import TABLE_JSON, TABLES
from biot_bd.windows.window_index import StoreTable
from biot_bd.windows.window_table import TableSettings, build_table, warn_of, write_table


def relabel_table(table: StoreTable, rule: Any, window_s: float | None, stride_s: float | None) -> Path:
    """Write the table of another rule, window or stride; return its folder.

    Parameters
    ----------
    table : StoreTable
        What is relabelled.
    rule : str or label rule
        The new rule.
    window_s, stride_s : float or None
        In seconds; those the rule fixes, or those of ``table``, where None.

    Raises
    ------
    ValueError
        The rule fixes another window or stride, or needs another way of resampling than the store has.
    """
    rule = make_label_rule(rule)
    needed = getattr(rule, "resample", None)
    if needed is not None and needed != table.resample:
        raise ValueError(
            f"label rule {rule_name(rule)} needs a store made with resample={needed!r}; {table.store} has {table.resample!r}"
        )
    times = []
    for name, given in (("window_s", window_s), ("stride_s", stride_s)):
        fixed = getattr(rule, name, None)
        if fixed is not None and given not in (None, fixed):
            raise ValueError(f"label rule {rule_name(rule)} fixes {name} at {fixed:g} s; got {given:g}")
        times.append(float(fixed if fixed is not None else getattr(table, name) if given is None else given))
    settings = TableSettings(rule, times[0], times[1], table.sfreq, table.resample, table.settings["on_bad"])
    fingerprint = settings.fingerprint(table.recordings)
    folder = table.store / TABLES / fingerprint
    if (folder / TABLE_JSON).is_file():
        return folder
    with FileLock(table.store / ".lock"):
        if (folder / TABLE_JSON).is_file():  # written last; another process may just have done it
            return folder
        short = [r.recording for r in table.recordings if r.duration_s < settings.window_s]
        if short:
            raise ValueError(
                f"recording {short[0]} is shorter than a window of {settings.window_s:g} s ({len(short)} such)"
            )
        frame, percentiles, notes = build_table(table.store, table.recordings, table.ch_names, settings)
        signals = [[r.recording, r.fingerprint] for r in table.recordings]
        own = {**settings.as_dict(), "fingerprint": fingerprint, "signals": signals, "notes": notes}
        try:
            write_table(folder, frame, percentiles)
            write_json(folder / TABLE_JSON, own)
        except BaseException:  # a half-written table is of no use to anyone
            shutil.rmtree(folder, ignore_errors=True)
            raise
    warn_of([note for note in notes if "no positive window" in note], str(folder / TABLE_JSON))
    return folder
