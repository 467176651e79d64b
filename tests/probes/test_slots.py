"""Which channel reaches which input of a model: planted faults are found, named, and nothing else is."""

import json

import numpy as np
import pytest
import torch
from deploy_files import save_edf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, load_dataset, prepare, save_pipeline
from biot_bd.cli import main
from biot_bd.exceptions import ContractError
from biot_bd.models import save_checkpoint
from biot_bd.probes import check_slots, open_model
from biot_bd.signals import FixedScaler, WindowTransformer
from biot_bd.signals.montages import BIOT_16, SZCORE_19

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}


class Permuted(WindowTransformer):
    """Puts channels into other places under the names that were there, as a loader with a wrong list does."""

    def __init__(self, order=(), signs=1):
        self.order, self.signs = order, signs

    def output_info(self, info):
        return info

    def apply(self, x, present, info):
        order = list(self.order)
        return x[:, order] * np.asarray(self.signs, x.dtype).reshape(-1, 1), present[:, order]


class Silenced(WindowTransformer):
    """Fills channels with zeros, as code does that knows no absent ones."""

    def __init__(self, channels=()):
        self.channels = channels

    def output_info(self, info):
        return info

    def apply(self, x, present, info):
        x = x.copy()
        x[:, list(self.channels)] = 0
        return x, present


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Noise of one's own in each channel; one store of derivations, one of electrodes."""
    folder = tmp_path_factory.mktemp("slots")
    rng = np.random.default_rng(0)
    found = {}
    for montage in (BIOT_16, SZCORE_19):
        names = montage.ch_names if montage is BIOT_16 else [f"{name}-REF" for name in montage.ch_names]
        for subject in ("P1", "P2"):
            path = folder / montage.name / subject / "r1.edf"
            save_edf(path, names, rng.normal(0, 30, (len(names), 40 * 200)), 200)
            path.with_name("r1_events.tsv").write_text("onset\tduration\teventType\n10\t10\tsz\n")
        recordings = load_dataset("recordings-folder", folder / montage.name)
        found[montage.name] = prepare(
            recordings, folder / f"{montage.name}-store", montage=montage.name, window_s=10, stride_s=10
        )
    return found


def fitted(windows, *steps, module="biot", **parameters):
    net = BIOTClassifier(
        module, max_epochs=1, batch_size=4, train_split=None, random_state=0, device="cpu",
        **{**(SIZES if module == "biot" else {}), **parameters},
    )  # fmt: skip
    return make_pipeline(*steps, net).fit(windows, windows.y)


def test_a_faultless_model(stores):
    windows = stores["biot-16"]
    report = check_slots(fitted(windows, PercentileScaler()), windows)
    assert report.problems == ()
    assert [slot.holds for slot in report.slots] == list(BIOT_16.ch_names)
    assert [slot.token for slot in report.slots] == list(BIOT_16.ch_names)
    assert all(slot.correlation > 0.999 and slot.absent == slot.constant == 0 for slot in report.slots)
    # Half of all values of a normal distribution lie within 0.6745 deviations.
    assert all(slot.before_uv == pytest.approx(0.6745 * 30, rel=0.05) for slot in report.slots)
    assert (report.n_windows, report.n_chans, report.n_times, report.sfreq) == (len(windows), 16, 2000, 200.0)
    json.dumps(report.as_dict())


@given(st.permutations(range(16)))
@settings(max_examples=5, deadline=None)
def test_a_montage_in_another_order(stores, order):
    windows = stores["biot-16"]
    net = BIOTClassifier(max_epochs=1, batch_size=8, train_split=None, random_state=0, device="cpu", **SIZES)
    net.fit(windows.map(PercentileScaler()), windows.y)
    report = check_slots(make_pipeline(Permuted(order), PercentileScaler(), net), windows, n_windows=4)
    moved = [i for i, j in enumerate(order) if i != j]
    assert [slot.holds for slot in report.slots] == [BIOT_16.ch_names[j] for j in order]
    assert [slot.position for slot in report.slots if slot.problem] == moved
    for i in moved:
        assert (
            f"{BIOT_16.ch_names[i]} holds {BIOT_16.ch_names[order[i]]} (correlation 1.00)"
            in report.problems[moved.index(i)]
        )


def test_zeros_in_the_place_of_a_channel(stores):
    windows = stores["biot-16"]
    report = check_slots(fitted(windows, Silenced([3, 7]), FixedScaler(), module="cbramod", module__n_layer=1), windows)
    assert [(slot.position, slot.constant) for slot in report.slots if slot.problem] == [(3, 1.0), (7, 1.0)]
    assert "P7-O1 is one value throughout in 100% of the windows; an absent channel must be NaN" in report.problems[0]


def test_a_turned_sign(stores):
    windows = stores["biot-16"]
    signs = [-1 if i == 5 else 1 for i in range(16)]
    report = check_slots(fitted(windows, Permuted(range(16), signs), PercentileScaler()), windows)
    assert [slot.correlation for slot in report.slots if slot.problem] == pytest.approx([-1], abs=1e-3)
    assert report.problems == ("slot 5: F8-T8 has its sign turned (correlation -1.00)",)


