"""The page of `ispkit calibrate`: what a profile says, what it rests on, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ispkit.calibrate.awb import AwbCurve, white_point
from ispkit.calibrate.noise import GainNoise
from ispkit.calibrate.photon_transfer import COLORS
from ispkit.calibrate.psf import PsfResult
from ispkit.calibrate.run import Calibration, Evidence
from ispkit.core.profile import CameraProfile, LightColor, ShadingMap
from ispkit.report.page import Section, row, table, warnings, write_report
from ispkit.report.plots import figure, svg

_INKS = {"R": "#c62828", "G": "#2e7d32", "B": "#1565c0"}
_SITE_MARKS = ("o", "s", "^", "v")
_GOOD, _FAIR = 3.0, 6.0


def write_calibration_page(path: str | Path, calibration: Calibration) -> None:
    """Write one self-contained HTML page, whole or not at all. Raises `FileError`."""
    profile, evidence = calibration.profile, calibration.evidence
    size = f"{profile.size[1]} × {profile.size[0]}, {profile.cfa}, white level {profile.white_level:g} DN"
    lead = f"{size}; {len(evidence.inventory.shots)} shots of {evidence.inventory.folder.name}"
    sections = [
        Section("Still missing", warnings(calibration.missing) or "<p>Nothing: every part was measured.</p>"),
        *([Section("Notes", warnings(calibration.notes))] if calibration.notes else []),
        Section("Shots", _shots(evidence)),
        Section("Black level", _black(profile, evidence)),
        *([Section("Noise", _noise(evidence))] if evidence.gains else []),
        *([Section("Defect pixels", _defects(profile, evidence))] if evidence.defects else []),
        *([Section("Lens shading", _shading(profile, evidence))] if evidence.shading else []),
        *([Section("Color", _color(profile, evidence))] if profile.colors else []),
        *([Section("Point spread function", _psf(profile, evidence))] if profile.psf is not None else []),
    ]
    write_report(path, f"Calibration of {profile.name}", lead, sections)


def _shots(evidence: Evidence) -> str:
    rows = [
        {
            "file": s.name,
            "kind": s.kind,
            "ISO": s.iso or None,
            "exposure, s": s.exposure_time_s or None,
            "light, K": s.cct_k or None,
            "level": f"{s.look.level:.1%}",
            "clipped": f"{s.look.clipped:.2%}",
        }
        for s in evidence.inventory.shots
    ]
    return f"<details><summary>{len(rows)} files</summary>{table(rows)}</details>"


def _black(profile: CameraProfile, evidence: Evidence) -> str:
    def draw(axes: Any) -> None:
        for site, (color, mark) in enumerate(zip(profile.cfa, _SITE_MARKS, strict=True)):
            iso = [b.iso for b in profile.black]
            level = [b.level_dn[site] for b in profile.black]
            noise = [b.noise_dn[site] / 10 for b in profile.black]
            axes.errorbar(iso, level, noise, fmt=mark, color=_INKS[color], capsize=2, label=f"site {site} ({color})")
        axes.set_xlabel("ISO")
        axes.set_ylabel("black level, DN")
        if all(b.iso > 0 for b in profile.black):
            axes.set_xscale("log", base=2)
            axes.set_xticks([b.iso for b in profile.black], [f"{b.iso:g}" for b in profile.black])
            axes.minorticks_off()
        axes.legend(fontsize="small", frameon=False)

    frames = [d.frames for d in evidence.darks] or [0] * len(profile.black)
    rows = [
        {"ISO": b.iso, "exposure, s": b.exposure_time_s, "frames": n}
        | {f"level {i} ({c})": f"{b.level_dn[i]:.3f}" for i, c in enumerate(profile.cfa)}
        | {"read noise, DN": "  ".join(f"{v:.2f}" for v in b.noise_dn) if any(b.noise_dn) else "–"}
        for b, n in zip(profile.black, frames, strict=True)
    ]
    caption = "Black level against ISO; the bars are a tenth of the read noise"
    return row(figure(draw, caption)) + table(rows)


def _noise(evidence: Evidence) -> str:
    plots = [figure(_transfer(g), f"ISO {g.iso:g}: variance against signal, and the fit") for g in evidence.gains]
    rows = [
        {
            "ISO": g.iso,
            "method": g.method.replace("_", " "),
            "color": color,
            "S": f"{fit.shot:.4g} ± {fit.shot_error:.1g}",
            "O": f"{fit.read:.4g} ± {fit.read_error:.1g}",
            "electrons at white": f"{1 / fit.shot:.0f}" if fit.shot > 0 else "–",
            "chi²": fit.chi2,
            "single image: S": _ratio(g, color, "shot"),
            "single image: O": _ratio(g, color, "read"),
        }
        for g in evidence.gains
        for color, fit in g.fits.items()
    ]
    return row(*plots, *([_gain_law(evidence)] if evidence.law is not None else [])) + _law_text(evidence) + table(rows)


def _ratio(gain: GainNoise, color: str, name: str) -> str:
    if gain.method == "single_image" or color not in gain.single:
        return "–"
    own, other = getattr(gain.fits[color], name), getattr(gain.single[color].fit, name)
    return f"{other / own - 1:+.1%}" if own > 0 else "–"


def _transfer(gain: GainNoise) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        for color in COLORS:
            points, fit = gain.points[color], gain.fits[color]
            axes.plot(points.signal, points.variance, ".", ms=4, color=_INKS[color], alpha=0.7)
            x = np.linspace(0, float(points.signal.max()), 2)
            axes.plot(x, fit.shot * x + fit.read, linewidth=1.1, color=_INKS[color], label=color)
        axes.set_xlabel("signal x, black 0, white 1")
        axes.set_ylabel("variance")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        axes.legend(fontsize="small", frameon=False)

    return draw


def _gain_law(evidence: Evidence) -> str:
    def draw(axes: Any) -> None:
        iso = np.array([g.iso for g in evidence.gains])
        for color in COLORS:
            axes.loglog(
                iso, [g.fits[color].shot for g in evidence.gains], "o", color=_INKS[color], label=f"S of {color}"
            )
        first = evidence.gains[0]
        axes.loglog(iso, first.fits["G"].shot * iso / first.iso, "--", color="#777", linewidth=1, label="S ∝ ISO")
        axes.set_xticks(iso, [f"{v:g}" for v in iso])
        axes.minorticks_off()
        axes.set_xlabel("ISO")
        axes.set_ylabel("S")
        axes.legend(fontsize="small", frameon=False)

    return figure(draw, "Does S follow the gain?")


def _law_text(evidence: Evidence) -> str:
    if evidence.law is None:
        return ""
    exponent, off = evidence.law
    return f"<p>S grows as ISO<sup>{exponent:.3f}</sup>; proportional to ISO within {off:.1%}.</p>"


def _defects(profile: CameraProfile, evidence: Evidence) -> str:
    def draw(axes: Any) -> None:
        for source, ink in (("dark", "#c62828"), ("flat", "#1565c0")):
            found = [d.points for d in evidence.defects if d.source.startswith(source)]
            points = np.concatenate([np.zeros((0, 2), np.int64), *found])
            axes.plot(points[:, 1], points[:, 0], ".", ms=3, color=ink, label=f"in {source}s", alpha=0.7)
        axes.set_xlim(0, profile.size[1])
        axes.set_ylim(profile.size[0], 0)
        axes.set_aspect("equal")
        axes.legend(fontsize="small", frameon=False)

    rows = [
        {
            "found in": d.source,
            "pixels": len(d.points),
            "threshold": f"{d.sigmas:.1f} σ",
            "σ": f"{float(np.mean(d.sigma)):.3g} {'DN' if d.source.startswith('dark') else 'of the light'}",
            "false alarms expected": f"{d.expected_false:.2g}",
        }
        for d in evidence.defects
    ]
    return row(figure(draw, f"{len(profile.defects)} defect pixels of {profile.size[0] * profile.size[1]}")) + table(
        rows
    )


def _shading(profile: CameraProfile, evidence: Evidence) -> str:
    parts = []
    for result in evidence.shading:
        light = f"{result.map.cct_k:g} K" if result.map.cct_k else "unknown light"
        text = (
            f"corner gain of the greens {result.corner_gain:.3f}; the mesh leaves {result.mesh_residue:.2%}, the "
            f"radial model {result.radial_residue:.2%} (root mean square over blocks of {result.frames} frames)"
        )
        parts.append(f"<h3>{escape(light)}</h3>" + row(_maps(result.map, profile.cfa, light)) + f"<p>{text}</p>")
    return "".join(parts)


def _maps(shading: ShadingMap, cfa: str, light: str) -> str:
    from matplotlib.figure import Figure

    page = Figure(figsize=(10, 2.5), layout="constrained")
    planes = [np.array(plane) for plane in shading.gains]
    top = max(float(p.max()) for p in planes)
    for site, (plane, color) in enumerate(zip(planes, cfa, strict=True)):
        axes = page.add_subplot(1, 4, site + 1)
        drawn = axes.imshow(plane, vmin=1, vmax=top, extent=(0, 1, 1, 0), aspect="auto", interpolation="bilinear")
        axes.set_title(f"site {site} ({color}), to {plane.max():.3f}", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    page.colorbar(drawn, ax=page.axes, shrink=0.9)
    caption = f"Gains per site at {light}"
    return f"<figure>{svg(page, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _color(profile: CameraProfile, evidence: Evidence) -> str:
    lights = sorted(profile.colors, key=lambda c: c.cct_k)
    rows = [
        {
            "light": c.name,
            "CCT, K": c.cct_k,
            "neutral R": c.neutral[0],
            "G": c.neutral[1],
            "B": c.neutral[2],
            "ΔE00 mean": c.delta_e00_mean,
            "ΔE00 max": c.delta_e00_max,
            "matrix to sRGB": "; ".join(" ".join(f"{v:.3f}" for v in line) for line in c.ccm),
        }
        for c in lights
    ]
    marks = ["good" if c.delta_e00_mean < _GOOD else "bad" if c.delta_e00_mean > _FAIR else "" for c in lights]
    return (
        row(_whites(lights, evidence.awb), _patch_errors(evidence))
        + table(rows, row_class=marks)
        + _margins(lights, evidence.awb)
    )


def _whites(lights: Sequence[LightColor], curve: AwbCurve | None) -> str:
    """The whites, the curve through them, and how far it may be left."""

    def draw(axes: Any) -> None:
        if curve is not None:
            axes.plot(*curve.sampled(129)[1].T, "-", color="#999", linewidth=1, label="white-balance curve")
            axes.legend(fontsize="small", frameon=False)
        for light in lights:
            point, kelvin = white_point(light), f"{light.cct_k:g} K"
            if curve is not None:
                foot = curve.nearest(point.r, point.b)[0]
                axes.plot([foot.r, point.r], [foot.b, point.b], "-", color="#c62828", linewidth=1)
            axes.plot(point.r, point.b, "o", color="#444")
            label = f" {light.name}" if kelvin in light.name else f" {light.name} {kelvin}"
            axes.annotate(label, (point.r, point.b), fontsize=8)
        axes.set_xlabel("white: red / green")
        axes.set_ylabel("white: blue / green")

    return figure(draw, "The white of each light in sensor colors, and its distance from the curve")


def _margins(lights: Sequence[LightColor], curve: AwbCurve | None) -> str:
    """How far each white lies beside the curve, and what a white balance should allow."""
    if curve is None:
        return ""
    away = [(c.name, curve.nearest(white_point(c).r, white_point(c).b)[1]) for c in lights]
    told = ", ".join(f"{escape(name)} {distance:+.4f}" for name, distance in away)
    return (
        f"<p>Distance of the whites from the white-balance curve, in R/G and B/G: {told}. Transverse margins: "
        f"+{curve.transverse_pos:.4f} and −{curve.transverse_neg:.4f}.</p>"
    )


def _patch_errors(evidence: Evidence) -> str:
    """ΔE00 of every patch under every light."""
    if not evidence.lights:
        return ""
    columns = {
        f"{r.color.name} (white balance alone {r.delta_e00_before:.1f})": r.delta_e00.tolist() for r in evidence.lights
    }
    names = evidence.lights[0].names
    rows = [{"patch, ΔE00": n} | {head: float(v[i]) for head, v in columns.items()} for i, n in enumerate(names)]
    return f"<details><summary>ΔE00 by patch</summary>{table(rows)}</details>"


def _psf(profile: CameraProfile, evidence: Evidence) -> str:
    """The green kernels, or those of the first color, over the picture."""
    from matplotlib.figure import Figure

    kernels = profile.psf.kernels if profile.psf is not None else {}
    color = "G" if "G" in kernels else next(iter(kernels))
    grid = kernels[color]
    page = Figure(figsize=(1.1 * len(grid[0]), 1.1 * len(grid)))
    for place, kernel in _cells(grid):
        axes = page.add_subplot(len(grid), len(grid[0]), place)
        axes.imshow(np.array(kernel), interpolation="nearest")
        axes.set_axis_off()
    caption = f"Kernels of {color} over the picture, each scaled to its peak"
    shown = f"<figure>{svg(page, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
    return shown + (_frequencies(evidence.psf) if evidence.psf is not None else "")


def _frequencies(psf: PsfResult) -> str:
    rows = [
        {"color": color, "cell": f"{i}, {j}", "MTF50 horizontal, cycles/px": cell[0], "vertical": cell[1]}
        for color, grid in psf.mtf50.items()
        for i, line in enumerate(grid)
        for j, cell in enumerate(line)
    ]
    return f"<details><summary>MTF50 by cell</summary>{table(rows)}</details>"


def _cells(grid: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Any]]:
    for i, line in enumerate(grid):
        for j, kernel in enumerate(line):
            yield i * len(line) + j + 1, kernel
