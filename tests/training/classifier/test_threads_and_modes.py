"""A fit or prediction is the same whatever its caller has switched on, and whoever computes beside it."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.model_selection import GridSearchCV, GroupKFold
from training_data import small

from biot_bd import load_scorer, save_pipeline
from biot_bd.training.resume import kept_random_states, random_states, seeded


@contextmanager
def switched(switch, value, normal):
    switch(value)
    try:
        yield
    finally:
        switch(normal)


MODES = {
    "autocast": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "float64": partial(switched, torch.set_default_dtype, torch.float64, torch.float32),
    "deterministic": partial(switched, torch.use_deterministic_algorithms, True, False),
    "meta": partial(torch.device, "meta"),
}


def state():
    return (
        torch.is_autocast_enabled("cpu"),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_default_device(),
        torch.get_num_threads(),
    )


def fitted(data, **params):
    x, y, groups = data
    return small(**{"max_epochs": 2, **params}).fit(x, y, groups=groups)


@pytest.fixture(scope="module")
def alone(data):
    return {precision: fitted(data, precision=precision) for precision in ("fp32", "bf16")}


# --- modes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_callers_mode_changes_nothing_and_stays(alone, data, mode):
    expected = alone["fp32"].predict_proba(data[0])
    with MODES[mode]():
        before = state()
        inside = alone["fp32"].predict_proba(data[0])
        net = fitted(data)
        assert state() == before
    np.testing.assert_array_equal(inside, expected)
    np.testing.assert_array_equal(net.predict_proba(data[0]), expected)
    np.testing.assert_array_equal(net.history[:, "valid_loss"], alone["fp32"].history[:, "valid_loss"])


@pytest.mark.parametrize("module", ["biot", "shallow"])
def test_low_precision_within_a_callers_autocast_learns_with_the_weights_of_each_step(data, module):
    from biot_bd import BIOTClassifier

    make = small if module == "biot" else BIOTClassifier
    x, y, groups = data
    params = {"max_epochs": 2, "batch_size": 16, "random_state": 0, "device": "cpu", "precision": "bf16"}
    outside = make(module, **params) if module == "shallow" else small(max_epochs=2, precision="bf16")
    outside.fit(x, y, groups=groups)
    with MODES["autocast"]():
        inside = sklearn.clone(outside).fit(x, y, groups=groups)
        np.testing.assert_array_equal(inside.predict_proba(x), outside.predict_proba(x))
    np.testing.assert_array_equal(inside.history[:, "train_loss"], outside.history[:, "train_loss"])


@pytest.mark.parametrize("mode", ["autocast", "float64", "no_grad"])
def test_a_scorer_and_forward_ignore_a_callers_mode(alone, data, tmp_path, mode):
    net = alone["fp32"]
    scorer = load_scorer(save_pipeline(net, tmp_path / "model"))
    expected, logits = scorer.predict_proba(data[0]), net.forward(data[0])
    assert scorer.without_braindecode
    with MODES[mode]():
        np.testing.assert_array_equal(scorer.predict_proba(data[0]), expected)
        assert torch.equal(net.forward(data[0]), logits)


# --- threads --------------------------------------------------------------------------------------


def test_fits_in_threads_are_the_fit_alone_and_leave_the_generators(alone, data):
    expected = alone["fp32"].predict_proba(data[0])
    before = random_states()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: fitted(data).predict_proba(data[0]), range(3)))
    after = random_states()
    for proba in found:
        np.testing.assert_array_equal(proba, expected)
    assert torch.equal(before["torch"], after["torch"])
    assert before["python"] == after["python"]
    assert torch.equal(before["numpy"][1], after["numpy"][1])
    assert before["numpy"][2:] == after["numpy"][2:]


def test_predictions_move_no_generator_so_a_fit_beside_them_stays_the_same(alone, data):
    net, expected = alone["fp32"], alone["fp32"].predict_proba(data[0])
    before = torch.get_rng_state()
    net.predict_proba(data[0])
    assert torch.equal(before, torch.get_rng_state())
    done, others = threading.Event(), []

    def predict():
        while not done.is_set():
            others.append(np.array_equal(net.predict_proba(data[0]), expected))

    beside = threading.Thread(target=predict)
    beside.start()
    try:
        found = fitted(data).predict_proba(data[0])
    finally:
        done.set()
        beside.join()
    np.testing.assert_array_equal(found, expected)
    assert others
    assert all(others)


def test_a_search_with_joblibs_threads_has_the_scores_of_one_job(data):
    x, y, groups = data

    def scores(n_jobs):
        search = GridSearchCV(
            small(max_epochs=1), {"lr": [1e-2, 1e-3]}, cv=GroupKFold(2), scoring="roc_auc", n_jobs=n_jobs, refit=False
        )
        with sklearn.config_context(enable_metadata_routing=True):
            search.fit(x, y, groups=groups)
        return [search.cv_results_[f"split{k}_test_score"].tolist() for k in range(2)]

    with joblib.parallel_backend("threading"):
        two = scores(2)
    assert two == scores(1)


def test_seeded_blocks_of_threads_do_not_mix():
    def draws(seed):
        found = []
        with seeded(seed):
            for _ in range(20):
                found.append((torch.rand(1).item(), np.random.rand(), random.random()))  # noqa: NPY002
                with kept_random_states():  # may be entered again by the same thread
                    torch.rand(1)
        return found

    expected = [draws(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(draws, range(8))) == expected
