"""Checkpoints in every layout, against the outputs of the official code and against the model that was written."""

import collections
import json
import os

import numpy as np
import pytest
import torch
from checkpoint_files import SIZES, encoder_of, head_of, index_of, prefixed, tiny, write_config
from safetensors.torch import save_file

from biot_bd.exceptions import CheckpointError
from biot_bd.models import BIOT, provenance_of, save_checkpoint
from biot_bd.models.checkpoints.loading import load_checkpoint
from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.checkpoints.published import CHANNELS_16, KNOWN
from biot_bd.models.checkpoints.report import LoadReport


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def features(model, x):
    with torch.no_grad():
        return model.eval()(torch.as_tensor(x), return_features=True)["features"].numpy()


def logits(model, x):
    with torch.no_grad():
        return model.eval()(torch.as_tensor(x)).numpy()


@pytest.fixture(scope="module")
def golden16(shared):
    return shared / "golden" / "biot-official-layout-16.ckpt"


@pytest.fixture(scope="module")
def golden18(shared):
    return shared / "golden" / "biot-official-lightning-18-depth2.ckpt"


def numbers(path):
    return np.load(path.with_suffix(".npz"))


# --- the official code's own outputs ----------------------------------------------------------------------


def test_encoder_only_file_of_the_official_code(golden16):
    model = BIOT.from_checkpoint(golden16)
    expected = numbers(golden16)
    assert relative(features(model, expected["x"]), expected["embedding"]) < 1e-5
    report = model.load_report
    assert (len(report.matched), report.missing, report.unexpected, report.shapes) == (56, (), (), {})
    assert report.ignored == {"index": "numbers of the channel tokens, 0, 1, ..."}
    assert report.head == "fresh: the checkpoint has none"
    assert model.n_outputs == 2
    assert tuple(report.channels) == CHANNELS_16


def test_lightning_file_of_the_official_code(golden18):
    model = BIOT.from_checkpoint(golden18)
    expected = numbers(golden18)
    assert relative(features(model, expected["x"]), expected["embedding"]) < 1e-5
    two = logits(model, expected["x"])
    assert relative(two[:, 1:], expected["logit"]) < 1e-5
    assert (two[:, 0] == 0).all()
    # The probability of class 1 is the sigmoid of the official logit.
    probability = torch.from_numpy(two).softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-expected["logit"][:, 0])), rtol=1e-5)
    assert model.load_report.layout == "official under 'model.'"
    one = BIOT.from_checkpoint(golden18, n_outputs=1)
    assert relative(logits(one, expected["x"]), expected["logit"]) < 1e-5
    six = BIOT.from_checkpoint(golden18, n_outputs=6)
    assert six.load_report.head == "fresh: n_outputs=6, and that of the checkpoint has 1"
    np.testing.assert_array_equal(features(six, expected["x"]), features(model, expected["x"]))


def test_eighteen_tokens_serve_sixteen_channels(golden18):
    """The 18-token model fed 16 channels is the 18-channel model without the other two."""
    x = torch.from_numpy(numbers(golden18)["x"])
    whole = BIOT.from_checkpoint(golden18)
    some = BIOT.from_checkpoint(golden18, channel_ids=range(16))
    absent = x.clone()
    absent[:, 16:] = torch.nan
    np.testing.assert_allclose(features(some, x[:, :16]), features(whole, absent), rtol=0, atol=2e-5)
    present = torch.ones(len(x), 18, dtype=torch.bool)
    present[:, 16:] = False
    with torch.no_grad():
        masked = whole(x, present, return_features=True)["features"].numpy()
    np.testing.assert_allclose(features(some, x[:, :16]), masked, rtol=0, atol=2e-5)
    assert some.n_channel_tokens == 18
    assert torch.equal(some.encoder.channel_tokens.weight, whole.encoder.channel_tokens.weight)


