"""A profile in a RAW frame: the facts arrive, LibRaw and tag readers see them, a flat comes out flat."""

from __future__ import annotations

import io
from dataclasses import replace

import exifread
import numpy as np
import pytest
import rawpy
import torch

from conftest import make_frame
from ispkit.core.errors import DomainError, ParamError, ShapeError
from ispkit.core.frame import Domain
from ispkit.core.opcodes import BadPixelsList, GainMap, VignetteRadial, WarpRectilinear
from ispkit.io.dng_writer import write_dng
from ispkit.io.load import load
from ispkit.io.tuning import apply_profile
from ispkit.isp.recipe import from_recipe
from ispkit.ops.camera_color import camera_to_linear_srgb
from tuning_profiles import CCM, SIZE, camera


def shot(iso=100.0, **facts):
    known = {"black_level": 900.0, "white_level": 16383.0, "iso": iso, "cfa": "GRBG"} | facts
    return make_frame(Domain.RAW, size=SIZE, batch=1, **known)


def test_facts_of_the_gain_arrive():
    for iso, level, read in ((100, 1024, 2e-7), (800, 1032, 8e-6), (900, 1032, 8e-6 * (9 / 8) ** 2)):
        meta = apply_profile(shot(iso=iso), camera()).meta
        assert meta.black_level[0].tolist() == [level + 4, level, level, level + 4]
        assert meta.noise_profile[0, 1].tolist() == pytest.approx([1.1e-4 * iso / 100, read], rel=1e-4)
    between = apply_profile(shot(iso=400), camera()).meta.noise_profile[0, 0]
    assert between[0] == pytest.approx(4e-4, rel=1e-4)
    assert 1e-7 < between[1] < 4e-6


def test_levels_follow_the_bit_depth():
    meta = apply_profile(shot(white_level=1023.0), camera()).meta
    assert meta.black_level[0].tolist() == [64.25, 64, 64, 64.25]
    assert meta.white_level[0].tolist() == [1023] * 4


def test_the_light_picks_pair_neutral_and_shading():
    own = shot()
    kept = apply_profile(own, camera()).meta
    assert torch.equal(kept.neutral, own.meta.neutral)
    assert kept.illuminant_cct_k.tolist() == [[2856, 6504]]
    warm = apply_profile(own, camera(), cct_k=2856).meta
    assert warm.neutral[0].tolist() == pytest.approx([0.95, 1, 0.4])
    corner = {op.gains[0][0][0] for op in warm.opcodes[0] if isinstance(op, GainMap)}
    assert corner == {1.7, 1.5, 1.45}
    # of the frame's own white, red 0.5 and blue 0.7, the cool light is nearer
    corner = {op.gains[0][0][0] for op in kept.opcodes[0] if isinstance(op, GainMap)}
    assert corner == {1.6, 1.5, 1.52}


