"""A model folder from a stranger runs nothing and reaches nothing, whatever its description asks for.

Folders are loaded in a process of its own (``watched_loading.py``), whose audit hook notes every file opened for
writing, every folder made, every connection and every program started.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_model import save_small_model

from biot_bd.events import EventDetector, save_event_detector
from biot_bd.training.persistence.run_settings import QUIET

MOST_MIB = 400  # the spare 64 MiB of building, imports of a class, and what the allocator keeps


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strangers") / "model"
    save_small_model(folder)
    save_event_detector(EventDetector(), folder)
    return folder


@pytest.fixture(scope="module")
def watched(saved):
    """Return a function that tells what loading a folder, in each way, gave and reached."""
    program = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("watched_loading.py")), str(saved)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def load(folder):
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, f"loading {folder} ended the process"
            return json.loads(line)

        yield load
        process.stdin.close()


@pytest.fixture
def edited(saved, tmp_path):
    """Return a function that copies the model and changes what its classifier says."""

    def edit(change, nested=False):
        folder = shutil.copytree(saved, tmp_path / "model", dirs_exist_ok=True)
        text = json.loads((saved / "pipeline.json").read_text())
        change(text["pipeline"]["steps"][-1])
        if nested:
            inner = text["pipeline"]
            text["pipeline"] = {"name": "outer", "kind": "pipeline", "steps": [inner | {"name": "inner"}]}
        (folder / "pipeline.json").write_text(json.dumps(text))
        return folder

    return edit


def one_line(told):
    return told is None or len(told.splitlines()) == 1


def nothing_reached(found):
    for way, outcome in found.items():
        assert outcome["reached"] == [], way
        assert outcome["more_mib"] < MOST_MIB, way
        assert one_line(outcome["error"]), way
        assert outcome["error"] is None or outcome["named"], (way, outcome["error"])


def skorch(name, **params):
    return {"$object": {"$class": f"skorch.callbacks:{name}"}, "params": params}


PLACE = "made/deep/er"
WRITERS = {
    "Checkpoint": [skorch("Checkpoint", dirname=PLACE)],
    "TrainEndCheckpoint": [skorch("TrainEndCheckpoint", dirname=PLACE)],
    "LoadInitState": [skorch("LoadInitState", checkpoint=skorch("Checkpoint", dirname=PLACE))],
    "a pair": [{"$tuple": ["keep", skorch("Checkpoint", dirname=PLACE)]}, skorch("GradientNormClipping")],
    "a pair in a list": [["keep", skorch("Checkpoint", dirname=PLACE)]],
    "a class": [{"$class": "skorch.callbacks:Checkpoint"}],
    "skorch's TensorBoard": [skorch("TensorBoard", writer=None)],
    "W&B": [skorch("WandbLogger", wandb_run=None)],
    "Neptune": [skorch("NeptuneLogger", run=None)],
    "MLflow": [skorch("MlflowLogger")],
    "Sacred": [skorch("SacredLogger", experiment=None)],
    "ours": [{"$object": {"$class": "biot_bd.training:TensorBoardLogger"}, "params": {"log_dir": PLACE}}],
    "ours, registered": ["tensorboard"],
    "ours, as a value": [{"$value_of": ["callbacks", "tensorboard"]}],
    "ours, as a class": [{"$registered": ["callbacks", "tensorboard"]}],
}


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("callbacks", WRITERS.values(), ids=WRITERS)
def test_callbacks_that_write_are_left_out_and_named(watched, edited, callbacks, nested):
    def change(step):
        step["params"] |= {"callbacks": callbacks, "callbacks__Checkpoint__dirname": PLACE}
        step["params"] |= {"log_dir": f"{PLACE}/log", "restart_dir": f"{PLACE}/restart"}

    folder = edited(change, nested)
    before = sorted(folder.parent.rglob("*"))
    found = watched(folder)
    nothing_reached(found)
    assert sorted(folder.parent.rglob("*")) == before
    assert found["audit"]["left_out"][:2] == [f"log_dir='{PLACE}/log'", f"restart_dir='{PLACE}/restart'"]
    assert found["audit"]["left_out"][2].startswith("callback ")
    if found["audit"]["problems"] == []:
        (said,) = [text for text in found["load_pipeline"]["said"] if "left out" in text]
        assert str(folder) in said
        assert all(setting in said for setting in found["audit"]["left_out"])
        params = found["load_pipeline"]["params"]
        assert (params["log_dir"], params["restart_dir"], params["compile"]) == ("None", "None", "False")
        assert "Checkpoint" not in params["callbacks"]
        assert ("GradientNormClipping" in params["callbacks"]) == ("GradientNormClipping" in str(callbacks))


def test_nothing_is_compiled(watched, edited):
    found = watched(edited(lambda step: step["params"].update(compile=True)))
    nothing_reached(found)
    assert found["audit"]["left_out"] == ["compile=True"]
    assert found["load_pipeline"]["params"]["compile"] == "False"
    assert found["Detector.load"]["error"] is None


@pytest.mark.parametrize(
    "source", ["https://host.invalid/x.ckpt", "prest-16", "someone/model", "/etc/passwd", "x.ckpt"]
)
@pytest.mark.parametrize("known", [True, False], ids=["sizes told", "sizes unknown"])
def test_a_checkpoint_that_training_began_with_is_a_fact(watched, edited, source, known):
    def change(step):
        step["params"]["pretrained"] = source
        if not known:
            step["fitted"]["module_config"] = None

    found = watched(edited(change))
    nothing_reached(found)
    if known:
        assert found["load_pipeline"]["params"]["pretrained"] == repr(source)
        assert found["Detector.load"]["error"] is None
    else:
        assert "does not say its own sizes" in found["load_pipeline"]["error"]
        assert "does not say its" in found["audit"]["problems"][0]


SIZES = {
    "embed_dim": (10**7, 10**12, -1),
    "num_layers": (10**9, 2000),
    "n_channel_tokens": (10**9, 17),
    "num_heads": (10**9, -1),
    "hop_length": (10**12, 0),
    "n_chans": (10**9, 10**5),
    "n_times": (10**12, -2000),
    "n_outputs": (10**8, 50_000),
    "max_seq_len": (10**12, 10**7),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in SIZES for value in SIZES[name]])
@pytest.mark.parametrize("where", ["params", "both"])
def test_sizes_that_the_weights_do_not_have_are_refused_before_anything_is_built(watched, edited, where, name, value):
    def change(step):
        step["params"][f"module__{name}"] = value
        if where == "both":
            step["fitted"]["module_config"][name] = value
        if name in step["fitted"]["input_info"]:
            step["fitted"]["input_info"][name] = value

    folder = edited(change)
    found = watched(folder)
    nothing_reached(found)
    if (name, value) != ("max_seq_len", 10**7):  # a length that a network may have
        assert str(folder) in found["load_pipeline"]["error"]
        assert name in found["load_pipeline"]["error"]
        assert name in found["load_scorer"]["error"]
        assert name in found["audit"]["problems"][0]


@pytest.mark.parametrize(
    ("module", "params"),
    [
        ("eegnet", {"module__F1": 99_999, "module__D": 99_999}),
        ({"$class": "braindecode.models:EEGNet"}, {"module__F1": 10**6}),
        ("EEGConformer", {"module__n_filters_time": 50_000, "module__num_layers": 50_000}),
        ({"$class": "torch.nn:Linear"}, {"module__in_features": 99_999, "module__out_features": 99_999}),
        ("Labram", {"module__num_layers": 99_999}),
        ("EEGPT", {}),
        ("SignalJEPA", {}),
    ],
)
def test_other_networks_are_built_no_larger_than_their_weights(watched, edited, module, params):
    def change(step):
        kept = {key: value for key, value in step["params"].items() if not key.startswith("module__")}
        step["params"] = kept | {"module": module} | params
        step["fitted"]["module_config"] = None

    folder = edited(change)
    found = watched(folder)
    nothing_reached(found)
    assert str(folder) in found["load_pipeline"]["error"]


SETTINGS = st.dictionaries(
    st.sampled_from(
        ["log_dir", "restart_dir", "pretrained", "compile", "callbacks", "device", "verbose", "warm_start"]
    ),
    st.sampled_from([True, PLACE, "https://host.invalid/x", 7, None, ["tensorboard"], *WRITERS.values()]),
    max_size=4,
)
NUMBERS = st.dictionaries(
    st.tuples(st.sampled_from(["params", "module_config", "input_info"]), st.sampled_from(sorted(SIZES))),
    st.integers(-5, 10**13) | st.floats(-1e9, 1e13) | st.sampled_from([10**7, "10", None, [1]]),
    max_size=3,
)
CALLBACKS = st.sampled_from(["Checkpoint", "TrainEndCheckpoint", "TensorBoard", *sorted(QUIET), "EpochTimer"])


@given(asked=SETTINGS, numbers=NUMBERS, callback=CALLBACKS, nested=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_settings_reach_anything(watched, edited, asked, numbers, callback, nested):
    def change(step):
        step["params"] |= asked
        step["params"][f"callbacks__{callback}"] = skorch(callback)
        step["params"][f"callbacks__{callback}__dirname"] = PLACE
        for (where, name), value in numbers.items():
            place = step["params"] if where == "params" else step["fitted"][where]
            place[f"module__{name}" if where == "params" else name] = value

    folder = edited(change, nested)
    before = sorted(folder.parent.rglob("*"))
    found = watched(folder)
    nothing_reached(found)
    assert sorted(folder.parent.rglob("*")) == before
