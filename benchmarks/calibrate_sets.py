"""Simulated calibration shots with known truth, named as rpi-ctt wants them and as `ispkit calibrate` reads them.

Two kinds of color. "linear": the sensor sees a matrix product of the chart's published colors, so that a perfect
matrix exists. "spectral": measured camera sensitivities (RIT camspec, ../shared/data/camera_ssf, another camera each
seed), the BabelColor average of the chart's reflectances and the lights' spectra (colour-science), 400 to 720 nm.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ispkit.charts.colorchecker import COLUMNS, ROWS, reference_linear_srgb
from ispkit.io.dng_writer import write_dng
from ispkit.sensor.color import response
from ispkit.sensor.model import Radial, Sensor, SiteShading
from ispkit.sensor.simulate import capture

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import colour

HEIGHT, WIDTH = 800, 1200
BLACK, BITS = 4096.0, 16
SHOT, READ = 1.2e-4, 1.0e-6
LIGHTS_K = (2800, 3850, 5000, 6500)
CAMERAS = (
    "Canon_1DMarkIII", "Canon_40D", "Canon_500D", "Canon_600D", "Nikon_D200",
    "Nikon_D3", "Nikon_D700", "Nikon_D90", "Pentax_K-5", "Point_Grey_Grasshopper2_14S5C",
)  # fmt: skip
PAIR_LEVELS = (0.04, 0.1, 0.2, 0.4, 0.7)
FLAT, WHITE = 0.6, 0.85
_NANOMETERS = np.arange(400, 721, 10)
_GREEN: Radial = (0.30, 0.12, 0.05, 0.0, 0.0)
_SHARE = 0.7  # of the picture's height and width that the chart covers
_GAP = 0.06


@dataclass(frozen=True)
class Truth:
    """What a set was made with."""

    camera: str
    sensor: Sensor
    neutrals: dict[int, NDArray[np.float64]]
    """by kelvin: sensor RGB of white, green 1"""
    patches: dict[int, NDArray[np.float64]]
    """by kelvin: (24, 3) sensor RGB without noise, a perfect white reads its neutral"""

    def shading(self, cct_k: int, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gains (R, G, B) at relative positions, (3, rows, columns)."""
        y, x = (rows[:, None] - 0.5) * (HEIGHT - 1), (columns[None, :] - 0.5) * (WIDTH - 1)
        r2 = (y**2 + x**2) / ((HEIGHT - 1) ** 2 + (WIDTH - 1) ** 2) * 4
        found = next(s for s in self.sensor.shading if s.cct_k == cct_k)
        radial = [found.radial[i] for i in (0, 1, 3)]
        common = 1 + sum(k * r2 ** (i + 1) for i, k in enumerate(self.sensor.vignetting))
        return np.stack([common * (1 + sum(k * r2 ** (i + 1) for i, k in enumerate(ks))) for ks in radial])


def make_set(folder: Path, seed: int, kind: str, data: Path) -> Truth:
    """Write the shots of one seed: 4 ColorCheckers, 8 flats, 4 darks, and flat pairs in a subfolder."""
    truth = linear_truth() if kind == "linear" else _spectral_truth(CAMERAS[seed % len(CAMERAS)], data)
    shots = _Shots(folder, truth.sensor, seed)
    for cct in LIGHTS_K:
        neutral = truth.neutrals[cct] / truth.neutrals[cct].max()
        shots.write(f"macbeth_{cct}k_800l", _chart_scene(truth, cct), cct)
        for i in range(2):
            shots.write(f"alsc_{cct}k_{i}", _plain(neutral * FLAT), cct)
    for i in range(4):
        shots.write(f"dark_{i}", _plain(np.zeros(3)), 5000)
    neutral = truth.neutrals[5000] / truth.neutrals[5000].max()
    for level in PAIR_LEVELS:
        for i in range(2):
            name = f"pairs/flat_5000k_{round(1000 * level)}_{i}"
            shots.write(name, _plain(neutral * level), 5000, time_s=0.01 * level / FLAT)
    return truth


class _Shots:
    """Writes frames, each with a noise seed of its own."""

    def __init__(self, folder: Path, sensor: Sensor, seed: int) -> None:
        self.folder, self.sensor, self.next = folder, sensor, seed * 1000

    def write(self, name: str, scene: torch.Tensor, cct_k: int, *, time_s: float = 0.01) -> None:
        path = self.folder / f"{name}.dng"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.next += 1
        frame = capture(scene, self.sensor, cct_k=float(cct_k), seed=self.next, exposure_time_s=time_s, space="sensor")
        write_dng(path, frame, opcodes=False)


