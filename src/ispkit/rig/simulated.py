"""A screen and a camera made of numbers: the rig whose truth is known, for tests, benchmarks and dry runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.core.frame import Frame
from ispkit.isp.pipeline import ISP
from ispkit.ops import camera_color, temperature
from ispkit.ops.color_spaces import COLOR_SPACES, D65_XY, adaptation, apply_matrix, linear_srgb_to, rgb_to_xyz
from ispkit.rig.contracts import Codes, Encoded, as_codes, centered_on
from ispkit.sensor.simulate import Sensor, capture

Positions = NDArray[np.float64]
_CCT_K = 6504.0  # the light for which the sensor's matrix is taken
_STEPS = 30  # of the fixed point that inverts the distortion; 1e-12 for any sane lens


class SimulatedDisplay:
    """A screen: code -> light by a power law over its black level, in its own primaries."""

    def __init__(
        self,
        size: tuple[int, int] = (720, 1280),
        *,
        gamma: float = 2.2,
        primaries: str = "srgb",
        black_level: float = 0.001,
        fill: float = 1.0,
    ) -> None:
        """Make one.

        Args:
            size: height, width in pixels.
            gamma: exponent from code to light.
            primaries: a color space of `ops.color_spaces`; its white is the screen's.
            black_level: light of code 0, white = 1.
            fill: side of a pixel's bright square, 1 = no dark grid between the pixels.
        """
        if primaries not in COLOR_SPACES:
            raise ParamError(f"primaries={primaries!r} is no color space; {nearest(primaries, COLOR_SPACES)}")
        if not (0 < fill <= 1 and 0 <= black_level < 1 and gamma > 0):
            raise ParamError(
                f"fill={fill}, black_level={black_level}, gamma={gamma}: a screen has 0 < fill <= 1, "
                f"0 <= black_level < 1 and gamma > 0"
            )
        self._size, self.gamma, self.primaries = size, gamma, primaries
        self.black_level, self._fill = black_level, fill
        self.codes: Codes = np.zeros((*size, 3), np.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._size

    @property
    def fill(self) -> float:
        """Side of a pixel's bright square; fixed, since cameras have traced their rays to it."""
        return self._fill

    def show(self, encoded: Encoded) -> None:
        """Show a picture, at once. Raises `ShapeError` if it is larger than the screen."""
        self.codes = centered_on(as_codes(encoded), self._size, "the simulated screen")

    def light(self) -> Tensor:
        """What it emits: (3, H, W) linear RGB of its own primaries, white = 1."""
        table = self.black_level + (1 - self.black_level) * torch.linspace(0, 1, 256) ** self.gamma
        light: Tensor = table[torch.from_numpy(self.codes).permute(2, 0, 1).int()]
        return light

    @property
    def to_srgb(self) -> Tensor:
        """Its linear RGB -> linear sRGB, (3, 3) float64."""
        matrix: Tensor = torch.linalg.inv(linear_srgb_to(self.primaries))
        return matrix


