"""What happened when a checkpoint was loaded.

Which tensors met, which head there is, which channels are used.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from biot_bd.models.checkpoints.provenance import Provenance, some
from biot_bd.runs import to_jsonable


@dataclass(frozen=True)
class LoadReport:
    """Account of one loading; kept by the model as ``load_report``.

    Parameters
    ----------
    source : str
        As it was given.
    layout : str
        Which published layout the file has.
    blob_id : str
        Git blob id of the file of weights.
    published : str or None
        Name in ``KNOWN`` where the file is that checkpoint.
    matched : tuple of str
        Tensors of the model that were taken from the file.
    missing : tuple of str
        Tensors of the encoder that the file lacks.
    unexpected : tuple of str
        Tensors of the file that the model lacks.
    shapes : dict of str to tuple
        Tensors of both whose shapes differ: (in the file, in the model).
    ignored : dict of str to str
        Entries of the file that a model does not take, and why.
    head : str
        Where the last linear map comes from.
    channels : dict of str to int
        Channel token of each input channel.
    config : dict
        What the model was built with and shapes do not show: heads, rate, hop; and where that is
        known from.
    provenance : Provenance
        What the checkpoint was trained on.
    notes : tuple of str
        What else the reader of a result should know.

    See Also
    --------
    biot_bd.models.BIOT.from_checkpoint : Gives a model with its report.

    Examples
    --------
    >>> from biot_bd.models import BIOT, LoadReport, save_checkpoint
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=4, n_times=400, n_outputs=2
    ... )
    >>> report = BIOT.from_checkpoint(
    ...     save_checkpoint(model, "w.ckpt", ["my-set/01"]), n_times=400
    ... ).load_report
    >>> report.complete, report.problems()
    (True, '17 of 17 tensors match')
    >>> LoadReport.from_dict(report.to_dict()) == report
    True
    """

    source: str
    layout: str
    blob_id: str
    published: str | None
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    ignored: dict[str, str]
    head: str
    channels: dict[str, int]
    config: dict[str, Any]
    provenance: Provenance
    notes: tuple[str, ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether every tensor of the encoder and of the file found its place."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.shapes)

    def problems(self) -> str:
        """Return what did not fit, in one line."""
        parts = [f"{len(self.matched)} of {len(self.matched) + len(self.missing) + len(self.shapes)} tensors match"]
        if self.missing:
            parts.append(f"missing: {some(self.missing, 6)}")
        if self.unexpected:
            parts.append(f"unexpected: {some(self.unexpected, 6)}")
        if self.shapes:
            differing = [f"{k} {list(a)} instead of {list(b)}" for k, (a, b) in self.shapes.items()]
            parts.append(f"other shapes: {some(differing, 6)}")
        return "; ".join(parts)

    def summary(self) -> str:
        """Return the account in one line."""
        seen = ", ".join(f"{s.dataset} ({s.how})" for s in self.provenance.trained_on) or "no record"
        parts = [
            f"{self.source}: {self.problems()} ({self.layout} layout)",
            f"head {self.head}",
            f"{len(self.channels)} channels",
            f"trained on {seen if self.provenance.known else seen + ', incomplete'}",
            *self.notes,
        ]
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it; :meth:`from_dict` takes it back."""
        return to_jsonable(asdict(self) | {"provenance": self.provenance.to_dict()})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LoadReport:
        """Make it again from :meth:`to_dict`."""
        shapes = {key: (tuple(a), tuple(b)) for key, (a, b) in data["shapes"].items()}
        tuples = {key: tuple(data[key]) for key in ("matched", "missing", "unexpected", "notes")}
        return cls(**{**data, **tuples, "shapes": shapes, "provenance": Provenance.from_dict(data["provenance"])})


_announced: set[tuple[str, str, str]] = set()


def announce(report: LoadReport) -> None:
    """Write the account to stderr, once in a process for each checkpoint and way of using it."""
    key = (report.blob_id, report.head, str(report.channels))
    if key not in _announced:
        _announced.add(key)
        print(f"biot_bd: loaded {report.summary()}", file=sys.stderr)
