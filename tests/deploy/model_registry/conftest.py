"""A small registry that tests copy."""

import shutil

import pytest
from small_model import save_small_model

from biot_bd.deploy import Registry
from biot_bd.events import EventDetector, save_event_detector
from biot_bd.runs import read_json, write_json

RECORD = {
    "title": "a small model",
    "notes": ["made for tests"],
    "subjects": {"train": ["site/01", "site/02"], "valid": ["site/03"], "test": []},
    "data": {"fingerprint": "0123", "label_rule": "overlap", "generated": False, "n_windows": 16, "prevalence": 0.5},
    "trained_on": {
        "source": "mine",
        "trained_on": [{"dataset": "site", "subjects": ["site/01", "site/02", "site/03"], "how": "supervised"}],
        "known": True,
    },
    "seed": 7,
    "study": "abcd",
}


def with_record(folder, record):
    """Write a record into a saved model."""
    description = read_json(folder / "pipeline.json")
    write_json(folder / "pipeline.json", description | {"record": record})
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return a saved model with events and a record, as a training leaves one."""
    folder = save_small_model(tmp_path_factory.mktemp("trained") / "model")
    save_event_detector(EventDetector(threshold=0.4, smoothing_s=0), folder)
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events.out").write_bytes(b"curves")
    return with_record(folder, RECORD)


@pytest.fixture(scope="session")
def saved(trained, tmp_path_factory):
    """Return a registry with ``mine/1.0.0``; nobody changes it."""
    registry = Registry(tmp_path_factory.mktemp("registry"))
    registry.save(trained, "mine", "1.0.0", licence="ODC-By-1.0")
    return registry


@pytest.fixture
def registry(saved, tmp_path):
    """Return a copy of it that may be changed."""
    shutil.copytree(saved.root, tmp_path / "registry")
    return Registry(tmp_path / "registry")
