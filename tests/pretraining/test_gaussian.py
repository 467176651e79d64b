"""The divergence of a Gaussian from the standard normal one."""

import torch
from torch.distributions import Normal, kl_divergence

from biot_bd.pretraining.gaussian import kl_to_standard_normal


def some(n=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, generator=generator, dtype=torch.float64) * 2 for _ in range(2)]


def test_it_equals_torchs():
    mean, log_variance = some()
    theirs = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), theirs, rtol=1e-12, atol=1e-12)


def test_it_is_the_mean_of_a_log_ratio_over_samples():
    mean, log_variance = torch.tensor([0.7, -1.2]).double(), torch.tensor([-1.0, 0.5]).double()
    torch.manual_seed(0)
    q, p = Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(2).double(), 1.0)
    z = q.sample((200_000,))
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std(0) / len(z) ** 0.5
    assert ((ratio.mean(0) - kl_to_standard_normal(mean, log_variance)).abs() < 4 * error).all()


def test_it_is_zero_for_the_standard_normal_alone_and_its_slope_too():
    mean, log_variance = (torch.zeros(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    kl = kl_to_standard_normal(mean, log_variance).sum()
    assert kl == 0
    assert all((slope == 0).all() for slope in torch.autograd.grad(kl, (mean, log_variance)))
    assert (kl_to_standard_normal(*some()) > 0).all()
