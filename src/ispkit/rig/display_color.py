"""What a screen's code values mean as color, and which codes make it look like a chart under another light.

Model: each channel has its tone curve, and the three add up over the black level (Berns, Methods for
characterizing CRT displays, Displays 1996: gain, offset, gamma; here the curve is measured, not assumed).
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from ispkit.charts.lights import patch_colors
from ispkit.core.errors import FileError, ParamError
from ispkit.core.frame import Domain, Frame
from ispkit.io.atomic import write_bytes
from ispkit.ops import camera_color, temperature
from ispkit.ops.cfa import cfa_masks, spread_sites
from ispkit.ops.color_spaces import D65_XY, adaptation, apply_matrix, rgb_to_xyz, xy_to_xyz
from ispkit.ops.encode import srgb_decode
from ispkit.rig.contracts import Camera, DeviceError, Display

Array = NDArray[np.float64]
Measurement = tuple[tuple[float, float, float], tuple[float, float, float]]
"""code values (R, G, B) in [0, 1], and the XYZ that they make, in any unit"""
_SAMPLES = 256
_GAMMA_GUESS = 2.2  # curves are interpolated in light^(1/2.2), where they are nearly straight
_CLIPPED = 0.98
_COUNTS_OUTSIDE = 0.5 / 255
_PATCH = 0.2  # side of the measured middle, as a share of the picture


@dataclass(frozen=True)
class DisplayColor:
    """A characterized screen."""

    to_xyz: Array
    """(3, 3): linear RGB of the screen -> XYZ above black; white has Y = 1"""
    black_xyz: Array
    """(3,) XYZ of code 0"""
    curves: Array
    """(3, 256): light of code k / 255 in each channel, 0 to 1"""
    additivity_error: float
    """how far measured white is from the sum of the channels, relative; NaN if white was not measured"""

    @property
    def white_xy(self) -> tuple[float, float]:
        """Chromaticity of full white."""
        xyz = self.to_xyz.sum(1) + self.black_xyz
        return float(xyz[0] / xyz.sum()), float(xyz[1] / xyz.sum())

    @property
    def contrast(self) -> float:
        """Luminance of white over black; inf if black is dark altogether."""
        return float((1 + self.black_xyz[1]) / self.black_xyz[1]) if self.black_xyz[1] > 0 else float("inf")

    def gamma(self) -> tuple[float, float, float]:
        """The exponent of each channel's curve between codes 0.2 and 1, by least squares of logarithms."""
        code = np.linspace(0, 1, _SAMPLES)
        bright = (code > 0.2) & (code < 1)
        x, y = np.log(code[bright]), np.log(self.curves[:, bright].clip(1e-9))
        red, green, blue = (float((x * row).sum() / (x * x).sum()) for row in y)
        return red, green, blue

    def encode(self, linear: Tensor) -> Tensor:
        """Linear RGB of the screen (3, H, W), clipped to [0, 1] -> code values."""
        code = np.linspace(0, 1, _SAMPLES)
        planes = [
            np.interp(c.clamp(0, 1).cpu().numpy(), curve, code) for c, curve in zip(linear, self.curves, strict=True)
        ]
        return torch.from_numpy(np.stack(planes)).to(linear)

    def save(self, path: str | Path) -> None:
        """Write JSON. Raises `FileError`."""
        facts = {
            "version": 1,
            "to_xyz": self.to_xyz.tolist(),
            "black_xyz": self.black_xyz.tolist(),
            "curves": self.curves.tolist(),
            "additivity_error": self.additivity_error if np.isfinite(self.additivity_error) else None,
        }
        write_bytes(path, json.dumps(facts).encode())

    @staticmethod
    def load(path: str | Path) -> DisplayColor:
        """Read what `save` wrote. Raises `FileError`."""
        try:
            facts = json.loads(Path(path).read_text(encoding="utf-8"))
            error = facts["additivity_error"]
            parts = [np.array(facts[key], dtype=np.float64) for key in ("to_xyz", "black_xyz", "curves")]
            if [p.shape for p in parts] != [(3, 3), (3,), (3, _SAMPLES)]:
                raise ValueError("its tables have the wrong size")
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise FileError(f"{path}: is no result of `ispkit rig color` ({problem}); measure again") from problem
        return DisplayColor(parts[0], parts[1], parts[2], float("nan") if error is None else float(error))


@dataclass(frozen=True)
class Emulation:
    """A light that the screen pretends to be."""

    light: str
    white_xy: tuple[float, float]
    linear_rgb: tuple[float, float, float]
    """of its white on the screen, largest 1"""
    luminance: float
    """of that white, the screen's own white = 1: what is left of the brightness"""

    @property
    def in_gamut(self) -> bool:
        """Whether the screen can show that white at all."""
        return min(self.linear_rgb) >= 0