def test_an_absent_channel_is_no_fault(stores, tmp_path):
    path = tmp_path / "d" / "P1" / "r1.edf"
    rng = np.random.default_rng(1)
    save_edf(path, BIOT_16.ch_names[:15], rng.normal(0, 30, (15, 40 * 200)), 200)
    path.with_name("r1_events.tsv").write_text("onset\tduration\teventType\n10\t10\tsz\n")
    recordings = load_dataset("recordings-folder", tmp_path / "d")
    windows = prepare(recordings, tmp_path / "store", window_s=10, stride_s=10, on_missing="drop")
    report = check_slots(fitted(windows, PercentileScaler()), windows)
    assert report.problems == ()
    assert [slot.absent for slot in report.slots] == [0] * 15 + [1]


def test_derivations_of_electrodes_are_worked_out_anew(stores):
    windows = stores["szcore-19"]
    report = check_slots(fitted(windows, MontageMapper("biot-16"), PercentileScaler()), windows)
    assert report.problems == ()
    assert [slot.holds for slot in report.slots] == list(BIOT_16.ch_names)


def test_tokens_of_other_channels(stores, tmp_path):
    """The checkpoint knows names, but the caller's ``channel_ids`` put channels on each other's tokens."""
    from biot_bd.models import BIOT

    torch.manual_seed(0)
    source = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=16, n_outputs=2, n_times=2000)
    path = save_checkpoint(source, tmp_path / "w.ckpt", ["old/01"], ch_names=BIOT_16.ch_names)
    windows = stores["biot-16"]
    ids = [1, 0, *range(2, 16)]
    model = BIOTClassifier(pretrained=path, module__channel_ids=ids, max_epochs=1, train_split=None, device="cpu")
    report = check_slots(make_pipeline(PercentileScaler(), model).fit(windows, windows.y), windows)
    assert report.problems == (
        "slot 0: the model takes Fp1-F7 for its channel F7-T7",
        "slot 1: the model takes F7-T7 for its channel Fp1-F7",
    )


def test_a_scale_that_only_its_name_keeps(stores):
    """A step that says uV/100 and divides by nothing."""

    class Lying(FixedScaler):
        def apply(self, x, present, info):
            return x, present

    windows = stores["biot-16"]
    report = check_slots(fitted(windows, Lying(), module="cbramod", module__n_layer=1), windows)
    assert len(report.problems) == 1
    assert report.problems[0].endswith("the size, relative to microvolts, of what enters it is 1, not 0.01")


def test_models_by_name_get_the_steps_of_their_contract(stores):
    windows = stores["biot-16"]
    opened = open_model("signaljepa", windows)
    assert [type(step).__name__ for _, step in opened.steps] == ["Resampler", "BIOTClassifier"]
    report = check_slots(opened, windows)
    assert report.problems == ()
    assert (report.sfreq, report.n_times) == (128.0, 1280)
    with pytest.raises(ContractError, match="labram knows no channels Fp1-F3"):
        open_model("labram", windows)
    with pytest.raises(ValueError, match="windows of one store, without steps"):
        check_slots(opened, windows.map(PercentileScaler()))
    assert check_slots(open_model("interpolated-biot", windows), windows).problems == ()


def run(capsys, *words):
    code = main(["check", *map(str, words)])
    return code, capsys.readouterr()


def test_the_command(stores, tmp_path, capsys):
    windows = stores["biot-16"]
    folder = save_pipeline(fitted(windows, PercentileScaler()), tmp_path / "model")
    code, said = run(capsys, folder, windows.folder, "--json", tmp_path / "facts.json")
    assert code == 0
    assert "all is as the model expects" in said.out
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert [slot["holds"] for slot in facts["slots"]] == list(BIOT_16.ch_names)
    assert facts["problems"] == []
    lines = [line.split() for line in said.out.splitlines()[3:19]]
    assert [line[1:4] for line in lines] == [[name] * 3 for name in BIOT_16.ch_names]
    code, said = run(capsys, "eegnet", windows.folder)
    assert code == 0
    code, said = run(capsys, "interpolated-labram", windows.folder)
    assert code == 1
    assert "expects electrodes against one reference" in said.err
    code, said = run(capsys, "egnet", windows.folder)
    assert code == 1
    assert "did you mean 'eegnet'" in said.err


def test_the_command_on_a_model_that_is_given_zeros_and_another_order(stores, tmp_path, capsys):
    """A saved model whose checkpoint names its tokens, and ``channel_ids`` that do not follow them."""
    from biot_bd.models import BIOT

    torch.manual_seed(0)
    source = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=16, n_outputs=2, n_times=2000)
    path = save_checkpoint(source, tmp_path / "w.ckpt", ["old/01"], ch_names=BIOT_16.ch_names)
    windows = stores["biot-16"]
    ids = list(reversed(range(16)))
    model = BIOTClassifier(pretrained=path, module__channel_ids=ids, max_epochs=1, train_split=None, device="cpu")
    folder = save_pipeline(make_pipeline(PercentileScaler(), model).fit(windows, windows.y), tmp_path / "model")
    code, said = run(capsys, folder, windows.folder)
    assert code == 1
    assert said.out.count("wrong: slot") == 16
    assert "wrong: slot 0: the model takes Fp1-F7 for its channel P4-O2" in said.out
