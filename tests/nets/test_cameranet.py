"""CameraNet: the published count, what its levels do, its variants."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ispkit.nets.cameranet import (
    ENHANCE_PRESETS,
    CameraUNet,
    CameraUNetShape,
    block_sizes,
    enhance_net,
    one_stage_net,
    restore_net,
    three_stage_nets,
)


def parameters(*nets):
    return sum(p.numel() for net in nets for p in net.parameters())


def test_counts_are_the_published_ones():
    with torch.device("meta"):
        assert parameters(restore_net(), enhance_net()) == 26_527_640
        assert parameters(restore_net(inputs=5), enhance_net()) == 26_527_928  # 26.53 million, with the noise map
        assert parameters(restore_net("released")) == parameters(restore_net()) - (512 * 1024 + 1024**2 + 2048)


def test_variants_have_about_as_many_parameters():
    with torch.device("meta"):
        for preset in ("paper", "small"):
            two = parameters(restore_net(preset), enhance_net(preset))
            assert abs(parameters(one_stage_net(preset)) / two - 1) < 0.1
            assert abs(parameters(*three_stage_nets(preset)) / two - 1) < 0.1


def test_enhancement_alone_is_dilated_and_residual():
    net = CameraUNet(3, replace(ENHANCE_PRESETS["paper"], channels=(2,) * 5))
    rates = [[c.dilation[0] for block in level.blocks for c in block] for level in net.down]
    assert rates == [[1, 1, 1], [1, 2, 2], [1, 2, 2], [1, 4, 4], [1, 8, 1]]
    assert [[c.dilation[0] for block in level.blocks for c in block] for level in net.up] == [
        [1, 1, 1],
        [1, 2, 1],
        [1, 2, 1],
        [1, 4, 1],
    ]
    plain = CameraUNet(4, CameraUNetShape(channels=(2,) * 5))
    assert {m.dilation for m in plain.modules() if isinstance(m, torch.nn.Conv2d)} == {(1, 1)}
    assert all(level.residual for level in net.down)
    assert not any(level.residual for level in plain.down)


def test_blocks_hold_three_convolutions_or_fewer():
    assert [block_sizes(n) for n in range(2, 8)] == [[2], [3], [2, 2], [3, 2], [3, 3], [3, 2, 2]]


def test_a_net_of_two_levels_by_hand():
    """One channel and 1x1 weights: the forward pass in numbers, TensorFlow's SAME maximum and the slope among them."""
    net = CameraUNet(4, CameraUNetShape(channels=(1, 1), rates=(1, 1), pooled=False)).double()
    for weight in net.parameters():
        torch.nn.init.zeros_(weight)
    with torch.no_grad():
        for level in (*net.down, *net.up):
            for conv in level.blocks[0]:
                conv.weight[:, :, 1, 1] = 1
        net.down[0].blocks[0][0].weight[:, 1:] = 0
        net.up[0].blocks[0][0].weight[:, 0] = 0  # what comes from below alone
        net.grow[0].weight.fill_(1)
        net.head.weight.fill_(1)
    x = torch.zeros(1, 4, 6, 4, dtype=torch.float64)
    x[0, 0] = torch.arange(24.0).reshape(6, 4).flip(0) - 12
    found = net(x).detach()[0, 0, ::2, ::2]

    def leaky(v, times):
        return v if v >= 0 else v * 0.2**times

    plane = [[leaky(float(v), 3) for v in row] for row in x[0, 0]]
    for y in range(6):
        for column in range(4):
            i, j = y // 2 * 2, column // 2 * 2
            largest = max(plane[a][b] for a in range(i, min(i + 3, 6)) for b in range(j, min(j + 3, 4)))
            # three activations below, two on the way up: none after the last level
            assert float(found[y, column]) == pytest.approx(leaky(largest, 5), rel=1e-12, abs=1e-15)


def test_the_global_block_scales_and_shifts_the_lowest_level():
    torch.manual_seed(0)
    net = CameraUNet(4, CameraUNetShape(channels=(4, 4, 4), rates=(1, 1, 1)))
    x = torch.rand(1, 4, 16, 16)
    mean = net.pool(x).mean((-2, -1))
    assert torch.allclose(net(x), net(x, mean), atol=1e-6)
    assert not torch.allclose(net(x), net(x, 100 * mean), atol=1e-3)
    scale, shift = net.world(mean).chunk(2, -1)
    assert torch.allclose(scale, torch.ones_like(scale), atol=0.1)
    assert torch.allclose(shift, torch.zeros_like(shift), atol=0.1)


def test_released_transposed_convolutions_start_near_zero():
    """Drawn from a normal of 0.001, cut at twice that as TensorFlow's truncated_normal does."""
    torch.manual_seed(0)
    weights = torch.cat([p.detach().flatten() for p in enhance_net("released", channels=(32,) * 5).grow.parameters()])
    assert 0.00195 < float(weights.abs().max()) <= 0.002
    assert float(weights.std()) == pytest.approx(0.8796e-3, rel=0.02)  # of a normal cut at two standard deviations
