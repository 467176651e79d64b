"""The plugin keeps the contracts of biot_bd, is found by name, and computes what it says."""

import numpy as np
import pandas as pd
import pytest
import torch
from joblib.externals.loky import ProcessPoolExecutor
from torch import nn

import biot_bd
from biot_bd import registry
from biot_bd.datasets import inspect_folder
from biot_bd.models import BIOT, token_stages
from biot_bd.pretraining import BatchRandom, Pretrainer
from biot_bd.testing import check_dataset, check_loss, check_objective, check_probe
from biot_bd_tutorial.band_power import BandPower
from biot_bd_tutorial.csv_folder import load_csv_folder
from biot_bd_tutorial.focal_tversky import FocalTverskyLoss
from biot_bd_tutorial.patch_occlusion import PatchOcclusion

SFREQ = 100.0


@pytest.fixture
def folder(tmp_path):
    """Three recordings of two subjects, 60 s, two channels; b1 is all seizure from 10 s to 25 s."""
    rng = np.random.default_rng(0)
    for name in ("a1", "a2", "b1"):
        table = pd.DataFrame(rng.standard_normal((6000, 2)) * 30.0, columns=["Fp1-F7", "F7-T7"])
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    pd.DataFrame(
        {
            "recording": ["a1", "a2", "b1"],
            "subject": ["01", "01", "02"],
            "session": ["1", "2", "1"],
            "run": ["1", "1", "1"],
            "sfreq": [SFREQ] * 3,
        }
    ).to_csv(tmp_path / "recordings.csv", index=False)
    pd.DataFrame({"recording": ["b1"], "onset_s": [10.0], "duration_s": [15.0]}).to_csv(
        tmp_path / "events.csv", index=False
    )
    return tmp_path


NAMES = {
    ("datasets", "csv-folder"): load_csv_folder,
    ("losses", "focal-tversky"): FocalTverskyLoss,
    ("probes", "patch-occlusion"): PatchOcclusion,
    ("objectives", "band-power"): BandPower,
}


def find(kind, name):
    return registry.registries[kind][name]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_found_by_name(kind, name):
    assert find(kind, name) is NAMES[kind, name]
    assert registry.registries[kind].owner(name) == "tutorial"


def test_found_by_name_in_workers():
    with ProcessPoolExecutor(1) as pool:  # joblib's workers; one, because each imports torch anew
        found = [pool.submit(find, kind, name).result() for kind, name in NAMES]
    assert found == list(NAMES.values())


# csv-folder --------------------------------------------------------------------------------------------------------


def test_the_data_set_keeps_the_contract(folder):
    check_dataset(load_csv_folder(folder))
    check_dataset(biot_bd.load_dataset("csv-folder", folder))


def test_doctor_recognises_its_folders(folder):
    (facts,) = inspect_folder(folder)
    assert (facts.dataset, facts.why) == ("csv-folder", "recordings.csv and events.csv")
    assert [(o.recording, o.subject, o.n_seizures) for o in facts.recordings] == [
        ("a1", "csv-folder/01", 0),
        ("a2", "csv-folder/01", 0),
        ("b1", "csv-folder/02", 1),
    ]
    assert [o.duration_s for o in facts.recordings] == [60.0] * 3
    assert facts.recordings[0].found == ("Fp1-F7", "F7-T7")


def test_subjects_volts_and_seizures(folder):
    dataset = load_csv_folder(folder, namespace="ward")
    assert [part.description["subject"] for part in dataset.datasets] == ["ward/01", "ward/01", "ward/02"]
    raw = dataset.datasets[2].raw
    expected = pd.read_csv(folder / "b1.csv").to_numpy().T * 1e-6
    np.testing.assert_allclose(raw.get_data(), expected, rtol=1e-12)
    assert raw.info["sfreq"] == SFREQ
    assert [(a["onset"], a["duration"], a["description"]) for a in raw.annotations] == [(10.0, 15.0, "sz")]
    assert len(dataset.datasets[0].raw.annotations) == 0


def test_every_recording_has_an_outcome(folder):
    (folder / "a1.csv").unlink()
    (folder / "a2.csv").write_text("Fp1-F7,F7-T7\n1,oops\n")
    (folder / "stray.csv").write_text("Fp1-F7\n1\n")
    dataset = load_csv_folder(folder)
    check_dataset(dataset)
    found = dataset.outcomes.set_index("recording")
    assert found["outcome"].to_dict() == {"a1": "missing-file", "a2": "unreadable", "b1": "loaded", "stray": "unlisted"}
    assert "a2.csv: not a table of numbers" in found.loc["a2", "detail"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("events.csv", "recording,onset_s\nb1,1\n", r"events\.csv: the columns \['duration_s'\] are missing"),
        ("events.csv", "recording,onset_s,duration_s\nzz,1,1\n", r"events\.csv: recordings \['zz'\] are not in"),
        (
            "events.csv",
            "recording,onset_s,duration_s\nb1,55,10\n",
            r"b1\.csv: seizures .*not inside the recording of 60 s",
        ),
        ("recordings.csv", "recording,subject,session,run,sfreq\nb1,1,1,1,100\nb1,1,1,1,100\n", r"\['b1'\] occur more"),
        ("b1.csv", "Fp1-F7\n1\n\n2\nnan\n", None),
    ],
)
def test_faults_are_named(folder, file, text, message):
    (folder / file).write_text(text)
    if message is None:
        outcomes = load_csv_folder(folder).outcomes.set_index("recording")
        assert outcomes.loc["b1", "outcome"] == "unreadable"
        return
    with pytest.raises(ValueError, match=message):
        load_csv_folder(folder)


