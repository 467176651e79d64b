"""What others do with a version: plain braindecode loads it, engines compute it, its card is read."""

import shutil

import braindecode.models
import numpy as np
import pytest
import torch
from small_composites import fitted, probed
from small_pipeline import few_windows, save_small_pipeline

from biot_bd import BIOTClassifier, Detector, export_model, load_pipeline, save_pipeline
from biot_bd.deploy import Registry
from biot_bd.deploy.model_registry.card import card_text
from biot_bd.exceptions import ModelRegistryError

PRIVATE = "Mustermann"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Registry(tmp_path_factory.mktemp("registry"))


def test_plain_braindecode_loads_a_version_with_equal_logits(saved):
    version = saved.resolve("mine")
    model = braindecode.models.BIOT.from_pretrained(version.folder, strict=True).eval()
    assert type(model) is braindecode.models.BIOT
    own = load_pipeline(version.folder).steps[-1][1].module_.eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (3, 16, 2000)).astype(np.float32))
    with torch.no_grad():
        torch.testing.assert_close(model(x), own(x), rtol=0, atol=1e-6)
    assert version.facts["model"]["hub_class"] == "braindecode.models:BIOT"


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"module__n_channel_tokens": 6}, "6 channel tokens of which it uses 4"),
        ({"module__class_token": True}, "class token"),
    ],
)
def test_a_model_that_braindecode_has_no_class_for_says_why(models, tmp_path, parameters, reason):
    folder = save_small_pipeline(tmp_path / "model", **parameters)
    version = models.save(folder, f"other-{len(models.list())}", "1.0.0")
    assert version.facts["model"]["hub_class"] is None
    assert reason in version.facts["model"]["hub_reason"]
    assert "| plain braindecode loads it | no: a BIOT with" in (version.folder / "README.md").read_text()
    assert models.verify(version.name).replayed


def test_a_composite_says_that_it_has_several_parts(models, tmp_path):
    pipeline, _ = fitted(probed("linear"))
    version = models.save(save_pipeline(pipeline, tmp_path / "model"), "probe", "1.0.0")
    assert version.facts["model"]["kind"] == "probe"
    assert "several parts" in version.facts["model"]["hub_reason"]
    assert models.verify("probe").replayed


def test_a_model_that_takes_no_absent_channels_is_proven_on_whole_windows(models, tmp_path):
    version = models.save(save_small_pipeline(tmp_path / "model", module="shallow"), "shallow", "1.0.0")
    assert version.facts["input"]["absent_channels"] is False
    assert version.facts["model"]["hub_class"] == "braindecode.models:ShallowFBCSPNet"
    with np.load(version.folder / "probe.npz", allow_pickle=False) as probe:
        assert probe["present"].all()
    assert models.verify("shallow").replayed


def test_three_classes_are_registered_and_verified_but_are_no_detector(models, tmp_path):
    windows = few_windows()
    net = BIOTClassifier(
        "shallow", classes=None, max_epochs=1, train_split=None, device="cpu", verbose=0, random_state=0
    )
    net.fit(windows, np.arange(len(windows)) % 3)
    version = models.save(save_pipeline(net, tmp_path / "model"), "three", "1.0.0")
    assert (version.facts["classes"], version.facts["positive_label"]) == ([0, 1, 2], None)
    assert models.verify("three").replayed
    with pytest.raises(ValueError, match="a model of two classes"):
        models.load("three")


def test_a_model_that_does_not_know_its_channels_is_refused_and_nothing_is_left(models, tmp_path):
    x = np.random.default_rng(0).normal(0, 30, (12, 2, 400)).astype(np.float32)
    net = BIOTClassifier("shallow", max_epochs=1, train_split=None, device="cpu", verbose=0, random_state=0)
    bare = save_pipeline(net.fit(x, [0, 1] * 6), tmp_path / "bare")
    with pytest.raises(ValueError, match="does not say its"):
        models.save(bare, "bare", "1.0.0")
    assert not (models.root / "bare").exists()
    assert not list(models.root.glob(".*"))


