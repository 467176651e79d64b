"""Token probes on transformers other than BIOT: shares add up, what is left out is left out."""

import numpy as np
import pytest
import torch
from small_transformers import small_transformer, small_windows

from biot_bd import registry
from biot_bd.models import token_site
from biot_bd.probes import TokenIGProbe, TokenOcclusionProbe
from biot_bd.testing import check_probe

#: Name, and whether the model runs with fewer tokens.
MODELS = [
    ("BIOT, class token", True),
    ("MultiScaleBIOT, channels", True),
    ("CBraMod", False),
    ("EEGConformer", False),
    ("LaBraM", True),
]


def margin(logits):
    return float(logits[0, 1] - logits[0, 0])


@pytest.mark.parametrize(("name", "drops"), MODELS)
def test_token_probes(name, drops):
    model, x = small_transformer(name), small_windows(1)
    shares = TokenIGProbe()(model, x, 1)
    assert shares.info["completeness_error_relative"] < 0.001
    site = token_site(model)
    layout = site.layout(model, x.shape[-1])
    tokens = site.read(model, x).detach()
    plain = torch.as_tensor(layout.channel >= 0)
    mean = tokens[:, plain].mean(dim=1, keepdim=True)
    start = torch.where(plain[:, None], mean, tokens)
    with torch.no_grad():
        whole = margin(model(x))
        np.testing.assert_allclose(shares.info["difference"], whole - margin(site.run(model, x, start)), atol=1e-5)
        found = TokenOcclusionProbe("frame")(model, x, 1)
        assert found.info["fill"] == ("dropped" if drops else "mean-token")
        last = torch.as_tensor(layout.frame == layout.n_frames - 1)
        without = (
            site.run(model, x, tokens, kept=~last)
            if drops
            else site.run(model, x, torch.where(last[:, None], mean, tokens))
        )
    np.testing.assert_allclose(found.values[0, 0, -1], whole - margin(without), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", "rollout", "grad-attention", "token-occlusion", "saliency"])
def test_probes_keep_to_their_contract_on_a_model_that_attends_within_frames_first(name):
    check_probe(registry.probes[name], model=small_transformer("MultiScaleBIOT, channels"), n_chans=3, n_times=600)
