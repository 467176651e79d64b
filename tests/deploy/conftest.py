"""Fixtures of the tests of deploy."""

import pytest
from small_model import save_small_model


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "small")