def test_channels_take_the_token_of_their_name(golden18):
    x = torch.from_numpy(numbers(golden18)["x"])
    whole = BIOT.from_checkpoint(golden18)
    names = ("C3-A2", "T3-T5", "Fp2-F8", "p4-o2")  # old names and other cases are the same channels
    ids = [17 - 1, 2, 4, 15]
    model = BIOT.from_checkpoint(golden18, ch_names=names)
    assert model.load_report.channels == dict(zip(names, ids, strict=True))
    assert model.channel_ids == tuple(ids)
    absent = torch.full_like(x, torch.nan)
    absent[:, ids] = x[:, ids]
    np.testing.assert_allclose(features(model, x[:, ids]), features(whole, absent), rtol=0, atol=2e-5)


def test_sixteen_named_or_nameless_channels(golden18):
    assert BIOT.from_checkpoint(golden18, ch_names=CHANNELS_16).channel_ids == tuple(range(16))
    nameless = BIOT.from_checkpoint(golden18, n_chans=16)
    assert nameless.channel_ids == tuple(range(16))
    assert "order of BIOT's 16" in nameless.load_report.notes[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ch_names": ["FP1-F7", "Fz-Cz", "EKG"]}, r"no channel token for Fz-Cz, EKG; there are FP1-F7"),
        ({"ch_names": ["T3-T5", "T7-P7"]}, "T3-T5, T7-P7 stand for one token"),
        ({"n_chans": 12}, "tokens for 18 channels, and the data have 12"),
        ({"channel_ids": [0, 1], "ch_names": ["FP1-F7"]}, "2 channel_ids for 1 channels"),
        ({"channel_ids": [0, 18]}, "outside the token table"),
        ({"num_heads": 16}, "num_heads=16 but the checkpoint needs 8"),
        ({"sfreq": 256}, r"sfreq=256 but the checkpoint needs 200 \(resample"),
        ({"hop_length": 200}, "hop_length=200 but the checkpoint needs 100"),
    ],
)
def test_what_shapes_do_not_show_is_checked(golden18, arguments, message):
    with pytest.raises(ValueError, match=message):
        BIOT.from_checkpoint(golden18, **arguments)


def test_dropout_is_that_of_the_official_code(golden18):
    model = BIOT.from_checkpoint(golden18)
    assert model.encoder.positional_encoding.dropout.p == 0.1
    assert BIOT.from_checkpoint(golden18, drop_prob=0.3).encoder.positional_encoding.dropout.p == 0.3


# --- layouts ----------------------------------------------------------------------------------------------


def _corpus_heads(model):
    return {
        f"classifier_{corpus}.clshead.1.{key}": value
        for corpus, n in (("chb_mit", 1), ("iiic_seizure", 6), ("tuab", 1), ("tuev", 6))
        for key, value in torch.nn.Linear(model.embed_dim, n).state_dict().items()
    }


def _projection(model):
    layers = torch.nn.Sequential(*(torch.nn.Linear(model.embed_dim, model.embed_dim) for _ in range(3)))
    return {f"prediction.{k}": v for k, v in layers.state_dict().items() if not k.startswith("1.")}


def _official(model):
    return prefixed({**encoder_of(model), **index_of(model)}, "biot.") | head_of(model)


