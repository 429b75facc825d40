"""Shading and distortion against the DNG specification written out pixel by pixel, and against truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.frame import Domain, Frame
from ispkit.core.opcodes import GainMap, LineValues, VignetteRadial, WarpFisheye, WarpRectilinear
from ispkit.isp.stages.distortion import Distortion
from ispkit.isp.stages.lens import LensShading
from ispkit.ops import lens, noise
from stage_laws import batch_equals_loop, gradients_are_right, tile_equals_whole

SIZE = (22, 30)


def grid(seed, points=(4, 5), planes=1):
    values = 1 + np.random.default_rng(seed).random((*points, planes))
    return tuple(tuple(tuple(map(float, p)) for p in row) for row in values)


def gain_map(seed=0, area=(0, 0, *SIZE), plane=0, planes=1, pitch=(1, 1), stage=2, map_planes=1):
    return GainMap(
        stage, area=area, plane=plane, planes=planes, row_pitch=pitch[0], col_pitch=pitch[1], spacing_v=0.25,
        spacing_h=0.2, origin_v=0.1, origin_h=0.05, gains=grid(seed, planes=map_planes),
    )  # fmt: skip


FOUR = tuple(gain_map(i, area=(i // 2, i % 2, *SIZE), pitch=(2, 2)) for i in range(4))
VIGNETTE = VignetteRadial(2, k=(0.3, 0.1, -0.05, 0.02, 0.01), center=(0.4, 0.6))
LINES = LineValues(
    2, axis="row", action="scale", area=(2, 3, 12, 20), plane=0, planes=1, row_pitch=2, col_pitch=3,
    values=(1.1, 1.2, 1.3, 1.4, 1.5),
)  # fmt: skip


def gain_by_the_book(op, y, x, size, plane=0):
    """The gain of one opcode at one pixel, as the specification's text says it."""
    if isinstance(op, VignetteRadial):
        cy, cx = op.center[1] * (size[0] - 1), op.center[0] * (size[1] - 1)
        far = max(math.hypot(a - cy, b - cx) for a in (0, size[0] - 1) for b in (0, size[1] - 1))
        r = math.hypot(y - cy, x - cx) / far
        return 1 + sum(k * r ** (2 * i + 2) for i, k in enumerate(op.k))
    top, left, bottom, right = op.area
    if not (top <= y < bottom and left <= x < right and (y - top) % op.row_pitch == 0):
        return 1.0
    if (x - left) % op.col_pitch or not op.plane <= plane < op.plane + op.planes:
        return 1.0
    if isinstance(op, LineValues):
        return op.values[(y - top) // op.row_pitch]
    g = np.array(op.gains)[..., min(plane - op.plane, len(op.gains[0][0]) - 1)]
    v = min(max(((y + 0.5) / size[0] - op.origin_v) / op.spacing_v, 0), g.shape[0] - 1)
    u = min(max(((x + 0.5) / size[1] - op.origin_h) / op.spacing_h, 0), g.shape[1] - 1)
    i, j = min(int(v), g.shape[0] - 2), min(int(u), g.shape[1] - 2)
    f, e = v - i, u - j
    return (g[i, j] * (1 - f) + g[i + 1, j] * f) * (1 - e) + (g[i, j + 1] * (1 - f) + g[i + 1, j + 1] * f) * e


def frame_with(opcodes, domain=Domain.MOSAIC, size=SIZE, batch=1, **facts):
    return make_frame(domain, size, batch=batch, opcodes=opcodes, **facts)


@pytest.mark.parametrize(
    "opcodes",
    [
        FOUR,
        (gain_map(5, area=(3, 4, 15, 21), pitch=(3, 2)),),
        (VIGNETTE,),
        (LINES,),
        (gain_map(1), VIGNETTE, LINES, gain_map(2, stage=1)),
        (gain_map(1, plane=1), gain_map(2)),
    ],
    ids=["four_sites", "area_pitch", "radial", "lines", "all", "other_plane"],
)
def test_gain_is_what_the_specification_says(opcodes):
    frame = frame_with(opcodes)
    shaded = LensShading()(frame)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            gain = math.prod(gain_by_the_book(o, y, x, SIZE) for o in opcodes)
            assert shaded.data[0, 0, y, x] == pytest.approx(float(frame.data[0, 0, y, x]) * gain, rel=2e-6)
            assert shaded.meta.noise_map[0, 0, y, x] == pytest.approx(gain, rel=2e-6)


def test_gain_of_list_3_takes_the_map_s_last_plane_for_the_rest():
    op = gain_map(3, planes=3, stage=3, map_planes=2)
    frame = frame_with((op,), Domain.CAMERA_RGB)
    out = Distortion()(frame).data / frame.data
    for plane in range(3):
        assert out[0, plane, 7, 9] == pytest.approx(gain_by_the_book(op, 7, 9, SIZE, plane), rel=1e-5)


def test_a_map_of_one_point_and_an_area_off_the_picture():
    flat = GainMap(2, (0, 0, *SIZE), 0, 1, 1, 1, 0.0, 0.0, 0.0, 0.0, (((1.5,),),))
    away = gain_map(1, area=(100, 100, 200, 200))
    frame = frame_with((flat, away))
    torch.testing.assert_close(LensShading()(frame).data, frame.data * 1.5)


@pytest.mark.parametrize(("rows", "columns"), [(False, False), (True, False), (True, True)])
def test_crops_and_mirrors_find_their_place_on_the_sensor(rows, columns):
    stage, values = LensShading(), {"k1": 0.4, "k3": 0.2}
    frame = frame_with((*FOUR, VIGNETTE, LINES))

    def window(f):
        return f.crop(3, 5, 14, 20).flip(rows=rows, columns=columns).crop(2, 1, 9, 12)

    torch.testing.assert_close(stage(window(frame), values).data, window(stage(frame, values)).data, rtol=1e-6, atol=0)


def test_strength_is_linear_and_off_is_free():
    frame, stage = frame_with(FOUR), LensShading()
    full, half = stage(frame).data, stage(frame, {"strength": 0.5}).data
    torch.testing.assert_close(half, (full + frame.data) / 2)
    assert stage(frame, {"source": "off"}) is frame
    assert stage(frame, {"strength": 0.0}) is frame
    bare = make_frame(Domain.MOSAIC)
    assert stage(bare) is bare


def test_manual_law_is_one_at_the_center_and_the_sum_at_the_corner():
    dy, dx, _ = lens.centered(torch.arange(5.0), torch.arange(9.0), (5, 9))
    gain = lens.radial_gain(dy, dx, [0.5, 0.25, 0.125])
    assert gain[0, 0, 2, 4] == 1
    torch.testing.assert_close(gain[0, 0, ::4, ::8], torch.full((2, 2), 1.875))


def test_noise_follows_the_map():
    shot, read, signal = 4e-3, 2e-5, 0.2
    g = torch.Generator().manual_seed(3)
    x = torch.poisson(torch.full((1, 1, 512, 512), signal / shot), generator=g) * shot
    x = x + read**0.5 * torch.randn(x.shape, generator=g)
    frame = make_frame(Domain.MOSAIC, (512, 512), batch=1, noise_profile=[(shot, read)])
    out = LensShading()(frame.with_data(x), {"k1": 1.0, "k2": 0.5})
    told = noise.variance(
        out.meta.noise_map * signal, out.meta.noise_profile, cfa=out.meta.cfa, noise_map=out.meta.noise_map
    )
    residual = (out.data - out.meta.noise_map * signal).square() / told
    parts = torch.nn.functional.avg_pool2d(residual, 128)
    torch.testing.assert_close(parts, torch.ones_like(parts), atol=0.045, rtol=0)  # 4 sigma of 16384 samples


def test_mixed_batches_are_loops():
    a, b = frame_with(FOUR, seed=1), frame_with((VIGNETTE,), seed=2)
    both = LensShading()(Frame.cat([a, b]), {"k1": torch.tensor([0.1, 0.3])})
    for i, one in enumerate((a, b)):
        alone = LensShading()(one, {"k1": (0.1, 0.3)[i]})
        torch.testing.assert_close(both.data[i : i + 1], alone.data)
    batch_equals_loop(LensShading(), {"k1": [0.0, 0.5], "k2": [0.2, 0.0]})
    batch_equals_loop(Distortion(), {"k1": [0.0, 0.05], "red_scale": [1.01, 0.99]})


def test_a_batch_may_correct_some_and_not_others():
    frame = frame_with(FOUR)
    both = LensShading()(frame, {"source": torch.tensor([1, 0])})
    assert torch.equal(both.data[:1], frame.data)
    assert torch.equal(both.meta.noise_map[:1], torch.ones(1, 1, *SIZE))
    torch.testing.assert_close(both.data[1:], LensShading()(frame).data)


WARP = WarpRectilinear(
    3,
    planes=((1.01, -0.05, 0.02, 0.01, 0.002, -0.003), (1.0, -0.04, 0.02, 0.01, 0.0, 0.0), (0.99, 0.03, 0, 0, 0.001, 0)),
    center=(0.45, 0.55),
)
FISHEYE = WarpFisheye(3, planes=((1.05, -0.1, 0.02, 0.01),), center=(0.5, 0.5))


def source_by_the_book(op, plane, y, x, size):
    """Source position in pixels, as the specification's text says it."""
    k = op.planes[min(plane, len(op.planes) - 1)]
    cy, cx = op.center[1] * (size[0] - 1), op.center[0] * (size[1] - 1)
    m = math.hypot(max(cy, size[0] - 1 - cy), max(cx, size[1] - 1 - cx))
    dy, dx = (y - cy) / m, (x - cx) / m
    r = np.hypot(dy, dx)
    if isinstance(op, WarpFisheye):
        t = np.arctan(r)
        f = (k[0] * t + k[1] * t**3 + k[2] * t**5 + k[3] * t**7) / np.maximum(r, 1e-12)
        return cy + m * f * dy, cx + m * f * dx
    f = k[0] + k[1] * r**2 + k[2] * r**4 + k[3] * r**6
    ty = k[5] * 2 * dx * dy + k[4] * (r**2 + 2 * dy**2)
    tx = k[4] * 2 * dx * dy + k[5] * (r**2 + 2 * dx**2)
    return cy + m * (f * dy + ty), cx + m * (f * dx + tx)


def scene(y, x, plane):
    """A smooth picture known at every position."""
    return 0.5 + 0.2 * np.sin(y / 9 + plane) + 0.2 * np.cos(x / 11 - plane)


BIG = (96, 128)


def scene_frame(opcodes=()):
    y, x = np.mgrid[: BIG[0], : BIG[1]].astype(float)
    data = torch.from_numpy(np.stack([scene(y, x, p) for p in range(3)]))[None].float()
    return frame_with(opcodes, Domain.CAMERA_RGB, BIG).with_data(data)


@pytest.mark.parametrize("opcodes", [(WARP,), (FISHEYE,), (FISHEYE, WARP)], ids=["rectilinear", "fisheye", "both"])
def test_a_known_scene_is_found_at_its_source_positions(opcodes):
    out = Distortion()(scene_frame(opcodes)).data[0].numpy()
    for plane in range(3):
        y, x = np.mgrid[: BIG[0], : BIG[1]].astype(float)
        for op in reversed(opcodes):  # the list's last correction is the outermost
            y, x = source_by_the_book(op, plane, y, x, BIG)
        inside = (y > 1) & (y < BIG[0] - 2) & (x > 1) & (x < BIG[1] - 2)
        assert inside.mean() > 0.7
        error = np.abs(out[plane] - scene(y, x, plane))[inside]
        assert error.max() < 1e-3  # bicubic on this scene


def test_crops_of_a_warped_picture_need_only_their_halo():
    frame, stage = scene_frame((WARP,)), Distortion()
    whole = stage(frame).data
    part = stage(frame.crop(10, 12, 80, 100)).data
    torch.testing.assert_close(part[..., 20:50, 30:60], whole[..., 30:60, 42:72], atol=2e-6, rtol=0)
    flipped = stage(frame.flip(rows=True, columns=True)).data.flip((-2, -1))
    torch.testing.assert_close(flipped, whole, atol=2e-5, rtol=0)
    tile_equals_whole(Distortion(), {"source": "off", "k1": -0.05, "red_scale": 1.005}, BIG, atol=1e-5)


def test_lateral_color_aligns_the_planes():
    scale, frame = 1.01, scene_frame()
    y, x = np.mgrid[: BIG[0], : BIG[1]].astype(float)
    cy, cx = (BIG[0] - 1) / 2, (BIG[1] - 1) / 2
    green = torch.from_numpy(scene(y, x, 0)).float()
    red = torch.from_numpy(scene(cy + (y - cy) / scale, cx + (x - cx) / scale, 0)).float()  # red image 1 % too large
    fringed = frame.with_data(torch.stack([red, green, green])[None])
    out = Distortion()(fringed, {"red_scale": scale}).data[..., 3:-3, 3:-3]
    assert (out[0, 0] - out[0, 1]).abs().max() < 1e-3
    torch.testing.assert_close(out[0, 1:], fringed.data[0, 1:, 3:-3, 3:-3], rtol=0, atol=0)


def test_neutral_distortion_is_free():
    frame = make_frame(Domain.CAMERA_RGB)
    assert Distortion()(frame) is frame
    known = {k: p.default for k, p in Distortion.knobs.items()}
    assert Distortion().support_for(frame, known, frame.size) == 0
    assert Distortion().support(known, (40, 60)) == 60


@pytest.mark.parametrize("values", [{"k1": 0.3, "k2": 0.2, "k3": 0.1}])
def test_gradients_of_shading(values, monkeypatch):
    monkeypatch.setattr("stage_laws.make_frame", lambda *a, **k: make_frame(*a, **k, opcodes=(VIGNETTE,)))
    gradients_are_right(LensShading(), values)


def test_gradients_of_distortion():
    values = {"k1": 0.03, "k2": 0.02, "k3": 0.01, "zoom": 1.03, "red_scale": 1.004, "blue_scale": 0.996}
    gradients_are_right(Distortion(), values)


def test_the_gopro_s_four_maps(shared):
    tifffile = pytest.importorskip("tifffile")
    from ispkit.io.dng_opcodes import parse_opcodes

    with tifffile.TiffFile(shared / "raw_gopro_hero7" / "gopro_hero7_GOPR9231.dng") as file:
        opcodes = parse_opcodes(file.pages[0].tags[51009].value, 2)
    size, out = (3000, 4000), (64, 48)
    for y, x in ((0, 0), (1501, 2002), (2936, 3952)):
        frame = make_frame(Domain.MOSAIC, size, batch=1, opcodes=opcodes).crop(y, x, *out)
        gain = LensShading()(frame).meta.noise_map
        for i, j in ((0, 0), (0, 47), (63, 0), (33, 21)):
            told = math.prod(gain_by_the_book(o, y + i, x + j, size) for o in opcodes)
            assert gain[0, 0, i, j] == pytest.approx(told, rel=3e-6)
