"""``biot-bd score`` of a run folder alone."""

import json

from made_events import random_events

from biot_bd.cli import main
from biot_bd.events import ScoredRecording, score_nedc_subjects, write_event_file


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


def test_other_scorers_stand_beside_szcore(tmp_path, capsys):
    recordings = []
    for number in range(3):
        reference, hypothesis, duration_s = random_events(number)
        write_event_file(tmp_path / "true" / f"sub-{number}.tsv", reference, duration_s)
        write_event_file(tmp_path / "said" / f"sub-{number}.tsv", hypothesis, duration_s)
        recordings.append(ScoredRecording(f"sub-{number}", f"sub-{number}", reference, hypothesis, duration_s))
    call = ["score", str(tmp_path / "true"), str(tmp_path / "said"), "--scorer", "szcore,nedc-ovlp,nedc-taes"]
    assert main([*call, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["nedc"]) == ["nedc-ovlp", "nedc-taes"]
    for name, scores in found["nedc"].items():
        assert scores["pooled"] == score_nedc_subjects(recordings, name)["pooled"]
    assert main(call) == 0
    shown = capsys.readouterr().out
    assert "nedc-taes" in shown
    assert "All recordings together, by scorer" in shown
    assert main([*call[:3], "--scorer", "nedc-dp"]) == 2
    assert "no scorer 'nedc-dp'; there are szcore, nedc-ovlp, nedc-taes" in " ".join(capsys.readouterr().err.split())
