"""Which windows TensorBoard shows the attention of, what is measured of them, and whether runs agree."""

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from training_data import small

from biot_bd.models import BIOT
from biot_bd.training import compare_attention
from biot_bd.training.attention_log import layer_attention, probe_windows


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    events.Reload()
    return events


def make_biot(**changes):
    torch.manual_seed(0)
    sizes = {"n_chans": 4, "n_times": 300, "n_outputs": 2, "embed_dim": 16, "num_heads": 2, "num_layers": 3}
    return BIOT(**{**sizes, **changes})


# --- windows -----------------------------------------------------------------------------------------------


def test_windows_do_not_depend_on_what_training_is_told(data):
    x, y, groups = data
    chosen = []
    for settings in (
        {},
        {"random_state": 7, "validation_fraction": 0.5},
        {"sampler": "class-balanced", "batch_size": 4},
    ):
        net = small(max_epochs=1, **settings).fit(x, y, groups=groups)
        train, valid = net.get_split_datasets(x, y, groups)
        chosen.append([probe_windows(side, 5) for side in (train, valid)])
    first = chosen[0][0]
    seizures = x[y == 1]
    np.testing.assert_array_equal(first.x, seizures[np.linspace(0, len(seizures) - 1, 5).astype(int)])
    assert all(torch.equal(first.x, other.x) for pair in chosen for other in pair)
    assert {one.text() for pair in chosen for one in pair} == {first.text()}


def test_other_windows_have_another_text(data):
    x, y, groups = data
    net = small(max_epochs=1).fit(x, y, groups=groups)
    texts = {probe_windows(net.get_split_datasets(scale * x, y, groups)[0], 5).text() for scale in (1, 2)}
    assert len(texts) == 2


# --- what is measured --------------------------------------------------------------------------------------


def test_measures_are_those_of_the_maps_by_hand():
    model, x = make_biot().train(), torch.randn(3, 4, 300)
    x[1, 2] = torch.nan
    found = layer_attention(model, x)
    assert model.training
    assert [one.role for one in found] == ["early", "middle", "late"]
    kept = {}

    def keep(number):
        def twin(q, k, v, kv_mask=None):
            if kv_mask is not None:
                k = k.masked_fill(~kv_mask[:, None, :, None], -torch.inf)
            weights = q.softmax(dim=-1) @ k.softmax(dim=-2).mT
            kept[number] = weights.double().numpy()
            v = v if kv_mask is None else v.masked_fill(~kv_mask[:, None, :, None], 0)
            return q.shape[-1] ** -0.5 * weights @ v

        return twin

    model.eval()
    for number, (block, _) in enumerate(model.encoder.transformer.layers.layers):
        block.fn.global_attn_fn = keep(number)
    with torch.no_grad():
        model(x)
    for number, one in enumerate(found):
        ratios, entropies, ranks = [], [], []
        for window, absent in zip(kept[number], (None, 2, None), strict=True):
            there = np.repeat(np.arange(4) != absent, 2)
            maps = window[:, there][:, :, there]
            n = maps.shape[-1]
            entropies.append(-(maps * np.log(maps)).sum(axis=-1).mean() / np.log(n))
            sizes = np.linalg.svd(maps, compute_uv=False)
            shares = sizes / sizes.sum(axis=-1, keepdims=True)
            ranks.append(np.exp(-(shares * np.log(shares + 1e-300)).sum(axis=-1)).mean())
            blocks = maps.mean(axis=0).reshape(n // 2, 2, n // 2, 2).sum(axis=3).mean(axis=1) * (n // 2)
            ratio = np.full((4, 4), np.nan)
            ratio[np.ix_(np.arange(4) != absent, np.arange(4) != absent)] = blocks
            ratios.append(ratio)
        assert one.entropy == pytest.approx(np.mean(entropies), rel=1e-4)
        assert one.rank == pytest.approx(np.mean(ranks), rel=1e-3)
        np.testing.assert_allclose(one.ratio, np.nanmean(ratios, axis=0), rtol=1e-4)


def test_modes_of_parts_stay_and_random_numbers_are_not_touched():
    model = make_biot().train()
    model.encoder.positional_encoding.eval()
    before = torch.get_rng_state()
    layer_attention(model, torch.zeros(1, 4, 300))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert not model.encoder.positional_encoding.training


def test_no_attention_is_no_layer():
    assert layer_attention(nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), torch.zeros(2, 2, 4)) == []


# --- agreement ---------------------------------------------------------------------------------------------


LAYERS = ("early", "middle", "late")


def write_log(folder, seed, windows="the same"):
    """What a logger writes of attention, of random maps; they are returned by layer and epoch."""
    generator = torch.Generator().manual_seed(seed)
    maps = {(layer, epoch): torch.rand(5, 5, generator=generator) + 0.2 for layer in LAYERS for epoch in (1, 2)}
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("attention/windows", windows, 1)
        for (layer, epoch), ratio in maps.items():
            writer.add_tensor(f"attention_map/{layer}", ratio, epoch)
    return {place: ratio.double().numpy() for place, ratio in maps.items()}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    return folder, [write_log(folder / f"seed-{seed}", seed) for seed in (0, 1, 2)]


def test_correlations_of_seeds_are_numpy_s(seeds):
    folder, maps = seeds
    dirs = [folder / f"seed-{seed}" for seed in (0, 1, 2)]
    found = compare_attention(dirs, folder / "agreement")
    assert found.columns.tolist() == ["first", "second", "layer", "epoch", "correlation"]
    assert len(found) == 3 * 3 * 2
    names = [str(path) for path in dirs]
    for row in found.itertuples():
        one, other = (np.log(maps[names.index(run)][row.layer, row.epoch]).ravel() for run in (row.first, row.second))
        assert row.correlation == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-9)
    events = read(folder / "agreement").Scalars("attention_agreement/late")
    expected = found[found["layer"] == "late"].groupby("epoch")["correlation"].mean()
    np.testing.assert_allclose([event.value for event in events], expected, rtol=1e-5)
    assert [event.step for event in events] == [1, 2]


def test_a_run_agrees_with_itself(seeds):
    run = seeds[0] / "seed-0"
    np.testing.assert_allclose(compare_attention([run, f"{run}/."])["correlation"], 1)


def test_what_cannot_be_compared(seeds, tmp_path):
    run = seeds[0] / "seed-0"
    with pytest.raises(ValueError, match="two runs or more, got 1"):
        compare_attention([run])
    for nothing in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="no attention maps"):
            compare_attention([run, nothing])
    write_log(tmp_path / "other", 0, windows="others")
    with pytest.raises(ValueError, match=r"other windows \(the same \| others\)"):
        compare_attention([run, tmp_path / "other"])


def test_uniform_maps_have_no_correlation(tmp_path):
    for name in "ab":
        with SummaryWriter(str(tmp_path / name)) as writer:
            writer.add_text("attention/windows", "the same", 1)
            writer.add_tensor("attention_map/only", torch.ones(3, 3), 1)
    found = compare_attention([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert found["correlation"].isna().all()
    assert "attention_agreement/only" not in read(tmp_path / "c").Tags()["scalars"]
