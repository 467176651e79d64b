"""A folder of embedded windows, its pictures, and what is said where a file is damaged."""

import json

import numpy as np
import pytest

from biot_bd.embedding import map_figure, read_embeddings, windows_figure
from biot_bd.exceptions import EmbeddingCacheError


@pytest.fixture
def folder(tmp_path):
    """A folder as `write_embeddings` makes it, of three windows."""
    import pandas as pd

    np.save(tmp_path / "embeddings.npy", np.eye(3, dtype=np.float32))
    table = {"recording": ["r"] * 3, "subject": ["a", "a", "b"], "start_s": [0.0, 10, 0], "label": [0, 1, 0]}
    pd.DataFrame(table).to_parquet(tmp_path / "table.parquet")
    (tmp_path / "clusters.json").write_text("null")
    (tmp_path / "nearest.json").write_text("[]")
    facts = {
        "format": "biot-bd embedded windows",
        "version": 1,
        "windows": {},
        "model": {},
        "steps": [],
        "shape": [3, 3],
    }
    facts |= {"provenance": {}, "cache": None, "map": None, "metric": "cosine"}
    (tmp_path / "embedding.json").write_text(json.dumps(facts))
    return tmp_path


def test_a_folder_is_read_as_it_is(folder):
    made = read_embeddings(folder)
    assert np.array_equal(made.embeddings, np.eye(3))
    assert made.table["subject"].tolist() == ["a", "a", "b"]
    assert isinstance(made.embeddings, np.memmap)


@pytest.mark.parametrize("name", ["embeddings.npy", "table.parquet", "clusters.json", "nearest.json", "embedding.json"])
def test_a_damaged_file_is_told_with_its_folder(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2] + b"{")
    with pytest.raises(EmbeddingCacheError, match=str(folder)):
        read_embeddings(folder)


def test_rows_and_embeddings_must_be_of_one_call(folder):
    np.save(folder / "embeddings.npy", np.eye(4, dtype=np.float32))
    with pytest.raises(EmbeddingCacheError, match="run the same `biot-bd embed` again"):
        read_embeddings(folder)


def test_a_newer_format_is_not_guessed_at(folder):
    facts = json.loads((folder / "embedding.json").read_text()) | {"version": 2}
    (folder / "embedding.json").write_text(json.dumps(facts))
    with pytest.raises(EmbeddingCacheError, match="install a newer one"):
        read_embeddings(folder)


@pytest.mark.parametrize("width_px", [320, 620])
def test_a_map_names_the_most_frequent_and_counts_the_rest(width_px):
    names = np.repeat([f"clinic/{i:02d}" for i in range(15)], range(1, 16))
    places = np.random.default_rng(0).normal(size=(len(names), 2))
    figure = map_figure(places, names, title="Windows by subject", said="Silhouette 0.1.", width_px=width_px)
    (axis,) = figure.axes
    shown = [text.get_text() for text in axis.get_legend().get_texts()]
    assert shown[0] == "3 more"
    assert shown[1:] == [f"clinic/{i:02d} ({i + 1})" for i in range(3, 15)]
    drawn = np.concatenate([points.get_offsets() for points in axis.collections])
    assert len(drawn) == len(names)
    assert figure.get_label().endswith("and of 3 more. Silhouette 0.1.")
    figure.canvas.draw()


@pytest.mark.parametrize("width_px", [320, 1100])
def test_windows_are_drawn_with_negative_up_and_absent_channels_empty(width_px):
    x = np.zeros((2, 100), np.float32)
    x[0, 40:60] = -50
    other = x.copy()
    other[1] = np.nan
    figure = windows_figure([x, other], ["asked", "nearest"], ["C3", "C4"], 100, title="Windows", width_px=width_px)
    first, second = figure.axes
    up = first.lines[0].get_ydata()
    bottom, top = first.get_ylim()
    assert bottom > top  # rows are counted downwards
    assert up[50] < up[0]
    assert np.isnan(second.lines[1].get_ydata()).all()
    assert first.lines[0].get_xdata()[-1] == pytest.approx(0.99)
    assert "asked; nearest" in figure.get_label()
    figure.canvas.draw()
