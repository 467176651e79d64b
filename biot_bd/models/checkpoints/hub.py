"""Checkpoints from the Hugging Face Hub, with the Hub's own cache and its offline mode.

``huggingface_hub`` does the work, so its settings hold: ``HF_HOME`` and ``HF_HUB_CACHE`` for the cache,
``HF_HUB_OFFLINE=1`` for no network, ``HF_ENDPOINT`` for a mirror, ``HF_TOKEN`` for private repositories.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from biot_bd.exceptions import HubError
from biot_bd.models.checkpoints.pipeline_folder import CONFIG, PIPELINE
from biot_bd.models.checkpoints.provenance import SIDECAR_IN_FOLDER
from biot_bd.models.checkpoints.published import KNOWN, WEB, Checkpoint, by_repository

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def fetch(
    source: str,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
) -> Path:
    """Return the folder of a Hub repository in the cache, downloaded where it is not there yet.

    Parameters
    ----------
    source : str
        A known name, or a repository ``owner/name``.
    revision : str, optional
        Branch, tag or commit; the main branch by default.
    endpoint : str, optional
        Address of the Hub; that of ``huggingface_hub`` by default.
    cache_dir : path, optional
        The cache; that of ``huggingface_hub`` by default.
    offline : bool
        True asks the cache only, as ``HF_HUB_OFFLINE=1`` does.

    Returns
    -------
    Path
        A folder with ``config.json`` (where the repository has one) and the weights.

    Raises
    ------
    HubError
        No network, no such repository, no weights in it, nothing cached in offline mode, or the optional
        package ``huggingface_hub`` is missing.
    """
    known = KNOWN.get(source) or by_repository(source)
    repository = known.repository if known else source.removeprefix("hf://")
    hub = _hub(repository, known)

    def download(name: str, from_cache: bool) -> Path:
        path = hub.hf_hub_download(
            repository, name, revision=revision, endpoint=endpoint, cache_dir=cache_dir, local_files_only=from_cache
        )
        return Path(path)

    if known is not None and revision is None and not offline:
        # Published weights do not change: a copy in the cache needs no network.
        with contextlib.suppress(HubError):
            return _folder_of(_Files(download, hub.errors, repository, known, offline=True))
    return _folder_of(_Files(download, hub.errors, repository, known, offline))


def cached(source: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder of a known name or repository in the cache, or None; never uses the network."""
    try:
        return fetch(source, cache_dir=cache_dir, offline=True)
    except HubError:
        return None


class _Files:
    """Fetches the files of one repository and turns what ``huggingface_hub`` raises into one line."""

    def __init__(
        self,
        download: Callable[[str, bool], Path],
        errors: Any,
        repository: str,
        known: Checkpoint | None,
        offline: bool,
    ) -> None:
        self.download, self.errors, self.repository, self.known = download, errors, repository, known
        self.offline = offline
        self.unreached = False

    def get(self, name: str) -> Path | None:
        """Return the file, or None where the repository lacks it or it was not reached."""
        errors = self.errors
        try:
            return self.download(name, self.offline)
        except errors.RepositoryNotFoundError as error:
            raise self.error("no such repository, or it is private (set HF_TOKEN)") from error
        except errors.LocalEntryNotFoundError:
            # One try is enough: without a network each takes long.
            self.unreached = self.offline = True
            return None
        except errors.EntryNotFoundError:
            return None
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError, RuntimeError) as error:
            raise self.error(f"{name}: {' '.join(str(error).split())[:200] or type(error).__name__}") from error

    def error(self, reason: str) -> HubError:
        return HubError(f"Hub repository {self.repository}: {reason}; {_by_hand(self.known)}")


def _folder_of(files: _Files) -> Path:
    for name in (*WEIGHTS, *([files.known.file] if files.known else [])):
        weights = files.get(name)
        if weights is not None:
            for beside in (CONFIG, PIPELINE, SIDECAR_IN_FOLDER):
                files.get(beside)
            return weights.parent
    if files.unreached:
        raise files.error("its weights are not in the cache, and the Hub was not reached (offline mode, or no network)")
    raise files.error(f"holds none of {', '.join(WEIGHTS)}")


def _by_hand(known: Checkpoint | None) -> str:
    if known is None:
        return "or download its folder by hand and give its path"
    return (
        f"or get {known.file} by hand from {WEB} and give its path "
        "(or its folder in BIOT_BD_CHECKPOINTS, to use it by name)"
    )


def _hub(repository: str, known: Checkpoint | None) -> Any:
    try:
        hub = importlib.import_module("huggingface_hub")
        importlib.import_module("huggingface_hub.errors")
    except ImportError as error:
        raise HubError(
            f"Hub repository {repository}: downloading needs huggingface_hub (pip install 'biot-bd[hub]'); {_by_hand(known)}"
        ) from error
    return hub
