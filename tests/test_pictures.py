"""Pictures out and in: exact samples, profiles and EXIF where other programs look for them, no partial files."""

from __future__ import annotations

import os
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from conftest import make_frame
from ispkit.core.errors import FileError
from ispkit.core.frame import Domain
from ispkit.io import icc, pictures
from ispkit.io.pictures import Look, read_picture, write_picture
from ispkit.ops.color_spaces import COLOR_SPACES

EXIF = {"Make": "Nobody", "Model": "One", "DateTimeOriginal": "2024:05:06 07:08:09", "FNumber": 2.8, "ISO": 100}


def noise(shape, bits, seed=0) -> np.ndarray:
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 2**bits, shape).astype(kind)


@pytest.mark.parametrize("shape", [(33, 47, 3), (33, 47)])
@pytest.mark.parametrize(("ending", "bits"), [(".png", 8), (".png", 16), (".tif", 8), (".TIFF", 16)])
def test_integers_come_back_exactly(tmp_path, ending, bits, shape):
    samples, path = noise(shape, bits), tmp_path / f"a{ending}"
    write_picture(path, samples, look=Look("display-p3"))
    back = read_picture(path)
    assert back.bits == bits
    wanted = samples if samples.ndim == 3 else np.repeat(samples[..., None], 3, 2)
    np.testing.assert_array_equal(np.round(back.pixels * (2**bits - 1)), wanted)
    assert back.color_space == ("display-p3" if samples.ndim == 3 else None)
    others = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(others[..., ::-1] if samples.ndim == 3 else others, samples)
    if ending != ".png":
        np.testing.assert_array_equal(tifffile.imread(path), samples)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 16]), st.sampled_from([".png", ".tif"]))
def test_floats_are_rounded_and_clipped(tmp_path_factory, height, width, bits, ending):
    path = tmp_path_factory.mktemp("pictures") / f"a{ending}"
    pixels = np.random.default_rng(height).uniform(-0.1, 1.1, (height, width, 3)).astype(np.float32)
    before = pixels.copy()
    write_picture(path, pixels, bits=bits)
    back, top = read_picture(path), 2**bits - 1
    assert np.abs(back.pixels - np.clip(pixels, 0, 1)).max() <= 0.5 / top + 1e-6
    np.testing.assert_array_equal(pixels, before)


def test_floats_stay_floats_in_tiff(tmp_path):
    pixels = np.random.default_rng(0).normal(size=(300, 400, 3)).astype(np.float32)
    write_picture(tmp_path / "a.tif", pixels, bits=32, look=Look("prophoto-rgb", linear=True))
    back = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.bits, back.color_space, back.linear) == (32, "prophoto-rgb", True)


def test_jpeg_quality_and_fidelity(tmp_path):
    y, x = np.mgrid[0:64, 0:96] / 96
    smooth = np.stack([y, x, 0.5 * (x + y)], -1)
    errors, sizes = [], []
    for quality in (20, 60, 95):
        path = tmp_path / f"q{quality}.jpg"
        write_picture(path, smooth, quality=quality)
        back = read_picture(path)
        errors.append(float(np.abs(back.pixels - smooth).mean()))
        sizes.append(path.stat().st_size)
        assert (back.bits, back.color_space, back.linear) == (8, "srgb", False)
    assert sorted(errors, reverse=True) == errors
    assert sorted(sizes) == sizes
    assert errors[-1] < 0.004


