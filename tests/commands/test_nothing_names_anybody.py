"""``--anonymous``: every byte of all that commands write and print, searched for planted names, places and dates."""

import datetime
import getpass
import platform
import shutil
import socket

import pytest
from planted_names import STAFF, WARD, found_in, found_in_text, plant

from biot_bd.cli import main
from biot_bd.deploy.review.marks import Mark
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.models import provenance_of
from biot_bd.runs import read_json

pytestmark = pytest.mark.slow

SMALL = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]
SMALL += ["--param", "module__hop_length=200", "--param", "device=cpu", "--epochs", "1"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine, a user and a working folder whose names tell something, too."""
    root = tmp_path_factory.mktemp(f"ward-{WARD}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("HOME", "USERPROFILE"):
            patch.setenv(name, str(root / f"home-{STAFF}"))
        for name in ("USER", "LOGNAME", "USERNAME"):
            patch.setenv(name, STAFF)
        patch.setattr(socket, "gethostname", lambda: f"{WARD}-eeg-17")
        patch.setattr(platform, "node", lambda: f"{WARD}-eeg-17")
        patch.setattr(getpass, "getuser", lambda: STAFF)
        yield root


@pytest.fixture(scope="module")
def edf(machine):
    return plant(machine)


def told(capsys, *arguments):
    """Run a command; return what was found on stdout: the screen (stderr) may name what was given."""
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert status == 0, captured.err[-2000:]
    return found_in_text(captured.out, today())


def today():
    return [datetime.datetime.now(datetime.UTC).date(), datetime.date.today()]


@pytest.fixture(scope="module")
def made(machine, edf):
    """A store, a run, a model of anonymous windows, and a model that names its subjects."""
    out = machine / "out"
    assert main(["prepare", "recordings-folder", str(edf), "-o", "out/windows", "--anonymous", "--key", "key.tsv"]) == 0
    assert main(["prepare", "recordings-folder", str(edf), "-o", "named/windows"]) == 0
    assert main(["train", "named/windows", "-o", "named/model", *SMALL]) == 0
    return out


def test_the_search_finds_what_is_planted(machine, made):
    names = [line.rpartition(", ")[2] for line in found_in(machine / "named", today())]
    assert {"quillfeather", WARD} <= set(names)
    assert any("tfevents" in line for line in found_in(machine / "named", today()))  # the machine's name


def test_windows(machine, made):
    assert found_in(made / "windows", today()) == []


def test_a_run_its_page_and_its_models(machine, made, capsys):
    assert told(capsys, "cv", "out/windows", "-o", "out/run", "--cv", "subject-kfold-2", *SMALL) == []
    assert found_in(made / "run", today()) == []


def test_a_model_that_started_from_one_that_names_its_subjects(machine, made, capsys):
    given = ["--pretrained", "named/model", "--allow-contaminated"]
    assert told(capsys, "train", "out/windows", "-o", "out/model", *SMALL, *given) == []
    assert told(capsys, "export", "out/model", "-o", "out/exported") == []
    assert told(capsys, "explain", "out/model", "out/windows", "-o", "out/explained", "--probe", "token-ig") == []
    assert found_in(made / "model", today()) == []
    assert found_in(made / "exported", today()) == []
    assert found_in(made / "explained", today()) == []


def test_pretraining_and_embeddings(machine, made, capsys):
    assert told(capsys, "pretrain", "out/windows", "-o", "out/pretrained", *SMALL) == []
    assert told(capsys, "embed", "out/windows", "-o", "out/embedded", "--pretrained", "out/pretrained") == []
    assert found_in(made / "pretrained", today()) == []
    assert found_in(made / "embedded", today()) == []
    assert found_in(made / "windows", today()) == []  # with the notes of its users, and the cache of embeddings


def test_results_pages_reviews_and_what_is_tuned_on_them(machine, made, edf, capsys):
    formats = [word for name in ("tsv", "csv_bi", "edf", "mne", "json") for word in ("--format", name)]
    everything = ["--probabilities", "--plot", "--html", "--viewer", "--anonymous", "--key", "results-key.tsv"]
    assert (
        told(capsys, "detect", "named/model", edf, "-o", "out/results", *formats, *everything, "--threshold", "0.1")
        == []
    )
    assert (
        told(capsys, "detect", "named/model", edf, "-o", "out/results", "--skip-existing", "--json", *everything) == []
    )
    reviewed = ReviewedResults(made / "results", "reviewer-1", recordings=edf)
    for name in reviewed.names:
        reviewed.pieces(name)  # found by its content
        reviewed.save(name, 0, [Mark("added", 6.0, 19.0)], read_whole=False)
    assert found_in(made / "results", today()) == []


def test_live_detection_and_scores(machine, made, edf, capsys):
    recording = next(edf.rglob("*_0.edf"))
    given = ["--speed", "max", "--log", "out/live.log", "-o", "out/live.tsv", "--anonymous", "--decisions"]
    assert told(capsys, "stream", "named/model", recording, *given) == []
    assert main(["detect", "named/model", str(edf), "-o", "named/results"]) == 0
    capsys.readouterr()
    assert told(capsys, "score", edf, "named/results", "--anonymous", "-o", "out/scores.json") == []
    assert found_in(made / "live.log", today()) == []
    assert found_in(made / "live.tsv", today()) == []
    assert found_in(made / "scores.json", today()) == []


def test_a_failing_recording_is_named_on_the_screen_alone(machine, edf, made, capsys):
    shutil.copytree(edf, broken := machine / f"broken {WARD}")
    next(broken.rglob("*_1.edf")).write_bytes(b"no EDF")
    assert main(["detect", "named/model", str(broken), "-o", "out/broken", "--anonymous", "--html"]) == 1
    assert f"broken {WARD}" in capsys.readouterr().err
    assert (
        main(["prepare", "recordings-folder", str(broken), "-o", "out/part", "--anonymous", "--on-error", "skip"]) == 0
    )
    assert found_in(made / "broken", today()) == []
    assert found_in(made / "part", today()) == []
    assert [row["outcome"] for row in read_json(made / "part/manifest.json")["outcomes"]].count("unreadable") == 1


def test_versions_in_the_registry_and_their_cards(machine, made, capsys):
    given = ["--anonymous", "--registry", "out/registry"]
    assert told(capsys, "models", "save", "named/model", "small", "1.0.0", *given) == []
    assert told(capsys, "models", "show", "small/1.0.0", "--registry", "out/registry") == []
    assert found_in(made / "registry", today()) == []


def test_a_search(machine, made, capsys):
    given = ["--grid", "lr=0.001,0.01", "--cv", "subject-kfold-2", "--inner-cv", "subject-kfold-2"]
    assert told(capsys, "search", "out/windows", "-o", "out/search", *given, "--validation-fraction", "0", *SMALL) == []
    assert found_in(made / "search", today()) == []


def test_a_version_of_a_contaminated_run_with_names(machine, made, capsys):
    given = ["--pretrained", "named/model", "--allow-contaminated", "--cv", "subject-kfold-2"]
    assert main(["cv", "named/windows", "-o", "named/run", *given, *SMALL]) == 0
    capsys.readouterr()
    fold = ["named/run/folds/00/model", "fold", "1.0.0", "--run", "named/run"]
    assert told(capsys, "models", "save", *fold, "--anonymous", "--registry", "out/folds") == []
    card = (made / "folds/fold/1.0.0/README.md").read_text(encoding="utf-8")
    assert "CONTAMINATED" in card
    assert "in cross-validation" in card
    assert found_in(made / "folds", today()) == []


def test_the_guard_goes_on_without_names(machine, made, capsys):
    assert provenance_of(machine / "named/model").known
    given = ["--pretrained", machine / "named/model", "--cv", "subject-kfold-2"]
    assert main(["cv", "out/windows", "-o", "refused", *SMALL, *map(str, given)]) != 0
    assert "the samples are the same" in capsys.readouterr().err
