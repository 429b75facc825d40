"""Reading RAW files: tiny DNGs with known truth, and the real ones against LibRaw and exifread."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from ispkit.core import opcodes as op
from ispkit.core.errors import FileError
from ispkit.core.frame import Domain
from ispkit.core.meta import XYZ_TO_SRGB
from ispkit.io.dng_tags import LIGHT_SOURCE_CCT
from ispkit.io.raw import describe, read_raw, read_thumbnail
from ispkit.ops.temperature import xy_to_cct
from tiny_dng import (
    A_MATRIX,
    BYTE,
    D65_MATRIX,
    DOUBLE,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    opcode_list,
    rational,
    scene,
    sub_ifd_dng,
    tiny_dng,
)

GOPRO, GOPRO_CROP = "raw_gopro_hero7/gopro_hero7_GOPR9231.dng", "raw_gopro_hero7/gopro_hero7_crop1536x1024.dng"
BLACKMAGIC = "raw_dng/Blackmagic.dng"
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")
XTRANS = "GBGGRG RGRBGB GBGGRG GRGGBG BGBRGR GRGGBG".replace(" ", "")


def pixels(frame):
    return frame.data[0, 0].numpy()


def matrix(flat):
    return torch.tensor(flat).reshape(3, 3)


@pytest.mark.parametrize("cfa", PATTERNS)
def test_a_plain_dng_says_what_was_written(cfa):
    frame = read_raw(tiny_dng(cfa=cfa))
    assert frame.domain is Domain.RAW
    assert frame.data.dtype == torch.float32
    np.testing.assert_array_equal(pixels(frame), scene())
    meta = frame.meta
    assert meta.cfa == cfa
    assert meta.black_level.tolist() == [[64.0] * 4]
    assert meta.white_level.tolist() == [[4095.0] * 4]
    torch.testing.assert_close(meta.neutral, torch.tensor([[0.5, 1.0, 0.625]]))
    torch.testing.assert_close(meta.color_matrices[0], matrix(D65_MATRIX).expand(2, 3, 3))
    assert meta.illuminant_cct_k.tolist() == [[6504.0, 6504.0]]
    assert not meta.forward_matrices.any()
    assert meta.view[0].full_size == (48, 64)


def test_path_bytes_and_file_object_give_the_same_frame(tmp_path):
    data = tiny_dng()
    (tmp_path / "shot.dng").write_bytes(data)
    with (tmp_path / "shot.dng").open("rb") as file:
        frames = [
            read_raw(s) for s in (tmp_path / "shot.dng", str(tmp_path / "shot.dng"), data, io.BytesIO(data), file)
        ]
    for frame in frames[1:]:
        assert torch.equal(frame.data, frames[0].data)
        assert frame.meta.exif == frames[0].meta.exif


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_black_and_white_level_per_site(byteorder):
    tags = ((50713, SHORT, 2, (2, 2), True), (50714, RATIONAL, 4, rational((10.5, 20, 30, 40)), True))
    frame = read_raw(tiny_dng(None, *tags, byteorder=byteorder))
    assert frame.meta.black_level.tolist() == [[10.5, 20.0, 30.0, 40.0]]


@pytest.mark.parametrize("corner", [(0, 0), (2, 4), (3, 4), (2, 5), (3, 5)])
def test_the_active_area_is_cut_out_and_the_pattern_counts_from_its_corner(corner):
    """DNG: CFAPattern and BlackLevel begin at the active area's top-left, wherever that lies."""
    top, left = corner
    tags = (
        (50829, LONG, 4, (top, left, 45, 61), True),
        (50713, SHORT, 2, (2, 2), True),
        (50714, SHORT, 4, (10, 20, 30, 40), True),
    )
    data = tiny_dng(None, *tags, cfa="GRBG")
    frame = read_raw(data)
    np.testing.assert_array_equal(pixels(frame), scene()[top:45, left:61])
    assert frame.meta.cfa == "GRBG"
    assert frame.meta.black_level.tolist() == [[10.0, 20.0, 30.0, 40.0]]
    assert frame.meta.view[0].full_size == frame.size
    import rawpy

    with rawpy.imread(io.BytesIO(data)) as raw:  # LibRaw's own area may be smaller, its colors must agree
        y, x = raw.sizes.top_margin - top, raw.sizes.left_margin - left
        seen = "".join("RGBG"[i] for i in raw.raw_pattern.ravel())
    assert frame.crop(y, x, 8, 8).meta.cfa == seen