LAYOUTS = {
    "encoder": lambda m: (encoder_of(m), "encoder"),
    "encoder with index": lambda m: ({**index_of(m), **encoder_of(m)}, "encoder"),
    "whole official": lambda m: (_official(m), "official"),
    "official without index": lambda m: (prefixed(encoder_of(m), "biot.") | head_of(m), "official"),
    "lightning": lambda m: (
        {"state_dict": prefixed(_official(m), "model."), "epoch": 3, "optimizer_states": [{"state": {}}]},
        "official under 'model.'",
    ),
    "distributed": lambda m: (prefixed(_official(m), "module."), "official under 'module.'"),
    "distributed encoder": lambda m: (prefixed(encoder_of(m), "module."), "encoder under 'module.'"),
    "lightning, distributed": lambda m: (
        {"state_dict": prefixed(_official(m), "model.module.")},
        "official under 'model.module.'",
    ),
    "compiled": lambda m: (prefixed(_official(m), "_orig_mod."), "official under '_orig_mod.'"),
    "supervised pretraining": lambda m: (
        prefixed({**index_of(m), **encoder_of(m)}, "biot.") | _corpus_heads(m),
        "supervised pretraining",
    ),
    "supervised pretraining, lightning": lambda m: (
        {"state_dict": prefixed(prefixed(encoder_of(m), "biot.") | _corpus_heads(m), "model.")},
        "supervised pretraining under 'model.'",
    ),
    "unsupervised pretraining": lambda m: (
        prefixed(encoder_of(m), "biot.") | _projection(m),
        "unsupervised pretraining",
    ),
    "unsupervised pretraining, distributed": lambda m: (
        prefixed(prefixed(encoder_of(m), "biot.") | _projection(m), "module."),
        "unsupervised pretraining under 'module.'",
    ),
    "braindecode": lambda m: (dict(m.state_dict()), "braindecode"),
    "training loop": lambda m: ({"model_state_dict": dict(m.state_dict()), "epoch": 2}, "braindecode"),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_every_layout_gives_the_same_model(name, suffix, tmp_path):
    model = tiny()
    content, layout = LAYOUTS[name](model)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        content = next((v for k, v in content.items() if k.endswith("state_dict")), content)
        save_file({key: value.contiguous() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    write_config(path, model)
    again = BIOT.from_checkpoint(path, n_times=400)
    x = torch.randn(3, 4, 400)
    np.testing.assert_array_equal(features(again, x), features(model, x))
    assert again.load_report.layout == layout
    assert again.load_report.complete
    if again.load_report.head.startswith("fresh"):
        assert "pretraining" in layout or "encoder" in layout
    else:
        np.testing.assert_array_equal(logits(again, x), logits(model, x))


def test_old_files_of_torch_save(tmp_path):
    model, path = tiny(), tmp_path / "old.pth"
    torch.save(collections.OrderedDict(_official(model)), path, _use_new_zipfile_serialization=False)
    write_config(path, model)
    x = torch.randn(2, 4, 400)
    np.testing.assert_array_equal(logits(BIOT.from_checkpoint(path, n_times=400), x), logits(model, x))


def test_half_precision_is_converted_and_said(tmp_path):
    model, path = tiny(), tmp_path / "half.ckpt"
    torch.save({key: value.half() for key, value in encoder_of(model).items()}, path)
    write_config(path, model)
    again = BIOT.from_checkpoint(path)
    assert again.encoder.channel_tokens.weight.dtype == torch.float32
    assert "converted from float16 to float32" in again.load_report.notes


# --- strictness -------------------------------------------------------------------------------------------


def _without(tensors, part):
    return {key: value for key, value in tensors.items() if part not in key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {"model.weight": torch.ones(3)}, "0 of its 1 tensors are of a BIOT encoder"),
        (lambda t: prefixed(t, "backbone."), "under 'backbone.', which no published layout has"),
        (
            lambda t: _without(t, "0.0.fn.to_q"),
            r"missing: encoder\.transformer\.layers\.layers\.0\.0\.fn\.to_q\.weight",
        ),
        (lambda t: _without(t, "layers.1."), "num_layers is 1 by shapes, but 2 by"),
        (lambda t: _without(t, "positional"), "missing: encoder.positional_encoding.pe"),
        (lambda t: _without(t, "channel_tokens"), "channel tokens missing"),
        (lambda t: {**t, "more.weight": torch.ones(2)}, "unexpected: .*more.weight"),
        (
            lambda t: {**t, "positional_encoding.pe": torch.ones(1, 9, 16)},
            r"other shapes: .*pe \[1, 9, 16\] instead of",
        ),
        (lambda t: {**t, "channel_tokens.weight": torch.ones(5, 16)}, "n_channel_tokens is 5 by shapes, but 4 by"),
        (lambda t: {**t, "channel_tokens.weight": torch.full((4, 16), torch.nan)}, "channel_tokens.weight holds NaN"),
        (lambda t: {**t, "index": torch.tensor([1, 0, 2, 3])}, "index is not 0, 1"),
        (lambda t: {**prefixed(t, "model."), **prefixed(t, "ema.")}, "holds 2 encoders"),
    ],
)
def test_partial_and_zero_matches_raise(change, message, tmp_path):
    model, path = tiny(), tmp_path / "weights.ckpt"
    torch.save(change(encoder_of(model)), path)
    write_config(path, model)
    with pytest.raises(CheckpointError, match=message) as caught:
        BIOT.from_checkpoint(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_report_of_what_did_not_fit_comes_with_the_error(tmp_path):
    model, path = tiny(), tmp_path / "weights.ckpt"
    torch.save(_without(encoder_of(model), "w1.bias") | {"odd": torch.ones(1)}, path)
    write_config(path, model)
    with pytest.raises(CheckpointError) as caught:
        BIOT.from_checkpoint(path)
    assert len(caught.value.report.missing) == 2
    assert caught.value.report.unexpected == ("odd",)


def test_a_head_that_does_not_fit(tmp_path):
    model, path = tiny(), tmp_path / "weights.ckpt"
    torch.save({**_official(model), "classifier.clshead.1.weight": torch.ones(2, 7)}, path)
    write_config(path, model)
    with pytest.raises(CheckpointError, match=r"the head .*\[2, 7\].* does not fit features of size 16"):
        BIOT.from_checkpoint(path)


def test_sizes_that_nobody_knows_need_the_heads(tmp_path):
    model, path = tiny(), tmp_path / "weights.ckpt"
    torch.save(encoder_of(model), path)
    with pytest.raises(CheckpointError, match=r"nothing records num_heads and hop_length .*weights\.ckpt\.json"):
        BIOT.from_checkpoint(path)
    again = BIOT.from_checkpoint(path, num_heads=2, hop_length=100, n_times=400)
    x = torch.randn(2, 4, 400)
    np.testing.assert_array_equal(features(again, x), features(model, x))


# --- files that are no weights ----------------------------------------------------------------------------


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_bomb_does_not_go_off(tmp_path):
    path, crater = tmp_path / "bomb.ckpt", tmp_path / "crater"
    torch.save({**encoder_of(tiny()), "hyper": _Bomb(str(crater))}, path)
    with pytest.raises(CheckpointError, match="only plain data and tensors are loaded") as caught:
        load_checkpoint(path)
    assert not crater.exists()
    assert "\n" not in str(caught.value)
    torch.save(_Bomb(str(crater)), path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not crater.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
        (b"\n  <html lang='en'>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"not weights at all", "no file of weights"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{broken header", "damaged or truncated safetensors"),
    ],
)
def test_files_that_are_something_else(content, message, tmp_path):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_truncated_files(suffix, part, tmp_path):
    path = save_checkpoint(tiny(), tmp_path / f"weights{suffix}", ["set/01"])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(CheckpointError, match="damaged") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[torch.ones(2)], {"a": 1}, {}, torch.ones(3), {3: torch.ones(1)}])
