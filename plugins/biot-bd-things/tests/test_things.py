"""THINGS-EEG2: files are read as data, what goes in comes out, and EEG finds its image where there is one to find."""

import io
import pickle

import mne
import numpy as np
import pytest
import torch
from torch import nn

from biot_bd import load_dataset, prepare, registry
from biot_bd.exceptions import RecordingError
from biot_bd.testing import check_dataset, check_label_rule, check_montage
from biot_bd_things import (
    ImageAligner,
    ImageAutoencoder,
    ImageContrast,
    ObjectFileError,
    ShownImages,
    ThingsEpochs,
    embed_images,
    generate_things,
    load_epochs,
    load_things_eeg2,
    ranks,
    read_image_set,
    read_object_npy,
    reconstruct,
    reconstruction_sheet,
    retrieval,
)

SFREQ = 100.0


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return generate_things(
        tmp_path_factory.mktemp("things"),
        n_subjects=3,
        n_training_images=40,
        n_test_images=8,
        n_training_repetitions=2,
        n_test_repetitions=6,
        sfreq=SFREQ,
        noise_uv=4.0,
    )


# --- files ---


def saved(path, value, protocol):
    box = np.empty((), dtype=object)
    box[()] = value
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump(box, file, protocol=protocol)
    return path


@pytest.mark.parametrize("protocol", [3, 4])  # what numpy wrote when the set was published, and what it writes now
def test_a_dictionary_is_what_numpy_would_load(tmp_path, protocol):
    rng = np.random.default_rng(0)
    value = {
        "raw_eeg_data": rng.normal(size=(5, 4000)),
        "fortran": np.asfortranarray(rng.integers(0, 9, (300, 70))),
        "small": np.arange(3, dtype=">i2"),
        "ch_names": ["Oz", "stim"],
        "texts": np.array(["a", "bcd"]),
        "sfreq": 1000,
        "number": np.float32(0.5),
        "nested": {"yes": True, "none": None, "pair": (1, -70000)},
    }
    path = saved(tmp_path / "x.npy", value, protocol)
    found, loaded = read_object_npy(path), np.load(path, allow_pickle=True).item()
    assert list(found) == list(loaded)
    for key, expected in loaded.items():
        if isinstance(expected, np.ndarray):
            assert found[key].dtype.newbyteorder("=") == expected.dtype  # numpy turns the bytes round
            np.testing.assert_array_equal(found[key], expected)
        else:
            assert found[key] == expected
    assert isinstance(found["raw_eeg_data"], np.memmap)
    assert not isinstance(found["small"], np.memmap)


@pytest.mark.parametrize("value", [io.StringIO, complex(1, 2), np.array([1 + 2j]), {1, 2}], ids=str)
def test_nothing_is_called_and_nothing_is_built(tmp_path, value):
    with pytest.raises(ObjectFileError, match=r"x\.npy"):
        read_object_npy(saved(tmp_path / "x.npy", {"a": value}, 4))


def test_other_files_are_told(tmp_path):
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(ObjectFileError, match=r"plain\.npy: holds an array \(3,\)"):
        read_object_npy(tmp_path / "plain.npy")
    (tmp_path / "text.npy").write_text("no numbers")
    with pytest.raises(ObjectFileError, match=r"text\.npy"):
        read_object_npy(tmp_path / "text.npy")
    path = saved(tmp_path / "cut.npy", {"x": np.zeros(20_000)}, 4)
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(ObjectFileError, match="cut off"):
        read_object_npy(path)
    with pytest.raises(ObjectFileError, match="expected a dictionary"):
        read_object_npy(saved(tmp_path / "list.npy", [1, 2], 4))


# --- recordings ---


def test_the_plugin_keeps_the_contracts(root):
    assert registry.datasets["things-eeg2"] is load_things_eeg2
    check_dataset(load_things_eeg2(root, generated=True))
    check_montage(registry.montages["things-17"])
    check_label_rule(
        ShownImages, annotations=[(5.0, 0.1, "image/test/2"), (8.0, 0.1, "target"), (9.5, 0.1, "image/test/1")]
    )


