"""From recordings without labels to a cross-validated, fine-tuned model: the whole chain by commands."""

import json
import shutil

import pytest
from cheap_pictures import take_no_pictures

from biot_bd import load_dataset
from biot_bd.cli import main
from biot_bd.evaluation.result import Result
from biot_bd.models import provenance_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

QUICK = ["--batch-size", "16", "--param", "device=cpu"]
SIZES = {
    "biot": ["embed_dim=16", "num_heads=2", "num_layers=2"],
    "multi-scale-biot": ["embed_dim=16", "num_heads=2", "num_layers=1"],
    "masked-vit": ["embed_dim=16", "num_heads=2", "num_layers=1", "patch_samples=200"],
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Recordings of three subjects without labels, and labelled ones of three others."""
    root = tmp_path_factory.mktemp("chain")
    load_dataset("demo", root / "demo", n_subjects=6, recordings=1, minutes=3)
    for subject in ("04", "05", "06"):
        (root / "alone" / subject).mkdir(parents=True)
        shutil.copy(root / "demo" / f"demo{subject}" / f"demo{subject}_01.edf", root / "alone" / subject)
    commands = (
        [
            "recordings-folder",
            root / "alone",
            "-o",
            root / "unlabelled",
            "--labels",
            "none",
            "--option",
            "namespace=demo",
        ],
        ["demo", root / "demo", "-o", root / "labelled", "--subjects", "01,02,03"],
        ["demo", root / "demo", "-o", root / "all"],
    )
    for command in commands:
        assert main(["prepare", *map(str, command), "--stride-s", "10"]) == 0
    return root


@pytest.mark.parametrize("model", SIZES)
def test_pretrained_without_labels_fine_tuned_and_tested_on_other_subjects(stores, tmp_path, capsys, model):
    run, result = tmp_path / "pretrained", tmp_path / "run"
    sizes = [word for size in SIZES[model] for word in ("--param", f"module__{size}")]
    with pytest.MonkeyPatch.context() as patch:
        take_no_pictures(patch)
        command = ["pretrain", str(stores / "unlabelled"), "-o", str(run), "--model", model, "--epochs", "4", *sizes]
        assert main([*command, *QUICK, "--lr", "0.001"]) == 0
    history = json.loads((run / "history.json").read_text())
    assert history[-1]["valid_loss"] < history[0]["valid_loss"]
    tune = ["--pretrained", str(run), "--epochs", "2", "--finetune", "two-stage", "--param", "finetune__head_epochs=1"]
    assert main(["cv", str(stores / "labelled"), "-o", str(result), *tune, *QUICK]) == 0
    found = Result.open(result)
    assert sorted(found.predictions["subject"].unique()) == ["demo/01", "demo/02", "demo/03"]
    assert found.contamination is None
    for number, fold in enumerate(sorted((result / "folds").iterdir())):
        seen = provenance_of(fold / "model")
        assert seen.saw([f"demo/{n:02d}" for n in range(1, 7)]) == sorted(
            {f"demo/{n:02d}" for n in range(1, 7)} - {f"demo/{number + 1:02d}"}
        )
        assert {one.how for one in seen.trained_on} == {"unsupervised", "supervised"}
    capsys.readouterr()
    assert main(["cv", str(stores / "all"), "-o", str(tmp_path / "refused"), *tune, *QUICK]) == 1
    assert "was trained on demo/04, demo/05, demo/06 of demo (unsupervised)" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
