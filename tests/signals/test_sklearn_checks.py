"""scikit-learn's own estimator checks, on windows.

``check_estimator`` gives up on estimators that take 3-D input.  Its checks build 2-D data and pass it through one
function to suit the estimator's tags; here that function makes windows of it, and each check that can then run does.
"""

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks

from biot_bd.signals import BandPass, MontageMapper, Notch, PercentileScaler, Resampler

N_CHANS = 19
CH_NAMES = "Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()

STEPS = [
    MontageMapper("biot-16", CH_NAMES),
    MontageMapper("szcore-19", CH_NAMES, on_missing="drop"),
    Resampler(200.0, 256.0),
    BandPass(8.0, 40.0, 256.0),
    Notch(60.0, 256.0),
    PercentileScaler(),
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
    "check_mixin_order",
    "check_positive_only_tag_during_fit",
    "check_pipeline_consistency",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_estimators_dtypes",
    "check_transformer_preserve_dtypes",
    "check_transformers_unfitted_stateless",
    "check_transformer_n_iter",
    "check_parameters_default_constructible",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_get_params_invariance",
    "check_set_params",
    "check_dict_unchanged",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
    "check_fit1d",
]

# Checks that scikit-learn would run on a 2-D transformer and that say nothing, or the contrary, of windows.
SKIPPED = {
    "check_n_features_in": "n_features_in_ counts columns; windows have channels and times, checked against SignalInfo",
    "check_n_features_in_after_fitting": "the same",
    "check_fit2d_1sample": "2-D input always raises (check_transformer tests it)",
    "check_fit2d_1feature": "2-D input always raises",
    "check_fit2d_predict1d": "2-D input always raises",
    "check_transformer_general": "passes nested lists of strings and 2-D blobs that are standardised by column",
    "check_transformer_data_not_an_array": "wraps the 2-D blobs of check_transformer_general",
    "check_estimators_empty_data_messages": "expects zero windows to raise; an empty selection of Windows gives none back",
    "check_estimators_nan_inf": "expects an all-NaN-free contract by column; check_transformer tests NaN and inf in windows",
    "check_estimator_sparse_tag": "sparse input is 2-D by definition",
    "check_estimator_sparse_array": "sparse input is 2-D by definition",
    "check_estimator_sparse_matrix": "sparse input is 2-D by definition",
    "check_dtype_object": "builds 2-D object arrays; object windows raise (tested beside the base class)",
    "check_complex_data": "builds 2-D complex arrays; complex windows raise (tested beside the base class)",
    "check_array_api_input": "no array API: numpy and MNE only",
}


def windows(estimator, X, kernel=None):
    """Stand in for scikit-learn's adaptation of its data: as many windows as rows, 19 channels, 1 s."""
    n = X.shape[0]
    first = np.asarray(X, dtype=np.float64).reshape(n, -1)[:, :1]
    # A window depends on its row alone, so orders and selections of rows stay what they were.
    seeds = np.abs(np.round(first[:, 0] * 1e6)).astype(np.int64)
    return np.stack([np.random.default_rng(seed).standard_normal((N_CHANS, 256)) for seed in seeds]) * 30


@pytest.fixture
def on_windows(monkeypatch):
    monkeypatch.setattr(estimator_checks, "_enforce_estimator_tags_X", windows)


@pytest.mark.filterwarnings("ignore:filter_length:RuntimeWarning", "ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("step", STEPS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("check", APPLICABLE)
def test_check(check, step, on_windows):
    function = getattr(estimator_checks, check)
    if check == "check_transformer_preserve_dtypes":
        _preserves_dtypes(step)
    elif check == "check_fit1d":
        with pytest.raises(ValueError, match="1-D"):
            clone(step).fit(np.zeros(9))
    else:
        function(type(step).__name__, step)
