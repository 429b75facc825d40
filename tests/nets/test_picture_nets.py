"""What holds for every network of pictures: sizes, tiles, gradients, seeds, errors."""

from __future__ import annotations

from dataclasses import replace
from math import lcm

import pytest
import torch

from ispkit.core.errors import ParamError, ShapeError
from ispkit.nets import cameranet, can24, deepcamera, deepisp, l3, nafnet, picture_unet, sid_unet, srgan
from ispkit.nets import dir as dir_net
from ispkit.nets.chain import ChainNet
from ispkit.nets.layers import chosen

DEEP = deepisp.DeepISPShape(depth=3, width=8, high=2)
RELEASED = replace(deepisp.PRESETS["released"], depth=3, width=8, high=2)
FLAT = cameranet.CameraUNetShape(channels=(4, 4, 4), rates=(1, 1, 1))
DILATED = cameranet.CameraUNetShape(channels=(4, 4, 4), rates=(1, 2, 4), residual=True)
SID = sid_unet.SidUNetShape(channels=(4, 4, 4))
NAF = nafnet.NafShape(width=4, down=(1, 2), middle=1, up=(2, 1), radius=2)
CODE = dir_net.CodeShape(width=4, down=2, latent=4)
DIR = dir_net.DirShape(width=4, down=2, latent=4, features=6, before=2, guided=2, after=1)

# the same code as the presets, small enough for tiles in float64
NETS = {
    "deepisp": lambda: deepisp.DeepISP(DEEP),
    "deepisp released": lambda: deepisp.DeepISP(RELEASED),
    "deepisp no skips": lambda: deepisp.DeepISP(replace(DEEP, skips=False)),
    "deepisp not shared": lambda: deepisp.DeepISP(replace(DEEP, shared=False)),
    "deepisp-ll": lambda: deepisp.DeepISP(replace(DEEP, low_only=True)),
    "deepisp-ll released": lambda: deepisp.DeepISP(replace(DEEP, low_only=True, pad_once=True)),
    "restore": lambda: cameranet.CameraUNet(4, FLAT),
    "restore noise map": lambda: cameranet.CameraUNet(5, replace(FLAT, convs=2)),
    "restore no pool": lambda: cameranet.CameraUNet(4, replace(FLAT, pooled=False, head=3)),
    "enhance": lambda: cameranet.CameraUNet(3, DILATED),
    "one stage": lambda: cameranet.CameraUNet(4, replace(DILATED, convs=6)),
    "sid": lambda: sid_unet.SidUNet(5, SID),
    "sid released": lambda: sid_unet.SidUNet(4, replace(SID, edge="zeros")),
    "deepcamera": lambda: deepcamera.DeepCamera(deepcamera.DeepCameraShape(width=4, convs=(1, 2, 2))),
    "l3": lambda: l3.L3Net(l3.L3Shape(levels=3)),
    "srgan": lambda: srgan.SrganNet(4, srgan.SrganShape(width=4)),
    "can": lambda: can24.CanNet(can24.CanShape(width=4, rates=(1, 2, 8, 1))),
    "srgan-can": lambda: ChainNet(
        srgan.SrganNet(4, srgan.SrganShape(width=4, blocks=1)), can24.CanNet(can24.CanShape(width=4, rates=(1, 4)))
    ),
    "nafnet": lambda: nafnet.NafNet(5, NAF),
    "nafnet cell": lambda: nafnet.NafNet(4, replace(NAF, radius=0)),
    "nafnet picture": lambda: nafnet.NafNet(3, NAF),
    "unet picture": lambda: picture_unet.PictureUNet(picture_unet.PictureUNetShape(channels=(4, 4, 4))),
    "dir": lambda: dir_net.DirNet(DIR),
    "dir one halving": lambda: dir_net.DirNet(replace(DIR, down=1, before=1, guided=1)),
    "dir three halvings": lambda: dir_net.DirNet(replace(DIR, down=3, before=1)),
    "dir alone": lambda: dir_net.DirNet(replace(DIR, align="alone")),
    "dir decoder": lambda: dir_net.DirNet(replace(DIR, align="decoder")),
    "auto-encoder": lambda: dir_net.AutoEncoder(CODE),
}
UNUSED = {"dir alone": ("dfr.",), "dir decoder": ("dfr.", "decoder.")}
"""parts that a variant keeps for another stage of its training"""
PRESETS = {
    "deepisp": (deepisp.PRESETS, deepisp.DeepISP),
    "deepisp-ll": (deepisp.LOW_PRESETS, deepisp.DeepISP),
    "restore": (cameranet.RESTORE_PRESETS, lambda s: cameranet.CameraUNet(4, s)),
    "enhance": (cameranet.ENHANCE_PRESETS, lambda s: cameranet.CameraUNet(3, s)),
    "sid": (sid_unet.PRESETS, lambda s: sid_unet.SidUNet(4, s)),
    "deepcamera": (deepcamera.PRESETS, deepcamera.DeepCamera),
    "l3": (l3.PRESETS, l3.L3Net),
    "srgan": (srgan.PRESETS, lambda s: srgan.SrganNet(4, s)),
    "can": (can24.PRESETS, can24.CanNet),
    "nafnet": (nafnet.PRESETS, lambda s: nafnet.NafNet(4, s)),
    "nafnet picture": (nafnet.PRESETS, lambda s: nafnet.NafNet(3, s)),
    "unet picture": (picture_unet.PRESETS, picture_unet.PictureUNet),
    "dir": (dir_net.PRESETS, dir_net.DirNet),
    "auto-encoder": (dir_net.CODE_PRESETS, dir_net.AutoEncoder),
}


