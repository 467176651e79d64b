"""braindecode: its windows, classifier, module, preprocessing and augmentation with ours."""

from __future__ import annotations

import copy
import tempfile
from typing import Any

import numpy as np
import torch

from _clients.checks import REFUSED, WORKS, check, same, true
from _clients.world import SIZE, World, net
from biot_bd import PercentileScaler, load_dataset
from biot_bd.models import BIOT
from biot_bd.windows.torch_dataset import WindowsDataset, collate_windows

CLIENT = "braindecode"
EITHER = f"{WORKS} or {REFUSED}"
SHAPE = {"n_chans": 16, "n_times": 2000, "n_outputs": 2, "sfreq": 200}
DIMS = {key.removeprefix("module__"): value for key, value in SIZE.items()}


def recordings(world: World) -> Any:
    """Return two recordings of the generated data set, as braindecode's ``BaseConcatDataset``."""
    from braindecode.datasets import BaseConcatDataset

    loaded = load_dataset("demo", world.folder / "edf")
    return BaseConcatDataset(list(loaded.datasets)[:2])


def windows_of(world: World) -> Any:
    from braindecode.preprocessing import create_fixed_length_windows

    return create_fixed_length_windows(
        recordings(world),
        start_offset_samples=0,
        stop_offset_samples=None,
        window_size_samples=2560,
        window_stride_samples=2560,
        drop_last_window=True,
    )


@check(
    CLIENT,
    "create_fixed_length_windows",
    "as `X`",
    expected=EITHER,
    why="volts, without montage and labels of seizures: `biot_bd.prepare` makes `Windows`",
)
def fixed_length_windows(world: World) -> None:
    windows = windows_of(world)
    y = np.arange(len(windows)) % 2
    net().fit(windows, y)


@check(
    CLIENT,
    "create_windows_from_events",
    "of our recordings: windows of seizures",
    why="gives no background in files with seizures, which is why `prepare` labels by itself",
)
def windows_from_events(world: World) -> None:
    from braindecode.preprocessing import create_windows_from_events

    loaded = recordings(world)
    found = create_windows_from_events(
        loaded, window_size_samples=256, window_stride_samples=256, drop_last_window=True, mapping={"sz": 1}
    )
    seizures = [a["duration"] for part in loaded.datasets for a in part.raw.annotations if a["description"] == "sz"]
    same(len(found), sum(round(duration) for duration in seizures), "windows of a second")


@check(CLIENT, "preprocess", "band-pass and resampling of our recordings equal MNE's by hand")
def preprocessing(world: World) -> None:
    from braindecode.preprocessing import Preprocessor, preprocess

    raw = copy.deepcopy(recordings(world)).datasets[0].raw.load_data()
    truth = raw.copy().filter(1, 40, verbose="error").resample(100, verbose="error").get_data()
    steps = [Preprocessor("filter", l_freq=1, h_freq=40, verbose="error"), Preprocessor("resample", sfreq=100)]
    found = preprocess(recordings(world), steps)
    same(found.datasets[0].raw.get_data(), truth, "samples", 1e-12)


@check(CLIENT, "save, load_concat_dataset", "our recordings, saved and loaded by braindecode: samples and descriptions")
def serialised(world: World) -> None:
    from braindecode.datautil import load_concat_dataset

    data = recordings(world)
    with tempfile.TemporaryDirectory() as folder:
        data.save(folder)
        loaded = load_concat_dataset(folder, preload=True)
        same(loaded.datasets[0].raw.get_data(), data.datasets[0].raw.get_data(), "samples", 1e-9)
        same(loaded.description["subject"], data.description["subject"], "subjects")


