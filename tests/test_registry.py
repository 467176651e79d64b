"""Plugins and registries, in fresh interpreters with made-up distributions on the path."""

import pickle
import threading

import pytest
from plugin_world import GOOD, World

from biot_bd import hookspecs, registry
from biot_bd.exceptions import PluginError, UnknownNameError


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


PLUGINS = """
from biot_bd import registry
result = {p["name"]: p for p in registry.list_plugins()}
"""


def test_good_plugin_is_found_by_its_entry_point(world):
    world.distribution("good", GOOD)
    result, stderr = world.report(
        """
        from biot_bd import registry
        result = [registry.datasets["good-set"]("here"), registry.datasets.owner("good-set"), registry.list_plugins()]
        """
    )
    assert result[:2] == ["recordings of here", "good"]
    assert result[2][0]["name"] == "biot_bd"
    good = next(p for p in result[2] if p["name"] == "good")
    assert good == {
        "name": "good",
        "version": "1.2",
        "distribution": "good",
        "registers": {"datasets": ["good-set"]},
        "error": None,
    }
    assert "skipped" not in stderr


BROKEN = {
    "import": ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
    "syntax": ("def half(:\n", "SyntaxError"),
    "exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "hook": (
        GOOD + "\n@hookimpl\ndef register_losses(register):\n    register('half', len); 1 / 0\n",
        "ZeroDivisionError",
    ),
    "typo": (
        "from biot_bd.hookspecs import hookimpl\n@hookimpl\ndef register_dataset(register): pass\n",
        "register_dataset",
    ),
    "empty": ("x = 1\n", "implements no hook"),
    "duplicate": (GOOD.replace("good-set", "demo"), "'demo' of plugin 'bad' is already registered by plugin 'biot_bd'"),
    "duplicate but for case": (
        GOOD.replace("good-set", "Demo"),
        "'Demo' of plugin 'bad' is already registered by plugin 'biot_bd' as 'demo'",
    ),
    "nameless": (GOOD.replace('"good-set"', "7"), "names are non-empty strings"),
    "none": (GOOD.replace(", load)", ", None)"), "'good-set' as None"),
    "no-path": (GOOD.replace(", load)", ", 'module.attribute')"), "must be an import path"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_plugin_is_undone_shown_and_stops_nothing(world, fault):
    code, message = BROKEN[fault]
    world.distribution("bad", code)
    world.distribution("zgood", GOOD.replace("good-set", "other-set"))
    (plugins, names, losses), stderr = world.report(
        """
        from biot_bd import registry
        result = [{p["name"]: p for p in registry.list_plugins()}, list(registry.datasets), list(registry.losses)]
        """
    )
    assert message in plugins["bad"]["error"]
    assert plugins["bad"]["registers"] == {}
    assert plugins["zgood"]["error"] is None
    assert "other-set" in names
    assert "good-set" not in names
    assert "half" not in losses
    assert "plugin 'bad' (bad 1.2) was skipped" in stderr


@pytest.mark.parametrize("fault", ["import", "duplicate"])
def test_strict_mode_raises_every_time(world, fault):
    code, message = BROKEN[fault]
    world.distribution("bad", code)
    done = world.run(
        """
        from biot_bd import registry
        for _ in range(2):
            try:
                len(registry.losses)
            except registry.PluginError as error:
                print(error)
        """,
        BIOT_BD_STRICT_PLUGINS="1",
    )
    assert done.stdout.count("plugin 'bad' (bad 1.2)") == 2, done.stderr
    assert message in done.stdout


def test_unknown_name_lists_names_failed_plugins_and_the_likely_one(world):
    world.distribution("bad", BROKEN["import"][0])
    (text, kind), _ = world.report(
        """
        from biot_bd import registry
        try:
            registry.losses["fokal"]
        except KeyError as error:
            result = [str(error), type(error).__name__]
        """
    )
    assert kind == "UnknownNameError"
    assert text.startswith("no losses named 'fokal'; there are: cross-entropy, focal")
    assert "did you mean 'focal'?" in text
    assert "plugins that failed to load: bad (ModuleNotFoundError: No module named 'does_not_exist')" in text


def test_path_that_cannot_be_imported_names_plugin_and_path(world):
    world.distribution("lazy", GOOD.replace(", load)", ", 'lazy_parts:load')"))
    (world.root / "lazy_parts.py").write_text("def load(:\n")
    text, _ = world.report(
        """
        from biot_bd import registry
        assert "good-set" in registry.datasets
        try:
            registry.datasets["good-set"]
        except registry.PluginError as error:
            result = str(error)
        """
    )
    assert "datasets 'good-set' of plugin 'lazy': cannot import 'lazy_parts:load': SyntaxError" in text


def test_two_distributions_with_one_plugin_name(world):
    world.distribution("aaa", GOOD, points="[biot_bd]\nsame = aaa\n")
    world.distribution("bbb", GOOD.replace("good-set", "b-set"), points="[biot_bd]\nsame = bbb\n")
    plugins, stderr = world.report("from biot_bd import registry; result = registry.list_plugins()")
    owners = {p["distribution"]: p for p in plugins}
    assert "bbb" in owners
    assert sum(p["error"] is None for p in (owners["aaa"], owners["bbb"])) == 1
    assert "has that name already" in stderr


def test_a_distribution_that_is_on_the_path_twice_is_one_plugin(world, tmp_path):
    world.distribution("good", GOOD)
    world.distribution("good", GOOD, folder=tmp_path / "copy")
    plugins, stderr = world.report(PLUGINS, path=[tmp_path / "copy"])
    assert [name for name in plugins if name.startswith("good")] == ["good"]
    assert "skipped" not in stderr


def test_worker_processes_see_entry_points_but_not_plugins_added_by_hand(world):
    world.distribution("good", GOOD)
    (world.root / "task.py").write_text(
        "from biot_bd import registry\ndef names():\n    return [sorted(registry.datasets), list(registry.probes)]\n"
    )
    (here, there), _ = world.report(
        """
        import joblib, task
        from biot_bd import registry
        from biot_bd.hookspecs import hookimpl

        class Late:
            @hookimpl
            def register_probes(self, register):
                register("late-probe", len)

        registry.add_plugin(Late(), "late")
        with joblib.parallel_config("loky"):
            there = joblib.Parallel(n_jobs=2)(joblib.delayed(task.names)() for _ in range(2))
        assert there[0] == there[1]
        result = [task.names(), there[0]]
        """
    )
    assert "good-set" in here[0]
    assert "late-probe" in here[1]
    assert here[0] == there[0]
    assert "late-probe" not in there[1]


def test_threads_that_ask_at_once_all_see_everything(world):
    world.distribution("slow", "import time\ntime.sleep(0.3)\n" + GOOD)
    result, _ = world.report(
        """
        import threading
        from biot_bd import registry
        seen = []
        threads = [threading.Thread(target=lambda: seen.append(sorted(registry.datasets))) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        result = seen
        """
    )
    assert len(result) == 8
    assert all("good-set" in names for names in result)


def test_a_plugin_may_ask_a_registry_while_it_is_imported(world):
    world.distribution("nosy", GOOD + "\nfrom biot_bd import registry\nKNOWN = list(registry.losses)\n")
    known, _ = world.report("import biot_bd.registry as r; r.list_plugins(); import nosy; result = nosy.KNOWN")
    assert "focal" in known


def test_importing_biot_bd_or_its_registry_loads_no_plugin(world):
    world.distribution("loud", "raise RuntimeError('loaded')")
    done = world.run("import biot_bd, biot_bd.registry")
    assert (done.returncode, done.stderr) == (0, "")


# In this process -------------------------------------------------------------------------------------------------


@pytest.fixture
def late():
    """Add plugins by hand and take them away again."""
    added = []

    def add(plugin, name, **kwargs):
        registry.add_plugin(plugin, name, **kwargs)
        added.append(name)

    yield add
    for name in added:
        registry._manager.unregister(name=name)
        for known in registry.registries.values():
            known._remove_all_of(name)
        del registry._plugins[name]


def plugin_of(hook, **things):
    """Make a plugin object that implements one hook."""

    def implementation(self, register):
        for name, obj in things.items():
            register(name, obj)

    return type("Plugin", (), {hook: hookspecs.hookimpl(implementation)})()


@pytest.mark.parametrize("kind", registry.registries)
def test_every_hook_fills_its_registry(late, kind):
    thing = object()
    late(plugin_of(f"register_{kind}", fresh=thing), "hand-made", version="3")
    known = registry.registries[kind]
    assert known["fresh"] is thing
    assert "fresh" in known
    assert "fresh" in list(known)
    assert known.owner("fresh") == "hand-made"
    assert known.name_of(thing) == "fresh"
    entry = registry.list_plugins()[-1]
    assert entry == {
        "name": "hand-made",
        "version": "3",
        "distribution": None,
        "registers": {kind: ["fresh"]},
        "error": None,
    }


def test_hooks_and_registries_are_the_same():
    hooks = {name for name in vars(hookspecs) if name.startswith("register_")}
    assert hooks == {f"register_{kind}" for kind in registry.registries}
    for kind, known in registry.registries.items():
        assert getattr(registry, kind) is known


def test_late_duplicate_is_refused_and_leaves_nothing(late):
    late(plugin_of("register_losses", mine=abs), "first")
    with pytest.raises(PluginError, match="'mine' of plugin 'second' is already registered by plugin 'first'"):
        registry.add_plugin(plugin_of("register_losses", other=abs, mine=len), "second")
    assert "other" not in registry.losses
    assert registry.losses["mine"] is abs
    assert "second" not in {p["name"] for p in registry.list_plugins()}
    with pytest.raises(PluginError, match="a plugin named 'first' is already registered"):
        registry.add_plugin(plugin_of("register_losses", third=len), "first")
    late(plugin_of("register_losses", other=len), "second")
    assert registry.losses["other"] is len


def test_late_plugin_with_a_typo_says_which_hook():
    with pytest.raises(PluginError, match="register_dataset"):
        registry.add_plugin(plugin_of("register_dataset", x=len), "typo")
    with pytest.raises(PluginError, match="implements no hook"):
        registry.add_plugin(object(), "nothing")


def test_registering_outside_of_a_hook_is_refused(late):
    kept = []

    class Plugin:
        @hookspecs.hookimpl
        def register_losses(self, register):
            kept.append(register)

    late(Plugin(), "keeper")
    with pytest.raises(PluginError, match="outside of a hook"):
        kept[0]("sneaked", len)
    assert "sneaked" not in registry.losses


def test_registries_are_read_only_mappings():
    with pytest.raises(TypeError):
        registry.losses["x"] = 1
    assert len(registry.losses) == len(list(registry.losses)) == len(dict(registry.losses.items()))
    assert list(registry.losses) == sorted(registry.losses)
    assert registry.losses.get("no such loss") is None
    assert repr(registry.label_rules).startswith("<registry of label_rules: annotated, biot-official")
    with pytest.raises(UnknownNameError, match="no losses named 'x'"):
        registry.losses.path("x")
    assert registry.datasets.path("demo") == "biot_bd.datasets.demo:load_demo"


def test_a_registry_pickles_as_itself():
    assert pickle.loads(pickle.dumps(registry.losses)) is registry.losses


def test_list_plugins_gives_copies():
    registry.list_plugins()[0]["registers"]["losses"].append("invented")
    assert "invented" not in registry.list_plugins()[0]["registers"]["losses"]


def test_names_of_registered_objects_without_importing(world):
    result, _ = world.report(
        """
        import sys
        from biot_bd import registry
        result = [registry.losses.path("focal"), "torch" in sys.modules]
        """
    )
    assert result == ["biot_bd.losses:FocalLoss", False]


BUILT_IN = [
    (kind, name)
    for entry in registry.list_plugins()
    if entry["name"] == "biot_bd"
    for kind, names in entry["registers"].items()
    for name in names
]


FORMER = {"edf-folder": "recordings-folder"}  # a former name stays, and leads to the thing of the new one


@pytest.mark.parametrize(("kind", "name"), BUILT_IN)
def test_every_built_in_name_resolves(kind, name):
    assert registry.registries[kind][name] is registry.registries[kind][name]
    assert registry.registries[kind].name_of(registry.registries[kind][name]) == FORMER.get(name, name)


def test_asking_in_a_thread_works():
    found = []
    thread = threading.Thread(target=lambda: found.append(registry.label_rules["overlap"]))
    thread.start()
    thread.join()
    assert found == [registry.label_rules["overlap"]]


@pytest.mark.parametrize("name", ["biot", "BIOT", "Biot"])
def test_a_lookup_ignores_case(name):
    from biot_bd import BIOT

    assert name in registry.models
    assert registry.models[name] is BIOT
    assert registry.models.owner(name) == "biot_bd"
    assert registry.models.path(name).endswith(":BIOT")


def test_a_classifier_takes_our_biot_whatever_the_case():
    from biot_bd import BIOT, BIOTClassifier

    assert BIOTClassifier("BIOT")._module_class() is BIOT
