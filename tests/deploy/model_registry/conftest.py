"""A small registry that tests copy."""

import shutil

import pytest
from registered_models import RECORD, with_record
from small_model import save_small_model

from biot_bd.deploy import Registry
from biot_bd.events import EventDetector, save_event_detector


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