@pytest.fixture(params=NETS)
def net(request):
    torch.manual_seed(0)
    made = NETS[request.param]()
    # away from first weights that are zero or one on purpose
    for p in made.parameters():
        p.data += 0.05 * torch.randn(p.shape)
    return made


def test_size_of_the_picture(net):
    x = torch.rand(2, net.inputs, 24, 32)
    assert net(x).shape == (2, 3, 24 * net.scale, 32 * net.scale)


def test_pictures_of_a_batch_do_not_meet(net):
    x = torch.rand(2, net.inputs, 24, 32, dtype=torch.float64)
    net.double()
    assert torch.allclose(net(x)[1:], net(x[1:]), atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("across", [False, True])
def test_a_tile_with_its_halo_is_the_whole_picture(net, across):
    net.double()
    step = lcm(net.multiple, net.pool_stride or 1)
    start = (-(-net.halo // step) + 1) * step
    stop = start + 2 * step
    side = -(-(stop + net.halo + step + 1) // net.multiple) * net.multiple
    low, high = (start - net.halo) // step * step, min(side, -(-(stop + net.halo) // step) * step)
    x = torch.rand(1, net.inputs, 32, side, dtype=torch.float64)
    x, dim = (x.mT.contiguous(), -2) if across else (x, -1)
    tile, scale = x.narrow(dim, low, high - low), net.scale
    pooled = ()
    if net.pool_stride:
        stride = net.pool_stride
        whole = net.pool(x)
        own = net.pool(tile).narrow(dim, (start - low) // stride, (stop - start) // stride)
        assert torch.allclose(own, whole.narrow(dim, start // stride, (stop - start) // stride), atol=1e-11)
        pooled = (whole.mean((-2, -1)),)
        assert torch.allclose(net(x, *pooled), net(x), atol=1e-11)
    want = net(x).narrow(dim, start * scale, (stop - start) * scale)
    got = net(tile, *pooled).narrow(dim, (start - low) * scale, (stop - start) * scale)
    assert torch.allclose(got, want, atol=1e-11)
    bare = net(x.narrow(dim, start, stop - start), *pooled)
    assert not torch.allclose(bare, want, atol=1e-6)  # the law says something: without a halo there is a seam


def test_gradients_reach_every_parameter(net, request):
    x = torch.rand(2, net.inputs, 32, 32)
    net(x).square().sum().backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    unused = UNUSED.get(request.node.callspec.params["net"], ())
    assert all(name.startswith(unused) for name in dead) if unused else not dead


def test_gradients_of_the_input_are_right(net):
    if isinstance(net, l3.L3Net):
        pytest.skip("classes change by jumps")
    net.double()
    side = 4 * net.multiple if not net.pool_stride else max(24, net.multiple)
    x = torch.rand(1, net.inputs, side, side, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(x.shape, dtype=torch.float64)
    weights = torch.randn(1, 3, side * net.scale, side * net.scale, dtype=torch.float64)
    (slope,) = torch.autograd.grad((net(x) * weights).sum(), x)
    eps = 1e-7
    with torch.no_grad():
        rise = ((net(x + eps * probe) - net(x - eps * probe)) * weights).sum() / (2 * eps)
    assert torch.isclose((slope * probe).sum(), rise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_a_seed_makes_the_weights(name):
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        made.append(torch.cat([v.flatten() for v in NETS[name]().state_dict().values()]))
    assert torch.equal(made[0], made[1])
    assert name == "l3" or not torch.equal(made[0], made[2])


def test_wrong_shapes_are_named(net):
    with pytest.raises(ShapeError, match="must be"):
        net(torch.rand(1, net.inputs + 1, 32, 32))
    with pytest.raises(ShapeError, match="must be"):
        net(torch.rand(net.inputs, 32, 32))
    if net.multiple > 1:
        with pytest.raises(ShapeError, match=f"multiples of {net.multiple}"):
            net(torch.rand(1, net.inputs, 32, 32 + net.multiple // 2))
    if net.pool_stride:
        with pytest.raises(ShapeError, match="pooled"):
            net(torch.rand(2, net.inputs, 32, 32), torch.rand(1, 3))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_pictures_of_a_size(name):
    presets, make = PRESETS[name]
    for preset, shape in presets.items():
        with torch.device("meta"):
            made = make(shape)
            side = 3 * max(made.multiple, 32)
            out = made(torch.empty(1, made.inputs, side, side))
        assert out.shape == (1, 3, side * made.scale, side * made.scale), preset


@pytest.mark.parametrize("name", PRESETS)
def test_small_presets_start_in_range_and_learn_a_crop(name):
    presets, make = PRESETS[name]
    torch.manual_seed(1)
    made = make(presets["small"])
    coarse = torch.rand(1, made.inputs, 6, 6)
    x = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic")
    assert made(x).abs().mean() < 2
    target = torch.nn.functional.interpolate(1 - x[:, :3].roll(1, 1), scale_factor=made.scale)
    optimizer = torch.optim.Adam(made.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (made(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses) < 0.6 * losses[0]


def test_unknown_presets_and_fields_are_named():
    with pytest.raises(ParamError, match="did you mean 'small'"):
        chosen(deepisp.PRESETS, "smal")
    with pytest.raises(ParamError, match="did you mean 'width'"):
        chosen(deepisp.PRESETS, "small", widht=8)
    assert chosen(deepisp.PRESETS, "small", width=8).depth == deepisp.PRESETS["small"].depth
    for field, value, law in (
        ("width", 7.5, "width=7.5 should be a whole number"),
        ("width", "8", "width='8' should be a whole number"),
        ("width", True, "a whole number"),
        ("skips", "yes", "skips='yes' should be true or false"),
        ("high_edge", "zero", "did you mean 'zeros'"),
    ):
        with pytest.raises(ParamError, match=law):
            chosen(deepisp.PRESETS, "small", **{field: value})
    for value, law in (((3, 4), "a list of 3"), (5, "a list of 3"), ((1, 2, "x"), r"convs\[2\]='x'")):
        with pytest.raises(ParamError, match=law):
            chosen(deepcamera.PRESETS, "paper", convs=value)
    assert chosen(l3.PRESETS, "paper", levels=8.0, texture=1).levels == 8


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: deepisp.DeepISPShape(depth=0),
        lambda: deepisp.DeepISPShape(shared=False, raw_features=True),
        lambda: cameranet.CameraUNetShape(channels=(4, 4)),
        lambda: cameranet.CameraUNetShape(convs=1),
        lambda: cameranet.CameraUNet(6),
        lambda: sid_unet.SidUNetShape(edge="valid"),
        lambda: sid_unet.SidUNet(3),
        lambda: l3.L3Shape(patch=4),
        lambda: can24.CanShape(rates=()),
        lambda: nafnet.NafShape(up=(1,)),
        lambda: nafnet.NafNet(6),
        lambda: picture_unet.PictureUNetShape(channels=(4,)),
        lambda: dir_net.DirShape(latent=0),
        lambda: dir_net.DirShape(guided=-1),
        lambda: ChainNet(cameranet.CameraUNet(4, FLAT), can24.CanNet()),
        lambda: ChainNet(can24.CanNet(), srgan.SrganNet()),
    ],
)
def test_sizes_that_make_no_net_are_named(wrong):
    with pytest.raises(ParamError):
        wrong()
