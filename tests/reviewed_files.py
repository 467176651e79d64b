"""Reviews on disk, as `biot-bd review` saves them."""

from biot_bd.deploy.review import Mark, Review, review_paths, save_review


def write_review(
    results, reviewer, recording, marks, duration_s, *, digest=None, read_whole=True, detections=None, weights="w"
):
    """Write sidecar and table of one recording; marks are (kind, onset_s, offset_s, detected); returns the table."""
    made = tuple(Mark(kind, on, off, None if was is None else tuple(was)) for kind, on, off, was in marks)
    found = [mark.detected for mark in made if mark.detected is not None] if detections is None else detections
    review = Review(
        reviewer,
        recording,
        duration_s,
        detections=tuple(found),
        marks=made,
        read_whole=read_whole,
        digest=digest,
        source=f"/eeg/{recording}.edf",
        model={"name": "model", "weights": weights, "path": "/models/model"},
    )
    save_review(results, review)
    return review_paths(results, reviewer, recording)[1]
