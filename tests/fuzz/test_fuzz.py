"""A short run of each fuzzer; `make fuzz` is the long one."""

import pytest
from fuzz_frame import fuzz
from fuzz_targets import TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_input_gives_a_result_or_one_line_that_names_the_file(target):
    assert fuzz(target, seed=0, numbers=range(100), seconds=1) == []