@dataclass(frozen=True)
class Rendered:
    """Code values for the screen and what had to be clipped."""

    encoded: Tensor
    """(3, H, W) in [0, 1]"""
    outside: float
    """share of pixels with a color beyond the screen's range"""


def emulate(color: DisplayColor, light: str | tuple[float, float]) -> Emulation:
    """White of a light ("A", "D65", "TL84", ..., or its xy) in the screen's RGB, as bright as possible.

    Raises `ParamError` for an unknown light.
    """
    xy = patch_colors(light).white_xy if isinstance(light, str) else light
    rgb = np.linalg.solve(color.to_xyz, xy_to_xyz(torch.tensor(xy, dtype=torch.float64)).numpy())
    top = float(rgb.max())
    red, green, blue = (float(v) / top for v in rgb)
    name = light if isinstance(light, str) else f"xy {xy[0]:.4f}, {xy[1]:.4f}"
    return Emulation(name, (float(xy[0]), float(xy[1])), (red, green, blue), 1 / top)


def render(color: DisplayColor, emulation: Emulation, linear_srgb: Tensor) -> Rendered:
    """Code values that show a linear sRGB picture (3, H, W; D65, white 1) as if lit by the light.

    Colors are adapted from D65 to the light (Bradford), as `sensor.simulate.capture` does; white 1 becomes the
    light's white at the screen's full brightness for it; the screen's black is taken off.
    """
    source, target = (torch.tensor(xy, dtype=torch.float64) for xy in (D65_XY, emulation.white_xy))
    to_rgb = torch.linalg.inv(torch.from_numpy(color.to_xyz))
    matrix = to_rgb @ adaptation(source, target) @ rgb_to_xyz("srgb") * emulation.luminance
    black = to_rgb @ torch.from_numpy(color.black_xyz)
    linear = apply_matrix(linear_srgb[None].double(), matrix)[0] - black[:, None, None]
    outside = ((linear < -_COUNTS_OUTSIDE) | (linear > 1 + _COUNTS_OUTSIDE)).any(0)
    return Rendered(color.encode(linear).to(linear_srgb), float(outside.float().mean()))


def characterize(measurements: Sequence[Measurement]) -> DisplayColor:
    """The model through a table of measured colors: black, and a ramp of each channel alone up to code 1.

    White is used to check that the channels add up, if it is there. What was measured more than once is
    averaged. Raises `ParamError` for what is missing.
    """
    table = [(np.array(code, dtype=np.float64), np.array(xyz, dtype=np.float64)) for code, xyz in measurements]
    blacks = [xyz for code, xyz in table if not code.any()]
    if not blacks:
        raise ParamError("display measurements lack black (code 0, 0, 0); measure it")
    black = np.mean(blacks, axis=0)
    columns, curves = [], []
    for channel, name in enumerate(("red", "green", "blue")):
        ramp = _ramp([(code, xyz - black) for code, xyz in table], channel)
        if not ramp or ramp[-1][0] != 1 or len(ramp) < 3:
            raise ParamError(f"display measurements lack a ramp of {name} alone: 3 codes or more, with 1 the largest")
        full = ramp[-1][1]
        columns.append(full)
        curves.append(_curve([c for c, _ in ramp], [float(xyz @ full / (full @ full)) for _, xyz in ramp]))
    matrix = np.stack(columns, 1)
    scale = matrix[1].sum()
    if not scale > 0 or abs(np.linalg.det(matrix / scale)) < 1e-6:
        raise ParamError("the display's primaries have no luminance or lie on one line; check the measurements")
    whites = [xyz - black for code, xyz in table if (code == 1).all()]
    error = float(np.abs(np.mean(whites, axis=0) - matrix.sum(1)).max() / scale) if whites else float("nan")
    return DisplayColor(matrix / scale, black / scale, np.stack(curves), error)


def _ramp(above_black: Sequence[tuple[Array, Array]], channel: int) -> list[tuple[float, Array]]:
    """The codes of one channel alone, rising, each with the mean of its measurements."""
    found: dict[float, list[Array]] = {}
    for code, xyz in above_black:
        if code[channel] > 0 and code.sum() == code[channel]:
            found.setdefault(float(code[channel]), []).append(xyz)
    return [(code, np.mean(found[code], axis=0)) for code in sorted(found)]


