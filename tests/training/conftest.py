"""Fixtures of the tests of training."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from training_data import make_data


@pytest.fixture(scope="session")
def data():
    return make_data()
