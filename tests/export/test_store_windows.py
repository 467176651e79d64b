from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_model import RandomWindows
from small_pipeline import few_windows

from biot_bd.exceptions import ExportError
from biot_bd.export import store_windows
from biot_bd.export.store_windows import windows_of_parts


class Stored(RandomWindows):
    def map(self, step):
        made = super().map(step)
        made.__class__ = Stored
        return made

    def __getitem__(self, chosen):
        made = object.__new__(Stored)
        made.__dict__ |= self.__dict__
        made.groups, made.y, made.x = self.groups[chosen], self.y[chosen], self.x[chosen]
        return made


@pytest.fixture
def store(monkeypatch):
    windows = few_windows()
    windows.__class__ = Stored
    monkeypatch.setattr(store_windows.Windows, "open", lambda folder: windows)
    return windows


def source(train=("p0", "p1"), valid=("p2",), **info):
    known = replace(few_windows().info, **info)
    parts = {"train": train, "valid": valid}
    return SimpleNamespace(folder="model", mapper=None, info=known, subjects=parts.__getitem__)


def test_training_and_validation_windows_are_those_of_the_model_s_subjects(store):
    train, valid = windows_of_parts(source(), "windows")
    assert set(train.groups) == {"p0", "p1"}
    assert set(valid.groups) == {"p2"}  # p3 tested the model, and is in neither
    assert len(train) == 8
    assert len(valid) == 4


def test_a_store_of_others_is_refused_by_name(store):
    with pytest.raises(ExportError, match=r"windows: has no windows of p8, p9, validation subjects of the model"):
        windows_of_parts(source(valid=("p8", "p2", "p9")), "windows")
    with pytest.raises(ExportError, match=r"windows: has no windows of p7, training subject of the model"):
        windows_of_parts(source(train=("p7",)), "windows")


def test_a_model_that_names_no_subjects_has_no_use_for_a_store(store):
    with pytest.raises(ExportError, match=r"model: does not say its validation subjects"):
        windows_of_parts(source(valid=()), "windows")


def test_windows_of_another_kind_are_refused(store):
    with pytest.raises(ExportError, match=r"sfreq=256.0, these have 200.0; prepare them alike"):
        windows_of_parts(source(sfreq=256.0), "windows")
    with pytest.raises(ExportError, match=r"ch_names="):
        windows_of_parts(source(ch_names=("Cz",), n_chans=1), "windows")


def test_a_montage_is_made_first(store):
    names = ("Fp1", "F7", "T7", "P7")
    store.info = replace(store.info, ch_names=names)
    known = source(ch_names=("F7-T7", "T7-P7"), n_chans=2)
    known.mapper = SimpleNamespace(
        output_info=lambda info: known.info, apply=lambda x, present, info: (x[:, 1:3] - x[:, 2:], present[:, :2])
    )
    train, _ = windows_of_parts(known, "windows")
    assert train.x.shape[1:] == (2, 400)
    assert np.isfinite(train.x).all()