def read_measurements(path: str | Path) -> list[Measurement]:
    """A CSV file with the columns R, G, B (codes in [0, 1] or to 255), X, Y, Z. Raises `FileError`."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = [{k.strip().upper(): float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        table = np.array([[row[k] for k in ("R", "G", "B")] for row in rows])
        values = np.array([[row[k] for k in "XYZ"] for row in rows])
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise FileError(f"{path}: a table of measurements is CSV with the columns R,G,B,X,Y,Z ({error})") from error
    if not rows:
        raise FileError(f"{path}: the table is empty")
    table = table / (255 if table.max() > 1 else 1)
    return [((r, g, b), (x, y, z)) for (r, g, b), (x, y, z) in zip(table.tolist(), values.tolist(), strict=True)]


def measure(
    display: Display,
    camera: Camera,
    *,
    levels: int = 9,
    settle_s: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Measurement]:
    """Show black, ramps of each channel and white on the whole screen, and read XYZ through the camera.

    XYZ comes from the camera's own color matrix, which was made for daylight and lamps, not for a screen's
    spectra: tone curves are exact as far as the camera is linear, primaries are as good as that matrix.
    A colorimeter's table (`read_measurements`) is better. Raises `DeviceError` if the camera clips.
    """
    ramp = [float(v) for v in np.rint(np.linspace(0, 255, levels)[1:]) / 255]
    codes = [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)]
    codes += [(v if c == 0 else 0.0, v if c == 1 else 0.0, v if c == 2 else 0.0) for c in range(3) for v in ramp]
    seen: list[Tensor] = []
    for i, code in enumerate(codes):
        display.show(torch.tensor(code)[:, None, None].expand(3, *display.size))
        time.sleep(settle_s)
        frame = camera.capture()
        seen.append(_middle(frame))
        if progress is not None:
            progress(i + 1, len(codes))
    matrix = _to_xyz(frame, seen[1] - seen[0])  # the camera's matrices are the same in every frame
    found = []
    for code, rgb in zip(codes, seen, strict=True):
        x, y, z = (matrix @ rgb).tolist()
        found.append((code, (x, y, z)))
    return found


def _middle(frame: Frame) -> Tensor:
    """Mean linear RGB (3,) float64 in the middle of a capture, where shading is flat. Raises `DeviceError`."""
    height, width = frame.size
    h, w = (max(2, int(n * _PATCH)) for n in (height, width))
    top, left = ((n - m) // 4 * 2 for n, m in ((height, h), (width, w)))  # even: the CFA's phase stays
    data = frame.data.double()
    if frame.domain is Domain.RAW:
        black, white = (spread_sites(v.to(data), frame.size) for v in (frame.meta.black_level, frame.meta.white_level))
        data = (data - black) / (white - black)
    window = data[0, :, top : top + h, left : left + w]
    if float((window >= _CLIPPED).double().mean()) > 0.001:
        raise DeviceError("the camera clips in the middle of the screen; expose less, so that white stays below 90 %")
    if frame.domain.channels == 1:
        masks = cfa_masks((h, w), frame.meta.cfa, data)
        return (window * masks).sum((1, 2)) / masks.sum((1, 2))
    if frame.domain is Domain.DISPLAY_RGB:
        window = srgb_decode(window)
    return window.mean((1, 2))


def _to_xyz(frame: Frame, white: Tensor) -> Tensor:
    """Camera RGB -> XYZ (3, 3) for the light that reads `white`."""
    if frame.domain in (Domain.DISPLAY_RGB, Domain.LINEAR_RGB):
        return rgb_to_xyz("srgb")
    matrices, kelvin = frame.meta.color_matrices[:1].double(), frame.meta.illuminant_cct_k[:1].double()
    neutral = (white / white.max()).clamp(min=1e-4)[None]
    xy = camera_color.neutral_to_xy(neutral, matrices, kelvin)
    inverse: Tensor = torch.linalg.inv(
        camera_color.interpolate_by_cct(matrices, kelvin, temperature.xy_to_cct(xy)[0])[0]
    )
    return inverse


def _curve(codes: Sequence[float], light: Sequence[float]) -> Array:
    """A monotone curve through (0, 0) and the measured points, at 256 codes."""
    values = np.maximum.accumulate(np.clip([0.0, *light], 0, None)) ** (1 / _GAMMA_GUESS)
    curve = PchipInterpolator([0.0, *codes], values)(np.linspace(0, 1, _SAMPLES)) ** _GAMMA_GUESS
    curve = np.maximum.accumulate(curve / curve[-1])
    return np.asarray(curve + np.linspace(0, 1e-9, _SAMPLES))  # strictly rising, so that it can be inverted
