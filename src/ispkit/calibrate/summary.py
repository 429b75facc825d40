"""The short form of a profile: what a table or a program wants to see at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ispkit.calibrate.awb import measure_awb
from ispkit.core.profile import CameraProfile, LightColor, ShadingMap


def summary(profile: CameraProfile) -> dict[str, Any]:
    """Plain data for JSON: all measured numbers but the long lists (meshes, defects, kernels)."""
    black = [
        {"iso": b.iso, "exposure_time_s": b.exposure_time_s, "level_dn": list(b.level_dn), "noise_dn": list(b.noise_dn)}
        for b in profile.black
    ]
    noise = [{"iso": n.iso, "shot": list(n.shot), "read": list(n.read), "method": n.method} for n in profile.noise]
    return {
        "name": profile.name,
        "cfa": profile.cfa,
        "height": profile.size[0],
        "width": profile.size[1],
        "white_level": profile.white_level,
        "black": black,
        "noise": noise,
        "defects": len(profile.defects),
        "shading": [_shading(s) for s in profile.shading],
        "colors": [_color(c) for c in profile.colors],
        "awb": _awb(profile.colors),
        "psf": sorted(profile.psf.kernels) if profile.psf is not None else None,
    }


def _shading(shading: ShadingMap) -> dict[str, Any]:
    return {
        "cct_k": shading.cct_k,
        "mesh": [len(shading.gains[0]), len(shading.gains[0][0])],
        "corner_gain": [round(_corner(plane), 4) for plane in shading.gains],
        "radial": list(shading.radial),
        "center": list(shading.center),
    }


def _color(color: LightColor) -> dict[str, Any]:
    return {
        "name": color.name,
        "cct_k": color.cct_k,
        "neutral": list(color.neutral),
        "ccm": [list(row) for row in color.ccm],
        "delta_e00_mean": color.delta_e00_mean,
        "delta_e00_max": color.delta_e00_max,
    }


def _awb(colors: Sequence[LightColor]) -> dict[str, float] | None:
    """The margins of the white-balance curve; one white is no curve."""
    known = [c for c in colors if c.cct_k > 0]
    if len(known) < 2:
        return None
    curve = measure_awb(known)
    return {"transverse_pos": round(curve.transverse_pos, 5), "transverse_neg": round(curve.transverse_neg, 5)}


def _corner(plane: Sequence[Sequence[float]]) -> float:
    """Mean gain of the four corners."""
    return (plane[0][0] + plane[0][-1] + plane[-1][0] + plane[-1][-1]) / 4
