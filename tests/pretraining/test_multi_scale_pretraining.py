"""MultiScaleBIOT learns without labels, by the objectives that were made for BIOT."""

import numpy as np
import pytest
from small_pipeline import few_windows

from biot_bd import Pretrainer

pytestmark = pytest.mark.usefixtures("one_thread")


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
