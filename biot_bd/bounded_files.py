"""Arrays and tables from files of others: nothing is unpickled, nothing grows far beyond its file.

An archive of some kilobytes may say that it holds terabytes; whoever reads it is told before memory
is asked for.  Honest EEG compresses a few times, rows that differ take bytes of their own.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

GROWTH = 200
"""How many times its file the bytes of an archive, or the values of a table, may be."""
SPARE = 64 * 2**20
"""Bytes, and values of tables, that are always taken."""


def read_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the memory map of an ``.npy`` file; nothing is allocated, whatever shape it claims.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        It is no array of numbers or texts (objects are never read); one line that names it.
    OSError
        It is not there, or cannot be read.

    See Also
    --------
    read_npz : Archives of arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.bounded_files import read_npy
    >>> np.save("x.npy", np.arange(3))
    >>> read_npy("x.npy").tolist()
    [0, 1, 2]
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        if error.errno is not None and not isinstance(error, UnicodeError):
            raise
        raise _fault(path, "array", error) from error
    except Exception as error:  # numpy reads the header as Python: a damaged one raises tokenize's errors, too
        raise _fault(path, "array", error) from error
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError(f"{os.fspath(path)}: not an array of numbers, but an archive of several")
    return found


def npz_names(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of the arrays in an ``.npz`` file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        It is no such file, or would hold far more than its size allows; one line that names it.
    FileNotFoundError
        It is not there.

    See Also
    --------
    read_npz : Reads them.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.bounded_files import npz_names
    >>> np.savez("x.npz", eeg=np.zeros(3))
    >>> npz_names("x.npz")
    ['eeg']
    """
    return list(_members(Path(path)))


def read_npz(
    path: str | os.PathLike[str], names: Collection[str] | None = None, *, most_bytes: int | None = None
) -> dict[str, NDArray[Any]]:
    """Read arrays of an ``.npz`` file.

    Parameters
    ----------
    path : path
        The file.
    names : collection of str, optional
        Which of them; all by default.
    most_bytes : int, optional
        How large its content may be; no more than its size allows by default.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ValueError
        It is no such file, lacks one of them, holds objects, or would hold far more than its size
        allows; one line that names it.
    FileNotFoundError
        It is not there.

    See Also
    --------
    npz_names : Which there are.

    Notes
    -----
    An archive may hold :data:`GROWTH` times its own size, and always :data:`SPARE` bytes.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.bounded_files import read_npz
    >>> np.savez("x.npz", eeg=np.zeros(3))
    >>> read_npz("x.npz")["eeg"].shape
    (3,)
    """
    members = _members(Path(path), most_bytes)
    if names is not None and (absent := sorted(set(names) - set(members))):
        raise ValueError(f"{os.fspath(path)}: lacks {', '.join(absent)}; it holds {', '.join(members) or 'nothing'}")
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: np.asarray(found[name]) for name in (members if names is None else names)}
    except Exception as error:  # zipfile, zlib, numpy and tokenize have kinds of their own
        raise _fault(path, "archive of arrays", error) from error


def _members(path: Path, most_bytes: int | None = None) -> dict[str, int]:
    """Return what an archive says it holds, in bytes; raise where that is far above its size."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except FileNotFoundError:
        raise
    except Exception as error:
        raise _fault(path, "archive of arrays", error) from error
    if foreign := [part.filename for part in parts if not part.filename.endswith(".npy")]:
        raise ValueError(f"{path}: holds {foreign[0]!a}, which is no array")
    n_bytes = sum(part.file_size for part in parts)
    most = min(SPARE + GROWTH * path.stat().st_size, n_bytes if most_bytes is None else most_bytes)
    if n_bytes > most:
        raise ValueError(
            f"{path}: {path.stat().st_size:,} bytes that would become {n_bytes:,}; at most {most:,} are taken from such a file"
        )
    return {part.filename.removesuffix(".npy"): part.file_size for part in parts}


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of a parquet file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    ValueError
        It is no such file, or has far more rows than its size allows; one line that names it.
    FileNotFoundError
        It is not there.

    See Also
    --------
    read_npz : Archives of arrays.

    Examples
    --------
    >>> import pandas as pd
    >>> from biot_bd.bounded_files import read_table
    >>> pd.DataFrame({"subject": ["a", "b"]}).to_parquet("table.parquet")
    >>> read_table("table.parquet")["subject"].tolist()
    ['a', 'b']
    """
    import pandas as pd
    import pyarrow.parquet as pq

    path = Path(path)
    try:
        facts = pq.read_metadata(path)
        n_values, most = facts.num_rows * facts.num_columns, SPARE + GROWTH * path.stat().st_size
        if n_values > most:
            raise ValueError(
                f"{facts.num_rows:,} rows in {path.stat().st_size:,} bytes, at most {most:,} values are taken"
            )
        return pd.read_parquet(path)
    except OSError as error:
        if error.errno is not None:  # pyarrow tells damage like a fault of the system
            raise
        raise _fault(path, "table", error) from error
    except Exception as error:
        raise _fault(path, "table", error) from error


def _fault(path: str | os.PathLike[str], what: str, error: BaseException) -> ValueError:
    told = " ".join(str(error).split())[:200]
    return ValueError(f"{os.fspath(path)}: no readable {what} ({type(error).__name__}: {told})")
