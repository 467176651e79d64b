"""Download CHB-MIT from PhysioNet: resumable, every file checked by its SHA-256 sum.

Partial files end in ``.part`` and are continued by HTTP range requests.  A file that was checked
once is noted with its size and time in ``.biot-bd-fetch.json`` and not read again.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pandas as pd
import requests
from filelock import AcquireReturnProxy, FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from biot_bd.datasets.chbmit import CHB_MIT, select_cases
from biot_bd.exceptions import ChecksumError, DownloadError
from biot_bd.json_values import check_values, naming
from biot_bd.runs import make_folder, note_done, read_json, write_json

BASE_URL = "https://physionet.org/files/chbmit/1.0.0/"
CHECKSUMS = "SHA256SUMS.txt"
NOTES = ".biot-bd-fetch.json"
CHUNK = 1 << 16  # a broken connection costs at most this
TIMEOUT_S = (15, 60)  # to connect, between two packets
MOST_LIST_BYTES = 16 * 2**20  # the published list has 0.1 MiB
MOST_FILE_BYTES = 4 * 2**30  # the largest file, four hours of 24 channels, has 0.2 GiB
_ENTRY = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(.+)")
_PART = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*")
_RETRIED = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def fetch_chbmit(
    dest: str | os.PathLike[str],
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    base_url: str = BASE_URL,
    progress: bool = True,
    retries: int = 5,
    wait_s: float = 2.0,
) -> pd.DataFrame:
    """Download CHB-MIT, or some cases of it, and check every file.

    Parameters
    ----------
    dest : path-like
        Folder; gets the layout that :func:`biot_bd.datasets.chbmit.load_chbmit` reads.  About 43 GB
        for all cases.
    subjects : iterable of str or int, optional
        Cases (``"chb01"``, ``1``) or subjects (``"chb-mit/01"``: cases 1 and 21); all by default.
    base_url : str, default=BASE_URL
        Where ``SHA256SUMS.txt`` and the files are, e.g. a mirror.
    progress : bool, default=True
        Show progress bars on stderr.
    retries : int, default=5
        How often a broken connection or a busy server is tried again, for each file.
    wait_s : float, default=2
        Seconds before the first new try; doubled each time.

    Returns
    -------
    pandas.DataFrame
        ``file``, ``outcome`` (``"downloaded"``, ``"resumed"``, ``"present"``), ``bytes``: one row a
        file.

    Raises
    ------
    DownloadError
        The server refuses, does not answer, or the disk is full; names the file.  The same call
        goes on where it stopped.
    ChecksumError
        A file has not the published checksum.
    ValueError
        ``subjects`` is not understood, or the list names a file outside the folder.
    """
    cases = select_cases(subjects)
    dest = Path(dest)
    make_folder(dest)
    with _locked(dest), requests.Session() as session, _progress(progress) as bar:
        fetcher = _Fetcher(session, dest, base_url.rstrip("/") + "/", retries, wait_s, bar)
        listed = fetcher.list_of_checksums()
        wanted = {n: digest for n, digest in listed.items() if cases is None or _case_of(n) in (None, *cases)}
        if absent := sorted((cases or set()) - {_case_of(name) for name in wanted}):
            raise ValueError(f"{base_url}{CHECKSUMS} lists no files of case {', '.join(absent)}")
        rows = []
        for number, (name, digest) in enumerate(wanted.items(), start=1):
            bar.reset(fetcher.task, description=f"[{number}/{len(wanted)}] {name}", total=None)
            rows.append((name, *fetcher.fetch(name, digest)))
            note_done("files", number, len(wanted))
    return pd.DataFrame(rows, columns=["file", "outcome", "bytes"])


def parse_checksums(text: str, *, source: str = CHECKSUMS) -> dict[str, str]:
    """Read a list of SHA-256 sums.

    Parameters
    ----------
    text : str
        Lines of 64 hexadecimal digits, blanks and a relative path.
    source : str, optional
        Named in messages.

    Returns
    -------
    dict of str to str
        Path -> digest in lower case; small files and summaries first.

    Raises
    ------
    ValueError
        A line is not understood, a path is listed with two sums, or a path leads outside the
        folder.
    """
    found = dict[str, str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _ENTRY.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{source}, line {number}: expected a SHA-256 sum and a path, found {line[:80]!r}")
        digest, name = match[1].lower(), match[2]
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise ValueError(f"{source}, line {number}: refused the path {name!r}: it may lead outside of the folder")
        if found.setdefault(name, digest) != digest:
            raise ValueError(f"{source}, line {number}: {name} is listed with two sums")
    if not found:
        raise ValueError(f"{source}: the list of checksums is empty")
    return dict(sorted(found.items(), key=lambda item: (item[0].endswith(".edf"), item[0])))


def _case_of(name: str) -> str | None:
    parts = PurePosixPath(name).parts
    return CHB_MIT.case_of(parts[0]) if len(parts) > 1 else None


def _locked(dest: Path) -> AcquireReturnProxy:
    try:
        return FileLock(dest / ".biot-bd-fetch.lock").acquire(timeout=0)
    except Timeout:
        raise DownloadError(f"{dest}: another download into this folder is running; wait for it") from None


def _progress(show: bool) -> Progress:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(TextColumn("{task.description}", markup=False), *columns, console=console, disable=not show)


class _BusyError(Exception):
    """The server asks to come back later."""


class _Fetcher:
    """Downloads single files into a folder."""

    def __init__(
        self, session: requests.Session, dest: Path, base_url: str, retries: int, wait_s: float, bar: Progress
    ) -> None:
        # Ranges count bytes as they are sent, so nothing may be compressed on the way.
        session.headers["Accept-Encoding"] = "identity"
        self.session, self.dest, self.base_url = session, dest, base_url
        self.retries, self.wait_s = retries, wait_s
        self.bar, self.task = bar, bar.add_task("", total=None)
        self.notes_path = dest / NOTES
        self.notes: dict[str, Any] = read_json(self.notes_path) if self.notes_path.is_file() else {}
        with naming(self.notes_path):
            check_values(self.notes, dict[str, Any])

    def list_of_checksums(self) -> dict[str, str]:
        """Download the list anew, keep it beside the files, and read it."""
        part = self.dest / f"{CHECKSUMS}.part"
        part.unlink(missing_ok=True)
        self._download_with_retries(CHECKSUMS, part, MOST_LIST_BYTES)
        listed = parse_checksums(part.read_text(encoding="utf-8"), source=self.base_url + CHECKSUMS)
        os.replace(part, self.dest / CHECKSUMS)
        return listed

    def fetch(self, name: str, digest: str) -> tuple[str, int]:
        """Bring one file; return what was done and its size."""
        target = self.dest / name
        part = target.with_name(target.name + ".part")
        if target.is_file():
            noted = self.notes.get(name) == _stamp(target, digest)
            if noted or _sha256(target) == digest:
                if not noted:
                    self._note(name, target, digest)
                return "present", target.stat().st_size
            warnings.warn(f"{target} is not the published file (SHA-256 differs); it is downloaded again", stacklevel=3)
        make_folder(target.parent)
        resumed = part.is_file() and part.stat().st_size > 0
        self._download_with_retries(name, part, MOST_FILE_BYTES)
        if (found := _sha256(part)) != digest:
            part.unlink()
            raise ChecksumError(
                f"{self.base_url}{name}: SHA-256 is {found}, published is {digest}; the download was deleted, try again"
            )
        os.replace(part, target)
        self._note(name, target, digest)
        return "resumed" if resumed else "downloaded", target.stat().st_size

    def _note(self, name: str, target: Path, digest: str) -> None:
        self.notes[name] = _stamp(target, digest)
        write_json(self.notes_path, self.notes)

    def _download_with_retries(self, name: str, part: Path, most_bytes: int) -> None:
        url = self.base_url + quote(name)
        for attempt in range(self.retries + 1):
            try:
                self._download(url, part, most_bytes)
                return
            except (*_RETRIED, _BusyError) as error:
                if attempt == self.retries:
                    raise DownloadError(
                        f"{url}: gave up after {attempt + 1} tries ({error}); the same command goes on from here"
                    ) from error
                wait_s = self.wait_s * 2**attempt
                warnings.warn(
                    f"{url}: {error}; try {attempt + 2} of {self.retries + 1} follows in {wait_s:g} s", stacklevel=4
                )
                time.sleep(wait_s)
            except requests.RequestException as error:
                raise DownloadError(f"{url}: {error}") from error
            except OSError as error:  # the disk
                raise DownloadError(f"{part}: cannot be written ({error})") from error

    def _download(self, url: str, part: Path, most_bytes: int) -> None:
        """Add to ``part`` what is missing of ``url``."""
        offset = part.stat().st_size if part.is_file() else 0
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self.session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            if url.startswith("https:") and not response.url.startswith("https:"):
                raise DownloadError(
                    f"{url}: the server sends on to {response.url}, which is not encrypted; give a mirror"
                )
            status, content_range = response.status_code, response.headers.get("Content-Range", "")
            if status == 416:
                if content_range.rpartition("/")[2] == str(offset):
                    return  # all of it is there; the checksum decides
                part.unlink()
                raise _BusyError(f"the part of {offset} bytes is longer than the file")
            if status in (408, 425, 429) or status >= 500:
                raise _BusyError(f"the server answers {status} {response.reason}")
            if status not in (200, 206):
                raise DownloadError(f"{url}: the server answers {status} {response.reason}; check the address")
            if status == 200 or not content_range.startswith(f"bytes {offset}-"):
                if status == 206:
                    part.unlink(missing_ok=True)
                    raise _BusyError(f"asked from byte {offset}, the server sends {content_range!r}")
                offset = 0
            self._save(response, part, offset, most_bytes)

    def _save(self, response: requests.Response, part: Path, offset: int, most_bytes: int) -> None:
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length and length.isdigit() else None
        done = offset
        too_large = DownloadError(
            f"{response.url}: more than {most_bytes:,} bytes, which is none of these files; deleted"
        )
        if (total or 0) > most_bytes:
            part.unlink(missing_ok=True)
            raise too_large
        with part.open("ab" if offset else "wb") as file:
            for chunk in response.iter_content(CHUNK):
                done += len(chunk)
                if done > most_bytes:
                    part.unlink()
                    raise too_large
                file.write(chunk)
                self.bar.update(self.task, completed=done, total=total)
        if total is not None and done < total:
            raise requests.ConnectionError(f"{done} of {total} bytes came")


def _stamp(path: Path, digest: str) -> dict[str, Any]:
    status = path.stat()
    return {"sha256": digest, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
