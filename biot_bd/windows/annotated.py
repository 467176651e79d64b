"""Windows of as many classes as there are: labelled by the descriptions of annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from biot_bd.events.intervals import merge, overlap
from biot_bd.windows.labels import Ints, label_table, positive_samples, seizure_samples

PLACES = ("grid", "onset")


@dataclass(frozen=True)
class Annotated:
    """Windows labelled by what is annotated there: tasks, stages, stimuli, kinds of seizures.

    On a grid (``at="grid"``) a window has a class where annotations of that class cover all of it,
    or at least ``min_overlap_s``; a window that touches two classes is left out, and so is one
    that is covered too little.  At onsets (``at="onset"``) there is one window for each
    annotation, as in evoked and motor-imagery work, wherever else annotations lie.  How many
    windows a recording lost is noted in the manifest.

    Parameters
    ----------
    classes : sequence of str
        Names of the classes; a window's label is the place of its class.  Empty: one class for
        each description that the recordings have, sorted, without those that begin with ``bad``.
    descriptions : mapping of str to str, optional
        Description of an annotation -> its class, where they differ; a description that is the
        name of a class needs no entry.  Annotations of neither are passed over.
    background : str, optional
        The class of windows on a grid that no annotation of another class touches.
    min_overlap_s : float, optional
        How much of a window on a grid annotations must cover, in seconds; all of it by default.
    at : {"grid", "onset"}
        Where windows lie.
    tmin_s : float
        With ``at="onset"``, where a window begins, in seconds after the onset; may be negative.
    tmax_s : float, optional
        With ``at="onset"``, where it ends; it then fixes the length of windows.

    Attributes
    ----------
    window_s : float or None
        Length of a window that ``tmin_s`` and ``tmax_s`` fix, in seconds.
    needs_annotations : bool
        Says that the rule reads annotations.

    Raises
    ------
    ValueError
        A parameter makes no sense.

    See Also
    --------
    Overlap : Background and seizure.
    biot_bd.Windows.relabel : This rule over signals that are prepared already.

    Examples
    --------
    A recording of 20 s at 100 Hz, two seconds a window:

    >>> from biot_bd.windows import Annotated
    >>> tasks = [(2.0, 4.0, "left"), (8.0, 4.0, "right")]
    >>> rule = Annotated(classes=("rest", "left", "right"), background="rest")
    >>> table = rule(2000, 100.0, [], window_s=2.0, stride_s=2.0, annotations=tasks)
    >>> table["label"].tolist()
    [0, 1, 1, 0, 2, 2, 0, 0, 0, 0]
    >>> epochs = Annotated(classes=("left", "right"), at="onset", tmin_s=0.5, tmax_s=2.5)
    >>> table = epochs(2000, 100.0, [], window_s=2.0, annotations=tasks)
    >>> table[["start_sample", "n_samples", "label"]].to_numpy().tolist()
    [[250, 200, 0], [850, 200, 1]]
    """

    classes: Sequence[str] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)
    background: str | None = None
    min_overlap_s: float | None = None
    at: str = "grid"
    tmin_s: float = 0.0
    tmax_s: float | None = None

    name: ClassVar[str] = "annotated"
    needs_annotations: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.classes, str):
            raise ValueError(f"classes={self.classes!r}: expected several names, e.g. classes=('left', 'right')")
        # Of the same types as when read from JSON, or a rule would have two names.
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "descriptions", dict(self.descriptions or {}))
        self._check_classes()
        if self.at not in PLACES:
            raise ValueError(f"at must be one of {', '.join(map(repr, PLACES))}; got {self.at!r}")
        if self.min_overlap_s is not None and not (np.isfinite(self.min_overlap_s) and self.min_overlap_s > 0):
            raise ValueError(f"min_overlap_s must be a finite number > 0, or None; got {self.min_overlap_s!r}")
        if not np.isfinite(self.tmin_s) or (self.tmax_s is not None and not self.tmin_s < self.tmax_s < np.inf):
            raise ValueError(
                f"tmin_s and tmax_s must be finite and rise; got tmin_s={self.tmin_s!r}, tmax_s={self.tmax_s!r}"
            )
        unused = {
            "grid": {"tmin_s": self.tmin_s != 0, "tmax_s": self.tmax_s is not None},
            "onset": {"background": self.background is not None, "min_overlap_s": self.min_overlap_s is not None},
        }
        for name, given in unused[self.at].items():
            if given:
                raise ValueError(f"{name} means nothing with at={self.at!r}; leave it out, or choose the other place")

    def _check_classes(self) -> None:
        if not self.classes:
            return
        texts = all(isinstance(name, str) and name for name in self.classes)
        if not texts or len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two or more different texts; got {self.classes!r}")
        named = {**self.descriptions, **({} if self.background is None else {"(background)": self.background})}
        for description, of_class in named.items():
            if of_class not in self.classes:
                raise ValueError(
                    f"{description!r} is to be of the class {of_class!r}, which is not among classes={self.classes!r}"
                )

    @property
    def window_s(self) -> float | None:
        """Length of a window in seconds where ``tmax_s`` fixes it, else None."""
        return None if self.tmax_s is None else round(self.tmax_s - self.tmin_s, 9)

    def for_descriptions(self, descriptions: Iterable[str]) -> Self:
        """Return the rule with a class for each description, where it names none itself.

        Parameters
        ----------
        descriptions : iterable of str
            Those of all recordings.

        Returns
        -------
        Annotated

        Raises
        ------
        ValueError
            The recordings have too few for two classes.
        """
        if self.classes:
            return self
        kept = [text for text in descriptions if text and not text.lower().startswith("bad")]
        found = {self.descriptions.get(text, text) for text in kept} | {self.background or ""}
        found -= {""}
        if len(found) < 2:
            told = ", ".join(map(repr, sorted(found))) or "none"
            raise ValueError(
                f"label rule 'annotated' needs two classes or more, and the annotations make {told}; a store of before has "
                "no annotations: run the same prepare again on the recordings, which adds them"
            )
        return replace(self, classes=tuple(sorted(found)))

    def __call__(
        self,
        n_samples: int,
        sfreq: float,
        events: ArrayLike,
        window_s: float = 10.0,
        stride_s: float = 5.0,
        annotations: Iterable[tuple[float, float, str]] = (),
    ) -> pd.DataFrame:
        """Return the windows of one recording; see :meth:`Overlap.__call__` for shapes and units.

        Parameters
        ----------
        n_samples : int
            Length of the recording.
        sfreq : float
            Its rate in Hz.
        events : array-like, shape (n_events, 2)
            Onset and offset of each seizure, for the column ``seizure_fraction``.
        window_s, stride_s : float
            Length of a window, and from one window's start to the next on a grid, in seconds.
        annotations : iterable of (onset_s, duration_s, description)
            In seconds from the first sample.

        Returns
        -------
        pandas.DataFrame
            As that of :class:`Overlap`; ``kind`` is ``"grid"`` or ``"epoch"``.

        Raises
        ------
        ValueError
            A parameter makes no sense, or the rule has no classes yet.
        """
        if not self.classes:
            raise ValueError(
                "label rule 'annotated' has no classes; give them, e.g. Annotated(classes=('left', 'right'))"
            )
        window = positive_samples("window_s", window_s, sfreq)
        stride = positive_samples("stride_s", stride_s, sfreq) and stride_s * sfreq
        seizures = seizure_samples(n_samples, sfreq, events)
        rows = [
            (self.classes.index(of_class), onset_s, duration_s)
            for onset_s, duration_s, text in annotations
            if (of_class := self._class_of(text)) is not None
        ]
        make = self._on_grid if self.at == "grid" else self._at_onsets
        start, label, notes = make(rows, n_samples, sfreq, window, stride)
        kind = "grid" if self.at == "grid" else "epoch"
        table = label_table(start, np.full(len(start), window), label, kind, seizures)
        table.attrs["notes"] = notes
        return table

    def _class_of(self, text: str) -> str | None:
        found = self.descriptions.get(text, text)
        return found if found in self.classes else None

    def _on_grid(
        self, rows: list[tuple[int, float, float]], n_samples: int, sfreq: float, window: int, stride: float
    ) -> tuple[Ints, Ints, list[str]]:
        # The k-th start is rounded by itself, so a stride that is no whole number of samples does
        # not drift.
        n_windows = int((n_samples - window) / stride) + 2 if n_samples >= window else 0
        start = np.rint(np.arange(n_windows) * stride).astype(np.int64)
        start = start[start + window <= n_samples]
        covered = self._covered(rows, n_samples, sfreq, np.stack([start, start + window], axis=1))
        enough = window if self.min_overlap_s is None else min(max(round(self.min_overlap_s * sfreq), 1), window)
        touched = (covered > 0).sum(axis=1)
        label = covered.argmax(axis=1)
        kept = (touched == 1) & (covered.max(axis=1) >= enough)
        if self.background is not None:
            place = self.classes.index(self.background)
            free = touched == 0
            label[free], kept = place, kept | free
        several, little = int((touched > 1).sum()), int(((touched == 1) & ~kept).sum())
        notes = [f"{several} windows left out, they touch two classes"] if several else []
        notes += [f"{little} windows left out, annotations cover too little of them"] if little else []
        return start[kept], label[kept], notes

    def _covered(
        self, rows: list[tuple[int, float, float]], n_samples: int, sfreq: float, windows: Ints
    ) -> NDArray[np.int64]:
        """Return how many samples of each window each class covers, ``(n_windows, n_classes)``."""
        out = np.zeros((len(windows), len(self.classes)), np.int64)
        for place in range(len(self.classes)):
            times = np.array([(on, on + duration) for k, on, duration in rows if k == place]).reshape(-1, 2)
            spans = np.rint(times * sfreq).astype(np.int64).clip(0, n_samples)
            spans = merge(spans[spans[:, 0] < spans[:, 1]])[0]
            if len(spans):
                out[:, place] = overlap(windows, spans).sum(axis=1)
        return out

    def _at_onsets(
        self, rows: list[tuple[int, float, float]], n_samples: int, sfreq: float, window: int, stride: float
    ) -> tuple[Ints, Ints, list[str]]:
        label = np.array([k for k, _, _ in rows], np.int64)
        start = np.rint([(onset_s + self.tmin_s) * sfreq for _, onset_s, _ in rows]).astype(np.int64)
        inside = (start >= 0) & (start + window <= n_samples)
        outside = int((~inside).sum())
        notes = [f"{outside} annotations without a window, it would leave the recording"] if outside else []
        return start[inside], label[inside], notes
