import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing, check_consistent_length, indexable
from sklearn.utils.validation import _num_samples

from biot_bd import MontageMapper, PercentileScaler, Resampler, Windows, prepare
from biot_bd.signals import SignalInfo, WindowTransformer
from biot_bd.windows import Overlap


@pytest.fixture(scope="module")
def windows(make, tmp_path_factory):
    """Six recordings of three subjects; F7-T7 is missing in two, Fp1-F7 flat for a while in one."""
    folder = tmp_path_factory.mktemp("windows")

    def flatten(digital):
        digital[0, : 12 * 256] = 5

    less = [name for name in make.channels if name != "F7-T7"]
    items = []
    for i in range(6):
        options = {"ch_names": less} if i in (2, 3) else {"change": flatten} if i == 4 else {}
        items.append((make.edf(folder / f"{i}.edf", 40, i, **options), f"r{i}", f"test/{i // 2}", [(12, 27)]))
    return prepare(make.dataset(items), folder / "store", on_missing="drop")


@pytest.fixture(scope="module")
def array(windows):
    return np.asarray(windows)


def same(a, b):
    np.testing.assert_array_equal(a, b)


def test_it_looks_like_an_array(windows, array):
    assert windows.shape == array.shape == (42, 16, 2000)
    assert (windows.ndim, windows.dtype, len(windows)) == (3, np.float32, 42)
    assert array.dtype == np.float32
    assert windows.info == SignalInfo(windows.ch_names, 200.0, 2000, "uV")
    assert np.asarray(windows, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        np.asarray(windows, copy=False)
    assert _num_samples(windows) == 42
    check_consistent_length(windows, windows.y, windows.groups)
    assert indexable(windows)[0] is windows


def test_labels_subjects_and_metadata(windows):
    assert windows.y.dtype == np.int64
    assert windows.y[:7].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert windows.groups.dtype == object
    assert windows.groups.tolist() == [f"test/{i}" for i in range(3) for _ in range(14)]
    assert list(windows.metadata) == ["recording", "subject", "start_s", "stop_s", "seizure_fraction", "label"]
    same(windows.metadata["label"], windows.y)
    same(windows.metadata["start_s"][:7], np.arange(7) * 5.0)
    same(windows.metadata["seizure_fraction"][:7], [0, 0.3, 0.8, 1, 0.7, 0.2, 0])


@pytest.mark.parametrize(
    "index",
    [
        slice(3, 20, 4),
        slice(None, None, -1),
        [5, 1, 1, 41],
        np.array([0, -1, 7]),
        np.arange(42) % 3 == 0,
        pd.Series([2, 3]).to_numpy(),
        [],
        list(np.arange(42) > 39),
    ],
)
def test_selections_are_those_of_the_array(windows, array, index):
    for key in (index, (index, ...)):
        chosen = windows[key]
        assert isinstance(chosen, Windows)
        same(np.asarray(chosen), array[index if not isinstance(index, list) or index else np.array([], int)])
        same(
            chosen.y,
            windows.y[index if index != [] else np.array([], int)] if isinstance(index, list) else windows.y[index],
        )
        assert len(chosen.groups) == len(chosen.metadata) == len(chosen.present) == len(chosen)


def test_a_single_window_is_an_array(windows, array):
    for i in (0, 41, -1, np.int64(7)):
        assert isinstance(windows[i], np.ndarray)
        same(windows[i], array[i])
        same(windows[i, ...], array[i])
    assert sum(1 for _ in windows) == 42


@pytest.mark.parametrize(
    "index", [42, -43, [0, 99], np.ones(41, bool), 1.5, [0.5], "a", (0, 1), (0, slice(None)), None]
)
def test_other_indices_raise(windows, index):
    with pytest.raises(IndexError):
        windows[index]
    with pytest.raises(IndexError):
        windows.read([42])


def test_selections_of_selections(windows, array):
    chosen = windows[10:30][[3, 5, 7]][np.array([True, False, True])]
    same(np.asarray(chosen), array[[13, 17]])


def test_a_batch_in_any_order_with_repeats(windows, array):
    order = np.random.default_rng(0).integers(-42, 42, 300)
    same(windows.read(order), array[order])
    assert windows.read([]).shape == (0, 16, 2000)


def test_absent_channels_are_nan_and_nothing_else_is(windows, array):
    missing = windows.metadata["recording"].isin(["r2", "r3"]).to_numpy()
    expected = np.ones((42, 16), bool)
    expected[missing, 1] = False
    expected[28, 0] = False
    same(windows.present, expected)
    same(np.isnan(array).all(axis=-1), ~expected)
    same(np.isnan(array).any(axis=-1), ~expected)


def test_scaling_with_cached_percentiles_is_scaling(windows, array):
    scaled = windows.map(PercentileScaler(95))
    expected = PercentileScaler(95).transform(array)
    assert scaled.unit is None
    order = np.random.default_rng(1).permutation(42)
    np.testing.assert_allclose(scaled.read(order), expected[order], rtol=1e-6)
    np.testing.assert_allclose(scaled[28], expected[28], rtol=1e-6)
    same(scaled.present, windows.present)
    with pytest.raises(ValueError, match="scaled already"):
        scaled.map(PercentileScaler())


@pytest.mark.parametrize(
    "steps",
    [
        [Resampler(100)],
        [PercentileScaler(50)],
        [Resampler(100), PercentileScaler(95)],
        [MontageMapper("double-banana-18", on_missing="drop")],
    ],
)
def test_lazy_steps_give_what_they_give_on_the_array(windows, array, steps):
    lazy, present = windows, windows.present
    x, info = array, windows.info
    for step in steps:
        lazy = lazy.map(step)
        x, present = step.apply(x, present, info)
        info = step.output_info(info)
    assert lazy.shape == x.shape
    assert lazy.info == info
    np.testing.assert_allclose(np.asarray(lazy), x, rtol=1e-6, atol=1e-6)
    same(lazy.present, present)
    same(np.asarray(lazy[[4, 2]]), np.asarray(lazy)[[4, 2]])


def test_a_pipeline_on_windows_equals_one_on_arrays(windows, array):
    pipe = make_pipeline(MontageMapper("biot-16"), PercentileScaler())
    lazy = pipe.fit_transform(windows)
    assert isinstance(lazy, Windows)
    arrays = make_pipeline(MontageMapper("biot-16", ch_names=windows.ch_names, on_missing="drop"), PercentileScaler())
    np.testing.assert_allclose(np.asarray(lazy), arrays.fit_transform(array), rtol=1e-6)


def test_steps_that_change_nothing_are_left_out(windows):
    assert windows.map(MontageMapper("biot-16")) is windows
    assert windows.map(Resampler(200)) is windows
    with pytest.raises(TypeError, match="WindowTransformer"):
        windows.map(np.abs)


def test_pickles_are_small_and_read_the_same(windows, array):
    lazy = windows.map(PercentileScaler())
    assert len(pickle.dumps(lazy)) < 1000
    same(np.asarray(pickle.loads(pickle.dumps(lazy))), np.asarray(lazy))
    chosen = pickle.loads(pickle.dumps(windows[[7, 3]]))
    same(np.asarray(chosen), array[[7, 3]])
    assert chosen.fingerprint == windows[[7, 3]].fingerprint


def power(x):
    return np.log(np.var(np.nan_to_num(np.asarray(x)), axis=-1) + 1e-6)


def test_scikit_learn_splits_and_searches_them(windows, array):
    y, groups = windows.y, windows.groups
    pipe = make_pipeline(PercentileScaler(), FunctionTransformer(power), LogisticRegression())
    lazy = cross_val_score(pipe, windows, y, groups=groups, cv=GroupKFold(3), error_score="raise")
    plain = cross_val_score(pipe, array, y, groups=groups, cv=GroupKFold(3), error_score="raise")
    np.testing.assert_allclose(lazy, plain)
    search = GridSearchCV(clone(pipe), {"logisticregression__C": [0.1, 1]}, cv=GroupKFold(3), error_score="raise")
    search.fit(windows, y, groups=groups)
    assert search.predict(windows).shape == y.shape
    same(np.asarray(_safe_indexing(windows, np.array([1, 5]))), array[[1, 5]])


def test_seizures_of_the_recordings(windows):
    found = windows.query("recording in ['r1', 'r4']").seizures
    assert found.to_numpy().tolist() == [["r1", "test/0", 12.0, 27.0], ["r4", "test/2", 12.0, 27.0]]


def test_query(windows):
    chosen = windows.query("subject == 'test/1' and label == 1")
    assert set(chosen.groups) == {"test/1"}
    assert chosen.y.all()
    assert len(chosen) == 6
    assert len(chosen.query("start_s > 10")) == 4
    assert len(windows.query("kind == 'added'")) == 0


def test_relabel_writes_a_table_and_no_signals(windows, array):
    def signals():
        return {p: p.stat().st_mtime_ns for p in (windows.folder / "signals").iterdir()}

    before = signals()
    other = windows.relabel(Overlap(1), window_s=4, stride_s=2)
    assert signals() == before
    assert other.shape[1:] == (16, 800)
    assert other.label_rule == "overlap(min_overlap_s=1)"
    row = int(np.flatnonzero((other.metadata["recording"] == "r1") & (other.metadata["start_s"] == 12))[0])
    same(other[row], windows[int(np.flatnonzero(windows.metadata["recording"] == "r1")[2])][:, 400:1200])
    again = Windows.open(other.folder)
    same(np.asarray(again), np.asarray(other))
    assert (again.fingerprint, again.label_rule) == (other.fingerprint, other.label_rule)
    assert windows.relabel(Overlap(1), 4, 2).folder == other.folder
    pd.testing.assert_frame_equal(other.seizures, windows.seizures)
    same(np.asarray(pickle.loads(pickle.dumps(other))), np.asarray(other))
    same(np.asarray(Windows.open(windows.folder)), array)
    expected = PercentileScaler().transform(np.asarray(other))
    np.testing.assert_allclose(np.asarray(other.map(PercentileScaler())), expected, rtol=1e-6)


def test_relabel_keeps_steps_and_refuses_selections(windows):
    scaled = windows.map(PercentileScaler()).relabel("overlap", stride_s=10)
    assert scaled.unit is None
    assert scaled.metadata["start_s"][:4].tolist() == [0, 10, 20, 30]
    with pytest.raises(ValueError, match="select afterwards"):
        windows[:10].relabel("overlap")
    with pytest.raises(ValueError, match="fft-window"):
        windows.relabel("biot-official")
    with pytest.raises(ValueError, match="shorter than a window of 60 s"):
        windows.relabel("overlap", window_s=60)


def test_concat(windows, array, make, tmp_path):
    second = prepare(make.dataset([(make.edf(tmp_path / "z.edf", 25, 9), "z", "other/1", [(3, 20)])]), tmp_path / "w")
    both = Windows.concat([second[1:], windows[::5], second, windows[[0]]])
    same(np.asarray(both), np.concatenate([np.asarray(second[1:]), array[::5], np.asarray(second), array[[0]]]))
    same(both.y, np.concatenate([second.y[1:], windows.y[::5], second.y, windows.y[[0]]]))
    assert both.folder is None
    same(np.asarray(pickle.loads(pickle.dumps(both))), np.asarray(both))
    assert set(both.summary().index) == {"other/1", "test/0", "test/1", "test/2"}
    scaled = Windows.concat([second.map(PercentileScaler()), windows.map(PercentileScaler())])
    np.testing.assert_allclose(scaled[0], second.map(PercentileScaler())[0], rtol=1e-6)


def test_concat_refuses_what_does_not_fit(windows):
    for other, what in (
        (windows.relabel("overlap", window_s=4), "n_times"),
        (windows.relabel(Overlap(2)), "label_rule"),
        (windows.map(PercentileScaler()), "steps"),
    ):
        with pytest.raises(ValueError, match=what):
            Windows.concat([windows, other])
    with pytest.raises(ValueError, match="at least one"):
        Windows.concat([])
    with pytest.raises(TypeError, match="ndarray"):
        Windows.concat([windows, np.zeros(3)])


def test_fingerprints_tell_apart(windows):
    some = [windows, windows[:-1], windows[::-1], windows.map(PercentileScaler()), windows.map(PercentileScaler(90))]
    assert len({w.fingerprint for w in some}) == len(some)
    assert windows[:].fingerprint == Windows.open(windows.folder).fingerprint == windows.fingerprint


def test_it_shows_itself(windows):
    text = repr(windows.map(PercentileScaler()))
    assert "42 of 16 channels x 2000 samples at 200 Hz, scaled" in text
    assert "18 with seizure (42.86%), 3 subjects, label rule overlap" in text
    assert "PercentileScaler" in text
    summary = windows.summary()
    assert summary.loc["test/1"].to_dict() == {
        "n_recordings": 2,
        "n_windows": 14,
        "n_seizure_windows": 6,
        "n_absent_channels": 14,
    }


def test_opening_what_is_not_there(tmp_path, windows):
    with pytest.raises(FileNotFoundError, match="no prepared windows here"):
        Windows.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "something else"}')
    with pytest.raises(ValueError, match="not a manifest"):
        Windows.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "biot_bd windows", "version": 99}')
    with pytest.raises(ValueError, match="version 99"):
        Windows.open(tmp_path)


