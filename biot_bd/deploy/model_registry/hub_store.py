"""The Hugging Face Hub as a store of models: a repository a model, a tag a version.

``huggingface_hub`` does the work, so its settings hold: ``HF_TOKEN`` (or ``hf auth login``) for who
one is, ``HF_ENDPOINT`` for a mirror, ``HF_HUB_OFFLINE=1`` for no network.  No token is written or
printed.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from biot_bd.deploy.model_registry.stores import ModelStore, StoredVersion
from biot_bd.deploy.version_folder import MOST_FILES
from biot_bd.deploy.version_names import is_version_number
from biot_bd.exceptions import HubError, MissingExtraError
from biot_bd.models.checkpoints.pipeline_folder import sha256
from biot_bd.models.checkpoints.published import git_blob_id

KEPT_BY_THE_HUB = ".gitattributes"
"""The Hub makes it with every repository; it is no file of a version."""
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class HubStore(ModelStore):
    """Versions as tags of a Hub repository ``owner/name``; each is one commit.

    Parameters
    ----------
    endpoint : str, optional
        Address of another Hub, e.g. a mirror.

    See Also
    --------
    biot_bd.deploy.push_version, biot_bd.deploy.pull_version : Use it.

    Examples
    --------
    >>> from biot_bd import registry
    >>> registry.model_stores.path("hub")
    'biot_bd.deploy.model_registry.hub_store:HubStore'
    """

    def versions(self, place: str) -> Mapping[str, str]:
        """Return the tags that are versions, with their commits."""
        hub, api = self._hub(place)
        with _told(hub, place, "cannot be read"):
            try:
                refs = api.list_repo_refs(place)
            except hub.errors.RepositoryNotFoundError as error:
                if _status(error) == 404:
                    return {}
                raise
        return {tag.name: tag.target_commit for tag in refs.tags if is_version_number(tag.name)}

    def listing(self, place: str, version: str) -> StoredVersion:
        """Return the files of a tag's commit."""
        commit = self.versions(place).get(version)
        if commit is None:
            raise HubError(
                f"Hub repository {place}: holds no version {version}, or it is private and HF_TOKEN is not of one who may "
                "read it; `biot-bd models list` and the repository's page show what there is"
            )
        return StoredVersion(commit, {file.path: file.size for file in self._tree(place, commit)})

    def fetch(self, place: str, stored: StoredVersion, name: str, target: Path) -> None:
        """Download one file of a commit; a cut connection is tried again where it broke off."""
        hub, api = self._hub(place)
        url = hub.hf_hub_url(place, name, revision=stored.revision, endpoint=api.endpoint)
        utils, downloads = (importlib.import_module(f"huggingface_hub.{one}") for one in ("utils", "file_download"))
        size = stored.sizes[name]
        with _told(hub, place, f"{name} did not come whole"), open(target, "xb") as file:
            bounded = _Bounded(file, size, f"Hub repository {place}: {name}")
            downloads.http_get(url, bounded, headers=utils.build_hf_headers(), expected_size=size)

    def upload(self, folder: Path, place: str, name: str, version: str, private: bool = True) -> str:
        """Commit the files of a version at once, and tag the commit."""
        hub, api = self._hub(place)
        if version in self.versions(place):
            raise FileExistsError(f"Hub repository {place}: version {version} is there; give the model another version")
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        with _told(hub, place, "cannot be written"):
            head = self._made(hub, api, place, private)
            commit = self._commit(hub, api, place, head, files, f"{name} {version}")
            self._check(place, commit, files)
            api.create_tag(place, tag=version, revision=commit)
        return commit

    def _made(self, hub: Any, api: Any, place: str, private: bool) -> str:
        """Return the newest commit of the repository, which is made where it is not there."""
        try:
            found = api.repo_info(place)
        except hub.errors.RepositoryNotFoundError:
            api.create_repo(place, private=private, exist_ok=True)
            found = api.repo_info(place)
        if private and found.private is False:
            raise HubError(
                f"Hub repository {place}: is public, so everybody would see the model; give --public where that is meant, or "
                "name another repository"
            )
        return str(found.sha)

    def _commit(self, hub: Any, api: Any, place: str, head: str, files: Mapping[str, Path], message: str) -> str:
        """Return the commit that holds exactly these files; none is made where the newest does."""
        there = {file.path: file for file in self._tree(place, head)}
        if set(there) == set(files) and all(_is_same(there[name], path) for name, path in files.items()):
            return head  # an upload that was killed before its tag
        operations = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
        operations += [hub.CommitOperationDelete(path_in_repo=name) for name in there if name not in files]
        made = api.create_commit(place, operations, commit_message=message, parent_commit=head)
        return str(made.oid)

    def _check(self, place: str, commit: str, files: Mapping[str, Path]) -> None:
        """Raise where a commit does not hold what was sent."""
        there = {file.path: file for file in self._tree(place, commit)}
        wrong = sorted(set(there) ^ set(files)) or [
            name for name, path in files.items() if not _is_same(there[name], path)
        ]
        if wrong:
            raise HubError(
                f"Hub repository {place}: commit {commit[:12]} does not hold {wrong[0]} as it was sent (a .gitignore there, or "
                "somebody pushed at the same time); no version was made, look at the repository and push again"
            )

    def _tree(self, place: str, commit: str) -> list[Any]:
        hub, api = self._hub(place)
        with _told(hub, place, "cannot be listed"):
            entries = api.list_repo_tree(place, recursive=True, revision=commit)
            files = [one for one in itertools.islice(entries, 2 * MOST_FILES) if isinstance(one, hub.hf_api.RepoFile)]
        if len(files) > MOST_FILES:
            raise HubError(
                f"Hub repository {place}: holds more than {MOST_FILES} files, so it is no version of a model"
            )
        return [one for one in files if one.path != KEPT_BY_THE_HUB]

    def _hub(self, place: str) -> tuple[Any, Any]:
        if not REPOSITORY.fullmatch(place):
            raise HubError(f"{place!r} is no repository of the Hub: expected OWNER/NAME")
        try:
            hub = importlib.import_module("huggingface_hub")
            for part in ("errors", "hf_api"):
                importlib.import_module(f"huggingface_hub.{part}")
        except ImportError as error:
            raise MissingExtraError(
                "pushing to and pulling from the Hub needs huggingface_hub: pip install 'biot-bd[hub]'"
            ) from error
        return hub, hub.HfApi(endpoint=self.endpoint)


