"""``biot-bd explain-group``: the folder of a run and of a saved model, what the page says, what is refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import typer
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

from biot_bd import BIOTClassifier, PercentileScaler, load_dataset, prepare, save_pipeline
from biot_bd.commands.explain_group import explain_group as command
from biot_bd.probes import MapGroup
from biot_bd.report.group_page import explain_group_to_folder

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 200}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three subjects, and a model that was trained on one of them."""
    folder = tmp_path_factory.mktemp("group-page")
    windows = prepare(load_dataset("demo", folder / "edf", n_subjects=3, recordings=1, minutes=2), folder / "windows")
    net = BIOTClassifier(max_epochs=1, train_split=None, device="cpu", random_state=0, verbose=0, **SIZE)
    own = windows.query("subject == 'demo/01'")
    save_pipeline(make_pipeline(PercentileScaler(), net).fit(own, own.y), folder / "model")
    return folder, windows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    app = typer.Typer()
    app.command()(command)
    return lambda *args: CliRunner().invoke(app, [str(one) for one in args])


@pytest.fixture(scope="module")
def done(world, run):
    folder, _ = world
    found = run(
        folder / "model", folder / "windows", "-o", folder / "out", "--probe", "attention",
        "--band", "alpha", "--condition", "early=start_s < 60", "--per-subject", "3", "--json",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    return folder / "out", json.loads(found.stdout)


def test_the_folder_holds_maps_tables_pictures_and_the_page(done):
    out, facts = done
    group = MapGroup.load(out / "maps")
    assert (facts["subjects"], facts["bands"]) == (["demo/01", "demo/02", "demo/03"], ["all", "alpha"])
    assert facts["n_maps"] == len(group)
    table = pd.read_csv(out / "tables" / "maps.csv")
    np.testing.assert_allclose(table[list(group.layout.ch_names)], group.values.sum(axis=2), rtol=1e-5)
    compared = group.compare("label == 1", "label == 0")
    cells = pd.read_csv(out / "tables" / "comparison-channel-frame.csv")
    np.testing.assert_allclose(cells["difference"], compared.difference.mean.ravel(), rtol=1e-6)
    np.testing.assert_allclose(cells["p"], compared.difference.p.ravel())
    names = {path.name for path in (out / "pictures").glob("*.png")}
    assert {"difference-channel-frame.png", "difference-channel-channel.png", "bands.png", "mean-3.png"} <= names


def test_the_page_says_in_words_what_the_numbers_cannot(done):
    out, facts = done
    page = (out / "group.html").read_text()
    assert "no p-value below 0.25 can be reached" in page
    assert "was trained on 1 of these subjects (demo/01)" in page
    assert "Generated data: not a clinical result" in page
    assert "Each of the 3 subjects counts once" in page
    assert "connectivity" not in page.lower()
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert sum("can be reached" in note for note in facts["notes"]) == 1


def test_the_same_command_draws_what_is_computed(done, world, run, monkeypatch):
    folder, _ = world
    monkeypatch.setattr("biot_bd.probes.group_extraction._Part.computed", lambda part: pytest.fail("computed again"))
    args = ["--band", "alpha", "--condition", "early=start_s < 60", "--per-subject", "3"]
    found = run(folder / "model", folder / "windows", "-o", done[0], *args, "--compare", "condition == 'early'")
    assert found.exit_code == 0, found.output
    assert "condition == 'early' minus no seizure" in found.output
    other = run(folder / "model", folder / "windows", "-o", done[0], "--per-subject", "2")
    assert "holds a group of other" in str(other.exception)


def test_one_subject_is_shown_and_not_compared(world, tmp_path):
    folder, windows = world
    found = explain_group_to_folder(folder / "model", windows.query("subject == 'demo/02'")[::4], tmp_path / "out")
    assert found.comparison is None
    assert any("subjects are the units" in note for note in found.facts["notes"])
    assert "Nothing was compared" in found.page.read_text()


def test_what_is_asked_wrongly_is_refused(world, run, tmp_path):
    folder, windows = world
    with pytest.raises(ValueError, match="is a saved model, not a run: it has no fold 0"):
        explain_group_to_folder(folder / "model", windows, tmp_path / "out", fold=0)
    for args in (["--condition", "nonsense"], ["--condition", "a=label == 1", "--condition", "a=label == 0"]):
        found = run(folder / "model", folder / "windows", "-o", tmp_path / "out", *args)
        assert found.exit_code == 2
        assert "expected NAME=EXPRESSION" in found.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_each_fold_of_a_run_explains_its_own_test_subjects(world, tmp_path):
    from biot_bd import cross_validate

    _, windows = world
    net = BIOTClassifier(max_epochs=1, patience=None, device="cpu", random_state=0, verbose=0, **SIZE)
    cross_validate(make_pipeline(PercentileScaler(), net), windows, folder=tmp_path / "run", cv="subject-loo")
    found = explain_group_to_folder(tmp_path / "run", windows, tmp_path / "out", per_subject=2)
    assert found.group.subjects == ("demo/01", "demo/02", "demo/03")
    assert len(found.facts["sources"]) == 3
    assert not any("was trained on" in note for note in found.facts["notes"])
    one = explain_group_to_folder(tmp_path / "run", windows, tmp_path / "one", per_subject=2, fold=1)
    assert len(one.group.subjects) == 1
    own = found.group.select(f"subject == {one.group.subjects[0]!r}")
    np.testing.assert_allclose(own.values, one.group.values, rtol=1e-5)
    shutil.rmtree(tmp_path / "run" / "folds" / "02" / "model")
    with pytest.raises(ValueError, match="no saved model in fold 2"):
        explain_group_to_folder(tmp_path / "run", windows, tmp_path / "two", fold=2)
