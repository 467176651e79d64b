"""What commands print holds letters alone: a name cannot give the terminal orders."""

import io
import json
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from biot_bd.cli import main
from biot_bd.terminal_letters import letters, letters_alone

ORDERS = {
    "title": "\x1b]0;mine\x07",
    "clipboard": "\x1b]52;c;cm0gLXJm\x1b\\",
    "asks the terminal": "\x1b[c",
    "reset": "\x1bc",
    "screen": "\x1b[2J\x1b[H",
    "hidden": "\x1b[;8m",
    "one byte": "\x9b2J",
    "backspace": "a\b\b\bb",
    "right to left": "\u202etxt.exe",
    "line separator": "\u2028",
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("on_terminal", [False, True])
def test_orders_become_letters(order, on_terminal):
    shown = letters(f"FP1{order}F7", on_terminal=on_terminal)
    assert shown.isprintable()
    assert re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), shown) == f"FP1{order}F7"


@given(st.text())
def test_nothing_but_letters_lines_and_tabs_gets_through(text):
    shown = letters(text)
    assert all(one in "\n\t\r" or not (ord(one) < 32 or 127 <= ord(one) < 160) for one in shown)
    assert "\r" not in shown.replace("\r\n", "")
    plain = "".join(one for one in text if one.isalnum())
    assert letters(plain) == plain


@given(st.recursive(st.text() | st.integers(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)))
def test_json_means_the_same(value):
    assert json.loads(letters(json.dumps(value, ensure_ascii=False))) == value


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_tables_of_a_terminal_stay_as_they_are(monkeypatch):
    table = Table("channel", title="[bold]channels[/bold]")
    table.add_row("[red]FP1-F7[/red]")
    written = {}
    for guarded in (False, True):
        stream = written[guarded] = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        if guarded:
            with letters_alone():
                Console(force_terminal=True, width=40).print(table)
        else:
            Console(force_terminal=True, width=40).print(table)
    assert "\x1b[" in written[False].getvalue()
    assert written[True].getvalue() == written[False].getvalue()


def test_a_file_name_in_an_error_gives_no_orders(tmp_path, capsys):
    name = "x\x1b]0;mine\x07.edf"
    (tmp_path / name).write_bytes(b"")
    assert main(["doctor", str(tmp_path)]) in (0, 1)
    assert main(["detect", str(tmp_path / "no model"), str(tmp_path / name)]) != 0
    out, err = capsys.readouterr()
    assert "x\\u001b]0;mine\\u0007.edf" in out + err
    assert "\x1b" not in out + err


def test_streams_are_given_back():
    before = sys.stdout, sys.stderr
    with letters_alone():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before
