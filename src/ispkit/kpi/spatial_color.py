"""S-CIELAB of a picture against its reference: the color difference after the eye's own blur, as a KPI."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.errors import ShapeError
from ispkit.kpi.result import Kpi, Result
from ispkit.metrics.scielab import FilterVariant, Formula, scielab_map

_FINE = 224.0  # samples per degree that Zhang and Wandell ask for


@dataclass(frozen=True)
class SpatialColor:
    """S-CIELAB over one picture."""

    mean: float
    p95: float
    maximum: float
    variant: FilterVariant
    formula: Formula
    samples_per_degree: float
    warnings: tuple[str, ...] = ()

    def as_result(self, region: str = "") -> Result:
        """`scielab.mean`, `.p95` and `.max`; the variant and the viewing distance are part of their text."""
        unit = {"cie1976": "ΔE*ab", "cie2000": "ΔE00"}[self.formula]
        doc = f"S-CIELAB, filters '{self.variant}', {unit}, {self.samples_per_degree:g} pixels a degree"
        values = {"mean": self.mean, "p95": self.p95, "max": self.maximum}
        kpis = tuple(Kpi(f"scielab.{n}", v, unit, "lower", region, f"{doc}, {n}") for n, v in values.items())
        return Result(kpis, warnings=self.warnings)


def spatial_color(
    linear_picture: Tensor,
    linear_reference: Tensor,
    *,
    samples_per_degree: float,
    variant: FilterVariant = "distribution",
    formula: Formula = "cie1976",
) -> SpatialColor:
    """S-CIELAB difference of two registered pictures, (3, H, W) linear sRGB, at a viewing distance.

    `samples_per_degree` is pixels per degree of visual angle. Below 224 the published filters are too coarse
    for the pixels; they are averaged over each pixel instead, and a warning says so. See
    `metrics.scielab.scielab` for `variant` and `formula`. Raises `ShapeError` or `ParamError`.
    """
    if linear_picture.ndim != 3:
        raise ShapeError(f"spatial_color reads one picture (3, H, W), got {tuple(linear_picture.shape)}")
    pair = (p.detach().cpu().double()[None] for p in (linear_picture, linear_reference))
    seen = scielab_map(
        *pair, data_range=1.0, samples_per_degree=samples_per_degree, variant=variant, formula=formula, linear=True
    )
    warnings = []
    if samples_per_degree < _FINE:
        warnings.append(
            f"S-CIELAB at {samples_per_degree:g} samples a degree: below {_FINE:g} its filters are averaged over pixels"
        )
    return SpatialColor(
        mean=float(seen.mean()),
        p95=_quantile(seen, 0.95),
        maximum=float(seen.max()),
        variant=variant,
        formula=formula,
        samples_per_degree=samples_per_degree,
        warnings=tuple(warnings),
    )


def _quantile(values: Tensor, share: float) -> float:
    """The value below which `share` of the pixels lie; torch.quantile stops at 16 million."""
    flat = values.flatten()
    return float(torch.kthvalue(flat, max(1, round(share * flat.numel()))).values)
