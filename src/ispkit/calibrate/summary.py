"""The short form of a profile: what a table or a program wants to see at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ispkit.core.profile import BlackPoint, CameraProfile, NoisePoint


def summary(profile: CameraProfile) -> dict[str, Any]:
    """Plain data for JSON: all measured numbers but the long lists (meshes, defects, kernels)."""
    return {
        "name": profile.name,
        "cfa": profile.cfa,
        "height": profile.size[0],
        "width": profile.size[1],
        "white_level": profile.white_level,
        "black": [
            {
                "iso": b.iso,
                "exposure_time_s": b.exposure_time_s,
                "level_dn": list(b.level_dn),
                "noise_dn": list(b.noise_dn),
            }
            for b in profile.black
        ],
        "noise": [
            {"iso": n.iso, "shot": list(n.shot), "read": list(n.read), "method": n.method} for n in profile.noise
        ],
        "defects": len(profile.defects),
        "shading": [
            {
                "cct_k": s.cct_k,
                "mesh": [len(s.gains[0]), len(s.gains[0][0])],
                "corner_gain": [round(_corner(plane), 4) for plane in s.gains],
                "radial": list(s.radial),
                "center": list(s.center),
            }
            for s in profile.shading
        ],
        "colors": [
            {
                "name": c.name,
                "cct_k": c.cct_k,
                "neutral": list(c.neutral),
                "ccm": [list(row) for row in c.ccm],
                "delta_e00_mean": c.delta_e00_mean,
                "delta_e00_max": c.delta_e00_max,
            }
            for c in profile.colors
        ],
        "psf": sorted(profile.psf.kernels) if profile.psf is not None else None,
    }


def _plain(point: BlackPoint | NoisePoint) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(point).items()}


def _corner(plane: Sequence[Sequence[float]]) -> float:
    """Mean gain of the four corners."""
    return (plane[0][0] + plane[0][-1] + plane[-1][0] + plane[-1][-1]) / 4
