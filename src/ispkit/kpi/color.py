"""Color accuracy of a patch chart: ΔE00, ΔE*ab, ΔC and saturation against its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.result import Curve, Kpi, Result
from ispkit.metrics.color import cie1976, ciede2000
from ispkit.ops.color_spaces import D50_XY, adaptation, linear_srgb_to, xy_to_xyz
from ispkit.ops.lab import linear_srgb_to_lab, xyz_to_lab

_GRAY_CHROMA = 5.0  # a reference color below this C*ab belongs to the neutral row
_CLIPPED = 0.99


@dataclass(frozen=True)
class ColorAccuracy:
    """The patches of one chart, measured and true, and their differences; all Lab under D50."""

    names: tuple[str, ...]
    lab: Tensor
    """(N, 3), measured, after the exposure was normalized"""
    reference_lab: Tensor
    """(N, 3)"""
    neutral: tuple[int, ...]
    """the patches that set the exposure"""
    exposure_stops: float
    """how much brighter than the reference the picture is, log2; 0 if it could not be measured"""
    saturation: float
    """mean chroma over mean reference chroma, of the patches that are not neutral"""
    warnings: tuple[str, ...] = ()

    @property
    def delta_e00(self) -> Tensor:
        """CIEDE2000 per patch, kL = kC = kH = 1, (N,)."""
        return ciede2000(self.reference_lab, self.lab)

    @property
    def delta_e76(self) -> Tensor:
        """ΔE*ab (CIE 1976) per patch, (N,)."""
        return cie1976(self.reference_lab, self.lab)

    @property
    def delta_l(self) -> Tensor:
        """L* minus reference L* per patch, (N,)."""
        return self.lab[:, 0] - self.reference_lab[:, 0]

    @property
    def delta_c(self) -> Tensor:
        """Chroma error sqrt(Δa*² + Δb*²) per patch, (N,)."""
        return cie1976(self.reference_lab[:, 1:], self.lab[:, 1:])

    @property
    def delta_c_corrected(self) -> Tensor:
        """The chroma error after scaling a* and b* to the reference's mean chroma, (N,).

        Imatest's "corr": what stays wrong in the colors when a mere change of saturation is forgiven.
        """
        return cie1976(self.reference_lab[:, 1:], self.lab[:, 1:] / self.saturation)

    def table(self) -> list[dict[str, float | str]]:
        """One row a patch: name, L*, a*, b*, the reference's, and the differences."""
        columns = {"delta_e00": self.delta_e00, "delta_e76": self.delta_e76, "delta_l": self.delta_l}
        columns |= {"delta_c": self.delta_c, "delta_c_corrected": self.delta_c_corrected}
        for prefix, lab in (("", self.lab), ("reference_", self.reference_lab)):
            columns |= {prefix + axis: lab[:, i] for i, axis in enumerate("Lab")}
        return [{"name": n} | {k: float(v[i]) for k, v in columns.items()} for i, n in enumerate(self.names)]

    def as_result(self, region: str = "") -> Result:
        """The numbers, the a*b* diagram and ΔE00 per patch."""
        e00, c, corrected = self.delta_e00, self.delta_c, self.delta_c_corrected
        lower = [
            ("color.delta_e00.mean", e00.mean(), "CIEDE2000, mean of the patches, exposure normalized"),
            ("color.delta_e00.max", e00.max(), "CIEDE2000 of the worst patch"),
            ("color.delta_e00.p90", torch.quantile(e00, 0.9), "CIEDE2000, 90th percentile of the patches"),
            ("color.delta_e76.mean", self.delta_e76.mean(), "ΔE*ab (CIE 1976), mean of the patches"),
            ("color.delta_c.mean", c.mean(), "chroma error in a*b*, lightness left out"),
            ("color.delta_c_corrected.mean", corrected.mean(), "chroma error after equalizing the mean chroma"),
            ("color.delta_l.mean", self.delta_l.abs().mean(), "mean of |ΔL*|, exposure normalized"),
        ]
        kpis = [Kpi(n, float(v), "", "lower", region, doc) for n, v, doc in lower]
        kpis.append(Kpi("color.saturation", self.saturation, "", "one", region, "mean chroma over reference chroma"))
        exposure = "brightness of the neutral row against the reference"
        kpis.append(Kpi("color.exposure", self.exposure_stops, "stops", "none", region, exposure))
        return Result(tuple(kpis), self._curves(region), self.warnings)

    def _curves(self, region: str) -> tuple[Curve, ...]:
        label = f" {region}" if region else ""
        plane = [
            Curve("a*b*", name + label, lab[:, 1].tolist(), lab[:, 2].tolist(), "a*", "b*", "points")
            for name, lab in (("reference", self.reference_lab), ("picture", self.lab))
        ]
        count = [float(i + 1) for i in range(len(self.names))]
        bars = Curve("ΔE00 per patch", "picture" + label, count, self.delta_e00.tolist(), "patch", "ΔE00", "bars")
        return (*plane, bars)


