"""Signal steps on whole recordings: ``mne.io.Raw``, and braindecode's ``Preprocessor``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import mne

from biot_bd.io.units import UV_PER_V
from biot_bd.signals.base import SignalInfo, WindowTransformer, mne_info_like, present_channels

# What a step noted on a recording; copies of MNE and pickles keep it.
_NOTES = "biot_bd_notes"


def add_notes(raw: mne.io.BaseRaw, notes: Sequence[str]) -> None:
    """Note on a recording what was done to it, for the store that is made of it.

    Parameters
    ----------
    raw : mne.io.Raw
        Changed in place.
    notes : sequence of str
        A line each.
    """
    setattr(raw, _NOTES, [*notes_on(raw), *notes])


def notes_on(raw: mne.io.BaseRaw) -> list[str]:
    """Return what steps noted on a recording.

    Examples
    --------
    >>> import numpy as np
    >>> raw = mne.io.RawArray(np.zeros((1, 9)), mne.create_info(1, 1.0, "eeg"), verbose="error")
    >>> add_notes(raw, ["line noise removed: 50 Hz of Fp1"])
    >>> notes_on(raw.copy())
    ['line noise removed: 50 Hz of Fp1']
    """
    return list(getattr(raw, _NOTES, ()))


class RecordingStep(WindowTransformer):
    """A step that makes sense on whole recordings too."""

    def as_preprocessor(self) -> Any:
        """Return this step as a braindecode ``Preprocessor``.

        Returns
        -------
        braindecode.preprocessing.Preprocessor
            Gives on a ``Raw`` what the step gives on one window as long as the recording.  Its
            parameters are plain values, so braindecode can save it.

        Raises
        ------
        ModuleNotFoundError
            braindecode is not installed.
        """
        # By its address: this room runs without braindecode, which only who asks for this needs.
        preprocessor = import_module("braindecode.preprocessing").Preprocessor
        kind = f"{type(self).__module__}:{type(self).__qualname__}"
        return preprocessor(apply_step, apply_on_array=False, step=kind, **self._plain_params())

    def apply_to_raw(self, raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
        """Apply the step to a recording.

        Parameters
        ----------
        raw : mne.io.Raw
            Volts; not modified.

        Returns
        -------
        mne.io.Raw
            A new recording with the annotations of the old one.

        Raises
        ------
        ValueError
            The step refuses the recording.
        """
        picked = self._pick(raw)
        signals = picked.get_data()
        signals *= UV_PER_V
        info = SignalInfo(tuple(picked.ch_names), picked.info["sfreq"], signals.shape[1], "uV")
        info_out = self.output_info(info)
        x = signals[None]
        out, _ = self.apply(x, present_channels(x), info)
        mne_info = mne_info_like(picked.info, info_out)
        first = round(picked.first_samp * mne_info["sfreq"] / picked.info["sfreq"])
        new = mne.io.RawArray(out[0] / UV_PER_V, mne_info, first_samp=first, verbose="error")
        new.set_annotations(picked.annotations.copy())
        return new

    def _pick(self, raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
        """Return what the step needs of a recording; all of it unless a subclass knows better."""
        return raw

    def _plain_params(self) -> dict[str, Any]:
        return self.get_params(deep=False)


def apply_step(raw: Any, step: str, **params: Any) -> Any:
    """Apply a step to a recording or to Epochs.

    The function behind :meth:`RecordingStep.as_preprocessor`.

    Parameters
    ----------
    raw : mne.io.Raw or mne.Epochs
        Volts; not modified.
    step : str
        The step's class as ``"package.module:Class"``.
    **params
        Its parameters; an unknown one raises TypeError.

    Returns
    -------
    mne.io.Raw or mne.Epochs
        New object.
    """
    module, _, name = step.partition(":")
    found = getattr(import_module(module), name, None)
    if not (isinstance(found, type) and issubclass(found, RecordingStep)):
        raise ValueError(f"{step!r} is no step for recordings; expected a RecordingStep as 'package.module:Class'")
    made = found(**params)
    return made.transform(raw) if isinstance(raw, mne.BaseEpochs) else made.apply_to_raw(raw)
