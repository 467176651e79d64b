"""The page of a pretraining: what it says of losses, reconstructions and subjects, and how it looks in a browser."""

import json
import re
import shutil
import warnings

import numpy as np
import pytest
from browser_pages import DESK, PHONE, check_page, open_page
from cheap_pictures import take_no_pictures
from sklearn.pipeline import make_pipeline

from biot_bd import PercentileScaler, Pretrainer
from biot_bd.exceptions import CheckpointError
from biot_bd.pretraining import load_pretraining, save_pretraining, score_reconstruction
from biot_bd.report import write_pretraining_report
from biot_bd.report.pretraining_page import logs_of
from biot_bd.signals.subject_array import SubjectArray

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "module__sfreq": 200}


def signals(names, n=8, seed=0):
    x = np.random.default_rng(seed).normal(0, 20, (n * len(names), 3, 800)).astype("float32")
    return SubjectArray(x, np.repeat(names, n))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretraining") / "run"
    net = Pretrainer(
        "biot",
        {"masked-spectrum": 1.0, "biot-contrastive": 0.5},
        **TINY,
        max_epochs=2,
        batch_size=8,
        device="cpu",
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = make_pipeline(PercentileScaler(), net).fit(signals(["site/01", "site/02", "site/03"]))
    return save_pretraining(pipeline, folder, generated=True)


@pytest.fixture(scope="module")
def page(run):
    with pytest.MonkeyPatch.context() as patch:
        take_no_pictures(patch)
        return write_pretraining_report(run, windows=signals(["site/08", "site/09"], seed=1))


@pytest.fixture(scope="module")
def drawn(run, tmp_path_factory):
    folder = shutil.copytree(run, tmp_path_factory.mktemp("drawn") / "run")
    return write_pretraining_report(folder, windows=signals(["site/08", "site/09"], seed=1))


def test_the_page_says_losses_beside_chance_who_was_seen_and_that_data_are_generated(run, page):
    text, described = page.read_text(encoding="utf-8"), json.loads((run / "pretraining.json").read_text())
    last = json.loads((run / "history.json").read_text())[-1]
    assert f"{last['valid_biot-contrastive_loss']:.3f}" in text
    assert f"chance {last['valid_biot-contrastive_chance']:.3f}" in text
    assert "Generated data: not a clinical result" in text
    assert ", ".join(described["train_subjects"]) in text
    assert "unsupervised" in text
    assert "https:" not in text
    assert "http:" not in text.replace("http://www.w3.org/", "")


def test_scores_on_the_page_and_beside_it_are_those_of_the_subjects_apart(run, page):
    loaded = load_pretraining(run)
    ready = loaded[:-1].transform(signals(["site/08", "site/09"], seed=1))
    expected = score_reconstruction(loaded[-1], ready, objective="masked-spectrum")
    text = page.read_text(encoding="utf-8")
    for row in expected.rows("subject").itertuples():
        assert f'<th scope="row">{row.subject}</th><td>{row.skill:.3f}</td>'.replace("-", "−") in text.replace("-", "−")
    stored = json.loads((run / "reconstruction" / "scores.json").read_text())["objectives"]
    assert list(stored) == ["masked-spectrum"]  # the contrastive objective reconstructs nothing
    assert stored["masked-spectrum"]["table"][0]["skill"] == pytest.approx(expected.table["skill"][0], rel=1e-6)
    files = {path.name for path in (run / "reconstruction" / "pictures").iterdir()}
    assert {"masked-spectrum-window-1.png", "masked-spectrum-spectra.png", "masked-spectrum-scores.png"} <= files
    links = re.findall(r'href="(reconstruction/[^"]+)"', text)
    assert len(links) == 6  # two tables, four pictures
    assert all((run / link).is_file() for link in links)


def test_a_page_made_again_without_windows_keeps_scores_and_pictures(run, page, cheap_pictures):
    before = page.read_text(encoding="utf-8")
    again = write_pretraining_report(run).read_text(encoding="utf-8")
    try:
        assert "site/09" in again
        links = r'href="(reconstruction/[^"]+)"'
        assert {link.replace(".svg", ".png") for link in re.findall(links, again)} == set(re.findall(links, before))
        assert cheap_pictures == ["Reconstruction by channel and by subject"]
    finally:
        page.write_text(before, encoding="utf-8")


def test_training_subjects_are_refused(run):
    with pytest.raises(ValueError, match="subjects that never trained; these trained: site/0"):
        write_pretraining_report(run, windows=signals(["site/01", "site/02", "site/03"]))


def test_a_folder_without_a_pretraining_and_a_damaged_history_are_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="no pretrained model here"):
        write_pretraining_report(tmp_path)
    history = run / "history.json"
    before = history.read_text()
    history.write_text("{}")
    try:
        with pytest.raises(CheckpointError, match=r"history\.json"):
            write_pretraining_report(run)
        history.unlink()
        with pytest.raises(CheckpointError, match=r"history\.json: missing; copy the whole folder again"):
            write_pretraining_report(run)
    finally:
        history.write_text(before)


def test_logs_are_told_by_part_and_gaps_are_nan():
    rows = [
        {"epoch": 1, "dur": 1.0, "train_loss": 2.0, "train_loss_best": True, "valid_kl": 0.5, "train_batch_count": 3},
        {"epoch": 2, "dur": 1.0, "train_loss": 1.0, "train_loss_best": True, "valid_kl": None, "train_batch_count": 3},
    ]
    found = logs_of(rows)
    assert list(found) == ["loss", "kl"]
    np.testing.assert_array_equal(found["loss"]["train"], [2.0, 1.0])
    np.testing.assert_array_equal(found["kl"]["valid"], [0.5, np.nan])


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(DESK, False), (DESK, True), (PHONE, False), (PHONE, True)])
def test_the_page_is_reachable_and_readable(browser, drawn, width, dark):
    with open_page(browser, drawn, width=width, dark=dark) as shown:
        check_page(shown)
