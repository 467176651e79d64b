"""Check a signal step: a transformer over windows ``(n, n_chans, n_times)``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from biot_bd.signals.base import SignalInfo, WindowTransformer, present_channels
from biot_bd.signals.names import ELECTRODES
from biot_bd.testing._base import attempt, describe, parameters_of, pickled, refused, require

# Largest difference between two ways to the same number, relative to the largest value.
SAME = 1e-5
SAME_IN_FLOAT32 = 1e-3


def check_transformer(transformer: WindowTransformer, X: NDArray[Any] | None = None) -> None:
    """Check a signal step; scikit-learn's own checks skip nearly everything on 3-D input.

    Parameters
    ----------
    transformer : WindowTransformer
        An instance whose parameters let it work on arrays (``ch_names``, ``sfreq_in``, ... given
        where it needs them).
    X : ndarray, shape (n, n_chans, n_times), optional
        Windows in uV to test with, at least 3; by default 6 windows of 2,000 samples of random
        signals for as many channels as the parameter ``ch_names`` names, else 16.

    Raises
    ------
    ConformanceError
        It cannot be cloned, pickled or parametrised; ``fit`` changes parameters or results; the
        input is modified or shared with the output; dtype, shape or ``present`` are not what the
        contract says; results depend on the order or selection of windows; 2-D input or some values
        that are not finite go unnoticed; arrays, Epochs and ``map`` disagree.

    See Also
    --------
    biot_bd.signals.WindowTransformer : The base of all steps.
    biot_bd.MontageMapper, biot_bd.Resampler, biot_bd.PercentileScaler : Steps that are there.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import PercentileScaler
    >>> from biot_bd.signals import WindowTransformer
    >>> from biot_bd.testing import check_transformer
    >>> check_transformer(PercentileScaler())

    A step may use nothing of the other windows of a batch:

    >>> class ByBatch(WindowTransformer):
    ...     def output_info(self, info):
    ...         return info
    ...
    ...     def apply(self, x, present, info):
    ...         return x / np.nanmax(np.abs(x)), present
    >>> check_transformer(ByBatch())
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ConformanceError: ByBatch: ...
    """
    name = describe(transformer)
    require(
        isinstance(transformer, WindowTransformer),
        f"{name}: expected an instance of biot_bd.signals.base.WindowTransformer, got {transformer!r}",
    )
    names = getattr(transformer, "ch_names", None)
    x = _signals(16 if names is None else len(names)) if X is None else np.array(X, np.float64)
    require(x.ndim == 3 and len(x) >= 3, f"X must hold at least 3 windows (n, n_chans, n_times), found shape {x.shape}")
    info = _info(transformer, x)
    _check_parameters(transformer, name)
    _check_fit(transformer, name, x)
    _check_output(transformer, name, x, info)
    _check_windows_stand_alone(transformer, name, x)
    _check_wrong_shapes(transformer, name, x)
    _check_not_finite(transformer, name, x)
    _check_absent(transformer, name, x, info)
    _check_epochs(transformer, name, x, info)
    _check_map(transformer, name, x)
    _check_disagreement(transformer, name, info)


def _signals(n_chans: int, n: int = 6, n_times: int = 2000) -> NDArray[np.float64]:
    """Return random signals of about 30 uV with more power at low frequencies."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((n, n_chans, n_times))
    slow = np.cumsum(rng.standard_normal(white.shape), axis=-1)
    slow -= np.linspace(0, 1, n_times) * (slow[..., -1:] - slow[..., :1]) + slow[..., :1]
    return 10 * white + 2 * slow


def _info(transformer: WindowTransformer, x: NDArray[Any]) -> SignalInfo:
    given = getattr(transformer, "ch_names", None)
    names = tuple(ELECTRODES[: x.shape[1]] if given is None else given)
    rate = getattr(transformer, "sfreq_in", None)
    return SignalInfo(names, 200.0 if rate is None else rate, x.shape[2], "uV")


def _fresh(transformer: WindowTransformer, name: str) -> Any:
    return attempt(f"{name}: sklearn.base.clone", clone, transformer)


def _run(transformer: Any, name: str, x: Any, what: str = "transform") -> Any:
    return attempt(f"{name}: {what}", transformer.transform, x)


