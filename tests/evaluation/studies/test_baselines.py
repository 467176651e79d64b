"""Baselines by one word, on windows, arrays and Epochs, in the folds of every other model."""

import mne
import numpy as np
import pytest
from made_cases import windows_of
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from biot_bd import Windows, cross_validate, load_pipeline, registry, save_pipeline
from biot_bd.evaluation import BASELINES, PROTOCOLS, baseline
from biot_bd.evaluation.metrics.thresholds import choose_threshold
from biot_bd.evaluation.studies.baselines import is_neural, neural_pipeline
from biot_bd.signals.features import BATCH
from biot_bd.signals.montages import montage_of

QUICK = {"max_epochs": 1, "batch_size": 16, "device": "cpu", "random_state": 0}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return windows_of(tmp_path_factory.mktemp("cases") / "w", PROTOCOLS["ours"], cases=range(1, 6))


def made(word, data, **options):
    return baseline(word, data, params=QUICK if is_neural(word) else None, **options)


@pytest.mark.parametrize("word", BASELINES)
def test_each_word_is_scored_and_fitted_again_alike(word, windows):
    pipeline = made(word, windows)
    first = cross_validate(pipeline, windows, cv="subject-kfold-2", progress=False)
    second = cross_validate(clone(pipeline), windows, cv="subject-kfold-2", progress=False)
    assert first.metrics == second.metrics
    assert first.predictions["proba"].between(0, 1).all()
    if word in ("spectral-power", "line-length"):
        assert first.metrics["macro"]["roc_auc"]["value"] > 0.95  # seizures are louder
    assert not any(name.endswith("_") for name in vars(pipeline[-1]) if not name.startswith("_")) or is_neural(word)


@pytest.mark.parametrize(("word", "called"), [("always-on", 1), ("always-off", 0)])
@pytest.mark.parametrize("rule", ["balanced-accuracy", "matched-prevalence"])
def test_constant_detectors_stay_constant_and_are_called_degenerate(word, called, rule, windows):
    scoring = ("average_precision", "roc_auc", "balanced_accuracy", "sensitivity", "specificity")
    result = cross_validate(made(word, windows), windows, threshold=rule, scoring=scoring, progress=False)
    assert set(result.predictions["proba"]) == {float(called)}
    pooled = {name: cell["value"] for name, cell in result.metrics["pooled"].items()}
    assert pooled == {
        "average_precision": pytest.approx(windows.y.mean()),
        "roc_auc": 0.5,
        "balanced_accuracy": 0.5,
        "sensitivity": called,
        "specificity": 1 - called,
    }
    assert any(note.startswith("degenerate: ") and "in all folds" in note for note in result.notes)


def test_a_rule_of_thresholds_does_not_turn_off_into_on():
    chosen = choose_threshold([0, 1, 1, 0], [0.0] * 4, "matched-prevalence")
    assert (chosen.value, chosen.reason) == (0.5, "all validation windows have one probability")


@pytest.mark.parametrize("word", BASELINES)
def test_arrays_epochs_and_windows_agree(word, windows):
    some = windows[:40]
    x = np.asarray(some)
    epochs = mne.EpochsArray(
        x.astype(float) * 1e-6, mne.create_info(list(windows.ch_names), windows.sfreq, "eeg"), verbose="error"
    )
    proba = []
    for data in (some, x, epochs):
        pipeline = made(word, data, sfreq=200.0)
        if is_neural(word):
            pipeline.set_params(biotclassifier__train_split=None)
        proba.append(pipeline.fit(data, some.y).predict_proba(data))
    np.testing.assert_allclose(proba[1], proba[0], atol=1e-4)
    np.testing.assert_allclose(proba[2], proba[0], atol=1e-4)


def test_spectral_power_is_what_its_steps_say(windows):
    pipeline = baseline("spectral-power", windows).fit(windows, windows.y)
    z = StandardScaler().fit_transform(pipeline[0].transform(windows))
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit(z, windows.y)
    np.testing.assert_allclose(pipeline.predict_proba(windows), model.predict_proba(z), atol=1e-6)


def test_features_are_read_in_batches(windows, monkeypatch):
    many = windows[np.arange(BATCH + 40) % len(windows)]
    sizes = []
    read = Windows.read
    monkeypatch.setattr(Windows, "read", lambda self, rows: sizes.append(len(rows)) or read(self, rows))
    monkeypatch.setattr(Windows, "__array__", None)
    for word in ("spectral-power", "line-length"):
        baseline(word, many).fit(many, many.y).predict_proba(many)
    assert max(sizes) == BATCH
    sizes.clear()
    for word in ("always-on", "always-off"):
        baseline(word, many).fit(many, many.y).predict_proba(many)
    assert sizes == []


@pytest.mark.parametrize("word", BASELINES)
def test_absent_channels_do_not_stop_a_baseline(word, windows):
    x = np.asarray(windows).copy()
    x[::2, 3] = np.nan
    x[:, 5] = np.nan
    result = cross_validate(
        made(word, x, sfreq=200.0), x, y=windows.y, groups=windows.groups, cv="subject-kfold-2", progress=False
    )
    assert result.predictions["proba"].notna().all()


def test_only_models_that_cannot_leave_channels_out_get_zeros(windows):
    def names(pipeline):
        return list(pipeline.named_steps)

    assert names(neural_pipeline("biot", windows)) == ["montagemapper", "percentilescaler", "biotclassifier"]
    eegnet = baseline("eegnet", windows)
    assert names(eegnet) == ["montagemapper", "percentilescaler", "fillabsent", "biotclassifier"]
    assert names(neural_pipeline("biot", np.zeros((2, 3, 400)))) == ["percentilescaler", "biotclassifier"]
    assert montage_of(windows.ch_names).name == "biot-16"
    fitted = made("bdtcn", windows).fit(windows, windows.y)
    assert type(fitted[-1].module_) is registry.models["bdtcn"]


def test_a_neural_baseline_is_saved_and_loaded_with_all_its_steps(windows, tmp_path):
    pipeline = made("eegnet", windows).fit(windows, windows.y)
    save_pipeline(pipeline, tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")
    assert list(loaded.named_steps) == list(pipeline.named_steps)
    np.testing.assert_array_equal(loaded.predict_proba(windows[:6]), pipeline.predict_proba(windows[:6]))


def test_mistakes_are_named(windows):
    with pytest.raises(ValueError, match="always-on, always-off"):
        baseline("always", windows)
    with pytest.raises(ValueError, match="takes no 'lr'"):
        baseline("line-length", windows, params={"lr": 1})
    with pytest.raises(ValueError, match="sfreq="):
        baseline("spectral-power", np.zeros((2, 3, 400)))
