"""DoRA, AdaLoRA, IA3: what trains, what merging makes of it by hand, and what is saved."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from finetune_spy import Spy, changed, snapshot
from skorch.callbacks import Callback
from training_data import small

from biot_bd import registry
from biot_bd.models.biot import BIOT
from biot_bd.training import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.training.finetuning import IA3, AdaLoRA, DoRA

AdaLoraModel = pytest.importorskip("peft").AdaLoraModel
SETTINGS = {"max_epochs": 2, "patience": None, "module__num_layers": 2, "lr": 0.02}
RANKS = AdaLoRA(init_r=4, target_r=2, alpha=6.0, every=1)
RULES = {"dora": DoRA(r=3, alpha=6.0), "adalora": RANKS, "ia3": IA3()}


def model(name):
    sizes = {"embed_dim": 16, "num_heads": 2, "num_layers": 2, "n_chans": 4, "n_times": 400, "n_outputs": 2}
    torch.manual_seed(0)
    return registry.models[name](**sizes, **({"sfreq": 200} if name != "biot" else {})).eval()


# Four layers at embed_dim=256: queries and values with A, B and magnitudes, or singular values; factors of k, v, w2.
COUNTS = {"dora": 4 * 2 * (2 * 8 * 256 + 256), "adalora": 4 * 2 * 12 * (256 + 1 + 256), "ia3": 4 * (256 + 256 + 1024)}


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
    assert counted["undecayed"] == {"dora": 4 * 2 * 256, "adalora": 0, "ia3": COUNTS["ia3"]}[name]
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
    after = snapshot(net)
    start = {n.replace(".base_layer.", "."): v for n, v in spy.start_.items()}
    plain = {n: start[n] for n in after}
    moved = {"dora": (".to_q.", ".to_v."), "adalora": (".to_q.", ".to_v."), "ia3": (".to_k.", ".to_v.", ".w2.weight")}[
        name
    ]
    assert changed(plain, after) == {
        n for n in plain if n.startswith("final_layer") or any(part in n for part in moved)
    }
    assert all(p.requires_grad for p in net.module_.parameters())
    save_pipeline(net.set_params(callbacks=None), tmp_path / "saved")
    loaded = load_pipeline(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.predict_proba(x), net.predict_proba(x))
    assert type(loaded.finetune) is type(RULES[name])
    assert loaded.finetune.get_params() == RULES[name].get_params()


def test_adalora_takes_the_steps_of_peft():
    """The same gradients through peft's own model, its loss with the penalty written out."""
    x, wanted, n_steps = torch.randn(8, 4, 400), torch.arange(8) % 2, 12
    ours, rule = (
        model("biot"),
        AdaLoRA(init_r=4, target_r=2, alpha=6.0, every=2, orthogonal=0.3, warm_up=0.2, final=0.3),
    )
    theirs = copy.deepcopy(ours)
    torch.manual_seed(1)
    rule.prepare(ours)
    torch.manual_seed(1)
    found = rule.find(theirs, rule.targets)
    tuner = AdaLoraModel(theirs, rule.config(theirs, found, n_steps), "default")
    optimizers = []
    for module in (ours, theirs):
        trained = [p for n, p in module.named_parameters() if ".lora_" in n]
        optimizers.append(torch.optim.SGD(trained, lr=0.5))
    for step in range(1, n_steps + 1):
        loss = torch.nn.functional.cross_entropy(ours(x), wanted)
        optimizers[0].zero_grad()
        loss.backward()
        rule.after_gradient(ours)
        optimizers[0].step()
        rule.after_step(ours, step, n_steps)
        loss = torch.nn.functional.cross_entropy(theirs(x), wanted)
        factors = [p if "lora_A" in n else p.T for n, p in theirs.named_parameters() if "lora_A" in n or "lora_B" in n]
        loss = loss + 0.3 * sum(torch.norm(p @ p.T - torch.eye(len(p))) for p in factors) / len(factors)
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        tuner.update_and_allocate(step)
        for (name, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6, msg=f"step {step}: {name}")
    kept = torch.cat([p.flatten() for n, p in ours.named_parameters() if "lora_E" in n])
    assert (len(kept), int((kept != 0).sum())) == (16, 8)


def test_adalora_ends_with_the_ranks_that_were_asked_for(data):
    x, y, groups = data
    net, left = small(finetune=RANKS, **{**SETTINGS, "max_epochs": 4}), []

    class Count(Callback):
        def on_train_end(self, net, **kwargs):
            left.extend(int((p != 0).sum()) for n, p in net.module_.named_parameters() if "lora_E" in n)

    net.set_params(callbacks=[Count()]).fit(x, y, groups=groups)
    assert len(left) == 4
    assert sum(left) == 4 * 2


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (AdaLoRA(init_r=2, target_r=3), "target_r=3 is above init_r=2"),
        (AdaLoRA(warm_up=0.5, final=0.5), "leave no step to take ranks in"),
        (AdaLoRA(every=0), "every must be a whole number of 1 or more"),
    ],
)
def test_ranks_that_cannot_be_are_named_before_anything_is_read(rule, message):
    with pytest.raises(ValueError, match=message):
        small(finetune=rule).fit(None, None)


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