def _require_same(a: NDArray[Any], b: NDArray[Any], message: str, tolerance: float = SAME) -> None:
    require(a.shape == b.shape, f"{message}: shapes {a.shape} and {b.shape}")
    require(np.array_equal(np.isnan(a), np.isnan(b)), f"{message}: NaN at different places")
    if not a.size or np.isnan(a).all():
        return
    largest = float(np.nanmax(np.abs(b)))
    difference = float(np.nanmax(np.abs(a.astype(np.float64) - b)))
    require(difference <= tolerance * largest, f"{message}: they differ by {difference:g} (largest value {largest:g})")


def _check_parameters(transformer: WindowTransformer, name: str) -> None:
    named = parameters_of(type(transformer), name)
    params = attempt(f"{name}: get_params", transformer.get_params, deep=False)
    require(
        set(params) == set(named),
        f"{name}: get_params gives {sorted(params)}, the constructor takes {sorted(named)}",
    )
    copy = _fresh(transformer, name)
    for key, value in copy.get_params(deep=False).items():
        require(_equal(value, params[key]), f"{name}: clone changes {key} from {params[key]!r} to {value!r}")
    made = attempt(f"{name}: building it from its parameters", type(transformer), **params)
    for key, value in params.items():
        require(
            getattr(made, key) is value,
            f"{name}: the constructor changes {key}; keep parameters as given, check them when they are used",
        )
    attempt(f"{name}: set_params", copy.set_params, **params)
    refused(f"{name}: set_params of an unknown parameter", ValueError, copy.set_params, no_such_parameter=1)
    attempt(f"{name}: repr", repr, transformer)


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and (np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b)


def _check_fit(transformer: WindowTransformer, name: str, x: NDArray[np.float64]) -> None:
    step = _fresh(transformer, name)
    unfitted = _run(step, name, x, "transform before fit (steps learn nothing)")
    before = repr(step.get_params(deep=False))
    fitted = attempt(f"{name}: fit", step.fit, x)
    require(fitted is step, f"{name}: fit must return the step itself, returned {type(fitted).__name__}")
    first = _run(step, name, x)
    _require_same(first, unfitted, f"{name}: output before and after fit")
    attempt(f"{name}: fit on other windows", step.fit, x[::-1][:2], np.zeros(2))
    _require_same(_run(step, name, x), first, f"{name}: output after a second fit")
    require(repr(step.get_params(deep=False)) == before, f"{name}: fit or transform changed the parameters")
    both = attempt(f"{name}: fit_transform", _fresh(transformer, name).fit_transform, x)
    _require_same(both, first, f"{name}: fit_transform and transform")
    for copy in (pickled(transformer, name), pickled(step, f"{name} after fit")):
        _require_same(_run(copy, name, x, "transform after pickling"), first, f"{name}: output after pickling")


def _check_output(transformer: WindowTransformer, name: str, x: NDArray[np.float64], info: SignalInfo) -> None:
    reference = _run(transformer, name, x)
    for dtype in (np.float64, np.float32):
        given = x.astype(dtype)
        kept = given.copy()
        given.flags.writeable = False
        out = _run(transformer, name, given, f"transform of a read-only {np.dtype(dtype)} array")
        require(isinstance(out, np.ndarray), f"{name}: an array in must give an array, got {type(out).__name__}")
        require(out.dtype == dtype, f"{name}: {np.dtype(dtype)} in gave {out.dtype} out")
        require(np.array_equal(given, kept), f"{name}: the input was modified")
        require(not np.may_share_memory(out, given), f"{name}: the output shares memory with the input")
        _require_same(out, reference, f"{name}: {np.dtype(dtype)} and float64", SAME_IN_FLOAT32)
    expected = attempt(f"{name}: output_info", transformer.output_info, info)
    shape = (len(x), expected.n_chans, expected.n_times)
    require(reference.shape == shape, f"{name}: output {reference.shape}, output_info says {shape}")
    out, present = attempt(f"{name}: apply", transformer.apply, x, np.ones(x.shape[:2], bool), info)
    _require_same(out, reference, f"{name}: apply and transform")
    _check_present(name, out, present)
    if attempt(f"{name}: is_identity", transformer.is_identity, info):
        require(np.array_equal(out, x) and expected == info, f"{name}: is_identity is True, yet it changes its input")


def _check_present(name: str, out: NDArray[Any], present: NDArray[Any]) -> None:
    require(
        present.dtype == bool and present.shape == out.shape[:2],
        f"{name}: present must be bool {out.shape[:2]}, found {present.dtype} {present.shape}",
    )
    whole = np.isfinite(out).all(axis=-1)
    absent = np.isnan(out).all(axis=-1)
    require((whole | absent).all(), f"{name}: an output channel is partly not finite; it is finite or NaN throughout")
    require(np.array_equal(whole, present), f"{name}: present does not say which channels of the output are there")


