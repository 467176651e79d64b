"""The commands on windows of several classes, and on corpora of different montages."""

import json

import numpy as np
import pytest

from biot_bd import Windows, registry
from biot_bd.cli import main
from biot_bd.runs import read_json

TINY = [f"module__{name}={value}" for name, value in {"embed_dim": 16, "num_heads": 2, "num_layers": 1}.items()]
SIZES = [text for size in TINY for text in ("--param", size)]


def arrays(folder, space, ch_names):
    """Write three subjects of 60 s whose rhythm says the class, 200 Hz."""
    folder.mkdir()
    rng, t, entries = np.random.default_rng(len(space)), np.arange(12_000) / 200, []
    for subject in ("1", "2", "3"):
        hz = np.repeat([3.0, 9.0, 20.0], 4000)
        x = rng.normal(0, 15, (len(ch_names), 12_000)) + 30 * np.sin(2 * np.pi * hz * t)
        np.save(folder / f"{subject}.npy", x.astype(np.float32))
        marks = [[20.0 * k, 20.0, name] for k, name in enumerate(("rest", "left", "right"))]
        entries.append({"file": f"{subject}.npy", "subject": subject, "annotations": marks})
    about = {"format": "biot_bd arrays", "sfreq": 200, "unit": "uV", "ch_names": list(ch_names), "namespace": space}
    (folder / "arrays.json").write_text(json.dumps({**about, "recordings": entries}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    root = tmp_path_factory.mktemp("several")
    made = []
    for space, montage, labels in (("lab", "biot-16", "annotated"), ("ward", "szcore-19", "none")):
        source = arrays(root / space, space, registry.montages[montage].ch_names)
        cut = ["--montage", montage, "--labels", labels, "--window-s", "2", "--stride-s", "2"]
        assert main(["prepare", "arrays", str(source), "-o", str(root / f"{space}-w"), *cut]) == 0
        made.append(root / f"{space}-w")
    return made


def test_prepare_tells_the_windows_of_each_class(stores, capsys):
    source = stores[0].with_name("lab")
    cut = ["--labels", "annotated", "--window-s", "2", "--stride-s", "2", "--json"]
    assert main(["prepare", "arrays", str(source), "-o", str(stores[0]), *cut]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["classes"] == ["left", "rest", "right"]
    each = {"n_windows": 30, "n_left_windows": 10, "n_rest_windows": 10, "n_right_windows": 10}
    assert facts["subjects"] == {f"lab/{k}": each for k in (1, 2, 3)}


@pytest.mark.slow
def test_cv_takes_the_classes_of_the_windows_and_writes_their_page(stores, tmp_path):
    settings = ["--cv", "subject-kfold-3", "--epochs", "2", "--batch-size", "16", "--lr", "0.01", "--seed", "0", *SIZES]
    assert main(["cv", str(stores[0]), "-o", str(tmp_path / "run"), *settings]) == 0
    run = read_json(tmp_path / "run/run.json")
    assert run["data"]["classes"] == ["left", "rest", "right"]
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert 'data-class="left" data-as="right"' in page


def test_pretrain_draws_batches_from_stores_of_other_montages_by_weight(stores, tmp_path):
    weights = ["--corpus-weights", "lab=1", "--corpus-weights", "ward=3"]
    settings = ["--epochs", "1", "--batch-size", "16", "--validation-fraction", "0", *SIZES]
    assert main(["pretrain", *map(str, stores), "-o", str(tmp_path / "run"), *weights, *settings]) == 0
    facts = read_json(tmp_path / "run/pretraining.json")
    mixed = Windows.mix([Windows.open(store) for store in stores])
    assert facts["input_info"]["ch_names"] == list(mixed.ch_names)
    assert len(mixed.ch_names) == 16 + 19
    assert facts["record"]["data"]["shape"] == list(mixed.shape)
    assert len(facts["train_subjects"]) == 6


@pytest.mark.parametrize("weights", [["lab=1"], ["lab=1", "home=1"], ["lab", "ward=1"], ["lab=1", "lab=2"]])
def test_weights_that_do_not_fit_the_stores_are_told(stores, tmp_path, weights, capsys):
    options = [text for weight in weights for text in ("--corpus-weights", weight)]
    assert main(["pretrain", *map(str, stores), "-o", str(tmp_path / "run"), *options, "--epochs", "1", *SIZES]) != 0
    told = capsys.readouterr().err
    assert "--corpus-weights" in told or "weights are for the corpora" in told
