"""The smallest use of each optional part, in an environment that has the core and this part alone.

A use takes the environment and the folder of what the core made: ``windows``, ``recordings`` and a
``model``.  A part without a use here fails ``make dist``.
"""

from collections.abc import Callable
from pathlib import Path

from fresh_environments import ROOT, Environment, check

CLEAN = """
import sys
from pathlib import Path
import mne, numpy as np
from biot_bd import AdaptiveCleaner
path = sorted(Path(sys.argv[1]).rglob("*.edf"))[0]
raw = mne.io.read_raw_edf(path, verbose="ERROR").crop(0, 70).load_data()
print(len(AdaptiveCleaner(burst_threshold="autoreject").report(raw).absent))
rng = np.random.default_rng(0)
names = "Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T7 T8 P7 P8 Fz Cz Pz".split()
common = rng.standard_normal(200 * 61)
x = 2e-5 * (common + 0.3 * rng.standard_normal((19, common.size)))
x[3] = 1e-9 * rng.standard_normal(common.size)
raw = mne.io.RawArray(x, mne.create_info(names, 200, "eeg"), verbose="ERROR")
print(AdaptiveCleaner(bursts="none", channels="pyprep").report(raw).absent)
"""
DOCS = "import myst_parser, numpydoc, pydata_sphinx_theme, sphinx_gallery.gen_gallery, sphinx.cmd.build as b; b.main(['--version'])"
HUB = """
from biot_bd.exceptions import HubError
from biot_bd.models.checkpoints.hub import fetch
try:
    fetch("owner/name", endpoint="http://127.0.0.1:9", offline=True)
except HubError as error:
    assert "not installed" not in str(error) and "pip install" not in str(error), error
    print(error)
"""
LIVE = """
import threading
import numpy as np
import mne_lsl.lsl as lsl
from biot_bd.deploy.live import Chunk
from biot_bd.deploy.live.lsl import LslSource
info = lsl.StreamInfo("dist", "EEG", 2, 100, "float32", "dist-source")
info.set_channel_names(["C3", "C4"])
info.set_channel_units(["uV", "uV"])
outlet = lsl.StreamOutlet(info)
def send():
    outlet.wait_for_consumers(timeout=20)
    outlet.push_chunk(np.full((200, 2), 7, np.float32))
threading.Thread(target=send, daemon=True).start()
items = LslSource("dist", wait_s=20).chunks(["C3", "C4"])
found = next(item for item in items if isinstance(item, Chunk) and item.x.size)
assert (found.x == 7).all() and found.sfreq == 100, found
"""
BENCH = "import datasets, psutil, pyedflib, transformers; print(transformers.__version__)"


def _explain(environment: Environment, made: Path) -> None:
    words = ("explain", made / "model", made / "windows", "--probe", "saliency", "-o", made / "explained")
    environment.biot_bd(*words)
    check((made / "explained" / "explain.html").is_file(), "explain wrote no page")


def _export(environment: Environment, made: Path) -> None:
    (recording, *_) = sorted((made / "recordings").rglob("*.edf"))
    for engine in ("onnx", "openvino"):
        exported = made / f"exported-{engine}"
        environment.biot_bd("export", made / "model", "--format", engine, "-o", exported)
        environment.biot_bd("detect", exported, recording, "-o", made / f"detected-{engine}", "--engine", engine)
        check(any((made / f"detected-{engine}").rglob("*_events.tsv")), f"{engine}: no table of events")


def _lora(environment: Environment, made: Path) -> None:
    sizes = ("--param", "module__embed_dim=16", "--param", "module__num_layers=1", "--param", "module__num_heads=2")
    words = ("train", made / "windows", "-o", made / "lora", "--finetune", "lora", "--epochs", "1", *sizes)
    environment.biot_bd(*words)


def _maps(environment: Environment, made: Path) -> None:
    words = ("embed", made / "windows", "--pretrained", made / "model", "--map", "umap", "-o", made / "embedded")
    environment.biot_bd(*words)


def _scale(environment: Environment, made: Path) -> None:
    sizes = ("--param", "module__embed_dim=16", "--param", "module__num_layers=1", "--param", "module__num_heads=2")
    shape = ("--engine", "optuna", "--trials", "2", "--cv", "subject-kfold-2", "--inner-cv", "subject-kfold-2")
    words = ("search", made / "windows", "-o", made / "searched", "--grid", "lr=1e-4,1e-3", "--epochs", "1")
    environment.biot_bd(*words, *shape, *sizes, "--backend", "dask", "--jobs", "1")
    environment.code("import accelerate, dask_jobqueue, submitit")


def _test(environment: Environment, made: Path) -> None:
    """Run quick tests of the tree against the installed wheel."""
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", ROOT / "pyproject.toml")
    files = [ROOT / "tests" / name for name in ("test_losses.py", "test_number_texts.py")]
    environment.run_python(*words, *files)


USES: dict[str, Callable[[Environment, Path], object]] = {
    "clean": lambda environment, made: environment.code(CLEAN, made / "recordings"),
    "docs": lambda environment, made: environment.code(DOCS),
    "explain": _explain,
    "export": _export,
    "bench": lambda environment, made: environment.code(BENCH),
    "hub": lambda environment, made: environment.code(HUB),
    "live": lambda environment, made: environment.code(LIVE),
    "lora": _lora,
    "maps": _maps,
    "scale": _scale,
    "test": _test,
}
