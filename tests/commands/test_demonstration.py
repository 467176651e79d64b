"""Every output of the demonstration model says that it is one: files, pictures, pages, what is printed."""

import json
import shutil
import subprocess
import sys

import edfio
import matplotlib
import mne
import pytest
from deploy_files import write_edf
from review_client import Client

from biot_bd.cli import main
from biot_bd.deploy import event_figures
from biot_bd.deploy.demo_model import shipped
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.review.server import ReviewServer
from biot_bd.models.checkpoints.demonstration import IN_SHORT

TORCH = ("--engine", "torch")  # onnxruntime has tests in processes of their own
SENTENCE = "model trained on generated data, never for clinical use"


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_edf(tmp_path_factory.mktemp("night") / "p01" / "night.edf", seconds=40, loud=(10, 30))


@pytest.fixture(scope="module")
def results(recording, tmp_path_factory):
    """All that ``detect`` writes of one recording; every second is an event, so that there are pictures."""
    out = tmp_path_factory.mktemp("results")
    titles = []

    def noted(*arguments, **options):
        titles.append(options["title"])
        return eeg_figure(*arguments, **options)

    eeg_figure = event_figures_module().eeg_figure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_figures_module(), "eeg_figure", noted)
        formats = [f"--format={name}" for name in ("tsv", "csv_bi", "edf", "mne", "json")]
        wanted = ["--plot", "--html", "--viewer", "--probabilities", "--threshold", "0.00001", *TORCH]
        assert main(["detect", str(shipped()), str(recording.parent), "-o", str(out), *formats, *wanted]) == 0
    return out, titles


def event_figures_module():
    import biot_bd.plots

    return biot_bd.plots


def only(folder, pattern):
    (path,) = folder.rglob(pattern)
    return path


@pytest.mark.parametrize("pattern", ["*_events.csv_bi", "*_events.tsv"])
def test_tables_say_so_in_words(results, pattern):
    assert IN_SHORT in only(results[0], pattern).read_text()


@pytest.mark.parametrize("pattern", ["*_detection.json", "*_events.json", "*_report.html", "*_viewer-01.html"])
def test_records_and_pages_say_what_it_learnt_from(results, pattern):
    text = only(results[0], pattern).read_text()
    assert SENTENCE in text
    assert "18 generated persons and a few public excerpts" in text


def test_annotations_of_edf_and_mne_say_so(results):
    assert edfio.read_edf(only(results[0], "*_events.edf")).recording.additional == tuple(IN_SHORT.split())
    annotations = mne.read_annotations(only(results[0], "*_annot.fif"))
    assert [row["model"] for row in annotations.extras] == [IN_SHORT] * len(annotations)


def test_pictures_say_so_in_their_title(results):
    _, titles = results
    assert titles
    assert all(title.endswith(f"\n{IN_SHORT}") for title in titles)


def test_the_picture_of_the_whole_recording_says_so(results):
    from biot_bd.deploy import read_detection

    figure = event_figures.overview_figure(read_detection(only(results[0], "*_detection.json")).detection)
    shown = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert IN_SHORT in shown


def test_the_review_page_is_told(results):
    server = ReviewServer(ReviewedResults(results[0], "anna", blind=True), "127.0.0.1", 0)
    try:
        client = Client(server.port)
        name = client.get("/recordings")[0]["recording"]
        assert SENTENCE in client.get(f"/recording?recording={name}")["demonstration"]
    finally:
        server.close()
        shutil.rmtree(results[0] / "reviews", ignore_errors=True)


def test_a_stream_says_so_first_and_last(recording, tmp_path, capsys):
    assert (
        main(["stream", str(shipped()), str(recording), "--speed", "max", *TORCH, "-o", str(tmp_path / "live.tsv")])
        == 0
    )
    out, err = capsys.readouterr()
    first = json.loads(out.splitlines()[0])
    assert SENTENCE in " ".join(first["notes"])
    assert first["model"] == "demo/1.0.0"  # not its folder's name, which is a version alone
    assert SENTENCE in err
    assert IN_SHORT in (tmp_path / "live.tsv").read_text()


def test_detect_prints_it(recording, tmp_path, capsys):
    assert main(["detect", str(shipped()), str(recording), *TORCH, "-o", str(tmp_path / "night.tsv")]) == 0
    printed = "".join(capsys.readouterr())
    assert SENTENCE in printed
    assert "1 recording done, 1 event; results" in printed


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "biot_bd.cli", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_an_export_and_what_it_finds_say_so(recording, tmp_path):
    assert SENTENCE in command("export", shipped(), "-o", tmp_path / "exported")
    assert SENTENCE in command("detect", tmp_path / "exported", recording, "-o", tmp_path / "x.tsv")
    assert IN_SHORT in (tmp_path / "x.tsv").read_text()


@pytest.mark.slow
def test_an_explanation_says_so(recording, tmp_path):
    told = "the model was trained on generated recordings: a demonstration, never for clinical use"
    assert told in command("explain", shipped(), recording, "-o", tmp_path / "explained")
    assert told in (tmp_path / "explained" / "explain.html").read_text()
    assert told in (tmp_path / "explained" / "explain.json").read_text()
