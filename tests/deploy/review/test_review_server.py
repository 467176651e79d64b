"""The review's server: what it gives, what it saves, and whom it refuses."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import mne
import numpy as np
import pytest
import scipy.signal
from deploy_files import BIPOLAR, write_edf
from gap_files import write_with_pause
from review_client import Client

from biot_bd.deploy import Detection, eeg_views, read_detection
from biot_bd.deploy.review import find_reviews, read_review, review_paths
from biot_bd.deploy.review.eeg_pieces import EegPieces
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.review.server import ReviewServer
from biot_bd.exceptions import ReviewError
from biot_bd.io import open_recording
from biot_bd.signals.montages import BIOT_16

NIGHT = "p1/night"


def mark(kind="added", onset_s=40.0, offset_s=50.0, detected=None, **other):
    facts = {"kind": kind, "onset_s": onset_s, "offset_s": offset_s, "detected": detected, "type": "sz", "remark": ""}
    return {**facts, "time": "2026-01-02T03:04:05+01:00", **other}


def saving(*marks, revision=0, read_whole=False, recording=NIGHT):
    return {"recording": recording, "revision": revision, "marks": list(marks), "read_whole": read_whole}


def decoded(message):
    """Return the facts and the microvolts of a message, by its description alone."""
    length = int.from_bytes(message[:4], "little")
    facts = json.loads(message[4 : 4 + length])
    steps = np.frombuffer(message[4 + length :], "<i2").reshape(-1, facts["n"]).astype(float)
    return facts, np.where(steps == -32768, np.nan, steps * facts["step_uv"])


def test_the_page_needs_nothing_from_elsewhere(client, server):
    for path in ("/", "/review.js", "/review.css", "/viewer.js", "/viewer.css"):
        status, body = client.ask("GET", path)
        assert status == 200
        assert b"https://" not in body
        assert b"http://" not in body.replace(b"http://www.w3.org", b"")
    assert server.url == f"http://127.0.0.1:{server.port}/"
    assert len(client.token) > 20


def test_what_is_known_of_a_recording(client, results):
    night, day = sorted(client.get("/recordings"), key=lambda row: row["recording"] != NIGHT)
    assert (night["n_events"], night["n_decided"], night["fault"]) == (1, 0, None)
    assert (day["recording"], day["n_events"]) == ("p2/day b", 0)
    facts = client.get("/recording?recording=p1/night")
    record = read_detection(results / "p1" / "night_detection.json")
    assert facts["detections"] == [{**event._asdict()} for event in record.detection.events]
    assert facts["about"]["ch_names"] == [*BIOT_16.ch_names, "Fz-Cz"]
    assert (facts["about"]["sfreq"], facts["about"]["recorded_hz"], facts["about"]["duration_s"]) == (128, 256, 60)
    assert facts["review"] == {"revision": 0, "read_whole": False, "saved": None, "marks": []}


def test_a_piece_is_the_recording_whichever_way_it_is_cut(client, detected):
    whole = decoded(client.ask("GET", "/signals?recording=p1/night&from=0&to=60")[1])[1]
    assert whole.shape == (17, 60 * 128)
    for from_s, to_s in ((0, 30), (30, 60), (7.3, 12.9), (59.9, 60)):
        facts, piece = decoded(client.ask("GET", f"/signals?recording=p1/night&from={from_s}&to={to_s}")[1])
        at = round(facts["start_s"] * 128)
        assert from_s <= facts["start_s"] < from_s + 1 / 128
        np.testing.assert_allclose(piece, whole[:, at : at + piece.shape[1]], atol=facts["step_uv"] + 1e-6)
    raw = mne.io.read_raw_edf(detected / "in" / "p1" / "night.edf", verbose="error")
    row = raw.ch_names.index("T7-P7")
    theirs = scipy.signal.resample_poly(raw.get_data()[row] * 1e6, 1, 2)
    np.testing.assert_allclose(whole[BIOT_16.ch_names.index("T7-P7")], theirs, atol=0.2)


def test_only_the_piece_is_read(results, monkeypatch):
    read = []

    def noting(recording, ch_names, start_s, stop_s):
        read.append(stop_s - start_s)
        return open_excerpt(recording, ch_names, start_s, stop_s)

    open_excerpt = eeg_views.read_excerpt
    monkeypatch.setattr(eeg_views, "read_excerpt", noting)
    pieces = ReviewedResults(results, "anna").pieces(NIGHT)
    assert pieces.message(30.0, 40.0) is pieces.message(30.0, 40.0)
    assert read == [pytest.approx(14, abs=0.01)]


def test_a_pause_is_no_signal_and_what_is_behind_it_has_its_time(tmp_path):
    times = np.arange(20 * 200) / 200
    x = np.tile(100 * np.sin(2 * np.pi * times), (2, 1))
    names = ["Fp1-F7", "F7-T7"]
    path = write_with_pause(tmp_path, "edf+d", x, names, 8 * 200, 4.5)
    segments = [(0.0, 8.0), (12.5, 12.0)]
    found = Detection(
        "x", [], [], [], 10.0, 5.0, 24.5, 200.0, dict.fromkeys(names, ""), [], {"montage": ""}, segments=segments
    )
    traces = EegPieces(open_recording(path), found).traces(6.0, 16.0)
    at = traces.start_s + np.arange(traces.values_uv.shape[1]) / traces.sfreq
    unknown = np.isnan(traces.values_uv).all(axis=0)
    assert (unknown == ((at >= 8 - 1e-6) & (at < 12.5 - 1e-6))).all()
    measured = np.where(at < 8, at, at - 4.5)
    inside = ~unknown & (np.abs(at - 8) > 0.5) & (np.abs(at - 12.5) > 0.5)  # a filter rings at a pause
    np.testing.assert_allclose(traces.values_uv[1][inside], 100 * np.sin(2 * np.pi * measured)[inside], atol=3)


def test_marks_are_on_the_disk_when_the_server_says_so(client, results):
    (event,) = client.get("/recording?recording=p1/night")["detections"]
    times = [event["onset_s"], event["offset_s"]]
    moved = mark("moved", times[0] - 2, times[1], times, remark="starts earlier", type="sz_foc")
    status, saved = client.save(saving(moved, mark(), read_whole=True))
    assert (status, saved["revision"], saved["marks"]) == (200, 1, [moved, mark()])
    review = read_review(review_paths(results, "anna", NIGHT)[0])
    assert (review.reviewer, review.read_whole, review.duration_s) == ("anna", True, 60.0)
    record = read_detection(results / "p1" / "night_detection.json")
    assert (review.digest, review.model) == (record.recording["digest"], record.model)
    assert review.events == [(times[0] - 2, times[1], "sz_foc"), (40.0, 50.0, "sz")]
    row = next(row for row in client.get("/recordings") if row["recording"] == NIGHT)
    assert (row["n_decided"], row["n_added"], row["read_whole"]) == (1, 1, True)


def test_the_later_of_two_windows_is_told_and_nothing_is_lost(client):
    assert client.save(saving(mark()))[0] == 200
    status, said = client.save(saving(mark(onset_s=45.0)))
    assert status == 409
    assert "saved elsewhere since (revision 1, not 0)" in said
    assert client.get("/recording?recording=p1/night")["review"]["marks"] == [mark()]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "expected JSON"),
        (b"\xff\xfe", 400, "expected JSON"),
        (b"[" * 100_000, 400, ""),
        (b"null", 400, "expected an object"),
        (saving() | {"marks": None}, 400, "marks: expected a list, found None"),
        (saving(mark() | {"onset_s": "soon"}), 400, "marks[0].onset_s: expected a number, found 'soon'"),
        (saving({"kind": "added"}), 400, "is missing"),
        (saving(mark(onset_s=float("nan"))), 400, "finite"),
        (saving(mark(onset_s=10**400)), 400, ""),
        (saving(mark(onset_s=50.0, offset_s=70.0)), 400, "not inside the recording of 60 s"),
        (saving(mark("confirmed", 1.0, 2.0, [1.0, 2.0])), 400, "nothing was detected from 1 to 2 s"),
        (saving(mark(remark="a\u2028b")), 400, "one line"),
        (saving(mark(remark="\ud800")), 400, "one line"),
        (saving(read_whole=True), 400, "1 detections are undecided"),
        (saving(recording="p1/day"), 404, "no recording 'p1/day'"),
        (saving(recording="../out/p1/night"), 404, "no recording"),
        (saving(recording="\ud800"), 404, "no recording"),
    ],
)
def test_what_cannot_be_saved_is_refused_in_a_line(client, results, body, status, said):
    found, line = client.save(body)
    assert found == status
    assert said in line
    assert "\n" not in line
    assert find_reviews(results) == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_Review_Token": "x" * 32}, 403),
        ({"X_Review_Token": None}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 400),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Length": "9" * 9}, 413),
        ({"Content_Length": "-1"}, 411),
        ({"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_who_is_not_the_page_saves_nothing(client, results, headers, status):
    assert client.save(saving(mark()), **headers)[0] == status
    assert find_reviews(results) == {}


@pytest.mark.parametrize(
    "path", ["/recordings", "/recording?recording=p1/night", "/signals?recording=p1/night&from=0&to=1"]
)
def test_other_sites_read_nothing(client, path):
    assert client.ask("GET", path, Sec_Fetch_Site="cross-site")[0] == 403
    assert client.ask("GET", path, Origin="http://evil.example")[0] == 403
    assert client.ask("GET", path, Host="evil.example")[0] == 400
    assert client.ask("GET", path)[0] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/../../results", 404),
        ("/recording", 400),
        ("/recording?recording=a&recording=b", 400),
        ("/recording?recording=p1/none", 404),
        ("/recording?recording=..%2Fout%2Fp1%2Fnight", 404),
        ("/recording?recording=p1/night%00", 404),
        ("/signals?recording=p1/night&from=0", 400),
        ("/signals?recording=p1/night&from=0&to=nan", 400),
        ("/signals?recording=p1/night&from=-1&to=2", 400),
        ("/signals?recording=p1/night&from=5&to=5", 400),
        ("/signals?recording=p1/night&from=0&to=1e9", 400),
        ("/signals?recording=p1/night&from=0&to=inf", 400),
    ],
)
def test_what_is_not_there_is_a_line(client, path, status):
    found, body = client.ask("GET", path)
    assert found == status
    assert len(body.splitlines()) == 1
    assert client.ask("PUT", path)[0] == 405


def test_a_recording_that_moved_is_found_by_its_content(detected, results, tmp_path):
    path = results / "p1" / "night_detection.json"
    facts = json.loads(path.read_text())
    facts["recording"].update(path="/nowhere/night.edf", relative=None)
    path.write_text(json.dumps(facts))
    gone = ReviewedResults(results, "anna")
    assert gone.progress()[0]["fault"] is None
    with pytest.raises(ValueError, match=r"the recording is gone.*--recordings FOLDER"):
        gone.pieces(NIGHT)
    elsewhere = tmp_path / "moved"
    write_edf(elsewhere / "night.edf", [*BIPOLAR, "FZ-CZ"], seconds=60, seed=7)
    with pytest.raises(ValueError, match=r"nor is it below"):
        ReviewedResults(results, "anna", elsewhere).pieces(NIGHT)
    (elsewhere / "renamed.edf").write_bytes((detected / "in" / "p1" / "night.edf").read_bytes())
    found = ReviewedResults(results, "anna", elsewhere).pieces(NIGHT)
    assert Path(found.recording.where).name == "renamed.edf"


def test_another_recording_at_the_same_place_is_refused(results, tmp_path):
    other = write_edf(tmp_path / "other.edf", [*BIPOLAR, "FZ-CZ"], seconds=60, seed=7)
    path = results / "p1" / "night_detection.json"
    facts = json.loads(path.read_text())
    facts["recording"].update(path=str(other), relative=None)
    path.write_text(json.dumps(facts))
    server = ReviewServer(ReviewedResults(results, "anna"))
    try:
        told = Client(server.port).get("/recording?recording=p1/night")
        assert "not the recording of" in told["fault"]
        assert (told["about"], len(told["detections"])) == (None, 1)
        assert Client(server.port).ask("GET", "/signals?recording=p1/night&from=0&to=1")[0] == 400
    finally:
        server.close()


def test_marks_of_another_recording_are_not_taken_for_this_one(client, results):
    assert client.save(saving(mark()))[0] == 200
    path = results / "p1" / "night_detection.json"
    facts = json.loads(path.read_text())
    facts["recording"]["digest"] = "0" * 32
    path.write_text(json.dumps(facts))
    assert "marks of another recording" in client.get("/recordings")[0]["fault"]
    assert client.save(saving(revision=1))[0] == 400


def test_a_record_that_is_damaged_is_a_line_and_the_others_go_on(client, results):
    path = results / "p1" / "night_detection.json"
    path.write_text("{")
    night, day = sorted(client.get("/recordings"), key=lambda row: row["recording"] != NIGHT)
    assert str(path) in night["fault"]
    assert day["fault"] is None
    status, body = client.ask("GET", "/recording?recording=p1/night")
    assert (status, len(body.splitlines())) == (400, 1)
    for text in ("[]", '{"format": "other"}', '{"format": "biot_bd detection", "version": 9}'):
        path.write_text(text)
        assert client.get("/recordings")[0]["fault"] is not None
    assert client.save(saving(recording="p2/day b"))[0] == 200


def test_a_blind_review_says_nothing_of_the_detector(results):
    server = ReviewServer(ReviewedResults(results, "anna", blind=True))
    try:
        client = Client(server.port)
        facts = client.get("/recording?recording=p1/night")
        about = facts["about"]
        assert (facts["detections"], about["curve"], about["windows"], about["threshold"]) == ([], None, None, None)
        assert (about["gaps"], about["events"], about["notes"]) == ([], [], [])
        assert client.get("/recordings")[0]["n_events"] == 0
        assert client.save(saving(mark(), read_whole=True))[0] == 200
        (event,) = read_detection(results / "p1" / "night_detection.json").detection.events
        found = [event.onset_s, event.offset_s]
        status, said = client.save(saving(mark("confirmed", *found, found), revision=1))
        assert (status, "nothing was detected" in said) == (400, True)
    finally:
        server.close()
    sidecar = review_paths(results, "anna", NIGHT)[0]
    assert (read_review(sidecar).blind, read_review(sidecar).read_whole) == (True, True)
    # In sight of the detections it is no longer blind, and cannot become so again.
    seen = ReviewedResults(results, "anna")
    assert seen.review(NIGHT).undecided == [tuple(found)]
    assert not seen.save(NIGHT, 1, seen.review(NIGHT).marks, False).blind
    with pytest.raises(ReviewError, match="begun with the detections in sight"):
        ReviewedResults(results, "anna", blind=True).review(NIGHT)


def test_a_folder_without_detections_is_an_error(tmp_path):
    with pytest.raises(ReviewError, match="holds no detections to review"):
        ReviewedResults(tmp_path, "anna")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ReviewedResults(tmp_path / "none", "anna")


KILLED = """
import sys, time
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.review.server import ReviewServer
print(ReviewServer(ReviewedResults(sys.argv[1], "anna")).port, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_server_loses_no_saved_mark(results):
    child = subprocess.Popen([sys.executable, "-c", KILLED, results], stdout=subprocess.PIPE, text=True)
    try:
        client = Client(int(child.stdout.readline()))
        status, saved = client.save(saving(mark()))
        child.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert status == 200
    server = ReviewServer(ReviewedResults(results, "anna"))
    try:
        again = Client(server.port)
        assert again.get("/recording?recording=p1/night")["review"] == saved
        assert again.save(saving(mark(), mark(onset_s=51, offset_s=55), revision=1))[0] == 200
    finally:
        server.close()
