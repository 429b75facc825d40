"""The five KPIs of Tseng et al. 2019, Table 3, against a reference picture; their definitions are ours.

The paper names them (perceptual distance, detail accuracy, color accuracy, zipper, color moiré; lower is better) and
leaves their definitions to a supplement, so that ratios between settings can be compared with it and values cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import BlackBoxError
from ispkit.data.scenes import Scene
from ispkit.kpi.zipper import LikestNeighbors
from ispkit.metrics import METRICS
from ispkit.metrics.base import luma
from ispkit.metrics.color import srgb_to_lab
from ispkit.metrics.nlpd import normalized_pyramid
from ispkit.ops.encode import srgb_decode
from ispkit.ops.pyramid import laplacian_pyramid
from ispkit.tune.contracts import Residual
from ispkit.tune.objectives.base import Need, as_residual, target_of
from ispkit.tune.objectives.kpis import kpi_value
from ispkit.tune.objectives.reference import shrunk_bands

_BLOCK = 8  # px: coarser than noise and zipper, finer than objects
_FINE_BANDS = 2
_NOTHING = 1e-12  # length of a residual without any error
TOLERANCES: dict[str, float] = {"perceptual": 0.1, "detail": 5.0, "color": 3.0, "zipper": 20.0, "moire": 3.0}
"""differences that count as 1, ours: NLPD, 8-bit codes, ΔE*ab, % of pixels, C*ab; LPIPS has that of NLPD"""


def detail_error(picture: Tensor, target: Tensor) -> float:
    """Root mean square difference of the two finest Laplacian bands of luma, in 8-bit codes."""
    return Errors.between(Views.of(picture), Views.of(target)).detail


def color_error(picture: Tensor, target: Tensor) -> float:
    """Mean ΔE*ab of the means of 8x8 blocks, taken in linear light."""
    return Errors.between(Views.of(picture), Views.of(target)).color


def false_chroma(picture: Tensor, target: Tensor) -> float:
    """Mean length of the a*b* error that is finer than 8 pixels: moiré, color fringes and color noise."""
    return Errors.between(Views.of(picture), Views.of(target)).moire


@dataclass(frozen=True, eq=False)
class Views:
    """One picture (1, 3, H, W) as the numbers look at it."""

    bands: list[Tensor]
    """of the normalized pyramid"""
    fine: list[Tensor]
    """the two finest Laplacian bands of luma"""
    blocks: Tensor
    """CIELAB of the means of 8x8 blocks"""
    chroma: Tensor
    """a* and b* of every pixel, (1, 2, H, W)"""

    @staticmethod
    @torch.no_grad()
    def of(picture: Tensor) -> Views:
        """From encoded sRGB in [0, 1]."""
        plane = luma(picture)
        fine = laplacian_pyramid(plane, _FINE_BANDS)[:_FINE_BANDS]
        blocks = srgb_to_lab(_blocks(srgb_decode(picture)), linear=True)
        return Views(normalized_pyramid(plane), fine, blocks, srgb_to_lab(picture)[:, 1:])


@dataclass(frozen=True, eq=False)
class Errors:
    """Picture minus target in each view."""

    bands: list[Tensor]
    fine: list[Tensor]
    blocks: Tensor
    chroma: Tensor
    """what is finer than 8 pixels"""

    @staticmethod
    @torch.no_grad()
    def between(picture: Views, target: Views) -> Errors:
        """Of two pictures of one size."""
        chroma = picture.chroma - target.chroma
        coarse = F.interpolate(_blocks(chroma), size=chroma.shape[-2:], mode="bilinear", align_corners=False)
        return Errors(
            [a - b for a, b in zip(picture.bands, target.bands, strict=True)],
            [a - b for a, b in zip(picture.fine, target.fine, strict=True)],
            picture.blocks - target.blocks,
            chroma - coarse,
        )

    @property
    def perceptual(self) -> float:
        """NLPD."""
        return float(torch.stack([band.square().mean().sqrt() for band in self.bands]).mean())

    @property
    def detail(self) -> float:
        """`detail_error`."""
        return 255 * math.sqrt(float(torch.stack([band.square().mean() for band in self.fine]).mean()))

    @property
    def color(self) -> float:
        """`color_error`."""
        return float(self.blocks.square().sum(1).sqrt().mean())

    @property
    def moire(self) -> float:
        """`false_chroma`."""
        return float(self.chroma.square().sum(1).sqrt().mean())


@lru_cache(maxsize=256)
def _truth(target: Tensor) -> tuple[Views, LikestNeighbors]:
    """Of a scene's target, which nobody changes: looked up by the tensor itself."""
    return Views.of(target), LikestNeighbors.of(target[0])


