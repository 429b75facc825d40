"""A merged burst: the noise of a mean, shifts found, nothing that moved shown twice."""

from __future__ import annotations

import math

import pytest
import torch

from ispkit.core.errors import DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import CameraMeta
from ispkit.data.burst import BurstSettings, find_shifts, merge_burst, shifted
from ispkit.data.project_pictures import project_pictures
from ispkit.ops.cfa import mosaic, planes
from ispkit.ops.encode import srgb_decode
from ispkit.sensor.simulate import add_noise

SHOT, READ = 2e-3, 1e-5
SIZE = (192, 256)


@pytest.fixture(scope="module")
def scene() -> torch.Tensor:
    return srgb_decode(project_pictures(1, (256, 320), seed=5)["leaves-00"]) * 0.8


def shot(scene, seed, shift=(0, 0), *, cfa="GRBG", profile=True) -> Frame:
    y, x = 32 + shift[0], 32 + shift[1]
    clean = mosaic(scene[..., y : y + SIZE[0], x : x + SIZE[1]], cfa)
    law = torch.tensor([[[SHOT, READ]] * 3])
    noisy = add_noise(clean, law, cfa, torch.Generator().manual_seed(seed))
    meta = CameraMeta.make(cfa, SIZE, noise_profile=[(SHOT, READ)] if profile else [(0.0, 0.0)])
    return Frame(noisy, Domain.MOSAIC, meta)


def error(frame: Frame, scene) -> float:
    clean = mosaic(scene[..., 32 : 32 + SIZE[0], 32 : 32 + SIZE[1]], frame.meta.cfa)
    inner = (..., slice(24, -24), slice(24, -24))
    return float((frame.data - clean)[inner].square().mean().sqrt())


@pytest.mark.parametrize("profile", [True, False])
@pytest.mark.parametrize("count", [4, 9])
def test_noise_falls_with_the_root_of_the_number_of_frames(scene, count, profile):
    shifts = [(0, 0), (2, -4), (-6, 8), (10, 2), (-20, -14), (4, 4), (0, 2), (-2, 0), (16, -22)]
    frames = [shot(scene, i, s, profile=profile) for i, s in enumerate(shifts[:count])]
    merged = merge_burst(frames)
    alone = error(frames[0], scene)
    assert error(merged, scene) == pytest.approx(alone / math.sqrt(count), rel=0.08)
    assert merged.meta.cfa == "GRBG"
    if profile:
        assert merged.meta.noise_profile[0, 0].tolist() == pytest.approx([SHOT / count, READ / count])


def test_shifts_are_found_to_the_cell(scene):
    first, other = (planes(shot(scene, i, s).data) for i, s in enumerate([(0, 0), (12, -20)]))
    found = find_shifts(first, other)
    inner = found[:, :, 1:-1]
    assert (inner[0] == -6).float().mean() > 0.8
    assert (inner[1] == 10).float().mean() > 0.8
    moved = torch.tensor([[[3]], [[-2]]])
    pattern = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert torch.equal(shifted(pattern, moved, 8)[..., :5, 2:], pattern[..., 3:, :6])


def test_what_moved_is_not_shown_twice(scene):
    def with_block(frame: Frame, y: int, x: int) -> Frame:
        data = frame.data.clone()
        data[..., y : y + 40, x : x + 40] = 0.95
        return frame.with_data(data)

    still = [shot(scene, i) for i in range(6)]
    moving = [with_block(still[0], 60, 40), *(with_block(f, 60, 40 + 16 * (i + 1)) for i, f in enumerate(still[1:]))]
    merged, expected = merge_burst(moving).data, with_block(still[0], 60, 40).data
    edge = (..., slice(60, 100), slice(84, 160))  # where the block was in later frames
    ghost = (merged - expected)[edge]
    naive = (torch.stack([f.data for f in moving]).mean(0) - expected)[edge]
    noise = math.sqrt(SHOT * 0.3 + READ)
    assert float(ghost.abs().mean()) < 1.5 * noise
    assert float(ghost.abs().mean()) < 0.15 * float(naive.abs().mean())


def test_raw_stays_raw_and_one_frame_is_itself(scene):
    frame = shot(scene, 0)
    raw = frame.with_data(
        frame.data * 959 + 64,
        Domain.RAW,
        black_level=torch.full((1, 4), 64.0),
        white_level=torch.full((1, 4), 1023.0),
    )
    assert torch.allclose(merge_burst([raw]).data, raw.data, atol=1e-3)
    assert merge_burst([raw, raw]).domain is Domain.RAW
    with pytest.raises(DomainError, match="mosaic"):
        merge_burst([raw, frame])
    with pytest.raises(ShapeError, match="one even size"):
        merge_burst([frame, frame.crop(0, 0, 100, 100)])
    with pytest.raises(ShapeError, match="at least one"):
        merge_burst([])
    with pytest.raises(ParamError, match="multiple"):
        BurstSettings(tile=20)
