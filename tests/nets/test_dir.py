"""DiR: sizes of the paper, the cosine transform, what each stage may touch, kernels of the pilot, tiles, ONNX."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from conftest import make_frame
from ispkit.core.errors import ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.isp.learned import catalog
from ispkit.isp.learned.tiles import Execution
from ispkit.nets.count import count, picture_shape
from ispkit.nets.dir import CODE_PRESETS, PRESETS, AutoEncoder, DirNet
from ispkit.nets.dir_critics import Critic, JointEncoder
from ispkit.nets.dir_parts import CodeShape, DirShape, Encoder, Guided, cosines, reach
from ispkit.nets.picture_net import PictureNet

TINY = DirShape(width=4, down=2, latent=4, features=6, before=1, after=1)
RGB = {
    "dir": {"width": 4, "latent": 4, "features": 6},
    "auto-encoder": {"width": 4, "latent": 4},
    "nafnet-rgb": {"width": 4, "down": [1], "middle": 1, "up": [1]},
    "unet-rgb": {"channels": [4, 4, 6]},
}


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_encoder_of_pix2pix_after_four_halvings():
    encoder = Encoder(PRESETS["paper"])
    layers = [(3, 64), (64, 128), (128, 256), (256, 512)]
    assert parameters(encoder) == sum(16 * i * o + o for i, o in layers) == 2_756_544
    mean, log_variance = encoder(torch.rand(1, 3, 64, 32))
    assert mean.shape == log_variance.shape == (1, 256, 4, 2)


def test_presets_have_one_number_a_pixel_and_small_is_small():
    for shape in PRESETS.values():
        assert shape.latent == shape.cell**2
        assert (shape.before, shape.guided, shape.after) == (4, 2, 4)
    net = DirNet(PRESETS["small"])
    assert parameters(net) < 0.6e6
    alone = DirNet(replace(PRESETS["small"], align="alone"))
    assert parameters(alone.align) == pytest.approx(parameters(net.align), rel=0.2)
    assert parameters(AutoEncoder(CODE_PRESETS["small"])) == parameters(net.dfr) + parameters(net.decoder)


@pytest.mark.parametrize(("cell", "latent"), [(2, 12), (4, 48), (8, 192)])
def test_all_cosines_give_the_pixels_back(cell, latent):
    to, back = (m.double() for m in cosines(cell, latent))
    torch.testing.assert_close(back @ to, torch.eye(latent, dtype=torch.float64), atol=1e-5, rtol=0)
    rows = F.normalize(to, dim=1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(latent, dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_linear_code_starts_near_the_picture():
    torch.manual_seed(0)
    net = AutoEncoder(CodeShape(width=8, down=2, latent=16, linear=True))
    x = F.interpolate(torch.rand(1, 3, 6, 6), (48, 48), mode="bicubic").clamp(0, 1)
    assert (net(x) - x).square().mean() < 0.05 * x.var()
    flat = torch.full((1, 3, 16, 16), 0.3)
    assert (net.encoder(flat)[0][:, 1:].std((2, 3)) < 1e-5).all()  # the same in every cell
    with pytest.raises(ParamError, match="at most the 12 values"):
        CodeShape(down=1, latent=13, linear=True)


def test_variants_have_the_same_first_stage():
    torch.manual_seed(0)
    net = DirNet(TINY)
    first = {k for k in net.state_dict() if not k.startswith("align.")}
    for align in ("alone", "decoder"):
        other = DirNet(replace(TINY, align=align))
        missing = other.load_state_dict(net.state_dict(), strict=False).missing_keys
        assert all(k.startswith("align.") for k in missing)
        assert {k for k in other.state_dict() if not k.startswith("align.")} == first
        assert other.pool_stride == 0
    assert set(DirNet.stages) == {name for name, _ in net.named_children()}
    assert set(AutoEncoder.stages) == {name for name, _ in AutoEncoder().named_children()}
    assert PictureNet.stages == ()


@pytest.mark.parametrize("align", ["pilot", "alone", "decoder"])
def test_in_use_it_is_its_steps(align):
    torch.manual_seed(1)
    net, x = DirNet(replace(TINY, align=align)), torch.rand(2, 3, 16, 24)
    r0, pilot = net.represent(x)
    assert r0.shape == pilot.shape == (2, 4, 4, 6)
    refined = net.aligned(r0, pilot)
    assert torch.equal(net.decoded(refined), net(x))
    assert (align == "decoder") == torch.equal(refined, r0)
    if align != "pilot":
        with pytest.raises(ParamError, match="averages nothing"):
            net.pool(x)
    other = net.aligned(r0, pilot.roll(1, 0))
    assert (align == "pilot") != torch.equal(other, refined)


def test_only_the_alignment_learns_where_the_rest_is_frozen():
    net = DirNet(TINY).requires_grad_(False)
    net.align.requires_grad_(True)
    net(torch.rand(1, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in net.align.parameters())
    r0, pilot = net.represent(torch.rand(1, 3, 16, 16))
    assert not r0.requires_grad
    assert not pilot.requires_grad


@pytest.mark.parametrize("attended", ["pilot", "features"])
def test_a_guided_layer_is_a_depthwise_convolution_with_the_kernels_of_the_pilot(attended):
    torch.manual_seed(2)
    layer = Guided(4, 6, attended).double()
    x, pilot = torch.rand(2, 6, 5, 7, dtype=torch.float64), torch.randn(2, 4, 5, 7, dtype=torch.float64)
    look = layer.look(pilot)
    mean = look.mean((2, 3))
    out = layer(x, pilot, look, mean)
    for i in range(2):
        kernels = layer.say(mean[i]).reshape(6, 1, 3, 3)
        padded = F.pad(x[i : i + 1], (1, 1, 1, 1), mode="reflect")
        weighed = (look if attended == "pilot" else x)[i : i + 1]
        want = F.conv2d(padded, kernels, groups=6) + weighed * layer.attend(pilot[i : i + 1]).sigmoid()
        torch.testing.assert_close(out[i : i + 1], want)


def test_a_halo_is_no_larger_than_needed():
    """What a pixel depends on, by its gradient."""
    for shape in (replace(TINY, down=1), TINY, replace(TINY, down=3, align="alone")):
        torch.manual_seed(0)
        net = DirNet(shape)
        side = 2 * net.halo // net.multiple * net.multiple + 4 * net.multiple
        x = torch.rand(1, 3, side, side, requires_grad=True)
        pooled = (net.pool(x).mean((2, 3)).detach(),) if net.pool_stride else ()
        seen = 0
        for phase in range(net.multiple):
            at = side // 2 // net.multiple * net.multiple + phase
            (slope,) = torch.autograd.grad(net(x, *pooled)[0, :, at, at].sum(), x)
            rows = slope[0].abs().sum((0, 2)).nonzero().flatten()
            seen = max(seen, at - int(rows[0]), int(rows[-1]) - at)
        # ReLUs may hide the farthest pixels
        assert net.halo - net.multiple <= seen <= net.halo


def test_the_reach_without_layers_between():
    assert reach(CodeShape(down=1), 0) == 3
    assert reach(CodeShape(down=1), 1) == 5


def test_critics_have_the_shapes_of_the_representation():
    shape, x = PRESETS["small"], torch.rand(4, 3, 32, 48)
    size = (32 // shape.cell, 48 // shape.cell)
    mean, log_variance = JointEncoder(shape, 2)(x)
    assert mean.shape == log_variance.shape == (2, shape.latent, *size)
    assert Critic(shape)(x[:2], mean).shape == (2, 1, *size)


@pytest.mark.parametrize("name", RGB)
def test_restoring_isps_read_and_write_finished_pictures_in_tiles(name):
    torch.manual_seed(0)
    isp = catalog.build(name, preset="small", **RGB[name]).eval().requires_grad_(False).double()
    assert isp.reads is isp.writes is Domain.DISPLAY_RGB
    net = isp.named_parts["isp"].net
    for p in net.parameters():
        p.data += 0.05 * torch.randn(p.shape, dtype=p.dtype)
    frame = make_frame(Domain.DISPLAY_RGB, (37, 411), batch=1).to(torch.float64)
    whole = isp.render(frame, Execution(tile="whole")).data
    assert whole.shape == (1, 3, 37, 411)
    torch.testing.assert_close(isp.render(frame, Execution(tile=48)).data, whole, atol=1e-9, rtol=0)
    assert count(net, picture_shape(net, 37, 411)).macs > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dir", "unet-rgb"])
def test_restoring_isps_are_exported(name, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from ispkit.isp.learned.onnx_export import export_onnx

    torch.manual_seed(0)
    fewer = {"before": 1, "guided": 1, "after": 1} if name == "dir" else {}
    isp = catalog.build(name, preset="small", **RGB[name], **fewer).eval()
    told = export_onnx(tmp_path / "net.onnx", isp)
    assert (told.channels, told.writes) == (3, "display_rgb")
    assert told.least <= 8 * told.multiple


def test_options_are_told_and_checked():
    told = catalog.options_of("dir")
    assert (told["preset"], told["align"], told["before"]) == ("paper|small", "pilot", "4")
    assert "features" not in catalog.options_of("auto-encoder")
    with pytest.raises(ParamError, match="align='pilots'"):
        catalog.build("dir", align="pilots")
    with pytest.raises(ShapeError, match="multiples of"):
        DirNet(TINY)(torch.rand(1, 3, 15, 16))
