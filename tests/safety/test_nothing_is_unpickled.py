"""Nothing from outside is unpickled or executed: by the source, and by files that would tell if they were."""

import ast
import contextlib
import io
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_files import Marker, edf_of
from small_model import save_small_model

from biot_bd.bounded_files import read_npy, read_npz, read_table
from biot_bd.cli import main
from biot_bd.datasets import load_arrays, open_array
from biot_bd.datasets.helsinki_annotations import read_expert
from biot_bd.deploy import Detector, read_detection
from biot_bd.embedding import read_embeddings
from biot_bd.evaluation import Result, read_plan
from biot_bd.events import load_event_detector, read_event_file
from biot_bd.export import read_artifact
from biot_bd.io import open_recording
from biot_bd.models import BIOT, load_checkpoint
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.pretraining import load_pretraining
from biot_bd.probes import MapGroup, load_maps
from biot_bd.training import load_pipeline, load_scorer
from biot_bd.windows import Windows

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "biot_bd").rglob("*.py"), *ROOT.glob("plugins/*/src/**/*.py")])
RUNS_CODE = {
    "pickle": {"load", "loads", "Unpickler"},
    "cloudpickle": {"load", "loads"},
    "joblib": {"load"},
    "dill": {"load", "loads"},
    "marshal": {"load", "loads"},
    "shelve": {"open"},
    "pandas": {"read_pickle", "eval"},
    "pd": {"read_pickle", "eval"},
    "yaml": {"load", "full_load", "unsafe_load"},
    "os": {"system", "popen"},
    "shutil": {"unpack_archive"},
    "tarfile": {"open", "TarFile"},
    "torch.export": {"load"},
    "torch.jit": {"load"},
    "torch.hub": {"load"},
    "runpy": {"run_path", "run_module"},
}
"""What runs or unpacks what it reads, by module."""
ALLOWED = {
    # What a call of ours pickled itself, in a folder of its own, for its own workers.
    ("biot_bd/evaluation/shared_values.py", "pickle.Unpickler"),
    # A copy in memory of an object of the caller's, as worker processes get one.
    ("biot_bd/testing/_base.py", "pickle.loads"),
    # Only of files whose digest this machine noted or a user vouched for (test below).
    ("biot_bd/export/engines/pt2.py", "torch.export.load"),
}


WORDS = re.compile(
    r"pickle|dill|joblib|marshal|shelve|yaml|tarfile|runpy|unpack_archive|extractall|shell|parquet|"
    r"\b(load|loads|eval|exec|__import__|system|popen)\("
)
"""A quick look at what need not be parsed."""


