"""The plan of a comparison of foundation models: cohorts, models, strategies and seeds as facts.

A plan is a TOML or JSON file, or a mapping of the same keys; docs/study.md names them.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

from biot_bd import registry
from biot_bd.evaluation.studies.baselines import BASELINES
from biot_bd.exceptions import UnknownNameError
from biot_bd.models.checkpoints.published import KNOWN
from biot_bd.training.finetuning import OPTIONS

SCRATCH = "scratch"
CONSTANT = ("always-off", "always-on")
DEFAULT_BASELINES = ("spectral-power", "eegnet", "bdtcn")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class StudyCohort:
    """Recordings that models are compared on, as one or several preparations of them.

    Parameters
    ----------
    name : str
        Becomes a folder.
    stores : tuple of str
        Folders of prepared windows: the same recordings in other montages or rates.  A model takes
        the first that its contract allows; folds are by subject, so they are the same in all.
    dataset, root : str, optional
        A registered data set and the folder of its recordings, in place of ``stores``.
    options : dict
        Options of the data set's loader.
    prepare : tuple of dict
        Parameters of :func:`biot_bd.prepare`, one entry a store that is made.

    Raises
    ------
    ValueError
        Neither or both of ``stores`` and ``dataset``, or a name that is no folder name.

    See Also
    --------
    StudyPlan : Where cohorts stand.

    Examples
    --------
    >>> from biot_bd.evaluation import StudyCohort
    >>> StudyCohort(name="demo", stores=["windows/biot-16"]).stores
    ('windows/biot-16',)
    """

    name: str
    stores: Sequence[str] = ()
    dataset: str | None = None
    root: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    prepare: Sequence[Mapping[str, Any]] = ({},)

    def __post_init__(self) -> None:
        _check_folder_name("cohort", self.name)
        if isinstance(self.stores, (str, os.PathLike)):
            object.__setattr__(self, "stores", [self.stores])
        object.__setattr__(self, "stores", tuple(os.fspath(store) for store in self.stores))
        object.__setattr__(self, "prepare", tuple(dict(entry) for entry in self.prepare))
        if bool(self.stores) == bool(self.dataset):
            raise ValueError(f"cohort {self.name!r}: give stores (prepared windows), or dataset and root to prepare")
        if self.dataset is not None:
            registry.datasets.owner(self.dataset)
            if self.root is None:
                raise ValueError(f"cohort {self.name!r}: root is missing, the folder of the recordings")
            object.__setattr__(self, "root", os.fspath(self.root))


@dataclass(frozen=True, kw_only=True)
class StudyModel:
    """A model of a study.

    Parameters
    ----------
    name : str
        Becomes a folder, and stands in the table.
    module : str, optional
        In ``biot_bd.registry.models``; ``name`` by default.  A published checkpoint's name
        (``"prest-16"``) as ``name`` gives module and weights.
    pretrained : str, optional
        Known name, file, folder or Hub repository.  Without weights a frozen model starts at
        random, and the table says so.
    params : dict
        Parameters of the module, without ``module__``.
    embedding : dict
        Parameters of :class:`biot_bd.Embedder` beside the plan's, e.g. ``layer="late"``.
    strategies : tuple of str, optional
        In place of the plan's.
    size_of : str, optional
        Checkpoint whose architecture the model has where it starts at random; ``pretrained`` by
        default.

    Raises
    ------
    UnknownNameError
        No such model or strategy.
    ValueError
        A name that is no folder name.

    See Also
    --------
    StudyPlan : Where models stand.

    Examples
    --------
    >>> from biot_bd.evaluation import StudyModel
    >>> model = StudyModel(name="prest-16")
    >>> model.module, model.pretrained
    ('biot', 'prest-16')
    """

    name: str
    module: str | None = None
    pretrained: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    embedding: Mapping[str, Any] = field(default_factory=dict)
    strategies: Sequence[str] | None = None
    size_of: str | None = None

    def __post_init__(self) -> None:
        _check_folder_name("model", self.name)
        if self.module is None:
            published = self.name in KNOWN
            object.__setattr__(self, "module", "biot" if published else self.name)
            if published and self.pretrained is None:
                object.__setattr__(self, "pretrained", self.name)
        registry.models.owner(str(self.module))
        if self.pretrained is not None:
            object.__setattr__(self, "pretrained", os.fspath(self.pretrained))
            if self.size_of is None:
                object.__setattr__(self, "size_of", self.pretrained)
        if self.strategies is not None:
            object.__setattr__(self, "strategies", _words(self.strategies))


@dataclass(frozen=True)
class StudyRow:
    """One row of a cohort's table: a model under a strategy, or a baseline.

    Parameters
    ----------
    name : str
        ``"biot/linear"``; of a baseline its word.
    model : StudyModel or None
        None for a baseline.
    strategy : str
        ``"baseline"`` for those.
    kind : {"baseline", "frozen", "finetune", "scratch"}
        How it learns.

    See Also
    --------
    StudyPlan.rows : Makes them.

    Examples
    --------
    >>> from biot_bd.evaluation.studies.study_plan import StudyRow
    >>> StudyRow("always-off", None, "baseline", "baseline").kind
    'baseline'
    """

    name: str
    model: StudyModel | None
    strategy: str
    kind: str


@dataclass(frozen=True)
class StudyCell:
    """One training and scoring: a row on a cohort with a seed.

    Parameters
    ----------
    cohort : StudyCohort
    row : StudyRow
    seed : int

    See Also
    --------
    StudyPlan.cells : All of a plan.

    Examples
    --------
    >>> from biot_bd.evaluation import StudyCohort
    >>> from biot_bd.evaluation.studies.study_plan import StudyCell, StudyRow
    >>> row = StudyRow("always-off", None, "baseline", "baseline")
    >>> StudyCell(StudyCohort(name="demo", stores=["w"]), row, 0).place
    'demo/always-off/seed-0'
    """

    cohort: StudyCohort
    row: StudyRow
    seed: int

    @property
    def place(self) -> str:
        """The run folder, below that of the study."""
        return f"{self.cohort.name}/{self.row.name}/seed-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """What a study compares.

    Parameters
    ----------
    cohorts : sequence of StudyCohort or dict
        What models are compared on.
    models : sequence of StudyModel or dict
        What is compared, beside baselines.
    strategies : sequence of str
        Names in ``biot_bd.registry.frozen_probes`` (a probe over frozen embeddings), fine-tuning
        recipes (``"full"``, ``"lora"``, joined by ``+``), or ``"scratch"``.
    baselines : sequence of str
        Of :data:`biot_bd.evaluation.BASELINES`.  ``always-off`` and ``always-on`` are always there.
    random_starts : bool
        Add to each model with weights what they are worth: the same frozen model with random
        weights, and ``scratch`` beside fine-tuning.  A model without weights has these rows alone.
    seeds : sequence of int
        Each gives one split and one training a fold.
    cv : str
        How subjects are split; this and the next two as in :func:`biot_bd.cross_validate`, the
        same for all.
    validation_fraction : float
        Share of a fold's training subjects that validate.
    threshold : str or float
        How the threshold is chosen on the validation predictions.
    training : dict
        Parameters of :class:`biot_bd.BIOTClassifier` for what is trained (``max_epochs``, ``lr``).
    embedding : dict
        Parameters of :class:`biot_bd.Embedder` for frozen models (``layer``, ``batch_size``).
    against : str, optional
        Row that all others are tested against; the first baseline by default.
    allow_contaminated : bool
        Score models whose weights saw test subjects (the table says so), instead of refusing them.
    level : float
        Of the intervals.
    n_resamples : int, optional
        Resamples behind each interval.
    title : str, optional
        Stands above the table.

    Raises
    ------
    ValueError
        Something is missing, there twice, or cannot be.
    UnknownNameError
        A model, data set, strategy or baseline that nobody registered.

    See Also
    --------
    run_study : Computes it.

    Examples
    --------
    >>> from biot_bd.evaluation import StudyPlan
    >>> plan = StudyPlan(
    ...     cohorts=[{"name": "demo", "stores": ["windows"]}],
    ...     models=[{"name": "biot"}],
    ...     strategies=["scratch"],
    ...     baselines=["spectral-power"],
    ... )
    >>> [row.name for row in plan.rows()]
    ['always-off', 'always-on', 'spectral-power', 'biot/scratch']
    """

    cohorts: Sequence[Any]
    models: Sequence[Any] = ()
    strategies: Sequence[str] = ("linear",)
    baselines: Sequence[str] = DEFAULT_BASELINES
    random_starts: bool = True
    seeds: Sequence[int] = (0,)
    cv: str = "subject-kfold-5"
    validation_fraction: float = 0.25
    threshold: str | float = "balanced-accuracy"
    training: Mapping[str, Any] = field(default_factory=dict)
    embedding: Mapping[str, Any] = field(default_factory=dict)
    against: str | None = None
    allow_contaminated: bool = False
    level: float = 0.95
    n_resamples: int | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "cohorts", tuple(_made(StudyCohort, entry, "cohorts") for entry in self.cohorts))
        put(self, "models", tuple(_made(StudyModel, entry, "models") for entry in self.models))
        put(self, "strategies", _words(self.strategies))
        put(self, "baselines", tuple(word for word in self.baselines if word not in CONSTANT))
        put(self, "seeds", tuple(self.seeds))
        if not self.cohorts:
            raise ValueError("the plan names no cohort, so there is nothing to compare on")
        for what, names in (("cohort", [one.name for one in self.cohorts]), ("model", [m.name for m in self.models])):
            _check_once(what, [name.lower() for name in names])
        for word in self.baselines:
            if word not in BASELINES:
                raise UnknownNameError(f"no baseline {word!r}; there are {', '.join(BASELINES)}")
        _check_once("baseline", self.baselines)
        if any(isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0 for seed in self.seeds):
            raise ValueError(f"seeds must be whole numbers of at least 0, found {list(self.seeds)!r}")
        if not self.seeds:
            raise ValueError("the plan has no seed")
        _check_once("seed", self.seeds)
        names = [row.name for row in self.rows()]
        _check_once("row", [name.lower() for name in names])
        if self.against is not None and self.against not in names:
            raise ValueError(f"against {self.against!r} is no row of the plan; there are {', '.join(names)}")

    def rows(self) -> list[StudyRow]:
        """Return the rows of each cohort's table: baselines, then models, in their order."""
        words = [*CONSTANT, *self.baselines]
        found = [StudyRow(word, None, "baseline", "baseline") for word in words]
        for model in self.models:
            strategies = self.strategies if model.strategies is None else model.strategies
            for strategy in strategies:
                found += self._rows_of(model, strategy, scratch=SCRATCH in strategies)
        return list({row.name: row for row in found}.values())

    def _rows_of(self, model: StudyModel, strategy: str, scratch: bool) -> list[StudyRow]:
        kind = kind_of_strategy(strategy)
        without = StudyModel(
            name=f"{model.name}-random",
            module=model.module,
            params=model.params,
            embedding=model.embedding,
            size_of=model.size_of,
        )
        if kind == "frozen":
            own = [StudyRow(f"{model.name}/{strategy}", model, strategy, kind)] if model.pretrained else []
            random = StudyRow(f"{without.name}/{strategy}", without, strategy, kind)
            return [*own, random] if self.random_starts or not own else own
        row = StudyRow(f"{model.name}/{strategy}", model, strategy, kind)
        if kind == SCRATCH:
            return [row]
        beside = StudyRow(f"{model.name}/{SCRATCH}", model, SCRATCH, SCRATCH)
        if model.pretrained is None:  # nothing to train on from
            return [beside]
        return [row, beside] if self.random_starts and not scratch else [row]

    def cells(self) -> list[StudyCell]:
        """Return all cells: cohort by cohort, seed by seed, so that a row is complete early."""
        return [StudyCell(c, row, int(seed)) for c in self.cohorts for seed in self.seeds for row in self.rows()]

    @property
    def reference(self) -> str:
        """Row that the others are tested against."""
        return self.against or (self.baselines[0] if self.baselines else CONSTANT[0])

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON holds it."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the plan") -> StudyPlan:
        """Return the plan that a mapping describes.

        Parameters
        ----------
        values : mapping
            As :meth:`as_dict` gives it.
        where : str
            What to call it in messages.

        Raises
        ------
        ValueError, UnknownNameError
            As the class; the message names ``where``.
        """
        try:
            return _made(cls, values, "plan")
        except UnknownNameError as error:
            raise UnknownNameError(f"{where}: {error}") from error
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error


