"""The registries: name -> object, filled by plugins.

``biot_bd.registry.losses["focal"]`` and its siblings are read-only mappings.  Plugins are
found when a registry is first asked for something, never on import.  A plugin that fails is undone,
noted and warned of; the others go on (``BIOT_BD_STRICT_PLUGINS=1`` raises instead).
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import pluggy

from biot_bd import hookspecs
from biot_bd.exceptions import PluginError, UnknownNameError

__all__ = [
    "COMMANDS_GROUP",
    "PLUGINS_GROUP",
    "STRICT_VARIABLE",
    "Registry",
    "add_plugin",
    "callbacks",
    "datasets",
    "engines",
    "exporters",
    "frozen_probes",
    "label_rules",
    "list_plugins",
    "losses",
    "metrics",
    "model_stores",
    "models",
    "montages",
    "objectives",
    "probes",
    "readers",
    "registries",
]

#: Entry-point group of plugins: modules with hooks.
PLUGINS_GROUP = "biot_bd"
#: Entry-point group of commands of the command line.
COMMANDS_GROUP = "biot_bd.commands"
#: Environment variable: 1 makes a plugin that fails an error instead of a warning.
STRICT_VARIABLE = "BIOT_BD_STRICT_PLUGINS"
BUILTIN = "biot_bd"


@dataclass
class _Plugin:
    """What is known of one plugin."""

    name: str
    version: str | None
    distribution: str | None = None
    registers: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "distribution": self.distribution,
            "registers": {kind: list(names) for kind, names in self.registers.items()},
            "error": self.error,
        }

    @property
    def release(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution or 'no distribution'} {self.version or ''}".strip()


class Registry(Mapping[str, Any]):
    """A read-only mapping from names to what plugins registered under them; a lookup ignores case.

    Parameters
    ----------
    kind : str
        Plural noun, e.g. ``"losses"``; the hook is ``register_<kind>``.

    See Also
    --------
    add_plugin : Registers a plugin by hand.
    list_plugins : What was found, and what failed.

    Examples
    --------
    >>> from biot_bd import registry
    >>> "biot-16" in registry.montages
    True
    >>> registry.montages["BIOT-16"].n_chans
    16
    >>> registry.losses.path("focal")  # imports nothing
    'biot_bd.losses:FocalLoss'
    >>> registry.losses.owner("focal")
    'biot_bd'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._objects: dict[str, Any] = {}
        self._owners: dict[str, str] = {}
        self._contracts: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        name = self._registered(name)
        found = self._objects[name]
        if isinstance(found, str):
            found = self._objects[name] = _resolve(found, f"{self.kind} {name!r} of plugin {self._owners[name]!r}")
        return found

    def __reduce__(self) -> tuple[Any, ...]:  # a worker process uses its own registry, filled by its own plugins
        return _registry_of_kind, (self.kind,)

    def __contains__(self, name: object) -> bool:
        _load_plugins()
        return self._same(name) is not None

    def __iter__(self) -> Iterator[str]:
        _load_plugins()
        return iter(sorted(self._objects))

    def __len__(self) -> int:
        _load_plugins()
        return len(self._objects)

    def __repr__(self) -> str:
        return f"<registry of {self.kind}: {', '.join(self) or 'empty'}>"

    def owner(self, name: str) -> str:
        """Return the name of the plugin that registered ``name``."""
        return self._owners[self._registered(name)]

    def path(self, name: str) -> str:
        """Return where ``name`` comes from, ``"module:attribute"`` where that is known."""
        return _path_of(self._objects[self._registered(name)])

    def contract(self, name: str) -> Any:
        """Return what ``name`` expects of its input, a :class:`biot_bd.models.ModelContract`.

        None where its plugin says nothing; only models have one.
        """
        name = self._registered(name)
        found = self._contracts.get(name)
        if isinstance(found, str):
            found = _resolve(found, f"contract of {self.kind} {name!r} of plugin {self._owners[name]!r}")
            self._contracts[name] = found
        return found

    def name_of(self, obj: Any) -> str | None:
        """Return the name under which ``obj`` is registered, or None; imports nothing."""
        _load_plugins()
        path = _path_of(obj)
        for name, known in self._objects.items():
            if known is obj or (isinstance(known, str) and known == path):
                return name
        # A path may name a package that re-exports the class from the module where it is defined.
        qualname = path.rpartition(":")[2]
        for name, known in self._objects.items():
            if isinstance(known, str) and known.endswith(f":{qualname}") and self[name] is obj:
                return name
        return None

    def _same(self, name: object) -> str | None:
        """Return the registered spelling of a name, None where there is none."""
        if not isinstance(name, str) or name in self._objects:
            return name if isinstance(name, str) else None
        return next((known for known in self._objects if known.casefold() == name.casefold()), None)

    def _registered(self, name: str) -> str:
        _load_plugins()
        same = self._same(name)
        if same is None:
            raise UnknownNameError(self._unknown(name))
        return same

    def _unknown(self, name: object) -> str:
        text = f"no {self.kind} named {name!r}; there are: {', '.join(sorted(self._objects)) or 'none'}"
        if isinstance(name, str) and (close := get_close_matches(name, self._objects, n=1)):
            text += f"; did you mean {close[0]!r}?"
        broken = [f"{p.name} ({p.error})" for p in _plugins.values() if p.error]
        return text + (f"; plugins that failed to load: {', '.join(broken)}" if broken else "")

    def _add(self, name: str, obj: Any, owner: str, contract: Any = None) -> None:
        if not isinstance(name, str) or not name:
            raise PluginError(
                f"{self.kind}: plugin {owner!r} registered the name {name!r}; names are non-empty strings"
            )
        if obj is None:
            raise PluginError(f"{self.kind}: plugin {owner!r} registered {name!r} as None")
        if isinstance(obj, str) and not all(obj.partition(":")[::2]):
            raise PluginError(
                f"{self.kind}: plugin {owner!r} registered {name!r} as {obj!r}; a text must be an import path 'package.module:attribute'"
            )
        if contract is not None and self.kind != "models":
            raise PluginError(f"{self.kind}: plugin {owner!r} gave {name!r} a contract; only models have one")
        if known := self._same(name):
            raise PluginError(
                f"{self.kind}: {name!r} of plugin {owner!r} is already registered by plugin {self._owners[known]!r}"
                f"{'' if known == name else f' as {known!r}'}; rename one of them"
            )
        self._objects[name], self._owners[name] = obj, owner
        if contract is not None:
            self._contracts[name] = contract

    def _remove_all_of(self, owner: str) -> None:
        for name in [name for name, by in self._owners.items() if by == owner]:
            del self._objects[name], self._owners[name]
            self._contracts.pop(name, None)


