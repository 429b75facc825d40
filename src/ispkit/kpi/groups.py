"""One function a group of KPIs: which regions of the chart it reads, and what it makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ispkit.charts.chart import Region
from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.color import color_accuracy
from ispkit.kpi.contrast_detection import contrast_detection
from ispkit.kpi.dynamic_range import dynamic_range
from ispkit.kpi.edge_profile import edge_profile
from ispkit.kpi.moire import measure_moire, zone_plate_frequency
from ispkit.kpi.noise import patch_noise
from ispkit.kpi.patches import picture_patches
from ispkit.kpi.result import Curve, Kpi, Result
from ispkit.kpi.sfr import measure_sfr
from ispkit.kpi.shading import patch_shading, shading
from ispkit.kpi.spatial_color import spatial_color
from ispkit.kpi.star import measure_star
from ispkit.kpi.texture import measure_texture
from ispkit.kpi.view import ChartView
from ispkit.kpi.visual_noise import visual_noise
from ispkit.kpi.white_balance import gray_balance
from ispkit.kpi.zipper import measure_zipper
from ispkit.ops.encode import srgb_decode, srgb_encode
from ispkit.ops.luma import WEIGHTS

_INSET = 0.15
_MID_GRAY = 0.18
_NEUTRAL_CHROMA = 5.0
_OBLIQUE = 1.02
_STRANGE = 30.0
_UNEVEN = 0.1  # scatter of flats about a radial law: no lens does that


def sharpness(view: ChartView) -> Result:
    """SFR, over- and undershoot of every slanted edge, and their means."""

    def measured(region: Region) -> Result:
        edge = measure_sfr(view.crop(view.scene, region), clip_levels=view.clip_levels(region))
        profile, whole = edge_profile(edge).as_result(region.name), edge.as_result(region.name)
        curves = tuple(c for c in whole.curves if c.label.endswith(" Y") or c.label == "Y")
        return Result((*whole.kpis, *profile.kpis), curves, (*whole.warnings, *profile.warnings))

    joined = _each(view.regions("edge"), measured)
    return Result((*_means(joined.kpis), *joined.kpis), joined.curves, joined.warnings)


def texture(view: ChartView) -> Result:
    """Acutance of the dead leaves, with the flat patch beside them for the noise."""
    flat = next((r for r in view.regions("flat") if "leaves" in r.name), None)

    def measured(region: Region) -> Result:
        reference, start = view.chart_around(region) if view.chart.picture.any() else (None, None)
        return measure_texture(
            view.crop(view.scene, region),
            reference,
            linear_flat=view.crop(view.scene, flat, 0.05) if flat else None,
            px_per_degree=view.settings.px_per_degree,
            start=start,
        ).as_result(region.name)

    return _each(view.regions("dead_leaves"), measured)


def color(view: ChartView) -> Result:
    """Color accuracy of the patches with a reference color."""
    regions = [r for r in view.regions("patch") if "lab_d50" in r.truth]
    if len(regions) < 3:
        return Result()
    patches = picture_patches(view.linear.float(), view.place, regions)
    seen = patches.mean.isfinite().all(1)
    kept = [r for r, ok in zip(regions, seen.tolist(), strict=True) if ok]
    reference = torch.tensor([r.truth["lab_d50"] for r in kept], dtype=torch.float64)
    names = [r.name.rsplit("/", maxsplit=1)[-1] for r in kept]
    accuracy = color_accuracy(patches.mean[seen], reference, names=names)
    result = accuracy.as_result()
    strange = [n for n, e in zip(names, accuracy.delta_e00.tolist(), strict=True) if e > _STRANGE]
    told = f"nothing like the chart's color (ΔE00 above {_STRANGE:g}): {', '.join(strange[:4])}"
    doubts = (f"{told}{' ...' if len(strange) > 4 else ''}; covered, clipped, or another chart?",) if strange else ()
    return Result(result.kpis, result.curves, (*result.warnings, *patches.warnings, *doubts))


def white_balance(view: ChartView) -> Result:
    """White-balance error of gray patches: those of a color chart if there are any, else the gray steps."""
    regions = [r for r in view.regions("patch") if _is_neutral(r)] or view.gray_regions
    if not regions:
        return Result()
    patches = picture_patches(view.linear.float(), view.place, regions)
    seen = patches.mean.isfinite().all(1)
    truths = [r.truth.get("linear_srgb") for r, ok in zip(regions, seen.tolist(), strict=True) if ok]
    reference = None if None in truths else torch.tensor(truths, dtype=torch.float64)
    if not truths:
        return Result(warnings=patches.warnings)
    balance = gray_balance(patches.mean[seen], reference).as_result()
    return Result(balance.kpis, balance.curves, (*balance.warnings, *patches.warnings))


def noise(view: ChartView) -> Result:
    """SNR over the gray steps; SNR and visual noise of the largest even region near mid gray."""
    steps = {r.name: patch_noise(view.crop(view.linear, r, _INSET)) for r in view.gray_regions}
    even = [r for r in (*view.gray_regions, *view.regions("flat")) if _is_mid_gray(view, r)]
    largest = sorted(even, key=lambda r: min(view.place.box(r)[2:]))[-1:]
    px_per_degree = view.settings.px_per_degree
    crops = {r.name: view.crop(view.linear, r, 0.05) for r in largest}
    parts = [
        _each(largest, lambda r: patch_noise(crops[r.name]).as_result(r.name)),
        _each(
            largest,
            lambda r: visual_noise(crops[r.name], pixels_per_degree=px_per_degree, flatten=True).as_result(r.name),
        ),
    ]
    measured = sorted((m.mean[-1], m.snr_db[-1]) for m in steps.values() if m.mean[-1] > 0)
    known = [(100 * mean, snr) for mean, snr in measured if math.isfinite(snr)]
    if len(known) > 2:
        x, y = [k[0] for k in known], [k[1] for k in known]
        parts.append(Result(curves=(Curve("SNR of gray steps", "Y", x, y, "mean, % of white", "SNR (dB)"),)))
    return Result.join(parts)


def tone(view: ChartView) -> Result:
    """OECF and dynamic range from the gray steps, on encoded values."""
    if view.fitted is None:
        return Result()
    if view.doubt is not None:
        return Result(warnings=(view.doubt,))
    crops = [view.crop(view.encoded, r, _INSET).double() for r in view.gray_regions]
    measured = [patch_noise(torch.einsum("c,chw->hw", _weights(), c)) for c in crops]
    means, sigmas = [m.mean[-1] for m in measured], [m.sigma[-1] for m in measured]
    span = dynamic_range(view.gray_exposure, means, sigmas, linear=False)
    return Result.join((span.as_result(), view.fitted.as_result()))


def contrast(view: ChartView) -> Result:
    """Contrast detection probability of the pairs of gray patches that state their contrast."""
    pairs: dict[int, list[Region]] = {}
    for region in view.regions("gray"):
        if "contrast_michelson" in region.truth:
            pairs.setdefault(int(region.truth["pair"]), []).append(region)
    parts = []
    for regions in pairs.values():
        if len(regions) != 2:
            continue
        first, second = (torch.einsum("c,chw->hw", _weights(), view.crop(view.scene, r, _INSET)) for r in regions)
        stated = float(regions[0].truth["contrast_michelson"])
        parts.append(contrast_detection(first, second, contrast=stated).as_result(f"{stated:g}"))
    joined = Result.join(parts)
    return Result((*_means(joined.kpis, ("cdp.michelson",)), *joined.kpis), joined.curves, joined.warnings)


def shading_of_flats(view: ChartView) -> Result:
    """Shading of a flat field that fills the picture, or of flat regions spread over it."""
    regions = [r for r in view.regions("flat") if "leaves" not in r.name]
    whole = [r for r in regions if _share(view, r) > 0.8]
    if whole:
        return shading(view.crop(view.linear, whole[0])).as_result()
    if len(regions) < 5 or len({tuple(r.truth.get("linear_srgb", ())) for r in regions}) != 1:
        return Result()
    patches = picture_patches(view.linear.float(), view.place, regions, inset=0.1)
    places = torch.tensor([_middle(view, r) for r in regions], dtype=torch.float64)
    seen = patches.mean.isfinite().all(1)
    measured = patch_shading(patches.mean[seen], places[seen])
    if measured.residual > _UNEVEN:
        told = f"the flat regions scatter by {measured.residual:.0%} about any falloff: covered, or unevenly lit?"
        return Result(warnings=(f"no shading: {told}", *patches.warnings))
    result = measured.as_result()
    return Result(result.kpis, result.curves, (*result.warnings, *patches.warnings))


def siemens_star(view: ChartView) -> Result:
    """MTF over the rings of sinusoidal stars that are seen squarely enough to stay circles."""

    def measured(region: Region) -> Result:
        truth = region.truth
        center, scale = _upright(view, region, truth["center"])
        return measure_star(
            view.crop(view.scene, region),
            spokes=int(truth["spokes"]),
            radius=min(float(truth["radius"]) * scale, 0.49 * min(view.place.box(region)[2:])),
            inner_radius=float(truth["inner_radius"]) * scale,
            center=center,
            modulation=(truth["high"] - truth["low"]) / (truth["high"] + truth["low"]),
        ).as_result(region.name)

    return _each((r for r in view.regions("star") if r.truth.get("sinusoidal", True)), measured)


def moire(view: ChartView) -> Result:
    """Color moiré of achromatic zone plates."""

    def measured(region: Region) -> Result:
        center, scale = _upright(view, region, region.truth["center"])
        crop = view.crop(view.linear, region)
        frequency = zone_plate_frequency(
            (int(crop.shape[1]), int(crop.shape[2])),
            center=center,
            radius=float(region.truth["radius"]) * scale,
            frequency_max=float(region.truth["frequency_max"]) / scale,
        )
        return measure_moire(crop, frequency).as_result(region.name)

    return _each(view.regions("zone_plate"), measured)


def zipper(view: ChartView) -> Result:
    """Share of zipper pixels against the chart itself, where it is full of edges."""
    measured = {name: measure_zipper(*pair) for name, pair in _beside_chart(view).items()}
    return Result.join(m.as_result(name) for name, m in measured.items())


def seen_from_afar(view: ChartView) -> Result:
    """S-CIELAB of the picture against the chart itself, brightness aligned."""
    parts = []
    for name, pair in _beside_chart(view).items():
        light = (srgb_decode(p) for p in pair)
        parts.append(spatial_color(*light, samples_per_degree=view.settings.px_per_degree).as_result(name))
    return Result.join(parts)


def _each(regions: Iterable[Region], measure: Callable[[Region], Result]) -> Result:
    """All regions; one that cannot be measured (too small, without light) becomes a warning."""
    parts = []
    for region in regions:
        try:
            parts.append(measure(region))
        except (ShapeError, ParamError) as error:
            parts.append(Result(warnings=(f"{region.name}: {error}",)))
    return Result.join(parts)


def _full_of_edges(view: ChartView) -> list[Region]:
    """Where a picture is compared with the chart pixel by pixel: ellipses and the color chart as a whole."""
    if not view.chart.picture.any():
        return []
    regions = view.regions("ellipses")
    patches = view.regions("patch")
    if len(patches) > 5:
        boxes = torch.tensor([r.box for r in patches])
        top, left = boxes[:, :2].amin(0).tolist()
        bottom, right = (boxes[:, :2] + boxes[:, 2:]).amax(0).tolist()
        regions.append(Region("patches", "patch", (top, left, bottom - top, right - left)))
    return [r for r in regions if min(view.place.box(r)[2:]) >= 16]


def _beside_chart(view: ChartView) -> dict[str, tuple[Tensor, Tensor]]:
    """By region: encoded crop of the picture, and of the chart on the same pixels and as bright."""
    pairs = {}
    for region in _full_of_edges(view):
        light, reference = view.crop(view.linear, region), view.reference(region)
        y, known = (torch.einsum("c,chw->hw", _weights(), p) for p in (light, reference))
        gain = y.mean() / known.mean().clamp(min=1e-9)
        pairs[region.name] = srgb_encode(light), srgb_encode(reference * gain)
    return pairs


def _upright(view: ChartView, region: Region, center: Sequence[float]) -> tuple[tuple[float, float], float]:
    """A point of the chart (row, column) in a region's crop, and the scale there; raises where circles are ellipses."""
    y, x = center
    top, left, _, _ = view.place.box(region)
    middle, right, below = view.place.points([(x, y), (x + 1, y), (x, y + 1)])
    sides = (math.dist(right, middle), math.dist(below, middle))
    if max(sides) > _OBLIQUE * min(sides):
        raise ShapeError("circles of the chart are ellipses in the picture; point the camera squarely at the chart")
    return (float(middle[1]) - top, float(middle[0]) - left), sum(sides) / 2


