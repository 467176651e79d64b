"""What every example in a docstring finds.

An empty folder of its own, the same random numbers, a quiet MNE.
"""

import random

import pytest


@pytest.fixture(autouse=True)
def _example_surroundings(request, monkeypatch, tmp_path_factory):
    """Set an example's surroundings; tests are left alone.

    Progress goes to stderr, which doctest does not read.
    """
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    import mne
    import numpy as np
    import torch

    from biot_bd import registry

    monkeypatch.chdir(tmp_path_factory.mktemp("example"))
    plugins = {plugin["name"] for plugin in registry.list_plugins()}
    threads = torch.get_num_threads()
    random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with mne.utils.use_log_level("ERROR"), np.printoptions(precision=4, suppress=True):
        yield
    torch.set_num_threads(threads)
    registry._forget_plugins({plugin["name"] for plugin in registry.list_plugins()} - plugins)
