"""Lines of JSON: stdout, log, listeners, and what happens when one of them fails."""

import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from biot_bd.deploy.live.json_lines import Lines


def test_lines_go_everywhere_and_hold_only_json(tmp_path, capsys):
    heard = []
    with Lines(tmp_path / "deep" / "log.jsonl") as lines:
        lines.listeners.append(heard.append)
        lines.write({"type": "a", "value": np.float32(0.5), "nothing": float("nan"), "path": Path("x")})
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert datetime.fromisoformat(line.pop("at")).utcoffset().total_seconds() == 0
    assert line == {"type": "a", "value": 0.5, "nothing": None, "path": "x"}
    (logged,) = map(json.loads, (tmp_path / "deep" / "log.jsonl").read_text().splitlines())
    assert logged == heard[0]


def test_a_log_is_appended_to_and_silence_is_possible(tmp_path, capsys):
    for number in range(2):
        with Lines(tmp_path / "log", echo=False) as lines:
            lines.write({"type": "n", "n": number})
    assert [json.loads(line)["n"] for line in (tmp_path / "log").read_text().splitlines()] == [0, 1]
    assert capsys.readouterr().out == ""


def test_a_log_in_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"--log .*file/log: cannot be written"):
        Lines(tmp_path / "file" / "log")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_stops_the_log_and_nothing_else(capsys):
    heard = []
    with Lines("/dev/full") as lines:
        lines.listeners.append(heard.append)
        with pytest.warns(UserWarning, match=r"No space left on device.*detection goes on"):
            lines.write({"type": "a"})
        lines.write({"type": "b"})
    assert [line["type"] for line in heard] == ["a", "b"]
    assert len(capsys.readouterr().out.splitlines()) == 2
