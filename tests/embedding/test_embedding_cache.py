"""Embeddings on disk: computed once, resumed, shared, checked."""

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from edf_files import write_edf
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from biot_bd import Embedder, PercentileScaler, Windows, cross_validate, load_dataset, prepare
from biot_bd.embedding import EmbeddingCache, cache_entries, remove_entry
from biot_bd.embedding import cache as cache_module
from biot_bd.embedding.own_code import own_code
from biot_bd.exceptions import EmbeddingCacheError
from biot_bd.signals import FixedScaler, Montage

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = {"embed_dim": 8, "num_heads": 2, "num_layers": 1, "hop_length": 100}
EDF = "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2".split()


def stored(root, seed, subjects=("a", "b", "c")):
    for number, subject in enumerate(subjects):
        path = root / f"clinic{seed}" / subject / "rec1.edf"
        write_edf(path, EDF, seconds=30, sfreq=100, seed=10 * seed + number, annotations=[(10, 10, "sz")])
    recordings = load_dataset("recordings-folder", root / f"clinic{seed}")
    return prepare(recordings, root / f"windows{seed}", sfreq=100, window_s=5, stride_s=5)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("store"), 1)


@pytest.fixture
def tiny(tmp_path):
    return Embedder(module_params=SIZE, device="cpu", cache=tmp_path / "cache")


@pytest.fixture
def calls(monkeypatch):
    """The rows of every window that a model is given."""
    from biot_bd.embedding.frozen_network import FrozenNetwork

    seen, original = [], FrozenNetwork.embed_usable

    def embed(self, whole, rows, shape):
        seen.extend(rows.tolist())
        return original(self, whole, rows, shape)

    monkeypatch.setattr(FrozenNetwork, "embed_usable", embed)
    return seen


def test_folds_and_probes_share_what_was_computed_once(windows, tiny, calls):
    for probe in (LogisticRegression(), LogisticRegression(C=0.1)):
        cross_validate(make_pipeline(PercentileScaler(), tiny, probe), windows)
    assert sorted(calls) == list(range(len(windows)))


def test_a_selection_reads_its_rows_in_its_order(windows, tiny):
    mapped = windows.map(PercentileScaler())
    whole = tiny.fit_transform(mapped)
    rows = [7, 2, 11, 2]
    assert np.array_equal(tiny.transform(mapped[rows]), whole[rows])
    assert tiny.transform(mapped[rows]).groups.tolist() == windows.groups[rows].tolist()
    assert tiny.transform(mapped[rows]).row_ids.tolist() == windows.row_ids[rows].tolist()


def test_what_is_kept_is_what_is_computed(windows, tiny):
    mapped = windows.map(PercentileScaler())
    direct = Embedder(module_params=SIZE, device="cpu", cache=False)
    assert np.array_equal(tiny.fit_transform(mapped), direct.fit_transform(mapped))
    np.testing.assert_allclose(tiny.transform(mapped), direct.transform(np.asarray(mapped)), atol=1e-5)
    with pytest.raises(ValueError, match="not kept"):
        direct.cache_of(mapped)


def test_only_parts_that_are_asked_for_are_computed(windows, tiny, calls, monkeypatch):
    monkeypatch.setattr(cache_module, "PART", 4)
    tiny.fit_transform(windows.map(PercentileScaler())[[5, 6]])
    assert calls == [4, 5, 6, 7]


def test_windows_of_two_stores_are_kept_each_with_its_own(windows, tmp_path, calls):
    other = stored(tmp_path, 2, subjects=("d", "e"))
    embedder = Embedder(module_params=SIZE, device="cpu")
    both = Windows.concat([windows, other]).map(PercentileScaler())[::-1]
    joined = embedder.fit_transform(both)
    n = len(calls)
    parts = [embedder.transform(part.map(PercentileScaler())) for part in (windows, other)]
    assert np.array_equal(np.concatenate(parts)[::-1], joined)
    assert len(calls) == n
    assert [len(cache_entries(part.folder / "embeddings")) for part in (windows, other)] == [1, 1]


def test_corpora_of_other_channels_are_kept_as_one(windows, tmp_path, calls):
    write_edf(tmp_path / "four" / "d" / "rec1.edf", EDF[:4], seconds=20, sfreq=100)
    montage = Montage("four", ("Fp1-F7", "F7-T7", "T7-P7", "P7-O1"), "bipolar")
    recordings = load_dataset("recordings-folder", tmp_path / "four", unlisted="background")
    few = prepare(recordings, tmp_path / "w", montage=montage, sfreq=100, window_s=5, stride_s=5)
    mixed = Windows.mix([windows, few]).map(PercentileScaler())
    embedder = Embedder(module_params=SIZE, device="cpu", cache=tmp_path / "cache")
    whole = embedder.fit_transform(mixed)
    n = len(calls)
    assert np.array_equal(embedder.transform(mixed[::-2]), whole[::-2])
    assert len(calls) == n == len(mixed)


