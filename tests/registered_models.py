"""What a training leaves in a saved model, for tests of the registry."""

from biot_bd.runs import read_json, write_json

RECORD = {
    "title": "a small model",
    "notes": ["made for tests"],
    "subjects": {"train": ["site/01", "site/02"], "valid": ["site/03"], "test": []},
    "data": {"fingerprint": "0123", "label_rule": "overlap", "generated": False, "n_windows": 16, "prevalence": 0.5},
    "trained_on": {
        "source": "mine",
        "trained_on": [{"dataset": "site", "subjects": ["site/01", "site/02", "site/03"], "how": "supervised"}],
        "known": True,
    },
    "seed": 7,
    "study": "abcd",
}


def with_record(folder, record):
    """Write a record into a saved model."""
    description = read_json(folder / "pipeline.json")
    write_json(folder / "pipeline.json", description | {"record": record})
    return folder
