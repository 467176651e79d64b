"""What a cleaner found in a recording or window, and what it did about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Burst:
    """A loud stretch of a channel.

    Parameters
    ----------
    channel : str
        Its name.
    onset_s, duration_s : float
        In seconds since the first sample that was given, pauses left out.
    z : float
        Robust z-score of its log amplitude.
    kept_because : str
        Why it was taken for no burst (``"rhythmic"``, ``"longer than 2 s"``, ...); empty of one.
    """

    channel: str
    onset_s: float
    duration_s: float
    z: float
    kept_because: str = ""


@dataclass
class CleaningReport:
    """What was found in a recording or window, and what was done about it.

    Parameters
    ----------
    duration_s : float
        How much was given, in seconds.
    line_noise_db : dict of str to dict of float to float
        Channel -> line frequency in Hz -> dB above the spectrum around it, of peaks that stand out.
    filtered : dict of str to tuple of float
        Channel -> frequencies in Hz that were removed.
    absent : dict of str to str
        Channels that became absent -> why.
    interpolated : tuple of str
        Those of them that were interpolated instead.
    bursts : list of Burst
        Short stretches that are loud and no rhythm.
    kept : list of Burst
        Other loud stretches; nothing was done about them.
    bursts_removed : bool
        Whether bursts were marked absent.
    remarks : list of str
        What could not be done, and why.

    See Also
    --------
    AdaptiveCleaner : Writes it.

    Examples
    --------
    >>> report = CleaningReport(10.0, filtered={"Fp1-F7": (50.0,)})
    >>> report.is_clean, report.lines
    (False, ['line noise removed: 50 Hz of Fp1-F7'])
    """

    duration_s: float
    line_noise_db: dict[str, dict[float, float]] = field(default_factory=dict)
    filtered: dict[str, tuple[float, ...]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    interpolated: tuple[str, ...] = ()
    bursts: list[Burst] = field(default_factory=list)
    kept: list[Burst] = field(default_factory=list)
    bursts_removed: bool = False
    remarks: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was changed."""
        return not self.filtered and not self.absent and not (self.bursts and self.bursts_removed)

    @property
    def lines(self) -> list[str]:
        """What was found and done, a line each; empty where nothing was."""
        told = []
        by_freqs: dict[tuple[float, ...], list[str]] = {}
        for channel, freqs in self.filtered.items():
            by_freqs.setdefault(freqs, []).append(channel)
        for freqs, channels in by_freqs.items():
            told.append(f"line noise removed: {', '.join(f'{f:g}' for f in freqs)} Hz of {', '.join(channels)}")
        left = [channel for channel in self.line_noise_db if channel not in {**self.filtered, **self.absent}]
        if left:
            told.append(f"line noise found and left: {', '.join(left)}")
        for channel, why in self.absent.items():
            what = "interpolated" if channel in self.interpolated else "absent"
            told.append(f"{channel} {what}: {why}")
        told += _told(self.bursts, "bursts", "absent" if self.bursts_removed else "left")
        told += _told(self.kept, "other loud stretches", "kept, as no artefacts")
        return [*told, *self.remarks]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        facts = asdict(self)
        facts["line_noise_db"] = {
            channel: {f"{freq:g}": round(db, 1) for freq, db in found.items()}
            for channel, found in self.line_noise_db.items()
        }
        return facts

    def __str__(self) -> str:
        return "\n".join(self.lines) or "nothing found"


def _told(bursts: list[Burst], what: str, done: str) -> list[str]:
    """Return a line on loud stretches, none where there are none."""
    if not bursts:
        return []
    named = ", ".join(dict.fromkeys(burst.channel for burst in bursts))
    return [f"{len(bursts)} {what} of {sum(burst.duration_s for burst in bursts):.2f} s together {done}: {named}"]
