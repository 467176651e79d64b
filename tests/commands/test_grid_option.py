"""What ``--grid`` takes, and what it says of what it does not take."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biot_bd.commands._grid import Bounds, check_engine, read_grid

NUMBERS = st.floats(min_value=1e-9, max_value=1e9, allow_nan=False)


def test_values_are_read_as_param_reads_them():
    read = read_grid(["lr=1e-4,0.001", "module__num_layers=2,3", "sampler=class-balanced,null", "flag=true,false"])
    assert read == {
        "lr": [1e-4, 0.001],
        "module__num_layers": [2, 3],
        "sampler": ["class-balanced", None],
        "flag": [True, False],
    }


def test_lists_can_be_values():
    assert read_grid(['augment=null,["light"]']) == {"augment": [None, ["light"]]}


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("lr=1e-5..1e-3:log", Bounds(1e-5, 1e-3, True)),
        ("module__drop_prob=0.1..0.5", Bounds(0.1, 0.5, False)),
        ("module__num_layers=1..6", Bounds(1, 6, False)),
        ("x=-2..3", Bounds(-2, 3, False)),
    ],
)
def test_ranges_have_two_ends_and_perhaps_a_logarithm(text, bounds):
    found = read_grid([text])[text.partition("=")[0]]
    assert found == bounds
    assert [type(end) for end in found] == [type(end) for end in bounds]


@given(low=NUMBERS, high=NUMBERS, log=st.booleans())
def test_any_range_is_read_as_it_was_written(low, high, log):
    if low < high:
        assert read_grid([f"x={low!r}..{high!r}{':log' if log else ''}"])["x"] == Bounds(low, high, log)


def test_a_range_of_whole_numbers_stays_whole():
    assert all(isinstance(end, int) for end in read_grid(["x=1..6"])["x"][:2])


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_file_holds_the_same_as_options(tmp_path, suffix):
    path = tmp_path / f"grid{suffix}"
    table = {"lr": "1e-5..1e-3:log", "module__num_layers": [2, 3]}
    toml = 'lr = "1e-5..1e-3:log"\nmodule__num_layers = [2, 3]\n'
    path.write_text(json.dumps(table) if suffix == ".json" else toml)
    assert read_grid([str(path)]) == read_grid(["lr=1e-5..1e-3:log", "module__num_layers=2,3"])
    assert set(read_grid([str(path), "epochs=5,10"])) == {"lr", "module__num_layers", "epochs"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "--grid: which parameters, and which values of each"),
        (["lr"], "--grid 'lr': expected KEY=VALUE,VALUE"),
        (["lr="], "--grid 'lr='"),
        (["lr=1,,2"], "a value is missing between two commas"),
        (["lr=1,2", "lr=3"], "--grid lr is given twice"),
        (["lr=1,2,1"], "--grid lr: the value 1 is given twice"),
        (["lr=1e-3..1e-5"], "the range ends before it begins"),
        (["lr=1e-5..1e-3:lg"], "found ':lg' behind the range"),
        (["lr=0..1:log"], "a logarithmic range must begin above 0"),
        (["lr=[]"], None),
        (["nowhere.toml"], "--grid nowhere.toml: no such file"),
    ],
)
def test_what_is_no_grid_is_told(texts, said):
    if said is None:
        assert read_grid(texts) == {"lr": [[]]}  # an empty list is a value, e.g. of callbacks
        return
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(said)):
        read_grid(texts)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("lr = ", "cannot be read as toml"),
        ("", "expected a table"),
        ("lr = 3", "lr is 3; expected a list"),
        ("lr = []", "no values"),
    ],
)
def test_a_file_that_is_no_grid_is_named(tmp_path, content, said):
    path = tmp_path / "grid.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"(?s)grid.*{said}"):
        read_grid([str(path)])


@pytest.mark.parametrize(
    ("engine", "trials", "resource", "texts", "said"),
    [
        ("grid", None, None, ["lr=1e-5..1e-3:log"], "a range cannot be tried value by value"),
        ("grid", 5, None, ["lr=1,2"], "a grid is tried whole"),
        ("halving", None, None, ["lr=1..2"], "--trials must say how many candidates"),
        ("random", None, "max_epochs", ["lr=1..2"], "--resource max_epochs: only --engine halving has one"),
    ],
)
def test_engine_trials_resource_and_ranges_must_go_together(engine, trials, resource, texts, said):
    with pytest.raises(ValueError, match=said):
        check_engine(engine, trials, resource, False, read_grid(texts))
    check_engine("halving", 5, "max_epochs", False, read_grid(texts))
    with pytest.raises(ValueError, match="--prune: only --engine optuna"):
        check_engine("halving", 5, "max_epochs", True, read_grid(texts))
