"""The way by name, other people's data sets, and the table of what there is."""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd import adapt_dataset, load_dataset, registry
from biot_bd.datasets import describe_dataset, make_dataset
from biot_bd.datasets.bids import _labels
from biot_bd.datasets.chbmit import select_cases
from biot_bd.testing import check_dataset


def raw(events=(), seconds=20, seed=0):
    x = np.random.default_rng(seed).normal(0, 3e-5, (2, seconds * 100))
    found = mne.io.RawArray(x, mne.create_info(["C3", "C4"], 100.0, "eeg"), verbose="ERROR")
    found.set_annotations(mne.Annotations(*map(list, zip(*events, strict=True)))) if events else None
    return found


@pytest.fixture
def foreign():
    parts = [
        RawDataset(raw([(1, 4, "seiz"), (8, 2, "blink"), (12, 1, "sz?")]), {"patient": 3, "file": "a"}),
        RawDataset(raw(seed=1), {"patient": 3, "file": "b"}),
        RawDataset(raw([(2, 3, "FNSZ")], seed=2), {"patient": 4, "file": "c"}),
    ]
    return BaseConcatDataset(parts)


def test_options_are_checked_by_name(tmp_path):
    with pytest.raises(
        TypeError, match=r"'demo' has no option minuts; it has: n_subjects, recordings, minutes, seed, reference"
    ):
        load_dataset("demo", tmp_path, minuts=3)
    with pytest.raises(registry.UnknownNameError, match=r"no datasets named 'chbmit'.*did you mean 'chb-mit'"):
        load_dataset("chbmit", tmp_path)


@pytest.mark.parametrize("subjects", [1.5, {"a": 1}, True, ["1", None], []])
def test_subjects_of_a_wrong_type(subjects):
    for listed in (select_cases, lambda given: _labels(given, "siena")):
        with pytest.raises(ValueError, match=r"subjects=.*: expected texts or whole numbers|subjects is empty"):
            listed(subjects)
    assert _labels(7, "siena") == {"7"}


@pytest.mark.parametrize("name", ["chb-mit", "chb-mit-bids", "siena", "edf-folder", "demo"])
def test_all_built_in_loaders_resolve(name):
    assert callable(registry.datasets[name])


def test_a_plugin_that_returns_something_else(foreign, monkeypatch):
    monkeypatch.setitem(registry.datasets._objects, "demo", lambda root: foreign)
    with pytest.raises(TypeError, match=r"without 'outcomes'.*make_dataset"):
        load_dataset("demo", "anywhere")


def test_adapt(foreign):
    adapted = adapt_dataset(foreign, subject="patient", seizure={"seiz", "FNSZ"}, namespace="tuh")
    check_dataset(adapted)
    assert [p.description["subject"] for p in adapted.datasets] == ["tuh/3", "tuh/3", "tuh/4"]
    assert [p.description["recording"] for p in adapted.datasets] == ["tuh_3_001", "tuh_3_002", "tuh_4_001"]
    assert list(adapted.datasets[0].raw.annotations.description) == ["sz", "blink", "other: sz?"]
    assert describe_dataset(adapted)[["seizures", "seizure_s"]].to_numpy().tolist() == [[1, 4], [1, 3]]
    assert list(foreign.datasets[0].raw.annotations.description) == ["seiz", "blink", "sz?"]
    assert "subject" not in foreign.datasets[0].description
    assert adapted.outcomes["outcome"].tolist() == ["loaded"] * 3
    assert adapted.generated is False


def test_adapt_with_functions(foreign):
    adapted = adapt_dataset(
        foreign,
        subject=lambda d: f"x/{d['patient']:02d}",
        seizure=lambda text: "sz" in text.lower() or text == "seiz",
        recording="file",
        generated=True,
    )
    assert [p.description["recording"] for p in adapted.datasets] == ["a", "b", "c"]
    assert list(adapted.datasets[0].raw.annotations.description) == ["sz", "blink", "sz?"]
    assert adapted.datasets[2].description["subject"] == "x/04"
    assert adapted.generated is True


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"subject": "subject"}, ValueError, "subject='subject' is not in the description, which has"),
        ({"subject": "patient"}, ValueError, "has no name space"),
        ({"subject": lambda d: None}, ValueError, "part 0: subject is None"),
        ({"subject": "patient", "namespace": "n", "recording": "patient"}, ValueError, "share a name: 3"),
    ],
)
def test_adapt_refuses(foreign, options, error, message):
    with pytest.raises(error, match=message):
        adapt_dataset(foreign, seizure="seiz", **options)


def test_adapt_takes_recordings_only(foreign):
    foreign.datasets[1] = object()
    with pytest.raises(TypeError, match="part 1 is a object; adapt_dataset takes recordings"):
        adapt_dataset(foreign, subject="patient", seizure="seiz", namespace="n")


def test_describe_counts_overlaps_once_and_hours():
    part = RawDataset(raw([(1, 4, "sz"), (3, 5, "sz_foc"), (4, 1, "sz")]), {"subject": "n/1", "recording": "a"})
    table = describe_dataset(BaseConcatDataset([part]))
    assert table.to_dict("records") == [
        {"subject": "n/1", "recordings": 1, "hours": 20 / 3600, "seizures": 3, "seizure_s": 7.0}
    ]


def test_make_dataset_refuses_nothing():
    rows = pd.DataFrame([("a", "missing-file", "a.edf is not there")], columns=["recording", "outcome", "detail"])
    with pytest.raises(
        ValueError, match=r"no recording could be loaded \(1 missing-file\); the first: a: a.edf is not"
    ):
        make_dataset([], rows)
