"""RAW files as a data set: aligned phases, one size, seeds, and frames that survive compile and autocast."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from conftest import make_frame
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import ShapeError
from ispkit.core.frame import Domain
from ispkit.data.demo import write_demo_raws
from ispkit.data.frames import RawFrames, aligned, collate_frames
from ispkit.isp.recipe import from_recipe
from ispkit.ops.cfa import mosaic

CHAIN = ["linearize", "white_balance", "demosaic", "color_matrix", "exposure", "encode"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_demo_raws(tmp_path_factory.mktemp("raws"), height=256, width=384)


@pytest.mark.parametrize("workers", [0, 2])
def test_files_of_different_cameras_share_a_batch(paths, workers):
    frames = RawFrames(paths, crop=(64, 96), seed=3)
    loader = DataLoader(frames, batch_size=3, collate_fn=collate_frames, num_workers=workers)
    (batch,) = list(loader)
    assert batch.data.shape == (3, 1, 64, 96)
    assert batch.meta.cfa == "RGGB"
    assert batch.meta.iso.tolist() == [100.0, 400.0, 6400.0]
    again = collate_frames([RawFrames(paths, crop=(64, 96), seed=3)[i] for i in range(3)])
    assert torch.equal(again.data, batch.data)
    picture = from_recipe({"version": 1, "stages": CHAIN})(batch)
    assert picture.data.shape == (3, 3, 64, 96)


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("wanted", CFA_PATTERNS)
def test_alignment_moves_the_window_not_the_colors(cfa, wanted):
    colors = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(1, 3, 8, 10)
    frame = make_frame(Domain.RAW, (8, 10), 1, cfa)
    moved = aligned(frame.with_data(mosaic(colors, cfa)), wanted)
    assert torch.equal(moved.data, mosaic(colors[..., : moved.size[0], : moved.size[1]], wanted))


def test_another_epoch_sees_other_windows(paths):
    frames = RawFrames(paths, crop=(32, 32), seed=1)
    first = frames[0].meta.view[0].origin
    frames.set_epoch(1)
    assert frames[0].meta.view[0].origin != first
    with pytest.raises(ShapeError, match="must be even"):
        RawFrames(paths, crop=(31, 32))


def test_a_crop_larger_than_the_file_is_refused(paths):
    with pytest.raises(ShapeError, match="is less than 512x512"):
        RawFrames(paths, crop=(512, 512))[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_autocast_keeps_the_picture(dtype):
    """Pixels stay float32 where precision matters: a picture under autocast is the same within a code."""
    isp, frame = from_recipe({"version": 1, "stages": CHAIN}), make_frame(Domain.RAW, (32, 32), 2)
    with torch.autocast("cpu", dtype=dtype):
        mixed = isp(frame).data
    torch.testing.assert_close(mixed.float(), isp(frame).data, atol=1 / 255, rtol=0)


@pytest.mark.slow
def test_a_pipeline_compiles():
    isp, frame = from_recipe({"version": 1, "stages": CHAIN}), make_frame(Domain.RAW, (32, 32), 1)
    compiled = torch.compile(lambda f, ev: isp(f, {"exposure.ev": ev}).data, backend="aot_eager")
    ev = torch.tensor(0.5)
    torch.testing.assert_close(compiled(frame, ev), isp(frame, {"exposure.ev": ev}).data, atol=1e-5, rtol=1e-5)
