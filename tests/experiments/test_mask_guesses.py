"""The table of guesses on a prepared store of generated recordings."""

import importlib.util
from pathlib import Path

import pytest

from biot_bd import load_dataset, prepare

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "mask_guesses.py"


@pytest.mark.slow
def test_the_table_has_a_row_a_mask_and_a_guard_makes_neighbours_tell_less(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("mask_guesses", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    recordings = load_dataset("demo", tmp_path / "demo", n_subjects=2, recordings=1, minutes=2)
    prepare(recordings, tmp_path / "store")
    assert script.main([str(tmp_path / "store"), "--windows", "16", "--hop", "50"]) == 0
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2 + len(script.MASKS)
    guess = {(row[0], row[1], row[2]): float(row[4]) for row in lines[2:]}
    assert guess["block", "3", "1"] > guess["block", "3", "0"]
