"""The camera's colors under a light, from a shot of a ColorChecker: white and matrices.

The matrix minimizes the mean squared ΔE00 of the patches with 5 <= L* <= 98 and no channel at 99 % of white or more;
it sends the light's white to white exactly. Patches are measured on the mosaic, each color from its own sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ispkit.calibrate.shading import corrected
from ispkit.charts.chart import Region
from ispkit.charts.colorchecker import LAB_D50
from ispkit.charts.lights import light_names, patch_colors
from ispkit.core.errors import FileError, ParamError, ShapeError
from ispkit.core.frame import Domain, Frame
from ispkit.core.profile import LightColor, Matrix, Rgb, ShadingMap, Sites
from ispkit.isp.stages.lens import LensShading
from ispkit.kpi.locate import COLORCHECKER, locate_colorchecker
from ispkit.kpi.patches import Patches, mosaic_patches, mosaic_preview
from ispkit.kpi.placement import Placement
from ispkit.metrics.color import ciede2000
from ispkit.ops import camera_color, levels, temperature
from ispkit.ops.color_spaces import D50_XY, adaptation, linear_srgb_to
from ispkit.ops.lab import lab_to_linear_srgb, linear_srgb_to_lab

_LIGHTNESS = (5.0, 98.0)
_CLIPPED = 0.99
_NEUTRAL_CHROMA = 6.0  # of patches that tell the white; the white patch has 3.1
_NEUTRAL_LIGHTNESS = 25.0  # stray light colors the black patch
_LEAST_PATCHES = 8
_ROUNDS = 3
_SAME_WHITE = 0.03  # another lamp of the same nominal temperature is further off
_TO_XYZ = linear_srgb_to("xyz")


@dataclass(frozen=True)
class ChartShot:
    """A RAW frame that shows a ColorChecker under one light."""

    frame: Frame
    light: str
    """"D65", "A", ..., or any name"""
    cct_k: float
    placement: Placement | None = None
    """None: the chart is searched"""
    regions: tuple[Region, ...] = COLORCHECKER
    """kind `patch`; what they show is `lab_d50` of their truth"""
    black: Sites | None = None
    """measured level in DN per site; None: the file's"""


@dataclass(frozen=True)
class LightResult:
    """The colors under a light and what they rest on."""

    color: LightColor
    names: tuple[str, ...]
    sensor_rgb: Tensor
    """(N, 3) means of the patches, black 0, white level 1, shading corrected"""
    used: Tensor
    """(N,) which patches took part in the fit"""
    delta_e00: Tensor
    """(N,) after the matrix; NaN where it could not be measured (clipped, too small)"""
    delta_e00_before: float
    """mean with the white balance alone"""
    warnings: tuple[str, ...] = field(default=())


def measure_lights(
    shots: Sequence[ChartShot],
    *,
    shading: Sequence[ShadingMap] = (),
    spectral: bool = False,
    noise_weight: float = 0.0,
    power: float = 2.0,
    white: Rgb | None = None,
) -> tuple[LightResult, ...]:
    """One result a light, by color temperature; shots of the same light are averaged.

    Those are shots with one name and temperature. `shading` is corrected first, interpolated in reciprocal
    temperature; without it, the file's own opcodes are. `spectral` takes the patches' colors under the light itself
    where its name is known, in place of what the regions state. `noise_weight`, `power`, `white`: see `fit_light`.
    Raises `FileError` if a chart is not found, `ParamError`, `ShapeError`.
    """
    groups: dict[tuple[str, float], list[ChartShot]] = {}
    for shot in shots:
        groups.setdefault((shot.light, shot.cct_k), []).append(shot)
    results = []
    for (light, cct_k), group in groups.items():
        first = group[0].regions
        if any(s.regions != first for s in group):
            raise ShapeError(f"light {light!r}: its shots have different regions; give the same ones to all")
        rgb, warnings = _averaged([measure_patches(shot, shading) for shot in group])
        results.append(
            fit_light(
                rgb,
                reference_lab(first, light if spectral and light in light_names() else None),
                light=light,
                cct_k=cct_k,
                names=tuple(r.name for r in first),
                noise_weight=noise_weight,
                power=power,
                white=white,
                warnings=warnings,
            )
        )
    return tuple(sorted(results, key=lambda r: r.color.cct_k))


