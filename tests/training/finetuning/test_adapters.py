"""DoRA, IA3: what trains, what merging makes of it by hand, and what is saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune_spy import Spy, changed, snapshot
from skorch.callbacks import Callback
from training_data import small

from biot_bd import registry
from biot_bd.models.biot import BIOT
from biot_bd.training import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.training.finetuning import IA3, DoRA

pytest.importorskip("peft")
SETTINGS = {"max_epochs": 2, "patience": None, "module__num_layers": 2, "lr": 0.02}
RULES = {"dora": DoRA(r=3, alpha=6.0), "ia3": IA3()}


def model(name):
    sizes = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "n_chans": 4, "n_times": 400, "n_outputs": 2}
    torch.manual_seed(0)
    return registry.models[name](**sizes, **({"sfreq": 200} if name != "biot" else {})).eval()


# One layer's adapters at embed_dim=256: queries and values with A, B and magnitudes; factors of k, v and w2.
COUNTS = {"dora": 4 * 2 * (2 * 8 * 256 + 256), "ia3": 4 * (256 + 256 + 1024)}


@pytest.mark.parametrize("name", COUNTS)
def test_only_the_head_and_the_adapter_train_and_nothing_else_decays(data, name):
    x, y, groups = data
    net = BIOTClassifier(finetune=name, module__n_chans=4, max_epochs=0, patience=None, random_state=0, device="cpu")
    counted = {}

    class Count(Callback):
        def on_train_begin(self, net, **kwargs):
            counted["trainable"] = sum(p.numel() for p in net.module_.parameters() if p.requires_grad)
            groups = net.optimizer_.param_groups
            counted["in groups"] = sum(p.numel() for g in groups for p in g["params"])
            counted["undecayed"] = sum(p.numel() for g in groups if g["weight_decay"] == 0 for p in g["params"])

    net.set_params(callbacks=[Count()], optimizer__weight_decay=0.01).fit(x, y, groups=groups)
    head = 256 * 2 + 2
    assert counted["trainable"] == counted["in groups"] == COUNTS[name] + head
    assert counted["undecayed"] == {"dora": 4 * 2 * 256, "ia3": COUNTS["ia3"]}[name]
    assert set(net.module_.state_dict()) == set(BIOT(n_chans=16, n_times=2000, n_outputs=2).state_dict())


@pytest.mark.parametrize("which", ["biot", "masked-vit"])
@pytest.mark.parametrize("name", RULES)
def test_merging_changes_no_output(which, name):
    module, rule = model(which), RULES[name]
    names = set(module.state_dict())
    x = torch.randn(5, 4, 400)
    with torch.no_grad():
        plain = module(x)
        assert rule.prepare(module)
        assert not rule.prepare(module)
        torch.testing.assert_close(module(x), plain, rtol=1e-5, atol=1e-5)  # nothing is changed at first
        for parameter in (p for n, p in module.named_parameters() if rule.adds(n)):
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        tuned = module(x)
        assert not torch.allclose(tuned, plain, atol=1e-3)
        rule.finish(module)
        torch.testing.assert_close(module(x), tuned, rtol=1e-4, atol=1e-5)
    assert set(module.state_dict()) == names


def test_merged_weights_of_dora_are_magnitudes_times_directions():
    module = model("biot")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rule = RULES["dora"]
    rule.prepare(module)
    with torch.no_grad():
        for parameter in (p for n, p in module.named_parameters() if rule.adds(n)):
            parameter.add_(torch.randn_like(parameter), alpha=0.5)
    added = {name: value.clone() for name, value in module.state_dict().items() if "lora_" in name}
    rule.finish(module)
    checked = 0
    for name, value in module.state_dict().items():
        path = name.removesuffix(".weight")
        if f"{path}.lora_A.default.weight" not in added:
            assert torch.equal(value, before[name]), name
            continue
        a, b = (added[f"{path}.lora_{letter}.default.weight"] for letter in "AB")
        direction = before[name] + 6.0 / 3 * b @ a
        magnitude = added[f"{path}.lora_magnitude_vector.default.weight"]
        torch.testing.assert_close(value, magnitude[:, None] * direction / direction.norm(dim=1, keepdim=True))
        checked += 1
    assert checked == 4


def test_merged_weights_of_ia3_are_rows_and_columns_times_factors():
    module = model("biot")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rule = RULES["ia3"]
    rule.prepare(module)
    with torch.no_grad():
        for parameter in (p for n, p in module.named_parameters() if rule.adds(n)):
            parameter.uniform_(0.5, 2.0)
    added = {name: value.clone() for name, value in module.state_dict().items() if "ia3_" in name}
    rule.finish(module)
    checked = 0
    for name, value in module.state_dict().items():
        factor = added.get(f"{name.removesuffix('.weight')}.ia3_l.default")
        wanted = (
            before[name] if factor is None else before[name] * factor.reshape((1, -1) if ".w2." in name else (-1, 1))
        )
        torch.testing.assert_close(value, wanted)
        checked += factor is not None
    assert checked == 6


@pytest.mark.parametrize("name", RULES)
def test_a_fit_moves_the_adapted_maps_alone_and_is_saved_as_a_plain_model(data, tmp_path, name):
    x, y, groups = data
    net, spy, logits = small(finetune=RULES[name], **SETTINGS), Spy(), []
    spy.on_train_end = lambda net, **kwargs: logits.append(net.predict_proba(x))
    net.set_params(callbacks=[spy]).fit(x, y, groups=groups)
    np.testing.assert_allclose(net.predict_proba(x), logits[0], atol=1e-5)
    plain = {n.replace(".base_layer.", "."): v for n, v in spy.start_.items() if not RULES[name].adds(n)}
    moved = {"dora": (".to_q.", ".to_v."), "ia3": (".to_k.", ".to_v.", ".w2.weight")}[name]
    assert changed(plain, snapshot(net)) == {
        n for n in plain if n.startswith("final_layer") or any(part in n for part in moved)
    }
    assert all(p.requires_grad for p in net.module_.parameters())
    save_pipeline(net.set_params(callbacks=None), tmp_path / "saved")
    loaded = load_pipeline(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.predict_proba(x), net.predict_proba(x))
    assert type(loaded.finetune) is type(RULES[name])
    assert loaded.finetune.get_params() == RULES[name].get_params()


def test_maps_that_are_not_there_are_named(data):
    x, y, groups = data
    with pytest.raises(
        ValueError, match=r"IA3: BIOT has no linear map called keys; its linear maps are called: .*to_k"
    ):
        small(finetune=IA3(targets=["keys"]), **SETTINGS).fit(x, y, groups=groups)
    with pytest.raises(ValueError, match="IA3: feedforward must be a list of ends of names, found 'w2'"):
        small(finetune=IA3(feedforward="w2"), **SETTINGS).fit(x, y, groups=groups)
    with pytest.raises(ValueError, match="DoRA changes the model after it was compiled"):
        small(finetune="dora", compile=True, **SETTINGS).fit(x, y, groups=groups)
