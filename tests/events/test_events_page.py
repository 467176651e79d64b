"""The page on events shows code that runs and says what it prints."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "events.md"


def test_examples_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    spaces = []
    for block in blocks:
        spaces.append({})
        exec(compile(block, str(PAGE), "exec"), spaces[-1])
    assert [event[:2] for event in spaces[0]["events"]] == [(11.0, 39.0)]
    scores = spaces[2]["scores"]
    assert (scores["sensitivity"], scores["latency_s"]) == (0.5, [-10.0])
    assert scores["fp"] == 1