def _averaged(measured: Sequence[Patches]) -> tuple[Tensor, tuple[str, ...]]:
    """Mean of the shots of one light, NaN where one of them cannot be used, and their warnings."""
    usable = torch.stack([p.usable() for p in measured]).all(0)
    # each shot at the exposure of the first, so that every one counts alike
    scales = [measured[0].mean[usable].sum() / p.mean[usable].sum() for p in measured]
    rgb = torch.stack([p.mean * s for p, s in zip(measured, scales, strict=True)]).mean(0)
    warnings = tuple(dict.fromkeys(w for p in measured for w in p.warnings))
    return torch.where(usable[:, None], rgb, torch.nan), warnings


def measure_patches(shot: ChartShot, shading: Sequence[ShadingMap] = ()) -> Patches:
    """Patch means in sensor RGB, black 0 and white level 1, shading corrected.

    Clipping is judged before that.
    """
    frame = shot.frame
    frame.expect(Domain.RAW, "color calibration")
    if frame.batch != 1:
        raise ShapeError(f"one chart shot at a time, got a batch of {frame.batch}")
    black = frame.meta.black_level if shot.black is None else torch.tensor([shot.black])
    linear = levels.linearize(frame.data.double(), black, frame.meta.white_level)
    plain = frame.with_data(linear, Domain.MOSAIC)
    flat = _flattened(plain, shading, shot.cct_k)[0, 0]
    placed = shot.placement or locate_colorchecker(mosaic_preview(flat, frame.meta.cfa))
    regions = shot.regions
    seen = mosaic_patches(flat, frame.meta.cfa, placed, regions)
    raw = mosaic_patches(linear[0, 0], frame.meta.cfa, placed, regions, clip=_CLIPPED)
    # a preview is stretched, so what the search says of clipping does not hold for the mosaic
    warnings = (*(placed.warnings if shot.placement else ()), *seen.warnings)
    if bool((raw.clipped > 0.01).any()):
        names = [n for n, c in zip(raw.names, raw.clipped, strict=True) if bool((c > 0.01).any())]
        warnings = (*warnings, f"clipped and not used: {', '.join(names[:6])}; expose less")
    return Patches(seen.names, seen.mean, seen.sigma, raw.clipped, seen.count, warnings)


def _flattened(frame: Frame, shading: Sequence[ShadingMap], cct_k: float) -> Tensor:
    """The mosaic (1, 1, H, W) with lens shading corrected: by `shading`, else by the opcodes."""
    if shading:
        return corrected(frame.data, shading, cct_k, frame.meta.view[0])
    return LensShading()(frame).data if frame.meta.opcodes[0] else frame.data


def reference_lab(regions: Sequence[Region], light: str | None = None) -> Tensor:
    """CIE L*a*b* under D50 (N, 3) that patches should show.

    It is `lab_d50` of their truth, else the maker's by name. `light` (a name of `charts.lights`) takes the patches'
    spectra under that light instead, by name.
    """
    rows = []
    names = list(LAB_D50)
    spectral = None if light is None else linear_srgb_to_lab(patch_colors(light).linear_srgb)
    for region in regions:
        name = region.name.rsplit("/", 1)[-1]
        if spectral is not None and name in LAB_D50:
            rows.append(spectral[names.index(name)].tolist())
        elif "lab_d50" in region.truth:
            rows.append([float(v) for v in region.truth["lab_d50"]])
        elif name in LAB_D50:
            rows.append(list(LAB_D50[name]))
        else:
            raise ParamError(f"region {region.name!r} states no lab_d50 and is no patch of the ColorChecker; add it")
    return torch.tensor(rows, dtype=torch.float64)


