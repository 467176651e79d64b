"""MOABB's evaluations, on its generated data set; nothing is downloaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import LabelEncoder

from _clients.checks import REFUSED, check, same, true
from _clients.world import TRAINING, World
from biot_bd import BIOTClassifier, PercentileScaler

CLIENT = "MOABB"
SFREQ = 100
SIZE = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 50}
ALONE = (
    "trains and tests on one subject and routes no subjects, so the classifier can split off none: `train_split=None` with "
    "a fixed `max_epochs`"
)


def pipeline(**parameters: Any) -> Pipeline:
    """Return scaling and a tiny BIOT for windows at 100 Hz."""
    settings = {**TRAINING, **SIZE, "train_split": None, "module__sfreq": SFREQ, "classes": None, **parameters}
    return make_pipeline(PercentileScaler(), BIOTClassifier(**settings))


def data_and_paradigm() -> tuple[Any, Any]:
    from moabb.datasets.fake import FakeDataset
    from moabb.paradigms import LeftRightImagery

    data = FakeDataset(
        event_list=["left_hand", "right_hand"],
        n_sessions=2,
        n_runs=1,
        n_subjects=3,
        n_events=20,
        duration=80,
        sfreq=SFREQ,
        seed=0,
        stim=True,
    )
    return data, LeftRightImagery(fmin=1, fmax=40, resample=SFREQ)


def evaluate(name: str, pipe: Any, **options: Any) -> Any:
    """Return MOABB's table, its rows by subject and session."""
    import moabb
    import moabb.evaluations

    moabb.set_log_level("error")
    data, paradigm = data_and_paradigm()
    with tempfile.TemporaryDirectory() as folder:
        evaluation = getattr(moabb.evaluations, name)(
            paradigm=paradigm, datasets=[data], overwrite=True, hdf5_path=folder, random_state=0, **options
        )
        return evaluation.process({"biot": pipe}).sort_values(["subject", "session"])


def by_hand(pipe: Any, parts: Callable[[Any, Any], Any], epochs: bool = False, with_subjects: bool = False) -> Any:
    """Return AUCs of fits by hand; ``parts(metadata, y)`` gives rows of training and of tests."""
    data, paradigm = data_and_paradigm()
    x, labels, metadata = paradigm.get_data(data, return_epochs=epochs)
    y = LabelEncoder().fit_transform(labels)
    scores = []
    for train, tests in parts(metadata, y):
        subjects = {"biotclassifier__groups": metadata.subject.to_numpy()[train]} if with_subjects else {}
        model = clone(pipe).fit(x[train], y[train], **subjects)
        scores.append([roc_auc_score(y[test], model.predict_proba(x[test])[:, 1]) for test in tests])
    return scores


def one_subject_out(metadata: Any, y: Any) -> Any:
    """Yield the others' rows, and those of each session of a subject."""
    for subject in sorted(set(metadata.subject)):
        own = metadata.subject == subject
        sessions = [np.flatnonzero(own & (metadata.session == s)) for s in sorted(set(metadata.session[own]))]
        yield np.flatnonzero(~own), sessions


def one_session_out(metadata: Any, y: Any) -> Any:
    """Yield, for each subject, the rows of the other sessions and of one."""
    for subject in sorted(set(metadata.subject)):
        own = metadata.subject == subject
        for session in sorted(set(metadata.session[own])):
            tested = own & (metadata.session == session)
            yield np.flatnonzero(own & ~tested), [np.flatnonzero(tested)]


def folds_in_a_session(metadata: Any, y: Any) -> Any:
    """Yield five folds of each session of each subject."""
    for subject in sorted(set(metadata.subject)):
        for session in sorted(set(metadata.session[metadata.subject == subject])):
            rows = np.flatnonzero((metadata.subject == subject) & (metadata.session == session))
            for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(rows, y[rows]):
                yield rows[train], [rows[test]]