def test_samples_and_onsets_are_those_of_the_file(root):
    dataset = load_dataset("things-eeg2", root, subjects=[2], parts=["test"], generated=True)
    (part,) = dataset.datasets
    assert part.description["subject"] == "things-eeg2/02"
    assert not part.raw.preload
    told = np.load(root / "raw_data/sub-02/ses-01/raw_eeg_test.npy", allow_pickle=True).item()
    np.testing.assert_array_equal(part.raw.get_data(start=500, stop=700), told["raw_eeg_data"][:-1, 500:700])
    # MNE's own way to events, as the authors' code goes it.
    info = mne.create_info(told["ch_names"], SFREQ, told["ch_types"])
    events = mne.find_events(mne.io.RawArray(told["raw_eeg_data"], info, verbose="error"), "stim", verbose="error")
    annotations = part.raw.annotations
    np.testing.assert_array_equal(np.rint(annotations.onset * SFREQ), events[:, 0])
    assert list(annotations.description) == ["target" if n == 99999 else f"image/test/{n}" for n in events[:, 2]]


def test_a_recording_that_is_none_is_refused(root, tmp_path):
    folder = tmp_path / "sub-01" / "ses-01"
    folder.mkdir(parents=True)
    told = np.load(root / "raw_data/sub-01/ses-01/raw_eeg_test.npy", allow_pickle=True).item()
    changes = {
        "expected volts": {"raw_eeg_data": told["raw_eeg_data"] * np.r_[np.full(17, 1e6), 1][:, None]},
        "'stim'": {"ch_types": ["eeg"] * 18},
        "sfreq is 0": {"sfreq": 0},
    }
    for said, change in changes.items():
        np.save(folder / "raw_eeg_test.npy", told | change)
        with pytest.raises(RecordingError, match=said):
            load_things_eeg2(tmp_path)
    np.save(folder / "raw_eeg_test.npy", {key: told[key] for key in ("raw_eeg_data", "sfreq", "ch_names")})
    with pytest.raises(RecordingError, match="ch_types"):
        load_things_eeg2(tmp_path)
    with pytest.raises(FileNotFoundError, match="subject 07"):
        load_things_eeg2(tmp_path, subjects=[7])


def test_windows_are_labelled_by_the_image_that_was_shown(root, tmp_path):
    dataset = load_things_eeg2(root, parts=["test"], generated=True)
    asked = {"montage": "things-17", "sfreq": SFREQ, "window_s": 1.0, "stride_s": 1.0, "labels": ShownImages()}
    windows = prepare(dataset, tmp_path / "store", **asked)
    raw = dataset.datasets[0].raw
    told = zip(raw.annotations.onset, raw.annotations.description, strict=True)
    shown = [(onset_s, text) for onset_s, text in told if text != "target"]
    assert [f"image/test/{label + 1}" for label in windows.y[: len(shown)]] == [text for _, text in shown]
    assert windows.classes == tuple(f"image {k}" for k in range(1, 9))
    start = round((shown[3][0] - 0.2) * SFREQ)
    expected = 1e6 * raw.get_data(picks=list(windows.ch_names), start=start, stop=start + 100)
    np.testing.assert_allclose(windows[3], expected, atol=np.abs(expected).max() / 2**13)
    with pytest.raises(ValueError, match="different images"):
        ShownImages()(1000, SFREQ, [], annotations=[(1.0, 0.1, "image/test/1"), (2.0, 0.1, "image/training/1")])


