"""The windows of a batch that processes share, without other processes."""

import pytest
import torch
import torch.distributed as dist

from biot_bd.pretraining import BatchRandom, of_whole_batch


@pytest.fixture
def process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_batch_that_nobody_shares_is_handed_back():
    x = torch.randn(3, 2, requires_grad=True)
    assert of_whole_batch(x, BatchRandom(0, n=3)) is x


@pytest.mark.usefixtures("process_group")
def test_processes_that_have_other_windows_than_the_batch_are_told():
    with pytest.raises(RuntimeError, match=r"1 processes have \[3\] windows of a batch of 5"):
        of_whole_batch(torch.ones(3, 2), BatchRandom(0, n=3, n_all=5))
