"""`LightTransport`: which point of the screen every camera pixel sees, and pictures resampled through it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.core.errors import FileError, ShapeError
from ispkit.io.atomic import write_bytes
from ispkit.rig.contracts import Floats
from ispkit.rig.gray_code import Correspondence, Mask
from ispkit.rig.surface import Fit, fit

_VERSION = 1
_SUBSAMPLES = 8  # a camera pixel's footprint is sampled at up to 8 x 8 points; larger ones after averaging
_ROWS = 256  # camera rows resampled at a time


@dataclass(frozen=True)
class Alignment:
    """How well the map fits what was measured; distances in camera pixels."""

    median_px: float
    """of the distances between the measured stripe borders and where the smooth map puts them"""
    p95_px: float
    borders: int
    """measured borders that took part"""
    outliers: float
    """share of them that the map ignores"""
    camera_coverage: float
    """share of the camera's pixels that see the screen"""
    display_coverage: float
    """share of the screen's pixels that the camera sees"""
    display_px_per_camera_px: float
    """median; below 1 the camera resolves the screen's pixels (moire), 1 to 4 is good"""

    def warnings(self) -> list[str]:
        """What a user should know, in words."""
        found = []
        if self.display_px_per_camera_px < 1:
            found.append(
                f"a screen pixel is {1 / self.display_px_per_camera_px:.2f} camera pixels wide, which gives moire; "
                f"move the camera away or take a finer screen"
            )
        if self.camera_coverage < 0.5:
            found.append(f"only {self.camera_coverage:.0%} of the picture sees the screen; move closer")
        if self.p95_px > 1:
            found.append(f"95 % of the borders lie within {self.p95_px:.2f} px only; did something move, or flicker?")
        return found


@dataclass(frozen=True)
class LightTransport:
    """The map camera -> screen; positions are (x, y) in px, pixel (0, 0) covers [0, 1) x [0, 1)."""

    positions: Floats
    """(2, H, W): where on the screen the center of each camera pixel looks; smooth, also where masked"""
    mask: Mask
    """(H, W): pixels that really see the screen"""
    display_size: tuple[int, int]
    """height, width"""
    alignment: Alignment

    @property
    def camera_size(self) -> tuple[int, int]:
        """Height and width of the camera's picture."""
        return int(self.mask.shape[0]), int(self.mask.shape[1])

    def target_on_camera(self, picture: Tensor) -> Tensor:
        """The screen's picture on the camera's grid: (C, h, w) -> (C, H, W), 0 where the mask is False.

        Pass linear light where light is meant, since averages are taken: each camera pixel is the mean over
        its footprint on the screen, of linearly interpolated samples at most one screen pixel apart. No
        color or exposure is changed. Raises `ShapeError` for a picture of another size than the screen.
        """
        if picture.ndim != 3 or tuple(picture.shape[-2:]) != self.display_size:
            height, width = self.display_size
            raise ShapeError(
                f"a picture as shown is (C, {height}, {width}), got {tuple(picture.shape)}; center it on black first"
            )
        gradients = _gradients(self.positions)
        reach = _footprint(gradients, self.mask)
        shrink = max(1, math.ceil(reach / _SUBSAMPLES))
        source = _shrunk(picture, shrink)
        n = max(1, math.ceil(reach / shrink))
        strips = [
            _sampled(source, self.positions[:, r], gradients[:, :, r], n=n, shrink=shrink)
            for r in (slice(top, top + _ROWS) for top in range(0, self.camera_size[0], _ROWS))
        ]
        return torch.cat(strips, 1) * torch.from_numpy(self.mask).to(picture)

    def save(self, path: str | Path) -> None:
        """Write an .npz file, whole or not at all. Raises `FileError`."""
        facts = {"version": _VERSION, "display_size": list(self.display_size), "alignment": asdict(self.alignment)}
        buffer = BytesIO()
        np.savez_compressed(buffer, positions=self.positions, mask=self.mask, facts=np.array(json.dumps(facts)))
        write_bytes(path, buffer.getvalue())

    @staticmethod
    def load(path: str | Path) -> LightTransport:
        """Read what `save` wrote. Raises `FileError` for anything else."""
        try:
            # the stream is ours to close: NumPy leaves its own open where the archive is damaged
            with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                facts: dict[str, Any] = json.loads(str(file["facts"]))
                positions, mask = file["positions"], file["mask"]
            if facts["version"] != _VERSION or positions.shape != (2, *mask.shape):
                raise FileError(f"{path}: version {facts['version']} of a map; this toolkit reads {_VERSION}")
            height, width = facts["display_size"]
            alignment = Alignment(**facts["alignment"])
        except (OSError, KeyError, TypeError, ValueError, BadZipFile) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"{path}: is no map of `ispkit rig align` ({error}); calibrate the rig again") from error
        return LightTransport(positions, mask, (int(height), int(width)), alignment)


