"""Blocks of code in the pages run as they stand, on generated recordings and with a tiny model."""

import re
import shutil
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Pages with tests of their own: hooks and tutorial in test_docs.py, the others beside what they are about.
ELSEWHERE = {
    "deploy",
    "hooks",
    "finetune-your-own",
    "tutorial-plugin",
    "events",
    "finetuning-strategies",
    "model-stores",
}
PAGES = sorted(
    path
    for path in (ROOT / "docs").glob("*.md")
    if path.stem not in ELSEWHERE
    and not path.stem.startswith("tutorial-plugin-")
    and FENCE.search(path.read_text(encoding="utf-8"))
)
SIZE = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}


@pytest.fixture(scope="module")
def user(tmp_path_factory, one_thread):
    """A user's folder: recordings, windows, a saved model; and what pages take for given."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, load_dataset, prepare, save_pipeline

    folder = tmp_path_factory.mktemp("pages")
    recordings = load_dataset("demo", folder / "demo", n_subjects=3, recordings=1, minutes=4)
    windows = prepare(recordings, folder / "prepared")
    torch.manual_seed(0)
    classifier = BIOTClassifier(max_epochs=1, verbose=0, random_state=0, **SIZE)
    pipeline = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier).fit(windows, windows.y)
    for name in ("model", "models/mine"):
        save_pipeline(pipeline, folder / name)
    edf = next((folder / "demo").glob("demo01/*.edf"))
    (folder / "recordings").mkdir()
    shutil.copy(edf, folder / "recordings" / "sub-01_eeg.edf")
    return folder, {"recordings": recordings, "windows": windows, "pipeline": pipeline}


def run(path, given):
    names = {"__name__": path.stem, **given}
    for number, code in enumerate(FENCE.findall(path.read_text(encoding="utf-8")), start=1):
        exec(compile(code, f"{path.name}, block {number}", "exec"), names)
    return names


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_blocks_of_a_page_run(path, user, monkeypatch):
    folder, given = user
    monkeypatch.chdir(folder)
    ch_names, sfreq = list(given["windows"].ch_names), 256.0
    x = torch.randn(len(ch_names), 30 * 256, generator=torch.Generator().manual_seed(0)).numpy() * 30
    run(path, {**given, "ch_names": ch_names, "sfreq": sfreq, "x": x, "microvolts": x})


def test_the_functions_of_the_page_on_scores_do_what_it_says(user, monkeypatch):
    from biot_bd import cross_validate
    from biot_bd.evaluation import baseline

    folder, given = user
    monkeypatch.chdir(folder)
    windows = given["windows"]
    names = run(ROOT / "docs" / "evaluation.md", given)
    model = baseline("line-length", windows)
    assert 0 <= names["tuned"](model, windows).best_threshold_ <= 1
    result = cross_validate(model, windows, progress=False)
    interval, events = names["intervals"](result)
    assert interval["low"] <= interval["value"] <= interval["high"]
    assert events is not None
