"""What every registered objective must keep to, so that several processes can share a batch."""

import pytest
import torch

from biot_bd import registry
from biot_bd.models import token_stages
from biot_bd.pretraining import BatchRandom
from biot_bd.pretraining.pretext_module import PretextModule

pytestmark = pytest.mark.usefixtures("one_thread")
SIGNAL = {"n_chans": 4, "n_times": 600, "sfreq": 200, "n_outputs": 2}
MODELS = {
    "biot": {"embed_dim": 16, "num_heads": 2, "num_layers": 1},
    "multi-scale-biot": {"embed_dim": 16, "num_heads": 2, "num_layers": 1},
    "masked-vit": {"embed_dim": 16, "num_heads": 2, "num_layers": 1, "patch_samples": 100},
}
N = 6


def pairs():
    """Return every objective with every model whose tokens it can be asked about."""
    found = []
    for model, parameters in MODELS.items():
        kind = token_stages(registry.models[model](**SIGNAL, **parameters)).kind
        found += [(model, name) for name, objective in registry.objectives.items() if kind in objective.kinds]
    return found


def build(model, objective):
    """Return a tiny module, windows (one without a channel) and what else forward takes."""
    torch.manual_seed(0)
    backbone = registry.models[model](**SIGNAL, **MODELS[model])
    cls = registry.objectives[objective]
    own = {"corpora": ("a", "b"), "n_classes": (2, 2)} if cls.supervised else {}
    module = PretextModule(backbone, {objective: cls(token_stages(backbone).sizes, **own)}, {objective: 1.0})
    x = torch.randn(N, SIGNAL["n_chans"], SIGNAL["n_times"])
    x[1, 2] = float("nan")
    targets = torch.tensor([[0, 0], [0, 1], [0, 1], [0, 0], [0, 1], [0, 0]]) if cls.supervised else None
    return module, x, targets


@pytest.mark.parametrize(("model", "objective"), pairs())
def test_every_parameter_learns(model, objective):
    """Else gradients of processes could not be averaged without looking for those that are left out."""
    module, x, targets = build(model, objective)
    module.train()(x, BatchRandom(1, N), targets)["loss"].backward()
    assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("model", "objective"), [p for p in pairs() if not registry.objectives[p[1]].across_windows])
def test_a_loss_is_the_mean_over_the_windows_wherever_they_are(model, objective):
    """The others compare windows: two processes are started for them in test_distributed.py."""
    module, x, targets = build(model, objective)
    module.eval()
    whole = module(x, BatchRandom(5, N), targets)
    shared = dict.fromkeys(whole, 0.0)
    for start, stop in ((0, 2), (2, 6)):
        part = module(
            x[start:stop], BatchRandom(5, stop - start, start, N), None if targets is None else targets[start:stop]
        )
        assert part.keys() == whole.keys()
        shared = {key: shared[key] + part[key] * (stop - start) / N for key in shared}
    for key in whole.keys() - {"embedding_std"}:  # of all windows together, see of_whole_batch
        torch.testing.assert_close(
            shared[key], whole[key], rtol=2e-5, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}"
        )
