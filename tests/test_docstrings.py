"""Every public name says what it takes, gives and raises, with an example and its neighbours."""

import numpydoc.validate
import pytest
from docstring_rules import CODES, LEFT_OUT, NOT_OF_EXCEPTIONS, OF_METHODS, TO_DO, all_faults, lines_of, raises_itself


@pytest.fixture(scope="module")
def faults():
    return all_faults()


def to_do():
    """Names that still lack something, with what they lack: this list only ever becomes shorter."""
    lines = TO_DO.read_text(encoding="utf-8").splitlines() if TO_DO.is_file() else []
    return {line.split()[0]: set(line.split()[1:]) for line in lines if line and not line.startswith("#")}


def test_every_rule_of_numpydoc_is_held_or_left_out_with_a_reason():
    assert set(CODES) | set(LEFT_OUT) == set(numpydoc.validate.ERROR_MSGS)
    assert not set(CODES) & set(LEFT_OUT)
    assert set(CODES) >= OF_METHODS | NOT_OF_EXCEPTIONS


def test_the_walk_finds_names_and_methods(faults):
    assert len(faults) > 300
    assert {"biot_bd.prepare", "biot_bd.BIOTClassifier.fit", "biot_bd.testing.check_loss"} <= set(faults)


def test_docstrings_have_what_the_rules_ask_for(faults):
    known = to_do()
    new = {address: codes - known.get(address, set()) for address, codes in faults.items()}
    assert lines_of(new) == []


def test_a_function_that_raises_is_recognised():
    def raises():
        raise ValueError

    def hands_on():
        try:
            raises()
        except ValueError:
            raise

    raises.__module__ = hands_on.__module__ = "biot_bd.made_up"
    assert raises_itself(raises)
    assert not raises_itself(hands_on)