def dotted(node):
    """Return ``a.b.c`` of names and attributes, else nothing."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def mentions(tree):
    """Yield what a file mentions, with the keywords where it is called."""
    called = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called[node.func] = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield dotted(node), called.get(node)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{one.name}", None) for one in node.names)


def faults_of(name, tree):
    here = name == "biot_bd/bounded_files.py"
    for what, given in mentions(tree):
        module, _, function = what.rpartition(".")
        if what in ("eval", "exec", "__import__") or function in RUNS_CODE.get(module, ()):
            wrong = (name, what) not in ALLOWED
        elif what in ("np.load", "numpy.load"):
            wrong = not here or given is None or given.get("allow_pickle") is not False
        elif what in ("pd.read_parquet", "pandas.read_parquet"):
            wrong = not here and name.startswith("biot_bd/")
        elif what == "torch.load":
            wrong = given is None or given.get("weights_only") is not True
        else:
            wrong = function == "extractall" or (given or {}).get("shell") is True
        if wrong:
            yield f"{name}: {what}"


def test_no_source_calls_what_runs_what_it_reads():
    assert len(SOURCES) > 400
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in SOURCES}
    trees = {name: ast.parse(text) for name, text in texts.items() if WORDS.search(text)}
    assert [fault for name, tree in trees.items() for fault in faults_of(name, tree)] == []


@pytest.mark.parametrize(
    "code",
    [
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
        "torch.load(x)",
        "pickle.load(x)",
        "eval(x)",
        "archive.extractall()",
    ],
)
def test_such_a_call_would_be_found(code):
    assert WORDS.search(code)
    assert list(faults_of("biot_bd/io/x.py", ast.parse(code)))


def test_the_exceptions_are_still_there():
    """One that is gone must leave the list, or it hides the next."""
    for name, called in ALLOWED:
        assert called in [one for one, _ in mentions(ast.parse((ROOT / name).read_text(encoding="utf-8")))]


# --- planted --------------------------------------------------------------------------------------


def pickled(marker):
    return pickle.dumps(marker)


def npy_of_objects(marker):
    file = io.BytesIO()
    np.save(file, np.array([marker], object), allow_pickle=True)
    return file.getvalue()


def npz_of_objects(marker):
    file = io.BytesIO()
    names = ("x", "present", "probabilities", "about", "facts", "values")
    np.savez(file, **{name: np.array([marker], object) for name in names})
    return file.getvalue()


def torch_file(marker):
    file = io.BytesIO()
    torch.save({"state_dict": marker}, file)
    return file.getvalue()


def old_torch_file(marker):
    file = io.BytesIO()
    torch.save({"state_dict": marker}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def archive_with_a_pickle(marker):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(marker))
        archive.writestr("x.npy", npy_of_objects(marker))
    return file.getvalue()


KINDS = [pickled, npy_of_objects, npz_of_objects, torch_file, old_torch_file, archive_with_a_pickle]
"""Every form in which a pickle is known to travel."""
READERS = {
    **{
        f"recording{ending}": open_recording for ending in ".edf .bdf .set .fif .vhdr .lay .cnt .eeg .dat .nedf".split()
    },
    **{f"events{ending}": read_event_file for ending in (".tsv", ".csv_bi", ".edf")},
    "weights.ckpt": load_checkpoint,
    "weights.pt": load_checkpoint,
    "weights.safetensors": load_checkpoint,
    "pytorch_model.bin": lambda path: BIOT.from_checkpoint(path),
    "x.npy": read_npy,
    "x.npz": read_npz,
    "array.npy": lambda path: open_array(path, sfreq=100, unit="uV", ch_names=["C3"]).get_data(),
    "array.npz": lambda path: open_array(path, sfreq=100, unit="uV", ch_names=["C3"], key="x").get_data(),
    "maps.npz": load_maps,
    "map.npz": TokenMap.load,
    "table.parquet": read_table,
    "annotations_2017_A.mat": read_expert,
    "plan.toml": read_plan,
    "plan.json": read_plan,
    "x_detection.json": read_detection,
    "group/group.json": lambda path: MapGroup.load(path.parent),
    "group/values.npy": lambda path: MapGroup.load(path.parent),
    "embedded/embedding.json": lambda path: read_embeddings(path.parent),
    "arrays/arrays.json": lambda path: load_arrays(path.parent),
    "run/run.json": lambda path: Result.open(path.parent),
    "run/predictions.parquet": lambda path: Result.open(path.parent),
    "store/manifest.json": lambda path: Windows.open(path.parent),
    "pretrained/pretraining.json": lambda path: load_pretraining(path.parent),
    "exported/artifact.json": lambda path: read_artifact(path.parent),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    marker = Marker(tmp_path_factory.mktemp("marker") / "it went off")
    with pytest.raises(RuntimeError, match="unpickled"):  # it would go off
        pickle.loads(pickled(marker))
    Path(marker.path).unlink()
    return marker, {kind.__name__: kind(marker) for kind in KINDS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_pickle_in_the_place_of_a_file_does_not_go_off(planted, tmp_path, name):
    marker, contents = planted
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for kind, content in contents.items():
        path.write_bytes(content)
        with pytest.raises((ValueError, OSError)):
            READERS[name](path)
        assert not Path(marker.path).exists(), kind


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "model"
    save_small_model(folder)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["model.safetensors", "pipeline.json", "config.json", "events.json"])
def test_a_pickle_in_a_saved_model_does_not_go_off(planted, model, tmp_path, name):
    marker, contents = planted
    for kind, content in contents.items():
        folder = shutil.copytree(model, tmp_path / kind)
        (folder / name).write_bytes(content)
        for read in (load_pipeline, load_scorer, load_event_detector, Detector.load):
            with contextlib.suppress(ValueError, OSError):
                read(folder)
        assert main(["models", "audit", str(folder)]) in (0, 1)
        assert not Path(marker.path).exists(), kind


@pytest.mark.parametrize("text", ["os:system", "builtins:eval", "subprocess:Popen"])
def test_a_description_that_names_other_code_imports_none(model, tmp_path, text):
    folder = shutil.copytree(model, tmp_path / "model")
    described = (folder / "pipeline.json").read_text()
    assert '"biot_bd:BIOTClassifier"' in described
    (folder / "pipeline.json").write_text(described.replace("biot_bd:BIOTClassifier", text))
    with pytest.raises(ValueError, match=r"may not be loaded|names"):
        load_pipeline(folder)


def test_an_edf_is_still_read_as_one(tmp_path):
    """The readers above refuse pickles, not files of their kind."""
    assert open_recording(edf_of(tmp_path / "recording.edf")).sfreq == 256
