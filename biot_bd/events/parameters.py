"""Parameters of an object as scikit-learn's tools ask for them, without scikit-learn."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Self


class Parameters:
    """Base of dataclasses that scikit-learn can clone and search over.

    Their fields are the parameters; importing scikit-learn for its own base takes as long as all
    else that a detector needs.

    See Also
    --------
    biot_bd.EventDetector : One of them.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(repr=False)
    ... class Smoothing(Parameters):
    ...     width_s: float = 10.0
    ...     causal: bool = False
    >>> Smoothing().set_params(causal=True), Smoothing().get_params()
    (Smoothing(causal=True), {'causal': False, 'width_s': 10.0})
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, in the order of the alphabet; ``deep`` is for others."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self, **params: Any) -> Self:
        """Change parameters.

        Raises
        ------
        ValueError
            There is no parameter of such a name.
        """
        known = self._defaults()
        for name in params:
            if name not in known:
                raise ValueError(f"no parameter {name!r} of {type(self).__name__}; there are {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [
            f"{name}={value!r}"
            for name, default in self._defaults().items()
            if (value := getattr(self, name)) != default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return {one.name: one.default for one in sorted(fields(cls), key=lambda one: one.name)}  # type: ignore[arg-type]
