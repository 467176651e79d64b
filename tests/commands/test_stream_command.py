"""``biot-bd stream``: lines, files, the same events as ``detect --causal``, a clean stop, errors in one line."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from deploy_files import REFERENTIAL, write_edf
from gap_files import write_with_pause
from small_model import save_small_model

from biot_bd.cli import main
from biot_bd.deploy import Detector
from biot_bd.events.detector import EventDetector, save_event_detector
from biot_bd.events.files import read_event_file

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_edf(tmp_path_factory.mktemp("in") / "a.edf", ch_names=REFERENTIAL, seconds=70, loud=(25, 45))


@pytest.fixture(scope="module")
def model(tmp_path_factory, source):
    """A model whose threshold lies in the middle of what it says of the recording, so that there are events."""
    folder = save_small_model(tmp_path_factory.mktemp("model") / "small")
    said = Detector.load(folder, causal=True, stride_s=1).detect(source).probabilities
    middle = float((said.min() + said.max()) / 2)
    events = EventDetector(window_s=10, threshold=middle, smoothing_s=0, min_duration_s=3, merge_gap_s=2, target=None)
    save_event_detector(events, folder)
    return folder


def stream(*arguments):
    return main(["stream", *map(str, arguments)])


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("chunk", [[], ["--chunk-s", "0.05"], ["--chunk-s", "33"]])
def test_detect_and_stream_agree(model, source, tmp_path, capsys, chunk):
    assert (
        main(
            [
                "detect",
                str(model),
                str(source),
                "-o",
                str(tmp_path / "d.json"),
                "--format",
                "json",
                "--causal",
                "--stride-s",
                "1",
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert stream(model, source, "--speed", "max", "-o", tmp_path / "s.json", *chunk) == 0
    lines = lines_of(capsys.readouterr().out)
    detected, streamed = (json.loads((tmp_path / name).read_text()) for name in ("d.json", "s.json"))
    assert len(detected["events"]) >= 1
    # Only who has the whole recording can ask whether it trained the model.
    detected["notes"] = [note for note in detected["notes"] if "trained the model" not in note]
    for key in set(detected) - {"seconds", "source", "digest"}:
        assert streamed[key] == detected[key], key
    assert [line["type"] for line in lines[:1]] == ["start"]
    assert lines[-1]["type"] == "end"
    events = [{k: line[k] for k in ("onset_s", "offset_s", "confidence")} for line in lines if line["type"] == "event"]
    assert events == detected["events"]
    alarms = [line for line in lines if line["type"] == "alarm"]
    assert [alarm["onset_s"] for alarm in alarms] == [event["onset_s"] for event in events]
    for alarm in alarms:
        assert alarm["known_s"] - alarm["onset_s"] == pytest.approx(lines[0]["alarm_delay_s"], abs=1e-3)
    assert all("at" in line for line in lines)


def test_json_log_and_tsv(model, source, tmp_path, capsys):
    log, out = tmp_path / "deep" / "log.jsonl", tmp_path / "out" / "a.tsv"
    for _ in range(2):
        assert stream(model, source, "--speed", "max", "--json", "--log", log, "-o", out, "--decisions") == 0
    facts = json.loads(capsys.readouterr().out.split("\n}\n")[0] + "\n}")
    assert facts["reason"] == "end of signal"
    assert facts["files"] == [str(out)]
    assert facts["setting"]["causal"] is True
    told = read_event_file(out)
    assert [(e.onset_s, e.offset_s) for e in told.events] == [(e["onset_s"], e["offset_s"]) for e in facts["events"]]
    assert told.duration_s == 70
    assert told.start.isoformat() == "2010-05-04T12:30:15"
    logged = lines_of(log.read_text())
    assert [line["type"] for line in logged].count("end") == 2
    assert [line["type"] for line in logged].count("decision") == 2 * facts["n_windows"] == 2 * 61


def test_nothing_found_and_a_shorter_duration(model, source, tmp_path, capsys):
    out = tmp_path / "a.tsv"
    assert stream(model, source, "--speed", "max", "--threshold", "1", "--duration-s", "30.5", "-o", out, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["reason"], facts["duration_s"], facts["events"]) == ("duration", 30.5, [])
    assert read_event_file(out).duration_s == 30.5
    assert "bckg" in out.read_text()


def test_a_replay_keeps_time(model, source, capsys):
    begin = time.monotonic()
    assert stream(model, source, "--speed", "20", "--duration-s", "20", "--status-s", "0.2") == 0
    assert time.monotonic() - begin >= 1
    status = [line for line in lines_of(capsys.readouterr().out) if line["type"] == "status"]
    assert status
    assert all(line["lag_s"] >= 0 and 0 <= line["load"] <= 1 for line in status)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_cleanly(model, source, tmp_path, number):
    out = tmp_path / "a.tsv"
    command = [sys.executable, "-m", "biot_bd.cli", "stream", str(model), str(source), "--speed", "30", "-o", str(out)]
    with subprocess.Popen(
        [*command, "--decisions", "--page", "--port", "0", "--stay"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        seen = []
        for line in process.stdout:
            seen.append(json.loads(line))
            if seen[-1].get("type") == "decision" and len(seen) > 10:
                break
        process.send_signal(number)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    seen += lines_of(rest)
    assert (seen[-1]["type"], seen[-1]["reason"]) == ("end", "stopped")
    assert 10 < seen[-1]["duration_s"] < 70
    assert read_event_file(out).duration_s == pytest.approx(seen[-1]["duration_s"], abs=0.01)
    assert "live page: http://127.0.0.1:" in err


def test_the_page_of_a_run(model, source, tmp_path):
    command = [sys.executable, "-m", "biot_bd.cli", "stream", str(model), str(source), "--speed", "max", "--json"]
    with subprocess.Popen(
        [*command, "--page", "--port", "0", "--stay", "--allow-host", "EEG.example", "--allow-host", "2001:db8::1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        url = next(line for line in process.stderr if "live page" in line).split()[-1]
        state = None
        for host in ("eeg.example", "[2001:db8::1]:443"):
            with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=60) as page:
                assert page.status == 200
        with urllib.request.urlopen(url + "events", timeout=60) as events:
            for line in events:
                if line.startswith(b"data: "):
                    data = json.loads(line[6:])
                    state = data if "about" in data else state
                    if b'"type":"end"' in line:
                        break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert state["about"]["source"] == str(source)
    assert len(state["about"]["ch_names"]) == 16


@pytest.mark.slow
def test_a_reader_that_goes_ends_the_run(model, source):
    command = [sys.executable, "-m", "biot_bd.cli", "stream", str(model), str(source), "--speed", "5", "--decisions"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=60) == 0, err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "name one source"),
        (["FILE", "--lsl", "x"], 2, "name one source"),
        (["FILE", "--speed", "fast"], 2, "10 for tenfold, or max"),
        (["FILE", "--speed", "0"], 2, "10 for tenfold, or max"),
        (["FILE", "-o", "FILE"], 2, "is the recording itself"),
        (["FILE", "-o", "out.xml"], 2, "expected a file that ends in .tsv"),
        (["FILE", "--stay"], 2, "add --page"),
        (["FILE", "--allow-host", "a b"], 2, "'a b' is no name or address"),
        (["FILE", "--allow-host", "eeg.example:443"], 2, "expected a name or address without its port"),
        (["FILE", "--on-missing", "zero"], 1, "--on-missing zero: expected one of raise, drop"),
        (["gone.edf"], 1, "gone.edf: cannot be opened"),
        (["FILE", "--chunk-s", "0"], 1, "chunk_s must be a positive"),
    ],
)
def test_wrong_use_is_one_line(model, source, capsys, options, status, message):
    given = [str(source) if option == "FILE" else option for option in options]
    assert stream(model, *given) == status
    out, err = capsys.readouterr()
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""


def test_recordings_that_cannot_be_used(model, tmp_path, capsys):
    few = write_edf(tmp_path / "few.edf", ch_names=REFERENTIAL[:5], seconds=20)
    short = write_edf(tmp_path / "short.edf", ch_names=REFERENTIAL, seconds=4)
    for path, message in (
        (few, "missing electrodes"),
        (short, "lasts 4 s (1024 samples), shorter than a window of 10 s"),
    ):
        assert stream(model, path, "--speed", "max") == 1
        assert message in capsys.readouterr().err


def test_a_recording_whose_segments_are_all_shorter_than_a_window(model, tmp_path, capsys):
    x = np.random.default_rng(0).normal(0, 30, (len(REFERENTIAL), 12 * 200))
    path = write_with_pause(tmp_path, "edf+d", x, REFERENTIAL, 6 * 200, 60.0)
    assert stream(model, path, "--speed", "max") == 1
    said = capsys.readouterr().err
    assert (
        said
        == f"biot-bd stream: {path}: has 2 segments, the longest lasts 6 s (1200 samples), shorter than a window of 10 s\n"
    )


def test_a_stream_that_nobody_sends(model, capsys):
    pytest.importorskip("mne_lsl")
    assert stream(model, "--lsl", "nobody", "--wait-s", "0.5") == 1
    assert "no LSL stream of the name 'nobody' answered within 0.5 s" in capsys.readouterr().err


def test_without_the_extra(model, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne_lsl", None)
    assert stream(model, "--lsl", "any") == 1
    assert "pip install 'biot-bd[live]'" in capsys.readouterr().err
