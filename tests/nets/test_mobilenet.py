"""MobileNets: counts as published, padding as TensorFlow's, weights with folded norms put back."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets.count import count
from ispkit.nets.deeplab import DeepLabV3
from ispkit.nets.folded import Folded, fill_folded, settle_norms, weighted
from ispkit.nets.mobilenet import InvertedResidual, MobileNetV1, MobileNetV2, SameConv


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("net", "published"),
    [
        (lambda: MobileNetV1(1001), 4_233_001),  # Diamond 2021, table of the joint network: 4.23 M
        (lambda: MobileNetV1(1000), 4_231_976),  # these five: trainable parameters of keras.applications
        (lambda: MobileNetV1(1000, width=0.75), 2_585_560),
        (lambda: MobileNetV1(1000, width=0.5), 1_331_592),
        (lambda: MobileNetV1(1000, width=0.25), 470_072),
        (lambda: MobileNetV2(1000), 3_504_872),
    ],
)
def test_parameters_are_the_published_ones(net, published):
    with torch.device("meta"):
        assert parameters(net()) == published


def test_operations_are_the_published_ones():
    with torch.device("meta"):
        first, second = MobileNetV1(1001), MobileNetV2(1001)
    macs = count(first, (1, 3, 128, 128)).macs
    filters = [m for m in first.modules() if isinstance(m, SameConv) and m.groups > 1]
    sides = [64, 32, 32, 16, 16, 8, 8, 8, 8, 8, 8, 4, 4]
    alone = sum(9 * m.groups * side**2 for m, side in zip(filters, sides, strict=True))
    assert macs == pytest.approx(186.40e6, abs=5e3)
    assert macs - alone == pytest.approx(180.72e6, abs=5e3)  # the paper's 181 M leave depthwise filters out
    assert count(second, (1, 3, 224, 224)).macs == pytest.approx(300e6, rel=5e-3)  # Sandler 2018, table 4


@settings(max_examples=30, deadline=None)
@given(
    side=st.integers(1, 20),
    size=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    rate=st.sampled_from([1, 2]),
)
def test_padding_is_tensorflows(side, size, stride, rate):
    """Its rule, by pixel: output i is centered where the padding, the smaller half first, puts it."""
    conv = SameConv(1, 1, size, stride=stride, rate=rate)
    x = torch.rand(1, 1, side, side + 1, generator=torch.Generator().manual_seed(side))
    found = conv(x)
    assert tuple(found.shape[-2:]) == (-(-side // stride), -(-(side + 1) // stride))
    wide = F.pad(x, (50,) * 4)
    reach = (size - 1) * rate
    before = [max((-(-n // stride) - 1) * stride + reach + 1 - n, 0) // 2 for n in (side, side + 1)]
    start = [50 - b for b in before]
    window = wide[..., start[0] :, start[1] :]
    plain = F.conv2d(window, conv.weight, stride=stride, dilation=rate)
    torch.testing.assert_close(found, plain[..., : found.shape[-2], : found.shape[-1]])


def test_small_pictures_and_narrow_nets():
    for make in (MobileNetV1, MobileNetV2):
        net = make(10, width=0.25, stem_stride=1).eval()
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
        assert net.features(torch.zeros(1, 3, 32, 32)).shape[-2:] == (2, 2)
        assert net(torch.zeros(1, 3, 37, 21)).shape == (1, 10)
    with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
        net(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ParamError, match="stem_stride=4"):
        MobileNetV1(stem_stride=4)
    with pytest.raises(ParamError, match="width=0"):
        MobileNetV2(width=0)


def test_a_residual_is_added_where_shapes_allow():
    block = InvertedResidual(8, 8).eval()
    x = torch.rand(1, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), x + block.body(x))
    assert not InvertedResidual(8, 8, stride=2).adds
    assert not InvertedResidual(8, 16).adds


def test_deeplab_has_a_logit_every_sixteen_pixels():
    net = DeepLabV3(21, width=0.5).eval()
    assert net(torch.zeros(1, 3, 65, 97)).shape == (1, 21, 5, 7)
    assert {m.dilation for m in net.modules() if isinstance(m, SameConv)} == {(1, 1), (2, 2)}


def random_norms(net, seed=0):
    g = torch.Generator().manual_seed(seed)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.copy_(torch.randn(m.num_features, generator=g) * 0.1)
            m.running_var.copy_(torch.rand(m.num_features, generator=g) + 0.5)
            m.weight.data.copy_(torch.rand(m.num_features, generator=g) + 0.5)
            m.bias.data.copy_(torch.randn(m.num_features, generator=g) * 0.1)
    return net.eval()


def folded(net):
    """What an inference program stores, by the definition of batch norm."""
    found = []
    modules = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    for layer, norm in zip(modules, [*modules[1:], None], strict=True):
        if isinstance(layer, nn.BatchNorm2d):
            continue
        if isinstance(norm, nn.BatchNorm2d):
            slope = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight = layer.weight * slope[:, None, None, None]
            found.append(Folded("layer", weight, norm.bias - norm.running_mean * slope))
        else:
            found.append(Folded("last", layer.weight[..., None, None], layer.bias))
    return found


@pytest.mark.parametrize("make", [MobileNetV1, MobileNetV2])
def test_folded_weights_compute_the_same(make):
    torch.manual_seed(0)
    net, other = random_norms(make(7, width=0.25).double()), make(7, width=0.25).double().eval()
    with torch.no_grad():
        fill_folded(other, folded(net))
        x = torch.randn(2, 3, 40, 40, dtype=torch.float64)
        torch.testing.assert_close(other(x), net(x))


def test_weights_that_do_not_fit_change_nothing():
    net = MobileNetV1(7, width=0.25)
    layers, before = folded(net), {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(ShapeError, match=r"27 layers .* network of 28"):
        fill_folded(net, layers[:-1])
    with pytest.raises(ShapeError, match="layer 'last'"):
        fill_folded(net, [*layers[:-1], Folded("last", layers[-1].weight[:3], layers[-1].bias[:3])])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert weighted(net)[-1] is net.logits


def test_settled_norms_keep_what_is_computed_and_make_training_start_there():
    torch.manual_seed(1)
    net = MobileNetV1(7, width=0.25, dropout=0.0).double().eval()
    fill_folded(net, folded(random_norms(MobileNetV1(7, width=0.25).double())))
    x = torch.rand(16, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = net(x)
        settle_norms(net, [x[:8], x[8:]])
        torch.testing.assert_close(net(x), before)
        assert not net.training
        torch.testing.assert_close(net.train()(x), before, rtol=1e-3, atol=1e-4)
    with pytest.raises(ShapeError, match="at least one batch"):
        settle_norms(net, [])
