"""A small copy of the competition's folder: the exact layout, made-up signals."""

import numpy as np
import pandas as pd

CHANNELS = "Fp1 F3 C3 P3 F7 T3 T5 O1 Fz Cz Pz Fp2 F4 C4 P4 F8 T4 T6 O2 EKG".split()
NAMES = ("Seizure", "LPD", "GPD", "LRDA", "GRDA", "Other")
VOTES = [f"{name.lower()}_vote" for name in NAMES]
PATIENTS = (4, 17, 230, 1011, 42516, 65001)


def write_eeg(path, seconds, seed, gap=None, absent=(), loud=None):
    """White noise of 20 uV; ``loud`` (start_s, stop_s, factor) changes a stretch."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 20, (round(seconds * 200), 20)).astype(np.float32)
    if loud is not None:
        x[round(loud[0] * 200) : round(loud[1] * 200)] *= loud[2]
    if gap is not None:
        x[gap] = np.nan
    table = pd.DataFrame(x, columns=CHANNELS)
    table[list(absent)] = np.nan
    table.to_parquet(path)
    return table


def row(eeg_id, sub_id, offset_s, label_id, patient_id, votes):
    best = NAMES[int(np.argmax(votes))]
    shared = {"spectrogram_id": eeg_id + 1, "spectrogram_sub_id": sub_id, "spectrogram_label_offset_seconds": offset_s}
    first = {"eeg_id": eeg_id, "eeg_sub_id": sub_id, "eeg_label_offset_seconds": offset_s}
    last = {"label_id": label_id, "patient_id": patient_id, "expert_consensus": best}
    return {**first, **shared, **last, **dict(zip(VOTES, votes, strict=True))}


def write_hms(root, patients=PATIENTS):
    """Two recordings a patient, one of 60 s with overlapping rows, one of 50 s; loud ones are
    seizures, soft ones GPD."""
    rng = np.random.default_rng(7)
    (root / "train_eegs").mkdir(parents=True)
    (root / "test_eegs").mkdir()
    rows = []
    for number, patient in enumerate(patients):
        for kind, seconds in enumerate((60, 50)):
            eeg_id = 1_000_000 + 10 * number + kind
            write_eeg(root / "train_eegs" / f"{eeg_id}.parquet", seconds, eeg_id, loud=(0, seconds, (3.0, 0.5)[kind]))
            for sub_id, offset_s in enumerate((0.0, 4.0, 10.0) if kind == 0 else (0.0,)):
                votes = rng.integers(0, 2, 6)
                votes[(0, 2)[kind]] += 5
                rows.append(row(eeg_id, sub_id, offset_s, 10_000_000 + len(rows), patient, votes.tolist()))
    pd.DataFrame(rows).to_csv(root / "train.csv", index=False)
    tests = [(9_000_001, 99), (8_000_002, 98)]
    for eeg_id, _ in tests:
        write_eeg(root / "test_eegs" / f"{eeg_id}.parquet", 50, eeg_id)
    pd.DataFrame([{"spectrogram_id": 853520, "eeg_id": e, "patient_id": p} for e, p in tests]).to_csv(
        root / "test.csv", index=False
    )
    sample = pd.DataFrame({"eeg_id": [e for e, _ in tests[::-1]], **dict.fromkeys(VOTES, 1 / 6)})
    sample.to_csv(root / "sample_submission.csv", index=False)
    return root
