"""MultiScaleBIOT: spectra by hand, attention by torch's own module, sizes by arithmetic, and BIOT as a special case."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import BIOT
from biot_bd.exceptions import CheckpointError
from biot_bd.models import MultiScaleBIOT, record_attention, save_checkpoint
from biot_bd.models.inference_plan import PrecisionPlan

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"n_outputs": 2, "n_chans": 5, "n_times": 600, "embed_dim": 16, "num_heads": 2, "num_layers": 2}


def build(seed=0, cls=MultiScaleBIOT, **changes):
    torch.manual_seed(seed)
    model = cls(**{**SMALL, **changes}).eval()
    if changes.get("channel_attention"):  # what it adds begins at zero
        torch.nn.init.normal_(model.encoder.channel_attention.to_out.weight, std=0.3)
    return model


def windows(n=3, n_chans=5, n_times=600, seed=1):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def stretches(model, spectrum, scale):
    """The spectra of one scale, (..., scale, frequencies)."""
    n_freqs = [model.encoder.n_fft // s // 2 + 1 for s in model.scale_factors]
    parts = spectrum.split([s * n for s, n in zip(model.scale_factors, n_freqs, strict=True)], dim=-1)
    return parts[model.scale_factors.index(scale)].unflatten(-1, (scale, -1))


# --- tokens ---------------------------------------------------------------------------------------


def test_with_factor_1_alone_it_is_biot():
    biot, model, x = build(cls=BIOT), build(scale_factors=(1,)), windows()
    assert list(model.state_dict()) == list(biot.state_dict())
    assert torch.equal(model(x), biot(x))
    with torch.no_grad():
        assert torch.equal(model(x), biot(x))


@pytest.mark.parametrize(("sfreq", "factors"), [(200, (1, 2, 4, 8)), (250, (8, 1, 3)), (256, (2,))])
def test_each_scale_holds_the_spectra_of_its_own_stretches(sfreq, factors):
    model = build(sfreq=sfreq, scale_factors=factors, n_times=3 * sfreq)
    x = windows(n_times=3 * sfreq).double()
    spectrum = model.encoder.spectrum(x)
    for scale in factors:
        length = sfreq // scale
        first = (sfreq - scale * length) // 2  # what does not divide stands out at both ends of a frame
        found = stretches(model, spectrum, scale).numpy()
        for frame, stretch in [(0, 0), (1, scale - 1), (3, scale // 2)]:
            start = frame * 100 + first + stretch * length
            by_hand = np.abs(np.fft.rfft(x[:, :, start : start + length].numpy())) * np.sqrt(scale)
            np.testing.assert_allclose(found[:, :, frame, stretch], by_hand, atol=1e-9)


@pytest.mark.parametrize("sample", [0, 24, 25, 99, 100, 187, 199])
def test_a_transient_moves_one_stretch_of_each_scale(sample):
    model, x = build(n_chans=1), torch.zeros(1, 1, 600)
    x[..., sample] = 1
    for scale in model.scale_factors:
        found = stretches(model, model.encoder.spectrum(x), scale)[0, 0, 0]
        assert found.any(dim=-1).nonzero().flatten().tolist() == [sample // (200 // scale)]
        torch.testing.assert_close(found.max(), torch.tensor(scale**0.5))


def test_when_within_a_frame_a_transient_comes_is_seen_and_biot_cannot_see_it():
    early, late = (torch.zeros(1, 1, 200) for _ in range(2))
    early[..., 30:34], late[..., 130:134] = 1, 1
    model, biot = build(n_chans=1, n_times=200), build(n_chans=1, n_times=200, cls=BIOT)
    torch.testing.assert_close(biot.encoder.spectrum(early), biot.encoder.spectrum(late), atol=1e-6, rtol=0)
    seen = [[stretches(model, model.encoder.spectrum(x), scale) for x in (early, late)] for scale in (2, 4, 8)]
    assert all((one - other).abs().max() > 1 for one, other in seen)


def test_every_scale_holds_the_energy_of_the_frame():
    model, x = build(), windows().double()
    spectrum = model.encoder.spectrum(x)
    energy = x.unfold(-1, 200, 100).square().sum(dim=-1)
    for scale in model.scale_factors:
        found = stretches(model, spectrum, scale).square()
        two_sided = 2 * found.sum(dim=-1) - found[..., 0]
        if (200 // scale) % 2 == 0:  # the middle frequency has no twin
            two_sided = two_sided - found[..., -1]
        torch.testing.assert_close(two_sided.sum(dim=-1), 200 * energy)  # Parseval


def test_frequencies_are_named_as_the_numbers_lie():
    model = build(n_chans=1)
    frequency = model.encoder.feature_hz(200)
    for hz in (8, 40, 80):
        x = torch.sin(2 * torch.pi * hz * torch.arange(600) / 200)[None, None]
        spectrum = model.encoder.spectrum(x)
        for scale in model.scale_factors:
            named = stretches(model, torch.as_tensor(frequency), scale)
            strongest = stretches(model, spectrum, scale)[0, 0, 0].argmax(dim=-1)
            found = named.gather(-1, strongest[:, None])
            assert (found - hz).abs().max() <= scale / 2 + 0.1  # half a step of that scale


@pytest.mark.parametrize("channel_attention", [False, True])
def test_every_path_gives_the_same_numbers(channel_attention):
    model, x = build(channel_attention=channel_attention), windows(20)
    x[3, 2] = torch.nan
    hook = model.encoder.transformer.register_forward_hook(lambda *args: None)
    expected = model(x).detach()  # by the modules themselves
    hook.remove()
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
        model.inference_plan = PrecisionPlan("bf16", 4)
        torch.testing.assert_close(model(x), expected, atol=0.05, rtol=0.05)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True), st.booleans(), st.booleans(), st.booleans())
def test_absent_channels_are_as_if_they_were_not_there(present, grad, channel_attention, class_token):
    present, options = sorted(present), {"channel_attention": channel_attention, "class_token": class_token}
    model, x = build(**options), windows()
    smaller = build(1, n_chans=len(present), channel_ids=present, n_channel_tokens=5, **options)
    smaller.load_state_dict(model.state_dict())
    holes = torch.full_like(x, torch.nan)
    holes[:, present] = x[:, present]
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(model(holes), smaller(x[:, present]), atol=1e-5, rtol=1e-5)


# --- attention over channels ----------------------------------------------------------------------


def test_channel_attention_is_torch_s_within_each_frame():
    attention = build(channel_attention=True).encoder.channel_attention
    tokens = torch.randn(2, 25, 16)
    twin = torch.nn.MultiheadAttention(16, 2, bias=True, batch_first=True).eval()
    twin.load_state_dict(
        {
            "in_proj_weight": attention.to_qkv.weight,
            "in_proj_bias": torch.zeros(48),
            "out_proj.weight": attention.to_out.weight,
            "out_proj.bias": attention.to_out.bias,
        }
    )
    mask = torch.rand(2, 25) < 0.7
    mask[:, :5] = True  # the first channel is there
    found = attention(tokens, mask).unflatten(1, (5, 5))
    for frame in range(5):
        own = tokens.unflatten(1, (5, 5))[:, :, frame]
        normed, keys = attention.norm(own), mask.unflatten(1, (5, 5))[:, :, frame]
        expected = own + twin(normed, normed, normed, key_padding_mask=~keys)[0]
        torch.testing.assert_close(found[:, :, frame][keys], expected[keys], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("n_special", [0, 1])
def test_some_tokens_with_their_places_are_as_all_with_the_others_masked(n_special):
    model, x = build(channel_attention=True, class_token=bool(n_special)), windows()
    tokens = model.encoder.tokens(x)
    order = torch.rand(3, 25).argsort(dim=1)[:, :11].sort(dim=1).values + n_special  # other ones in each window
    if n_special:
        order = torch.cat([torch.zeros(3, 1, dtype=torch.long), order], dim=1)
    mask = torch.zeros(tokens.shape[:2], dtype=torch.bool).scatter(1, order, True)
    some = tokens.gather(1, order[..., None].expand(-1, -1, 16))
    torch.testing.assert_close(
        model.encoder.encode(some, places=order), model.encoder.encode(tokens, mask), atol=1e-5, rtol=1e-5
    )
    with pytest.raises(ValueError, match="give places="):
        model.encoder.encode(some)


def test_fresh_channel_attention_changes_nothing_and_learns():
    plain, x = build(), windows()
    torch.manual_seed(3)
    model = MultiScaleBIOT(**SMALL, channel_attention=True).eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(model(x), plain(x), atol=1e-6, rtol=1e-6)
    model(x).square().sum().backward()
    assert model.encoder.channel_attention.to_out.weight.grad.abs().max() > 0


def test_maps_of_channel_attention_lie_within_frames_and_absent_channels_get_none():
    model, x = build(channel_attention=True), windows(2)
    x[:, 3] = torch.nan
    with torch.no_grad(), record_attention(model) as trace:
        model(x)
    assert [record.folded for record in trace] == ["frame", None, None]
    weights, layout = trace.maps[0], trace[0].layout
    other_frame = torch.as_tensor(layout.frame[:, None] != layout.frame)
    assert (weights[:, :, other_frame] == 0).all()
    there, absent = torch.as_tensor(layout.channel != 3), torch.as_tensor(layout.channel == 3)
    assert (weights[:, :, there][..., absent] == 0).all()


# --- sizes, configurations, weights ---------------------------------------------------------------


def n_parameters(d, layers, n_features, n_chans=16, n_outputs=2):
    """Projection with bias; a layer's two norms, q, k, v, out with bias and two maps of the feed-forward part with
    biases; channel tokens; head with bias."""
    layer = 2 * 2 * d + 3 * d * d + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d)
    return (n_features * d + d) + layers * layer + n_chans * d + (d * n_outputs + n_outputs)


@pytest.mark.parametrize(
    ("preset", "d", "heads", "layers", "counted"),
    [
        ("tiny", 256, 8, 4, 3_266_050),
        ("small", 512, 8, 8, 25_426_946),
        ("base", 768, 12, 14, 99_528_194),
        ("large", 1024, 16, 28, 353_048_578),
    ],
)
def test_presets_have_the_parameters_that_arithmetic_says(preset, d, heads, layers, counted):
    with torch.device("meta"):  # no memory for them
        model = MultiScaleBIOT(preset)
        attentive = MultiScaleBIOT(preset, channel_attention=True)
    found = sum(p.numel() for p in model.parameters())
    assert found == counted == n_parameters(d, layers, n_features=101 + 2 * 51 + 4 * 26 + 8 * 13)
    assert sum(p.numel() for p in attentive.parameters()) == found + 2 * d + 3 * d * d + d * d + d
    assert model.num_heads == heads


def test_it_builds_alone_and_sizes_of_one_s_own_go_before_the_preset():
    model = MultiScaleBIOT(preset="tiny")
    assert (model.n_chans, model.n_times, model.n_outputs) == (16, 2000, 2)
    assert (model.embed_dim, model.num_layers) == (256, 4)
    own = MultiScaleBIOT("base", embed_dim=24, num_heads=3, num_layers=1, sfreq=100)
    assert (own.embed_dim, own.num_heads, own.num_layers, own.n_times) == (24, 3, 1, 1000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "huge"}, "preset must be one of tiny, small, base, large, got 'huge'"),
        ({"scale_factors": ()}, "different whole numbers"),
        ({"scale_factors": (1, 1)}, "different whole numbers"),
        ({"scale_factors": (1, 2.5)}, "different whole numbers"),
        ({"scale_factors": (0, 1)}, "different whole numbers"),
        ({"scale_factors": (1, 64)}, "leaves 3 samples .* largest possible factor is 50"),
        ({"embed_dim": 10, "num_heads": 4}, "multiple of num_heads"),
    ],
)
def test_impossible_sizes_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        MultiScaleBIOT(**{**SMALL, **changes})


def test_configurations_and_weights_go_through_files(tmp_path):
    model, x = build(channel_attention=True, scale_factors=(4, 1), channel_ids=[4, 0, 1, 3, 2]), windows()
    again = MultiScaleBIOT.from_config(model.get_config())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(x), model(x))
    assert again.get_config() == model.get_config()
    model.save_pretrained(tmp_path)
    assert torch.equal(MultiScaleBIOT.from_pretrained(tmp_path).eval()(x), model(x))
    other = MultiScaleBIOT.from_pretrained(tmp_path, n_outputs=3).eval()
    assert other(x).shape == (3, 3)
    assert torch.equal(other(x, return_features=True)["features"], model(x, return_features=True)["features"])
    model.reset_head(4)
    assert (model.get_config()["n_outputs"], model(x).shape) == (4, (3, 4))


def test_a_model_of_its_defaults_comes_back_with_another_head(tmp_path):
    MultiScaleBIOT(embed_dim=16, num_heads=2, num_layers=1).save_pretrained(tmp_path)
    other = MultiScaleBIOT.from_pretrained(tmp_path, n_outputs=5)
    assert other(torch.zeros(1, 16, 2000)).shape == (1, 5)


@pytest.mark.parametrize(("factors", "channel_attention"), [((1, 2, 4, 8), False), ((4, 1, 2), True)])
def test_it_begins_as_the_biot_of_a_checkpoint(tmp_path, factors, channel_attention):
    biot, x = build(cls=BIOT), windows()
    file = save_checkpoint(biot, tmp_path / "biot.ckpt", ["my-set/01"], whole=True)
    model = MultiScaleBIOT.from_checkpoint(
        file, n_times=600, scale_factors=factors, channel_attention=channel_attention
    ).eval()
    torch.testing.assert_close(model(x), biot(x), atol=1e-6, rtol=1e-6)
    assert model.load_report.complete
    assert all(
        any(word in note for note in model.load_report.notes) for word in ["factor 1", "fresh"][: 1 + channel_attention]
    )
    assert model.load_report.provenance.saw(["my-set/01"]) == ["my-set/01"]
    model(x).square().sum().backward()
    assert (model.encoder.patch_embedding.projection.weight.grad.abs().amax(dim=0) > 0).float().mean() > 0.9
    with pytest.raises(CheckpointError, match="projection"):
        MultiScaleBIOT.from_checkpoint(file, n_times=600, scale_factors=(2, 4))
    with pytest.raises(TypeError, match="only BIOT can be saved in the official layout"):
        save_checkpoint(model, tmp_path / "no.ckpt", ["my-set/01"])


def test_copies_keep_the_outputs():
    model, x = build(channel_attention=True), windows()
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(copy.deepcopy(model)(x), expected)


# --- in the house ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channel_attention", [False, True])
def test_stages_lead_to_the_embedding(channel_attention):
    model, x = build(channel_attention=channel_attention), windows()
    stages = model.token_stages()
    assert stages.kind == "spectrum"
    assert (stages.sizes.n_chans, stages.sizes.n_frames, stages.sizes.n_features) == (5, 5, 411)
    tokens = stages.place(stages.embed(stages.patches(x))).flatten(1, 2)
    expected = model(x, return_features=True)["features"]
    torch.testing.assert_close(stages.pool(stages.encode(tokens)), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stages.embeddings(x), expected, atol=1e-5, rtol=1e-5)


def test_parts_for_fine_tuning_hold_every_parameter_once():
    from biot_bd.training.finetuning.parameter_groups import model_parts

    model = build(channel_attention=True)
    parts = model_parts(model)
    assert [part.name for part in parts] == ["head", "block-2", "block-1", "channel-attention", "embedding"]
    assert sorted(name for part in parts for name in part.parameters) == sorted(dict(model.named_parameters()))