@dataclass(frozen=True)
class Pose:
    """Where the camera stands before the screen; lengths in widths of the screen."""

    yaw_deg: float = 0.0
    """turned to the side; the optical axis still meets the screen at `aim`"""
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    distance: float = 1.0
    """from the camera to `aim`"""
    aim: tuple[float, float] = (0.0, 0.0)
    """the point of the screen on the optical axis, (right, down) from the screen's center"""

    def rotation(self) -> Positions:
        """Screen axes (right, down, into the screen) -> camera axes, (3, 3)."""
        yaw, pitch, roll = (math.radians(a) for a in (self.yaw_deg, self.pitch_deg, self.roll_deg))
        about_y = [[math.cos(yaw), 0, -math.sin(yaw)], [0, 1, 0], [math.sin(yaw), 0, math.cos(yaw)]]
        about_x = [[1, 0, 0], [0, math.cos(pitch), math.sin(pitch)], [0, -math.sin(pitch), math.cos(pitch)]]
        about_z = [[math.cos(roll), math.sin(roll), 0], [-math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
        return np.asarray(np.array(about_z) @ np.array(about_x) @ np.array(about_y))


@dataclass(frozen=True)
class Lens:
    """A pinhole with Brown-Conrady distortion (Brown 1966), in tangents of the angle from the axis."""

    focal: float = 1.0
    """focal length in widths of the picture"""
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """k1, k2, k3: distorted = ideal (1 + k1 r^2 + k2 r^4 + k3 r^6) + tangential part"""
    tangential: tuple[float, float] = (0.0, 0.0)
    """p1, p2"""

    def distort(self, x: Positions, y: Positions) -> tuple[Positions, Positions]:
        """Ideal -> seen."""
        r2 = x * x + y * y
        factor = 1 + r2 * (self.radial[0] + r2 * (self.radial[1] + r2 * self.radial[2]))
        p1, p2 = self.tangential
        return (
            x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * factor + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )

    def undistort(self, x: Positions, y: Positions) -> tuple[Positions, Positions]:
        """Seen -> ideal, by fixed point."""
        if not any(self.radial) and not any(self.tangential):
            return x, y
        u, v = x, y
        for _ in range(_STEPS):
            du, dv = self.distort(u, v)
            u, v = u + (x - du), v + (y - dv)
            if max(np.abs(x - du).max(), np.abs(y - dv).max()) < 1e-12:
                break
        return u, v


@dataclass(frozen=True, eq=False)
class SimulatedCamera:
    """A camera in front of a `SimulatedDisplay`: pose, lens, pixel area, then a `Sensor` (PSF, vignetting, noise).

    Its rays are traced once, so nothing of it changes; `dataclasses.replace` makes another camera.
    """

    display: SimulatedDisplay
    size: tuple[int, int] = (360, 640)
    """height, width of its picture"""
    pose: Pose = field(default_factory=Pose)
    lens: Lens = field(default_factory=Lens)
    sensor: Sensor = field(default_factory=Sensor)
    exposure_ev: float = -0.5
    """0: the screen's white just clips the sensor"""
    iso: float = 100.0
    ambient: float = 0.001
    """light from everywhere, the screen's white = 1"""
    isp: ISP | None = None
    """develops the RAW inside the camera"""
    seed: int = 0
    samples: int = 4
    """rays a pixel and axis"""
    _shots: Iterator[int] = field(default_factory=lambda: itertools.count(1), init=False, repr=False)

    def capture(self) -> Frame:
        """A RAW frame of what the screen shows now, or what the camera's ISP makes of it; fresh noise every time."""
        light = apply_matrix(self._seen()[None], _sensor_white() @ self.display.to_srgb)
        frame = capture(
            light,
            self.sensor,
            cct_k=_CCT_K,
            iso=self.iso,
            exposure_ev=self.exposure_ev,
            seed=self.seed * 100_003 + next(self._shots),
        )
        frame = frame.with_data(frame.data, neutral=_neutral(frame))
        return frame if self.isp is None else self.isp(frame)

    def display_positions(self, x: Positions, y: Positions) -> tuple[Positions, Positions]:
        """Truth: where on the screen (x, y, px) the camera positions `x`, `y` look; NaN if away from it."""
        (height, width), (rows, columns) = self.size, self.display.size
        scale = self.lens.focal * width
        u, v = self.lens.undistort((x - width / 2) / scale, (y - height / 2) / scale)
        rotation = self.pose.rotation()
        ray = np.stack([u, v, np.ones_like(u)], -1) @ rotation  # = rotation^T applied to each ray
        center = np.array([*self.pose.aim, 0.0]) - self.pose.distance * rotation[2]
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(ray[..., 2] > 1e-9, -center[2] / ray[..., 2], np.nan)
        at_x, at_y = (center[i] + reach * ray[..., i] for i in (0, 1))
        return at_x * columns + columns / 2, at_y * columns + rows / 2

    @cached_property
    def _rays(self) -> Tensor:
        """For each ray of each pixel the flat number of the screen's pixel; one past the last where it sees none."""
        (height, width), n = self.size, self.samples
        rows, columns = self.display.size
        rng = np.random.default_rng(self.seed)
        rays = torch.empty((n * n, height * width), dtype=torch.int32)
        y0, x0 = np.mgrid[0:height, 0:width].astype(np.float64)
        for k in range(n * n):  # one jittered ray in every cell of an n x n grid over the pixel
            jitter = rng.random((2, height, width))
            x, y = self.display_positions(x0 + (k % n + jitter[0]) / n, y0 + (k // n + jitter[1]) / n)
            with np.errstate(invalid="ignore"):
                lit = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
                lit &= np.maximum(abs(x % 1 - 0.5), abs(y % 1 - 0.5)) <= self.display.fill / 2
            x, y = np.where(lit, x, 0), np.where(lit, y, 0)
            index = np.where(lit, y.astype(np.int64) * columns + x.astype(np.int64), rows * columns)
            rays[k] = torch.from_numpy(index.ravel().astype(np.int32))
        return rays

    def _seen(self) -> Tensor:
        """Mean light of each pixel's rays, (3, H, W) in the screen's primaries."""
        light = self.display.light().flatten(1) / self.display.fill**2
        light = torch.cat([light, torch.zeros(3, 1)], 1).T.contiguous()  # one fetch a ray
        total = torch.zeros(self._rays.shape[1], 3)
        for rays in self._rays:
            total += light.index_select(0, rays)
        return (total / len(self._rays)).T.reshape(3, *self.size) + self.ambient


def _sensor_white() -> Tensor:
    """Linear sRGB -> linear sRGB that undoes the sensor model's adaptation of D65 to its 6504 K (on the locus)."""
    planck = temperature.cct_to_xy(torch.tensor([_CCT_K], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))[0]
    to_xyz = rgb_to_xyz("srgb")
    matrix: Tensor = torch.linalg.solve(to_xyz, adaptation(planck, _d65()) @ to_xyz)
    return matrix


def _neutral(frame: Frame) -> Tensor:
    """What D65, the white of the screen, reads on the sensor: the camera is balanced to it."""
    meta = frame.meta
    white = camera_color.xy_to_neutral(_d65()[None], meta.color_matrices.double(), meta.illuminant_cct_k.double())
    return white.to(meta.neutral)


def _d65() -> Tensor:
    return torch.tensor(D65_XY, dtype=torch.float64)


def random_rig(
    seed: int,
    display_size: tuple[int, int] = (720, 1280),
    camera_size: tuple[int, int] = (360, 640),
    *,
    iso: float = 400.0,
    isp: ISP | None = None,
) -> SimulatedCamera:
    """A camera in a random pose before a screen, with a random lens; same seed, same rig.

    Up to 15 degrees turned and 12 pitched, 8 rolled, k1 in [-0.15, 0.08], decentering to 1e-3; the picture is
    about as wide as the screen.
    """
    rng = np.random.default_rng(seed)
    yaw, pitch, roll = rng.uniform((-15, -12, -8), (15, 12, 8))
    aim = rng.uniform(-0.03, 0.03, 2)
    focal, k1, k2 = rng.uniform(0.9, 1.4), rng.uniform(-0.15, 0.08), rng.uniform(-0.02, 0.04)
    p1, p2 = rng.uniform(-1e-3, 1e-3, 2)
    pose = Pose(yaw, pitch, roll, focal * rng.uniform(0.95, 1.15), (float(aim[0]), float(aim[1])))
    return SimulatedCamera(
        SimulatedDisplay(display_size),
        camera_size,
        pose,
        Lens(focal, (k1, k2, 0.0), (p1, p2)),
        iso=iso,
        isp=isp,
        seed=seed,
    )