def fit_light(
    sensor_rgb: Tensor,
    lab_d50: Tensor,
    *,
    light: str,
    cct_k: float,
    names: tuple[str, ...] = (),
    noise_weight: float = 0.0,
    power: float = 2.0,
    white: Rgb | None = None,
    warnings: tuple[str, ...] = (),
) -> LightResult:
    """White and matrices from patch means (N, 3) and their true colors (N, 3) under D50.

    NaN rows are left out. Minimizes mean ΔE00^power + noise_weight x (noise variance of gray after the matrix over
    that before it); exposure is fitted on the neutral patches. `white` is the light's white in sensor RGB from a flat
    field. Without it, or if the chart contradicts it by more than 3 %, the white is that of the neutral patches, each
    corrected for its own small tint by the matrix, until both agree; the spectra of real gray patches leave about
    1 %. Raises `FileError` if fewer than 8 patches or no neutral one are usable.
    """
    usable = sensor_rgb.isfinite().all(1)
    used, gray = _chosen(usable, lab_d50, light)
    chart = _Chart(sensor_rgb[used], lab_d50[used], gray[used])
    ccm, neutral = _fit(chart, noise_weight, power)
    if white is not None:
        from_flat = torch.tensor(white, dtype=torch.float64)
        gap = float((from_flat / from_flat[1] / (neutral / neutral[1]) - 1).abs().max())
        if gap <= _SAME_WHITE:
            neutral = from_flat
            ccm = _fit_ccm(chart, neutral, start=ccm, noise_weight=noise_weight, power=power)
        else:
            told = f"light {light!r}: the flat field's white differs from the chart's by {gap:.1%}; the chart's is used"
            warnings = (*warnings, f"{told}, take both under the same lamp")
    everything = _Chart(sensor_rgb[usable], lab_d50[usable], gray[usable])
    delta = torch.full((len(sensor_rgb),), torch.nan, dtype=torch.float64)
    delta[usable] = everything.delta_e00(ccm, neutral)
    color = _light_color(light, cct_k, neutral, ccm, delta[usable])
    before = float(everything.delta_e00(torch.eye(3, dtype=torch.float64), neutral).mean())
    return LightResult(color, names, sensor_rgb, used, delta, before, warnings)


def _chosen(usable: Tensor, lab_d50: Tensor, light: str) -> tuple[Tensor, Tensor]:
    """Which of the usable patches (N,) take part in the fit, and which of those are neutral."""
    used = usable & (lab_d50[:, 0] >= _LIGHTNESS[0]) & (lab_d50[:, 0] <= _LIGHTNESS[1])
    chroma = lab_d50[:, 1:].norm(dim=1)
    gray = used & (chroma < _NEUTRAL_CHROMA) & (lab_d50[:, 0] >= _NEUTRAL_LIGHTNESS)
    if int(used.sum()) < _LEAST_PATCHES or not bool(gray.any()):
        raise FileError(
            f"light {light!r}: only {int(used.sum())} patches and {int(gray.sum())} neutral ones can be used, "
            f"{_LEAST_PATCHES} and 1 are needed; expose less, or show the chart larger"
        )
    return used, gray


@dataclass(frozen=True)
class _Chart:
    """Measured and true colors of the patches of a fit."""

    rgb: Tensor
    lab: Tensor
    gray: Tensor

    def linear(self) -> Tensor:
        """True colors in linear sRGB (N, 3)."""
        return lab_to_linear_srgb(self.lab)

    def neutral(self, ccm: Tensor) -> Tensor:
        """The light's white, largest 1: neutral patches over what they would read under white."""
        expected = torch.linalg.solve(ccm, self.linear()[self.gray].T).T
        white: Tensor = self.rgb[self.gray].sum(0) / expected.sum(0)
        return white / white.max()

    def delta_e00(self, ccm: Tensor, neutral: Tensor) -> Tensor:
        """ΔE00 (N,) after white balance and matrix, exposure fitted on the neutral patches."""
        seen = (self.rgb / neutral) @ ccm.T
        luminance = [(linear[self.gray] @ _TO_XYZ[1]).sum() for linear in (self.linear(), seen)]
        return ciede2000(linear_srgb_to_lab(seen * (luminance[0] / luminance[1])), self.lab)


def _fit(chart: _Chart, noise_weight: float, power: float) -> tuple[Tensor, Tensor]:
    """Matrix and white; each depends on the other, the white but a little by the patches' tints."""
    neutral = chart.neutral(torch.eye(3, dtype=torch.float64))
    ccm = _fit_ccm(chart, neutral, start=None, noise_weight=noise_weight, power=power)
    for _ in range(_ROUNDS):
        neutral = chart.neutral(ccm)
        ccm = _fit_ccm(chart, neutral, start=ccm, noise_weight=noise_weight, power=power)
    return ccm, neutral


