"""Fixtures of the tests of pretraining."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tiny_pretraining import make_windows, small_net


@pytest.fixture(scope="session")
def windows():
    return make_windows()


@pytest.fixture(scope="session")
def fitted(windows):
    x, subjects = windows
    return small_net().fit(x, groups=subjects)
