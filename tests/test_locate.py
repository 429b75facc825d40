"""Charts are found where they are: truth is the homography that drew the picture, or corners set by hand."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
import torch

from ispkit.charts.chart import Chart, Region
from ispkit.charts.colorchecker import reference_linear_srgb
from ispkit.core.errors import FileError, ShapeError
from ispkit.io.load import load
from ispkit.kpi.locate import COLORCHECKER, COLORCHECKER_CENTERS, locate, locate_colorchecker
from ispkit.kpi.patches import mosaic_patches, mosaic_preview, picture_patches
from ispkit.kpi.placement import from_corners, from_regions, identity, project
from ispkit.ops.cfa import mosaic
from ispkit.ops.encode import srgb_encode
from ispkit.ops.levels import linearize

# Centers of the corner patches (x, y), set by hand: dark skin, bluish green, black, white.
BY_HAND = {
    "Indoor1": ((627, 1181), (1058, 1185), (1064, 1437), (634, 1435)),
    "Outdoor1": ((1649, 678), (1817, 682), (1813, 782), (1645, 777)),
}
MARKERS = {0: (20.0, 20.0, 60.0), 1: (20.0, 620.0, 60.0), 2: (420.0, 620.0, 60.0), 3: (420.0, 20.0, 60.0)}


def marked_chart() -> Chart:
    """500 x 700, white, four markers in the corners and a ColorChecker between them."""
    picture = torch.full((3, 500, 700), 0.9)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    for i, (top, left, side) in MARKERS.items():
        marker = cv2.aruco.generateImageMarker(dictionary, i, int(side)) / 255 * 0.88 + 0.02
        picture[:, int(top) : int(top + side), int(left) : int(left + side)] = torch.from_numpy(marker).float()
    regions = []
    for region, color in zip(COLORCHECKER, reference_linear_srgb().clamp(min=0), strict=True):
        top, left, height, width = (round(0.6 * v) for v in region.box)
        box = (top + 130, left + 170, height, width)
        picture[:, box[0] : box[0] + height, box[1] : box[1] + width] = color[:, None, None].float()
        regions.append(Region(region.name, "patch", box, {"linear": color.tolist()}))
    return Chart("marked", picture, tuple(regions), {}, MARKERS)


def shot(chart: Chart, to_picture: np.ndarray, size=(600, 800), *, sigma=0.6, level=0.5, noise=0.0, seed=0):
    """The chart under a homography on a gray wall, anti-aliased by drawing at 4 times the size."""
    k = 4
    up = np.diag([k, k, 1.0]) @ to_picture
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # warpPerspective counts from pixel centers
    source = chart.picture.permute(1, 2, 0).numpy()
    big = cv2.warpPerspective(
        source, np.linalg.inv(half) @ up @ half, (size[1] * k, size[0] * k), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(0.3, 0.3, 0.3),
    )  # fmt: skip
    small = cv2.GaussianBlur(cv2.resize(big, (size[1], size[0]), interpolation=cv2.INTER_AREA), (0, 0), sigma)
    picture = torch.from_numpy(small).permute(2, 0, 1) * level
    generator = torch.Generator().manual_seed(seed)
    return picture + noise * torch.randn(picture.shape, generator=generator)


def pose(degrees=0.0, tilt=0.0, scale=0.75, center=(400.0, 300.0)) -> np.ndarray:
    """Chart px -> picture px: perspective `tilt` over the chart's width, then a turn about the picture's center."""
    a = math.radians(degrees)
    turn = np.array([[math.cos(a), -math.sin(a), center[0]], [math.sin(a), math.cos(a), center[1]], [0, 0, 1]])
    bend = np.array([[1, 0, 0], [0, 1, 0], [tilt / 700, tilt / 1400, 1]])
    return turn @ bend @ np.diag([scale, scale, 1.0]) @ np.array([[1, 0, -350.0], [0, 1, -250.0], [0, 0, 1]])


CHART = marked_chart()
GRID = np.array([(x, y) for x in (60.0, 350.0, 640.0) for y in (60.0, 250.0, 440.0)])


@pytest.mark.parametrize(
    ("where", "how", "bound_px"),
    [
        (pose(), {}, 0.01),
        (pose(7, 0.25), {}, 0.01),
        (pose(90, -0.2, 0.7), {}, 0.01),
        (pose(180), {}, 0.01),
        (pose(3, 0.1), {"noise": 0.05}, 0.15),
        (pose(-5, 0.1), {"level": 0.02, "noise": 0.001}, 0.1),
        (pose(2, 0.3, 0.4), {}, 0.1),
    ],
    ids=["straight", "tilted", "turned 90", "turned 180", "noisy", "dark", "small"],
)
def test_markers_place_the_chart(where, how, bound_px):
    picture = shot(CHART, where, **how)
    placed = locate(picture, CHART)
    gap = np.linalg.norm(placed.points(GRID) - project(where, GRID), axis=1)
    assert gap.max() < bound_px
    assert placed.error_px < 2 * bound_px
    assert not placed.warnings


def test_encoded_pictures_are_found_too():
    placed = locate(srgb_encode(shot(CHART, pose(4, 0.2))[None])[0], CHART)
    # the tone curve moves every border outward by more; the four markers even most of it out
    assert np.abs(placed.points(GRID) - project(pose(4, 0.2), GRID)).max() < 0.1


def test_blur_and_clipping_are_said():
    assert "blurred" in locate(shot(CHART, pose(scale=1.0), sigma=3.0), CHART).warnings[0]
    bright = shot(CHART, pose(), level=4.0).clamp(max=1)
    assert "clipped" in locate(bright, CHART).warnings[0]


def test_no_chart_is_one_sentence():
    wall = torch.rand(3, 200, 300, generator=torch.Generator().manual_seed(1))
    with pytest.raises(FileError, match=r"no chart found: 0 of the 4 markers .* say where its corners are"):
        locate(wall, CHART)
    with pytest.raises(FileError, match="no chart found: no 4 x 6 patches"):
        locate_colorchecker(wall)
    with pytest.raises(FileError, match="no markers"):
        locate(wall, Chart("plain", wall, (), {}))
    with pytest.raises(ShapeError, match=r"a picture is \(3, H, W\)"):
        locate(wall[0], CHART)
    with pytest.raises(FileError, match="no chart found"):  # mirrored markers are other symbols
        locate(shot(CHART, pose()).flip(-1), CHART)


@pytest.mark.parametrize("degrees", [0, 3, 90, 180, 271])
@pytest.mark.parametrize("mirrored", [False, True])
def test_colorchecker_is_found_by_its_patches(degrees, mirrored):
    where = pose(degrees, 0.15, 0.8)
    picture = shot(dark_frame_chart(), where, noise=0.01)
    light = torch.tensor([0.4, 1.0, 0.6])[:, None, None]
    seen = (picture * light).flip(-1) if mirrored else picture * light
    placed = locate_colorchecker(seen)
    centers = np.array([(r.box[1] + r.box[3] / 2, r.box[0] + r.box[2] / 2) for r in COLORCHECKER])
    truth = project(where, centers * 0.9 + np.array([80.0, 70.0]))
    if mirrored:
        truth[:, 0] = 800 - truth[:, 0]
    assert np.linalg.norm(placed.points(centers) - truth, axis=1).max() < 1.5


def dark_frame_chart() -> Chart:
    """A ColorChecker as one buys it: 24 patches on a black board, no markers, in front of a light wall."""
    picture = torch.full((3, 500, 700), 0.55)
    picture[:, 50:450, 60:640] = 0.02
    for region, color in zip(COLORCHECKER, reference_linear_srgb().clamp(min=0), strict=True):
        top, left, height, width = (round(0.9 * v) for v in region.box)
        picture[:, top + 70 : top + 70 + height, left + 80 : left + 80 + width] = color[:, None, None].float()
    return Chart("board", picture, (), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BY_HAND))
def test_colorchecker_of_a_real_scene(shared, name):
    folder = shared / "raw_infinite_isp_8bit_grbg"
    frame = load(
        folder / f"{name}_2592x1536_8bit_GRBG.raw", sidecar=folder / f"{name}_2592x1536_10bit_GRBG-configs.yml"
    )
    linear = linearize(frame.data, frame.meta.black_level, frame.meta.white_level)[0, 0]
    placed = locate_colorchecker(mosaic_preview(linear, frame.meta.cfa))
    top, left, height, width = COLORCHECKER_CENTERS
    corners = placed.points([(left, top), (left + width, top), (left + width, top + height), (left, top + height)])
    cell = np.linalg.norm(corners[1] - corners[0]) / 5
    # the hand's own slips and the lens's distortion are some px; a fifth of a cell still lies inside the patch
    assert np.linalg.norm(corners - np.array(BY_HAND[name]), axis=1).max() < 0.2 * cell
    found = mosaic_patches(linear, frame.meta.cfa, placed, COLORCHECKER)
    by_hand = from_corners(BY_HAND[name], COLORCHECKER_CENTERS, placed.picture_size)
    other = mosaic_patches(linear, frame.meta.cfa, by_hand, COLORCHECKER)
    ratio = (found.mean / other.mean)[:, :].log().abs()
    assert float(ratio.median()) < 0.01


def test_corners_given_by_hand():
    where = pose(7, 0.25)
    corners = project(where, np.array([(0.0, 0), (700, 0), (700, 500), (0, 500)]))
    placed = from_corners([tuple(c) for c in corners], (0, 0, 500, 700), (600, 800))
    np.testing.assert_allclose(placed.points(GRID), project(where, GRID), atol=1e-3)
    with pytest.raises(ShapeError, match="corners are 4 points"):
        from_corners([(0, 0), (1, 1)], (0, 0, 500, 700), (600, 800))
    with pytest.raises(ShapeError, match="convex"):
        from_corners([(0, 0), (10, 10), (10, 0), (0, 10)], (0, 0, 500, 700), (600, 800))


def test_boxes_lie_inside_the_region():
    region = Region("r", "patch", (10.0, 20.0, 40.0, 60.0))
    assert identity((100, 200)).box(region) == (10, 20, 40, 60)
    assert identity((100, 200)).box(region, 0.25) == (20, 35, 20, 30)
    assert identity((30, 200)).box(region) == (10, 20, 20, 60)  # cut at the border
    assert identity((5, 5)).box(region)[2] == 0
    turned = from_corners([(50, 0), (100, 50), (50, 100), (0, 50)], (0, 0, 100, 100), (100, 100))
    top, left, height, width = turned.box(Region("d", "flat", (0, 0, 100, 100)))
    assert (top, left, height, width) == (25, 25, 50, 50)  # the largest rectangle in a square on its corner
    for degrees in (5, 33, 95):
        placed = from_corners(
            [tuple(c) for c in project(pose(degrees, 0.2), np.array([(0.0, 0), (700, 0), (700, 500), (0, 500)]))],
            (0, 0, 500, 700), (600, 800),
        )  # fmt: skip
        region = CHART.regions[3]
        top, left, height, width = placed.box(region)
        polygon = placed.polygon(region).astype(np.float32)
        for x in (left, left + width):
            for y in (top, top + height):
                assert cv2.pointPolygonTest(polygon, (float(x), float(y)), True) > -1e-3


def test_regions_file(tmp_path):
    path = tmp_path / "regions.json"
    path.write_text(json.dumps({"regions": [{"kind": "edge", "box": [1, 2, 30, 40]}]}))
    regions, placed = from_regions(path, (100, 100))
    assert regions[0] == Region("edge/00", "edge", (1.0, 2.0, 30.0, 40.0))
    assert placed is not None
    assert placed.box(regions[0]) == (1, 2, 30, 40)
    for wrong, why in (
        ("{", "cannot read regions"),
        ("[]", "no list of regions"),
        ('[{"kind": "blob", "box": [0, 0, 1, 1]}]', "needs a kind"),
        ('[{"kind": "edge", "box": [0, 0, 0, 1]}]', "needs a box"),
        ('[{"kind": "flat", "box": [0,0,1,1], "name": "a"}, {"kind": "flat", "box": [0,0,1,1], "name": "a"}]', "same"),
    ):
        path.write_text(wrong)
        with pytest.raises(FileError, match=why):
            from_regions(path)


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_mosaic_means_need_no_demosaicing(cfa):
    where = pose(4, 0.1, 0.9)
    picture = shot(CHART, where, level=0.8, noise=0.01)
    placed = locate(picture, CHART)
    truth = 0.8 * torch.tensor([r.truth["linear"] for r in CHART.regions], dtype=torch.float64)
    for found in (
        picture_patches(picture, placed, CHART.regions),
        mosaic_patches(mosaic(picture[None], cfa)[0, 0], cfa, placed, CHART.regions),
    ):
        error = (found.mean - truth).abs() / (0.01 / found.count.sqrt())
        assert float(error.max()) < 5  # standard errors of 72 means
        assert float((found.sigma / 0.01 - 1).abs().median()) < 0.1
        assert not found.clipped.any()


def test_dust_clipping_and_small_regions_are_handled():
    picture = torch.full((3, 60, 60), 0.5) + 0.01 * torch.randn(3, 60, 60, generator=torch.Generator().manual_seed(0))
    picture[:, 20, 20] = 0.0
    picture[0, 40:] = 1.0
    regions = [
        Region("dusty", "flat", (10, 10, 20, 20)),
        Region("clipped", "flat", (40, 10, 20, 20)),
        Region("tiny", "flat", (0, 0, 2, 2)),
    ]
    found = picture_patches(picture, identity((60, 60)), regions, inset=0)
    assert abs(float(found.mean[0, 1]) - 0.5) < 0.003
    assert found.clipped[1].tolist() == [1.0, 0.0, 0.0]
    assert found.mean[2].isnan().all()
    assert found.usable().tolist() == [True, False, False]
    assert found.warnings == ("outside the picture or smaller than 16 pixels of a color: tiny",)
    with pytest.raises(ShapeError, match="the placement is for a picture of"):
        picture_patches(picture, identity((50, 60)), regions)


def test_a_marker_that_cannot_be_read_is_found_by_the_others():
    where = pose(5, 0.2)
    picture = shot(CHART, where)
    top, left, side = MARKERS[2]
    x, y = project(where, np.array([(left + side / 2, top + side / 2)]))[0].round().astype(int)
    picture[:, y - 3 : y + 4, x - 3 : x + 4] = 0.45  # a spot on its bits
    placed = locate(picture, CHART)
    assert np.linalg.norm(placed.points(GRID) - project(where, GRID), axis=1).max() < 0.02
    picture[:, y - 60 : y + 60, x - 60 : x + 60] = 0.3  # gone: three are enough
    placed = locate(picture, CHART)
    assert np.linalg.norm(placed.points(GRID) - project(where, GRID), axis=1).max() < 0.1
