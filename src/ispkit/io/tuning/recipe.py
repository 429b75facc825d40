"""What our recipes can act out of a Raspberry Pi tuning, as plain data.

The camera's facts (levels, noise, shading, colors) go into the frame by `to_profile` and `apply_profile`;
the recipe holds what is a matter of taste: tone and sharpening.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from ispkit.core.errors import FileError
from ispkit.io.atomic import write_bytes
from ispkit.io.tuning.rpi import RpiTuning
from ispkit.ops.encode import srgb_decode

NOT_EMULATED = (
    "rpi.agc, rpi.lux, rpi.hdr, rpi.af, rpi.sync (exposure and focus)",
    "the search of rpi.awb (the white is taken from the file or from ct_curve)",
    "the adaptation of rpi.alsc to the scene (the calibrated tables are applied as they are)",
    "rpi.sdn, rpi.denoise, rpi.cdn, rpi.tdn (denoising: only the noise profile is carried over)",
    "rpi.dpc, rpi.geq, rpi.cac (corrections of the hardware)",
    "the adaptive part of rpi.contrast (ce_enable); the gamma curve is applied",
    "rpi.ccm.saturation by lux; the shape of the hardware's sharpening filter",
)

"""what a rendering of a tuning leaves out"""
_NODES = 33
_FULL = 65535.0
# of our unsharp mask at the hardware's defaults; the hardware's filter is another one, so this is our choice
_AMOUNT, _THRESHOLD, _HALO = 0.5, 0.004, 0.5


def recipe_values(tuning: RpiTuning, *, tone_cube: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """A recipe (version 1, plain data) that renders a frame as the tuning would.

    The frame must carry the tuning's facts: `apply_profile(frame, to_profile(tuning, cfa=..., size=...,
    luminance_strength=tuning.shading.strength), cct_k=...)`. `tone_cube` is the file that
    `write_tone_cube` wrote; without it tone is plain sRGB. Sharpening is relative to a strength of 1.
    What is left out is in `NOT_EMULATED`.
    """
    stages: list[Any] = ["linearize", "defect_pixels", "lens_shading", {"white_balance": {"mode": "as_shot"}}]
    stages += [{"highlights": {"mode": "clip"}}, {"demosaic": {"method": "malvar2004"}}, "color_matrix"]
    if tuning.sharpen is not None:
        stages.append({"sharpen": _sharpen(tuning.sharpen)})
    stages.append({"encode": {"space": "srgb"}})
    if tone_cube is not None:
        stages.append({"lut3d": {"file": os.fspath(tone_cube)}})
    return {"version": 1, "doc": f"after the Raspberry Pi tuning {os.path.basename(tuning.source)}", "stages": stages}


def _sharpen(factors: dict[str, float]) -> dict[str, float]:
    return {
        "amount": min(max(_AMOUNT * factors["strength"], 0.0), 3.0),
        "threshold": min(max(_THRESHOLD * factors["threshold"], 0.0), 0.05),
        "halo_limit": min(max(_HALO * factors["limit"], 0.0), 1.0),
    }


def tone_values(tuning: RpiTuning, nodes: int = _NODES) -> list[float]:
    """The gamma curve as display values in [0, 1] at `nodes` even sRGB codes from 0 to 1.

    Raises `FileError` for a tuning without a gamma curve.
    """
    curve = tuning.gamma_curve
    if curve is None:
        raise FileError(f"{tuning.source}: rpi.contrast has no gamma_curve; there is no tone to take over")
    x, y = np.array(curve).T / _FULL
    linear = srgb_decode(torch.linspace(0, 1, nodes, dtype=torch.float64)).numpy()
    return [float(v) for v in np.interp(linear, x, y).clip(0, 1)]


def write_tone_cube(path: str | os.PathLike[str], tuning: RpiTuning) -> None:
    """Write the gamma curve as a 3D .cube file for the stage `lut3d`. Raises `FileError`."""
    words = [f"{v:.6f}" for v in tone_values(tuning)]
    lines = [f"LUT_3D_SIZE {len(words)}", *(f"{r} {g} {b}" for b in words for g in words for r in words)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())