def table3(picture: Tensor, scene: Scene, *, lpips: Any = None) -> dict[str, float]:
    """The five numbers of one picture (1, 3, H, W) in [0, 1], lower is better.

    perceptual: NLPD, or LPIPS with a `metrics.lpips.Lpips`; detail: `detail_error`; color: ΔE*ab of the patches of a
    color chart, exposure normalized, else `color_error`; zipper: % of pixels, Lu, Tan 2003; moire: the integral over
    a zone plate, else `false_chroma`. Raises `BlackBoxError` where a chart's patches cannot be measured.
    """
    numbers = _numbers(picture, scene, errors_of(picture, scene))
    if lpips is not None:
        with torch.no_grad():
            numbers["perceptual"] = float(METRICS["lpips"](picture, target_of(scene), data_range=1.0, model=lpips)[0])
    return numbers


def errors_of(picture: Tensor, scene: Scene) -> Errors:
    """Against the scene's target; what is looked at in targets is kept."""
    return Errors.between(Views.of(picture), _truth(target_of(scene))[0])


def _numbers(picture: Tensor, scene: Scene, errors: Errors) -> dict[str, float]:
    kinds = {r.kind for r in scene.chart.regions} if scene.chart is not None else set()
    return {
        "perceptual": errors.perceptual,
        "detail": errors.detail,
        "color": kpi_value(picture, scene, "color76") if "patch" in kinds else errors.color,
        "zipper": _truth(target_of(scene))[1].zipper(picture[0]).share,
        "moire": kpi_value(picture, scene, "moire") if "zone_plate" in kinds else errors.moire,
    }


Numbers = Mapping[str, float]


def as_measured(numbers: Numbers, scene: Scene) -> Numbers:
    """The five numbers as they are."""
    return numbers


@dataclass(frozen=True)
class Table3:
    """The mean square of the five numbers, each in units of its tolerance."""

    name: str = "kpi:table3"
    judged: Callable[[Numbers, Scene], Numbers] = as_measured
    """what is made of a scene's five numbers before they are squared"""
    unit: str = ""
    needs: tuple[Need, ...] = ("target",)
    _last: list[tuple[Tensor, Scene, Numbers, Errors]] = field(default_factory=list, compare=False, repr=False)

    def residual(self, picture: Tensor, scene: Scene) -> Residual:
        """The signed errors behind each number, scaled so that their length is the number in tolerances over root 5.

        A length alone does not say in which direction to go; the squared length of all is still the score.
        """
        found, errors = self._measured(picture, scene)
        bad = [n for n, v in found.items() if not math.isfinite(v)]
        if bad:
            raise BlackBoxError(f"{', '.join(bad)} cannot be measured on {scene.name}")
        parts = []
        for name, signed in _signed(errors).items():
            vector = np.concatenate([as_residual(e) for e in signed]).astype(np.float64)
            length = found[name] / TOLERANCES[name] / math.sqrt(len(TOLERANCES))
            parts.append(vector * (length / max(float(np.linalg.norm(vector)), _NOTHING)))
        return np.concatenate(parts).astype(np.float32)

    def score(self, picture: Tensor, scene: Scene) -> float:
        """The mean of the squared numbers, in tolerances."""
        found, _ = self._measured(picture, scene)
        return float(np.mean([(found[n] / t) ** 2 for n, t in TOLERANCES.items()]))

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """None: the zipper counts pixels."""
        return None

    def _measured(self, picture: Tensor, scene: Scene) -> tuple[Numbers, Errors]:
        last = self._last[0] if self._last else None
        if last is None or last[0] is not picture or last[1] is not scene:  # score and residual ask in turn
            errors = errors_of(picture, scene)
            numbers = self.judged(_numbers(picture, scene, errors), scene)
            self._last[:] = [last := (picture, scene, numbers, errors)]
        return last[2], last[3]


def _signed(errors: Errors) -> dict[str, Sequence[Tensor]]:
    """What each of the five numbers is the size of; the zipper counts pixels and has no sign."""
    return {
        "perceptual": shrunk_bands(errors.bands),
        "detail": errors.fine,
        "color": [errors.blocks],
        "zipper": [torch.ones(1)],
        "moire": [errors.chroma],
    }


def _blocks(planes: Tensor) -> Tensor:
    return F.avg_pool2d(planes, _BLOCK, ceil_mode=True)
