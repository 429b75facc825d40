"""The U-Net of the proxy: the paper's size, its wiring, its domain."""

import pytest
import torch

from ispkit.core.errors import ShapeError
from ispkit.nets.unet import ProxyUNet, named_channels


def count(net: ProxyUNet) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("knobs", "pixels", "millions"), [(5, 3, 7.805), (32, 3, 8.046), (32, 4, 8.046)])
def test_size_is_the_papers(knobs, pixels, millions):
    assert round(count(ProxyUNet(knobs, pixels=pixels, channels="paper")) / 1e6, 3) == millions


@pytest.mark.parametrize(("pixels", "scale"), [(3, 1), (4, 2)])
def test_an_untrained_net_is_the_identity_and_gives_the_right_size(pixels, scale):
    net = ProxyUNet(2, pixels=pixels, channels=(4, 6, 8))
    x = torch.full((1, pixels, 8, 12), 0.25)
    out = net(x, torch.rand(3, 2))
    assert out.shape == (3, 3, 8 * scale, 12 * scale)
    assert torch.equal(out, torch.full_like(out, 0.25))


def test_settings_enter_every_level():
    net = ProxyUNet(5, channels=(4, 6, 8))
    widths = [block[0].in_channels for block in net.down]
    assert widths == [3 + 5, 4 + 5, 6 + 5]
    assert [block[0].in_channels for block in net.up] == [12, 8]  # none on the way up


def test_gradcheck_of_the_settings_through_a_whole_net():
    torch.manual_seed(0)
    net = ProxyUNet(2, channels=(3, 4), residual=False).double()
    x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    u = torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: net(x, u), (u,))


def test_wrong_shapes_are_named():
    net = ProxyUNet(2, channels=(4, 6, 8))
    with pytest.raises(ShapeError, match="multiples of 4"):
        net(torch.rand(1, 3, 6, 8), torch.rand(1, 2))
    with pytest.raises(ShapeError, match=r"\(B, 2\)"):
        net(torch.rand(1, 3, 8, 8), torch.rand(1, 3))
    with pytest.raises(ShapeError, match="3 settings do not fit 2"):
        net(torch.rand(2, 3, 8, 8), torch.rand(3, 2))
    with pytest.raises(ShapeError, match="paper"):
        named_channels("papper")