def test_a_missing_table_and_an_empty_folder(folder):
    for path in folder.glob("[ab]?.csv"):
        path.unlink()
    with pytest.raises(ValueError, match="none of 3 recordings could be loaded"):
        load_csv_folder(folder)
    (folder / "events.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"events\.csv is missing; it needs the columns recording, onset_s"):
        load_csv_folder(folder)


# focal-tversky -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [{}, {"gamma": 1.0}, {"alpha": 0.5, "beta": 0.5, "gamma": 3.0, "smooth": 1e-3}])
def test_the_loss_keeps_the_contract(parameters):
    check_loss(FocalTverskyLoss, parameters)


def test_the_loss_equals_the_papers_formula_in_numpy():
    rng = np.random.default_rng(1)
    logits, targets = rng.standard_normal((9, 3)), np.arange(9) % 3
    alpha, beta, gamma, smooth = 0.7, 0.3, 4 / 3, 1.0
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    total = 0.0
    for c in range(3):
        g = targets == c
        tp, fn, fp = p[g, c].sum(), (1 - p[g, c]).sum(), p[~g, c].sum()
        total += (1 - (tp + smooth) / (tp + alpha * fn + beta * fp + smooth)) ** (1 / gamma)
    found = FocalTverskyLoss(alpha, beta, gamma, smooth)(torch.tensor(logits), torch.tensor(targets))
    assert found.item() == pytest.approx(total, rel=1e-6)


def test_with_equal_weights_and_gamma_one_it_is_the_dice_loss():
    """Sure decisions: 3 hits, 1 miss, 2 false alarms, 4 rejections; Dice is 2 TP / (2 TP + FN + FP) for each class."""
    targets = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    decided = torch.tensor([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])
    logits = 1e3 * nn.functional.one_hot(decided, 2).float()
    loss = FocalTverskyLoss(alpha=0.5, beta=0.5, gamma=1.0, smooth=1e-9)(logits, targets)
    assert loss.item() == pytest.approx((1 - 6 / 9) + (1 - 8 / 11), rel=1e-5)


def test_a_missed_seizure_costs_more_than_a_false_alarm():
    loss = FocalTverskyLoss()
    targets = torch.tensor([1, 1, 0, 0])
    sure = 20.0 * nn.functional.one_hot(targets, 2).float()
    missed, false = sure.clone(), sure.clone()
    missed[0], false[2] = sure[0].flip(0), sure[2].flip(0)
    only_seizures = {}
    for name, logits in {"missed": missed, "false": false}.items():
        p, g = logits.softmax(1)[:, 1], targets.float()
        error = 0.7 * ((1 - p) * g).sum() + 0.3 * (p * (1 - g)).sum()
        only_seizures[name] = error.item()
        assert loss(logits, targets) > loss(sure, targets)
    assert only_seizures["missed"] > only_seizures["false"]


@pytest.mark.parametrize("parameters", [{"alpha": 0.0}, {"gamma": -1.0}, {"smooth": 0.0}])
def test_senseless_parameters_raise(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        FocalTverskyLoss(**parameters)


# patch-occlusion -----------------------------------------------------------------------------------------------------


class OnePatch(nn.Module):
    """Scores class 1 by the mean of one channel from sample 10 to 20 alone; an absent one counts for nothing."""

    accepts_absent_channels = True

    def forward(self, x):
        z = x[:, 2, 10:20].mean(dim=-1).nan_to_num(0.0)
        return torch.stack([torch.zeros_like(z), z], dim=1)


@pytest.fixture
def bump():
    """Windows (4, 5, 30) with 1 where the model looks, and a straight line through 0 there without it."""
    x = torch.zeros(4, 5, 30)
    x[:, 2, 10:20] = 1.0
    return x


def test_only_the_patch_that_counts_is_found(bump):
    found = PatchOcclusion(n_frames=3, batch_size=4)(OnePatch().eval(), bump)
    expected = np.zeros((4, 5, 3))
    expected[:, 2, 1] = torch.sigmoid(torch.tensor(1.0)).item() - 0.5
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.target == (1,) * 4
    other = PatchOcclusion(n_frames=3)(OnePatch().eval(), bump, target=0)
    np.testing.assert_allclose(other.values, -expected, atol=1e-6)


def test_a_straight_line_takes_the_place_of_a_stretch(bump):
    """Taking a stretch of a straight line away changes nothing, in the middle; at the ends the nearest sample stays."""
    ramp = torch.arange(30.0).expand(1, 5, 30)
    found = PatchOcclusion(n_frames=3)(OnePatch().eval(), ramp, target=1)
    np.testing.assert_allclose(found.values, 0.0, atol=1e-6)
    signal = torch.arange(30.0)
    PatchOcclusion._draw_line(signal, 20, 30)
    assert signal[19:].tolist() == [19.0] * 11


def test_absent_channels_are_nan_and_seconds_are_known_where_the_model_knows_them(bump):
    bump[1, 0] = torch.nan
    model = OnePatch().eval()
    assert not PatchOcclusion(n_frames=3)(model, bump).layout.knows_time
    model.sfreq = 10.0
    found = PatchOcclusion(n_frames=3)(model, bump)
    assert np.argwhere(np.isnan(found.by_channel())).tolist() == [[1, 0]]
    assert (found.layout.frame_start_s.tolist(), found.layout.frame_stop_s.tolist()) == ([0, 1, 2], [1, 2, 3])


def test_the_probe_keeps_the_contract():
    check_probe(PatchOcclusion)
    check_probe(PatchOcclusion, {"n_frames": 3, "batch_size": 2}, model=OnePatch())


def test_the_probe_refuses_what_it_cannot_do(bump):
    with pytest.raises(ValueError, match="n_frames must be 1 to 30, the samples of a window; got 31"):
        PatchOcclusion(n_frames=31)(OnePatch().eval(), bump)
    with pytest.raises(ValueError, match="Sequential gives one output"):
        PatchOcclusion()(nn.Sequential(nn.Flatten(), nn.Linear(150, 1)).eval(), bump)


# band-power ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stages():
    torch.manual_seed(0)
    return token_stages(BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=3, n_times=800, n_outputs=2).eval())


def windows(n, n_chans=3, n_times=800):
    return torch.randn(n, n_chans, n_times, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("parameters", [{}, {"mask_ratio": 0.25, "n_bands": 1}])
def test_the_objective_keeps_the_contract(parameters):
    check_objective(BandPower, parameters)


def test_the_loss_is_the_error_of_log_powers_of_hidden_tokens_in_numpy(stages):
    objective, x = BandPower(stages.sizes, n_bands=4).eval(), windows(5)
    told = objective(stages, x, BatchRandom(2, 5))
    hidden = objective._hidden(BatchRandom(2, 5)).numpy()
    patches = stages.patches(x).detach().numpy().reshape(5, -1, 101)
    target = np.stack([np.log((band**2).mean(2) + 1e-6) for band in np.array_split(patches, 4, axis=2)], axis=2)
    predicted = objective._predicted(stages, stages.patches(x), torch.from_numpy(hidden), torch.ones(5, 21).bool())
    squares = (predicted.detach().numpy() - target) ** 2
    assert told["loss"].item() == pytest.approx(squares[hidden].mean(), rel=1e-5)
    guesses = [target[i][~hidden[i]].mean(axis=0) for i in range(5)]
    expected = np.mean([(guesses[i] - target[i][hidden[i]]) ** 2 for i in range(5)])
    assert told["guess"].item() == pytest.approx(expected, rel=1e-4)
    assert objective.derive(told)["skill"] == pytest.approx(1 - squares[hidden].mean() / expected, rel=1e-4)


def test_what_is_hidden_does_not_reach_the_prediction(stages):
    objective, patches = BandPower(stages.sizes).eval(), stages.patches(windows(5))
    hidden, there = objective._hidden(BatchRandom(2, 5)), torch.ones(5, 21).bool()
    changed = torch.where(hidden.reshape(5, 3, 7)[..., None], patches + 5.0, patches)
    before, after = (objective._predicted(stages, some, hidden, there) for some in (patches, changed))
    torch.testing.assert_close(before, after)


def test_it_learns_one_batch_by_heart():
    """Powers of its hidden tokens are predicted far better than by their window's mean."""
    x = windows(8).numpy() * np.linspace(0.2, 5.0, 8, dtype=np.float32)[:, None, None]
    size = {"module__embed_dim": 32, "module__num_heads": 2, "module__num_layers": 1, "module__drop_prob": 0.0}
    net = Pretrainer("biot", "band-power", **size, batch_size=8, max_epochs=60, lr=3e-3, train_split=None, device="cpu")
    net.set_params(random_state=0).fit(x)
    assert net.history[-1]["train_loss"] < 0.1 * net.history[0]["train_loss"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"mask_ratio": 1.0}, "hides 21 of 21 tokens"), ({"n_bands": 200}, "n_bands must be 1 to 101")],
)
def test_an_objective_that_could_not_learn_is_refused(stages, parameters, message):
    with pytest.raises(ValueError, match=message):
        BandPower(stages.sizes, **parameters)
