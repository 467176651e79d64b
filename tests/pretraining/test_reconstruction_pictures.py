"""Pictures of reconstructions: what stands in them, and that TensorBoard gets them without changing a training."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from planted_reconstruction import Planted
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from biot_bd import Pretrainer
from biot_bd.pretraining import (
    Reconstruction,
    ReconstructionLogger,
    reconstruction_figure,
    reconstruction_scores_figure,
    reconstruction_spectra_figure,
    scores_of,
)
from biot_bd.pretraining.objectives.biot_contrastive import BIOTContrastive

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "module__sfreq": 200}
NAMES = ["FP1-F7", "F7-T7", "T7-P7"]


@pytest.fixture
def found():
    x = torch.randn(2, 3, 5, 40, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(2, 3, 5, dtype=torch.bool)
    hidden[:, 0, 1:3] = hidden[:, 2, 4] = True
    present = torch.tensor([[True, False, True]] * 2)
    return Reconstruction(x, x + 0.5, x + 1, hidden, present, "signal", "scaled")


def texts(figure):
    return " ".join(text.get_text() for text in [*figure.texts, *(t for a in figure.axes for t in a.texts)])


def inside(figure):
    """All words lie on the sheet."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in figure.texts]
    return all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)


@pytest.mark.parametrize("width_px", [1100, 362])
@pytest.mark.parametrize("kind", ["signal", "spectrum"])
def test_a_window_is_drawn_as_it_is_as_seen_and_as_reconstructed(found, kind, width_px):
    found = Reconstruction(**{**vars(found), "kind": kind})
    figure = reconstruction_figure(found, ch_names=NAMES, window_s=10.0, top_hz=100.0, width_px=width_px)
    assert [axis.get_title() for axis in figure.axes] == ["original", "what the model saw", "reconstructed"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == NAMES
    assert "20 % of the tokens were hidden" in texts(figure)
    assert "absent" in texts(figure)
    assert "3 of 15 tokens are hidden. Skill over interpolation in this window: 0.75." in figure.get_label()
    assert figure.axes[-1].get_xlim() == (0, 10)
    assert inside(figure)


def test_the_middle_panel_shows_no_hidden_sample_and_the_right_one_the_prediction(found):
    figure = reconstruction_figure(found, window_s=10.0)
    first = np.array([line.get_ydata() for line in figure.axes[1].lines[:3]]).reshape(3, 5, 40)
    assert np.isnan(first[found.hidden[0].numpy()]).all()
    assert np.isfinite(first[0, 0]).all()
    # Negative is up, and rows are in steps of a round number, so a shift of 0.5 is the same everywhere.
    mended = np.array([line.get_ydata() for line in figure.axes[2].lines[9:12]]).reshape(3, 5, 40)
    whole = np.array([line.get_ydata() for line in figure.axes[0].lines[:3]]).reshape(3, 5, 40)
    shift = (whole - mended)[found.hidden[0].numpy()]
    assert shift.min() > 0
    assert np.ptp(shift) < 1e-6


def test_errors_by_frequency_are_those_of_the_hidden_tokens(found):
    spectra = Reconstruction(**{**vars(found), "kind": "spectrum"})
    figure = reconstruction_spectra_figure(spectra, feature_hz=np.arange(40.0))
    predicted, interpolated = figure.axes[1].lines
    np.testing.assert_allclose(predicted.get_ydata(), 0.25, rtol=1e-5)
    np.testing.assert_allclose(interpolated.get_ydata(), 1.0, rtol=1e-5)
    assert figure.axes[1].get_xlabel() == "frequency (Hz)"
    assert "below that of interpolation at 40 of 40 places, from 0 to 39" in figure.get_label()


def test_the_spectrum_of_a_sine_peaks_at_its_frequency():
    times = torch.arange(1000) / 200
    x = torch.sin(2 * torch.pi * 12 * times).reshape(1, 1, 10, 100)
    hidden = torch.ones(1, 1, 10, dtype=torch.bool)
    figure = reconstruction_spectra_figure(Reconstruction(x, x * 0.5, x * 0, hidden, None, "signal", "uV"), sfreq=200)
    original, predicted, _ = figure.axes[0].lines
    assert original.get_xdata()[np.argmax(original.get_ydata())] == pytest.approx(12)
    peak = [line.get_ydata().max() for line in (original, predicted)]
    assert peak[0] / peak[1] == pytest.approx(4)  # half the amplitude


def test_scores_are_drawn_with_what_is_undefined_and_who_trained(found):
    scores = scores_of([found], ["a/1", "a/2"], ch_names=NAMES, seen_subjects=["a/2"])
    figure = reconstruction_scores_figure(scores)
    assert "1 of these subjects trained" in " ".join(texts(figure).split())
    assert "undefined" in texts(figure)
    skill = figure.axes[0].lines[1].get_xdata()
    np.testing.assert_allclose(skill, [0.75, 0.75], rtol=1e-5)
    assert inside(figure)


def test_what_does_not_fit_is_refused(found):
    with pytest.raises(ValueError, match="no window 2: the reconstruction has 2"):
        reconstruction_figure(found, window=2)
    with pytest.raises(ValueError, match="has 3 channels, and there are 2 names"):
        reconstruction_figure(found, ch_names=NAMES[:2])
    with pytest.raises(ValueError, match="no token was hidden"):
        reconstruction_spectra_figure(Reconstruction(**{**vars(found), "hidden": found.hidden & False}))


def fitted(folder, objective=Planted, **settings):
    x = np.random.default_rng(0).normal(size=(24, 2, 800)).astype("float32")
    logger = [] if folder is None else [("pictures", ReconstructionLogger(folder))]
    net = Pretrainer(
        "biot",
        objective,
        **TINY,
        max_epochs=3,
        batch_size=8,
        device="cpu",
        random_state=0,
        callbacks=logger,
        **settings,
    )
    return net.fit(x, groups=np.repeat(["site/01", "site/02", "site/03"], 8))


def logged(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return {tag: [one.step for one in events.Images(tag)] for tag in events.Tags()["images"]}, events.Tags()["tensors"]


def test_pictures_of_epochs_one_two_and_the_last_stand_beside_the_curves_and_change_no_training(tmp_path):
    drawn, plain = fitted(None, log_dir=tmp_path), fitted(None)
    images, _ = logged(tmp_path)
    assert images == {"reconstruction/Planted/window-00": [1, 2, 3], "reconstruction/Planted/spectra": [1, 2, 3]}
    # TensorBoard reads the files of a folder one behind the other, so there must be one.
    assert len(list(tmp_path.iterdir())) == 1
    assert drawn.history[:, "train_loss"] == plain.history[:, "train_loss"]


def test_without_validation_or_reconstruction_nothing_is_drawn(tmp_path):
    fitted(tmp_path / "a", train_split=None)
    images, told = logged(tmp_path / "a")
    assert images == {}
    assert any("reconstruction" in tag for tag in told)
    fitted(tmp_path / "b", BIOTContrastive)
    assert not (tmp_path / "b").exists()


def test_a_logger_without_a_folder_says_so():
    net = Pretrainer(
        "biot", Planted, **TINY, callbacks=[("pictures", ReconstructionLogger())], batch_size=4, device="cpu"
    )
    x = np.random.default_rng(0).normal(size=(8, 2, 800)).astype("float32")
    with pytest.raises(ValueError, match="needs a folder"):
        net.fit(x, groups=["a/1"] * 4 + ["a/2"] * 4)