def _means(kpis: Iterable[Kpi], names: Sequence[str] | None = None) -> tuple[Kpi, ...]:
    """The mean over the regions of each KPI that has several; regions that could not be measured are left out."""
    several: dict[str, list[Kpi]] = {}
    for kpi in kpis:
        several.setdefault(kpi.name, []).append(kpi)
    means = []
    for name, group in several.items():
        values = [k.value for k in group if not math.isnan(k.value)]
        if len(group) > 1 and (names is None or name in names):
            value = sum(values) / len(values) if values else math.nan
            means.append(
                replace(group[0], value=value, region="", doc=f"mean of {len(values)} of {len(group)} regions")
            )
    return tuple(means)


def _is_mid_gray(view: ChartView, region: Region) -> bool:
    """Whether a region's mean is within a stop of mid gray in the picture."""
    mean = float(view.crop(view.linear, region, _INSET).mean())
    return 0.5 * _MID_GRAY < mean < 2 * _MID_GRAY


def _is_neutral(region: Region) -> bool:
    lab = region.truth.get("lab_d50")
    return lab is not None and math.hypot(lab[1], lab[2]) < _NEUTRAL_CHROMA and lab[0] > 30


def _share(view: ChartView, region: Region) -> float:
    _, _, height, width = view.place.box(region)
    return height * width / (view.encoded.shape[-1] * view.encoded.shape[-2])


def _middle(view: ChartView, region: Region) -> tuple[float, float]:
    """Row and column of a region's middle, from -1 to 1 over the picture."""
    top, left, height, width = view.place.box(region)
    rows, columns = view.encoded.shape[-2:]
    return (2 * top + height) / rows - 1, (2 * left + width) / columns - 1


def _weights() -> Tensor:
    return torch.tensor(WEIGHTS, dtype=torch.float64)