def test_black_levels_that_four_numbers_cannot_hold_are_evened_out():
    samples = scene()
    rows, columns = np.arange(48) % 7, -(np.arange(64) % 5)
    repeat = np.arange(16).reshape(4, 4) + 60
    tags = (
        (50713, SHORT, 2, (4, 4), True),
        (50714, SHORT, 16, tuple(repeat.ravel().tolist()), True),
        (50715, SRATIONAL, 64, rational(columns), True),
        (50716, SRATIONAL, 48, rational(rows), True),
    )
    frame = read_raw(tiny_dng(samples, *tags))
    black = np.tile(repeat, (12, 16)) + rows[:, None] + columns[None]
    sites = frame.meta.black_level.reshape(2, 2).repeat(24, 32).numpy()
    np.testing.assert_allclose(pixels(frame) - sites, samples - black, atol=1e-3)


def test_levels_speak_of_values_behind_the_linearization_table():
    table = (np.arange(256) ** 2 // 16).astype(np.uint16)
    samples = (scene() >> 4).astype(np.uint8)
    linearized = ((50712, SHORT, 256, table, True), (50717, LONG, 1, 4064, True))
    frame = read_raw(tiny_dng(samples, *linearized))
    np.testing.assert_array_equal(pixels(frame), table[samples])
    assert frame.meta.white_level[0, 0] == 4064


def test_the_white_level_defaults_to_the_largest_sample():
    assert read_raw(tiny_dng(None, without={50717})).meta.white_level[0, 0] == 65535
    assert read_raw(tiny_dng((scene() >> 4).astype(np.uint8), without={50717, 50714})).meta.white_level[0, 0] == 255


def test_float_samples_keep_their_ratios():
    linear = (scene() - 64.0) / (4095 - 64)
    frame = read_raw(tiny_dng(linear.astype(np.float32), without={50714, 50717}))
    meta = frame.meta
    signal = (pixels(frame) - meta.black_level[0, 0].item()) / meta.white_level[0, 0].item()
    np.testing.assert_allclose(signal, linear, atol=1e-4)
    with pytest.raises(FileError, match="half-float"):
        read_raw(tiny_dng(linear.astype(np.float16), without={50714, 50717}))


TWO = (
    (50721, SRATIONAL, 9, rational(A_MATRIX), True),
    (50722, SRATIONAL, 9, rational(D65_MATRIX), True),
    (50778, SHORT, 1, 17, True),
    (50779, SHORT, 1, 21, True),
)
FORWARD = (0.4, 0.45, 0.1142, 0.1, 0.9, 0.0, 0.02, -0.3, 1.1051)


def test_two_illuminants_come_rising_in_temperature():
    swapped = [(c, k, n, TWO[i][3], w) for (c, k, n, _, w), i in zip(TWO, (1, 0, 3, 2), strict=True)]
    for tags in (TWO, swapped):
        meta = read_raw(tiny_dng(None, *tags)).meta
        assert meta.illuminant_cct_k.tolist() == [[2856.0, 6504.0]]
        torch.testing.assert_close(meta.color_matrices[0], torch.stack([matrix(A_MATRIX), matrix(D65_MATRIX)]))


def test_matrices_whose_illuminants_are_unknown_count_as_one():
    """As the DNG SDK does: the first matrix, at 5000 K."""
    meta = read_raw(tiny_dng(None, *TWO[:3], (50779, SHORT, 1, 0, True))).meta
    torch.testing.assert_close(meta.color_matrices[0, 1], matrix(A_MATRIX))
    unknown = read_raw(tiny_dng(None, without={50778})).meta
    assert unknown.illuminant_cct_k.tolist() == [[5000.0, 5000.0]]


def test_one_forward_matrix_serves_both_illuminants():
    meta = read_raw(tiny_dng(None, *TWO, (50964, SRATIONAL, 9, rational(FORWARD), True))).meta
    torch.testing.assert_close(meta.forward_matrices[0], matrix(FORWARD).expand(2, 3, 3))
    assert not read_raw(tiny_dng(None, *TWO)).meta.forward_matrices.any()


def test_analog_balance_and_camera_calibration_are_folded_in():
    """DNG chapter 6: XYZ to camera = AB CC CM; camera to XYZ D50 = FM D (AB CC)^-1."""
    balance, calibration = (1.2, 1.0, 0.9), (1.02, 0.01, 0.0, -0.02, 0.99, 0.01, 0.0, 0.03, 1.01)
    tags = (
        (50727, RATIONAL, 3, rational(balance), True),
        (50723, SRATIONAL, 9, rational(calibration), True),
        (50964, SRATIONAL, 9, rational(FORWARD), True),
    )
    device = torch.diag(torch.tensor(balance)) @ matrix(calibration)
    meta = read_raw(tiny_dng(None, *tags)).meta
    torch.testing.assert_close(meta.color_matrices[0, 0], device @ matrix(D65_MATRIX))
    neutral = torch.tensor([0.5, 1.0, 0.625])
    inverse = torch.linalg.inv(device)
    expected = matrix(FORWARD) @ torch.diag(1 / (inverse @ neutral)) @ inverse
    torch.testing.assert_close(meta.forward_matrices[0, 0] @ torch.diag(1 / neutral), expected)
    alien = read_raw(tiny_dng(None, *tags, (50931, BYTE, 6, b"other\0", True))).meta
    torch.testing.assert_close(alien.color_matrices[0, 0], torch.diag(torch.tensor(balance)) @ matrix(D65_MATRIX))


def test_a_white_given_as_chromaticity_becomes_a_neutral():
    xy = (0.3457, 0.3585)
    meta = read_raw(tiny_dng(None, (50729, RATIONAL, 2, rational(xy), True), without={50728})).meta
    white = matrix(D65_MATRIX) @ torch.tensor([xy[0] / xy[1], 1.0, (1 - sum(xy)) / xy[1]])
    torch.testing.assert_close(meta.neutral[0], white / white.max())


def test_light_sources_agree_with_the_chromaticities_of_the_standard_illuminants():
    xy = {
        17: (0.44757, 0.40745),
        20: (0.33242, 0.34743),
        21: (0.31271, 0.32902),
        22: (0.29902, 0.31485),
        23: (0.34567, 0.35850),
    }
    for code, place in xy.items():
        cct, _ = xy_to_cct(torch.tensor([place]))
        assert LIGHT_SOURCE_CCT[code] == pytest.approx(float(cct), rel=0.002)


@pytest.mark.parametrize("pairs", [[(2e-4, 1e-7)], [(1e-4, 1e-7), (2e-4, 2e-7), (3e-4, 3e-7)]])
def test_noise_profile_once_or_per_color(pairs):
    flat = tuple(v for pair in pairs for v in pair)
    meta = read_raw(tiny_dng(None, (51041, DOUBLE, len(flat), flat, True))).meta
    torch.testing.assert_close(meta.noise_profile[0], torch.tensor(pairs).expand(3, 2))


def test_exposure_facts_orientation_and_crop_are_recorded():
    tags = (
        (50730, SRATIONAL, 1, rational((1.5,)), True),
        (274, SHORT, 1, 6, True),
        (50719, RATIONAL, 2, rational((2, 4)), True),
        (50720, RATIONAL, 2, rational((60, 40)), True),
        (271, 2, 0, "Maker", True),
        (33434, RATIONAL, 1, (1, 125), True),
        (34855, SHORT, 1, 400, True),
        (36867, 2, 0, "2024:01:02 03:04:05", True),
    )
    frame = read_raw(tiny_dng(None, *tags))
    meta = frame.meta
    assert frame.size == (48, 64)
    assert (meta.orientation, float(meta.baseline_exposure), float(meta.iso)) == ((6,), 1.5, 400.0)
    assert float(meta.exposure_time_s) == pytest.approx(1 / 125)
    known = {"Make": "Maker", "DateTimeOriginal": "2024:01:02 03:04:05", "ispkit:default_crop": (4, 2, 44, 62)}
    assert known.items() <= meta.exif[0].items()


def test_opcodes_of_all_lists_come_in_order():
    lists = {code: opcode_list((99, b""), (4, bytes(8)), (98, b"")) for code in (51008, 51009, 51022)}
    frame = read_raw(tiny_dng(None, *((code, UNDEFINED, len(b), b, True) for code, b in reversed(lists.items()))))
    found = frame.meta.opcodes[0]
    assert [o.stage for o in found] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [o.code for o in found if isinstance(o, op.UnknownOpcode)] == [99, 98] * 3


def test_the_raw_picture_stands_in_a_sub_ifd_and_the_preview_is_its_thumbnail():
    data = sub_ifd_dng(scene())
    frame = read_raw(data)
    np.testing.assert_array_equal(pixels(frame), scene())
    assert frame.meta.white_level[0, 0] == 4095  # from the SubIFD
    torch.testing.assert_close(frame.meta.neutral, torch.tensor([[0.5, 1.0, 0.625]]))  # from IFD0
    thumbnail = read_thumbnail(data)
    assert (thumbnail.shape, thumbnail.dtype, int(thumbnail.min())) == ((24, 32, 3), np.uint8, 128)
    with pytest.raises(FileError, match="no embedded preview"):
        read_thumbnail(tiny_dng())


@pytest.mark.parametrize("cfa", PATTERNS)
def test_half_size_bins_each_tile(cfa):
    samples = scene(47, 63)
    profile = (51041, DOUBLE, 2, (2e-4, 1e-7), True)
    frame = read_raw(tiny_dng(samples, profile, cfa=cfa), half_size=True)
    assert (frame.domain, frame.size) == (Domain.CAMERA_RGB, (23, 31))
    tiles = ((samples[:46, :62] - 64.0) / (4095 - 64)).reshape(23, 2, 31, 2).transpose(0, 2, 1, 3).reshape(23, 31, 4)
    for channel, color in enumerate("RGB"):
        truth = tiles[..., [i for i, letter in enumerate(cfa) if letter == color]].mean(-1)
        np.testing.assert_allclose(frame.data[0, channel].numpy(), truth, atol=1e-6)
    torch.testing.assert_close(frame.meta.noise_profile[0, :, 0], torch.tensor([2e-4, 1e-4, 2e-4]))


def test_linear_raw_enters_as_camera_rgb_with_its_own_levels():
    samples = np.random.default_rng(1).integers(64, 4095, (48, 64, 3), dtype=np.uint16)
    levels = ((50714, SHORT, 3, (64, 32, 16), True), (50717, SHORT, 3, (4095, 4000, 3900), True))
    frame = read_raw(tiny_dng(samples, *levels, photometric=34892))
    truth = (samples - np.array([64.0, 32, 16])) / (np.array([4095, 4000, 3900]) - np.array([64, 32, 16]))
    assert frame.domain is Domain.CAMERA_RGB
    assert frame.meta.exif[0]["ispkit:layout"] == "LinearRaw"
    np.testing.assert_allclose(frame.data[0].permute(1, 2, 0).numpy(), truth, atol=1e-5)
    torch.testing.assert_close(frame.meta.neutral, torch.tensor([[0.5, 1.0, 0.625]]))


def test_x_trans_enters_through_libraw_and_says_so():
    colors = np.array(["RGB".index(c) for c in XTRANS]).reshape(6, 6)
    samples = np.array([1000, 2000, 3000], np.uint16)[np.tile(colors, (10, 11))]
    pattern = (33422, BYTE, 36, bytes(colors.ravel().tolist()), True)
    frame = read_raw(tiny_dng(samples, (33421, SHORT, 2, (6, 6), True), pattern))
    assert (frame.domain, frame.size) == (Domain.CAMERA_RGB, (60, 66))
    assert frame.meta.exif[0]["ispkit:layout"] == "X-Trans"
    inside = frame.data[0, :, 8:-8, 8:-8].mean((1, 2))
    torch.testing.assert_close(inside, (torch.tensor([1000.0, 2000, 3000]) - 64) / (4095 - 64), atol=2e-3, rtol=0)


def test_a_quad_bayer_pattern_is_refused_by_name():
    quad = bytes((0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 2, 2, 1, 1, 2, 2))
    with pytest.raises(FileError, match="RRGG/RRGG/GGBB/GGBB is not Bayer"):
        read_raw(tiny_dng(None, (33421, SHORT, 2, (4, 4), True), (33422, BYTE, 16, quad, True)))


def test_without_any_matrix_the_frame_says_so():
    meta = read_raw(tiny_dng(None, without={50721, 50778})).meta
    assert meta.exif[0]["ispkit:color_matrix_from"].startswith("none known")
    torch.testing.assert_close(meta.color_matrices[0, 0], torch.tensor(XYZ_TO_SRGB))


NIKON = ((271, 2, 0, "NIKON CORPORATION", True), (272, 2, 0, "NIKON D700", True))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_file_that_is_no_dng_has_its_facts_from_libraw(orientation):
    """The same pixels without DNGVersion: LibRaw takes them for a NEF, crops its margins, knows the camera's matrix."""
    tags = (*NIKON, (274, SHORT, 1, orientation, True))
    frame = read_raw(tiny_dng(scene(400, 600), *tags, without={50706, 50708}))
    meta = frame.meta
    top, left, bottom, right = meta.exif[0]["ispkit:active_area"]
    np.testing.assert_array_equal(pixels(frame), scene(400, 600)[top:bottom, left:right])
    assert (meta.orientation, meta.cfa, meta.exif[0]["Model"]) == ((orientation,), "RGGB", "NIKON D700")
    assert meta.exif[0]["ispkit:container"] == "Nikon RAW (TIFF)"
    published = matrix((0.8139, -0.2171, -0.0663, -0.8747, 1.6541, 0.2295, -0.1925, 0.2008, 0.8093))  # dcraw, D700
    torch.testing.assert_close(meta.color_matrices[0, 0], published)
    torch.testing.assert_close(meta.neutral, torch.tensor([[0.5, 1.0, 0.625]]))


@pytest.mark.parametrize("wrap", ["raf", "cr3"])
def test_exif_is_found_inside_containers_that_are_no_tiff(wrap):
    from ispkit.io.containers import identify
    from ispkit.io.exif_facts import exif_facts

    block = tiny_dng(scene(22, 22), *NIKON, (33434, RATIONAL, 1, (1, 60), True))
    heads = {
        "raf": b"FUJIFILMCCD-RAW 0201" + bytes(100) + b"Exif\0\0",
        "cr3": b"\0\0\0\x18ftypcrx " + bytes(64) + b"CMT1",
    }
    container, tree = identify(heads[wrap] + block)
    assert container == {"raf": "Fujifilm RAF", "cr3": "Canon CR3"}[wrap]
    facts = exif_facts(tree)
    assert (facts["Model"], facts["ExposureTime"]) == ("NIKON D700", pytest.approx(1 / 60))


def test_gopro_facts_agree_with_exifread_and_libraw(shared):
    import exifread
    import rawpy

    path = shared / GOPRO
    frame = read_raw(path)
    with rawpy.imread(str(path)) as raw:
        np.testing.assert_array_equal(pixels(frame), raw.raw_image_visible)
        assert frame.meta.cfa == "".join("RGBG"[i] for i in raw.raw_pattern.ravel())
        np.testing.assert_allclose(1 / frame.meta.neutral[0].numpy(), raw.camera_whitebalance[:3], rtol=1e-5)
        assert not raw.rgb_xyz_matrix.any()
    with path.open("rb") as file:
        tags = {t.tag: t.values for t in exifread.process_file(file, details=False).values() if hasattr(t, "tag")}
    meta = frame.meta
    for index, code in enumerate((50721, 50722)):
        truth = matrix([float(v) for v in tags[code]])
        torch.testing.assert_close(meta.color_matrices[0, index], truth)
    assert (meta.orientation[0], float(meta.iso)) == (tags[274][0], tags[34855][0])
    assert float(meta.exposure_time_s) == pytest.approx(float(tags[33434][0]))
    assert meta.illuminant_cct_k.tolist() == [[2850.0, 5003.0]]
    assert float(meta.noise_profile[0, 0, 0]) == pytest.approx(0.00039362526)
    assert meta.exif[0]["FNumber"] == pytest.approx(float(tags[33437][0]))
    assert [type(o).__name__ for o in meta.opcodes[0]] == ["GainMap"] * 4


def test_the_fallback_matrix_of_libraw_agrees_with_the_dng_tag(shared):
    """LibRaw's camera-to-sRGB matrix, inverted, is the GoPro's own ColorMatrix2 up to the scale of each row."""
    from ispkit.io import libraw

    path = shared / GOPRO
    with libraw.opened(path.read_bytes()) as raw:
        found, source = libraw.color_matrix(raw, np.array(XYZ_TO_SRGB))
    assert source == "LibRaw's camera to sRGB matrix"
    truth = read_raw(path).meta.color_matrices[0, 1].numpy()
    np.testing.assert_allclose(found / found[1, 1], truth / truth[1, 1], atol=2e-3)


def test_blackmagic_pixels_are_the_linearized_jpeg_tiles(shared):
    """Four lossy 12-bit JPEG tiles; two decoders may differ by one code, before the table."""
    imagecodecs = pytest.importorskip("imagecodecs")
    from tifffile import TiffFile

    path = shared / BLACKMAGIC
    with TiffFile(path) as file:
        page = file.pages[0]
        table, data = page.tags[50712].value, path.read_bytes()
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    codes = [imagecodecs.jpeg_decode(data[at : at + length]).reshape(2176, 1032) for at, length in places]
    frame = read_raw(path)
    found = np.searchsorted(table, pixels(frame))
    np.testing.assert_array_equal(table[found], pixels(frame))
    np.testing.assert_allclose(found, np.concatenate(codes, axis=1).astype(int), rtol=0, atol=1)
    meta = frame.meta
    assert meta.black_level[0].tolist() == [512.0] * 4
    assert meta.white_level[0].tolist() == [65535.0] * 4
    assert float(meta.baseline_exposure) == pytest.approx(2.65412)
    assert float(meta.forward_matrices[0, 1, 0, 0]) == pytest.approx(0.61439)
    torch.testing.assert_close(meta.neutral, torch.tensor([[0.4533, 1.0, 0.53]]))


def test_describe_is_plain_data(shared):
    import json

    for name in (GOPRO_CROP, BLACKMAGIC):
        facts = json.loads(json.dumps(describe(shared / name)))
        assert (facts["container"], facts["layout"], facts["color_matrix_from"]) == ("DNG", "Bayer RGGB", "DNG tags")
    assert facts["default_crop"] == [8, 16, 2168, 4112]
