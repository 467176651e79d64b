"""Weights of tokens times recorded maps, against the whole maps."""

import numpy as np
import pytest
import torch

from biot_bd.models import AttentionMaps, AttentionRecord, TokenLayout
from biot_bd.models.attention.row_products import n_tokens_of, rows_times_map, rows_times_matrix

LAYOUT = TokenLayout(("a", "b", "c"), np.arange(4.0), np.arange(4.0) + 1)
FRAME_FIRST = TokenLayout(("a", "b", "c"), np.arange(4.0), np.arange(4.0) + 1, order="frame")


def softmax(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)


@pytest.mark.parametrize(
    "record",
    [
        AttentionRecord("l", "sdpa", "exact", softmax(2, 5, 12, 12)),
        AttentionRecord("l", "linear", "exact", (softmax(2, 5, 12, 4), softmax(2, 5, 12, 4))),
        AttentionRecord("l", "mha", "exact", softmax(2 * 4, 5, 3, 3), layout=LAYOUT, folded="frame"),
        AttentionRecord("l", "mha", "exact", softmax(2 * 3, 5, 4, 4), layout=LAYOUT, folded="channel"),
        AttentionRecord("l", "mha", "exact", softmax(2 * 4, 5, 3, 3), layout=FRAME_FIRST, folded="frame"),
    ],
    ids=["map", "factors", "by frame", "by channel", "by frame, frames first"],
)
def test_against_the_whole_map(record):
    rows = torch.rand(2, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = AttentionMaps([record])[0].mean(dim=1)
    assert n_tokens_of(record) == 12
    expected = (rows[:, None] @ whole)[:, 0]
    np.testing.assert_allclose(rows_times_map(rows, record), expected)
    matrix = record.weights.mean(dim=1)
    np.testing.assert_allclose(rows_times_matrix(rows, matrix, record), expected)
    np.testing.assert_allclose(rows_times_map(rows.float(), record), expected, rtol=1e-5)
    assert rows_times_map(rows.float(), record).dtype == torch.float32
