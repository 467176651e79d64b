"""BIOT's stages one by one against the model as a whole and the transformer's own modules."""

import copy

import pytest
import torch
from braindecode.models import InterpolatedModel

from biot_bd.models import BIOT, PrecisionPlan, fast_attention, token_stages

SMALL = {"n_outputs": 2, "n_chans": 5, "n_times": 600, "embed_dim": 32, "num_heads": 4, "num_layers": 2}

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:This model has only been trained:UserWarning"),
]


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return BIOT(**{**SMALL, **changes}).eval()


def windows(n=3, n_chans=5, seed=1):
    return torch.randn(n, n_chans, 600, generator=torch.Generator().manual_seed(seed))


def placed(stages, x):
    return stages.place(stages.embed(stages.patches(x))).flatten(1, 2)


def some_mask(n, n_tokens):
    mask = torch.rand(n, n_tokens, generator=torch.Generator().manual_seed(3)) > 0.4
    mask[:, 0] = True
    return mask


def by_modules(model, tokens, mask=None):
    """The library's modules, class token in front where there is one."""
    first = model.encoder.class_token
    if first is not None:
        tokens = torch.cat([first.expand(len(tokens), 1, -1), tokens], dim=1)
        mask = None if mask is None else torch.cat([torch.ones(len(mask), 1, dtype=torch.bool), mask], dim=1)
    return model.encoder.transformer(tokens, **({} if mask is None else {"input_mask": mask}))


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_encoded_tokens_and_their_gradients_are_those_of_the_modules(class_token, masked):
    model = build(class_token=class_token)
    other = copy.deepcopy(model)
    stages = token_stages(model)
    tokens = placed(stages, windows())[:, 2:].detach()  # some of them
    mask = some_mask(*tokens.shape[:2]) if masked else None
    slope = torch.randn(3, tokens.shape[1] + class_token, 32, generator=torch.Generator().manual_seed(4))
    found, truth = stages.encode(tokens, mask), by_modules(other, tokens, mask)
    assert stages.n_special == int(class_token)
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=1e-5)
    (found * slope).sum().backward()
    (truth * slope).sum().backward()
    for (name, a), b in zip(
        model.encoder.transformer.named_parameters(), other.encoder.transformer.parameters(), strict=True
    ):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-4, msg=name)


def test_the_layers_take_the_fast_path(monkeypatch):
    model, taken = build(), []
    fast = fast_attention.encode_tokens
    monkeypatch.setattr(fast_attention, "encode_tokens", lambda *given: taken.append(1) or fast(*given))
    stages = token_stages(model)
    tokens = placed(stages, windows())
    expected = stages.encode(tokens)
    model.encoder.transformer.register_forward_hook(lambda *_: taken.append("modules"))
    torch.testing.assert_close(stages.encode(tokens), expected, atol=1e-5, rtol=1e-5)
    assert taken == [1, "modules"]  # who observes modules gets them


@pytest.mark.parametrize("masked", [False, True])
def test_half_precision_keeps_tokens_and_gradients_near(masked):
    model = build()
    stages = token_stages(model)
    x = windows()
    mask = some_mask(3, 25) if masked else None
    slope = torch.randn(3, 25, 32, generator=torch.Generator().manual_seed(4))
    gradients, encoded = [], []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            encoded.append(stages.encode(placed(stages, x), mask))
        (encoded[-1].float() * slope).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.encoder.parameters()]))
    assert encoded[1].dtype == torch.float32
    assert (encoded[0] - encoded[1]).norm() < 0.02 * encoded[0].norm()
    assert (gradients[0] - gradients[1]).norm() < 0.03 * gradients[0].norm()


@pytest.mark.parametrize("class_token", [False, True])
def test_the_read_out_is_that_of_the_whole_model_absent_channels_included(class_token):
    model = build(class_token=class_token)
    stages = token_stages(model)
    x = windows()
    x[1, 2] = torch.nan
    clean, present = stages.present(x)
    tokens, mask = placed(stages, clean), present.repeat_interleave(5, dim=1)
    expected = model(x, return_features=True)["features"]
    torch.testing.assert_close(stages.read_out(tokens, mask), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stages.pool(stages.encode(tokens, mask), mask), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stages.embeddings(x), expected, atol=1e-5, rtol=1e-5)


def test_tokens_that_are_masked_count_as_tokens_that_are_not_there():
    stages = token_stages(build())
    tokens, mask = placed(stages, windows()), torch.zeros(3, 25, dtype=torch.bool)
    mask[:, ::3] = True
    torch.testing.assert_close(stages.read_out(tokens, mask), stages.read_out(tokens[:, ::3]), atol=1e-5, rtol=1e-5)


def test_embeddings_follow_the_inference_plan_of_the_model():
    model = build()
    stages = token_stages(model)
    with torch.no_grad():
        single = stages.embeddings(windows())
        assert torch.equal(single, model.encoder.infer(windows(), None, PrecisionPlan("fp32", 8)))
        model.inference_plan = PrecisionPlan("bf16", 2)
        half = stages.embeddings(windows())
    assert not torch.equal(half, single)
    torch.testing.assert_close(half, single, atol=0.05, rtol=0.05)


def test_tokens_are_left_out_in_training_alone():
    stages = token_stages(build(token_drop_prob=0.5, drop_prob=0.0, att_layer_drop_prob=0.0))
    tokens = placed(stages, windows())
    torch.testing.assert_close(stages.read_out(tokens), stages.read_out(tokens))
    stages.model.train()
    assert (stages.read_out(tokens) - stages.read_out(tokens)).abs().max() > 1e-3


def test_interpolation_in_front_of_the_model_comes_before_its_spectra():
    names = ["Fp1", "F3", "C3", "P3", "O1"]
    import mne

    montage = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]
    infos = [{"ch_name": name, "kind": "eeg", "loc": montage[name]} for name in [*names, "Fp2", "F8", "O2"]]
    torch.manual_seed(0)
    model = InterpolatedModel(BIOT, infos[:5])(**{**SMALL, "n_chans": None}, chs_info=infos, sfreq=200).eval()
    stages = token_stages(model)
    clean, present = stages.present(windows(n_chans=8))
    assert present is None
    assert stages.sizes.n_chans == 5
    expected = model(windows(n_chans=8), return_features=True)["features"]
    torch.testing.assert_close(stages.read_out(placed(stages, clean)), expected, atol=1e-5, rtol=1e-5)
