"""Written DNGs: what comes back equals what went in, by our reader, LibRaw, tifffile, RawTherapee, darktable."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import rawpy
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_frame
from ispkit.core import opcodes as op
from ispkit.core.cfa import CFA_PATTERNS
from ispkit.core.errors import FileError
from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import XYZ_TO_SRGB, CameraMeta
from ispkit.io.dng_opcodes import parse_opcodes
from ispkit.io.dng_writer import write_dng
from ispkit.io.opcode_writer import encode_opcodes
from ispkit.io.raw import read_raw
from ispkit.io.tiff_write import rational

# ColorMatrix1 and 2 of a real camera (Nikon D700 as published in Adobe's DNG SDK table)
MATRIX = ((0.8139, -0.2171, -0.0663), (-0.8747, 1.6541, 0.2295), (-0.1925, 0.2008, 0.8093))
MATRIX_A = ((0.9, -0.31, -0.04), (-0.71, 1.52, 0.21), (-0.12, 0.19, 0.62))
FORWARD = ((0.6, 0.25, 0.1143), (0.3, 0.75, -0.05), (0.05, 0.1, 0.6749))
EXIF = {
    "Make": "Nobody", "Model": "Nobody One", "DateTimeOriginal": "2024:05:06 07:08:09", "FNumber": 2.8,
    "FocalLength": 4.38, "LensModel": "fixed", "ISO": 1, "Flash": 16, "odd fact": object(), "MeteringMode": "spot",
}  # fmt: skip
LISTS = (
    op.BadPixelsConstant(1, value=0, phase=2),
    op.BadPixelsList(1, phase=1, points=((3, 4), (7, 0)), rectangles=((0, 0, 2, 3),)),
    op.TrimBounds(1, area=(0, 0, 40, 60)),
    op.MapValues(2, kind="table", area=(0, 0, 40, 60), plane=0, planes=1, row_pitch=2, col_pitch=2,
                 coefficients=(0.0, 5.0, 65535.0)),
    op.MapValues(2, kind="polynomial", area=(1, 1, 40, 60), plane=0, planes=1, row_pitch=2, col_pitch=2,
                 coefficients=(0.01, 0.98, 0.001)),
    op.GainMap(2, area=(0, 1, 40, 60), plane=0, planes=1, row_pitch=2, col_pitch=2, spacing_v=0.5, spacing_h=1.0,
               origin_v=0.0, origin_h=0.0, gains=(((1.5,), (1.25,)), ((1.0,), (1.0,)), ((1.5,), (1.75,)))),
    op.LineValues(2, axis="row", action="delta", area=(0, 0, 4, 60), plane=0, planes=1, row_pitch=1, col_pitch=1,
                  values=(0.5, -0.5, 0.25, 0.0)),
    op.LineValues(2, axis="column", action="scale", area=(0, 0, 40, 2), plane=0, planes=1, row_pitch=1, col_pitch=1,
                  values=(1.5, 0.75)),
    op.WarpRectilinear(3, planes=((1.0, 0.01, -0.02, 0.003, 1e-4, -1e-4),) * 3, center=(0.5, 0.49)),
    op.WarpFisheye(3, planes=((1.0, 0.1, -0.2, 0.03),), center=(0.5, 0.5)),
    op.VignetteRadial(3, k=(0.1, 0.2, -0.1, 0.0, 0.05), center=(0.5, 0.5)),
)  # fmt: skip


def raw_frame(size=(40, 60), cfa="GRBG", seed=0, **facts) -> Frame:
    data = torch.from_numpy(np.random.default_rng(seed).integers(0, 4096, size).astype(np.float32))[None, None]
    known = {
        "black_level": (64.0, 64.25, 63.5, 65.0), "white_level": 4095.0, "neutral": (0.4871, 1.0, 0.713),
        "color_matrices": (MATRIX_A, MATRIX), "illuminant_cct_k": (2856.0, 6504.0), "iso": 1600.0,
        "exposure_time_s": 1 / 250, "noise_profile": ((2e-4, 1e-6), (1e-4, 2e-6), (3e-4, 3e-6)),
        "baseline_exposure": 0.25, "orientation": 6, "forward_matrices": (FORWARD, FORWARD), "exif": EXIF,
    }  # fmt: skip
    return Frame(data, Domain.RAW, CameraMeta.make(cfa, size, **(known | facts)))


def same_facts(ours: CameraMeta, theirs: CameraMeta) -> None:
    for name, value in ours.tensors().items():
        rtol = 3e-3 if name == "illuminant_cct_k" else 1e-7  # a light source is named, not numbered
        torch.testing.assert_close(theirs.tensors()[name], value, rtol=rtol, atol=0, msg=lambda m, n=name: f"{n}: {m}")
    assert (theirs.cfa, theirs.orientation, theirs.view) == (ours.cfa, ours.orientation, ours.view)
    assert theirs.opcodes == ours.opcodes


@pytest.mark.parametrize("cfa", CFA_PATTERNS)
@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (3, 2, 0, 5), (2, 1, 1, 1)])
def test_round_trip_is_exact(tmp_path, cfa, margins):
    frame, path = raw_frame(cfa=cfa, opcodes=LISTS[:3] + LISTS[5:6] + LISTS[8:]), tmp_path / "a.dng"
    write_dng(path, frame, margins=margins)
    back = read_raw(path)
    assert back.domain is Domain.RAW
    torch.testing.assert_close(back.data, frame.data, rtol=0, atol=0)
    same_facts(frame.meta, back.meta)
    facts = back.meta.exif[0]
    assert (facts["Make"], facts["Model"], facts["FNumber"]) == ("Nobody", "Nobody One", 2.8)
    assert (facts["ISOSpeedRatings"], facts["DateTimeOriginal"]) == (1600, "2024:05:06 07:08:09")
    assert "MeteringMode" not in facts


def test_round_trip_of_a_single_light(tmp_path):
    frame, path = make_frame(Domain.RAW, batch=1, size=(32, 48)), tmp_path / "a.dng"
    frame = frame.with_data(frame.data.round())
    write_dng(path, frame)
    back = read_raw(path)
    torch.testing.assert_close(back.data, frame.data, rtol=0, atol=0)
    same_facts(frame.meta, back.meta)
    with tifffile.TiffFile(path) as file:
        assert not {t.code for t in file.pages[0].tags} & {50722, 50779, 50964}


def test_libraw_agrees(tmp_path):
    frame, path = raw_frame(), tmp_path / "a.dng"
    write_dng(path, frame)
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible, frame.data[0, 0].numpy())
        assert "".join("RGBG"[i] for i in raw.raw_pattern.ravel()) == "GRBG"
        black = np.array(raw.black_level_per_channel)[raw.raw_pattern.ravel()]
        np.testing.assert_allclose(black, frame.meta.black_level[0], atol=0.51)  # LibRaw keeps whole numbers
        assert raw.white_level == 4095
        gains = np.array(raw.camera_whitebalance[:3])
        np.testing.assert_allclose(gains / gains[1], 1 / frame.meta.neutral[0].numpy(), rtol=1e-5)
        # LibRaw's camera to sRGB matrix takes balanced RGB: the rows of the color matrix made to sum to 1
        camera = np.array(MATRIX) @ np.linalg.inv(XYZ_TO_SRGB)
        to_srgb = np.linalg.inv(camera / camera.sum(1, keepdims=True))
        np.testing.assert_allclose(raw.color_matrix[:, :3], to_srgb, atol=2e-3)
        assert raw.sizes.flip == 6
        assert (raw.other.iso_speed, raw.other.shutter_speed) == (1600, pytest.approx(1 / 250))


def test_tifffile_sees_a_plain_tiff(tmp_path):
    path = tmp_path / "a.dng"
    frame = raw_frame(opcodes=LISTS)
    write_dng(path, frame)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert (page.photometric, page.compression, len(page.dataoffsets)) == (32803, 1, 1)
        assert page.dataoffsets[0] % 16 == 0
        assert page.dataoffsets[0] + page.databytecounts[0] == path.stat().st_size
        np.testing.assert_array_equal(page.asarray(), frame.data[0, 0].numpy())
        codes = [tag.code for tag in page.tags]
        assert codes == sorted(codes)
        assert page.tags["ExifTag"].value["ExposureTime"] == (1, 250)


@pytest.mark.parametrize("opcode", LISTS, ids=lambda o: type(o).__name__)
def test_opcodes_come_back(opcode):
    """Against the parser, whose own tests hold bytes of real files."""
    coded = encode_opcodes([opcode, opcode], opcode.stage)
    assert parse_opcodes(coded, opcode.stage) == (opcode, opcode)
    assert encode_opcodes([opcode], opcode.stage % 3 + 1) == b""


def test_gain_map_bytes_as_the_specification_lists_them():
    """FixBadPixelsList by hand: count, then id 5, version 1.3, flags, 28 bytes, phase, counts, points, rectangle."""
    opcode = op.BadPixelsList(1, phase=2, points=((3, 4),), rectangles=((1, 2, 5, 6),))
    numbers = [1, 5, 0x01030000, 0, 36, 2, 1, 1, 3, 4, 1, 2, 5, 6]
    assert encode_opcodes([opcode], 1) == b"".join(n.to_bytes(4, "big") for n in numbers)
    assert encode_opcodes([op.UnknownOpcode(3, code=99, optional=True)], 3) == b""
    with pytest.raises(FileError, match=r"opcode 99 \(UnknownOpcode\) cannot be written"):
        encode_opcodes([op.UnknownOpcode(3, code=99, optional=False)], 3)


def test_a_crop_takes_its_corrections_along(tmp_path):
    frame, path = raw_frame(opcodes=(LISTS[1], LISTS[5])), tmp_path / "a.dng"
    part = frame.crop(3, 3, 31, 30)
    write_dng(path, part)
    back = read_raw(path)
    torch.testing.assert_close(back.data, part.data)
    bad, gain = back.meta.opcodes[0]
    assert (bad.points, bad.rectangles) == (((0, 1),), ())
    # a gain's place on the sensor must stay: relative position * size + crop origin
    assert gain.origin_v * 31 + 3 == pytest.approx(0)
    assert (gain.origin_h + gain.spacing_h) * 30 + 3 == pytest.approx(60)
    assert gain.area == (1, 0, 31, 30)
    lens = raw_frame(opcodes=(LISTS[8],)).crop(2, 2, 24, 24)
    with pytest.raises(FileError, match="WarpRectilinear speaks of the whole picture"):
        write_dng(path, lens)
    with pytest.raises(FileError, match="mirrored"):
        write_dng(path, raw_frame(opcodes=(LISTS[1],)).flip(rows=True))
    write_dng(path, lens, opcodes=False)
    assert read_raw(path).meta.opcodes == ((),)


def test_what_dng_cannot_say_is_refused(tmp_path):
    frame, path = raw_frame(), tmp_path / "a.dng"
    bad = (
        (frame.with_data(frame.data * 20), "do not fit 16 bits"),
        (frame.with_data(frame.data * float("nan")), "do not fit 16 bits"),
        (frame.with_data(frame.data - 1e4), "do not fit 16 bits"),
        (Frame.cat([frame, frame]), "one raw frame, got 2 of raw"),
        (make_frame(Domain.LINEAR_RGB, batch=1), "one raw frame, got 1 of linear_rgb"),
        (raw_frame(white_level=(4095, 4095, 4000, 4095)), "one white level"),
        (raw_frame(black_level=-3), "no negative black level"),
    )
    for wrong, message in bad:
        with pytest.raises(FileError, match=message):
            write_dng(path, wrong)
    with pytest.raises(FileError, match="the folder does not exist"):
        write_dng(tmp_path / "none" / "a.dng", frame)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["raw_gopro_hero7/gopro_hero7_crop1536x1024.dng", "raw_dng/Blackmagic.dng"])
def test_real_files_survive_a_round_trip(tmp_path, shared, name):
    frame, path = read_raw(shared / name), tmp_path / "a.dng"
    write_dng(path, frame)
    back = read_raw(path)
    torch.testing.assert_close(back.data, frame.data, rtol=0, atol=0)
    same_facts(frame.meta, back.meta)
    assert back.meta.exif[0].get("Model") == frame.meta.exif[0].get("Model")
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(raw.raw_image_visible, frame.data[0, 0].numpy())


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="needs Linux")
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    """RLIMIT_FSIZE makes the system refuse the write in the middle of the strip."""
    import resource
    import signal

    frame, path = raw_frame((200, 200)), tmp_path / "a.dng"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(FileError, match=r"a\.dng: the file is too large for this disk"):
            write_dng(path, frame)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


@given(st.floats(2**-20, 65535, width=32), st.booleans())
def test_rationals_are_exact_for_float32(value, signed):
    num, den = rational(-value if signed else value, signed=signed)
    assert np.float32(num / den) == np.float32(-value if signed else value)
    assert max(abs(num), den) < (2**31 if signed else 2**32)


def scene(tmp_path) -> tuple[Frame, str]:
    """A mosaic of large flat colors, so that means do not depend on a demosaic."""
    h, w = 256, 384
    levels = np.random.default_rng(3).uniform(0.1, 0.8, (3, 2, 3))
    rgb = levels.repeat(h // 2, axis=1).repeat(w // 3, axis=2) * np.array([0.5, 1.0, 0.7])[:, None, None]
    mosaic = np.empty((h, w))
    for i, color in enumerate("GRBG"):
        mosaic[i // 2 :: 2, i % 2 :: 2] = rgb["RGB".index(color), i // 2 :: 2, i % 2 :: 2]
    data = torch.from_numpy(np.round(mosaic * (4095 - 64) + 64).astype(np.float32))[None, None]
    facts = {"black_level": 64.0, "neutral": (0.5, 1.0, 0.7), "orientation": 1, "baseline_exposure": 0.0}
    facts |= {"color_matrices": (MATRIX,), "illuminant_cct_k": (6504.0,), "forward_matrices": ()}
    frame = raw_frame((h, w))
    frame = Frame(data, Domain.RAW, replace(CameraMeta.make("GRBG", (h, w), white_level=4095.0, **facts), exif=({},)))
    write_dng(tmp_path / "scene.dng", frame)
    return frame, str(tmp_path / "scene.dng")


def patch_means(picture: np.ndarray) -> np.ndarray:
    """Means of the middle halves of 2x3 patches -> (6, 3) in [0, 1]."""
    top = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1.0
    h, w = picture.shape[0] // 2, picture.shape[1] // 3
    starts = [(y * h + h // 4, x * w + w // 4) for y in range(2) for x in range(3)]
    cuts = [picture[y : y + h // 2, x : x + w // 2] for y, x in starts]
    return np.array([c.reshape(-1, c.shape[-1])[:, :3].mean(0) for c in cuts]) / top


def libraw_means(path: str) -> np.ndarray:
    with rawpy.imread(path) as raw:
        return patch_means(raw.postprocess(use_camera_wb=True, no_auto_bright=True, gamma=(1, 1), output_bps=16))


def linear(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("rawtherapee-cli") is None, reason="needs rawtherapee-cli")
def test_rawtherapee_sees_the_same_colors(tmp_path):
    _, path = scene(tmp_path)
    env = os.environ | {"HOME": str(tmp_path), "RT_SETTINGS": str(tmp_path), "RT_CACHE": str(tmp_path)}
    out = tmp_path / "rt.tif"
    command = ["rawtherapee-cli", "-Y", "-o", out, "-t", "-b16", "-c", path]
    done = subprocess.run(command, check=False, env=env, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(linear(patch_means(tifffile.imread(out))), libraw_means(path), atol=2e-3)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("darktable-cli") is None, reason="needs darktable-cli")
def test_darktable_sees_the_same_colors(tmp_path):
    _, path = scene(tmp_path)
    out = tmp_path / "dt.tif"
    settings = ["--conf", "plugins/darkroom/workflow=none", "--conf", "plugins/imageio/format/tiff/bpp=16"]
    command = ["darktable-cli", path, out, "--icc-type", "SRGB", "--apply-custom-presets", "0", "--core",
               "--configdir", tmp_path / "cfg", "--library", ":memory:", *settings]  # fmt: skip
    done = subprocess.run(command, check=False, env=os.environ | {"HOME": str(tmp_path)}, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(linear(patch_means(tifffile.imread(out))), libraw_means(path), atol=2e-3)