def read_plan(path: str | os.PathLike[str]) -> StudyPlan:
    r"""Read a plan from a TOML or JSON file.

    Folders in it are seen from where the file lies.

    Parameters
    ----------
    path : path
        Ends in ``.toml`` or ``.json``.

    Returns
    -------
    StudyPlan

    Raises
    ------
    ValueError
        No such format, an unknown key or value; the message names the file.

    See Also
    --------
    StudyPlan : What may stand there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.evaluation import read_plan
    >>> text = 'baselines = ["line-length"]\n[[cohorts]]\nname = "demo"\nstores = ["windows"]'
    >>> _ = Path("plan.toml").write_text(text)
    >>> read_plan("plan.toml").baselines
    ('line-length',)
    """
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise ValueError(f"{path}: a plan is a .toml or .json file, found {path.suffix or 'no ending'}")
    try:
        values = (tomllib.loads if path.suffix == ".toml" else json.loads)(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no {path.suffix[1:].upper()} ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected keys and values, found {type(values).__name__}")
    return StudyPlan.from_dict(_from_here(values, path.absolute().parent), str(path))


def _from_here(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the plan with its folders seen from ``folder``; names and repositories stay."""
    found = dict(values)
    if isinstance(found.get("cohorts"), list):
        found["cohorts"] = [
            _cohort_from_here(one, folder) if isinstance(one, dict) else one for one in found["cohorts"]
        ]
    if isinstance(found.get("models"), list):
        found["models"] = [
            one | {"pretrained": str(folder / one["pretrained"])}
            if isinstance(one, dict)
            and isinstance(one.get("pretrained"), str)
            and (folder / one["pretrained"]).exists()
            else one
            for one in found["models"]
        ]
    return found


def _cohort_from_here(cohort: dict[str, Any], folder: Path) -> dict[str, Any]:
    found = dict(cohort)
    if isinstance(found.get("stores"), str):
        found["stores"] = [found["stores"]]
    if isinstance(found.get("stores"), list):
        found["stores"] = [str(folder / one) if isinstance(one, str) else one for one in found["stores"]]
    if isinstance(found.get("root"), str):
        found["root"] = str(folder / found["root"])
    return found


def kind_of_strategy(word: str) -> str:
    """Return what a strategy does: ``"frozen"``, ``"finetune"`` or ``"scratch"``.

    Raises
    ------
    UnknownNameError
        The word is neither a probe, nor a recipe, nor ``scratch``.
    """
    if word == SCRATCH:
        return SCRATCH
    if word in registry.frozen_probes:
        return "frozen"
    if unknown := [part for part in word.split("+") if part not in OPTIONS]:
        raise UnknownNameError(
            f"no strategy {unknown[0]!r}; there are probes over frozen embeddings ({', '.join(registry.frozen_probes)}), "
            f"fine-tuning recipes ({', '.join(OPTIONS)}) and scratch"
        )
    return "finetune"


def _words(words: Any) -> tuple[str, ...]:
    if isinstance(words, str):
        raise ValueError(f"strategies {words!r}: expected a list of words")
    for word in words:
        kind_of_strategy(word)
    _check_once("strategy", list(words))
    return tuple(words)


def _made(cls: type[_T], entry: Any, what: str) -> _T:
    if isinstance(entry, cls):
        return entry
    if not isinstance(entry, Mapping):
        raise ValueError(f"{what}: expected keys and values, found {entry!r}")
    known = [one.name for one in fields(cls)]  # type: ignore[arg-type]
    if unknown := sorted(set(entry) - set(known)):
        raise ValueError(f"{what}: no key {unknown[0]!r}; there are {', '.join(known)}")
    return cls(**entry)


def _check_folder_name(what: str, name: Any) -> None:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError(f"{what} {name!r}: a name becomes a folder; use letters, digits, . _ + -")


def _check_once(what: str, names: Sequence[Any]) -> None:
    if double := [name for name in names if list(names).count(name) > 1]:
        raise ValueError(f"the {what} {double[0]!r} is there twice")
