"""Kernels that blurred a simulated shot come back: through perspective, distortion, noise, and on the mosaic."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from ispkit.calibrate.psf import measure_psf
from ispkit.calibrate.psf_kernel import mtf50
from ispkit.charts.catalog import CHARTS
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.core.profile import PsfGrid
from ispkit.kpi.locate import locate
from ispkit.kpi.patches import mosaic_preview
from ispkit.kpi.placement import Placement, identity
from ispkit.sensor.simulate import Sensor, capture

SENSOR = Sensor(blur_px=0.0, vignetting=(0.0,) * 5)
SIZE = 15
PLAIN = CHARTS["psf_noise"](height=240, width=240, rows=1, columns=1, cell_px=1)


def gaussian(across, along=None, degrees=0.0, center=(0.0, 0.0)):
    y, x = np.mgrid[-7:8, -7:8].astype(float)
    a = np.radians(degrees)
    x, y = x - center[0], y - center[1]
    u, v = x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)
    kernel = np.exp(-0.5 * ((u / across) ** 2 + (v / (along or across)) ** 2))
    return kernel / kernel.sum()


def motion(length, degrees):
    """A line of light, drawn at 8 times the size."""
    a, middle = np.radians(degrees), SIZE * 4 - 0.5
    half = np.array([np.cos(a), np.sin(a)]) * length * 4
    canvas = np.zeros((SIZE * 8, SIZE * 8), np.float32)
    cv2.line(canvas, *(tuple(np.round(middle + s * half).astype(int).tolist()) for s in (-1, 1)), 1.0, 8)
    kernel = canvas.reshape(SIZE, 8, SIZE, 8).mean((1, 3)).astype(float)
    return kernel / kernel.sum()


KERNELS = {
    "sharp": gaussian(0.6),
    "soft": gaussian(1.0),
    "defocused": gaussian(2.0),
    "astigmatic": gaussian(2.0, 0.8, 30),
    "shaken": motion(6, 23),
}


def mosaic_of(scene, kernel, *, iso=100.0, cfa="RGGB", sensor=SENSOR):
    sensor = Sensor(cfa=cfa, blur_px=0.0, vignetting=sensor.vignetting)
    psf = (
        kernel if isinstance(kernel, PsfGrid) else torch.as_tensor(kernel, dtype=torch.float32).reshape(-1, SIZE, SIZE)
    )
    frame = capture(scene[None], sensor, cct_k=5000.0, iso=iso, psf=psf, seed=1)
    return (frame.data[0, 0] - sensor.black_level) / (sensor.white_level - sensor.black_level)


def errors(result, truth, color="G"):
    found = np.array(result.grid.kernels[color])
    return np.linalg.norm(found - truth, axis=(2, 3)) / np.linalg.norm(truth)


@pytest.mark.parametrize("name", list(KERNELS))
@pytest.mark.parametrize(("iso", "bound", "sharpness"), [(100.0, 0.03, 0.015), (1600.0, 0.09, 0.04)])
def test_known_kernels_come_back(name, iso, bound, sharpness):
    """Green has twice the sites of red and blue, so half the error is asked of its MTF50."""
    kernel = KERNELS[name]
    result = measure_psf(mosaic_of(PLAIN.picture, kernel, iso=iso), "RGGB", PLAIN, identity(PLAIN.size))
    for color in "RGB":
        found = np.array(result.grid.kernels[color])
        assert found.min() >= 0
        np.testing.assert_allclose(found.sum((2, 3)), 1, atol=1e-9)
        assert errors(result, kernel, color).max() < bound
        np.testing.assert_allclose(
            result.mtf50[color][0][0], mtf50(kernel), rtol=sharpness * (1 if color == "G" else 2)
        )
    assert not result.warnings


@pytest.mark.parametrize("cfa", ["BGGR", "GRBG", "GBRG"])
def test_every_phase_and_color_of_its_own(cfa):
    """Each color has another blur, and red is shifted against green (lateral color)."""
    truth = {"R": gaussian(1.4, center=(0.6, -0.3)), "G": gaussian(0.8), "B": gaussian(1.1, 0.7, 60)}
    mosaic = mosaic_of(PLAIN.picture, np.stack(list(truth.values())), cfa=cfa)
    result = measure_psf(mosaic, cfa, PLAIN, identity(PLAIN.size))
    for color, kernel in truth.items():
        assert errors(result, kernel, color).max() < 0.04


@pytest.mark.slow
@pytest.mark.parametrize("barrel", [0.0, 0.02])
def test_through_perspective_and_distortion(barrel):
    chart = CHARTS["psf_noise"](height=800, width=1200, rows=4, columns=6, markers=True)
    turn = np.radians(2.0)
    homography = (
        np.array([[np.cos(turn), -np.sin(turn), 400], [np.sin(turn), np.cos(turn), 270], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, 1, 0], [0.06 / 700, 0.06 / 1400, 1]])
        @ np.diag([0.62, 0.62, 1])
        @ np.array([[1, 0, -600.0], [0, 1, -400], [0, 0, 1]])
    )
    scene = seen_through(chart, homography, (540, 800), barrel)
    kernel = KERNELS["astigmatic"]
    mosaic = mosaic_of(scene, kernel, iso=200.0)
    placed = locate(mosaic_preview(mosaic, "RGGB"), chart)
    result = measure_psf(mosaic, "RGGB", chart, placed, grid=(2, 3))
    assert errors(result, kernel).max() < 0.05
    assert errors(result, kernel, "R").max() < 0.06
    np.testing.assert_allclose(np.array(result.mtf50["G"]), np.tile(mtf50(kernel), (2, 3, 1)), rtol=0.02)


def seen_through(chart, homography, size, barrel, parts=4):
    """The chart in a picture, each pixel the mean of parts x parts exact samples."""
    height, width = size
    y, x = (np.mgrid[0 : height * parts, 0 : width * parts] + 0.5) / parts
    at = np.stack([x.ravel(), y.ravel()], 1)
    middle = np.array([width / 2, height / 2])
    at = middle + (at - middle) * (1 + barrel * (((at - middle) / np.linalg.norm(middle)) ** 2).sum(1, keepdims=True))
    mapped = np.concatenate([at, np.ones((len(at), 1))], 1) @ np.linalg.inv(homography).T
    column, row = np.floor(mapped[:, :2] / mapped[:, 2:]).astype(int).T
    tall, wide = chart.size
    inside = (row >= 0) & (column >= 0) & (row < tall) & (column < wide)
    light = np.where(inside, chart.picture[1].numpy()[row.clip(0, tall - 1), column.clip(0, wide - 1)], 0.3)
    return torch.from_numpy(light.reshape(height, parts, width, parts).mean((1, 3))).float().expand(3, -1, -1)


@pytest.mark.slow
def test_a_kernel_per_cell():
    chart = CHARTS["psf_noise"](height=480, width=480, rows=3, columns=3, cell_px=1)
    widths = 0.7 + 0.1 * np.arange(9).reshape(3, 3)
    kernels = tuple(tuple(tuple(map(tuple, gaussian(w).tolist())) for w in line) for line in widths)
    result = measure_psf(mosaic_of(chart.picture, PsfGrid({"G": kernels})), "RGGB", chart, identity(chart.size))
    # the simulator blends bilinearly between the cells' centers: a cell's mean has parts of its neighbors
    shares = np.array([[0.875, 0.125, 0], [0.125, 0.75, 0.125], [0, 0.125, 0.875]])
    mean = np.einsum("ia,jb,abyx->ijyx", shares, shares, np.array(kernels))
    truth = np.array([[mtf50(k)[0] for k in line] for line in mean])
    found = np.array(result.mtf50["G"])
    assert found.shape == (3, 3, 2)
    np.testing.assert_allclose(found.mean(-1), truth, rtol=0.02)


def test_vignetting_does_not_bend_the_kernel():
    dark = Sensor(vignetting=(0.6, 0.0, 0.0, 0.0, 0.0))
    result = measure_psf(mosaic_of(PLAIN.picture, KERNELS["soft"], sensor=dark), "RGGB", PLAIN, identity(PLAIN.size))
    assert errors(result, KERNELS["soft"]).max() < 0.05


def test_what_cannot_be_measured_is_said():
    mosaic = mosaic_of(PLAIN.picture, KERNELS["soft"])
    with pytest.raises(ParamError, match="no odd kernel size"):
        measure_psf(mosaic, "RGGB", PLAIN, identity(PLAIN.size), size=8)
    with pytest.raises(ShapeError, match="as placed"):
        measure_psf(mosaic[:100], "RGGB", PLAIN, identity(PLAIN.size))
    flat = CHARTS["flat"](height=240, width=240)
    with pytest.raises(FileError, match="has no noise"):
        measure_psf(mosaic, "RGGB", flat, identity(flat.size))
    away = Placement(((1.0, 0.0, 900.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), (240, 240))
    with pytest.raises(FileError, match="no cell of the picture is filled"):
        measure_psf(mosaic, "RGGB", PLAIN, away)
    wide = mosaic_of(PLAIN.picture, gaussian(6.0))
    assert "wider than 9 px" in measure_psf(wide, "RGGB", PLAIN, identity(PLAIN.size), size=9).warnings[0]
    half = torch.full((240, 480), 0.1)
    half[:, :240] = mosaic
    found = measure_psf(half, "RGGB", PLAIN, identity((240, 480)), grid=(1, 2))
    assert found.grid.kernels["G"][0][0] == found.grid.kernels["G"][0][1]
    assert found.warnings == ("the chart does not fill 1 of 2 cells: they have their neighbor's kernel",)


def test_mtf50_of_a_gaussian():
    # exp(-2 pi^2 s^2 f^2) = 1/2
    for sigma in (1.0, 1.5, 2.0):
        expected = np.sqrt(np.log(2) / 2) / (np.pi * sigma)
        assert mtf50(gaussian(sigma)) == pytest.approx((expected, expected), rel=0.005)
    assert np.isnan(mtf50(gaussian(0.1))[0])
