"""Defect pixels: listed and detected ones are replaced, good detail is not, everything finds its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import make_frame
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.frame import Domain, Frame
from ispkit.core.opcodes import BadPixelsConstant, BadPixelsList
from ispkit.isp.stages.defects import DefectPixels, bad_points
from ispkit.isp.stages.levels import Linearize
from ispkit.ops import defects
from ispkit.ops.cfa import mosaic
from stage_laws import batch_equals_loop, gradients_are_right, tile_equals_whole

SIZE = (40, 56)
POINTS = ((0, 0), (5, 7), (20, 31), (22, 31), (39, 55))
LISTED = BadPixelsList(1, phase=0, points=POINTS, rectangles=((10, 40, 12, 43),))
BOTH = {"detect": "both"}


def scene(cfa="RGGB", opcodes=(), **facts):
    rgb = make_frame(Domain.CAMERA_RGB, (320, 448), batch=1, seed=4).data[..., 60:100, 80:136]
    frame = make_frame(Domain.MOSAIC, SIZE, batch=1, cfa=cfa, opcodes=opcodes, **facts)
    return frame.with_data(mosaic(rgb, cfa))


def spoiled(frame, points, value):
    data = frame.data.clone()
    for y, x in points:
        data[..., y, x] = value
    return frame.with_data(data)


def all_listed():
    return [*POINTS, *((y, x) for y in (10, 11) for x in (40, 41, 42))]


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_listed_pixels_take_the_value_of_their_neighbors(cfa):
    frame = scene(cfa, (LISTED,))
    out = DefectPixels()(spoiled(frame, all_listed(), 1.0)).data
    assert (out - frame.data).abs().amax() < 0.06  # a smooth scene
    untouched = torch.ones(SIZE, dtype=torch.bool)
    for y, x in all_listed():
        untouched[y, x] = False
    assert torch.equal(out[0, 0][untouched], frame.data[0, 0][untouched])


def test_listed_pixels_by_hand():
    """The pair that differs least, both ends good: here the columns' 0.4 and 0.5."""
    x = torch.zeros(1, 1, 9, 9)
    x[..., 2, 4], x[..., 6, 4], x[..., 4, 2], x[..., 4, 6] = 0.4, 0.5, 0.1, 0.9
    x[..., 2, 2], x[..., 6, 6], x[..., 2, 6], x[..., 6, 2] = 0.0, 0.8, 0.9, 0.1
    assert defects.correct_listed(x, torch.tensor([[4, 4]]))[0, 0, 4, 4] == pytest.approx(0.45)
    both = defects.correct_listed(x, torch.tensor([[4, 4], [2, 4]]))  # that pair lost an end
    assert both[0, 0, 4, 4] != pytest.approx(0.45)
    lonely = torch.tensor([[0, 0]])
    assert defects.correct_listed(torch.ones(1, 1, 2, 2) * 0.3, lonely)[0, 0, 0, 0] == pytest.approx(0.3)


@pytest.mark.parametrize(("rows", "columns"), [(False, False), (True, False), (True, True)])
def test_lists_follow_crops_and_mirrors(rows, columns):
    bad = spoiled(scene(opcodes=(LISTED,)), all_listed(), 1.0)

    def window(f):
        return f.crop(3, 5, 33, 45).flip(rows=rows, columns=columns)

    marked = torch.zeros(1, 1, *SIZE)
    for y, x in all_listed():
        marked[..., y, x] = 1
    told = torch.zeros(33, 45)
    at = bad_points(window(bad), [LISTED])
    told[at[:, 0], at[:, 1]] = 1
    assert torch.equal(told, window(bad.with_data(marked)).data[0, 0])