def test_files_of_torch_without_a_state_dict(content, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="expected a state dict"):
        load_checkpoint(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("prest16", "did you mean 'prest-16'"),
        ("no/such/file.ckpt", "no such file or folder"),
        ("EEG-PREST-16-channels.ckpt", "is published at https://github"),
    ],
)
def test_sources_that_do_not_exist(source, message):
    with pytest.raises(FileNotFoundError, match=message):
        load_checkpoint(source)


def test_an_empty_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights; expected model\.safetensors"):
        load_checkpoint(tmp_path)


def test_published_files_are_verified(tmp_path, monkeypatch, golden16):
    monkeypatch.setenv("BIOT_BD_CHECKPOINTS", str(tmp_path))
    (tmp_path / KNOWN["prest-16"].file).write_bytes(golden16.read_bytes())
    with pytest.raises(ValueError, match=r"not the published EEG-PREST-16-channels\.ckpt \(git blob id"):
        load_checkpoint("prest-16")


def test_a_published_file_in_the_folder_of_the_variable(tmp_path, monkeypatch, golden16):
    """The golden file stands in for the published one, which is not to be had here."""
    one = KNOWN["prest-16"]
    monkeypatch.setattr("biot_bd.models.checkpoints.resolve.git_blob_id", lambda path: one.blob_id)
    monkeypatch.setenv("BIOT_BD_CHECKPOINTS", str(tmp_path))
    (tmp_path / one.file).write_bytes(golden16.read_bytes())
    model = BIOT.from_checkpoint("prest-16")
    expected = numbers(golden16)
    assert relative(features(model, expected["x"]), expected["embedding"]) < 1e-5
    assert model.load_report.published == "prest-16"
    assert model.load_report.config["num_heads"] == 8


