"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

import biot_bd  # noqa: F401  (installs the torchaudio guard)

os.environ.setdefault("MNE_LOGGING_LEVEL", "ERROR")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and golden numbers beside the checkout."""
    folder = Path(os.environ.get("BIOT_BD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no golden numbers and real recordings at {folder} (set BIOT_BD_SHARED)")
    return folder
