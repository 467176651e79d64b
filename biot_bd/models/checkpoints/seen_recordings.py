"""Recordings that a model was trained on, told by their content and not by their names."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SeenRecordings:
    """Digests of recordings, salted: they tell nothing to those who have not the recordings.

    Two models that saw the same recordings have other salts, so what is published of the two cannot
    be joined.

    Parameters
    ----------
    salt : str
        Random, of this record alone.
    subjects : tuple of (str, tuple of str)
        Salted digests by subject, as the subjects were called in training.

    See Also
    --------
    biot_bd.io.recording_digest : What is salted.
    Provenance : All that a model has seen.

    Examples
    --------
    >>> seen = SeenRecordings.of([("clinic/01", "0a" * 16), ("clinic/02", "0b" * 16)])
    >>> seen.subjects_of("0a" * 16), seen.subjects_of("0c" * 16)
    (['clinic/01'], [])
    >>> SeenRecordings.from_dict(seen.to_dict()) == seen
    True
    """

    salt: str
    subjects: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, recordings: Iterable[tuple[str, str]]) -> SeenRecordings:
        """Salt the digests of recordings, (subject, digest)."""
        salt, by_subject = secrets.token_hex(16), dict[str, set[str]]()
        for subject, digest in recordings:
            by_subject.setdefault(subject, set()).add(salted(digest, salt))
        return cls(salt, tuple((subject, tuple(sorted(found))) for subject, found in sorted(by_subject.items())))

    def subjects_of(self, digest: str) -> list[str]:
        """Return whose recording it was in training; empty where it was none."""
        found = salted(digest, self.salt)
        return [subject for subject, digests in self.subjects if found in digests]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {"salt": self.salt, "subjects": {subject: list(digests) for subject, digests in self.subjects}}

    @classmethod
    def from_dict(cls, data: Any) -> SeenRecordings:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        ValueError
            It is of another form.
        """
        subjects = data.get("subjects") if isinstance(data, Mapping) else None
        if not (
            isinstance(subjects, Mapping)
            and isinstance(data.get("salt"), str)
            and all(isinstance(digests, list) for digests in subjects.values())
            and all(isinstance(digest, str) for digests in subjects.values() for digest in digests)
        ):
            raise ValueError(
                'expected recordings as {"salt": "...", "subjects": {"clinic/01": ["digest"]}}, '
                f"found {repr(data)[:100]}"
            )
        return cls(data["salt"], tuple((str(subject), tuple(digests)) for subject, digests in subjects.items()))


def salted(digest: str, salt: str) -> str:
    """Return a digest as it is published: 32 hexadecimal digits that differ from salt to salt.

    Examples
    --------
    >>> salted("00" * 16, "a") == salted("00" * 16, "a")
    True
    >>> salted("00" * 16, "a") == salted("00" * 16, "b")
    False
    """
    return hmac.new(salt.encode(), digest.encode(), "sha256").hexdigest()[:32]
