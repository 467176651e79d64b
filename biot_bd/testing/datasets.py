"""Check a data set: recordings with a subject, a unique name, plausible volts and seizures
inside them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from braindecode.datasets import BaseConcatDataset

from biot_bd.testing._base import attempt, pickled, require

DESCRIPTION = ("subject", "session", "run", "recording")
OUTCOME_COLUMNS = ("recording", "outcome", "detail")
PLAUSIBLE_VOLTS = (1e-8, 5e-3)  # standard deviation of a channel of EEG: 0.01 uV to 5 mV
SECONDS_READ = 10.0


def check_dataset(dataset: BaseConcatDataset) -> None:
    """Check what a loader given to ``register_datasets`` returns.

    Parameters
    ----------
    dataset : braindecode.datasets.BaseConcatDataset
        Recordings, as the loader returned them; ten seconds of each are read.

    Raises
    ------
    ConformanceError
        A recording lacks a subject (``"name-space/subject"``), session, run or a unique
        ``recording``; its signal is not EEG in volts; a seizure (``sz...``) is outside the
        recording; ``outcomes`` does not account for every recording; or recordings cannot be
        pickled.

    See Also
    --------
    biot_bd.hookspecs.register_datasets : The hook for loaders.
    biot_bd.adapt_dataset : Adds to a data set of braindecode what it lacks here.
    biot_bd.datasets.make_dataset : Makes a data set of recordings and their outcomes.

    Examples
    --------
    A generated recording of a minute with a seizure of ten seconds:

    >>> import mne
    >>> import numpy as np
    >>> import pandas as pd
    >>> from braindecode.datasets import RawDataset
    >>> from biot_bd.datasets import make_dataset
    >>> from biot_bd.testing import check_dataset
    >>> volts = np.random.default_rng(0).standard_normal((2, 60 * 256)) * 30e-6
    >>> raw = mne.io.RawArray(volts, mne.create_info(["F7-T7", "T7-P7"], 256.0, "eeg"))
    >>> raw = raw.set_annotations(mne.Annotations([20.0], [10.0], ["sz"]))
    >>> about = {"subject": "ward/01", "session": "1", "run": "1", "recording": "ward01_1"}
    >>> outcomes = pd.DataFrame(
    ...     {"recording": ["ward01_1"], "outcome": ["loaded"], "detail": [""]}
    ... )
    >>> check_dataset(make_dataset([RawDataset(raw, pd.Series(about))], outcomes))

    A subject without a name space could be another data set's subject:

    >>> about["subject"] = "01"
    >>> check_dataset(make_dataset([RawDataset(raw, pd.Series(about))], outcomes))
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ConformanceError: recording 'ward01_1': 'subject' is '01'; expected ...
    """
    require(
        isinstance(dataset, BaseConcatDataset),
        f"expected a braindecode.datasets.BaseConcatDataset, got {type(dataset).__name__}",
    )
    require(len(dataset.datasets) > 0, "the data set holds no recordings")
    names = [_check_description(part, index) for index, part in enumerate(dataset.datasets)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    require(not twice, f"recording names occur more than once: {twice[:5]}")
    for name, part in zip(names, dataset.datasets, strict=True):
        _check_signal(part.raw, f"recording {name!r}")
        _check_seizures(part.raw, f"recording {name!r}")
    _check_outcomes(dataset, names)
    generated = getattr(dataset, "generated", False)
    require(isinstance(generated, bool), f"dataset.generated is {generated!r}; expected True or False")
    copy = pickled(dataset.datasets[0], f"recording {names[0]!r}")
    require(
        np.array_equal(copy.raw[:, :100][0], dataset.datasets[0].raw[:, :100][0]),
        f"recording {names[0]!r}: the signal differs after pickling",
    )


def _check_description(part: Any, index: int) -> str:
    where = f"recording number {index}"
    require(hasattr(part, "raw"), f"{where}: expected a RawDataset with .raw, got {type(part).__name__}")
    require(part.description is not None, f"{where}: has no description; it needs {', '.join(DESCRIPTION)}")
    description = dict(part.description)
    missing = [key for key in DESCRIPTION if key not in description or pd.isna(description[key])]
    require(not missing, f"{where}: the description lacks {missing}; it has {sorted(map(str, description))}")
    name, subject = description["recording"], description["subject"]
    require(isinstance(name, str) and name, f"{where}: 'recording' is {name!r}; expected a non-empty string")
    require(
        not re.search(r"[\\/:]", name) and name not in (".", ".."),
        f"recording {name!r}: the name becomes a file name, so it may not hold /, \\ or :",
    )
    require(
        isinstance(subject, str) and re.fullmatch(r"[^/\s]+/[^/\s]+", subject),
        f"recording {name!r}: 'subject' is {subject!r}; expected a subject with a name space, such as 'chb-mit/01', so "
        "that subjects of several data sets are never mixed up",
    )
    return name


def _check_signal(raw: Any, where: str) -> None:
    sfreq = raw.info["sfreq"]
    require(sfreq > 0 and raw.n_times > 0, f"{where}: {raw.n_times} samples at {sfreq} Hz")
    require(len(set(raw.ch_names)) == len(raw.ch_names), f"{where}: channel names occur twice: {raw.ch_names}")
    picks = [i for i, kind in enumerate(raw.get_channel_types()) if kind == "eeg"]
    require(picks, f"{where}: no channel of type 'eeg'; types are {sorted(set(raw.get_channel_types()))}")
    middle = max(0, raw.n_times // 2 - round(SECONDS_READ * sfreq / 2))
    stop = min(raw.n_times, middle + round(SECONDS_READ * sfreq))
    signal = attempt(f"{where}: reading samples {middle} to {stop}", raw.get_data, picks=picks, start=middle, stop=stop)
    require(np.isfinite(signal).any(axis=1).any(), f"{where}: no finite sample in {SECONDS_READ:g} s")
    spread = np.nanmedian([np.std(row) for row in signal if np.isfinite(row).all()] or [np.nan])
    low, high = PLAUSIBLE_VOLTS
    require(
        low <= spread <= high,
        f"{where}: channels vary by {spread:.3g} (median standard deviation over {SECONDS_READ:g} s); EEG in volts varies "
        f"by {low:g} to {high:g}. Microvolts must be multiplied by 1e-6; a flat recording must be left out by name",
    )


def _check_seizures(raw: Any, where: str) -> None:
    duration = raw.n_times / raw.info["sfreq"]
    slack = 1.0 / raw.info["sfreq"]
    for onset, length, text in zip(
        raw.annotations.onset - raw.first_time, raw.annotations.duration, raw.annotations.description, strict=True
    ):
        if not str(text).startswith("sz"):
            require(
                "seiz" not in str(text).lower(),
                f"{where}: annotation {str(text)!r} looks like a seizure; descriptions of seizures start with 'sz'",
            )
            continue
        event = f"{where}: seizure {str(text)!r} from {onset:.3f} s to {onset + length:.3f} s"
        require(length > 0, f"{event} has no length")
        require(
            onset >= -slack and onset + length <= duration + slack,
            f"{event} is outside the recording of {duration:.3f} s",
        )


def _check_outcomes(dataset: Any, names: list[str]) -> None:
    outcomes: Any = getattr(dataset, "outcomes", None)
    require(
        isinstance(outcomes, pd.DataFrame),
        f"dataset.outcomes is {type(outcomes).__name__}; expected a pandas.DataFrame with one row for every recording "
        "that the source mentions",
    )
    missing = [column for column in OUTCOME_COLUMNS if column not in outcomes.columns]
    require(not missing, f"dataset.outcomes lacks the columns {missing}; it has {list(outcomes.columns)}")
    twice = sorted(outcomes["recording"][outcomes["recording"].duplicated()].astype(str).unique())
    require(not twice, f"dataset.outcomes mentions recordings twice: {twice[:5]}")
    loaded = set(outcomes["recording"][outcomes["outcome"] == "loaded"])
    unknown, absent = sorted(set(names) - loaded), sorted(loaded - set(names))
    require(not unknown, f"recordings are there, but not 'loaded' in dataset.outcomes: {unknown[:5]}")
    require(not absent, f"dataset.outcomes calls recordings 'loaded' that are not there: {absent[:5]}")
    silent = outcomes[(outcomes["outcome"] != "loaded") & ~outcomes["detail"].astype(str).str.strip().astype(bool)]
    require(
        silent.empty,
        f"dataset.outcomes does not say why these were left out: {list(silent['recording'].astype(str))[:5]}",
    )
