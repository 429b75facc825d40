"""Green equilibration: removes imbalance, leaves flat, sloped and textured truth alone."""

from __future__ import annotations

import pytest
import torch

from conftest import make_frame
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.frame import Domain
from ispkit.isp.stages.green import GreenEqualization
from ispkit.ops import green
from ispkit.ops.cfa import mosaic
from stage_laws import batch_equals_loop, gradients_are_right, tile_equals_whole

FULL = {"strength": 1.0}


def unbalanced(frame, amount=0.03):
    """Greens of red rows up, of blue rows down, by `amount` / 2 of the signal."""
    kind = green._green_kinds(frame.data, frame.meta.cfa)
    return frame.with_data(frame.data * (1 + 0.5 * amount * kind))


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
def test_imbalance_goes_and_red_and_blue_stay(cfa):
    rgb = make_frame(Domain.CAMERA_RGB, (64, 80), batch=1).data
    frame = make_frame(Domain.MOSAIC, (64, 80), batch=1, cfa=cfa).with_data(mosaic(rgb, cfa))
    bad = unbalanced(frame)
    out = GreenEqualization()(bad, FULL)
    before, after = (green.imbalance(f.data - frame.data, cfa).abs() for f in (bad, out))
    assert after < 0.05 * before
    assert (out.data - frame.data).abs().mean() < 0.3 * (bad.data - frame.data).abs().mean()
    kind = green._green_kinds(frame.data, cfa)
    assert torch.equal(out.data[..., kind == 0], bad.data[..., kind == 0])


def test_sign_of_the_imbalance():
    x = torch.tensor([[0.0, 2.0], [1.0, 0.0]]).repeat(4, 4)[None, None]
    assert green.imbalance(x, "RGGB") == 1
    assert green.imbalance(x, "BGGR") == -1


def test_planes_and_curvature_are_no_imbalance():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    smooth = (0.2 + 0.004 * x + 0.003 * y + 5e-5 * x * y + 4e-5 * x * x)[None, None]
    frame = make_frame(Domain.MOSAIC, (40, 50), batch=1).with_data(smooth)
    out = GreenEqualization()(frame, FULL).data
    inner = (..., slice(8, -8), slice(8, -8))  # the mirrored border bends the slope
    torch.testing.assert_close(out[inner], smooth[inner], atol=2e-6, rtol=0)


def test_an_edge_is_left_alone():
    x = torch.full((1, 1, 48, 48), 0.1)
    x[..., 23:, :] = 0.8  # a horizontal edge between the two kinds of green
    frame = make_frame(Domain.MOSAIC, (48, 48), batch=1).with_data(x)
    loose = GreenEqualization()(frame, FULL | {"limit": 0.5}).data
    tight = GreenEqualization()(frame, FULL | {"limit": 0.02}).data
    assert (tight - x).abs().amax() < 0.004
    assert (loose - x).abs().amax() > 3 * (tight - x).abs().amax()


def test_moved_mosaic_gives_the_moved_result():
    frame = unbalanced(make_frame(Domain.MOSAIC, (48, 48), batch=1))
    m = green.REACH + green.RADIUS
    whole = GreenEqualization()(frame, FULL).data
    for y, x in ((1, 0), (0, 1), (1, 1)):
        moved = GreenEqualization()(frame.crop(y, x, 47, 47), FULL).data
        same = (..., slice(m, 40), slice(m, 40))
        torch.testing.assert_close(moved[same], whole[..., m + y : 40 + y, m + x : 40 + x])


def test_stage_laws():
    assert GreenEqualization()(frame := make_frame(Domain.MOSAIC)) is frame
    batch_equals_loop(GreenEqualization(), {"strength": [0.0, 1.0], "limit": [0.05, 0.2]})
    tile_equals_whole(GreenEqualization(), FULL)
    gradients_are_right(GreenEqualization(), {"strength": 0.7}, size=(14, 16))