def test_preprocessed_epochs_keep_their_images(tmp_path):
    data = np.random.default_rng(0).normal(size=(5, 4, 3, 20))
    paths = [tmp_path / f"preprocessed_data/sub-0{subject}/preprocessed_eeg_test.npy" for subject in (1, 2)]
    for factor, path in enumerate(paths, 1):
        path.parent.mkdir(parents=True)
        told = {"preprocessed_eeg_data": data * factor, "ch_names": ["O1", "Oz", "O2"], "times": np.arange(20) / 100}
        np.save(path, told)
    epochs = load_epochs(tmp_path, "test", repetitions=3)
    assert epochs.x.shape == (30, 3, 20)
    assert epochs.sfreq == 100
    of_two = (epochs.subject == "things-eeg2/02") & (epochs.image == 4) & (epochs.repetition == 1)
    np.testing.assert_allclose(epochs.x[of_two][0], 2 * data[4, 1], rtol=1e-6)
    mean = epochs.averaged()
    np.testing.assert_allclose(mean.of(["things-eeg2/01"]).x, data[:, :3].mean(axis=1), atol=1e-6)
    with pytest.raises(FileNotFoundError, match="sub-03"):
        load_epochs(tmp_path, "test", subjects=[3])
    np.save(paths[1], told | {"ch_names": ["O1"]})
    with pytest.raises(ObjectFileError, match=r"expected \(images, presentations, 1 channels"):
        load_epochs(tmp_path, "test")


def test_names_of_images_lead_nowhere_else(root, tmp_path):
    images = read_image_set(root, "test")
    assert len(images) == 8
    assert images.pixels(16, np.array([2, 5])).shape == (2, 3, 16, 16)
    told = read_object_npy(root / "image_set/image_metadata.npy")
    (tmp_path / "image_set").mkdir()
    np.save(tmp_path / "image_set/image_metadata.npy", told | {"test_img_files": ["folder/other.png"] * 8})
    with pytest.raises(ObjectFileError, match="no name of a file"):
        read_image_set(tmp_path, "test")


# --- alignment ---


def test_the_loss_is_cross_entropy_where_each_image_occurs_once():
    torch.manual_seed(0)
    eeg, images = torch.randn(6, 8), torch.randn(6, 8)
    logits = nn.functional.normalize(eeg) @ nn.functional.normalize(images).T / 0.07
    right = torch.arange(6)
    expected = (nn.functional.cross_entropy(logits, right) + nn.functional.cross_entropy(logits.T, right)) / 2
    assert float(ImageContrast()(eeg, images).detach()) == pytest.approx(float(expected), rel=1e-5)


def test_presentations_of_one_image_are_no_negatives_of_each_other():
    # All windows of one image lie right: other presentations as negatives would push them apart.
    image = torch.randn(1, 8).expand(4, 8)
    eeg = image.clone().requires_grad_()
    ImageContrast()(eeg, image).backward()
    assert float(eeg.grad.abs().max()) < 1e-6


def test_ranks_count_who_is_at_least_as_near():
    rng = np.random.default_rng(0)
    gallery, eeg, shown = rng.normal(size=(9, 5)), rng.normal(size=(30, 5)), rng.integers(0, 9, 30)
    cosine = eeg @ gallery.T / np.linalg.norm(gallery, axis=1)
    expected = [int(np.where(np.argsort(-row) == k)[0][0]) + 1 for row, k in zip(cosine, shown, strict=True)]
    assert ranks(eeg, gallery, shown).tolist() == expected
    assert ranks(np.ones((1, 5)), np.ones((9, 5)), [4]).tolist() == [9]  # a constant answer is the worst, not the best
    eeg[3, 2] = np.nan  # not the best either: no image is as near as one at no distance
    with pytest.raises(ValueError, match="eeg: row 3 is not finite"):
        retrieval(eeg, gallery, shown, np.full(len(eeg), "a"))


def test_embeddings_without_eeg_are_at_chance():
    rng = np.random.default_rng(1)
    eeg, gallery = rng.normal(size=(4000, 6)), rng.normal(size=(20, 6))
    table = retrieval(eeg, gallery, rng.integers(0, 20, 4000), np.repeat(["a", "b"], 2000))
    assert table["subject"].tolist() == ["a", "b", "all"]
    every = table.iloc[-1]
    assert (every["chance1"], every["chance5"]) == (0.05, 0.25)
    assert abs(every["top1"] - 0.05) < 0.012
    assert abs(every["top5"] - 0.25) < 0.025


