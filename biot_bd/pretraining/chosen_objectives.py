"""Which objectives a pretraining has: names or classes, their weights and their parameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import nn

from biot_bd import registry
from biot_bd.models.token_stages import TokenStages
from biot_bd.pretraining.objective import Objective
from biot_bd.training._validation import did_you_mean


@dataclass(frozen=True)
class ChosenObjective:
    """One objective of a pretraining.

    Parameters
    ----------
    name : str
        As registered; of a class that is not, its own.
    cls : type
        Subclass of :class:`biot_bd.pretraining.Objective`.
    weight : float
        Factor on its loss.
    parameters : dict
        For its constructor, behind the sizes.
    """

    name: str
    cls: type[Objective]
    weight: float
    parameters: dict[str, Any]

    def build(self, stages: TokenStages, known: Mapping[str, Any]) -> Objective:
        """Build it for the tokens of a model.

        Parameters
        ----------
        stages : TokenStages
        known : mapping
            What the data say; taken where the constructor has such an argument and nobody says
            otherwise.

        Raises
        ------
        ValueError
            It cannot be asked about tokens of this kind.
        """
        if stages.kind not in self.cls.kinds:
            raise ValueError(
                f"objective {self.name!r} is for tokens of kind {' or '.join(sorted(self.cls.kinds))}, but those of "
                f"{type(stages.model).__name__} hold a {stages.kind}; there are: {', '.join(_fitting(stages.kind))}"
            )
        takes = _arguments(self.cls)
        told = {name: value for name, value in known.items() if name in takes}
        return self.cls(stages.sizes, **{**told, **self.parameters})


def chosen_objectives(objective: Any, given: Mapping[str, Any]) -> tuple[ChosenObjective, ...]:
    """Read which objectives are meant.

    Parameters
    ----------
    objective : str, type, mapping or sequence
        A registered name or a class; or several as ``{"masked-spectrum": 1.0, "biot-contrastive":
        0.5}``, or as a list of names, classes and pairs with their weight.
    given : mapping
        Parameters without the prefix ``objective__``: ``KEY`` of one objective, ``NAME__KEY`` of
        several.

    Raises
    ------
    UnknownNameError
        No objective of that name.
    TypeError
        Something that is neither a name nor a class of an objective.
    ValueError
        None or one twice, a weight that is not positive, or a parameter that its objective does not
        have.

    Examples
    --------
    >>> from biot_bd.pretraining.chosen_objectives import chosen_objectives
    >>> (one,) = chosen_objectives("biot-contrastive", {"temperature": 0.1})
    >>> one.name, one.weight, one.parameters
    ('biot-contrastive', 1.0, {'temperature': 0.1})
    """
    pairs = [_named(choice, weight) for choice, weight in _pairs(objective)]
    names = [name for name, _, _ in pairs]
    if not pairs or len(set(names)) < len(names):
        raise ValueError(f"objective must name one objective or several, each once; found {objective!r}")
    if len(pairs) == 1:
        own = {names[0]: {key.removeprefix(f"{names[0]}__"): value for key, value in given.items()}}
    else:
        own = _shared_out(given, names)
    for name, cls, _ in pairs:
        _check_parameters(name, cls, own[name], several=len(pairs) > 1)
    return tuple(ChosenObjective(name, cls, weight, own[name]) for name, cls, weight in pairs)


def _pairs(objective: Any) -> list[tuple[Any, Any]]:
    if isinstance(objective, Mapping):
        return list(objective.items())
    if isinstance(objective, (list, tuple)):
        return [item if _is_pair(item) else (item, 1.0) for item in objective]
    return [(objective, 1.0)]


def _is_pair(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 2


def _named(choice: Any, weight: Any) -> tuple[str, type[Objective], float]:
    """Return name, class and weight of one choice."""
    cls = registry.objectives[choice] if isinstance(choice, str) else choice
    if isinstance(cls, nn.Module):
        name = type(cls).__name__
        raise TypeError(
            f"objective: found an instance of {name}; give the class, or its registered name, and its parameters as "
            "objective__KEY: it is built for the sizes of the model"
        )
    if not (inspect.isclass(cls) and issubclass(cls, Objective)):
        raise TypeError(
            f"objective: found {choice!r}; expected a registered name ({', '.join(registry.objectives)}), a subclass of "
            "biot_bd.pretraining.Objective, or several of them with weights"
        )
    name = choice if isinstance(choice, str) else registry.objectives.name_of(cls) or cls.__name__
    if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 < float(weight) < math.inf:
        raise ValueError(f"objective: the weight of {name!r} must be a positive number, found {weight!r}")
    return name, cls, float(weight)


def _shared_out(given: Mapping[str, Any], names: list[str]) -> dict[str, dict[str, Any]]:
    """Give every objective its own parameters."""
    own: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in given.items():
        name, dunder, parameter = key.partition("__")
        if name not in own or not dunder:
            raise ValueError(
                f"objective__{key}: with several objectives say whose parameter it is, objective__NAME__KEY with one of "
                f"{', '.join(names)}"
            )
        own[name][parameter] = value
    return own


def _arguments(cls: type[Objective]) -> list[str]:
    """Return the parameters of an objective's constructor, behind the sizes."""
    return list(inspect.signature(cls).parameters)[1:]


def _check_parameters(name: str, cls: type[Objective], given: Mapping[str, Any], several: bool) -> None:
    known = _arguments(cls)
    unknown = [key for key in given if key not in known]
    if unknown:
        prefix = f"objective__{name}__" if several else "objective__"
        raise ValueError(
            f"{prefix}{unknown[0]}: {name!r} takes {', '.join(prefix + key for key in known) or 'no parameters'}"
            f"{did_you_mean(unknown[0], known)}"
        )


def _fitting(kind: str) -> list[str]:
    return [name for name in registry.objectives if kind in registry.objectives[name].kinds]
