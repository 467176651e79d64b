"""What the classifier reads: packed windows give the same model, and shuffling by pages takes each window once."""

import numpy as np
import pytest
import torch

from biot_bd import PercentileScaler, Windows, prepare
from biot_bd.training import BIOTClassifier
from biot_bd.training.classifier._data_loading import PageShuffle
from biot_bd.windows import page_shuffle
from biot_bd.windows.device_signals import WindowsOfSignals, free_device_signals
from biot_bd.windows.torch_dataset import HeldDataset, PackedDataset


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    from biot_bd import load_dataset

    folder = tmp_path_factory.mktemp("reading")
    return prepare(load_dataset("demo", folder / "demo"), folder / "w").map(PercentileScaler())[::3]


def classifier(**options):
    return BIOTClassifier("shallow", max_epochs=2, patience=None, batch_size=16, random_state=0, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
def test_windows_scaled_on_the_device_train_the_same_model(windows, monkeypatch):
    plain = classifier().fit(windows)
    used = []
    read = PackedDataset.__getitems__
    monkeypatch.setattr(PackedDataset, "__getitems__", lambda self, rows: used.append(len(rows)) or read(self, rows))
    # The same code as on a GPU, with the processor as the device; page-locked memory needs a GPU.
    monkeypatch.setattr(BIOTClassifier, "_scales_on_device", lambda self: True)
    packed = classifier(iterator_train__pin_memory=False, iterator_valid__pin_memory=False).fit(windows)
    assert sum(used) >= 2 * len(windows)
    for key in ("train_loss", "valid_loss"):
        np.testing.assert_allclose(packed.history[:, key], plain.history[:, key], rtol=1e-5)
    np.testing.assert_allclose(packed.predict_proba(windows), plain.predict_proba(windows), atol=1e-5)


@pytest.fixture
def no_signals_left():
    yield
    free_device_signals()


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "page-shuffle"},
        pytest.param({"sampler": "class-balanced", "augment": "light", "micro_batch": 4}, marks=pytest.mark.slow),
        pytest.param({"precision": "bf16", "finetune": "mixup", "train_split": None}, marks=pytest.mark.slow),
    ],
    ids=["page-shuffle", "drawn", "mixed"],
)
@pytest.mark.usefixtures("no_signals_left", "one_thread")
def test_windows_in_the_memory_of_the_device_train_the_same_model_to_the_digit(windows, monkeypatch, options):
    few = windows[::6]
    plain = classifier(**options).fit(few)
    expected = plain.predict_proba(few)
    taken, read = [], []
    take = WindowsOfSignals.take
    monkeypatch.setattr(WindowsOfSignals, "take", lambda self, rows: taken.append(len(rows)) or take(self, rows))
    monkeypatch.setattr(Windows, "read", lambda *args: read.append(1))
    there = classifier(**options, data_on_device=True).fit(few)
    np.testing.assert_array_equal(there.predict_proba(few), expected)
    for key in {"train_loss", "valid_loss"} & set(plain.history[-1]):
        assert there.history[:, key] == plain.history[:, key]
    assert sum(taken) >= 3 * len(few)
    assert not read
    assert classifier(data_on_device=True).get_params()["data_on_device"] is True


@pytest.mark.usefixtures("no_signals_left")
def test_arrays_lie_there_for_one_fit(windows):
    rows = np.arange(0, len(windows), 8)
    x, y, groups = windows.read(rows), windows.y[rows], windows.groups[rows]
    plain, there = (classifier(data_on_device=on).fit(x, y, groups=groups) for on in (False, True))
    assert there.history[:, "train_loss"] == plain.history[:, "train_loss"]
    np.testing.assert_array_equal(there.predict_proba(x), plain.predict_proba(x))
    assert not isinstance(there.get_dataset(x), HeldDataset)


def test_whether_data_lie_on_the_device_is_checked(windows):
    with pytest.raises(ValueError, match="data_on_device must be 'auto', False or True, found 1"):
        classifier(data_on_device=1).fit(windows)


def test_on_the_processor_nothing_is_packed_or_pinned(windows):
    net = classifier()
    assert net.get_params_for("iterator_train")["pin_memory"] is False
    net.fit(windows)
    assert not isinstance(net.get_dataset(windows), PackedDataset)


def epochs_of(net):
    """Return the rows of each training batch."""
    seen = []
    step = net.train_step

    def noted(batch, **kwargs):
        seen.append(batch[0].double().sum(dim=(1, 2)).tolist())
        return step(batch, **kwargs)

    net.train_step = noted
    return seen


@pytest.mark.slow
def test_page_shuffle_by_name_takes_every_training_window_once_and_repeats(windows):
    runs = []
    for _ in range(2):
        net = classifier(sampler="page-shuffle")
        seen = epochs_of(net)
        net.fit(windows)
        assert "sampler='page-shuffle'" in net.training_note_
        assert "train_scores_on" not in net.history[-1]
        runs.append(seen)
    assert runs[0] == runs[1]
    values = np.array([v for batch in runs[0] for v in batch]).reshape(2, -1)
    assert (np.sort(values[0]) == np.sort(values[1])).all()
    assert (values[0] != values[1]).any()
    train = np.isin(windows.groups, net.train_subjects_)
    expected = torch.from_numpy(windows.read(np.flatnonzero(train))).double().sum(dim=(1, 2)).numpy()
    np.testing.assert_array_equal(np.sort(values[0]), np.sort(expected))


@pytest.mark.slow
def test_it_is_taken_unasked_for_what_no_memory_can_hold(windows, monkeypatch):
    made = []
    init = PageShuffle.__init__
    monkeypatch.setattr(PageShuffle, "__init__", lambda self, *args, **kw: made.append(1) or init(self, *args, **kw))
    assert classifier().fit(windows).training_note_ is None
    assert not made
    monkeypatch.setattr(page_shuffle, "memory_limit", lambda: windows.nbytes - 1)
    net = classifier().fit(windows)
    assert made
    assert "shuffled by where they lie" in net.training_note_
    made.clear()
    classifier(iterator_train__shuffle=False).fit(windows)
    classifier(sampler="class-balanced").fit(windows)
    assert not made


def test_arrays_have_no_pages(windows):
    rows = np.arange(0, len(windows), 4)
    with pytest.raises(ValueError, match="'page-shuffle' is for Windows"):
        classifier(sampler="page-shuffle").fit(windows.read(rows), windows.y[rows], groups=windows.groups[rows])