class _Bounded:
    """A file that takes no more bytes than were announced."""

    def __init__(self, file: Any, size: int, what: str) -> None:
        self._file, self._size, self._what = file, size, what

    def write(self, chunk: bytes) -> int:
        if self._file.tell() + len(chunk) > self._size:
            raise HubError(f"{self._what}: more than the {self._size} bytes that were announced; nothing of it is kept")
        return int(self._file.write(chunk))

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, *where: int) -> int:
        return int(self._file.seek(*where))

    def truncate(self) -> int:
        return int(self._file.truncate())


def _is_same(remote: Any, path: Path) -> bool:
    """Return whether a file of the Hub has this content: by SHA-256, or as git names it."""
    if remote.size != path.stat().st_size:
        return False
    if remote.lfs is not None:
        return bool(sha256(path) == remote.lfs.sha256)
    return bool(git_blob_id(path) == remote.blob_id)


@contextlib.contextmanager
def _told(hub: Any, place: str, what: str) -> Iterator[None]:
    """Turn what ``huggingface_hub`` raises into one line that says what to do."""
    errors = hub.errors
    try:
        yield
    except (HubError, FileExistsError):
        raise
    except errors.OfflineModeIsEnabled as error:
        raise HubError(
            f"Hub repository {place}: {what}: HF_HUB_OFFLINE is set; unset it, or use a version that is in the model registry "
            "here"
        ) from error
    except (errors.HFValidationError, errors.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise HubError(_without_token(hub, f"Hub repository {place}: {what}: {_reason(hub, error)}")) from error


def _reason(hub: Any, error: BaseException) -> str:
    errors, status = hub.errors, _status(error)
    if isinstance(error, errors.GatedRepoError):
        return "it is gated: accept its terms on its page, and set HF_TOKEN to a token of that account"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such repository (check the name), or it is private (set HF_TOKEN to a token that may read it)"
    if status in _BY_STATUS:
        return f"{_BY_STATUS[status]} ({status})"
    told = " ".join(str(error).split())[:200] or type(error).__name__
    if status is not None:
        return f"the Hub answers {told}; the same command goes on later"
    return f"{told}; check the network (and HF_ENDPOINT where a mirror is meant), the same command goes on"


_BY_STATUS = {
    401: "the Hub refuses the token: log in with `hf auth login`, or set HF_TOKEN to a valid one",
    403: "the token lacks the right: make one that may write to this repository, or ask its owner",
    409: "somebody changed the repository at the same time; run the same command again",
    412: "somebody changed the repository at the same time; run the same command again",
    413: "the Hub takes no files of this size",
    429: "the Hub was asked too often; wait some minutes",
    507: "the account has no room left; delete something there",
}


def _status(error: BaseException | None) -> int | None:
    """Return the status of the answer that an error, or what caused it, is about."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        error = error.__cause__
    return None


def _without_token(hub: Any, text: str) -> str:
    """Return a text without the user's token and without a password in an address."""
    get_token: Callable[[], str | None] = hub.get_token
    token = get_token()
    text = text.replace(token, "***") if token else text
    return re.sub(r"//[^/@\s]+@", "//***@", re.sub(r"\bhf_\w{8,}", "***", text))
