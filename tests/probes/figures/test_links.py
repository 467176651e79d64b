"""Matrices that are none of attention are refused."""

import numpy as np
import pytest
from drawn_maps import a_matrix

from biot_bd.probes.figures._links import Links


def test_ratio_received_and_order():
    matrix = a_matrix(5, absent=(2,))
    links = Links.of(matrix, list("abcde"))
    np.testing.assert_allclose(links.ratio, matrix * 4)
    assert links.present.tolist() == [True, True, False, True, True]
    pairs = links.pairs()
    assert len(pairs) == 4 * 3
    assert [ratio for *_, ratio in pairs] == sorted((matrix[i, j] * 4 for i, j, _ in pairs), reverse=True)
    column = np.delete(matrix[:, 1], [1, 2])
    assert links.received()[1] == pytest.approx(column.mean() * 4)
    assert links.flat_note() is None
    assert "within 0 %" in Links.of(np.full((3, 3), 1 / 3), list("abc")).flat_note()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m[:2], "expected a matrix of shape"),
        (lambda m: m - 0.3, "difference_figure"),
        (lambda m: m * 2, "rows of attention sum to 1, these to 2 to 2"),
        (lambda m: np.where(np.eye(3)[[1, 2, 0]] == 1, np.nan, m), "in its whole row and column"),
    ],
)
def test_other_matrices_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Links.of(change(a_matrix(3)), list("abc"))
