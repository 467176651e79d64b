"""Loading a registered data set by its name, looking at it, and adapting those of braindecode."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection
from typing import Any

import pandas as pd
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd import registry
from biot_bd.datasets.recordings import OUTCOME_COLUMNS, make_dataset, seizures_of
from biot_bd.events.intervals import merge, total
from biot_bd.events.texts import SEIZURE


def load_dataset(
    name: str, root: str | os.PathLike[str], *, namespace: str | None = None, **options: Any
) -> BaseConcatDataset:
    """Load a registered data set.

    Parameters
    ----------
    name : str
        A name of ``biot_bd.registry.datasets``: ``chb-mit``, ``chb-mit-bids``, ``siena``,
        ``recordings-folder``, ``demo``, or one that a plugin brings.  ``"moabb:FakeDataset"`` is
        ``"moabb"`` with ``variant="FakeDataset"``, for loaders that have such an option.
    root : path-like
        Where the recordings are (``demo``: where they are generated).
    namespace : str, optional
        Stands before the subjects, as in ``"clinic/01"``, where the loader asks for it
        (``recordings-folder``, ``demo``); the folder's name by default, which another data set may
        have, too.  Public data sets have theirs, wherever they lie.
    **options
        Options of that loader.

    Returns
    -------
    BaseConcatDataset of RawDataset
        Lazy, in volts; ``description`` with ``subject``, ``session``, ``run``, ``recording``;
        seizures as annotations that begin with ``sz``; ``outcomes`` and ``generated``.

    Raises
    ------
    UnknownNameError
        No data set of that name is registered.
    TypeError
        The loader has no such option, or returned something else.

    See Also
    --------
    describe_dataset : How much there is of each subject.
    adapt_dataset : For data sets that braindecode loads.
    biot_bd.prepare : What to do with the recordings.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd import load_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = load_dataset("demo", folder, n_subjects=2, recordings=1, minutes=1)
    >>> [part.description["subject"] for part in dataset.datasets], dataset.generated
    (['demo/01', 'demo/02'], True)
    >>> dataset.outcomes["outcome"].tolist()
    ['loaded', 'loaded']
    """
    name, variant = split_variant(name)
    loader = registry.datasets[name]
    options |= {} if variant is None else {"variant": variant}
    if namespace is not None:
        options["namespace"] = namespace
    known = options_of(name)
    if known is not None and (unknown := sorted(set(options) - set(known))):
        raise TypeError(f"data set {name!r} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")
    dataset = loader(root, **options)
    if not isinstance(dataset, BaseConcatDataset) or not hasattr(dataset, "outcomes"):
        raise TypeError(
            f"data set {name!r} returned {type(dataset).__name__} without 'outcomes'; "
            "end the loader with biot_bd.datasets.make_dataset, and try biot_bd.testing.check_dataset on it"
        )
    return dataset


def split_variant(name: str) -> tuple[str, str | None]:
    """Return the registered name and the variant in ``"moabb:FakeDataset"``; None without one.

    A name that is registered with its colon is taken as it is.
    """
    base, colon, variant = name.partition(":")
    return (base, variant) if colon and name not in registry.datasets else (name, None)


def options_of(name: str) -> list[str] | None:
    """Return the options of a data set's loader; None where it checks its own.

    Parameters
    ----------
    name : str
        As in :func:`load_dataset`.
    """
    try:
        parameters = inspect.signature(registry.datasets[split_variant(name)[0]]).parameters
    except (TypeError, ValueError):  # a callable without a signature
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return list(parameters)[1:]


def describe_dataset(dataset: BaseConcatDataset) -> pd.DataFrame:
    """Say how much there is of each subject.

    Parameters
    ----------
    dataset : BaseConcatDataset
        As a loader returns it; no samples are read.

    Returns
    -------
    pandas.DataFrame
        ``subject``, ``recordings``, ``hours``, ``seizures``, ``seizure_s`` (seconds), one row a
        subject, sorted. Seizures that overlap in time count once in ``seizure_s``.

    See Also
    --------
    load_dataset : Where data sets come from.

    Examples
    --------
    >>> from biot_bd.datasets import describe_dataset, make_dataset
    >>> import mne, numpy as np
    >>> from braindecode.datasets import BaseConcatDataset, RawDataset
    >>> info = mne.create_info(["Cz"], 2.0, "eeg")
    >>> raw = mne.io.RawArray(np.zeros((1, 7200)), info, verbose="error")
    >>> _ = raw.set_annotations(mne.Annotations([60], [30], ["sz"]))
    >>> import pandas as pd
    >>> outcomes = pd.DataFrame({"recording": ["a"], "outcome": ["loaded"], "detail": [""]})
    >>> part = RawDataset(raw, {"subject": "clinic/01", "recording": "a"})
    >>> describe_dataset(make_dataset([part], outcomes))
         subject  recordings  hours  seizures  seizure_s
    0  clinic/01           1    1.0         1       30.0
    """
    rows = []
    for part in dataset.datasets:
        found = seizures_of(part.raw)
        hours = part.raw.n_times / part.raw.info["sfreq"] / 3600
        rows.append((part.description["subject"], 1, hours, len(found), total(merge(found)[0])))
    columns = ["subject", "recordings", "hours", "seizures", "seizure_s"]
    return pd.DataFrame(rows, columns=columns).groupby("subject", sort=True).sum().reset_index()


def adapt_dataset(
    dataset: BaseConcatDataset,
    *,
    subject: str | Callable[[pd.Series], str],
    seizure: str | Collection[str] | Callable[[str], bool],
    recording: str | Callable[[pd.Series], str] | None = None,
    namespace: str | None = None,
    generated: bool = False,
) -> BaseConcatDataset:
    """Give another braindecode data set subjects, recording names and seizure annotations.

    Parameters
    ----------
    dataset : BaseConcatDataset of RawDataset
        Not changed.
    subject : str or callable
        Column of the description that holds the subject, or a function of the description.
    seizure : str, collection of str, or callable
        The annotation descriptions that mean a seizure, or a function that says so.  They are
        renamed to begin with ``sz``; other annotations that begin so lose it.
    recording : str or callable, optional
        Column, or function of the description, for the unique name; numbered by subject when
        omitted.
    namespace : str, optional
        Put before the subject, as in ``"tuh/0001"``; needed where the subjects have none.
    generated : bool, default=False
        Whether the signals were made by a program.

    Returns
    -------
    BaseConcatDataset
        New recordings, lazy where the old ones are.

    Raises
    ------
    TypeError
        A part is not a recording (``RawDataset``).
    ValueError
        A subject or a name is missing or not unique.

    See Also
    --------
    load_dataset : Data sets that this package reads itself.

    Examples
    --------
    >>> from biot_bd.datasets import adapt_dataset
    >>> import mne, numpy as np
    >>> from braindecode.datasets import BaseConcatDataset, RawDataset
    >>> info = mne.create_info(["Cz"], 2.0, "eeg")
    >>> raw = mne.io.RawArray(np.zeros((1, 7200)), info, verbose="error")
    >>> _ = raw.set_annotations(mne.Annotations([60], [30], ["event 3"]))
    >>> old = BaseConcatDataset([RawDataset(raw, {"patient": "0007"})])
    >>> new = adapt_dataset(old, subject="patient", seizure="event 3", namespace="clinic")
    >>> new.datasets[0].description[["subject", "recording"]].tolist()
    ['clinic/0007', 'clinic_0007_001']
    >>> new.datasets[0].raw.annotations.description.tolist()
    ['sz']
    """
    names = {seizure} if isinstance(seizure, str) else seizure
    is_seizure = names if callable(names) else set(names).__contains__
    parts, counts = [], dict[str, int]()
    for index, old in enumerate(dataset.datasets):
        if not isinstance(old, RawDataset):
            raise TypeError(
                f"part {index} is a {type(old).__name__}; adapt_dataset takes recordings (RawDataset), before windows are cut"
            )
        description = pd.Series(dtype=object) if old.description is None else old.description.copy()
        bare = _field(description, subject, "subject", index)
        whose = f"{namespace}/{bare}" if namespace else bare
        if "/" not in whose:
            raise ValueError(f"part {index}: the subject {whose!r} has no name space; give namespace=, e.g. 'tuh'")
        counts[whose] = counts.get(whose, 0) + 1
        numbered = f"{whose.replace('/', '_')}_{counts[whose]:03d}"
        name = numbered if recording is None else _field(description, recording, "recording", index)
        fields = {"session": "", "run": "", **description.to_dict(), "subject": whose, "recording": name}
        raw = old.raw.copy()
        raw.annotations.description = [_renamed(str(text), is_seizure) for text in raw.annotations.description]
        parts.append(RawDataset(raw, fields))
    rows = [(part.description["recording"], "loaded", "") for part in parts]
    return make_dataset(parts, pd.DataFrame(rows, columns=OUTCOME_COLUMNS), generated=generated)


def _renamed(text: str, is_seizure: Callable[[str], bool]) -> str:
    if is_seizure(text):
        return text if text.startswith(SEIZURE) else SEIZURE
    return f"other: {text}" if text.startswith(SEIZURE) else text


def _field(description: pd.Series, how: str | Callable[[pd.Series], str], what: str, index: int) -> str:
    if callable(how):
        value: Any = how(description)
    elif how in description:
        value = description[how]
    else:
        raise ValueError(f"part {index}: {what}={how!r} is not in the description, which has {list(description.index)}")
    if value is None or pd.isna(value) or str(value) == "":
        raise ValueError(f"part {index}: {what} is {value!r}; expected a text")
    return str(value)
