"""EEGDash: its table counts 24 subjects in CHB-MIT, so chb01 and chb21, one child, are two."""

from __future__ import annotations

import pandas as pd
from _peer import installed_file


def measure() -> dict[str, int]:
    """Read the row of CHB-MIT."""
    table = pd.read_csv(installed_file("eegdash", "eegdash/dataset/dataset_summary.csv"))
    row = table[table.iloc[:, 0] == "nm000110"].iloc[0]
    return {"subjects by its table": int(row["n_subjects"]), "children": 23}
