"""check_transformer finds what is wrong with a step."""

from dataclasses import replace

import numpy as np
import pytest

from biot_bd.exceptions import ConformanceError
from biot_bd.signals.base import WindowTransformer, check_windows
from biot_bd.testing import check_transformer


class Gain(WindowTransformer):
    """A step that keeps the contract; those below break it in one point each."""

    def __init__(self, gain=2.0, sfreq_in=None):
        self.gain = gain
        self.sfreq_in = sfreq_in

    def output_info(self, info):
        if None not in (self.sfreq_in, info.sfreq) and self.sfreq_in != info.sfreq:
            raise ValueError("sfreq_in disagrees")
        return info

    def apply(self, x, present, info):
        check_windows(x, present, info)
        return x * x.dtype.type(self.gain), present.copy()


def test_a_sound_step_passes():
    check_transformer(Gain())
    check_transformer(Gain(3.0, sfreq_in=250.0), np.random.default_rng(0).standard_normal((4, 2, 100)))


class ChangesParameterInInit(Gain):
    def __init__(self, gain=2.0):
        super().__init__(float(gain) + 0.0 if gain is None else [gain][0] * 1.0)


class TakesAnything(Gain):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def get_params(self, deep=True):
        return {}


class FitChangesParameter(Gain):
    def fit(self, X, y=None):
        self.gain = self.gain + 1.0
        return super().fit(X, y)


class FitReturnsNothing(Gain):
    def fit(self, X, y=None):
        super().fit(X, y)

    def fit_transform(self, X, y=None):
        return self.transform(X)


class LearnsFromTheBatch(Gain):
    def apply(self, x, present, info):
        return x / np.abs(x).max(initial=1e-3), present.copy()


class ModifiesInput(Gain):
    def apply(self, x, present, info):
        check_windows(x, present, info)
        x = x if x.flags.writeable else x.copy()
        x *= x.dtype.type(self.gain)
        return x.copy(), present.copy()


class ChangesDtype(Gain):
    def apply(self, x, present, info):
        x, present = super().apply(x, present, info)
        return x.astype(np.float64), present


class WrongLength(Gain):
    def output_info(self, info):
        return replace(info, n_times=info.n_times - 1)


class ReversesWindows(Gain):
    def apply(self, x, present, info):
        x, present = super().apply(x, present, info)
        return x[::-1].copy(), present[::-1].copy()


class AcceptsTwoDimensions(Gain):
    def transform(self, X):
        x = X if hasattr(X, "map") or hasattr(X, "events") else np.asarray(X)
        return x * x.dtype.type(self.gain) if isinstance(x, np.ndarray) and x.ndim == 2 else super().transform(X)


class HandsNanOn(Gain):
    def apply(self, x, present, info):
        return x * x.dtype.type(self.gain), present.copy()


class FillsWithZeros(Gain):
    def apply(self, x, present, info):
        return np.nan_to_num(x * x.dtype.type(self.gain), posinf=0.0, neginf=0.0), present.copy()


class FillsAbsentChannelsWithZeros(Gain):
    def apply(self, x, present, info):
        check_windows(x, present, info)
        return np.nan_to_num(x * x.dtype.type(self.gain)), present.copy()


class SaysAbsent(Gain):
    def apply(self, x, present, info):
        x, present = super().apply(x, present, info)
        present[:, 0] = False
        return x, present


class WrongInVolts(Gain):
    def _transform_epochs(self, epochs):
        out = super()._transform_epochs(epochs)
        out._data *= 1e6
        return out


class ReadsLazyContainers(Gain):
    def transform(self, X):
        return "read" if hasattr(X, "map") else super().transform(X)


class IgnoresRate(Gain):
    def output_info(self, info):
        return info


class CannotBePickled(Gain):
    def __getstate__(self):
        raise TypeError("no")


class NoIdentity(Gain):
    def is_identity(self, info):
        return True


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (ChangesParameterInInit(2), "changes gain|clone"),
        (TakesAnything(), r"\*\*kwargs"),
        (FitChangesParameter(), "before and after fit|second fit|changed the parameters"),
        (FitReturnsNothing(), "must return the step itself"),
        (LearnsFromTheBatch(), "alone and among others"),
        (ModifiesInput(), "modified|another order|before and after fit|fit_transform|float64|second fit|pickling"),
        (ChangesDtype(), "float32 in gave float64"),
        (WrongLength(), "output_info says"),
        (ReversesWindows(), "another order"),
        (AcceptsTwoDimensions(), "must raise ValueError"),
        (HandsNanOn(), "neither raises nor"),
        (FillsWithZeros(), "neither raises nor"),
        (FillsAbsentChannelsWithZeros(), "present does not say"),
        (SaysAbsent(), "present does not say"),
        (WrongInVolts(), "volts"),
        (ReadsLazyContainers(), r"X.map\(self\)"),
        (IgnoresRate(sfreq_in=100.0), "disagrees"),
        (CannotBePickled(), "pickling"),
        (NoIdentity(), "is_identity"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_step_is_found(step, message):
    with pytest.raises(ConformanceError, match=message):
        check_transformer(step)


def test_only_instances_of_steps_are_checked():
    with pytest.raises(ConformanceError, match="WindowTransformer"):
        check_transformer(Gain)
    with pytest.raises(ConformanceError, match="at least 3 windows"):
        check_transformer(Gain(), np.zeros((2, 3, 10)))