@pytest.mark.parametrize("ending", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("space", COLOR_SPACES)
def test_a_frame_brings_profile_exif_and_orientation(tmp_path, ending, space):
    if ending == ".jpg" and space in ("xyz", "linear-srgb"):
        return
    path = tmp_path / f"a{ending}"
    frame = make_frame(Domain.DISPLAY_RGB, batch=1, orientation=6, exif=EXIF, exposure_time_s=0.004)
    frame = frame.with_data(frame.data, color_space=(space,))
    write_picture(path, frame)
    back = read_picture(path)
    upright = frame.upright().data[0].permute(1, 2, 0).numpy()
    assert back.pixels.shape == (24, 16, 3)
    if ending != ".jpg":
        np.testing.assert_allclose(back.pixels, upright, atol=0.5 / 255 + 1e-6)
    assert back.color_space == space
    with Image.open(path) if ending != ".tif" else Image.open(_eight_bit(path)) as picture:
        ImageCms.ImageCmsProfile(BytesIO(picture.info["icc_profile"]))
        assert picture.info["icc_profile"] == icc.profile(space)
        found = picture.getexif()
        inner = found.get_ifd(34665)
    assert (found[271], found[272], found[274], found[305]) == ("Nobody", "One", 1, "ispkit")
    assert (inner[34855], inner[33434], inner[33437]) == (800, 0.004, 2.8)
    assert inner[36867] == "2024:05:06 07:08:09"


def _eight_bit(path):
    """Pillow opens no 16-bit RGB: the same tags over 8-bit samples."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert page.tags["Orientation"].value == 1
    frame = make_frame(Domain.DISPLAY_RGB, batch=1, orientation=6, exif=EXIF, exposure_time_s=0.004)
    space = read_picture(path).color_space
    write_picture(path, frame.with_data(frame.data, color_space=(space,)), bits=8)
    return path


def test_linear_frames_are_linear_files(tmp_path):
    frame = make_frame(Domain.LINEAR_RGB, batch=1)
    for ending in (".png", ".tif"):
        write_picture(tmp_path / f"a{ending}", frame)
        back = read_picture(tmp_path / f"a{ending}")
        assert (back.bits, back.color_space, back.linear) == (16, "linear-srgb", True)
    with pytest.raises(FileError, match="8 bits are too few for linear data"):
        write_picture(tmp_path / "a.jpg", frame)


def test_the_written_colors_survive_color_management(tmp_path):
    """The same color in every space: LittleCMS takes each file to sRGB and meets the same picture."""
    from ispkit.ops.color_spaces import apply_matrix, linear_srgb_to
    from ispkit.ops.encode import encode_for

    linear = make_frame(Domain.LINEAR_RGB, batch=1).data.double() * 0.8 + 0.1
    wanted = encode_for(linear, "srgb")[0].permute(1, 2, 0).numpy()
    for space in ("srgb", "display-p3", "adobe-rgb", "prophoto-rgb"):
        encoded = encode_for(apply_matrix(linear, linear_srgb_to(space)), space)[0].permute(1, 2, 0).numpy()
        write_picture(tmp_path / "a.png", encoded, bits=8, look=Look(space))
        with Image.open(tmp_path / "a.png") as picture:
            profile = ImageCms.ImageCmsProfile(BytesIO(picture.info["icc_profile"]))
            seen = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), renderingIntent=1)
        worst = np.abs(np.asarray(seen) / 255 - wanted).max()
        assert worst < (3.1 if space == "prophoto-rgb" else 2.1) / 255, space


REFUSED = [
    ("a.bmp", {}, "no picture format ends in '.bmp'"),
    ("a.jpeg2", {}, "did you mean '.jpeg'"),
    ("a.png", {"bits": 12}, "12 bits do not fit PNG; use 8 or 16"),
    ("a.jpg", {"bits": 16}, "16 bits do not fit JPEG; use 8"),
    ("a.png", {"bits": 32}, "32 bits do not fit PNG"),
    ("a.jpg", {"quality": 0}, r"quality=0 must be a whole number in \[1, 100\]"),
    ("a.png", {"look": Look("adobe")}, "did you mean 'adobe-rgb'"),
    ("none/a.png", {}, "the folder does not exist"),
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_wrong_orders_are_refused(tmp_path, name, options, message):
    with pytest.raises(FileError, match=message):
        write_picture(tmp_path / name, np.zeros((4, 4, 3), np.float32), **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.full((4, 4, 3), np.nan, np.float32), "no finite numbers"),
        (np.zeros((4, 4, 4), np.float32), r"shape \(H, W, 3\) or \(H, W\), got \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.float32), "got"),
        (np.zeros((4, 4, 3), np.int32), "got int32"),
        (make_frame(Domain.MOSAIC, batch=1), "got 1 of mosaic; develop it first"),
        (make_frame(Domain.DISPLAY_RGB, batch=2), "got 2 of display_rgb"),
    ],
)
def test_wrong_pictures_are_refused(tmp_path, picture, message):
    with pytest.raises(FileError, match=message):
        write_picture(tmp_path / "a.png", picture)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_a_full_disk_leaves_no_partial_picture(tmp_path, ending):
    """The system refuses to grow a file beyond 4 kB: no exception but one, and nothing left."""
    import resource
    import signal

    old = noise((8, 8, 3), 8)
    write_picture(tmp_path / f"old{ending}", old)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        for name in ("old", "new"):
            with pytest.raises(FileError, match="the file is too large for this disk"):
                write_picture(tmp_path / f"{name}{ending}", noise((200, 200, 3), 8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [p.name for p in tmp_path.iterdir()] == [f"old{ending}"]
    assert read_picture(tmp_path / f"old{ending}").pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_damaged_pictures_are_refused_not_crashed_on(tmp_path, ending):
    """Every truncation, and 150 random flips: a picture, or a FileError; nothing else, no absurd memory."""
    write_picture(tmp_path / f"a{ending}", noise((40, 60, 3), 8))
    good = (tmp_path / f"a{ending}").read_bytes()
    rng = np.random.default_rng(0)
    damaged = [good[:n] for n in rng.integers(0, len(good), 40)]
    for _ in range(150):
        flipped = bytearray(good)
        for at in rng.integers(0, min(len(good), 1500), 3):
            flipped[at] ^= 1 << rng.integers(0, 8)
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        try:
            read_picture(content)
        except FileError:
            refused += 1
    assert refused >= 40


def test_strange_files_are_named():
    for content, message in (
        (b"", "this is empty"),
        (b"GIF89a" + bytes(90), "this is a GIF picture; a picture is PNG, TIFF or JPEG"),
        (b"hello, world, this is text" * 4, "this is text"),
    ):
        with pytest.raises(FileError, match=message):
            read_picture(content)
    huge = bytearray(cv2.imencode(".png", noise((4, 4, 3), 8))[1].tobytes())
    huge[16:24] = (60000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    with pytest.raises(FileError, match="claims 60000x60000 pixels"):
        read_picture(bytes(huge))
    clear = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(FileError, match="transparent"):
        read_picture(cv2.imencode(".png", clear)[1].tobytes())
    stream = BytesIO()
    Image.new("CMYK", (8, 8)).save(stream, "JPEG")
    with pytest.raises(FileError, match="convert it to RGB"):
        read_picture(stream.getvalue())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_when_reading(tmp_path, orientation):
    """As Pillow's exif_transpose."""
    from PIL import ImageOps

    picture = Image.fromarray(np.kron(noise((3, 5, 3), 8, 4), np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[274] = orientation
    for kind, tolerance in (("jpeg", 0.02), ("png", 1e-6)):
        stream = BytesIO()
        picture.save(stream, kind, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "jpeg" else {}))
        with Image.open(BytesIO(stream.getvalue())) as opened:
            wanted = np.asarray(ImageOps.exif_transpose(opened)) / 255
        np.testing.assert_allclose(read_picture(stream.getvalue()).pixels, wanted, atol=tolerance)


def test_shared_profiles_are_understood(shared):
    """Files of darktable and Krita: Rec. 709 and 2020 are not ours, sRGB is."""
    folder = shared / "raw_pixls_64px_16bit"
    for path in folder.glob("*srgb8*.png"):
        back = read_picture(path)
        assert (back.bits, back.color_space) == (8, "srgb"), path.name
    assert read_picture(next(iter(folder.glob("*2020_g1*.png")))).color_space is None


def test_frames_keep_their_device_and_pixels(tmp_path):
    frame = make_frame(Domain.DISPLAY_RGB, batch=1)
    data = frame.data.clone().requires_grad_()
    write_picture(tmp_path / "a.png", frame.with_data(data))
    torch.testing.assert_close(data.detach(), frame.data)
    assert set(pictures.FORMATS) == {".png", ".tif", ".tiff", ".jpg", ".jpeg"}
    assert os.listdir(tmp_path) == ["a.png"]
