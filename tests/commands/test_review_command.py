"""``biot-bd review``: its page until Ctrl-C, and errors in one line."""

import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from deploy_files import BIPOLAR, write_edf
from review_client import Client

from biot_bd.cli import main
from biot_bd.deploy import Detector, write_detection_record
from biot_bd.deploy.review import find_reviews


@pytest.fixture
def results(tmp_path):
    """One recording without a model: its record is all that a review needs."""
    from live_signals import Loudness

    from biot_bd import EventDetector

    edf = write_edf(tmp_path / "in" / "a.edf", BIPOLAR, seconds=30)
    detector = Detector(Loudness(), EventDetector(window_s=10, smoothing_s=0, target=None), stride_s=5)
    found = detector.detect(edf)
    write_detection_record(tmp_path / "out" / "a_detection.json", found, tmp_path / "model", patient="a")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--reviewer anna; marks are kept below RESULTS/reviews/anna"),
        (["--reviewer", "../anna"], "reviewer '../anna': expected 1 to 64 letters"),
        (["--reviewer", "anna", "--recordings", "nowhere"], "nowhere: no such folder"),
        (["--reviewer", "anna", "--allow-host", "a/b"], "is no name or address"),
    ],
)
def test_what_is_wrong_is_one_line(results, arguments, said, capsys):
    assert main(["review", str(results), *arguments]) in (1, 2)
    line = capsys.readouterr().err
    assert said in line
    assert len(line.splitlines()) == 1


def test_a_folder_without_records_is_told_what_to_do(tmp_path, capsys):
    assert main(["review", str(tmp_path), "--reviewer", "anna"]) == 1
    assert "give a folder that biot-bd detect wrote" in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line(results, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["review", str(results), "--reviewer", "anna", "--port", str(port)]) == 1
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_what_was_saved_and_what_goes_on(results, how):
    arguments = ["review", str(results), "--reviewer", "anna", "--port", "0"]
    code = f"from biot_bd.cli import main; raise SystemExit(main({arguments!r}))"
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    killer = threading.Timer(120, child.kill)
    killer.start()
    try:
        first = child.stderr.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", first)[1])
        mark = {"kind": "added", "onset_s": 3, "offset_s": 9, "detected": None, "type": "sz", "remark": ""}
        mark["time"] = "2026-01-02T03:04:05+00:00"
        asked = {"recording": "a", "revision": 0, "marks": [mark], "read_whole": True}
        assert Client(port).save(asked)[0] == 200
        os.kill(child.pid, how)
        rest = child.stderr.read()
        assert child.wait(timeout=30) == 0
    finally:
        killer.cancel()
        child.kill()
        child.wait()
        child.stderr.close()
    assert "1 changes saved now; 0 of 0 events decided, 1 of 1 recordings read whole" in rest
    assert "the same command goes on" in rest
    assert find_reviews(results)["anna"][0].events == [(3.0, 9.0, "sz")]
