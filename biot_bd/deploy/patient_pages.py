"""Pages of patients, from detections that were just made and from records of earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from biot_bd.deploy.detection_record import DetectionRecord, ModelFacts, read_detection
from biot_bd.deploy.detector import Setting
from biot_bd.deploy.eeg_views import EegReader, detected_montage
from biot_bd.deploy.patient_page import PagePart, write_page
from biot_bd.deploy.recording_files import Item
from biot_bd.deploy.results import Outcome, Outputs, is_done, record_path
from biot_bd.deploy.viewer_files import viewer_links, viewer_paths, write_viewers
from biot_bd.io.recordings import open_recording

Records = dict[Path, DetectionRecord]


def find_records(items: Iterable[Item], outputs: Outputs) -> Records:
    """Read the records of recordings whose results are all there.

    Parameters
    ----------
    items : iterable of Item
        All recordings.
    outputs : Outputs
        What is wanted of them.

    Returns
    -------
    dict of Path to DetectionRecord
        By recording; one that is not there is to be detected.
    """
    found = {}
    for item in items:
        if item.target is None and is_done(item, outputs):
            try:
                found[item.path] = read_detection(record_path(item, outputs))
            except (OSError, ValueError):
                continue  # damaged: it is made anew
    return found


def remarks_on(record: DetectionRecord, model: ModelFacts, setting: Setting) -> list[str]:
    """Say where a record was made by another model, or with other settings, than those of now.

    Parameters
    ----------
    record : DetectionRecord
        Of a recording that is left out now.
    model : ModelFacts
        Which model detects now.
    setting : Setting
        Of its detector.

    Returns
    -------
    list of str
        One note at most.
    """
    others = []
    if record.model["weights"] != model["weights"]:
        others.append(f"another model ({record.model['name']})")
    if record.detection.setting != setting:
        others.append("other settings")
    when = "" if record.is_anonymous else f" ({record.written[:10]})"
    return [f"detected earlier{when} with {' and '.join(others)}, and left as it was"] if others else []


def write_missing_viewers(item: Item, record: DetectionRecord, outputs: Outputs) -> list[Path]:
    """Write the viewers of a recording with a record, where there are none.

    Raises
    ------
    DetectionError
        The recording is gone, or is another one than was recorded.
    OSError
        A file cannot be written.
    """
    output = item.output(outputs.folder, "")
    if viewer_paths(output):
        return []
    recording = record.open_recording() if item.own is None else open_recording(item.path)
    reader = EegReader(recording, detected_montage(record.detection))
    return write_viewers(record.detection, reader, output)


def write_patient_page(
    path: Path,
    patient: str,
    items: Sequence[Item],
    outcomes: Sequence[Outcome],
    records: Mapping[Path, DetectionRecord],
    outputs: Outputs,
    model: ModelFacts,
    setting: Setting,
) -> Path:
    """Write the page of one patient.

    Parameters
    ----------
    path : Path
        The file.
    patient : str
        The patient.
    items : sequence of Item
        All recordings; those of others are left out.
    outcomes : sequence of Outcome
        Of what was detected just now.
    records : mapping of Path to DetectionRecord
        Of what was there.
    outputs : Outputs
        Where results lie.
    model : ModelFacts
        Which model detects now.
    setting : Setting
        Of its detector.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OSError
        It cannot be written.
    """
    made = {outcome.item.path: outcome for outcome in outcomes}
    parts, failures = [], []
    for item in (one for one in items if one.patient == patient):
        links = viewer_links(path, viewer_paths(item.output(outputs.folder, "")))
        outcome = made.get(item.path)
        if outcome is None:
            if item.path in records:
                record = records[item.path]
                source = None if item.own is None else item.path
                parts.append(PagePart(record.detection, record, links, remarks_on(record, model, setting), source))
        elif outcome.detection is not None:
            parts.append(PagePart(outcome.detection, links=links, source=item.path))
        if outcome is not None and outcome.error is not None:
            # The reason may quote the file.
            failures.append(outcome.error if item.own is None else f"{item.stem.name}: failed")
    return write_page(path, patient, parts, failures, model["name"], dated=not any(one.own for one in items))
