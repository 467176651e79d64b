"""``biot-bd embed``: embeddings, clusters, map and page of a store, and what is kept."""

import json

import numpy as np
import pandas as pd
import pytest
from cheap_pictures import take_no_pictures
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, Embedder, PercentileScaler, Windows, load_dataset, prepare, save_pipeline
from biot_bd.cli import main
from biot_bd.embedding import cache_entries, read_embeddings
from biot_bd.signals import FixedScaler

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = {"embed_dim": 16, "num_heads": 2, "num_layers": 2}
TINY = [word for key, value in SIZE.items() for word in ("--param", f"{key}={value}")]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("embed")
    recordings = load_dataset("demo", root / "demo", n_subjects=2, recordings=1, minutes=2)
    return prepare(recordings, root / "windows", stride_s=10).folder


@pytest.fixture(scope="module")
def out(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "embeddings"
    with pytest.MonkeyPatch.context() as patch:
        take_no_pictures(patch)
        assert main(["embed", str(store), "-o", str(folder), "--map", "pca", "--device", "cpu", *TINY]) == 0
    return folder


def test_the_folder_holds_what_an_embedder_gives(out, store):
    windows = Windows.open(store).map(PercentileScaler())
    expected = Embedder(module_params=SIZE, device="cpu", cache=False).fit_transform(windows)
    found = np.load(out / "embeddings.npy", allow_pickle=False)
    assert np.array_equal(found, expected)
    table = pd.read_parquet(out / "table.parquet")
    assert table["start_s"].tolist() == windows.metadata["start_s"].tolist()
    assert np.isfinite(table[["map_x", "map_y"]].to_numpy()).all()
    facts = json.loads((out / "embedding.json").read_text())
    assert facts["windows"]["fingerprint"] == Windows.open(store).fingerprint
    assert facts["steps"] == ["PercentileScaler(on_bad='drop')"]
    assert facts["provenance"]["trained_on"] == []
    assert facts["shape"] == [len(windows), 16]


def test_the_page_tells_the_numbers_and_that_data_are_generated(out):
    text = (out / "report.html").read_text(encoding="utf-8")
    clusters = json.loads((out / "clusters.json").read_text())
    assert clusters["sentence"] in text
    assert "Generated data: not a clinical result" in text
    assert "https:" not in text
    assert "http:" not in text.replace("http://www.w3.org/", "")
    for one in json.loads((out / "nearest.json").read_text()):
        assert one["of_other_subjects"]
        table = pd.read_parquet(out / "table.parquet")
        assert set(table["subject"][one["neighbours"]]) != {table["subject"][one["query"]]}


def test_report_makes_the_page_again_and_says_where_windows_are_gone(out, store, cheap_pictures, tmp_path, capsys):
    assert main(["report", str(out)]) == 0
    assert "EEG cannot be drawn" not in (out / "report.html").read_text(encoding="utf-8")
    facts = json.loads((out / "embedding.json").read_text())
    before = (out / "embedding.json").read_text()
    facts["windows"]["fingerprint"] = "0" * 16
    (out / "embedding.json").write_text(json.dumps(facts))
    try:
        assert main(["report", str(out)]) == 0
        assert "are others now than those that were embedded" in (out / "report.html").read_text(encoding="utf-8")
    finally:
        (out / "embedding.json").write_text(before)


def test_the_same_call_computes_nothing_again_and_json_is_all_there_is(store, out, cheap_pictures, capsys, monkeypatch):
    from biot_bd.embedding.frozen_network import FrozenNetwork

    monkeypatch.setattr(FrozenNetwork, "embed_usable", None)
    assert main(["embed", str(store), "-o", str(out), "--map", "pca", "--device", "cpu", *TINY, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shape"] == [24, 16]
    assert told["clusters"]["subject"]["n_groups"] == 2


def test_tokens_of_a_saved_model_come_behind_its_own_steps(store, tmp_path, cheap_pictures):
    windows = Windows.open(store)
    net = BIOTClassifier("eegconformer", max_epochs=1, train_split=None, device="cpu", random_state=0, verbose=0)
    model = save_pipeline(make_pipeline(FixedScaler(50), net).fit(windows, windows.y), tmp_path / "model")
    command = ["embed", str(store), "-o", str(tmp_path / "out"), "--pretrained", str(model), "--pooling", "tokens"]
    assert main([*command, "--device", "cpu", "--cache", str(tmp_path / "cache")]) == 0
    made = read_embeddings(tmp_path / "out")
    assert made.facts["steps"] == [repr(FixedScaler(50))]
    assert made.embeddings.ndim == 3
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The weights were trained on 2 of these subjects" in text
    assert len(cache_entries(tmp_path / "cache")) == 1


def test_what_is_kept_is_listed_and_removed(store, tmp_path, capsys):
    windows = Windows.open(store).map(PercentileScaler())
    Embedder(module_params=SIZE, device="cpu", cache=tmp_path, random_state=5).fit_transform(windows)
    kept = ["embed", str(store), "--cache", str(tmp_path)]
    assert main([*kept, "--list"]) == 0
    said = capsys.readouterr().out
    assert "24 of 24 windows" in said
    assert main([*kept, "--list", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert main([*kept, "--remove", one["key"]]) == 0
    assert main([*kept, "--list"]) == 0
    assert "no embeddings are kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--map", "lda", "-o", "OUT"], "umap"),
        (["--layer", "9", "-o", "OUT"], "transformer layers"),
        (["--model", "eegnet", "--layer", "0", "-o", "OUT"], "only layer=None"),
        ([], "--output"),
        (["--remove", "0a"], "no embeddings '0a' here"),
    ],
)
def test_wrong_wishes_are_named_in_a_line(store, words, said, tmp_path, capsys):
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    tiny = [] if "eegnet" in words else TINY
    assert main(["embed", str(store), "--cache", str(tmp_path / "cache"), "--device", "cpu", *tiny, *words]) != 0
    assert said in capsys.readouterr().err


def test_a_folder_of_other_things_is_left_alone(store, tmp_path, capsys):
    (tmp_path / "notes.txt").touch()
    assert main(["embed", str(store), "-o", str(tmp_path), *TINY]) != 0
    assert "holds no embeddings (notes.txt)" in capsys.readouterr().err