def test_old_corrections_are_replaced_and_others_kept():
    warp = WarpRectilinear(3, ((1.0, 0.1, 0.0, 0.0, 0.0, 0.0),), (0.5, 0.5))
    old = (VignetteRadial(2, (0.1, 0, 0, 0, 0), (0.5, 0.5)), warp, BadPixelsList(1, 0, ((1, 1),), ()))
    ops = apply_profile(shot(opcodes=old), camera(), shading="radial").meta.opcodes[0]
    assert [type(op) for op in ops] == [WarpRectilinear, BadPixelsList, VignetteRadial]
    assert ops[1].points == camera().defects
    assert ops[2].k == camera().shading[1].radial
    bare = apply_profile(shot(opcodes=old), camera(), shading="off").meta.opcodes[0]
    assert [type(op) for op in bare] == [WarpRectilinear, BadPixelsList]


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_a_shaded_flat_comes_out_flat_and_white(cfa, tmp_path):
    """Through a DNG file: raw = black + range x neutral / gain, so every pixel must become the same gray."""
    profile = replace(camera(cfa), defects=())
    frame = apply_profile(shot(cfa=cfa), profile, cct_k=6504)
    y, x = ((np.arange(n) + 0.5) / n for n in SIZE)
    flat = np.zeros(SIZE)
    for site, color in enumerate(cfa):
        plane = np.array(profile.shading[1].gains[site])
        rows, columns = (np.linspace(0, 1, n) for n in plane.shape)
        along = np.stack([np.interp(x, columns, row) for row in plane])
        gain = np.stack([np.interp(y, rows, column) for column in along.T], -1)
        signal = 0.4 * profile.colors[1].neutral["RGB".index(color)] / gain
        at = np.s_[site // 2 :: 2, site % 2 :: 2]
        flat[at] = (profile.black[0].level_dn[site] + signal * (16383 - profile.black[0].level_dn[site]))[at]
    path = tmp_path / "flat.dng"
    write_dng(path, frame.with_data(torch.tensor(flat, dtype=torch.float32)[None, None]))
    stages = ["linearize", "lens_shading", {"white_balance": {"mode": "as_shot"}}, "demosaic", "color_matrix"]
    picture = from_recipe({"version": 1, "stages": stages})(load(path)).data
    # samples were rounded to whole numbers of 16383
    assert picture.std() / picture.mean() < 3e-4
    assert (picture.mean((0, 2, 3)) / picture.mean()).tolist() == pytest.approx([1, 1, 1], abs=3e-4)


def test_other_readers_see_the_tags(tmp_path):
    path = tmp_path / "a.dng"
    frame = apply_profile(shot(), camera(), cct_k=5000)
    write_dng(path, frame)
    with rawpy.imread(str(path)) as raw:
        # LibRaw rounds levels and orders them R, G, B, second G
        assert sorted(raw.black_level_per_channel) == [1024, 1024, 1028, 1028]
        assert raw.white_level == 16383
        assert raw.camera_whitebalance[:3] == pytest.approx((1 / frame.meta.neutral[0]).tolist(), rel=1e-4)
    tags = exifread.process_file(io.BytesIO(path.read_bytes()), details=False)
    profile = camera()
    for number, light in ((1, profile.colors[0]), (2, profile.colors[1])):
        for code, matrix in ((0xC620 + number, light.color_matrix), (0xC713 + number, light.forward_matrix)):
            values = [float(v) for v in tags[f"Image Tag 0x{code:04X}"].values]
            assert values == pytest.approx(np.array(matrix).reshape(-1), abs=1e-5)
    assert [tags[f"Image Tag 0x{c:04X}"].values[0] for c in (0xC65A, 0xC65B)] == [17, 21]  # A and D65
    back = load(path).meta
    assert back.noise_profile[0].tolist() == [
        pytest.approx([s, o]) for s, o in zip(profile.noise[0].shot, profile.noise[0].read, strict=True)
    ]
    assert next(op for op in back.opcodes[0] if isinstance(op, BadPixelsList)).points == profile.defects
    assert sum(isinstance(op, GainMap) for op in back.opcodes[0]) == 4


def test_the_matrix_of_the_profile_is_the_one_that_develops():
    frame = apply_profile(shot(), camera(), cct_k=2856)
    m = frame.meta
    facts = (m.neutral, 1 / m.neutral, m.color_matrices, m.forward_matrices, m.illuminant_cct_k)
    assert camera_to_linear_srgb(*(f.double() for f in facts))[0].numpy() == pytest.approx(CCM, abs=2e-3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="filter array is RGGB, that of profile Test Camera GRBG"):
        apply_profile(shot(cfa="RGGB"), camera())
    with pytest.raises(ShapeError, match="the defects of profile"):
        apply_profile(make_frame(Domain.RAW, size=(32, 32), batch=1, cfa="GRBG"), camera())
    with pytest.raises(ParamError, match="iso=0"):
        apply_profile(shot(), camera(), iso=0)
    with pytest.raises(DomainError, match="raw frames"):
        apply_profile(make_frame(Domain.MOSAIC, cfa="GRBG"), camera())
