"""Every public name says what it takes, gives and raises, with an example and its neighbours."""

import numpydoc.validate
import pytest
from docstring_rules import CODES, LEFT_OUT, NOT_OF_EXCEPTIONS, OF_METHODS, all_faults, lines_of, raises_itself


@pytest.fixture(scope="module")
def faults():
    return all_faults()


def test_every_rule_of_numpydoc_is_held_or_left_out_with_a_reason():
    assert set(CODES) | set(LEFT_OUT) == set(numpydoc.validate.ERROR_MSGS)
    assert not set(CODES) & set(LEFT_OUT)
    assert set(CODES) >= OF_METHODS | NOT_OF_EXCEPTIONS


def test_the_walk_finds_names_and_methods(faults):
    assert len(faults) > 300
    assert {"biot_bd.prepare", "biot_bd.BIOTClassifier.fit", "biot_bd.testing.check_loss"} <= set(faults)


def test_docstrings_have_what_the_rules_ask_for(faults):
    assert lines_of(faults) == []


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
