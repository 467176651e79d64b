"""OpenEEGBench: with ``val_size``, places among training rows are taken for rows of the data set.

A made-up table of windows: one subject tests and comes first, two train.
"""

from __future__ import annotations

import pandas as pd
from open_eeg_bench.dataset import PredefinedSplitter

WINDOWS_EACH = 100


def measure() -> dict[str, int]:
    """Count test rows among the training and the validation rows."""
    subjects = [subject for subject in ("test", "a", "b", "c") for _ in range(WINDOWS_EACH)]
    table = pd.DataFrame({"subject": subjects})
    splitter = PredefinedSplitter(
        metadata_key="subject", train_values=["a", "b", "c"], val_size=0.3, test_values=["test"]
    )
    train, validation, test = (part.indices for part in splitter.split(subjects, table))
    return {
        "training rows": len(train),
        "of them test rows": len(set(train) & set(test)),
        "validation rows": len(validation),
        "of them test rows ": len(set(validation) & set(test)),
    }