def test_labels_may_be_words(models, tmp_path):
    version = models.save(
        save_small_pipeline(tmp_path / "model", labels=["seizure", "background"], classes=None), "words", "1.0.0"
    )
    assert version.facts["classes"] == ["background", "seizure"]
    assert models.verify("words").replayed


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Return a saved model with an ONNX graph beside it."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    shutil.copytree(trained, folder)
    export_model(folder, folder / "exports" / "onnx", format="onnx")
    return folder


@pytest.mark.slow
def test_exported_engines_go_along_and_compute_the_same_probe_batch(models, exported):
    version = models.save(exported, "fast", "1.0.0")
    assert {"exports/onnx/model.onnx", "exports/onnx/artifact.json"} <= set(version.files)
    found = models.verify("fast")
    assert {("torch", "fp32"), ("onnx", "fp32")} <= {(one.engine, one.precision) for one in found.replayed}
    assert max(one.largest_difference for one in found.replayed if one.precision == "fp32") < 1e-5
    assert Detector.load(version.folder, engine="onnx").scorer.engine == "onnx"
    assert version.facts["exports"][0]["format"] == "onnx"


@pytest.mark.slow
def test_engines_of_other_weights_are_refused(models, exported, tmp_path):
    folder = save_small_pipeline(tmp_path / "model")
    shutil.copytree(exported / "exports", folder / "exports")
    with pytest.raises(ModelRegistryError, match="exported from other weights"):
        models.save(folder, "mixed", "1.0.0")
    with pytest.raises(ModelRegistryError, match="an exported model; register the saved model"):
        models.save(exported / "exports" / "onnx", "graph", "1.0.0")


def test_the_hub_reads_the_card_and_it_says_what_is_not_recorded(saved):
    from huggingface_hub import ModelCard

    version = saved.resolve("mine")
    card = ModelCard.load(version.folder / "README.md")
    assert card.data.to_dict()["library_name"] == "braindecode"
    assert (card.data.license, card.data.license_name) == ("other", "ODC-By-1.0")
    assert "license: cc-by-4.0\n" in card_text(version.facts | {"licence": "CC-BY-4.0"}, None)
    assert ModelCard(card_text(version.facts | {"licence": None}, None)).data.license == "unknown"
    for told in (
        "site (supervised): 3 subjects: site/01, site/02, site/03",
        "Not a medical device",
        "made for tests",
        "**This very model**: not recorded",
        version.facts["model"]["weights_sha256"],
    ):
        assert told in card.text, told


def test_texts_of_others_are_no_markup_of_the_card(models, trained, tmp_path):
    from registered_models import RECORD, with_record

    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    with_record(folder, RECORD | {"title": "a | b\n# <script>alert(1)</script> [x](http://y)", "notes": ["`x`"]})
    text = (models.save(folder, "markup", "1.0.0").folder / "README.md").read_text()
    assert "<script>" not in text
    assert "\n# &lt;" not in text
    assert r"a \| b \# &lt;script&gt;" in text


def test_an_anonymous_version_names_nobody_and_its_guard_goes_on(models, trained, tmp_path):
    from registered_models import RECORD, with_record

    folder = tmp_path / PRIVATE
    shutil.copytree(trained, folder)
    subjects = [f"clinic/{PRIVATE}", "clinic/Musterfrau"]
    seen = {
        "source": PRIVATE,
        "trained_on": [{"dataset": "clinic", "subjects": subjects, "how": "supervised"}],
        "known": True,
    }
    with_record(
        folder,
        RECORD | {"title": PRIVATE, "subjects": {"train": subjects, "valid": [], "test": []}, "trained_on": seen},
    )
    named = models.save(folder, "named", "1.0.0")
    assert PRIVATE in (named.folder / "README.md").read_text()
    for number, source in enumerate((folder, named.folder)):
        version = models.save(source, "nobody", f"1.0.{number}", anonymous=True)
        content = b"".join(path.read_bytes() for path in version.folder.rglob("*") if path.is_file())
        assert PRIVATE.encode() not in content
        assert b"Musterfrau" not in content
        assert (version.facts["anonymous"], version.facts["created"]) == (True, None)
        assert models.verify(version.name, version.version).replayed
        again = Registry(tmp_path / str(number)).add(version.folder)
        assert again.digest == version.digest
    assert models.save(version.folder, "nobody", "1.1.0").facts["anonymous"] is True
