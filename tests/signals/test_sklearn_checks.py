"""scikit-learn's own estimator checks, on windows.

``check_estimator`` gives up on estimators that take 3-D input.  Its checks build 2-D data and pass it through one
function to suit the estimator's tags; here that function makes windows of it, and every check that can then run does.
"""

from functools import partial

import numpy as np
import pytest
from sklearn.utils import estimator_checks

from biot_bd.signals import BandPass, FixedScaler, MontageMapper, Notch, PercentileScaler, Resampler, Standardizer

CH_NAMES = "Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()

STEPS = [
    MontageMapper("biot-16", CH_NAMES),
    MontageMapper("szcore-19", CH_NAMES, on_missing="drop"),
    Resampler(200.0, 256.0),
    BandPass(8.0, 40.0, 256.0),
    Notch(60.0, 256.0, trans_bandwidth=4.0),
    PercentileScaler(),
    FixedScaler(),
    Standardizer(),
]

APPLICABLE = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_fit_score_takes_y",
    "check_estimators_overwrite_params",
    "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self",
    "check_readonly_memmap_input",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_n_features_in_after_fitting",
    "check_mixin_order",
    "check_positive_only_tag_during_fit",
    "check_pipeline_consistency",
    "check_f_contiguous_array_estimator",
    "check_estimators_dtypes",
    "check_transformer_preserve_dtypes",
    "check_transformers_unfitted_stateless",
    "check_transformer_n_iter",
    "check_parameters_default_constructible",
    "check_methods_sample_order_invariance",
    "check_fit2d_1sample",
    "check_fit2d_1feature",
    "check_get_params_invariance",
    "check_set_params",
    "check_dict_unchanged",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
    "check_fit1d",
]

# What scikit-learn would run on a 2-D transformer and why it says nothing of windows.
SKIPPED = {
    "check_n_features_in": "wants n_features_in_, a number of columns; windows have channels and times",
    "check_fit2d_predict1d": "wants a message about a reshape of 1-D samples; ours names (n, n_chans, n_times)",
    "check_transformer_general": "unpacks a shape of two numbers; check_transformer compares fit_transform",
    "check_transformer_data_not_an_array": "unpacks a shape of two numbers",
    "check_methods_subset_invariance": "turns every sample into a 2-D row; check_transformer tests subsets",
    "check_estimators_pickle": "puts single NaN into data of estimators that allow NaN; check_transformer tests pickle",
    "check_estimators_nan_inf": "makes whole channels NaN, which are absent ones; check_transformer tests NaN and inf",
    "check_estimators_empty_data_messages": "wants zero windows to raise; a selection without windows is one",
    "check_estimator_sparse_tag": "sparse arrays are 2-D",
    "check_estimator_sparse_array": "sparse arrays are 2-D",
    "check_estimator_sparse_matrix": "sparse arrays are 2-D",
    "check_dtype_object": "wants arrays of objects to work; they raise, like every dtype that is no real number",
    "check_complex_data": "wants scikit-learn's own message; ours names the dtype (test_window_transformer)",
    "check_array_api_input": "no array API: numpy and MNE only",
}


def windows(estimator, X, kernel=None):
    """Make a window of each row: 19 channels, 1 s; the same row gives the same window."""
    first = np.asarray(X, dtype=np.float64).reshape(len(X), -1)[:, 0]
    seeds = np.abs(np.round(first * 1e6)).astype(np.int64)
    return 30 * np.stack([np.random.default_rng(seed).standard_normal((len(CH_NAMES), 256)) for seed in seeds])


@pytest.mark.filterwarnings("ignore:filter_length:RuntimeWarning")
@pytest.mark.parametrize("step", STEPS, ids=lambda s: f"{type(s).__name__}")
@pytest.mark.parametrize("check", APPLICABLE)
def test_check(check, step, monkeypatch):
    monkeypatch.setattr(estimator_checks, "_enforce_estimator_tags_X", windows)
    getattr(estimator_checks, check)(type(step).__name__, step)


class TwoDimensional(PercentileScaler):
    """Says that it takes 2-D input, so that scikit-learn names all its checks."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def test_every_check_of_scikit_learn_is_either_run_or_skipped_for_a_reason():
    named = set()
    for _, check in estimator_checks.estimator_checks_generator(TwoDimensional(), legacy=True):
        while isinstance(check, partial):
            check = check.func
        named.add(check.__name__)
    assert named <= {*APPLICABLE, *SKIPPED}
    assert not set(APPLICABLE) & set(SKIPPED)