def _spectral_truth(camera: str, data: Path) -> Truth:
    sensitivities = _sensitivities(data / "camera_ssf" / f"{camera}.csv")
    neutrals, patches = {}, {}
    for cct in LIGHTS_K:
        light = sensitivities * _light(cct)[:, None]
        white = light.sum(0)
        neutrals[cct] = white / white[1]
        patches[cct] = (_reflectances() @ light) / white[1]
    return Truth(camera, _sensor(camera), neutrals, patches)


def linear_truth() -> Truth:
    """A sensor that is a matrix product of the published colors."""
    sensor = _sensor("camera")
    neutrals, patches = {}, {}
    for cct in LIGHTS_K:
        seen = response(sensor, float(cct))
        scale = float(seen.neutral[0, 1])
        neutrals[cct] = (seen.neutral[0] / scale).numpy()
        patches[cct] = (reference_linear_srgb() @ seen.matrix[0].T / scale).numpy()
    return Truth("one matrix", sensor, neutrals, patches)


def _sensor(camera: str) -> Sensor:
    return Sensor(
        name=f"Simulated {camera}",
        bits=BITS,
        black_level=BLACK,
        shot_at_iso100=SHOT,
        read_at_iso100=READ,
        vignetting=_GREEN,
        shading=tuple(_color_shading(cct) for cct in LIGHTS_K),
    )


def _color_shading(cct_k: int) -> SiteShading:
    """Red falls off more than green, more so in warm light; blue a little less."""
    warmth = (1e6 / cct_k - 1e6 / 6500) / 200
    red, blue = 0.06 + 0.05 * warmth, -0.02 - 0.02 * warmth
    none = (0.0,) * 5
    return SiteShading(float(cct_k), ((red, 0.01, 0.0, 0.0, 0.0), none, none, (blue, 0.0, 0.0, 0.0, 0.0)))


def _plain(color: NDArray[np.float64]) -> torch.Tensor:
    return torch.tensor(color, dtype=torch.float32)[None, :, None, None].expand(1, 3, HEIGHT, WIDTH).contiguous()


def _chart_scene(truth: Truth, cct_k: int) -> torch.Tensor:
    """The chart on gray, in sensor RGB; a white of reflectance 1 would read `WHITE` in its largest channel."""
    neutral = truth.neutrals[cct_k]
    scale = WHITE / neutral.max()
    scene = _plain(0.18 * neutral * scale)
    top, left = (round((1 - share) / 2 * n) for share, n in zip((_SHARE, _SHARE), (HEIGHT, WIDTH), strict=True))
    height, width = HEIGHT - 2 * top, WIDTH - 2 * left
    v = (torch.arange(height) + 0.5) / height * ROWS
    u = (torch.arange(width) + 0.5) / width * COLUMNS
    colors = torch.tensor(truth.patches[cct_k] * scale, dtype=torch.float32).T.reshape(3, ROWS, COLUMNS)
    patch = colors[:, v.long()][:, :, u.long()]
    inside = [((c - c.floor()) > _GAP) & ((c - c.floor()) < 1 - _GAP) for c in (v, u)]
    black = torch.tensor(0.02 * neutral * scale, dtype=torch.float32)[:, None, None]
    scene[0, :, top : top + height, left : left + width] = torch.where(
        inside[0][:, None] & inside[1][None], patch, black
    )
    return scene


@cache
def _reflectances() -> NDArray[np.float64]:
    """(24, n) of the BabelColor average."""
    spectra = colour.SDS_COLOURCHECKERS["BabelColor Average"].values()
    return np.stack([np.interp(_NANOMETERS, s.wavelengths, s.values) for s in spectra])


@cache
def _light(cct_k: int) -> NDArray[np.float64]:
    """Planckian below 4500 K, CIE daylight above."""
    if cct_k < 4500:
        shape = colour.SpectralShape(400, 720, 10)
        values = colour.sd_blackbody(cct_k, shape).values
    else:
        xy = colour.temperature.CCT_to_xy_CIE_D(cct_k)
        light = colour.sd_CIE_illuminant_D_series(xy)
        values = np.interp(_NANOMETERS, light.wavelengths, light.values)
    return np.asarray(values / values.max())


def _sensitivities(path: Path) -> NDArray[np.float64]:
    rows = [line.split(",") for line in path.read_text().splitlines() if line[:1].isdigit()]
    table = np.array([[float(v) for v in row[:4]] for row in rows])
    return np.stack([np.interp(_NANOMETERS, table[:, 0], table[:, i], left=0, right=0) for i in (1, 2, 3)], -1)