def test_other_steps_weights_or_layers_have_a_place_of_their_own(windows, tmp_path):
    made = {}
    for name, step, params in (
        ("first", PercentileScaler(), {}),
        ("step", FixedScaler(100), {}),
        ("weights", PercentileScaler(), {"random_state": 1}),
        ("layer", PercentileScaler(), {"layer": 0}),
        ("tokens", PercentileScaler(), {"pooling": "tokens"}),
        ("heads", PercentileScaler(), {"module_params": {**SIZE, "num_heads": 4}}),
        ("precision", PercentileScaler(), {"precision": "bf16"}),
    ):
        embedder = Embedder(**{"module_params": SIZE, "device": "cpu", "cache": tmp_path, **params})
        mapped = windows.map(step)
        made[name] = embedder.fit(mapped).cache_of(mapped).key
    assert len(set(made.values())) == len(made), made
    again = Embedder(module_params=SIZE, device="cpu", cache=tmp_path).fit(windows.map(PercentileScaler()))
    assert again.cache_of(windows.map(PercentileScaler())).key == made["first"]


def test_windows_that_a_selection_leaves_out_need_not_be_usable(tmp_path):
    """Parts are computed as a whole, also where some of their windows cannot be embedded."""
    for number in range(3):
        seizure = [(10, 10, "sz")]
        write_edf(tmp_path / "c" / f"s{number}" / "r.edf", EDF[: 4 - number % 2], 30, 100, number, annotations=seizure)
    montage = Montage("four", ("Fp1-F7", "F7-T7", "T7-P7", "P7-O1"), "bipolar")
    asked = {"montage": montage, "sfreq": 100, "window_s": 5, "stride_s": 5, "on_missing": "drop"}
    windows = prepare(load_dataset("recordings-folder", tmp_path / "c"), tmp_path / "w", **asked)
    whole = windows.present.all(axis=1)
    assert 0 < whole.sum() < len(whole)
    mapped = windows.map(PercentileScaler())
    kept = Embedder("eegnet", device="cpu").fit(mapped[whole])
    direct = Embedder("eegnet", device="cpu", cache=False).fit_transform(mapped[whole])
    np.testing.assert_allclose(kept.transform(mapped[whole]), direct, atol=1e-6)
    with pytest.raises(ValueError, match="EEGNet cannot leave out absent channels, but window 6 channel P7-O1"):
        kept.transform(mapped)


SOURCE = """
import torch
from biot_bd.signals import WindowTransformer

class Loudness(torch.nn.Module):
    def __init__(self, n_chans, n_outputs):
        super().__init__()
        self.final_layer = torch.nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        return self.final_layer(x.abs().MEAN(-1))

class Gain(WindowTransformer):
    def output_info(self, info):
        return info

    def apply(self, x, present, info):
        return x * FACTOR, present
"""


def test_other_code_of_a_plugins_model_or_step_is_another_place(windows, tmp_path, monkeypatch):
    """Names, parameters and weights stay the same; only what the code computes changes."""
    monkeypatch.syspath_prepend(tmp_path)
    for number, (mean, factor) in enumerate([("mean", "1"), ("sum", "1"), ("sum", "2"), ("sum", "2")]):
        (tmp_path / "clinic_models.py").write_text(
            SOURCE.replace("MEAN", mean).replace("FACTOR", factor) + "#" * number
        )
        sys.modules.pop("clinic_models", None)
        importlib.invalidate_caches()
        module = importlib.import_module("clinic_models")
        mapped = windows.map(module.Gain())
        kept = Embedder(module.Loudness, device="cpu", cache=tmp_path / "cache").fit_transform(mapped)
        assert np.array_equal(kept, Embedder(module.Loudness, device="cpu", cache=False).fit_transform(mapped))
    sys.modules.pop("clinic_models")
    exec(SOURCE.replace("MEAN", "mean").replace("FACTOR", "3"), namespace := {"__name__": "a_notebook"})
    assert list(own_code([namespace["Gain"]])) == ["a_notebook:Gain"]


def test_changed_weights_are_noticed_without_fit(windows, tiny):
    mapped = windows.map(PercentileScaler())
    before = tiny.fit_transform(mapped)
    next(tiny.module_.encoder.parameters()).data.mul_(2)
    assert not np.allclose(tiny.transform(mapped), before)


def test_what_lies_there_is_listed_with_its_cost_and_removed(windows, tiny, tmp_path):
    mapped = windows.map(PercentileScaler())
    tiny.fit_transform(mapped)
    (entry,) = cache_entries(tmp_path / "cache")
    info = tiny.cache_info(mapped)
    assert entry.complete
    assert entry.n_rows == len(windows)
    assert entry.shape == (8,)
    assert entry.identity["model"] == "biot"
    assert info["keys"] == [entry.folder.name]
    assert info["seconds"] == entry.seconds > 0
    assert info["n_windows"] == len(windows)
    assert info["n_bytes"] == entry.n_bytes >= 4 * 8 * len(windows)
    assert remove_entry(tmp_path / "cache", entry.folder.name) == entry.n_bytes
    assert cache_entries(tmp_path / "cache") == []
    with pytest.raises(FileNotFoundError, match="there are none"):
        remove_entry(tmp_path / "cache", entry.folder.name)


