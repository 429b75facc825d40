"""Counts: by hand for one layer, the papers' for whole nets, and without memory at twelve megapixels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from ispkit.core.errors import ShapeError
from ispkit.nets import cameranet, deepcamera, deepisp, nafnet, sid_unet
from ispkit.nets.count import Counts, count, picture_shape


def at_12_megapixels(net):
    return count(net, picture_shape(net, 3024, 4032))


def test_layers_by_hand():
    conv = nn.Conv2d(4, 8, 3, padding=1)
    assert count(conv, (1, 4, 10, 6)) == Counts(296, 60 * 288, 2 * 60 * 288, 2 * 60 * 288 + 60 * 8)
    grow = nn.ConvTranspose2d(4, 2, 2, 2, bias=False)
    assert count(grow, (1, 4, 5, 3)) == Counts(32, 15 * 32, 2 * 15 * 32, 2 * 15 * 32)
    linear = nn.Linear(5, 7)
    assert count(linear, (3, 5)) == Counts(42, 105, 210, 210 + 21)
    steps = nn.Sequential(nn.LeakyReLU(0.2), nn.MaxPool2d(3, 2), nn.ReLU(), nn.Tanh())
    assert count(steps, (1, 2, 9, 9)) == Counts(0, 0, 0, 2 * 162 + 9 * 2 * 16)


def test_counting_leaves_the_net_alone():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    count(net, (2, 1, 8, 8))
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert {p.device.type for p in net.parameters()} == {"cpu"}


def test_deepisp_is_cameranets_12869_gflops():
    counted = at_12_megapixels(deepisp.DeepISP())
    assert counted.flops / 1e9 == pytest.approx(12869.79, rel=2e-3)
    assert counted.profiler_flops / 1e9 == pytest.approx(12869.79, rel=1e-4)
    assert at_12_megapixels(deepisp.DeepISP(deepisp.PRESETS["released"])).flops / 1e9 == pytest.approx(13766, rel=1e-4)


def test_cameranet_is_its_3306_gflops():
    with torch.device("meta"):
        restore, enhance = cameranet.restore_net(inputs=5), cameranet.enhance_net()
    both = at_12_megapixels(restore) + at_12_megapixels(enhance)
    assert both.parameters == 26_527_928
    assert both.flops / 1e9 == pytest.approx(3306.69, rel=5e-3)
    assert both.profiler_flops / 1e9 == pytest.approx(3306.69, rel=5e-4)


def test_cameranet_without_rounding_up_its_rows():
    """3024 rows are no multiple of 32; the count is linear in them, so it is the mean of 3008 and 3040."""

    def at_3024(net, planes):
        sides = [(1, net.inputs, rows // planes, 4032 // planes) for rows in (3008, 3040)]
        return sum(count(net, side).profiler_flops for side in sides) / 2e9

    with torch.device("meta"):
        restore, enhance = cameranet.restore_net(), cameranet.enhance_net()
        wide = cameranet.CameraUNet(3, replace(enhance.shape, head=3))
    assert at_3024(restore, 2) + at_3024(enhance, 1) == pytest.approx(3288.23, rel=1e-3)  # released graph, profiled
    assert at_3024(restore, 2) + at_3024(wide, 1) == pytest.approx(3306.69, rel=1e-3)


def test_other_published_counts():
    with torch.device("meta"):
        deep_camera, sid, naf = deepcamera.DeepCamera(), sid_unet.SidUNet(), nafnet.NafNet()
    counted = at_12_megapixels(deep_camera)
    assert counted.parameters / 1e6 == pytest.approx(0.467, abs=5e-4)
    assert counted.flops / 1e9 == pytest.approx(4460.35, rel=5e-3)
    assert count(sid, (1, 4, 64, 64)).parameters == 7_760_268
    assert count(sid, (1, 4, 64, 64)).macs / 1e6 == pytest.approx(757, rel=1e-3)
    assert count(naf, (1, 4, 64, 64)).parameters / 1e6 == pytest.approx(29.16, rel=1e-3)


def test_sizes_are_rounded_up_to_what_a_net_needs():
    with torch.device("meta"):
        assert picture_shape(cameranet.restore_net(), 3024, 4032) == (1, 4, 1520, 2016)
        assert picture_shape(cameranet.enhance_net(), 3024, 4032) == (1, 3, 3040, 4032)
        with pytest.raises(ShapeError, match="nothing to count"):
            picture_shape(cameranet.enhance_net(), 0, 10)