def light_transport(found: Correspondence) -> LightTransport:
    """The smooth map through decoded Gray codes. Raises `DeviceError` where there is too little to fit."""
    camera_size = found.contrast.shape[0], found.contrast.shape[1]
    fitted = fit(found, camera_size)
    x, y = (np.arange(n, dtype=np.float64) + 0.5 for n in reversed(camera_size))
    positions = fitted.surface.at_grid(x, y).astype(np.float32)
    mask = _mask(positions, found)
    return LightTransport(positions, mask, found.display_size, _alignment(fitted, positions, mask, found.display_size))


def _mask(positions: Floats, found: Correspondence) -> Mask:
    """Inside the screen, lit by it, and decoded as the neighborhood says: holes are what stands in between."""
    height, width = found.display_size
    x, y = positions
    inside: Mask = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    gap = np.abs(positions - found.position)
    steps = np.abs(_gradients(positions)).sum(1)
    near: Mask = (gap <= found.stripe + 2 * steps).all(0)  # False where NaN
    return inside & found.seen & near


def _alignment(fitted: Fit, positions: Floats, mask: Mask, display_size: tuple[int, int]) -> Alignment:
    good = fitted.residuals_px[fitted.inliers]
    x, y = (p[mask].astype(np.int64) for p in positions)
    xx, xy, yx, yy = (g[mask] for row in _gradients(positions) for g in row)
    area = np.abs(xx * yy - xy * yx)
    return Alignment(
        median_px=float(np.median(good)),
        p95_px=float(np.quantile(good, 0.95)),
        borders=len(fitted.residuals_px),
        outliers=float(1 - fitted.inliers.mean()),
        camera_coverage=float(mask.mean()),
        display_coverage=_seen_share(x, y, display_size, float(np.sqrt(np.median(area))) if mask.any() else 1.0),
        display_px_per_camera_px=float(np.sqrt(np.median(area))) if mask.any() else float("nan"),
    )


def _seen_share(x: NDArray[Any], y: NDArray[Any], display_size: tuple[int, int], step: float) -> float:
    """Share of the screen's cells, each about two camera pixels wide, that some camera pixel looks at."""
    cell = max(1, math.ceil(2 * step))
    rows, columns = (math.ceil(n / cell) for n in display_size)
    hit = np.zeros((rows, columns), bool)
    hit[y // cell, x // cell] = True
    return float(hit.mean())


def _gradients(positions: Floats) -> NDArray[Any]:
    """(2, 2, H, W): [screen axis, camera axis (x, y)] derivatives, screen px a camera px."""
    return np.stack([np.stack(np.gradient(p)[::-1]) for p in positions])


def _footprint(gradients: NDArray[Any], mask: Mask) -> float:
    """Side of a camera pixel on the screen: 95th percentile of the longer one over the seen pixels."""
    sides = np.abs(gradients).sum(1).max(0)
    return float(np.quantile(sides[mask], 0.95)) if mask.any() else 1.0


def _shrunk(picture: Tensor, factor: int) -> Tensor:
    """Means over squares of `factor` pixels; the last ones repeat the border."""
    if factor == 1:
        return picture[None]
    height, width = picture.shape[-2:]
    pad = (0, -width % factor, 0, -height % factor)
    return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(picture[None], pad, mode="replicate"), factor)


def _sampled(source: Tensor, positions: Floats, gradients: NDArray[Any], *, n: int, shrink: int) -> Tensor:
    """Mean of n x n linear samples over each camera pixel's footprint, (C, rows, W)."""
    height, width = source.shape[-2:]
    at, step = (torch.from_numpy(np.ascontiguousarray(a)).to(source) for a in (positions, gradients))
    total: Tensor | float = 0.0
    for dy, dx in _offsets(n):
        x = (at[0] + dx * step[0, 0] + dy * step[0, 1]) / shrink
        y = (at[1] + dx * step[1, 0] + dy * step[1, 1]) / shrink
        grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], -1)[None]
        total = total + torch.nn.functional.grid_sample(source, grid, padding_mode="border", align_corners=False)[0]
    return torch.as_tensor(total / n**2)


def _offsets(n: int) -> Iterable[tuple[float, float]]:
    centers = [(i + 0.5) / n - 0.5 for i in range(n)]
    return ((dy, dx) for dy in centers for dx in centers)