def color_accuracy(
    linear_rgb: Tensor,
    reference_lab: Tensor,
    *,
    names: Sequence[str] = (),
    neutral: Sequence[int] | None = None,
) -> ColorAccuracy:
    """Compare the patch means of a picture with the chart's reference.

    `linear_rgb` is (N, 3), linear sRGB, 1 = white; `reference_lab` (N, 3) is CIELAB under D50, as chart
    makers print it (`lab_of_xyz` and `lab_of_linear_srgb` make it from other references, whatever the light
    was). The picture's colors are adapted to D50 by Bradford. One gain is taken out first, the one that
    brings the neutral row nearest to its reference in lightness: least squares of the cube roots of Y over
    the patches that are not clipped. `neutral` names that row; without it, it is every patch whose reference
    chroma is below 5. Raises `ShapeError` or `ParamError`.
    """
    rgb, reference = _patches(linear_rgb, "linear_rgb"), _patches(reference_lab, "reference_lab")
    if rgb.shape != reference.shape:
        raise ShapeError(f"{len(rgb)} measured patches, but {len(reference)} reference colors; give one a patch")
    if names and len(names) != len(rgb):
        raise ShapeError(f"{len(names)} names for {len(rgb)} patches; give one a patch")
    gray = reference[:, 1:].norm(dim=1) < _GRAY_CHROMA
    if neutral is not None:
        gray = _chosen(neutral, len(rgb))
    warnings = _clipped(rgb)
    gain, complaint = _gain(rgb, reference, gray)
    lab = lab_of_linear_srgb(rgb * gain)
    colored = ~gray if bool((~gray).any()) else torch.ones_like(gray)
    chroma = [x[colored, 1:].norm(dim=1).mean() for x in (lab, reference)]
    return ColorAccuracy(
        names=tuple(names) or tuple(str(i + 1) for i in range(len(rgb))),
        lab=lab,
        reference_lab=reference,
        neutral=tuple(int(i) for i in gray.nonzero()[:, 0]),
        exposure_stops=-float(gain.log2()),
        saturation=float(chroma[0] / chroma[1]),
        warnings=(*warnings, *complaint),
    )


def lab_of_linear_srgb(linear_rgb: Tensor) -> Tensor:
    """Linear sRGB (N, 3) -> CIELAB under D50 (Bradford from D65), (N, 3), values checked."""
    return linear_srgb_to_lab(_patches(linear_rgb, "linear_rgb"))


def lab_of_xyz(xyz: Tensor, *, white_xy: tuple[float, float] = D50_XY) -> Tensor:
    """XYZ (N, 3) under any light -> CIELAB under D50 (N, 3), adapted by Bradford.

    Y of a perfect diffuser is 1; `white_xy` is the chromaticity of the light that the XYZ belong to.
    """
    adapt = adaptation(torch.tensor(white_xy, dtype=torch.float64), torch.tensor(D50_XY, dtype=torch.float64))
    return xyz_to_lab(_patches(xyz, "xyz") @ adapt.T, xy_to_xyz(torch.tensor(D50_XY, dtype=torch.float64)))


def _patches(values: Tensor, name: str) -> Tensor:
    if values.ndim != 2 or values.shape[1] != 3 or len(values) == 0:
        raise ShapeError(f"{name} must be (N, 3), one row a patch, got {tuple(values.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise ParamError(f"{name} holds a value that is not finite; leave that patch out")
    return values.detach().cpu().double()


def _chosen(neutral: Sequence[int], count: int) -> Tensor:
    gray = torch.zeros(count, dtype=torch.bool)
    for i in neutral:
        if not 0 <= i < count:
            raise ParamError(f"neutral holds patch {i}, but there are only 0 to {count - 1}")
        gray[i] = True
    return gray


def _clipped(rgb: Tensor) -> list[str]:
    count = int((rgb >= _CLIPPED).any(1).sum())
    return [f"{count} of {len(rgb)} patches are clipped (a channel at {_CLIPPED} or above): expose less"] * bool(count)


def _gain(rgb: Tensor, reference: Tensor, gray: Tensor) -> tuple[Tensor, list[str]]:
    """The factor that makes the neutral row as light as its reference; 1, warned, without one."""
    light = rgb @ linear_srgb_to("xyz")[1]
    usable = gray & (light > 0) & (rgb < _CLIPPED).all(1)
    if not bool(usable.any()):
        return torch.ones((), dtype=torch.float64), ["no usable neutral patch: the exposure was not normalized"]
    measured = light[usable] ** (1 / 3)
    true = (reference[usable, 0] + 16) / 116  # cube root of Y where L* > 8
    return ((measured * true).sum() / measured.square().sum()) ** 3, []
