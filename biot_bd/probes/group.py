"""Maps of many windows of many subjects: means by class, subject, band and condition, and
comparisons with subjects as units.

Windows of one subject resemble each other, so the subject is the unit: a mean is the mean over
subjects of the mean over each one's windows, and a test exchanges conditions within subjects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.bounded_files import read_npy, read_table
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.group_comparison import ALPHA, Cells, GroupComparison
from biot_bd.probes.surrogates import subject_difference
from biot_bd.runs import atomic_path, make_folder, read_json, to_jsonable, write_json

FORMAT, VERSION = "biot_bd group of maps", 1
ALL = "all"
"""The band of windows that were not filtered."""
WORDS = {"label == 1": "seizure", "label == 0": "no seizure"}


@dataclass(frozen=True, eq=False)
class MapGroup:
    """Maps of many windows, with who and what each is of.

    Parameters
    ----------
    table : DataFrame
        One row a map: ``subject``, ``band``, and what else is known: ``recording``, ``start_s``,
        ``stop_s``, ``label``, ``probability`` (of a seizure), ``predicted``, ``confidence``
        (probability of what was predicted), ``outcome`` (``"hit"``, ``"miss"``, ``"false alarm"``,
        ``"rejection"``), ``condition``.
    values : ndarray of float, shape (n, n_chans, n_frames)
        The maps; NaN in absent channels.  May be a memory map.
    layout : TokenLayout
        What channels and frames are.
    probe : str
        What made them.
    signed : bool
        Whether the sign of values means something.
    unit : str
        What a value is.
    matrices : ndarray of float, shape (n, n_roles, n_chans, n_chans), optional
        Attention by channel, rows attend to columns, of an early, a middle and a late layer.
    roles : tuple of str
        Which layers these are.
    info : dict
        Facts that JSON holds: model, parameters of the probe, what was left out.

    Raises
    ------
    ValueError
        Shapes do not fit, or the table lacks ``subject`` or ``band``.

    See Also
    --------
    explain_group : Makes one of a store of windows.
    GroupComparison : What :meth:`compare` gives.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from biot_bd.probes import MapGroup, TokenLayout
    >>> table = pd.DataFrame(
    ...     {"subject": ["a", "a", "a", "b"], "label": [0, 0, 1, 1], "band": "all"}
    ... )
    >>> values = np.array([1.0, 3.0, 6.0, 8.0])[:, None, None]
    >>> group = MapGroup(table, values, TokenLayout(("C3",), [0.0], [1.0]), probe="energy")
    >>> {name: found.values.item() for name, found in group.by_class().items()}
    {0: 2.0, 1: 7.0}
    >>> {name: round(found.values.item(), 2) for name, found in group.by_subject().items()}
    {'a': 3.33, 'b': 8.0}
    """

    table: pd.DataFrame
    values: NDArray[Any]
    layout: TokenLayout
    probe: str
    signed: bool = False
    unit: str = "importance"
    matrices: NDArray[Any] | None = None
    roles: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, wanted = len(self.table), (self.layout.n_chans, self.layout.n_frames)
        if self.values.shape != (n, *wanted) or not n:
            raise ValueError(
                f"values must have shape {(n, *wanted)}, a row for each of the table, got {self.values.shape}"
            )
        missing = sorted({"subject", "band"} - set(self.table.columns))
        if missing:
            raise ValueError(f"the table of a group needs the columns {missing}; it has {list(self.table.columns)}")
        square = (n, len(self.roles), wanted[0], wanted[0])
        if self.matrices is not None and self.matrices.shape != square:
            raise ValueError(f"matrices must have shape {square}, got {self.matrices.shape}")
        object.__setattr__(self, "table", self.table.reset_index(drop=True))
        object.__setattr__(self, "info", to_jsonable(self.info))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def title(self) -> str:
        """What the maps show, in words; the probe's name where nobody says."""
        return str(self.info.get("title") or self.probe)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects, sorted."""
        return tuple(sorted(self.table["subject"].astype(str).unique()))

    @property
    def bands(self) -> tuple[str, ...]:
        """The frequency bands, in the order of the table."""
        return tuple(self.table["band"].unique())

    # ---- choosing ----

    def select(self, expr: str) -> MapGroup:
        """Return the maps for which a pandas expression over the table's columns holds.

        Raises
        ------
        ValueError
            There are none, or the expression cannot be understood.
        """
        rows = self._rows(expr)
        return replace(
            self,
            table=self.table.iloc[rows],
            values=self.values[rows],
            matrices=None if self.matrices is None else self.matrices[rows],
        )

    def _rows(self, expr: str) -> NDArray[np.int64]:
        try:
            rows = self.table.query(expr).index.to_numpy()
        except Exception as error:  # pandas raises many kinds
            raise ValueError(
                f"{expr!r} is no expression over the columns {', '.join(map(str, self.table.columns))} "
                f"({type(error).__name__}: {error})"
            ) from error
        if not len(rows):
            raise ValueError(f"no map of this group has {expr}")
        return np.asarray(rows)

    # ---- means ----

    def by_class(self, band: str = ALL) -> dict[Hashable, TokenMap]:
        """Return the mean map of each label, subjects counting alike."""
        return self.by("label", band)

    def by_subject(self, band: str = ALL) -> dict[Hashable, TokenMap]:
        """Return the mean map of each subject, over all of its windows."""
        return self.by("subject", band)

    def by_condition(self, band: str = ALL) -> dict[Hashable, TokenMap]:
        """Return the mean map of each condition, subjects counting alike."""
        return self.by("condition", band)

    def by_band(self) -> TokenMap:
        """Return the mean maps of band-limited windows, subjects counting alike.

        Returns
        -------
        TokenMap
            One map with a band axis.

        Raises
        ------
        ValueError
            No windows were band-limited.
        """
        names = [name for name in self.bands if name != ALL]
        if not names:
            raise ValueError("these windows were not band-limited; name bands when they are explained")
        means = np.stack([self._mean(self._rows(f"band == {name!r}"), self.values) for name in names])
        return self._token_map(means, bands=tuple(names))

    def by(self, column: str, band: str = ALL) -> dict[Hashable, TokenMap]:
        """Return the mean map for each value of a column of the table, e.g. ``"outcome"``.

        Parameters
        ----------
        column : str
            Rows without a value are left out.
        band : str
            Which band of the windows.

        Returns
        -------
        dict
            Value to a map of one "window": the mean over subjects of each one's mean.

        Raises
        ------
        ValueError
            There is no such column or band.
        """
        self._check_column(column)
        rows = self._rows(f"band == {band!r}")
        known = self.table.loc[rows, column].dropna()
        return {
            value: self._token_map(self._mean(part.index.to_numpy(), self.values))
            for value, part in known.groupby(known, sort=True)
        }

    def mean_map(self) -> TokenMap:
        """Return the mean of all maps, subjects counting alike, as a map of one "window"."""
        return self._token_map(self._mean(np.arange(len(self)), self.values))

    def mean_matrix(self, expr: str | None = None, role: str = "late") -> NDArray[np.float64]:
        """Return who attends to whom by channel, subjects counting alike.

        Parameters
        ----------
        expr : str, optional
            Which maps; by default all that were not band-limited.
        role : str
            Which of :attr:`roles`.

        Returns
        -------
        ndarray, shape (n_chans, n_chans)
            Rows attend to columns.

        Raises
        ------
        ValueError
            There are no matrices, or no such role.
        """
        return self._mean(self._rows(expr or f"band == {ALL!r}"), self._matrices(role))

    # ---- comparing ----

    def compare(
        self,
        first: str,
        second: str,
        *,
        cells: Cells = "channel-frame",
        role: str = "late",
        conditions: tuple[str, str] | None = None,
        n_permutations: int = 10_000,
        random_state: int = 0,
    ) -> GroupComparison:
        """Test whether maps differ between two conditions, with subjects as units.

        Where subjects have windows of both, the two are exchanged within subjects (sign flips of
        the differences of their means); where none has, subjects are exchanged between the two.
        The largest statistic over all cells corrects for their number.

        Parameters
        ----------
        first, second : str
            Pandas expressions over the table's columns, such as ``"label == 1"`` or ``"band ==
            'delta'"``.  Where neither speaks of ``band``, windows that were not band-limited are
            compared.
        cells : {"channel-frame", "channel", "channel-channel"}
            What is compared: the maps, their sums over frames, or the matrices.
        role : str
            Which matrix.
        conditions : tuple of two str, optional
            What the two are called; by default the expressions.
        n_permutations : int
            Most exchanges.
        random_state : int
            Seed of those that are drawn.

        Returns
        -------
        GroupComparison

        Raises
        ------
        ValueError
            A condition has no windows, there are fewer than two subjects to compare, or ``cells``
            is unknown.
        """
        values = self._cells(cells, role)
        both_bands = "band" in first or "band" in second
        rows = [self._rows(one if both_bands else f"({one}) and band == {ALL!r}") for one in (first, second)]
        means = [self._subject_means(one, values) for one in rows]
        shared = sorted(set(means[0]) & set(means[1]))
        left_out = tuple(sorted(set(means[0]) ^ set(means[1]))) if shared else ()
        chosen = [shared, shared] if shared else [sorted(one) for one in means]
        if min(map(len, chosen)) < 2:
            raise ValueError(
                f"{first} against {second}: {len(chosen[0])} and {len(chosen[1])} subject(s) to compare, and subjects are "
                "the units; two or more are needed on each side"
            )
        stacks = [np.stack([one[subject] for subject in names]) for one, names in zip(means, chosen, strict=True)]
        difference = subject_difference(
            *stacks, paired=bool(shared), n_permutations=n_permutations, random_state=random_state
        )
        return GroupComparison(
            difference,
            conditions or (WORDS.get(first, first), WORDS.get(second, second)),
            tuple(shared or [*chosen[0], *chosen[1]]),
            (len(rows[0]), len(rows[1])),
            left_out,
            bool(shared),
            cells,
            self.layout,
            "attention flow" if cells == "channel-channel" else self.title,
            "share of attention" if cells == "channel-channel" else self.unit,
            _notes(difference.smallest_p, chosen, left_out, bool(shared)),
        )

    def _cells(self, cells: str, role: str) -> NDArray[Any]:
        if cells == "channel-frame":
            return self.values
        if cells == "channel":
            return self._token_map(np.asarray(self.values)).by_channel()
        if cells == "channel-channel":
            return self._matrices(role)
        raise ValueError(f"cells must be 'channel-frame', 'channel' or 'channel-channel', got {cells!r}")

    def _matrices(self, role: str) -> NDArray[Any]:
        if self.matrices is None:
            raise ValueError(
                f"this group holds no attention matrices ({self.info.get('no_matrices', 'not asked for')})"
            )
        if role not in self.roles:
            raise ValueError(f"there is no {role!r} layer here; there are {', '.join(self.roles)}")
        return self.matrices[:, self.roles.index(role)]

    def _subject_means(self, rows: NDArray[np.int64], values: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        subjects = self.table["subject"].astype(str).iloc[rows]
        return {str(name): _nanmean(values[part.index.to_numpy()]) for name, part in subjects.groupby(subjects)}

    def _mean(self, rows: NDArray[np.int64], values: NDArray[Any]) -> NDArray[np.float64]:
        return _nanmean(np.stack(list(self._subject_means(rows, values).values())))

    def _token_map(self, values: NDArray[Any], bands: tuple[str, ...] | None = None) -> TokenMap:
        own = values if values.ndim == 3 and bands is None else values[None]
        return TokenMap(own, self.layout, probe=self.probe, signed=self.signed, unit=self.unit, bands=bands)

    def _check_column(self, column: str) -> None:
        if column not in self.table.columns or self.table[column].isna().all():
            raise ValueError(f"the table has no {column!r}; it has {', '.join(map(str, self.table.columns))}")

    # ---- tables and files ----

    def as_frame(self) -> pd.DataFrame:
        """Return the table and, a column for each channel, the sum of the map over frames."""
        by_channel = self._token_map(np.asarray(self.values)).by_channel()
        return pd.concat([self.table, pd.DataFrame(by_channel, columns=list(self.layout.ch_names))], axis=1)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``values.npy``, ``matrices.npy``, ``table.parquet`` and, last, ``group.json``.

        Parameters
        ----------
        folder : path-like
            Made where missing.

        Returns
        -------
        Path
            The folder.
        """
        folder = make_folder(folder)
        (folder / "group.json").unlink(missing_ok=True)
        for name, array in (("values", self.values), ("matrices", self.matrices)):
            if array is not None:
                with atomic_path(folder / f"{name}.npy") as temporary, open(temporary, "wb") as file:
                    np.save(file, array)
        with atomic_path(folder / "table.parquet") as temporary:
            self.table.to_parquet(temporary)
        facts = {name: getattr(self, name) for name in ("probe", "signed", "unit", "roles", "info")}
        has_matrices = self.matrices is not None
        layout = self.layout.as_dict()
        write_json(
            folder / "group.json",
            {"format": FORMAT, "version": VERSION, **facts, "has_matrices": has_matrices, "layout": layout},
        )
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> MapGroup:
        """Read what :meth:`save` wrote; arrays stay on disk until they are used.

        Raises
        ------
        FileNotFoundError
            There is no such group.
        ValueError
            A file is damaged, or of another version.
        """
        folder = Path(folder)
        facts = read_json(folder / "group.json")
        try:
            if (facts["format"], facts["version"]) != (FORMAT, VERSION):
                raise ValueError(f"expected {FORMAT} {VERSION}, found {facts['format']} {facts['version']}")
            return cls(
                read_table(folder / "table.parquet"),
                read_npy(folder / "values.npy"),
                TokenLayout.from_dict(facts["layout"]),
                probe=facts["probe"],
                signed=facts["signed"],
                unit=facts["unit"],
                matrices=(read_npy(folder / "matrices.npy") if facts["has_matrices"] else None),
                roles=tuple(facts["roles"]),
                info=facts["info"],
            )
        except Exception as error:
            raise ValueError(f"{folder}: not a saved group of maps ({type(error).__name__}: {error})") from error

    @classmethod
    def concat(cls, groups: list[MapGroup]) -> MapGroup:
        """Join groups of other subjects, e.g. those of the folds of a run.

        Raises
        ------
        ValueError
            They differ in probe, channels or frames, or there are none.
        """
        if not groups:
            raise ValueError("nothing to join: concat needs one group or more")
        kinds = {json.dumps([one.probe, one.unit, one.roles, one.layout.as_dict()]) for one in groups}
        if len(kinds) > 1:
            raise ValueError("groups that differ in probe, channels, frames or layers cannot be joined")
        with_matrices = [one.matrices for one in groups if one.matrices is not None]
        return replace(
            groups[0],
            table=pd.concat([one.table for one in groups]),
            values=np.concatenate([one.values for one in groups]),
            matrices=np.concatenate(with_matrices) if len(with_matrices) == len(groups) else None,
            roles=groups[0].roles if len(with_matrices) == len(groups) else (),
        )


def _nanmean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the first axis of what is known; NaN where nothing is."""
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=0) / known.sum(axis=0))


def _notes(smallest_p: float, chosen: list[list[str]], left_out: tuple[str, ...], paired: bool) -> tuple[str, ...]:
    n = f"{len(chosen[0])} subjects" if paired else f"{len(chosen[0])} and {len(chosen[1])} subjects"
    notes = []
    if smallest_p > ALPHA:
        notes.append(
            f"With {n} no p-value below {smallest_p:.2g} can be reached: no difference, however large, can be called "
            f"significant at {ALPHA:g}."
        )
    if left_out:
        notes.append(f"Left out, as they have windows of one condition only: {', '.join(left_out)}.")
    return tuple(notes)