@check(
    CLIENT, "CrossSubjectEvaluation", "scores by subject and session equal those of fits by hand, one subject left out"
)
def cross_subject(world: World) -> None:
    found = evaluate("CrossSubjectEvaluation", pipeline())
    same(found.score, np.ravel(by_hand(pipeline(), one_subject_out)), "AUC", 1e-7)


@check(CLIENT, "CrossSubjectEvaluation(return_epochs=True)", "`mne.Epochs`: the same, by hand on Epochs")
def cross_subject_epochs(world: World) -> None:
    pipe = pipeline(module__sfreq=SFREQ)
    found = evaluate("CrossSubjectEvaluation", pipe, return_epochs=True)
    same(found.score, np.ravel(by_hand(pipe, one_subject_out, epochs=True)), "AUC", 1e-7)


@check(CLIENT, "CrossSessionEvaluation", "scores equal those of fits by hand, one session of a subject left out")
def cross_session(world: World) -> None:
    found = evaluate("CrossSessionEvaluation", pipeline())
    same(found.score, np.ravel(by_hand(pipeline(), one_session_out)), "AUC", 1e-7)


@check(
    CLIENT,
    "WithinSessionEvaluation",
    "means of five folds equal those of fits by hand",
    why="tests a model on windows beside those it was trained on: never a score for new subjects, and arrays name none",
)
def within_session(world: World) -> None:
    found = evaluate("WithinSessionEvaluation", pipeline())
    truth = np.reshape(by_hand(pipeline(), folds_in_a_session), (-1, 5)).mean(axis=1)
    same(found.score, truth, "AUC", 1e-7)


@check(
    CLIENT,
    "CrossSubjectEvaluation, default train_split",
    "validation windows by subject: equals fits by hand that are told the subjects",
)
def default_split(world: World) -> None:
    pipe = pipeline(train_split="subject")
    found = evaluate("CrossSubjectEvaluation", pipe)
    same(found.score, np.ravel(by_hand(pipe, one_subject_out, with_subjects=True)), "AUC", 1e-7)


@check(CLIENT, "others, default train_split", "validation windows by subject", expected=REFUSED, why=ALONE)
def default_split_alone(world: World) -> None:
    evaluate("CrossSessionEvaluation", pipeline(train_split="subject"))


@check(
    CLIENT,
    "param_grid",
    "a search inside each fold: runs, and its scores are numbers",
    why="MOABB's inner split is by window: use it to try, not to report",
)
def grid(world: World) -> None:
    import moabb.evaluations

    data, paradigm = data_and_paradigm()
    with tempfile.TemporaryDirectory() as folder:
        evaluation = moabb.evaluations.CrossSubjectEvaluation(
            paradigm=paradigm, datasets=[data], overwrite=True, hdf5_path=folder, random_state=0
        )
        found = evaluation.process({"biot": pipeline()}, param_grid={"biot": {"biotclassifier__lr": [3e-3, 3e-3]}})
    truth = np.ravel(by_hand(pipeline(), one_subject_out))
    same(found.sort_values(["subject", "session"]).score, truth, "AUC with a grid of one value", 1e-7)


@check(CLIENT, "n_jobs=2, save_model=True", "scores equal those of one process, and a model a fold is saved")
def in_processes(world: World) -> None:
    from pathlib import Path

    import moabb.evaluations

    data, paradigm = data_and_paradigm()
    with tempfile.TemporaryDirectory() as folder:
        evaluation = moabb.evaluations.CrossSubjectEvaluation(
            paradigm=paradigm,
            datasets=[data],
            overwrite=True,
            hdf5_path=folder,
            random_state=0,
            n_jobs=2,
            save_model=True,
        )
        found = evaluation.process({"biot": pipeline()}).sort_values(["subject", "session"])
        saved = [path for path in Path(folder).rglob("*") if path.is_file() and path.suffix in {".pkl", ".pt"}]
        true(saved, "models are saved")
    same(found.score, np.ravel(by_hand(pipeline(), one_subject_out)), "AUC", 1e-7)