def test_a_stored_value_marks_bad_pixels():
    raw = make_frame(Domain.RAW, SIZE, batch=1, opcodes=(BadPixelsConstant(1, value=777, phase=0),))
    raw = raw.with_data(raw.data.round().where(raw.data.round() != 777, 778.0))
    clean = Linearize()(raw)
    dead = Linearize()(spoiled(raw, POINTS, 777.0))
    assert (dead.data != clean.data).sum() == len(POINTS)
    at = bad_points(dead, list(dead.meta.opcodes[0]))
    assert sorted(map(tuple, at.tolist())) == sorted(POINTS)
    assert (DefectPixels()(dead).data - clean.data).abs().amax() < 0.06


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("value", [1.0, 0.0])
def test_defects_are_found_and_nothing_else(cfa, value):
    frame = scene(cfa, noise_profile=[(1e-4, 1e-6)])
    frame = frame.with_data(0.2 + 0.5 * frame.data)
    hit = [(3, 3), (6, 20), (17, 40), (18, 8), (39, 30), (0, 11)]
    out = DefectPixels()(spoiled(frame, hit, value), BOTH).data
    changed = {tuple(p) for p in (out != spoiled(frame, hit, value).data)[0, 0].nonzero().tolist()}
    assert set(hit) <= changed
    assert (out - frame.data).abs().amax() < 0.06
    only_hot = DefectPixels()(spoiled(frame, hit, value), {"detect": "hot"}).data
    assert torch.equal(only_hot, spoiled(frame, hit, value).data) == (value == 0.0)


def test_noise_is_not_taken_for_defects():
    shot, read = 4e-3, 2e-5
    g = torch.Generator().manual_seed(5)
    flat = torch.full((1, 1, 400, 400), 0.3)
    noisy = torch.poisson(flat / shot, generator=g) * shot + read**0.5 * torch.randn(flat.shape, generator=g)
    frame = make_frame(Domain.MOSAIC, (400, 400), batch=1, noise_profile=[(shot, read)]).with_data(noisy)
    out = DefectPixels()(frame, BOTH | {"floor": 0.001, "sigmas": 5.0}).data
    assert (out != noisy).float().mean() < 2e-5
    blind = DefectPixels()(frame, BOTH | {"floor": 0.001, "sigmas": 0.0}).data
    assert (blind != noisy).float().mean() > 0.1


def test_lines_and_edges_survive():
    x = torch.full((1, 1, 32, 32), 0.2)
    x[..., 9, :], x[..., :, 20], x[..., 20:, :] = 0.9, 0.8, 0.7
    frame = make_frame(Domain.MOSAIC, (32, 32), batch=1).with_data(x)
    assert torch.equal(DefectPixels()(frame, BOTH).data, x)


def test_frames_of_a_batch_have_their_own_lists():
    a, b = spoiled(scene(opcodes=(LISTED,)), all_listed(), 1.0), scene()
    both = DefectPixels()(Frame.cat([a, b])).data
    torch.testing.assert_close(both, torch.cat([DefectPixels()(a).data, b.data]))
    assert DefectPixels()(b) is b
    assert DefectPixels()(a, {"source": "off"}) is a


def test_stage_laws():
    batch_equals_loop(DefectPixels(), {"detect": ["off", "hot", "both"], "floor": [0.01, 0.002, 0.003]})
    values = BOTH | {"sigmas": 0.1, "floor": 0.002}
    tile_equals_whole(DefectPixels(), values)
    gradients_are_right(DefectPixels(), BOTH | {"sigmas": 1.0, "floor": 0.01})


def test_real_hot_pixels(shared):
    """A 12-bit dark frame (its last rows and columns are not picture): hot pixels go, the rest stays."""
    dn = np.fromfile(shared / "raw_black_frame" / "BlackImage_1920x1080_12bits_BGGR.raw", "<u2").reshape(1080, 1920)
    x = torch.from_numpy(dn[:1078, :1910].astype(np.float32))[None, None] / 4095
    read = (2.2 / 4095) ** 2
    frame = make_frame(Domain.MOSAIC, (1078, 1910), batch=1, cfa="BGGR", noise_profile=[(0.0, read)]).with_data(x)
    out = DefectPixels()(frame, {"detect": "hot", "sigmas": 2.0, "floor": 0.001}).data
    hot = x > 34 / 4095
    assert hot.sum() > 10
    assert (out[hot] < 20 / 4095).float().mean() > 0.9
    assert (out != x).float().mean() < 5e-4