def epochs_of(root, part):
    rule, parts = ShownImages(), []
    for one in load_things_eeg2(root, parts=[part], generated=True).datasets:
        told = one.raw.annotations
        shown = list(zip(told.onset, told.duration, told.description, strict=True))
        table = rule(one.raw.n_times, SFREQ, [], annotations=shown)
        x = 1e6 * one.raw.get_data()
        windows = np.stack([x[:, start : start + 100] for start in table["start_sample"]]).astype(np.float32)
        parts.append((windows, table["label"].to_numpy(), np.full(len(table), one.description["subject"])))
    x, image, subject = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ThingsEpochs(x, image, np.zeros(len(x), dtype=np.int64), subject, (), np.arange(100) / SFREQ)


def test_images_and_alignment_train_and_are_drawn(root):
    images = read_image_set(root, "training").pixels(16)
    auto = ImageAutoencoder(8, width=4, max_epochs=2, device="cpu").fit(images)
    epochs = epochs_of(root, "training")
    fit = {"sfreq": SFREQ, "max_epochs": 1, "device": "cpu"}
    embeddings = auto.transform(images)[epochs.image]
    aligners = [ImageAligner(**fit).fit(epochs.x, embeddings, groups=epochs.subject) for _ in range(2)]
    found = [aligner.transform(epochs.x[:20]) for aligner in aligners]
    np.testing.assert_array_equal(*found)  # the same seed, the same weights
    np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, rtol=1e-5)
    assert len(aligners[0].valid_subjects_) == 1
    made = reconstruct(auto, aligners[0].predict(epochs.x[:20]), images[epochs.image[:20]])
    figure = reconstruction_sheet(made, n=4, generated=True)
    assert "Generated" in figure.get_label()
    assert len(figure.axes) == 12
    with pytest.raises(ValueError, match="zero or not finite"):
        ImageAligner(**fit).fit(epochs.x[:4], np.zeros((4, 8)))
    assert embed_images(nn.Flatten(), images[:2]).shape == (2, 768)


@pytest.mark.slow
def test_eeg_of_an_unseen_subject_finds_images_that_nobody_trained_on(tmp_path):
    root = generate_things(tmp_path, n_training_images=160, n_test_images=20, sfreq=SFREQ, noise_uv=6.0)
    images, test_images = (read_image_set(root, part).pixels(16) for part in ("training", "test"))
    auto = ImageAutoencoder(16, width=8, max_epochs=60, device="cpu").fit(images)
    train, test = epochs_of(root, "training"), epochs_of(root, "test").of(["things-eeg2/04"]).averaged()
    train = train.of([f"things-eeg2/0{k}" for k in (1, 2, 3)])
    embeddings = auto.transform(images)
    fit = {"sfreq": SFREQ, "max_epochs": 30, "lr": 3e-3, "device": "cpu"}
    aligner = ImageAligner(**fit).fit(train.x, embeddings[train.image], groups=train.subject)
    gallery = auto.transform(test_images)
    row = retrieval(aligner.transform(test.x), gallery, test.image, test.subject).iloc[-1]
    assert row["top1"] >= 0.3  # chance is 0.05
    assert row["top5"] >= 0.7  # chance is 0.25
    assert row["p5"] < 1e-3
    made = reconstruct(auto, aligner.predict(test.x), test_images[test.image])
    assert 0 < made.skill < made.best_possible
    assert made.told_apart > 0.1
    # Trained with the images dealt out anew it finds nothing: what is found comes from the EEG.
    mixed = np.random.default_rng(0).permutation(len(embeddings))
    control = ImageAligner(**fit).fit(train.x, embeddings[mixed][train.image], groups=train.subject)
    lost = retrieval(control.transform(test.x), gallery, test.image, test.subject).iloc[-1]
    assert lost["top1"] <= 0.2
    assert lost["top5"] <= 0.5
