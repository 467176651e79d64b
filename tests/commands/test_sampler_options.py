"""``--sampler`` and ``--augment`` of ``biot-bd cv`` and ``biot-bd train``."""

import json

import pytest

from biot_bd import load_pipeline
from biot_bd.cli import main
from biot_bd.commands._pipelines import build_pipeline

TINY = ["--param", "module__embed_dim=16", "--param", "module__num_heads=2", "--param", "module__num_layers=1"]
QUICK = [*TINY, "--epochs", "1", "--batch-size", "32", "--param", "device=cpu"]
OPTIONS = ["--sampler", "class-subject-balanced", "--augment", "light"]
NOTE = "training scores are of epochs drawn by sampler='class-subject-balanced' and windows changed by augment='light'"


def test_cv_trains_so_and_the_results_say_so(store, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["cv", str(store.folder), "-o", str(run), *QUICK, *OPTIONS]) == 0
    notes = json.loads((run / "run.json").read_text())["notes"]
    assert any(note.startswith(NOTE) for note in notes)
    assert "drawn by sampler" in " ".join((run / "report.html").read_text().split())
    history = json.loads((run / "folds" / "00" / "history.json").read_text())
    assert history[0]["train_scores_on"] == "sampled and augmented"


def test_train_saves_it_with_the_model(store, tmp_path, capsys):
    folder = tmp_path / "model"
    options = ["--sampler", "background-subsample", "--augment", "TimeReverse", "--augment", "SignFlip"]
    assert main(["train", str(store.folder), "-o", str(folder), *QUICK, *options, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert any("windows changed by augment=TimeReverse, SignFlip" in note for note in facts["notes"])
    classifier = load_pipeline(folder)[-1]
    assert classifier.sampler == "background-subsample"
    assert classifier.augment == ["TimeReverse", "SignFlip"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--sampler", "balanced"], "did you mean"),
        (["--augment", "Mixup"], "finetune"),
        (["--augment", "light", "--augment", "SignFlip"], "stands alone"),
        (["--sampler", "class-balanced", "--param", "sampler=subject-balanced"], "option of its own"),
    ],
)
def test_bad_names_end_in_one_line(store, tmp_path, capsys, options, match):
    assert main(["cv", str(store.folder), "-o", str(tmp_path / "run"), *QUICK, *options]) != 0
    assert match in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_parameters_of_transforms_go_through_param(store):
    pipeline = build_pipeline(store, params={"augment": [["GaussianNoise", {"std": 0.2}]]})
    assert pipeline[-1].augment == [["GaussianNoise", {"std": 0.2}]]
    plain = build_pipeline(store)[-1]
    assert plain.sampler is None
    assert plain.augment is None


def test_a_transform_with_parameters_and_channels_to_ignore(store, tmp_path, capsys):
    folder = tmp_path / "model"
    options = ["--augment", "TokenShuffle:which=channels,probability=1", "--ignore-channel", store.ch_names[0]]
    token = ["--param", "module__class_token=true", "--param", "module__token_drop_prob=0.1"]
    assert main(["train", str(store.folder), "-o", str(folder), *QUICK, *options, *token, "--json"]) == 0
    pipeline = load_pipeline(folder)
    assert list(pipeline.named_steps) == ["montagemapper", "ignorechannels", "percentilescaler", "biotclassifier"]
    assert pipeline[-1].augment == ("TokenShuffle", {"which": "channels", "probability": 1})
    assert pipeline[-1].module_.token_layout().readout == "class"
    seen = pipeline[:-1].transform(store[:3])
    assert not seen.present[:, 0].any()
    assert seen.present[:, 1:].all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--augment", "GaussianNoise:std"], "--augment GaussianNoise: 'std': expected KEY=VALUE"),
        (["--augment", "GaussianNoise:sdt=1"], "no parameter 'sdt'"),
        (["--ignore-channel", "Nose"], "there is no channel 'Nose'; there are"),
    ],
)
def test_what_is_misspelt_is_refused_before_training(store, tmp_path, capsys, options, match):
    assert main(["train", str(store.folder), "-o", str(tmp_path / "m"), *QUICK, *options]) == 1
    assert match in " ".join(capsys.readouterr().err.split())
