"""What a pretraining in a folder says of itself."""

import pytest

from biot_bd import Pretrainer
from biot_bd.pretraining.pretraining_run import title_of


@pytest.mark.parametrize(
    "objective",
    [
        ["masked-spectrum", "biot-contrastive"],
        [("masked-spectrum", 1.0), "biot-contrastive"],
        {"masked-spectrum": 1.0, "biot-contrastive": 0.5},
    ],
)
def test_the_title_names_objectives_in_every_form_that_a_pretrainer_takes(objective):
    assert title_of(Pretrainer("biot", objective)) == "biot, pretrained by masked-spectrum + biot-contrastive"
