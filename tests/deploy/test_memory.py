"""Memory does not grow with the length of a recording."""

import pytest
from deploy_memory import memory_of, write_long_edf

# What 24 h hold beyond blocks: a probability, a start and some event curves a window.
MOST_MB = 60


@pytest.mark.slow
def test_a_day_takes_no_more_memory_than_an_hour(model, tmp_path):
    pytest.importorskip("psutil")
    day = write_long_edf(tmp_path / "day.edf", 24)
    short = write_long_edf(tmp_path / "short.edf", 0.5)
    assert day.stat().st_size > 700e6
    found = memory_of(model, day, short, stride_s=10)
    assert (found["duration_s"], found["n"], found["gaps"]) == (86400, 8640, [])
    curve = found["curve_mb"]
    assert len(curve) > 50
    assert max(curve) - curve[0] < MOST_MB
    # No slope either: the second half needs no more than the first.
    half = len(curve) // 2
    assert max(curve[half:]) - max(curve[:half]) < MOST_MB / 3
