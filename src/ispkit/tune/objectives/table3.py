"""The five KPIs of Tseng et al. 2019, Table 3, against a reference picture; their definitions are ours.

The paper names them (perceptual distance, detail accuracy, color accuracy, zipper, color moiré; lower is better) and
leaves their definitions to a supplement, so that ratios between settings can be compared with it and values cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ispkit.core.errors import BlackBoxError
from ispkit.data.scenes import Scene
from ispkit.kpi.zipper import measure_zipper
from ispkit.metrics import METRICS
from ispkit.metrics.base import luma
from ispkit.metrics.color import cie1976, srgb_to_lab
from ispkit.ops.encode import srgb_decode
from ispkit.ops.pyramid import laplacian_pyramid
from ispkit.tune.contracts import Residual
from ispkit.tune.objectives.base import Need, as_residual, target_of
from ispkit.tune.objectives.kpis import kpi_value
from ispkit.tune.objectives.reference import bands

_BLOCK = 8  # px: coarser than noise and zipper, finer than objects
_FINE_BANDS = 2
_NOTHING = 1e-12  # length of a residual without any error
TOLERANCES: dict[str, float] = {"perceptual": 0.1, "detail": 5.0, "color": 3.0, "zipper": 20.0, "moire": 3.0}
"""differences that count as 1, ours: NLPD, 8-bit codes, ΔE*ab, % of pixels, C*ab; LPIPS has that of NLPD"""


def detail_error(picture: Tensor, target: Tensor) -> float:
    """Root mean square difference of the two finest Laplacian bands of luma, in 8-bit codes."""
    squares = [band.square().mean() for band in _fine_luma(picture, target)]
    return 255 * math.sqrt(float(torch.stack(squares).mean()))


def color_error(picture: Tensor, target: Tensor) -> float:
    """Mean ΔE*ab of the means of 8x8 blocks, taken in linear light."""
    lab, true = (srgb_to_lab(_blocks(srgb_decode(p)), linear=True) for p in (picture, target))
    return float(cie1976(lab, true).mean())


def false_chroma(picture: Tensor, target: Tensor) -> float:
    """Mean length of the a*b* error that is finer than 8 pixels: moiré, color fringes and color noise."""
    return float(_fine_chroma(picture, target).square().sum(1).sqrt().mean())


@torch.no_grad()
def table3(picture: Tensor, scene: Scene, *, lpips: Any = None) -> dict[str, float]:
    """The five numbers of one picture (1, 3, H, W) in [0, 1], lower is better.

    perceptual: NLPD, or LPIPS with a `metrics.lpips.Lpips`; detail: `detail_error`; color: ΔE*ab of the patches of a
    color chart, exposure normalized, else `color_error`; zipper: % of pixels, Lu, Tan 2003; moire: the integral over
    a zone plate, else `false_chroma`. Raises `BlackBoxError` where a chart's patches cannot be measured.
    """
    target = target_of(scene)
    kinds = {r.kind for r in scene.chart.regions} if scene.chart is not None else set()
    distance = METRICS["nlpd"] if lpips is None else METRICS["lpips"]
    options = {} if lpips is None else {"model": lpips}
    return {
        "perceptual": float(distance(picture, target, data_range=1.0, **options)[0]),
        "detail": detail_error(picture, target),
        "color": kpi_value(picture, scene, "color76") if "patch" in kinds else color_error(picture, target),
        "zipper": measure_zipper(picture[0], target[0]).share,
        "moire": kpi_value(picture, scene, "moire") if "zone_plate" in kinds else false_chroma(picture, target),
    }


@dataclass(frozen=True)
class Table3:
    """The mean square of the five numbers, each in units of its tolerance."""

    name: str = "kpi:table3"
    values: Callable[[Tensor, Scene], Mapping[str, float]] = table3
    unit: str = ""
    needs: tuple[Need, ...] = ("target",)
    _last: list[tuple[Tensor, Scene, Mapping[str, float]]] = field(default_factory=list, compare=False, repr=False)

    def residual(self, picture: Tensor, scene: Scene) -> Residual:
        """The signed errors behind each number, scaled so that their length is the number in tolerances over root 5.

        A length alone does not say in which direction to go; the squared length of all is still the score.
        """
        found = self._measured(picture, scene)
        bad = [n for n, v in found.items() if not math.isfinite(v)]
        if bad:
            raise BlackBoxError(f"{', '.join(bad)} cannot be measured on {scene.name}")
        parts = []
        for name, errors in _signed(picture, target_of(scene)).items():
            vector = np.concatenate([as_residual(e) for e in errors]).astype(np.float64)
            length = found[name] / TOLERANCES[name] / math.sqrt(len(TOLERANCES))
            parts.append(vector * (length / max(float(np.linalg.norm(vector)), _NOTHING)))
        return np.concatenate(parts).astype(np.float32)

    def score(self, picture: Tensor, scene: Scene) -> float:
        """The mean of the squared numbers, in tolerances."""
        found = self._measured(picture, scene)
        return float(np.mean([(found[n] / t) ** 2 for n, t in TOLERANCES.items()]))

    def loss(self, picture: Tensor, scene: Scene) -> Tensor | None:
        """None: the zipper counts pixels."""
        return None

    def _measured(self, picture: Tensor, scene: Scene) -> Mapping[str, float]:
        last = self._last[0] if self._last else None
        if last is None or last[0] is not picture or last[1] is not scene:  # score and residual ask in turn
            self._last[:] = [last := (picture, scene, self.values(picture, scene))]
        return last[2]


@torch.no_grad()
def _signed(picture: Tensor, target: Tensor) -> dict[str, Sequence[Tensor]]:
    """What each of the five numbers is the size of; the zipper counts pixels and has no sign."""
    lab = [srgb_to_lab(_blocks(srgb_decode(p)), linear=True) for p in (picture, target)]
    return {
        "perceptual": bands(picture, target),
        "detail": _fine_luma(picture, target),
        "color": [lab[0] - lab[1]],
        "zipper": [torch.ones(1)],
        "moire": [_fine_chroma(picture, target)],
    }


def _fine_luma(picture: Tensor, target: Tensor) -> list[Tensor]:
    """Differences of the two finest Laplacian bands of luma."""
    pyramids = [laplacian_pyramid(luma(p), _FINE_BANDS)[:_FINE_BANDS] for p in (picture, target)]
    return [a - b for a, b in zip(*pyramids, strict=True)]


def _fine_chroma(picture: Tensor, target: Tensor) -> Tensor:
    """The a*b* error that is finer than 8 pixels, (1, 2, H, W)."""
    error = (srgb_to_lab(picture) - srgb_to_lab(target))[:, 1:]
    return error - F.interpolate(_blocks(error), size=error.shape[-2:], mode="bilinear", align_corners=False)


def _blocks(planes: Tensor) -> Tensor:
    return F.avg_pool2d(planes, _BLOCK, ceil_mode=True)
