"""Versions of models in MLflow's model registry: files as they are, no flavour, no pickle.

A version is a run with the files as artifacts, and a version of a registered model with two tags:
which version of biot_bd's registry it is, and its digest.  MLflow counts its versions 1, 2, 3; the
tags tell which is which.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biot_bd.deploy import ModelStore, StoredVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "biot-bd models"
FOLDER = "model"
VERSION_TAG = "biot_bd.version"
DIGEST_TAG = "biot_bd.digest"
TRACKING_URI = "MLFLOW_TRACKING_URI"
MOST_FILES = 1000


class MlflowStore(ModelStore):
    """MLflow's model registry; a place is the name of a registered model.

    Parameters
    ----------
    endpoint : str, optional
        Tracking URI, e.g. ``"http://mlflow.clinic:5000"`` or ``"sqlite:///mlflow.db"``; that of
        the variable ``MLFLOW_TRACKING_URI`` by default.

    See Also
    --------
    biot_bd.deploy.ModelStore : What a store has to do.

    Examples
    --------
    >>> MlflowStore("sqlite:///mlflow.db").endpoint
    'sqlite:///mlflow.db'
    """

    def versions(self, place: str) -> Mapping[str, str]:
        """Return the versions of a registered model, each with its run."""
        return {version: str(found.run_id) for version, found in self._versions(place).items()}

    def listing(self, place: str, version: str) -> StoredVersion:
        """Return the artifacts of a version's run."""
        found = self._versions(place).get(version)
        if found is None:
            raise FileNotFoundError(f"MLflow model {place}: holds no version {version} of biot_bd")
        with _told(place):
            return StoredVersion(str(found.run_id), self._sizes(self._client(), str(found.run_id), place))

    def fetch(self, place: str, stored: StoredVersion, name: str, target: Path) -> None:
        """Download one artifact."""
        self._client()
        from mlflow.artifacts import download_artifacts

        with _told(place), tempfile.TemporaryDirectory(dir=target.parent, prefix=".mlflow-") as folder:
            came = download_artifacts(
                run_id=stored.revision, artifact_path=f"{FOLDER}/{name}", dst_path=folder, tracking_uri=self._uri()
            )
            shutil.move(came, target)

    def upload(self, folder: Path, place: str, name: str, version: str, private: bool = True) -> str:
        """Log the files to a run, and register it as a version once all of them are there."""
        if version in self._versions(place):
            raise FileExistsError(f"MLflow model {place}: version {version} is there; give the model another version")
        digest = hashlib.sha256((folder / "artifact.json").read_bytes()).hexdigest()
        tags = {VERSION_TAG: version, DIGEST_TAG: digest}
        with _told(place):
            client = self._client()
            found = client.get_experiment_by_name(EXPERIMENT)
            experiment = self._experiment(client) if found is None else found.experiment_id
            run = client.create_run(experiment, run_name=f"{name} {version}", tags=tags).info.run_id
            client.log_artifacts(run, str(folder), FOLDER)
            client.set_terminated(run)
            if not client.search_registered_models(f"name = '{_checked(place)}'"):
                client.create_registered_model(place)
            made = client.create_model_version(place, f"runs:/{run}/{FOLDER}", run_id=run, tags=tags)
            first = self._versions(place)[version]
            if first.run_id != run:  # two at once: the first is the version
                client.delete_model_version(place, made.version)
                raise FileExistsError(
                    f"MLflow model {place}: version {version} was put there at the same time by another"
                )
        return str(run)

    def _versions(self, place: str) -> dict[str, Any]:
        """Return MLflow's versions by ours, the first of each."""
        with _told(place):
            found: dict[str, Any] = {}
            client, token = self._client(), None
            while True:
                page = client.search_model_versions(f"name = '{_checked(place)}'", page_token=token)
                for one in page:
                    ours = one.tags.get(VERSION_TAG)
                    if ours is not None and (ours not in found or int(one.version) < int(found[ours].version)):
                        found[ours] = one
                token = page.token
                if not token:
                    return found

    def _sizes(self, client: MlflowClient, run: str, place: str) -> dict[str, int]:
        sizes: dict[str, int] = {}
        folders = [FOLDER]
        while folders:
            for entry in client.list_artifacts(run, folders.pop()):
                if entry.is_dir:
                    folders.append(entry.path)
                elif entry.file_size is None:
                    raise OSError(
                        f"MLflow model {place}: its artifact store tells no size of {entry.path}, so nothing is fetched"
                    )
                else:
                    sizes[entry.path.removeprefix(f"{FOLDER}/")] = int(entry.file_size)
            if len(sizes) + len(folders) > MOST_FILES:
                raise OSError(f"MLflow model {place}: run {run} has more than {MOST_FILES} artifacts")
        return sizes

    def _experiment(self, client: MlflowClient) -> str:
        """Make the experiment, with the artifacts beside a database that is a file.

        MLflow itself would put them into the working directory of whoever pushes first.
        """
        database = re.fullmatch(r"sqlite:///(.+)", self._uri())
        beside = (Path(database[1]).absolute().parent / "mlartifacts").as_uri() if database else None
        return str(client.create_experiment(EXPERIMENT, artifact_location=beside))

    def _uri(self) -> str:
        found = self.endpoint or os.environ.get(TRACKING_URI)
        if not found:  # MLflow's own default is a file in the working directory
            raise OSError(f"where is MLflow? Give --endpoint (a tracking URI), or set {TRACKING_URI}")
        return found

    def _client(self) -> MlflowClient:
        # Before the import: it would tell its makers who uses it, and draw bars on the console.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # Nobody waits the four minutes that it would try to reach an address where nothing is.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        from mlflow import MlflowClient

        for chatty in ("alembic", "mlflow.store"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        return MlflowClient(tracking_uri=self._uri())


def _checked(place: str) -> str:
    """Return a name that may stand in a filter of MLflow's."""
    if not re.fullmatch(r"[\w.-][\w. -]*", place):
        raise OSError(f"MLflow model {place!r}: expected letters, digits, spaces, . _ and -")
    return place


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """Turn what MLflow raises into one line, without a password in an address."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        told = re.sub(r"//[^/@\s]+@", "//***@", " ".join(str(error).split())[:300])
        raise OSError(f"MLflow model {place}: {told}") from error
