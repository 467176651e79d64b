"""Loading a registered data set by its name."""

from __future__ import annotations

import inspect
import os
from typing import Any

from braindecode.datasets import BaseConcatDataset

from biot_bd import registry


def load_dataset(name: str, root: str | os.PathLike[str], **options: Any) -> BaseConcatDataset:
    """Load a registered data set.

    Parameters
    ----------
    name : str
        A name of ``biot_bd.registry.datasets``: ``chb-mit``, ``chb-mit-bids``, ``siena``,
        ``recordings-folder``, ``demo``, or one that a plugin brings.
    root : path-like
        Where the recordings are (``demo``: where they are generated).
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
    loader = registry.datasets[name]
    _check_options(name, loader, options)
    dataset = loader(root, **options)
    if not isinstance(dataset, BaseConcatDataset) or not hasattr(dataset, "outcomes"):
        raise TypeError(
            f"data set {name!r} returned {type(dataset).__name__} without 'outcomes'; "
            "end the loader with biot_bd.datasets.make_dataset, and try biot_bd.testing.check_dataset on it"
        )
    return dataset


def _check_options(name: str, loader: Any, options: dict[str, Any]) -> None:
    """Name the options that exist where one does not."""
    try:
        parameters = inspect.signature(loader).parameters
    except (TypeError, ValueError):  # a callable without a signature checks its own options
        return
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    known = list(parameters)[1:]
    if unknown := sorted(set(options) - set(known)):
        raise TypeError(f"data set {name!r} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")
