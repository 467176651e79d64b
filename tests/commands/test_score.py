"""``biot-bd score`` of a run folder alone."""

import json

from biot_bd.cli import main


def test_a_run_alone_shows_its_stored_scores(with_events, capsys):
    run = with_events.folder
    for folder in (run, run / "events"):
        (run / "events").mkdir(exist_ok=True)
        assert main(["score", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["pooled"] == with_events.metrics["events"]["pooled"]
    assert main(["score", str(run)]) == 0
    shown = capsys.readouterr().out
    assert f"detections: {run / 'events'}" in shown
    assert all(subject in shown for subject in with_events.metrics["events"]["subjects"])
