"""Download CHB-MIT from PhysioNet: resumable, every file checked against the published SHA-256 list.

Partial files end in ``.part`` and are continued by HTTP range requests.  A file that was checked once is noted with its
size and time in ``.biot-bd-fetch.json`` and not read again.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pandas as pd
import requests
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from biot_bd.datasets.chbmit import CHB_MIT, select_cases
from biot_bd.runs import read_json, write_json

__all__ = ["BASE_URL", "CHECKSUMS", "ChecksumError", "DownloadError", "fetch_chbmit", "parse_checksums"]

BASE_URL = "https://physionet.org/files/chbmit/1.0.0/"
CHECKSUMS = "SHA256SUMS.txt"
NOTES = ".biot-bd-fetch.json"
CHUNK = 1 << 20
TIMEOUT_S = (15, 60)  # to connect, between two packets
_ENTRY = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(.+)")
_PART = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*")
_RETRIED = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class DownloadError(RuntimeError):
    """A file could not be downloaded; what is there of it stays, and the next call goes on."""


class ChecksumError(DownloadError):
    """A downloaded file has not the published SHA-256; it was deleted."""


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
        Folder; gets the layout that :func:`biot_bd.datasets.chbmit.load_chbmit` reads.  About 43 GB for all cases.
    subjects : iterable of str or int, optional
        Cases (``"chb01"``, ``1``) or persons (``"chb-mit/01"``: cases 1 and 21); all by default.
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
        ``file``, ``outcome`` (``"downloaded"``, ``"resumed"``, ``"present"``), ``bytes``: one row a file.

    Raises
    ------
    DownloadError
        The server refuses, does not answer, or the disk is full; names the file.  The same call goes on where it stopped.
    ChecksumError
        A file has not the published checksum.
    ValueError
        ``subjects`` is not understood, or the list names a file outside the folder.
    """
    cases = select_cases(subjects)
    dest = Path(dest)
    dest.mkdir(parents=True, exist_ok=True)
    with _locked(dest), requests.Session() as session, _Bars(progress) as bars:
        fetcher = _Fetcher(session, dest, base_url.rstrip("/") + "/", retries, wait_s, bars)
        listed = parse_checksums(fetcher.text(CHECKSUMS), source=base_url)
        wanted = {name: digest for name, digest in listed.items() if _is_wanted(name, cases)}
        if cases is not None:
            found = {_case_of(name) for name in wanted}
            if absent := sorted(cases - found):
                raise ValueError(f"{base_url}{CHECKSUMS} lists no files of case {', '.join(absent)}")
        bars.start(len(wanted))
        rows = []
        for name, digest in wanted.items():
            rows.append((name, *fetcher.fetch(name, digest)))
            bars.file_done()
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
        A line is not understood, a path is listed with two sums, or a path leads outside the folder.
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


def _is_wanted(name: str, cases: set[str] | None) -> bool:
    case = _case_of(name)
    return cases is None or case is None or case in cases


@contextmanager
def _locked(dest: Path) -> Iterator[None]:
    lock = FileLock(dest / ".biot-bd-fetch.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DownloadError(f"{dest}: another download into this folder is running; wait for it") from None
    try:
        yield
    finally:
        lock.release()


class _Bars:
    """Two progress bars: files done, bytes of the file at hand."""

    def __init__(self, show: bool) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            console=Console(stderr=True),
            disable=not show,
        )
        self.transfer = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.progress.console,
            disable=not show,
        )
        self.show = show
        self.files: TaskID | None = None
        self.current: TaskID | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *exc: object) -> None:
        self.transfer.stop()
        self.progress.stop()


class _Fetcher:
    """Downloads single files into a folder."""

    def __init__(
        self, session: requests.Session, dest: Path, base_url: str, retries: int, wait_s: float, bars: Any
    ) -> None:
        self.session, self.dest, self.base_url = session, dest, base_url
        self.retries, self.wait_s, self.bars = retries, wait_s, bars
