"""``MaskedViT``: sizes, absent channels, braindecode's interface, and life as a classifier."""

import json

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, load_pipeline, registry, save_pipeline
from biot_bd.models import MaskedViT, token_site
from biot_bd.training.finetuning.parameter_groups import model_parts, undecayed

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"patch_samples": 50, "embed_dim": 16, "num_layers": 2, "num_heads": 2}


def small(n_chans=3, seed=0, **other):
    torch.manual_seed(seed)
    return MaskedViT(n_chans=n_chans, n_times=300, **{**SMALL, **other}).eval()


def windows(n=4, n_chans=3, seed=1):
    return torch.randn(n, n_chans, 300, generator=torch.Generator().manual_seed(seed))


def by_hand(n_rows, n_frames, features, width, depth):
    """Parameters of a vision transformer of two outputs, counted on paper."""
    layer = 4 * width * (width + 1) + 2 * 4 * width * width + 4 * width + width + 4 * width
    positions = n_frames * width + (n_rows * width if n_rows > 1 else 0)
    return features * width + width + positions + depth * layer + 2 * width + 2 * width + 2


@pytest.mark.parametrize(
    ("preset", "counted"),
    [
        ("tiny", by_hand(16, 20, 100, 192, 12)),
        ("small", by_hand(16, 20, 100, 384, 12)),
        ("base", by_hand(16, 20, 100, 768, 12)),
        ("seed", by_hand(1, 500, 64, 1024, 24)),
    ],
)
def test_presets_have_the_parameters_that_paper_says(preset, counted):
    with torch.device("meta"):
        model = MaskedViT(preset=preset)
    assert sum(p.numel() for p in model.parameters()) == counted
    assert (model.n_chans, model.n_times, model.sfreq, model.n_outputs) == (16, 2000, 200, 2)


def test_presets_have_millions_as_the_page_says():
    with torch.device("meta"):
        found = {
            name: round(sum(p.numel() for p in MaskedViT(name).parameters()) / 1e6, 1) for name in MaskedViT.presets
        }
    assert found == {"tiny": 5.4, "small": 21.3, "base": 85.2, "seed": 302.9}


def test_the_seed_takes_four_samples_of_all_channels():
    with torch.device("meta"):
        model = MaskedViT("seed", n_chans=8)
    sizes = model.token_stages().sizes
    assert (sizes.n_chans, sizes.n_frames, sizes.n_features, sizes.patch_chans) == (1, 500, 32, 8)
    assert (len(model.layers), model.embed_dim, model.num_heads) == (24, 1024, 16)
    assert not model.accepts_absent_channels


def test_a_patch_is_a_stretch_of_one_channel_or_of_all():
    x = torch.arange(600.0).view(1, 2, 300)
    each = small(2).token_stages().patches(x)
    assert torch.equal(each[0, 1, 2], x[0, 1, 100:150])
    together = small(2, channels="together").token_stages().patches(x)
    assert torch.equal(together[0, 0, 2], torch.cat([x[0, 0, 100:150], x[0, 1, 100:150]]))


def test_an_absent_channel_is_as_good_as_no_channel():
    model, x = small(), windows()
    fewer = small(2, seed=5)
    own = model.state_dict()
    fewer.load_state_dict({**own, "places.channel_position": own["places.channel_position"][[0, 2]]})
    x[1:3, 1] = torch.nan
    torch.testing.assert_close(model(x)[1:3], fewer(x[1:3, [0, 2]]), rtol=1e-5, atol=1e-6)
    present = ~x.isnan().all(2)
    assert torch.equal(model(x), model(torch.nan_to_num(x, nan=7.0), present=present))
    features = model(x, return_features=True)
    torch.testing.assert_close(model.final_layer(features["features"]), model(x))
    torch.testing.assert_close(model.token_stages().embeddings(x), features["features"])
    assert features["cls_token"] is None


def test_mixed_channels_refuse_an_absent_one():
    x = windows()
    x[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"window 2 of the batch: channel 1 is absent, .*channels='together'"):
        small(channels="together")(x)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"preset": "huge"}, "preset must be one of tiny, small, base, seed; found 'huge'"),
        ({"patch_samples": 70}, r"patches of 70 samples do not divide windows of 300; .* one of 4, 5, 6, 10"),
        ({"channels": "some"}, "channels must be 'each' or 'together', found 'some'"),
        ({"num_layers": 0}, "num_layers must be at least 1, found 0"),
        ({"num_heads": 3}, "embed_dim=16 must be a multiple of num_heads=3"),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        small(**wrong)