# ---- the files themselves ----


def rows_of(start, stop):
    return np.arange(start, stop, dtype=np.float32)[:, None] * [1, 10]


@pytest.fixture
def kept(tmp_path):
    cache = EmbeddingCache(tmp_path, {"model": "rows"}, n_rows=1100, shape=(2,))
    cache.rows(np.arange(1100), rows_of)
    return cache


def reopened(cache):
    cache_module._checked.clear()
    return EmbeddingCache(cache.folder.parent, cache.identity, cache.n_rows, cache.shape)


def not_called(start, stop):
    raise AssertionError("computed again")


def test_what_is_there_is_not_computed_again(kept):
    rows = np.array([1099, 0, 512, 511])
    assert reopened(kept).rows(rows, not_called)[:, 1].tolist() == (10 * rows).tolist()


@pytest.mark.parametrize("how", ["bits", "cut", "gone", "header"])
def test_a_damaged_part_is_named_and_never_read(kept, how):
    file = kept.folder / "parts" / "000001.npy"
    data = bytearray(file.read_bytes())
    if how == "bits":
        data[-5] ^= 1
    elif how == "cut":
        data = data[:-100]
    elif how == "header":
        data[:6] = b"nonpy!"
    file.unlink()
    if how != "gone":
        file.write_bytes(data)
    again = reopened(kept)
    assert again.rows(np.array([3]), not_called).tolist() == [[3, 30]]
    with pytest.raises(EmbeddingCacheError, match=r"000001\.npy.*embed --remove"):
        again.rows(np.array([600]), not_called)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "damaged"),
        ('{"format": "other"}', "not embeddings"),
        ('{"format": "biot-bd embeddings", "version": 99}', "newer"),
    ],
)
def test_a_description_that_cannot_be_read_is_named(kept, text, said):
    (kept.folder / "embedding.json").write_text(text)
    with pytest.raises(EmbeddingCacheError, match=rf"embedding\.json.*{said}"):
        reopened(kept)


def test_a_part_without_its_note_is_computed_again(kept):
    (kept.folder / "parts" / "000002.json").unlink()
    (kept.folder / "parts" / "000002.npy").write_bytes(b"half")
    assert reopened(kept).rows(np.array([1050]), rows_of).tolist() == [[1050, 10500]]


def test_rows_of_the_wrong_shape_are_refused(tmp_path):
    cache = EmbeddingCache(tmp_path, {"model": "rows"}, n_rows=4, shape=(3,))
    with pytest.raises(ValueError, match="expected"):
        cache.rows(np.arange(4), rows_of)


CHILD = """
    import sys, time
    import numpy as np
    from pathlib import Path
    from biot_bd.embedding import EmbeddingCache

    root, seconds = Path(sys.argv[1]), float(sys.argv[2])

    def compute(start, stop):
        (root / f"call-{start}-{time.time_ns()}").touch()
        time.sleep(seconds)
        return np.random.default_rng(start).normal(size=(stop - start, 8))

    cache = EmbeddingCache(root / "cache", {"model": "slow"}, n_rows=4000, shape=(8,))
    made = cache.rows(np.arange(4000), compute)
    print(made.astype("<f4").tobytes().hex()[-64:], int(1e6 * made.sum()))
"""


def child(root, seconds):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), os.fspath(root), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def calls_in(root):
    return sorted(int(path.name.split("-")[1]) for path in root.glob("call-*"))


def test_a_killed_process_is_gone_on_from_bit_for_bit(tmp_path):
    begun = child(tmp_path, 0.2)
    notes = tmp_path / "cache"
    deadline = time.monotonic() + 60
    while len(list(notes.glob("*/parts/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    n_done = len(list(notes.glob("*/parts/*.json")))
    assert 2 <= n_done < 8
    before = len(calls_in(tmp_path))
    (tmp_path / "whole").mkdir()
    whole, again = child(tmp_path / "whole", 0), child(tmp_path, 0)
    assert again.communicate()[0] == whole.communicate()[0] != ""
    assert len(calls_in(tmp_path)) - before == 8 - n_done


def test_two_processes_share_the_work_and_compute_nothing_twice(tmp_path):
    both = [child(tmp_path, 0.1) for _ in range(2)]
    said = [one.communicate()[0] for one in both]
    assert said[0] == said[1] != ""
    assert calls_in(tmp_path) == [512 * i for i in range(8)]


MEMORY = """
    import resource, sys
    import numpy as np
    from biot_bd.embedding import EmbeddingCache

    cache = EmbeddingCache(sys.argv[1], {"model": "large"}, n_rows=200_000, shape=(512,))
    compute = lambda start, stop: np.ones((stop - start, 512), np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, 200_000, 2_000):
        cache.rows(np.arange(start, start + 2_000), compute)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY), tmp_path], stdout=subprocess.PIPE, text=True, check=True
    )
    assert float(done.stdout) < 40  # MiB, of 390 that were written and read