@check(CLIENT, "EEGClassifier(BIOT)", "its classifier around our module, on our torch data set of `Windows`")
def their_classifier(world: World) -> None:
    from braindecode import EEGClassifier

    windows = world.windows.map(PercentileScaler())
    data = WindowsDataset(windows, world.y)
    torch.manual_seed(0)
    theirs = EEGClassifier(
        BIOT,
        **{f"module__{key}": value for key, value in {**SHAPE, **DIMS}.items()},
        criterion=torch.nn.CrossEntropyLoss,
        train_split=None,
        max_epochs=1,
        batch_size=16,
        classes=[0, 1],
        verbose=0,
        iterator_train__collate_fn=collate_windows,
        iterator_valid__collate_fn=collate_windows,
    )
    theirs.fit(data, None)
    found = theirs.predict_proba(data)
    with torch.no_grad():
        x = torch.from_numpy(windows.read(np.arange(len(windows))).astype(np.float32))
        truth = torch.softmax(theirs.module_.eval()(x), 1)
    same(found, truth, "probabilities", 1e-5)


@check(CLIENT, "models.BIOT", "its weights in our BIOT, and ours in its: the same logits (1e-5)")
def their_model(world: World) -> None:
    from braindecode.models import BIOT as Theirs

    x, _, _ = world.arrays
    batch = torch.from_numpy(x[:4])
    names = {"att_num_heads": "num_heads"}
    try:
        theirs = Theirs(**SHAPE, **DIMS)
    except TypeError:
        theirs = Theirs(**SHAPE, **{names.get(key, key): value for key, value in DIMS.items()})
    ours = BIOT(**SHAPE, **DIMS)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        same(ours.eval()(batch), theirs.eval()(batch), "logits", 1e-5)
        again = Theirs(**SHAPE, **DIMS)
        again.load_state_dict(ours.state_dict())
        same(again.eval()(batch), theirs(batch), "logits", 1e-5)


@check(CLIENT, "models by name", "`BIOTClassifier(module=...)` trains EEGNet, Deep4Net, ShallowFBCSPNet of braindecode")
def their_models(world: World) -> None:
    x, y, groups = world.arrays
    from biot_bd import BIOTClassifier

    for name in ("EEGNet", "Deep4Net", "ShallowFBCSPNet"):
        model = BIOTClassifier(
            name, train_split=None, max_epochs=1, patience=None, batch_size=16, device="cpu", random_state=0
        ).fit(x, y, groups=groups)
        with torch.no_grad():
            truth = torch.softmax(model.module_.eval()(torch.from_numpy(x)), 1)
        same(model.predict_proba(x), truth, f"probabilities of {name}", 1e-5)


@check(
    CLIENT, "augmentation", "a transform of braindecode with probability 1 changes the training, one with 0 does not"
)
def augmentation(world: World) -> None:
    from braindecode.augmentation import GaussianNoise

    x, y, groups = world.arrays

    def fitted(augment: Any) -> Any:
        return net(augment=augment).fit(x, y, groups=groups).predict_proba(x)

    same(fitted(GaussianNoise(0.0, std=0.5)), fitted(None), "probabilities without")
    true(not np.array_equal(fitted(GaussianNoise(1.0, std=0.5)), fitted(None)), "other probabilities with it")


@check(
    CLIENT,
    "get_config, from_config, reset_head",
    "a model of its configuration takes its weights; another head another size",
)
def configuration(world: World) -> None:
    x, _, _ = world.arrays
    batch = torch.from_numpy(x[:2])
    model = BIOT(**SHAPE, **DIMS).eval()
    again = BIOT.from_config(model.get_config()).eval()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        same(again(batch), model(batch), "logits")
        model.reset_head(5)
        same(model(batch).shape, (2, 5), "shape")
    true(model.get_config()["n_outputs"] == 5, "the configuration knows the new head")


@check(CLIENT, "get_torchinfo_statistics, get_output_shape", "counts the parameters that there are")
def statistics(world: World) -> None:
    model = BIOT(**SHAPE, **DIMS)
    found = model.get_torchinfo_statistics()
    same(found.trainable_params, sum(p.numel() for p in model.parameters() if p.requires_grad), "parameters")
    same(model.get_output_shape(), (1, 2), "shape")


@check(
    CLIENT,
    "to_dense_prediction_model, cropped",
    "dense predictions",
    expected=EITHER,
    why="BIOT has one answer a window; `biot-bd detect` strides",
)
def cropped(world: World) -> None:
    x, y, groups = world.arrays
    net(cropped=True).fit(x, y, groups=groups)