def _check_windows_stand_alone(transformer: WindowTransformer, name: str, x: NDArray[np.float64]) -> None:
    whole = _run(transformer, name, x)
    order = np.random.default_rng(1).permutation(len(x))
    _require_same(_run(transformer, name, x[order]), whole[order], f"{name}: windows in another order")
    _require_same(_run(transformer, name, x[1:2]), whole[1:2], f"{name}: one window alone and among others")
    none = _run(transformer, name, x[:0], "transform of no windows")
    require(none.shape == (0, *whole.shape[1:]), f"{name}: no windows gave {none.shape}")


def _check_wrong_shapes(transformer: WindowTransformer, name: str, x: NDArray[np.float64]) -> None:
    for wrong in (x[0, 0], x[0], x[None], x[..., :0]):
        for method in (transformer.fit, transformer.transform):
            refused(f"{name}: {method.__name__} of shape {wrong.shape}", ValueError, method, wrong)


def _check_not_finite(transformer: WindowTransformer, name: str, x: NDArray[np.float64]) -> None:
    for value in (np.nan, np.inf):
        bad = x.copy()
        bad[1, :, 7] = value
        try:
            out = transformer.transform(bad)
        except ValueError:
            continue
        # A step with on_bad may leave such channels out; it may not hand them on.
        require(
            np.isnan(out[1]).all(),
            f"{name}: a single {value} in every channel of a window neither raises nor makes them absent (NaN throughout)",
        )


def _check_absent(transformer: WindowTransformer, name: str, x: NDArray[np.float64], info: SignalInfo) -> None:
    lacking = x.copy()
    lacking[1, 0] = np.nan
    whole = _run(transformer, name, x)
    try:
        out = transformer.transform(lacking)
    except ValueError:
        return
    others = np.arange(len(x)) != 1
    _require_same(out[others], whole[others], f"{name}: windows beside one with an absent channel")
    applied, present = attempt(
        f"{name}: apply with an absent channel", transformer.apply, lacking, present_channels(lacking), info
    )
    _check_present(name, applied, present)
    _require_same(applied, out, f"{name}: apply and transform with an absent channel")


def _check_epochs(transformer: WindowTransformer, name: str, x: NDArray[np.float64], info: SignalInfo) -> None:
    expected = transformer.output_info(info)
    mne_info = mne.create_info(list(info.ch_names or ()), info.sfreq or 0.0, "eeg")
    epochs = mne.EpochsArray(x * 1e-6, mne_info, proj=False, verbose="error")
    before = epochs.get_data(copy=True)
    out = _run(transformer, name, epochs, "transform of mne.Epochs")
    require(np.array_equal(epochs.get_data(copy=True), before), f"{name}: the Epochs were modified")
    if expected.unit is None:
        require(
            isinstance(out, np.ndarray), f"{name}: without a unit, Epochs must give an array, got {type(out).__name__}"
        )
        values = out
    else:
        require(isinstance(out, mne.BaseEpochs), f"{name}: Epochs must give Epochs, got {type(out).__name__}")
        require(
            tuple(out.ch_names) == expected.ch_names and out.info["sfreq"] == expected.sfreq,
            f"{name}: Epochs came out with channels {out.ch_names} at {out.info['sfreq']} Hz; output_info says {expected}",
        )
        values = out.get_data(copy=True) * 1e6
    _require_same(values, _run(transformer, name, x), f"{name}: Epochs in volts and an array in uV")


def _check_map(transformer: WindowTransformer, name: str, x: NDArray[np.float64]) -> None:
    class Lazy:
        shape = x.shape

        def map(self, step: Any) -> Any:
            return ("mapped", step)

    require(
        _run(transformer, name, Lazy(), "transform of an object with map") == ("mapped", transformer),
        f"{name}: transform of an object with map must return X.map(self)",
    )


def _check_disagreement(transformer: WindowTransformer, name: str, info: SignalInfo) -> None:
    wrong = {
        "sfreq_in": replace(info, sfreq=(info.sfreq or 0.0) + 7.0),
        "ch_names": replace(info, ch_names=tuple(f"other {c}" for c in info.ch_names or ())),
    }
    for parameter, other in wrong.items():
        if getattr(transformer, parameter, None) is not None:
            said = f"{name}: a parameter that disagrees with what the data carry ({other})"
            refused(said, ValueError, transformer.output_info, other)
