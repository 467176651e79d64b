"""How a net builds its module from its parameters and, where these say nothing, from the data."""

from __future__ import annotations

import inspect
from typing import Any

import mne
import numpy as np
from braindecode.models.base import EEGModuleMixin
from braindecode.models.util import models_dict
from torch import nn

from biot_bd import registry
from biot_bd.exceptions import ContractError
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints.published import KNOWN
from biot_bd.models.contract import ModelContract
from biot_bd.signals.base import describe_channels
from biot_bd.signals.positions import channel_positions, make_chs_info
from biot_bd.training._validation import check_compiler
from biot_bd.training.input_data import InputInfo, SignalData
from biot_bd.training.net.epochs import NetEpochs


class NetModule(NetEpochs):
    """The module of a net: its class, its contract with the data, its constructor's arguments."""

    pretrained: Any

    def _input(self) -> InputInfo | None:
        """Return what is known of the windows that the module is built for."""
        raise NotImplementedError

    def _module_class(self) -> Any:
        if not isinstance(self.module, str):
            return self.module
        if self.module not in registry.models and self.module in models_dict:
            return models_dict[self.module]
        return registry.models[self.module]

    def _facts_for_module(self, module: Any, n_outputs: int | None) -> dict[str, Any]:
        """Return what the data say, for the arguments that the module's constructor has."""
        info = self._input()
        if info is None or isinstance(module, nn.Module):
            return {}
        facts = {name: getattr(info, name) for name in ("n_chans", "n_times", "sfreq", "ch_names")}
        facts["n_outputs"] = n_outputs
        taken = inspect.signature(module).parameters
        infers = inspect.isclass(module) and issubclass(module, EEGModuleMixin)
        if info.sfreq is not None and not infers:  # braindecode's own models divide the two themselves
            facts["input_window_seconds"] = info.n_times / info.sfreq
        if "chs_info" in taken and info.ch_names is not None and self._reads_positions(module):
            placed = bool(np.isfinite(channel_positions(info.ch_names)).all())
            facts["chs_info"] = make_chs_info(info.ch_names) if placed else None
        return {name: value for name, value in facts.items() if value is not None and name in taken}

    def _contract(self) -> ModelContract | None:
        """Return what a registered model expects; None of a class, an instance, others' names."""
        named = isinstance(self.module, str) and self.module in registry.models
        return registry.models.contract(self.module) if named else None

    def _reads_positions(self, module: Any) -> bool:
        """Return whether a module that names ``chs_info`` does anything with it.

        Who does not is built, and saved, without.
        """
        name = registry.models.name_of(module)
        contract = None if name is None else registry.models.contract(name)
        of_biot = inspect.isclass(module) and issubclass(module, BIOT)
        return not of_biot and (contract is None or contract.positions != "unused")

    def _check_contract(self, info: Any) -> None:
        """Raise where a registered model is known to expect other windows than these."""
        contract = self._contract()
        if contract is not None:
            published = any(self.pretrained in (one.name, one.repository) for one in KNOWN.values())
            contract.check(info, self.module, self.get_params_for("module"), scratch=not published)

    def _check_absent(self, data: SignalData) -> None:
        """Raise where channels are absent and the module cannot leave them out."""
        if data.present.all():
            return
        module = self._with_absent()
        if not getattr(module, "accepts_absent_channels", False):
            model = module.__name__ if isinstance(module, type) else type(module).__name__
            raise ValueError(
                f"{model} cannot leave out absent channels, but {describe_channels(~data.present, data.info.ch_names)} "
                "are absent; use BIOT, another montage, or leave these windows out"
            )

    def _with_absent(self) -> Any:
        """Return the module, or its class, that is asked whether it leaves out absent channels."""
        return getattr(self, "module_", None) or self._module_class()

    def torch_compile(self, module: Any, name: str) -> Any:
        """Compile the module where ``compile=True``.

        Losses stay as they are: they look at the values of their targets, where a graph breaks, and
        there is nothing to gain.

        Raises
        ------
        ValueError
            There is no compiler for the device.
        """
        if not self.compile or name != "module":
            return module
        if self.get_params_for("compile").get("backend", "inductor") == "inductor":
            check_compiler(self.device)
        return super().torch_compile(module, name)  # type: ignore[no-untyped-call]

    def _build_module(self, module: Any, arguments: dict[str, Any]) -> Any:
        """Build the module; say in one line what it needs that is not there."""
        try:
            with mne.use_log_level("ERROR"):  # models that interpolate would print how they fit a sphere
                return self._instance(module, arguments)
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            contract = self._contract()
            if contract is not None and contract.needs is not None and isinstance(error, (RuntimeError, OSError)):
                raise ContractError(f"{self.module} needs {contract.needs}: {error}") from error
            known = self._input()
            unknown = {"sfreq": "the sampling rate", "chs_info": "the channels and their positions"}
            wanted = [what for name, what in unknown.items() if name not in arguments and name in str(error)]
            if known is None or known.ch_names is not None or not wanted:
                raise
            raise ValueError(
                f"{module.__name__} needs {' and '.join(wanted)}, which arrays do not carry; give Windows or mne.Epochs, "
                f"or module__sfreq=200, module__chs_info=make_chs_info([...]) ({error})"
            ) from error

    def _instance(self, module: Any, arguments: dict[str, Any]) -> Any:
        try:
            return self.initialized_instance(module, arguments)
        except ValueError as error:
            if self._input() is not None or "could not be inferred" not in str(error):
                raise
            raise ValueError(
                f"{error} Before fit nothing is known of the data: fit first, or give module__n_chans=, module__n_times= "
                "and module__n_outputs= (those of the weights that shall be loaded)"
            ) from error
