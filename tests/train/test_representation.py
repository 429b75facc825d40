"""Losses of DiR's first stage: closed forms, information that is ordered as it truly is, whom gradients reach."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.dir import AutoEncoder, DirNet
from ispkit.nets.dir_parts import CodeShape, DirShape
from ispkit.train.representation import (
    REPRESENTATION,
    Alignment,
    Gaussian,
    MutualInformation,
    Reference,
    _information,
    jsd_bound,
    kl_from_prior,
    kl_of,
)

SHAPE = DirShape(width=4, down=2, latent=4, features=6, before=1, after=1)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return DirNet(SHAPE)


def gaussian(seed: int, size=(3, 4, 5, 6)) -> Gaussian:
    g = torch.Generator().manual_seed(seed)
    return Gaussian(*(torch.randn(size, generator=g, dtype=torch.float64) for _ in range(2)))


def normal(p: Gaussian) -> Normal:
    return Normal(p.mean, (p.log_variance / 2).exp())


def test_kl_is_that_of_torch():
    p, q = gaussian(1), gaussian(2)
    torch.testing.assert_close(kl_of(p, q), kl_divergence(normal(p), normal(q)).mean())
    assert float(kl_of(p, p).abs()) < 1e-12
    prior = Normal(torch.zeros_like(p.mean), torch.ones_like(p.mean))
    torch.testing.assert_close(kl_from_prior(p, "posterior"), kl_divergence(normal(p), prior).mean())


def test_kl_of_the_marginal_is_that_of_its_moments():
    """A mixture's mean and variance; less than the mean KL of what is mixed, as KL is convex."""
    p = gaussian(3)
    draws = p.mean.movedim(1, 0).flatten(1)
    variance = draws.var(1, correction=0) + p.log_variance.exp().movedim(1, 0).flatten(1).mean(1)
    want = kl_divergence(Normal(draws.mean(1), variance.sqrt()), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_from_prior(p), want)
    assert kl_from_prior(p) < kl_from_prior(p, "posterior")
    sure = Gaussian(torch.randn(64, 2, 32, 32), torch.full((64, 2, 32, 32), -10.0))
    assert float(kl_from_prior(sure)) < 1e-3 < 1 < float(kl_from_prior(sure, "posterior"))


def test_moments_out_of_reach_stay_finite_and_draws_follow_them():
    p = Gaussian.of((torch.zeros(2, 1, 2, 2), torch.tensor([[1e4, -1e4], [0, 1]]).expand(2, 1, 2, 2)))
    assert bool(p.draw().isfinite().all())
    assert bool(kl_of(p, Gaussian.of((p.mean, -p.log_variance))).isfinite())
    torch.manual_seed(0)
    wide = Gaussian(torch.full((1, 1, 300, 300), 2.0), torch.full((1, 1, 300, 300), math.log(9.0)))
    drawn = wide.draw()
    assert float(drawn.mean()) == pytest.approx(2, abs=0.05)
    assert float(drawn.std()) == pytest.approx(3, abs=0.05)


def test_the_bound_is_between_nothing_and_certainty():
    f = torch.randn(100, dtype=torch.float64)
    assert float(jsd_bound(0 * f, 0 * f)) == pytest.approx(-2 * math.log(2))
    assert -1e-6 < float(jsd_bound(0 * f + 50, 0 * f - 50)) <= 0
    want = torch.sigmoid(f).log().mean() + torch.sigmoid(-f).log().mean()  # a classifier's log-likelihood
    torch.testing.assert_close(jsd_bound(f, f), want)


