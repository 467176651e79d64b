"""Data sets of MOABB: names, events, units, settings left alone; FakeDataset pretrains and fine-tunes."""

import os
from types import SimpleNamespace

import mne
import numpy as np
import pytest

from biot_bd import BIOTClassifier, Pretrainer, load_dataset, prepare
from biot_bd.datasets import moabb_sets
from biot_bd.datasets.loading import options_of, split_variant
from biot_bd.pretraining import pretrain
from biot_bd.signals import Montage
from biot_bd.testing import check_dataset
from biot_bd.windows import Annotated

moabb_datasets = pytest.importorskip("moabb.datasets", reason="needs MOABB")

SMALL = {"n_subjects": 4, "n_sessions": 1, "n_runs": 2, "duration": 40, "n_events": 12, "sfreq": 200}
MONTAGE = Montage("central", ("C3", "Cz", "C4"), "referential")
TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return load_dataset("moabb:FakeDataset", tmp_path_factory.mktemp("moabb"), parameters=SMALL)


def test_a_data_set_is_named_with_its_variant(dataset):
    check_dataset(dataset)
    assert dataset.generated
    assert split_variant("moabb:FakeDataset") == ("moabb", "FakeDataset")
    assert split_variant("demo") == ("demo", None)
    assert options_of("moabb:FakeDataset") == ["variant", "subjects", "paradigm", "parameters"]
    first = dataset.datasets[0].description
    assert first["recording"] == "FakeDataset_001_0_0"
    assert first["subject"].startswith("moabb-FakeDataset-imagery-4-")
    assert first["subject"].endswith("/1")
    assert len(dataset.datasets) == 8


def test_events_are_annotations_where_the_stimulus_channel_has_them(dataset):
    source = moabb_datasets.FakeDataset(**SMALL, seed=0)
    plain = source._get_single_subject_data(2)["0"]["1"]
    events = mne.find_events(plain, shortest_event=0, verbose="error")
    raw = next(p.raw for p in dataset.datasets if p.description["recording"] == "FakeDataset_002_0_1")
    names = {number: name for name, number in source.event_id.items()}
    assert list(raw.annotations.description) == [names[number] for number in events[:, 2]]
    np.testing.assert_allclose(raw.annotations.onset, events[:, 0] / 200)
    assert set(raw.annotations.duration) == {3.0}  # the interval of the data set
    assert raw.ch_names == ["C3", "Cz", "C4"]
    np.testing.assert_array_equal(raw.get_data(), plain.get_data(["C3", "Cz", "C4"]))  # volts


def test_subjects_and_a_paradigm_choose(tmp_path):
    two = {**SMALL, "event_list": ["left_hand", "right_hand", "feet"]}
    made = load_dataset("moabb:FakeDataset", tmp_path, subjects=[2], paradigm="LeftRightImagery", parameters=two)
    assert {p.description["subject"][-2:] for p in made.datasets} == {"/2"}
    assert set(made.datasets[0].raw.annotations.description) == {"left_hand", "right_hand"}
    with pytest.raises(ValueError, match="does not take FakeDataset"):
        load_dataset("moabb:FakeDataset", tmp_path, paradigm="LeftRightImagery", parameters=SMALL)
    with pytest.raises(ValueError, match=r"subjects 9: .* has 1 to 4"):
        load_dataset("moabb:FakeDataset", tmp_path, subjects=9, parameters=SMALL)


def test_names_that_moabb_has_not_are_told(tmp_path):
    with pytest.raises(
        ValueError, match=r"variant='FakeDatset': moabb.datasets has no such class; similar: FakeDataset"
    ):
        load_dataset("moabb:FakeDatset", tmp_path)
    with pytest.raises(ValueError, match=r"variant=None: .*'moabb:FakeDataset'"):
        load_dataset("moabb", tmp_path)
    with pytest.raises(TypeError, match="data set 'demo' has no option variant"):
        load_dataset("demo:other", tmp_path)


def test_settings_of_mne_stay_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("_MNE_FAKE_HOME_DIR", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    seen = []

    class Downloading(moabb_datasets.FakeDataset):
        def get_data(self, subjects=None, **more):
            seen.append(mne.get_config("MNE_DATA"))
            mne.set_config("MNE_DATASETS_SOMETHING_PATH", "elsewhere")
            return super().get_data(subjects, **more)

    monkeypatch.setattr(moabb_datasets, "Downloading", Downloading, raising=False)
    before = dict(os.environ)
    load_dataset("moabb:Downloading", tmp_path / "root", parameters=SMALL)
    assert seen == [str(tmp_path / "root")]
    assert dict(os.environ) == before
    assert "MNE_DATASETS_SOMETHING_PATH" not in mne.get_config(use_env=False)


@pytest.mark.usefixtures("one_thread")
def test_a_fake_data_set_pretrains_and_fine_tunes(dataset, tmp_path):
    unlabelled = prepare(dataset, tmp_path / "w", montage=MONTAGE, window_s=2, stride_s=2, labels="none")
    settings = {**TINY, "max_epochs": 1, "batch_size": 16, "device": "cpu", "random_state": 0}
    net = Pretrainer("biot", "masked-spectrum", **settings)
    facts = pretrain(net, unlabelled, tmp_path / "run")
    assert facts["n_epochs"] == 1
    windows = unlabelled.relabel(Annotated(at="onset", tmax_s=2.0))
    assert windows.classes == ("fake1", "fake2", "fake3")
    classifier = BIOTClassifier(
        "biot", classes=None, pretrained=tmp_path / "run", max_epochs=1, batch_size=16, device="cpu", random_state=0
    )
    classifier.fit(windows, windows.y)
    assert classifier.predict_proba(windows).shape == (len(windows), 3)
    report = classifier.pretrained_report_
    assert len(report.matched) > 10
    assert (report.missing, report.unexpected, report.shapes) == ((), (), {})
    assert set(report.channels) == {"C3", "Cz", "C4"}
    assert list(classifier.classes_) == [0, 1, 2]


def test_people_of_eegmmidb_have_one_name_whoever_loads_them():
    """Weights pretrained on one and tested on the other would look clean under two names."""
    source = SimpleNamespace(code="PhysionetMotorImagery", subject_list=[1, 2, 10])
    assert [moabb_sets._subject_name(source, n) for n in (1, 10)] == ["eegmmidb/001", "eegmmidb/010"]
    assert moabb_sets._subjects(["eegmmidb/010", 2], source) == [2, 10]
    assert moabb_sets._subject_name(SimpleNamespace(code="BNCI2014-001"), 3) == "moabb-BNCI2014-001/3"