def _registry_of_kind(kind: str) -> Registry:
    return registries[kind]


def _resolve(path: str, what: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    # The module is foreign code: whatever it raises, a syntax error included, is the plugin's
    # fault.
    except Exception as error:
        raise PluginError(f"{what}: cannot import {path!r}: {type(error).__name__}: {error}") from error
    return found


def _path_of(obj: Any) -> str:
    if isinstance(obj, str):
        return obj
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    return f"{module}:{name}" if module and name else repr(obj)


#: Data sets: ``datasets["chb-mit"](root)`` loads recordings.
datasets = Registry("datasets")
#: Readers: a :class:`biot_bd.io.Reader` a format of recordings.
readers = Registry("readers")
#: Montages: ``montages["biot-16"]`` is a :class:`biot_bd.signals.Montage`.
montages = Registry("montages")
#: Label rules: classes such as :class:`biot_bd.windows.Overlap`.
label_rules = Registry("label_rules")
#: Models: classes such as :class:`biot_bd.BIOT`, and models of braindecode by their usual names.
models = Registry("models")
#: Losses: classes such as :class:`biot_bd.losses.FocalLoss`.
losses = Registry("losses")
#: Metrics: instances of :class:`biot_bd.evaluation.Metric`.
metrics = Registry("metrics")
#: Probes: classes such as :class:`biot_bd.probes.AttentionProbe`.
probes = Registry("probes")
#: Training callbacks: classes such as :class:`biot_bd.training.TensorBoardLogger`.
callbacks = Registry("callbacks")
#: Self-supervised pretraining objectives: classes of modules.
objectives = Registry("objectives")
#: Exporters: functions that write a fitted pipeline for use elsewhere.
exporters = Registry("exporters")
#: Probes over frozen embeddings: classes such as :class:`biot_bd.embedding.LinearProbe`.
frozen_probes = Registry("frozen_probes")
#: Engines: functions that load a saved model for the detector.
engines = Registry("engines")
#: Stores of models: classes such as the Hub's, where `biot-bd models push` puts versions.
model_stores = Registry("model_stores")

#: All registries by kind: ``registries["losses"] is losses``.
registries: dict[str, Registry] = {
    r.kind: r
    for r in (
        datasets,
        readers,
        montages,
        label_rules,
        models,
        losses,
        metrics,
        probes,
        callbacks,
        objectives,
        exporters,
        engines,
        frozen_probes,
        model_stores,
    )
}

_manager = pluggy.PluginManager(hookspecs.PROJECT)
_manager.add_hookspecs(hookspecs)
_plugins: dict[str, _Plugin] = {}
_current: list[str] = []
_lock = threading.RLock()
_loaded = False
_loading = False


def _registrar(registry: Registry) -> Callable[..., None]:
    def register(name: str, obj: Any, *, contract: Any = None) -> None:
        if not _current:
            raise PluginError(
                f"{registry.kind}: {name!r} was registered outside of a hook; call register inside "
                f"register_{registry.kind}, or give an object with that hook to biot_bd.registry.add_plugin"
            )
        owner = _current[-1]
        registry._add(name, obj, owner, contract)
        _plugins[owner].registers.setdefault(registry.kind, []).append(name)

    return register


for _registry in registries.values():
    getattr(_manager.hook, f"register_{_registry.kind}").call_historic(kwargs={"register": _registrar(_registry)})


def add_plugin(plugin: Any, name: str, *, version: str | None = None) -> None:
    """Register one plugin by hand, e.g. from a notebook; worker processes do not see it.

    Parameters
    ----------
    plugin : module, object or class instance
        Holds functions marked with :data:`biot_bd.hookspecs.hookimpl`.
    name : str
        Name shown by :func:`list_plugins`.
    version : str, optional
        Version shown by :func:`list_plugins`.

    Raises
    ------
    PluginError
        A plugin of that name exists, or the plugin breaks a rule; nothing of it stays registered.

    See Also
    --------
    biot_bd.hookspecs : The hooks, and how an installed package is found.
    list_plugins : Shows the plugin.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from biot_bd import registry
    >>> from biot_bd.hookspecs import hookimpl
    >>> @hookimpl
    ... def register_montages(register):
    ...     register("left", registry.montages["biot-16"])
    >>> registry.add_plugin(SimpleNamespace(register_montages=register_montages), "example")
    >>> registry.montages.owner("left")
    'example'
    """
    _load_plugins()
    with _lock:
        if name in _plugins:
            raise PluginError(f"a plugin named {name!r} is already registered ({_plugins[name].release})")
        try:
            _register(lambda: plugin, name, version)
        except (Exception, SystemExit) as error:
            del _plugins[name]
            if isinstance(error, PluginError):
                raise
            raise PluginError(f"plugin {name!r}: {type(error).__name__}: {error}") from error


def list_plugins() -> list[dict[str, Any]]:
    """List the plugins found, in the order they were loaded.

    Returns
    -------
    list of dict
        ``name``, ``version``, ``distribution`` (None for a plugin added by hand), ``registers``
        (kind -> names, empty where the plugin failed) and ``error`` (None where it did not).

    See Also
    --------
    add_plugin : Adds one by hand.

    Examples
    --------
    >>> from biot_bd.registry import list_plugins
    >>> first = list_plugins()[0]
    >>> first["name"], first["error"], first["registers"]["losses"]
    ('biot_bd', None, ['focal', 'cross-entropy'])
    """
    _load_plugins()
    return [plugin.as_dict() for plugin in _plugins.values()]


def _register(load: Callable[[], Any], name: str, version: str | None, distribution: str | None = None) -> None:
    """Load and register one plugin; undo and note it where it fails, then raise."""
    _plugins[name] = _Plugin(name, version, distribution)
    _current.append(name)
    try:
        plugin = load()
        _manager.register(plugin, name)
        if not _manager.get_hookcallers(plugin):
            raise PluginError(f"plugin {name!r} implements no hook; mark its functions with biot_bd.hookspecs.hookimpl")
        _manager.check_pending()
    # A plugin may fail in any way, SystemExit at import included; Ctrl-C stays Ctrl-C.
    except (Exception, SystemExit) as error:
        _plugins[name].error = f"{type(error).__name__}: {error}"
        _plugins[name].registers = {}
        _undo(name)
        raise
    finally:
        _current.pop()


def _load_plugins() -> None:
    """Find and register the built-in plugin and those of the entry-point group, once."""
    global _loaded, _loading
    if _loaded:
        return
    with _lock:
        # The lock is re-entrant: a plugin that asks a registry while it is imported sees what is
        # there so far, while other threads wait until all is there.
        if _loaded or _loading:
            return
        _loading = True
        strict = os.environ.get(STRICT_VARIABLE, "") not in ("", "0")
        try:
            _register(lambda: import_module("biot_bd.builtin_plugin"), BUILTIN, version("biot-bd"), "biot-bd")
            for point in sorted(entry_points(group=PLUGINS_GROUP), key=lambda p: p.name):
                _load_entry_point(point, strict)
            _loaded = True
        except BaseException:
            _forget_plugins()
            raise
        finally:
            _loading = False


def _load_entry_point(point: EntryPoint, strict: bool) -> None:
    dist = point.dist
    plugin = _Plugin(point.name, dist.version if dist else None, dist.name if dist else None)
    known = _plugins.get(point.name)
    if known is not None:
        # One distribution may be found twice, once for each time its folder stands on the path.
        if known.release != plugin.release:
            message = f"plugin {point.name!r} of {plugin.release} was skipped: {known.release} has that name already"
            if strict:
                raise PluginError(message)
            _plugins[f"{point.name} ({plugin.release})"] = replace(plugin, error=message)
            warnings.warn(message, stacklevel=5)
        return
    try:
        _register(point.load, point.name, plugin.version, plugin.distribution)
    except (Exception, SystemExit) as error:
        if strict:
            raise PluginError(f"plugin {point.name!r} ({plugin.release}): {type(error).__name__}: {error}") from error
        warnings.warn(
            f"plugin {point.name!r} ({plugin.release}) was skipped: {type(error).__name__}: {error}", stacklevel=5
        )


def _undo(name: str) -> None:
    """Take back what a plugin registered."""
    if _manager.has_plugin(name):
        _manager.unregister(name=name)
    for registry in registries.values():
        registry._remove_all_of(name)


def _forget_plugins(names: Iterable[str] | None = None) -> None:
    for name in list(_plugins if names is None else names):
        _undo(name)
        del _plugins[name]
