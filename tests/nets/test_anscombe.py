"""Anscombe networks: published counts, the transform around the prior, tiles, ablations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.anscombe import PRESETS, AnscombeNet, AnscombeShape, PriorUNet
from ispkit.nets.count import count
from ispkit.ops import anscombe
from ispkit.ops.cfa import cfa_masks
from ispkit.ops.prox import Blur

SMALL = AnscombeShape(width=2)
SHAPES = {
    "released": SMALL,
    "paper": replace(SMALL, first="stride", noise_channel="variance", iterations=2),
    "four": replace(SMALL, iterations=4),
    "exact": replace(SMALL, inverse="exact"),
    "plain unrolled": replace(SMALL, stabilize=False, iterations=2),
    "by noise": replace(SMALL, fidelity="noise"),
    "no normalization": replace(SMALL, norm=False),
    "no projection": replace(SMALL, project=False),
    "u-net": replace(SMALL, stabilize=False, project=False),
    "deblur": replace(SMALL, deblur=True, kernel=5, steps=3),
    "deblur linear": replace(SMALL, deblur=True, kernel=3, steps=2, stabilize=False, iterations=2),
}


def planes(size=(32, 40), batch=2, cfa="BGGR", seed=0, dtype=torch.float32):
    """What an adapter gives, with noise that differs by color."""
    g = torch.Generator().manual_seed(seed)
    mosaic = torch.rand(batch, 1, *size, generator=g, dtype=dtype)
    masks = cfa_masks(size, cfa, mosaic).expand(batch, -1, -1, -1)
    laws = [mosaic.new_tensor(v).reshape(1, 3, 1, 1) for v in ((0.1, 0.06, 0.08), (0.02, 0.01, 0.015))]
    shot, read = ((masks * law).sum(1, keepdim=True) for law in laws)
    stable = anscombe.forward(mosaic, shot, read)
    low = torch.zeros_like(stable)
    return torch.cat([mosaic, masks, shot, read, low, stable.amax((-2, -1), True).expand_as(stable)], 1)


def made(name, seed=0):
    """In evaluation mode, away from first weights and statistics that are zero or one on purpose."""
    torch.manual_seed(seed)
    net = AnscombeNet(SHAPES[name]).double()
    for p in net.parameters():
        p.data += 0.05 * torch.randn(p.shape)
    net.train()
    with torch.no_grad():
        net(planes((64, 64), dtype=torch.float64))
    return net.eval()


@pytest.fixture(params=SHAPES)
def net(request):
    return made(request.param)


def test_counts_of_the_released_code():
    released = AnscombeNet(PRESETS["released"])
    own = [sum(p.numel() for p in part.parameters()) for part in released.priors]
    assert own == [47_659]
    counted = count(released, (1, 8, 128, 128))
    assert counted.parameters == 47_659 + 2
    assert round(counted.macs / 1e6, 2) == 116.26
    assert count(AnscombeNet(replace(PRESETS["released"], project=False)), (1, 8, 128, 128)).parameters == 47_659


def test_counts_of_the_other_presets():
    assert count(AnscombeNet(PRESETS["paper"]), (1, 8, 128, 128)).parameters == 47_659 + 8 * 8 * 4 + 8 + 2
    assert 0.1e6 < count(AnscombeNet(PRESETS["small"]), (1, 8, 128, 128)).parameters < 0.3e6


def test_scalars_begin_as_in_the_released_code():
    net = AnscombeNet(replace(SMALL, iterations=3))
    assert float(net.log_fidelity.detach().exp()) == 1
    torch.testing.assert_close(net.log_pull.detach().exp(), torch.tensor([2.0, 4.0, 8.0]))


@pytest.mark.parametrize("name", ["released", "paper", "exact", "deblur"])
def test_with_a_silent_prior_measured_light_comes_back(name):
    """x_0 is the masked mosaic; without a prior projections leave it, and the inverse undoes the transform."""
    net = AnscombeNet(replace(SHAPES[name], deblur=False)).double().eval()
    for prior in net.priors:
        prior.last.weight.data.zero_()
    x = planes(dtype=torch.float64)
    mosaic, masks, shot, read = x[:, :1], x[:, 1:4], x[:, 4:5], x[:, 5:6]
    stable = anscombe.forward(mosaic, shot, read)
    want = anscombe.inverse_unbiased(stable, shot, read) if name == "exact" else mosaic + shot / 4
    got = (net(x) * masks).sum(1, keepdim=True)
    torch.testing.assert_close(got, want)


def test_light_of_missing_colors_has_the_noise_of_its_own_photosites():
    """A prior that makes every color equal to one stabilized value: each color is undone with its own law."""
    net = AnscombeNet(replace(SMALL, project=False)).double().eval()
    for p in net.parameters():
        p.data.zero_()
    x = planes(dtype=torch.float64, cfa="GRBG")
    x[:, 1:4] *= x[:, :1] * 0 + 1  # masks as they are
    net.priors[0].last.bias.data.fill_(-0.5)  # v = x_0 + 0.5
    x[:, :1] = 0  # so x_0 = 0
    out = net(x)
    for c, (shot, read) in enumerate(((0.1, 0.02), (0.06, 0.01), (0.08, 0.015))):
        s, o = (torch.tensor(v, dtype=torch.float64) for v in (shot, read))
        want = anscombe.inverse_algebraic(0.5 * x[:, 7], s, o) + s / 4
        torch.testing.assert_close(out[:, c], want)


@torch.no_grad()
@pytest.mark.parametrize("across", [False, True])
def test_a_tile_with_its_halo_is_the_whole_picture(net, across):
    step = net.multiple
    start = (-(-net.halo // step) + 1) * step
    stop = start + 2 * step
    side = -(-(stop + net.halo + step + 1) // step) * step
    low, high = (start - net.halo) // step * step, min(side, -(-(stop + net.halo) // step) * step)
    x = planes((24, side), batch=1, dtype=torch.float64)
    x, dim = (x.mT.contiguous(), -2) if across else (x, -1)
    want = net(x).narrow(dim, start, stop - start)
    got = net(x.narrow(dim, low, high - low)).narrow(dim, start - low, stop - start)
    assert torch.allclose(got, want, atol=1e-11)
    assert not torch.allclose(net(x.narrow(dim, start, stop - start)), want, atol=1e-6)


def test_the_halo_of_one_prior_is_not_wider_than_needed():
    """The farthest pixel that an output pixel depends on lies at most 3 px, the slack of cells, inside the halo."""
    torch.manual_seed(0)
    for first, margin in (("dilation", 3), ("stride", 7)):
        prior = PriorUNet(4, 2, first).double().eval()
        for p in prior.parameters():
            p.data.abs_()
        x = torch.rand(1, 4, 8, 256, dtype=torch.float64, requires_grad=True)
        reached = []
        for at in range(128, 128 + prior.multiple):
            (slope,) = torch.autograd.grad(prior(x)[..., at].sum(), x)
            used = slope[0].sum((0, 1)).nonzero().flatten()
            reached.append(max(at - int(used[0]), int(used[-1]) - at))
        assert prior.halo - margin <= max(reached) <= prior.halo


def test_gradients_reach_every_parameter(net):
    net.train()
    net(planes(dtype=torch.float64)).square().sum().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_pictures_of_a_batch_do_not_meet(net):
    x = planes(dtype=torch.float64)
    assert torch.allclose(net(x)[1:], net(x[1:]), atol=1e-10)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_start_in_range_and_learn_a_crop(preset):
    torch.manual_seed(1)
    net = AnscombeNet(PRESETS[preset])
    x = planes((32, 32))
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 4, 4), (32, 32), mode="bicubic").clamp(0, 1)
    x[:, :1] = (smooth * x[:, 1:4]).sum(1, keepdim=True)
    assert net(x).abs().mean() < 2
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (net(x) - smooth).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses) < 0.6 * losses[0]


@torch.no_grad()
@pytest.mark.parametrize("stabilize", [False, True])
def test_a_lens_that_is_known_is_undone(stabilize):
    """With a silent prior: seen through the lens, the picture with deblurring is much nearer to what was measured."""
    shape = replace(SMALL, deblur=True, kernel=7, blur_px=1.2, steps=30, stabilize=stabilize)
    sharp = torch.rand(1, 1, 10, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    sharp = torch.nn.functional.interpolate(sharp, (40, 40)).expand(-1, 3, -1, -1)
    x, gaps = planes((40, 40), batch=1, dtype=torch.float64), []
    for deblur in (False, True):
        net = AnscombeNet(replace(shape, deblur=deblur)).double().eval()
        net.log_pull.fill_(-4.0)
        net.priors[0].last.weight.zero_()
        if deblur:
            row = net.kernels[0].sum(0)
            torch.testing.assert_close(net.kernels, torch.outer(row, row).expand(3, -1, -1))
        blur = Blur(AnscombeNet(shape).kernels.double())
        x[:, :1] = (blur.see(sharp) * x[:, 1:4]).sum(1, keepdim=True)
        bias = x[:, 4:5] / 4 if stabilize else 0.0
        gap = (blur.see(net(x) - bias) * x[:, 1:4]).sum(1, keepdim=True) - x[:, :1]
        gaps.append(float(gap[..., 6:-6, 6:-6].abs().mean()))
    assert gaps[1] < 0.1 * gaps[0]


def test_kernels_are_set_and_checked():
    net = AnscombeNet(replace(SMALL, deblur=True, kernel=3))
    net.set_kernels(2 * torch.ones(1, 3, 3))
    torch.testing.assert_close(net.kernels, torch.full((3, 3, 3), 1 / 9))
    for wrong, law in ((torch.ones(3, 5, 5), "do not fit"), (-torch.ones(3, 3, 3), "negative")):
        with pytest.raises(ParamError, match=law):
            net.set_kernels(wrong)
    with pytest.raises(ParamError, match="deblur=true"):
        AnscombeNet(SMALL).set_kernels(torch.ones(1, 9, 9))


@pytest.mark.parametrize(
    "wrong", [{"iterations": 0}, {"width": 0}, {"kernel": 4}, {"blur_px": 0.0}, {"deblur": True, "project": False}]
)
def test_shapes_that_make_no_net_are_named(wrong):
    with pytest.raises(ParamError, match="AnscombeNet"):
        AnscombeShape(**wrong)


def test_wrong_planes_are_named(net):
    with pytest.raises(ShapeError, match="must be"):
        net(torch.rand(1, 7, 32, 32, dtype=torch.float64))
    with pytest.raises(ShapeError, match=f"multiples of {net.multiple}"):
        net(torch.rand(1, 8, 32, 34, dtype=torch.float64))