def estimated(correlation: float) -> float:
    """The bound over -2 ln 2 of two Gaussians, with a small critic trained for it, on fresh draws."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 1))
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)

    def bound(n: int):
        x = torch.randn(n, 1)
        y = correlation * x + math.sqrt(1 - correlation**2) * torch.randn(n, 1)
        logits = [critic(torch.cat([x, other, x * other], 1)) for other in (y, y.roll(1, 0))]
        return jsd_bound(*logits)

    for _ in range(200):
        optimizer.zero_grad()
        (-bound(512)).backward()
        optimizer.step()
    return float(bound(50_000).detach()) + 2 * math.log(2)


def true_jsd(correlation: float) -> float:
    """2 JSD(joint || product of marginals) by quadrature, what the bound reaches at best."""
    axis = torch.linspace(-6, 6, 601, dtype=torch.float64)
    x, y = axis[:, None], axis[None, :]
    rest = 1 - correlation**2
    apart = torch.exp(-(x**2 + y**2) / 2) / (2 * math.pi)
    joint = torch.exp(-(x**2 - 2 * correlation * x * y + y**2) / (2 * rest)) / (2 * math.pi * math.sqrt(rest))
    middle = (apart + joint) / 2
    terms = [torch.where(p > 0, p * (p / middle).log(), torch.zeros_like(p)) for p in (joint, apart)]
    return float(sum(t.sum() for t in terms)) * float(axis[1] - axis[0]) ** 2


def test_information_is_ordered_as_it_truly_is_and_none_of_the_independent():
    found = [estimated(c) for c in (0.0, 0.5, 0.8, 0.95)]
    assert abs(found[0]) < 0.01
    assert found == sorted(found)
    for c, value in zip((0.5, 0.8, 0.95), found[1:], strict=True):
        assert value <= true_jsd(c) + 0.02
        assert value == pytest.approx(true_jsd(c), rel=0.15)


def touched(module: nn.Module) -> bool:
    grads = [p.grad is not None and bool(p.grad.any()) for p in module.parameters()]
    assert all(grads) or not any(grads)
    return all(grads)


@pytest.mark.parametrize(
    ("make", "learning", "own"),
    [
        (MutualInformation, ("dir",), ("critic", "joint")),
        (Reference, ("dfr", "decoder"), ("critic",)),
        (Alignment, ("dir", "dfr", "align"), ()),
    ],
)
def test_gradients_reach_the_right_networks(net, make, learning, own):
    before = set(net.state_dict())
    loss = make(net)
    x, y = torch.rand(4, 3, 16, 16), torch.rand(2, 3, 16, 16).repeat_interleave(2, 0)
    value = loss(net, x, y, 2)
    assert value.shape == ()
    value.backward()
    reached = {name for name in net.stages if any(p.grad is not None for p in getattr(net, name).parameters())}
    assert reached == set(learning)
    for name in own:
        assert touched(getattr(loss, name))
    assert {name for name, _ in loss.named_children()} == set(own)  # not the net: it would be saved twice
    assert set(net.state_dict()) == before
    assert REPRESENTATION[{"M": "mutual-information", "R": "reference", "A": "alignment"}[make.__name__[0]]] is make


def test_a_loss_is_the_weighted_sum_of_its_parts(net):
    x = torch.rand(4, 3, 16, 16)
    loss = MutualInformation(net, weight_kl_views=0.5, beta=0.25)
    torch.manual_seed(3)
    parts = loss.parts(net, x, x, 2)
    torch.manual_seed(3)
    want = -parts["information"] + 0.5 * parts["kl_views"] + 0.25 * parts["kl_prior"]
    torch.testing.assert_close(loss(net, x, x, 2), want)
    other = Reference(net, beta=0.5, information=0.0)
    assert not list(other.parameters())
    torch.manual_seed(3)
    parts = other.parts(net, x, x, 1)
    torch.manual_seed(3)
    torch.testing.assert_close(other(net, x, x, 1), parts["distance"] + 0.5 * parts["kl_prior"])


def test_marginal_pairs_are_of_other_pictures():
    """To a critic that knows whose a representation is, every marginal pair must be a wrong one."""

    class Telling(nn.Module):
        def local(self, x):
            return x

        def score(self, x, r):
            return torch.where(x == r, 100.0, -100.0)

    for views in (1, 2, 3):
        pictures = torch.arange(4.0).repeat_interleave(views)[:, None, None, None]
        assert abs(float(_information(Telling(), pictures, pictures, views))) < 1e-30


def test_training_tells_what_views_share():
    """Views of a picture share its gray and not their own: means of a trained encoder follow the gray alone."""
    torch.manual_seed(0)
    net = DirNet(replace(SHAPE, width=8))
    loss = MutualInformation(net)
    optimizer = torch.optim.Adam([*net.dir.parameters(), *loss.parameters()], 3e-3)

    def views(n: int):
        gray = torch.rand(n, 1, 1, 1).repeat_interleave(2, 0)
        return (torch.cat([gray, torch.rand(2 * n, 2, 1, 1)], 1)).expand(-1, -1, 8, 8)

    for _ in range(150):
        optimizer.zero_grad()
        x = views(16)
        loss(net, x, x, 2).backward()
        optimizer.step()
    with torch.no_grad():
        base = torch.full((1, 3, 8, 8), 0.5)
        moves = []
        for channels in ([0], [1, 2]):
            low, high = base.clone(), base.clone()
            low[:, channels], high[:, channels] = 0.2, 0.8
            moves.append(float((net.dir(high)[0] - net.dir(low)[0]).abs().mean()))
    assert moves[0] > 3 * moves[1]


@torch.no_grad()
def test_alignment_is_zero_where_it_leads_there(net):
    x = torch.rand(4, 3, 16, 16)
    net.aligned = lambda r0, pilot, pooled=None: pilot
    assert float(Alignment(net)(net, x[::2].repeat_interleave(2, 0), x[::2].repeat_interleave(2, 0), 2)) == 0


def test_wrong_use_is_named(net):
    x = torch.rand(4, 3, 16, 16)
    for views, law in ((1, "views must be 2"), (3, "views must be 2")):
        with pytest.raises(ShapeError, match=law):
            MutualInformation(net)(net, x, x, views)
    with pytest.raises(ShapeError, match="whole pictures"):
        MutualInformation(net, views=3)(net, x, x, 3)
    for one in (lambda: MutualInformation(net)(net, x[:2], x[:2], 2), lambda: Reference(net)(net, x[:1], x[:1], 1)):
        with pytest.raises(ShapeError, match="at least 2"):
            one()
    Reference(net, information=0.0)(net, x[:1], x[:1], 1)
    for wrong in (
        lambda: MutualInformation(net, views=1),
        lambda: MutualInformation(net, beta=-1.0),
        lambda: Reference(net, beta=math.nan),
        lambda: Reference(net, prior="nothing"),
        lambda: Alignment(DirNet(replace(SHAPE, align="decoder"))),
        lambda: Reference(AutoEncoder(CodeShape(4, 2, 4))),
    ):
        with pytest.raises(ParamError):
            wrong()
