"""The page "Fine-tune BIOT on your own data": its blocks run, in order, on generated EDFs with a tiny model."""

import re
from pathlib import Path

import edfio
import numpy as np
import pandas as pd
import pytest
import torch

from biot_bd.models import BIOT
from biot_bd.models.checkpoints.saving import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "finetune-your-own.md"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SIZE = {"embed_dim": 16, "num_heads": 2, "num_layers": 1, "hop_length": 200}
EDIT = {
    'checkpoint = "prest-16"': 'checkpoint = "tiny.ckpt"',
    "max_epochs=20, batch_size=64, **settings": "max_epochs=1, batch_size=64, **sized(settings)",
    "seeds=(0, 1)": "seeds=(0,)",
}


def sized(settings):
    """Give the model from scratch the size of the tiny checkpoint."""
    if "pretrained" in settings:
        return settings
    return {**{f"module__{name}": value for name, value in SIZE.items()}, **settings}


def write_recordings(folder, ch_names):
    """Three subjects, one of them with two visits: 80 s at 200 Hz, a seizure from 20 to 50 s."""
    folder.mkdir()
    for seed, name in enumerate(("p01_1", "p02_1", "p03_1", "p03_2")):
        rng = np.random.default_rng(seed)
        x = rng.normal(0, 20, (len(ch_names), 80 * 200))
        x[:, 20 * 200 : 50 * 200] += 80 * np.sin(2 * np.pi * 4 * np.arange(30 * 200) / 200)
        signals = [
            edfio.EdfSignal(row, 200, label=label, physical_dimension="uV", physical_range=(-400, 400))
            for row, label in zip(np.clip(x, -399, 399), ch_names, strict=True)
        ]
        edfio.Edf(signals).write(folder / f"{name}.edf")
        table = pd.DataFrame({"onset": [20.0], "duration": [30.0], "eventType": ["sz"]})
        table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the page; return what its blocks defined, and the folder."""
    from biot_bd import registry

    ch_names = tuple(registry.montages["biot-16"].ch_names)
    folder = tmp_path_factory.mktemp("own-data")
    write_recordings(folder / "recordings", ch_names)
    torch.manual_seed(0)
    model = BIOT(n_outputs=2, n_chans=16, n_times=2000, sfreq=200, **SIZE)
    save_checkpoint(model, folder / "tiny.ckpt", ["elsewhere/01"], ch_names=ch_names)
    names = {"sized": sized, "__name__": "own_data"}
    text = PAGE.read_text(encoding="utf-8")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, code in enumerate(FENCE.findall(text), start=1):
            for old, new in EDIT.items():
                code = code.replace(old, new)
            exec(compile(code, f"{PAGE.name}, block {number}", "exec"), names)
    torch.set_num_threads(threads)
    return names, folder


def test_the_blocks_hold_what_the_test_makes_smaller():
    text = "".join(FENCE.findall(PAGE.read_text(encoding="utf-8")))
    assert {old: text.count(old) for old in EDIT} == dict.fromkeys(EDIT, 1)


def test_from_an_edf_folder_to_windows_of_subjects(run):
    names, _ = run
    assert sorted(set(names["windows"].groups)) == ["clinic/p01", "clinic/p02", "clinic/p03"]
    assert set(names["dataset"].outcomes["outcome"]) == {"loaded"}


def test_to_a_table_and_a_page(run):
    names, folder = run
    result = names["result"]
    assert list(result.table["regime"].unique()) == ["scratch", "linear-probe", "full"]
    assert result.table.query("average == 'macro'")["value"].notna().all()
    assert len(result.tests) == 9
    assert names["page"] == Path("study/comparison.html")
    assert (folder / "study/comparison.html").is_file()
    for regime in result.regimes:
        runs = list((folder / "study" / regime / "seed-0" / "tensorboard").glob("fold-*"))
        assert len(runs) == 3


def test_the_linear_probe_left_the_encoder_as_it_was(run):
    from biot_bd import load_pipeline

    _, folder = run
    saved = BIOT.from_checkpoint(folder / "tiny.ckpt", n_outputs=2).state_dict()
    models = {
        name: load_pipeline(folder / "study" / name / "seed-0/folds/00/model")[-1].module_.state_dict()
        for name in ("linear-probe", "full")
    }
    encoder = [key for key in saved if key.startswith("encoder.")]
    assert encoder
    assert all(torch.equal(models["linear-probe"][key].cpu(), saved[key]) for key in encoder)
    assert not all(torch.equal(models["full"][key].cpu(), saved[key]) for key in encoder)


def test_the_kept_model_remembers_everybody(run):
    from biot_bd import ContaminationError
    from biot_bd.evaluation.studies.compare_regimes import compare_regimes

    names, folder = run
    from biot_bd.models import provenance_of

    seen = provenance_of(folder / "model")
    assert seen.saw(["clinic/p01", "clinic/p02", "clinic/p03", "elsewhere/01", "clinic/p09"]) == [
        "clinic/p01",
        "clinic/p02",
        "clinic/p03",
        "elsewhere/01",
    ]
    again = {"scratch": names["pipeline"](), "again": names["pipeline"](pretrained=str(folder / "model"))}
    with pytest.raises(ContaminationError, match="clinic/p01"):
        compare_regimes(names["windows"], again, folder / "again", progress=False)
    assert not (folder / "again").exists()
