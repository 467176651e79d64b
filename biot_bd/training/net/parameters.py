"""Parameters of a net as scikit-learn sees them: of its constructor, and those with a prefix."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from typing import Any

from skorch import NeuralNet

from biot_bd.training._validation import did_you_mean, resolve_device, uncompiled
from biot_bd.training.object_texts import ParametersRepr
from biot_bd.training.private_paths import FitPlace, without_copy
from biot_bd.training.resume import describe
from biot_bd.training.worker_threads import ThreadsOfOrigin, torch_threads

_BUILT = ("module", "criterion", "optimizer", "compile")
"""Parameters for which skorch builds parts of the net anew, whatever their value was."""
_LOADING = ("iterator_train", "iterator_valid", "dataset")


def constructor_names(cls: type) -> list[str]:
    """Return the names that a constructor lists, without those that ``**kwargs`` takes."""
    parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    return [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]


class NetParameters(ParametersRepr, NeuralNet):
    """Parameters of a net, the same before and after ``fit``.

    A net names those of its constructor in ``_own_names``; all that are read from ``**kwargs`` have
    a prefix of ``_prefixes``.
    """

    _prefixes: tuple[str, ...] = ()
    _place: FitPlace | None = None  # where callbacks write; None: where they were told to
    _origin: ThreadsOfOrigin | None = None  # of a clone

    @classmethod
    def _own_names(cls) -> list[str]:
        raise NotImplementedError

    @classmethod
    def _check_prefixes(cls, given: dict[str, Any]) -> None:
        """Raise ``TypeError`` where a parameter has none of the prefixes."""
        unknown = sorted(key for key in given if key.partition("__")[0] not in cls._prefixes or "__" not in key)
        if unknown:
            raise TypeError(
                f"{cls.__name__} got unexpected parameters: {', '.join(unknown)}; there are {', '.join(cls._own_names())} "
                f"and those with a prefix {', '.join(p + '__' for p in cls._prefixes)}"
                f"{did_you_mean(unknown[0], cls._own_names())}"
            )

    def _get_param_names(self) -> list[str]:
        own = self._own_names()
        return own + [key for key in vars(self) if "__" in key and not key.endswith("_") and key not in own]

    def _get_params_callbacks(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of callbacks as configured, not those made anew at each fit."""
        params: dict[str, Any] = {}
        if not deep or self.callbacks == "disable":
            return params
        given = [item[1] if isinstance(item, (tuple, list)) else item for item in self._given_callbacks()]
        for name, callback in self._uniquely_named_callbacks():
            if callback is None or isinstance(callback, type):
                continue
            if any(callback is item for item in given):
                params[f"callbacks__{name}"] = callback
            params |= {f"callbacks__{name}__{key}": value for key, value in callback.get_params().items()}
        return params | {key: value for key, value in vars(self).items() if key.startswith("callbacks__")}

    def _given_callbacks(self) -> list[Any]:
        """Return what ``callbacks`` names, one by one."""
        given = self.callbacks
        if given is None or isinstance(given, str):
            return []
        return list(given) if isinstance(given, (list, tuple)) else [given]

    def get_params(self, deep: bool = True, **kwargs: Any) -> dict[str, Any]:
        """Return the parameters, as given; see scikit-learn."""
        own = {name: self.__dict__[name] for name in ("device", "accelerator")}
        return {**super().get_params(deep=deep, **kwargs), **own}

    @property
    def device(self) -> Any:
        """The device in use: what the parameter says, with ``"auto"`` decided."""
        return resolve_device(self.__dict__["device"])

    @device.setter
    def device(self, value: Any) -> None:
        self.__dict__["device"] = value

    @property
    def accelerator(self) -> Any:
        """The ``Accelerator`` that was given, where skorch's callbacks ask for it; else None."""
        given = self.__dict__.get("accelerator")
        return None if isinstance(given, str) else given

    @accelerator.setter
    def accelerator(self, value: Any) -> None:
        self.__dict__["accelerator"] = value

    def _set_own(self, given: dict[str, Any]) -> None:
        """Set parameters of skorch's, without what skorch would build anew for no reason."""
        if self.initialized_:
            given = {key: value for key, value in given.items() if not self._is_set(key, value)}
        plain = {}
        if self.initialized_:
            quiet = (*_LOADING, "compile")  # as optimizer=, skorch refuses them or builds everything anew
            plain = {k: v for k, v in given.items() if k.partition("__")[0] in quiet or k == "optimizer"}
        super().set_params(**{key: value for key, value in given.items() if key not in plain})
        if not plain:
            return
        self.__dict__.update(plain)
        self._params_to_validate |= plain.keys()
        self._validate_params()
        if any(key.partition("__")[0] == "compile" for key in plain):
            for name in ("module", "criterion"):
                self.__dict__[f"{name}_"] = self.torch_compile(uncompiled(getattr(self, f"{name}_")), name)
        if "optimizer" in plain:
            self._initialize_optimizer()

    def _is_set(self, key: str, value: Any) -> bool:
        """Return whether a parameter for which skorch would build anew has the value already."""
        own = vars(self)
        if key.partition("__")[0] not in _BUILT or key not in own or self._is_virtual_param(key):
            return False
        return own[key] is value or describe(own[key]) == describe(value)

    # --- copies -----------------------------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        wanted = state["device"]
        super().__setstate__({**state, "device": resolve_device(wanted)})
        if wanted in ("auto", None):
            self.__dict__["device"] = wanted

    def __sklearn_clone__(self) -> Any:
        """Return a copy that is not fitted; its callbacks write in folders of its own."""
        try:
            made = super().__sklearn_clone__()
        except TypeError as error:
            shared = without_copy(self.callbacks or [])
            if shared is None:
                raise
            raise TypeError(
                f"callback {shared} holds something open that cannot be copied for another fit ({error}); give it a "
                "path that it opens when training begins, e.g. log_dir= in place of TensorBoard(writer)"
            ) from error
        made.write_in((self._place or FitPlace()).for_clone())
        made.__dict__["_origin"] = ThreadsOfOrigin()
        return made

    def write_in(self, place: FitPlace | None) -> None:
        """Have the callbacks of the coming fits write in another place.

        Parameters
        ----------
        place : FitPlace or None
            None: where they were told to.
        """
        self.__dict__["_place"] = place

    def _threads(self) -> AbstractContextManager[None]:
        return torch_threads(None if self._origin is None else self._origin.here())
