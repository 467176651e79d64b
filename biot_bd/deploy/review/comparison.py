"""Agreement of the reviewers of one folder of results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from biot_bd.deploy.review.marks import Review
from biot_bd.deploy.review.review_files import REVIEWS, find_reviews
from biot_bd.events.agreement import ReadRecording, score_agreement
from biot_bd.exceptions import ReviewError
from biot_bd.runs import write_json

FORMAT, VERSION = "biot_bd agreement", 1
AGREEMENT = "agreement.json"


def compare_reviewers(results: str | os.PathLike[str]) -> dict[str, Any]:
    """Compare all pairs of reviewers on the recordings that both read whole.

    Parameters
    ----------
    results : path
        Folder that ``biot-bd detect`` wrote, with reviews below ``reviews``.

    Returns
    -------
    dict
        ``reviewers``; ``pairs``, each as :func:`~biot_bd.events.score_agreement` returns it;
        ``without_common``, pairs that read no recording in common; ``not_read_whole``, recordings
        by reviewer that are left out, as what was missed in them is not known.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    biot_bd.exceptions.ReviewError
        There are fewer than two reviewers, no two read one recording, a review is damaged, or two
        reviews of one name are of different recordings.

    See Also
    --------
    write_agreement : Writes it beside the reviews.
    biot_bd.events.score_agreement : What is counted.

    Examples
    --------
    >>> import tempfile
    >>> from biot_bd.deploy.review import Mark, Review, compare_reviewers, save_review
    >>> with tempfile.TemporaryDirectory() as results:
    ...     for name, onset in (("anna", 100.0), ("ben", 104.0)):
    ...         marks = (Mark("added", onset, 130.0),)
    ...         _ = save_review(
    ...             results, Review(name, "rec01", 600.0, marks=marks, read_whole=True)
    ...         )
    ...     found = compare_reviewers(results)
    >>> found["pairs"][0]["differences"]["onset_s"]["median"]
    4.0
    """
    reviews = find_reviews(results)
    if len(reviews) < 2:
        there = f"only those of {', '.join(reviews)}" if reviews else "none"
        raise ReviewError(f"{Path(results, REVIEWS)}: agreement needs reviews of two, found {there}")
    whole = {name: [one for one in found if one.read_whole] for name, found in reviews.items()}
    pairs, without = [], []
    for pair in combinations(whole, 2):
        first, second = (whole[name] for name in pair)
        if {one.recording for one in first} & {one.recording for one in second}:
            _check_digests(first, second, pair)
            pairs.append(score_agreement(_read(first), _read(second), reviewers=pair))
        else:
            without.append(list(pair))
    if not pairs:
        raise ReviewError(
            f"{Path(results, REVIEWS)}: no recording was read whole by two of {', '.join(reviews)}; "
            "agreement needs some that both mark as read whole"
        )
    return {
        "reviewers": list(reviews),
        "pairs": pairs,
        "without_common": without,
        "not_read_whole": {
            name: [one.recording for one in found if not one.read_whole] for name, found in reviews.items()
        },
    }


def write_agreement(results: str | os.PathLike[str]) -> dict[str, Any]:
    """Compare the reviewers and write ``reviews/agreement.json``.

    Parameters
    ----------
    results : path
        Folder that ``biot-bd detect`` wrote, with reviews below ``reviews``.

    Returns
    -------
    dict
        As :func:`compare_reviewers` returns it, and raises.

    See Also
    --------
    compare_reviewers : Does not write.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from biot_bd.deploy.review import Review, save_review, write_agreement
    >>> with tempfile.TemporaryDirectory() as results:
    ...     for name in ("anna", "ben"):
    ...         _ = save_review(results, Review(name, "rec01", 600.0, read_whole=True))
    ...     found = write_agreement(results)
    ...     Path(results, "reviews", "agreement.json").is_file()
    True
    """
    found = compare_reviewers(results)
    write_json(Path(results, REVIEWS, AGREEMENT), {"format": FORMAT, "version": VERSION, **found})
    return found


def _read(reviews: Sequence[Review]) -> list[ReadRecording]:
    return [ReadRecording(one.recording, [event[:2] for event in one.events], one.duration_s) for one in reviews]


def _check_digests(first: Sequence[Review], second: Sequence[Review], names: tuple[str, str]) -> None:
    others = {one.recording: one.digest for one in second}
    for one in first:
        theirs = others.get(one.recording)
        if None not in (one.digest, theirs) and one.digest != theirs:
            raise ReviewError(
                f"{one.recording}: {names[0]} and {names[1]} reviewed different recordings of this name "
                "(channels or samples differ); detect and review it again"
            )