def _fit_ccm(chart: _Chart, neutral: Tensor, *, start: Tensor | None, noise_weight: float, power: float) -> Tensor:
    """The matrix of least cost, rows summing to 1; from `start`, or two least-squares matrices."""
    gains = 1 / neutral

    def cost(shares: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        free = torch.tensor(shares, requires_grad=True)
        ccm = camera_color.off_diagonal(free.unbind())
        squares = chart.delta_e00(ccm, neutral).square()
        total = squares.mean() if power == 2.0 else (squares + 1e-8).pow(power / 2).mean()
        if noise_weight:
            total = total + noise_weight * (ccm.square() @ gains).mean() / gains.mean()
        (slope,) = torch.autograd.grad(total, free)
        return float(total.detach()), slope.numpy()

    starts = (
        [_least_squares(chart, neutral, relative) for relative in (False, True)] if start is None else [_shares(start)]
    )
    fits = [minimize(cost, x, jac=True, method="BFGS", options={"gtol": 1e-5, "maxiter": 200}) for x in starts]
    best = min(fits, key=lambda fit: float(fit.fun))
    return camera_color.off_diagonal(torch.tensor(best.x).unbind())


def _shares(ccm: Tensor) -> NDArray[np.float64]:
    """Off-diagonal entries row by row."""
    flat: NDArray[np.float64] = ccm[~torch.eye(3, dtype=torch.bool)].numpy()
    return flat


def _least_squares(chart: _Chart, neutral: Tensor, relative: bool) -> NDArray[np.float64]:
    """Off-diagonal shares of the least-squares matrix; `relative` weighs dark patches up."""
    wanted = chart.linear()
    balanced = chart.rgb / neutral
    balanced = balanced * (wanted[chart.gray].sum() / balanced[chart.gray].sum())
    weight = 1 / (wanted.clamp(min=0).mean(1) + 0.02) if relative else torch.ones(len(wanted), dtype=torch.float64)
    shares = []
    for i in range(3):
        others = [j for j in range(3) if j != i]
        differences = torch.stack([balanced[:, j] - balanced[:, i] for j in others], -1)
        gap = (wanted[:, i] - balanced[:, i])[:, None]
        shares.append(torch.linalg.lstsq(differences * weight[:, None], gap * weight[:, None]).solution[:, 0])
    flat: NDArray[np.float64] = torch.cat(shares).numpy()
    return flat


def white_xy(light: str, cct_k: float) -> tuple[float, float]:
    """Chromaticity of a light: by its name if known from spectra, else on the Planckian locus.

    Raises `ParamError` if neither tells it.
    """
    if light in light_names() and light != "reference":
        return patch_colors(light).white_xy
    if cct_k <= 0:
        raise ParamError(f"light {light!r} has no color temperature; name it after its light, or state cct_k")
    xy = temperature.cct_to_xy(torch.tensor([cct_k], dtype=torch.float64), torch.zeros(1, dtype=torch.float64))[0]
    return float(xy[0]), float(xy[1])


def _light_color(light: str, cct_k: float, neutral: Tensor, ccm: Tensor, delta: Tensor) -> LightColor:
    """All matrices from one: DNG's forward matrix, and the color matrix, which gives `neutral`."""
    forward = _TO_XYZ @ ccm
    xy = torch.tensor([white_xy(light, cct_k)], dtype=torch.float64)
    to_d50 = adaptation(xy, xy.new_tensor([D50_XY]))[0]
    color_matrix = neutral[:, None] * torch.linalg.solve(forward, to_d50)
    r, g, b = neutral.tolist()
    return LightColor(
        name=light,
        cct_k=cct_k or float(temperature.xy_to_cct(xy)[0]),
        neutral=(r, g, b),
        forward_matrix=_rows(forward),
        color_matrix=_rows(color_matrix),
        ccm=_rows(ccm),
        delta_e00_mean=float(delta.mean()),
        delta_e00_max=float(delta.max()),
    )


def _rows(matrix: Tensor) -> Matrix:
    rows: list[Rgb] = [(float(a), float(b), float(c)) for a, b, c in matrix.tolist()]
    return rows[0], rows[1], rows[2]
