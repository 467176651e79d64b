"""The registries: name -> object, filled by plugins.

``biot_bd.registry.losses["focal"]`` and its nine siblings are read-only mappings.  Plugins are found
when a registry is first asked for something, never on import.  A plugin that fails is undone, noted
and warned of; the others go on (``BIOT_BD_STRICT_PLUGINS=1`` raises instead).
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import Any

import pluggy

from biot_bd import hookspecs

__all__ = [
    "COMMANDS_GROUP",
    "PLUGINS_GROUP",
    "STRICT_VARIABLE",
    "PluginError",
    "Registry",
    "UnknownNameError",
    "add_plugin",
    "callbacks",
    "datasets",
    "exporters",
    "label_rules",
    "list_plugins",
    "losses",
    "metrics",
    "models",
    "montages",
    "objectives",
    "probes",
    "registries",
]

PLUGINS_GROUP = "biot_bd"
COMMANDS_GROUP = "biot_bd.commands"
STRICT_VARIABLE = "BIOT_BD_STRICT_PLUGINS"
BUILTIN = "biot_bd"


class PluginError(RuntimeError):
    """A plugin broke the rules: a duplicate name, an unusable object, an unknown hook."""


class UnknownNameError(KeyError):
    """No such name in a registry; the message lists the names that exist and the plugins that failed."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


@dataclass
class _Plugin:
    """What is known of one plugin."""

    name: str
    version: str | None
    registers: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.version, "registers": self.registers, "error": self.error}


class Registry(Mapping[str, Any]):
    """A read-only mapping from names to what plugins registered under them.

    Parameters
    ----------
    kind : str
        Plural noun, e.g. ``"losses"``; the hook is ``register_<kind>``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._objects: dict[str, Any] = {}
        self._owners: dict[str, str] = {}

    def __getitem__(self, name: str) -> Any:
        _load_plugins()
        if name not in self._objects:
            raise UnknownNameError(self._unknown(name))
        found = self._objects[name]
        if isinstance(found, str):
            found = self._objects[name] = _resolve(found, f"{self.kind} {name!r}")
        return found

    def __contains__(self, name: object) -> bool:
        _load_plugins()
        return name in self._objects

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
        _load_plugins()
        if name not in self._owners:
            raise UnknownNameError(self._unknown(name))
        return self._owners[name]

    def path(self, name: str) -> str:
        """Return where ``name`` comes from, ``"module:attribute"`` where that is known."""
        _load_plugins()
        if name not in self._objects:
            raise UnknownNameError(self._unknown(name))
        return _path_of(self._objects[name])

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

    def _unknown(self, name: object) -> str:
        text = f"no {self.kind} named {name!r}; there are: {', '.join(sorted(self._objects)) or 'none'}"
        broken = [f"{p.name} ({p.error})" for p in _plugins.values() if p.error]
        return text + (f"; plugins that failed to load: {', '.join(broken)}" if broken else "")

    def _add(self, name: str, obj: Any, owner: str) -> None:
        if not isinstance(name, str) or not name:
            raise PluginError(
                f"{self.kind}: plugin {owner!r} registered the name {name!r}; names are non-empty strings"
            )
        if isinstance(obj, str) and not all(obj.partition(":")[::2]):
            raise PluginError(
                f"{self.kind}: plugin {owner!r} registered {name!r} as {obj!r}; a text must be an import path 'package.module:attribute'"
            )
        if name in self._objects:
            raise PluginError(
                f"{self.kind}: {name!r} of plugin {owner!r} is already registered by plugin {self._owners[name]!r}; rename one of them"
            )
        self._objects[name], self._owners[name] = obj, owner

    def _remove_all_of(self, owner: str) -> None:
        for name in [name for name, by in self._owners.items() if by == owner]:
            del self._objects[name], self._owners[name]


def _resolve(path: str, what: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{what}: cannot import {path!r}: {type(error).__name__}: {error}") from error
    return found


def _path_of(obj: Any) -> str:
    if isinstance(obj, str):
        return obj
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    return f"{module}:{name}" if module and name else repr(obj)


datasets = Registry("datasets")
montages = Registry("montages")
label_rules = Registry("label_rules")
models = Registry("models")
losses = Registry("losses")
metrics = Registry("metrics")
probes = Registry("probes")
callbacks = Registry("callbacks")
objectives = Registry("objectives")
exporters = Registry("exporters")

registries: dict[str, Registry] = {
    r.kind: r
    for r in (datasets, montages, label_rules, models, losses, metrics, probes, callbacks, objectives, exporters)
}

_manager = pluggy.PluginManager(hookspecs.PROJECT)
_manager.add_hookspecs(hookspecs)
_plugins: dict[str, _Plugin] = {}
_current: list[str] = []
_lock = threading.RLock()
_loaded = False


def _registrar(registry: Registry) -> Callable[[str, Any], None]:
    def register(name: str, obj: Any) -> None:
        owner = _current[-1] if _current else "?"
        registry._add(name, obj, owner)
        if owner in _plugins:
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
    """
    _load_plugins()
    if name in _plugins:
        raise PluginError(f"a plugin named {name!r} is already registered (version {_plugins[name].version})")
    try:
        _register(lambda: plugin, name, version)
    except Exception as error:
        del _plugins[name]
        if isinstance(error, PluginError):
            raise
        raise PluginError(f"plugin {name!r}: {type(error).__name__}: {error}") from error


def list_plugins() -> list[dict[str, Any]]:
    """List the plugins found: ``name``, ``version``, ``registers`` (kind -> names) and ``error``."""
    _load_plugins()
    return [plugin.as_dict() for plugin in _plugins.values()]


def _register(load: Callable[[], Any], name: str, version: str | None) -> None:
    """Load and register one plugin; undo and note it where it fails, then raise."""
    _plugins[name] = _Plugin(name, version)
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
        if _manager.has_plugin(name):
            _manager.unregister(name=name)
        for registry in registries.values():
            registry._remove_all_of(name)
        raise
    finally:
        _current.pop()


def _load_plugins() -> None:
    """Find and register the built-in plugin and those of the entry-point group, once."""
    global _loaded
    if _loaded:
        return
    with _lock:
        if _loaded:
            return
        _loaded = True
        strict = os.environ.get(STRICT_VARIABLE, "") not in ("", "0")
        try:
            _register(lambda: import_module("biot_bd.builtin_plugin"), BUILTIN, version("biot-bd"))
            for point in sorted(entry_points(group=PLUGINS_GROUP), key=lambda p: p.name):
                _load_entry_point(point, strict)
        except BaseException:
            _loaded = False
            _forget_plugins()
            raise


def _load_entry_point(point: Any, strict: bool) -> None:
    release = f"{point.dist.name} {point.dist.version}" if point.dist else None
    if point.name in _plugins:
        same = _plugins[point.name].version == release
        if not same:
            message = (
                f"plugin {point.name!r} of {release} was skipped: {_plugins[point.name].version} has that name already"
            )
            if strict:
                raise PluginError(message)
            warnings.warn(message, stacklevel=5)
        return
    try:
        _register(point.load, point.name, release)
    except (Exception, SystemExit) as error:
        if strict:
            raise
        warnings.warn(f"plugin {point.name!r} ({release}) was skipped: {type(error).__name__}: {error}", stacklevel=5)


def _forget_plugins() -> None:
    for name in list(_plugins):
        if _manager.has_plugin(name):
            _manager.unregister(name=name)
        for registry in registries.values():
            registry._remove_all_of(name)
        del _plugins[name]