def test_windows_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"MaskedViT expects windows of shape \(n, 3, 300\), got \(4, 2, 300\)"):
        small()(windows(n_chans=2))
    with pytest.raises(ValueError, match="was built for n_times=300"):
        small()(windows()[..., :200])
    with pytest.raises(ValueError, match="positions for windows of 300 samples, found 200"):
        small().token_layout(200)


def test_configuration_weights_and_head_as_braindecode_has_them(tmp_path):
    model, x = small(drop_prob=0.1), windows()
    config = json.loads(json.dumps(model.get_config()))
    again = MaskedViT.from_config(config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), model(x))
    model.save_pretrained(tmp_path)
    assert torch.equal(MaskedViT.from_pretrained(tmp_path).eval()(x), model(x))
    other = MaskedViT.from_pretrained(tmp_path, n_outputs=5).eval()
    assert other(x).shape == (4, 5)
    torch.testing.assert_close(other.token_stages().embeddings(x), model.token_stages().embeddings(x))
    assert other.get_config()["n_outputs"] == 5


def test_tokens_can_be_read_and_others_run():
    model, x = small(), windows()
    x[0, 2] = torch.nan
    site = token_site(model)
    tokens = site.read(model, x)
    with torch.no_grad():
        torch.testing.assert_close(site.run(model, x, tokens), model(x))
        absent = x.clone()
        absent[:, 1] = torch.nan
        kept = torch.from_numpy(site.layout(model).channel != 1)
        torch.testing.assert_close(site.run(model, x, tokens, kept=kept), model(absent))
    with pytest.raises(ValueError, match="window 0 keeps tokens of absent channels only"):
        site.run(model, x, tokens, kept=torch.tensor([12, 13]))


def test_the_encoder_is_registered_with_what_it_takes():
    assert registry.models["masked-vit"] is MaskedViT
    assert registry.models.contract("masked-vit").accepts_absent_channels


def test_layers_are_the_blocks_of_recipes_and_positions_do_not_decay():
    model = small()
    parts = model_parts(model)
    assert [part.name for part in parts] == ["head", "layers-1", "layers-0", "places", "patch_embedding"]
    assert "norm.weight" in parts[1].parameters
    bare = undecayed(model)
    assert {"places.frame_position", "places.channel_position", "norm.bias"} <= bare
    assert "layers.0.attention.qkv.weight" not in bare


def test_a_classifier_is_fitted_saved_and_loaded(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    x = (rng.standard_normal((24, 3, 300)) * np.where(y, 3, 1)[:, None, None]).astype(np.float32)
    x[3, 1] = np.nan
    net = BIOTClassifier(
        "masked-vit",
        max_epochs=2,
        batch_size=8,
        lr=1e-3,
        train_split=None,
        patience=None,
        random_state=0,
        verbose=0,
        finetune=["full", "layer-decay"],
        **{f"module__{name}": value for name, value in SMALL.items()},
    )
    fitted = make_pipeline(net).fit(x, y)
    again = load_pipeline(save_pipeline(fitted, tmp_path / "saved"))
    np.testing.assert_allclose(again.predict_proba(x), fitted.predict_proba(x), atol=1e-6)


def test_dropout_drops_in_training_only():
    model, x = small(drop_prob=0.5), windows()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


@pytest.mark.slow
def test_an_exported_classifier_detects_what_the_saved_one_does(tmp_path):
    pytest.importorskip("onnxruntime")
    from deploy_files import save_edf
    from edf_files import BIPOLAR
    from small_model import RandomWindows

    from biot_bd import PercentileScaler
    from biot_bd.deploy import Detector
    from biot_bd.export import export_model
    from biot_bd.signals.mapper import MontageMapper

    data = RandomWindows(16)
    net = BIOTClassifier(
        "masked-vit",
        max_epochs=2,
        batch_size=8,
        lr=1e-3,
        patience=None,
        random_state=0,
        verbose=0,
        **{f"module__{name}": value for name, value in {**SMALL, "patch_samples": 200}.items()},
    )
    fitted = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), net).fit(data, data.y)
    saved = save_pipeline(fitted, tmp_path / "saved")
    exported = export_model(saved, tmp_path / "onnx")
    signals = np.random.default_rng(0).normal(0, 20, (len(BIPOLAR), 60 * 200))
    signals[3] = 0.0  # a flat channel is absent
    file = save_edf(tmp_path / "one.edf", BIPOLAR, signals, 200)
    torchs = Detector.load(saved, engine="torch", precision="fp32").detect(file)
    onnxs = Detector.load(exported, engine="onnx", precision="fp32").detect(file)
    assert np.isfinite(torchs.probabilities).any()
    np.testing.assert_allclose(onnxs.probabilities, torchs.probabilities, rtol=0, atol=1e-5)
