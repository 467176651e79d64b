"""Checkpoints from the Hugging Face Hub, with the Hub's own cache and its offline mode.

``huggingface_hub`` does the work, so its settings hold: ``HF_HOME`` and ``HF_HUB_CACHE`` for the
cache, ``HF_HUB_OFFLINE=1`` for no network, ``HF_ENDPOINT`` for a mirror, ``HF_TOKEN`` for private
repositories.
"""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biot_bd.exceptions import HubError
from biot_bd.models.checkpoints.pipeline_folder import CONFIG, PIPELINE
from biot_bd.models.checkpoints.provenance import SIDECAR_IN_FOLDER
from biot_bd.models.checkpoints.published import WEB, Checkpoint, listed

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
MOST_BYTES = {"weights": 8 * 2**30, "others": 64 * 2**20}
"""How large a file may be; the published BIOT has 13 MB."""


def fetch(
    source: str,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
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
    offline : bool
        True asks the cache only, as ``HF_HUB_OFFLINE=1`` does.

    Returns
    -------
    Path
        A folder with ``config.json`` (where the repository has one) and the weights.

    Raises
    ------
    HubError
        No network, no such repository, no weights in it, nothing cached in offline mode, or the
        optional package ``huggingface_hub`` is missing.
    """
    known = listed(source)
    repository = known.repository if known else source.removeprefix("hf://")
    files = _Files(_hub(repository, known), repository, known, {"revision": revision, "endpoint": endpoint}, offline)
    if known is not None and revision is None and not offline:
        # Published weights do not change: a copy in the cache needs no network.
        with contextlib.suppress(HubError):
            return replace(files, offline=True).folder()
    return files.folder()


def cached(source: str) -> Path | None:
    """Return the folder of a known name or repository in the cache, or None.

    Never uses the network.
    """
    try:
        return fetch(source, offline=True)
    except HubError:
        return None


@dataclass
class _Files:
    """Fetches the files of one repository and turns what ``huggingface_hub`` raises into one
    line.
    """

    hub: Any
    repository: str
    known: Checkpoint | None
    options: dict[str, Any]
    offline: bool
    unreached: bool = False

    def folder(self) -> Path:
        """Return the folder in the cache with the weights and what belongs to them."""
        for name in (*WEIGHTS, *([self.known.file] if self.known else [])):
            weights = self.get(name)
            if weights is not None:
                for beside in (CONFIG, PIPELINE, SIDECAR_IN_FOLDER):
                    self.get(beside)
                return weights.parent
        if self.unreached:
            raise self.error(
                "its weights are not in the cache, and the Hub was not reached (offline mode, or no network): "
                "check the network, HF_HUB_OFFLINE, and HF_ENDPOINT where a mirror is meant"
            )
        raise self.error(f"holds none of {', '.join(WEIGHTS)}")

    def get(self, name: str) -> Path | None:
        """Return the file, or None where the repository lacks it or it was not reached."""
        errors = self.hub.errors
        try:
            if not self.offline:
                self.check_size(name)
            return Path(self.hub.hf_hub_download(self.repository, name, local_files_only=self.offline, **self.options))
        except errors.LocalEntryNotFoundError as error:
            if isinstance(error.__cause__, errors.HfHubHTTPError):  # it answered, with a refusal
                raise self.error(self.reason(name, error.__cause__)) from error
            # One try is enough: without a network each takes long.
            self.unreached = self.offline = True
            return None
        except errors.EntryNotFoundError:
            return None
        # What httpx raises amid a download is no OSError.
        except (errors.HFValidationError, errors.HTTPError, OSError, RuntimeError) as error:
            raise self.error(self.reason(name, error)) from error

    def check_size(self, name: str) -> None:
        """Raise where the Hub says that a file is too large, before any of it comes."""
        url = self.hub.hf_hub_url(self.repository, name, **self.options)
        try:
            size = self.hub.get_hf_file_metadata(url, endpoint=self.options["endpoint"]).size
        except Exception:  # the download itself says why
            return
        most = MOST_BYTES["others" if name.endswith(".json") else "weights"]
        if size is not None and size > most:
            raise self.error(f"{name} has {size:,} bytes, at most {most:,} are taken")

    def reason(self, name: str, error: Exception) -> str:
        """Return in words, with what to do, why a file did not come."""
        errors, status = self.hub.errors, getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, errors.GatedRepoError):
            return "is gated: accept its terms on its page of the Hub, and set HF_TOKEN to a token of that account"
        if isinstance(error, errors.RepositoryNotFoundError):
            return "no such repository (check the name), or it is private (set HF_TOKEN)"
        if isinstance(error, errors.RevisionNotFoundError):
            return f"has no branch, tag or commit {self.options['revision']!r}; leave it out for the newest"
        if status in (401, 403):
            return (
                f"the Hub refuses the token of HF_TOKEN ({status}): make a new one, or unset it for public repositories"
            )
        if status == 429:
            return "the Hub was asked too often (429): wait some minutes, or set HF_TOKEN"
        told = " ".join(str(error).split())[:200] or type(error).__name__
        if status is not None:
            return f"{name}: the Hub answers {told}; try again later"
        return f"{name}: did not come whole ({told}); the same command goes on"

    def error(self, reason: str) -> HubError:
        return HubError(f"Hub repository {self.repository}: {reason}; {_by_hand(self.known)}")


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