# --- writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_saved_checkpoints_come_back(whole, suffix, tmp_path):
    model = tiny(n_chans=2, n_channel_tokens=5, channel_ids=[4, 1])
    names = ("A", "Fp1-F7", "C", "D", "T3-P7")
    path = save_checkpoint(model, tmp_path / f"w{suffix}", ["set/01", "set/02"], whole=whole, ch_names=names)
    again = BIOT.from_checkpoint(path, ch_names=["T7-P7", "FP1-F7"], n_times=400)
    assert again.channel_ids == (4, 1)
    x = torch.randn(2, 2, 400)
    np.testing.assert_array_equal(features(again, x), features(model, x))
    if whole:
        np.testing.assert_array_equal(logits(again, x), logits(model, x))
    assert again.load_report.head.startswith("of the checkpoint" if whole else "fresh")
    assert provenance_of(path).saw(["set/01", "set/03"]) == ["set/01"]
    assert again.token_names == names


def test_the_official_code_could_read_what_we_write(golden16, tmp_path):
    model = BIOT.from_checkpoint(golden16)
    path = save_checkpoint(model, tmp_path / "again.ckpt", Provenance("golden"))
    before, after = (torch.load(p, weights_only=True) for p in (golden16, path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert json.loads((tmp_path / "again.ckpt.json").read_text())["config"]["num_heads"] == 8


def test_only_biot_is_saved(tmp_path):
    with pytest.raises(TypeError, match="only BIOT"):
        save_checkpoint(torch.nn.Linear(1, 1), tmp_path / "x.ckpt", [])
    with pytest.raises(TypeError, match="a list of subjects"):
        save_checkpoint(tiny(), tmp_path / "x.ckpt", "set/01")
    with pytest.raises(ValueError, match="2 ch_names for a table of 4"):
        save_checkpoint(tiny(), tmp_path / "x.ckpt", [], ch_names=["a", "b"])
    assert not list(tmp_path.iterdir())


# --- the report -------------------------------------------------------------------------------------------


def test_the_report_is_printed_once(tmp_path, capsys):
    path = save_checkpoint(tiny(seed=11), tmp_path / "w.ckpt", ["set/01"])
    for _ in range(3):
        BIOT.from_checkpoint(path)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("biot_bd: loaded")]
    assert len(lines) == 1
    assert "30 of 30 tensors match" in lines[0]
    assert "trained on set (supervised)" in lines[0]


def test_the_report_as_json(golden18):
    report = BIOT.from_checkpoint(golden18).load_report
    assert LoadReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert report.problems() == "32 of 32 tensors match"


def test_random_sizes_are_read_from_shapes_and_record(tmp_path):
    rng = np.random.default_rng(0)
    for trial in range(4):
        heads = int(rng.integers(1, 4))
        sizes = {**SIZES, "num_heads": heads, "embed_dim": heads * 4, "num_layers": int(rng.integers(1, 3))}
        sizes |= {"sfreq": int(rng.choice([64, 125, 173.61])), "hop_length": int(rng.integers(20, 60))}
        torch.manual_seed(trial)
        model = BIOT(**sizes, n_chans=3, n_outputs=2, n_times=400)
        again = BIOT.from_checkpoint(save_checkpoint(model, tmp_path / "w.ckpt", ["s/1"]), n_times=400)
        x = torch.randn(2, 3, 400)
        np.testing.assert_array_equal(features(again, x), features(model, x))
        assert {key: again.get_config()[key] for key in sizes} == sizes
