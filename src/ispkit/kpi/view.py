"""`ChartView`: a picture, the chart in it and how to look at it; what every group of KPIs is measured on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ispkit.charts.chart import Chart, Region, RegionKind
from ispkit.core.errors import ParamError
from ispkit.kpi.oecf import Oecf, oecf
from ispkit.kpi.patches import Patches, picture_patches
from ispkit.kpi.placement import Placement
from ispkit.kpi.registration import resample
from ispkit.ops.encode import srgb_decode
from ispkit.ops.luma import WEIGHTS

Matrix = NDArray[np.float64]

_LEAST_GRAYS = 6
_LEAST_SIDE = 8
_MOST_FALL = 0.04  # code values in [0, 1] by which noise and glare may turn gray steps round
_LEAST_RISE = 0.1
_REACH = 0.7  # of the brightest step; beyond the curve's end light would be held
_BLACK_CODE, _WHITE_CODE = 0.5 / 255, 254.5 / 255
_MARGIN = 40  # chart pixels around a region: what resampling and registration may reach for


@dataclass(frozen=True)
class Settings:
    """How the numbers are meant."""

    px_per_degree: float = 60.0
    """pixels per degree of visual angle, for acutance, visual noise and S-CIELAB"""
    groups: tuple[str, ...] | None = None
    """only these groups; None means all that the chart allows"""
    linearize: str = "auto"
    """"srgb": inverse sRGB everywhere; "chart": sharpness, texture and contrast through the OECF of the gray steps;
    "auto": the chart's if it has six gray steps or more"""

    def __post_init__(self) -> None:
        if not 1 <= self.px_per_degree <= 1000:
            raise ParamError(f"px_per_degree={self.px_per_degree} is outside [1, 1000]")
        if self.linearize not in ("auto", "srgb", "chart"):
            raise ParamError(f"linearize={self.linearize!r} is unknown; known: auto, chart, srgb")


@dataclass(frozen=True)
class ChartView:
    """One developed picture of a chart."""

    encoded: Tensor
    """(3, H, W), sRGB code values in [0, 1]"""
    chart: Chart
    place: Placement
    settings: Settings

    def regions(self, *kinds: RegionKind) -> list[Region]:
        """The regions of these kinds that are large enough in the picture."""
        return [r for r in self.chart.of_kind(*kinds) if min(self.place.box(r)[2:]) >= _LEAST_SIDE]

    def crop(self, picture: Tensor, region: Region, inset: float = 0.0) -> Tensor:
        """The upright rectangle inside a region, of `encoded`, `linear` or `scene`."""
        top, left, height, width = self.place.box(region, inset)
        return picture[..., top : top + height, left : left + width]

    @cached_property
    def linear(self) -> Tensor:
        """(3, H, W) float64, by the inverse sRGB curve: the light that a screen would send."""
        return srgb_decode(self.encoded.detach().cpu().double())

    @cached_property
    def scene(self) -> Tensor:
        """(3, H, W) float64, proportional to the light of the chart: tone curves undone by the gray steps."""
        return self.linear if self.curve is None else self.curve.linearize(self.encoded.detach().cpu().double())

    @property
    def curve(self) -> Oecf | None:
        """The OECF from the chart's luminance to encoded values, for `scene`; None if it is not to be used."""
        trusted = self.settings.linearize != "srgb" and self.doubt is None
        return self.fitted if trusted else None

    @cached_property
    def fitted(self) -> Oecf | None:
        """The OECF of the gray steps as they are; None if there are too few."""
        light, means = self.gray_exposure, self.grays.mean
        levels = means @ means.new_tensor(WEIGHTS)
        seen = levels.isfinite()
        light = [x for x, ok in zip(light, seen.tolist(), strict=True) if ok]
        if len(set(light)) >= _LEAST_GRAYS:
            return oecf(light, levels[seen].tolist())
        if self.settings.linearize == "chart":
            raise ParamError(f"chart {self.chart.name!r} has fewer than {_LEAST_GRAYS} gray steps for its OECF")
        return None

    @property
    def doubt(self) -> str | None:
        """Why the gray steps tell no curve: they do not brighten as on the chart, or the bright ones are not seen."""
        if self.fitted is None:
            return None
        output = self.fitted.output
        falls = max(abs(f - o) for f, o in zip(self.fitted.fitted, output, strict=True))
        remedy = "no tone is measured, and sharpness, texture and contrast take the picture as sRGB"
        if falls > _MOST_FALL or output[-1] - output[0] <= _LEAST_RISE:
            return f"the gray steps do not brighten as on the chart (covered, or another chart?): {remedy}"
        brightest = max(luminance(r) for r in self.chart.of_kind("gray") if "linear_srgb" in r.truth)
        if 10 ** self.fitted.log10_exposure[-1] < _REACH * brightest:
            return f"the brightest gray steps are not in the picture: {remedy}"
        return None

    def clip_levels(self, region: Region) -> tuple[float, float]:
        """The values of `scene` at and beyond which pixels of a region are clipped in the picture."""
        code, light = self.crop(self.encoded, region), self.crop(self.scene, region)
        black, white = light[code <= _BLACK_CODE], light[code >= _WHITE_CODE]
        low = float(black.max()) if black.numel() else -math.inf
        return low, float(white.min()) if white.numel() else math.inf

    @cached_property
    def gray_regions(self) -> list[Region]:
        """Gray steps whose light is known, of at least 1/1000 of white; no pairs, which differ too little."""
        steps = (r for r in self.regions("gray") if "pair" not in r.truth)
        return [r for r in steps if min(r.truth.get("linear_srgb", [0.0])) >= 1e-3]

    @cached_property
    def grays(self) -> Patches:
        """Encoded means of `gray_regions`."""
        return picture_patches(self.encoded, self.place, self.gray_regions)

    @property
    def gray_exposure(self) -> list[float]:
        """Luminance of `gray_regions` on the chart."""
        return [luminance(r) for r in self.gray_regions]

    def chart_around(self, region: Region) -> tuple[Tensor, Matrix]:
        """The chart's linear pixels (3, h, w) around a region, and where the region's crop lies in them.

        The matrix (3, 3) takes pixel centers (x, y, 1) of the crop of the picture to those of the chart's part, as
        `registration` wants it.
        """
        top, left, height, width = region.box
        y0, x0 = max(0, int(top) - _MARGIN), max(0, int(left) - _MARGIN)
        part = self.chart.picture[:, y0 : int(top + height) + _MARGIN, x0 : int(left + width) + _MARGIN]
        row, column, _, _ = self.place.box(region)
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        from_crop = np.array([[1, 0, column], [0, 1, row], [0, 0, 1]]) @ half
        to_part = np.linalg.inv(half) @ np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]])
        whole = to_part @ np.linalg.inv(np.array(self.place.to_picture)) @ from_crop
        matrix: Matrix = whole / whole[2, 2]
        return part, matrix

    def reference(self, region: Region) -> Tensor:
        """The chart's linear picture resampled onto the picture's pixels of a region, (3, height, width)."""
        part, matrix = self.chart_around(region)
        size = self.place.box(region)[2:]
        planes = [resample(plane.double().numpy(), matrix, size) for plane in part]
        return torch.from_numpy(np.stack(planes)).clamp(min=0)


def luminance(region: Region) -> float:
    """Y of a region's color on the chart."""
    color: Sequence[float] = region.truth["linear_srgb"]
    return sum(w * c for w, c in zip(WEIGHTS, color, strict=True))
