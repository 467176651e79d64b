"""The spread of embeddings against closed forms and its definition."""

import numpy as np
import pytest
import torch

from biot_bd.pretraining import embedding_std


def test_one_embedding_for_all_windows_has_none():
    one = torch.tensor([[1.0, 2.0, 3.0]]) * torch.tensor([[1.0], [2.0], [5.0]])
    assert float(embedding_std(one)) == pytest.approx(0.0, abs=1e-6)


def test_embeddings_in_all_directions_alike_have_one():
    z = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert float(embedding_std(100 * z)) == pytest.approx(1.0, abs=0.01)


def test_opposite_pairs_on_the_axes_give_the_closed_form():
    axes = torch.cat([torch.eye(5), -torch.eye(5)])  # each feature is 1, -1 and eight times 0
    assert float(embedding_std(axes)) == pytest.approx((2 / 10) ** 0.5 * 5**0.5)


def test_it_is_what_its_definition_says_and_carries_no_graph():
    z = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    rows = z.detach().numpy() / np.linalg.norm(z.detach().numpy(), axis=1, keepdims=True)
    found = embedding_std(z)
    assert not found.requires_grad
    assert float(found) == pytest.approx(float(rows.std(axis=0).mean()) * 3**0.5, rel=1e-5)