def test_a_step_of_ones_own(windows, array):
    class Negate(WindowTransformer):
        def output_info(self, info):
            return info

        def apply(self, x, present, info):
            return -x, present

    same(np.asarray(windows.map(Negate())), -array)


class Weighted(WindowTransformer):
    def __init__(self, weights=None):
        self.weights = weights

    def output_info(self, info):
        return info

    def apply(self, x, present, info):
        return x * np.float32(self.weights[30, 30]), present


def test_steps_that_differ_in_one_number_of_a_large_array_make_other_windows(windows):
    """What is kept of windows (embeddings, probes) is found by their fingerprint."""
    ones, another = np.ones((64, 64)), np.ones((64, 64))
    another[30, 30] += 1e-12
    first, second = windows.map(Weighted(ones)), windows.map(Weighted(another))
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == windows.map(Weighted(ones.copy())).fingerprint
    with pytest.raises(ValueError, match="different steps"):
        Windows.concat([first, second])


def test_what_a_step_learnt_makes_other_windows(windows):
    learnt = Weighted(np.ones((31, 31)))
    learnt.mean_ = np.ones(2)
    assert windows.map(learnt).fingerprint != windows.map(Weighted(np.ones((31, 31)))).fingerprint


@pytest.mark.parametrize("labels", ["overlap", Overlap(2)])
def test_labels_mean_the_same_in_prepare_and_relabel(small, tmp_path, labels):
    direct = prepare(small, tmp_path / "direct", labels=labels)
    again = prepare(small, tmp_path / "again", labels=Overlap(9)).relabel(labels=labels)
    assert again.label_rule == direct.label_rule
    np.testing.assert_array_equal(again.y, direct.y)
    for wrong in (Overlap, 3):
        with pytest.raises(TypeError, match="name of a label rule or an instance"):
            prepare(small, tmp_path / "wrong", labels=wrong)
        with pytest.raises(TypeError, match="name of a label rule or an instance"):
            direct.relabel(labels=wrong)
