"""MultiScaleBIOT learns without labels, by the objectives that were made for BIOT."""

import numpy as np
import pytest
import torch
from small_pipeline import few_windows

from biot_bd import BIOTClassifier, Pretrainer
from biot_bd.commands._pipelines import chosen_model
from biot_bd.exceptions import CheckpointError
from biot_bd.models import MultiScaleBIOT
from biot_bd.pretraining import save_pretraining

pytestmark = pytest.mark.usefixtures("one_thread")


def pretrained(module, folder, **parameters):
    windows = few_windows()
    net = Pretrainer(
        module, "biot-contrastive", max_epochs=1, batch_size=4, random_state=0, device="cpu", train_split=None,
        module__embed_dim=16, module__num_heads=2, module__num_layers=1, **parameters,
    )  # fmt: skip
    net.fit(windows)
    save_pretraining(net, folder)
    return net


def fine_tuned(module, run, windows):
    net = BIOTClassifier(
        module, pretrained=str(run), max_epochs=1, batch_size=8, train_split=None, patience=None, random_state=0,
        device="cpu", finetune="linear-probe", verbose=0,
    )  # fmt: skip
    return net.fit(windows, windows.y)


@pytest.mark.parametrize("objective", ["biot-contrastive", "masked-spectrum"])
def test_objectives_train_all_of_it(objective):
    windows = few_windows()
    net = Pretrainer(
        "multi-scale-biot", objective, max_epochs=2, batch_size=4, random_state=0, device="cpu", module__embed_dim=16,
        module__num_heads=2, module__num_layers=1, module__channel_attention=True,
    )  # fmt: skip
    net.fit(windows.x, groups=windows.groups)
    assert np.isfinite(net.history[:, "valid_loss"]).all()
    assert net.transform(windows.x).shape == (16, 16)
    encoder = net.module_.backbone.encoder
    assert encoder.channel_attention.to_out.weight.abs().max() > 0  # it began at zero
    # Every number of every scale took part.
    assert (encoder.patch_embedding.projection.weight.grad.abs().amax(dim=0) > 0).all()


def test_what_was_pretrained_is_fine_tuned_on_other_channels_and_lengths(tmp_path):
    net = pretrained("multi-scale-biot", tmp_path / "run", module__scale_factors=(1, 4), module__channel_attention=True)
    other = few_windows(n_chans=3, n_times=700)
    module = fine_tuned("multi-scale-biot", tmp_path / "run", other).module_
    assert (module.n_chans, module.n_times, module.scale_factors) == (3, 700, (1, 4))
    before, after = net.module_.backbone.encoder.state_dict(), module.encoder.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    same = MultiScaleBIOT.from_pretrained(tmp_path / "run")
    assert all(torch.equal(value, before[name]) for name, value in same.encoder.state_dict().items())
    with pytest.raises(CheckpointError, match="a pretrained 'multi-scale-biot', but the model is 'biot'"):
        fine_tuned("biot", tmp_path / "run", other)


def test_a_pretrained_biot_becomes_the_factor_1_of_a_multi_scale_model(tmp_path):
    windows = few_windows()
    net = pretrained("biot", tmp_path / "run")
    classifier = fine_tuned("multi-scale-biot", tmp_path / "run", windows)
    features = classifier.module_.eval()(torch.as_tensor(windows.x), return_features=True)["features"]
    np.testing.assert_allclose(features.detach().numpy(), net.transform(windows), rtol=1e-4, atol=1e-4)
    assert any("factor 1" in note for note in classifier.pretrained_report_.notes)
    run = str(tmp_path / "run")
    assert [chosen_model(model, run) for model in (None, "multi-scale-biot")] == ["biot", "multi-scale-biot"]
