"""Shots of the noise chart of a folder -> point spread functions: which chart it is, and where it lies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from ispkit.calibrate.psf import PsfResult, measure_psf
from ispkit.calibrate.shots import Shot
from ispkit.charts.catalog import build, from_truth
from ispkit.charts.chart import Chart
from ispkit.core.errors import FileError, IspkitError
from ispkit.core.meta import View
from ispkit.core.profile import ShadingMap, Sites
from ispkit.kpi.locate import locate
from ispkit.kpi.patches import mosaic_preview
from ispkit.ops import levels
from ispkit.sensor.optics import falloff

TRUTH = "psf*.json"
"""description of the noise chart, in the folder"""
_UNKNOWN_LIGHT_K = 5000.0


def measure_psf_shot(shot: Shot, *, folder: Path, black: Sites, shading: Sequence[ShadingMap]) -> PsfResult:
    """Kernels from one shot of `psf_noise`, found by its markers; lens shading is corrected first.

    The chart is the one of a `psf*.json` in the folder, which `ispkit chart` writes beside the picture, else
    `psf_noise` with markers and default parameters. Raises `FileError`.
    """
    frame = shot.frame()
    linear = levels.linearize(frame.data.double(), torch.tensor([black]), frame.meta.white_level)
    if shading:
        cct = torch.tensor([shot.cct_k or _UNKNOWN_LIGHT_K], dtype=torch.float64)
        linear = linear * falloff(_lit(shading), cct, View(frame.size), linear)
    try:
        chart = _chart(folder)
        placed = locate(mosaic_preview(linear[0, 0], shot.cfa), chart)
        return measure_psf(linear[0, 0], shot.cfa, chart, placed)
    except IspkitError as error:
        raise FileError(f"{shot.name}: {error}") from error


def _lit(shading: Sequence[ShadingMap]) -> Sequence[ShadingMap]:
    """The maps of known lights, between which one can interpolate; the first one if there is none."""
    return [s for s in shading if s.cct_k > 0] or shading[:1]


def _chart(folder: Path) -> Chart:
    found = sorted(folder.glob(TRUTH))
    if not found:
        return build("psf_noise", markers=True)
    try:
        return from_truth(dict(json.loads(found[0].read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{found[0].name} is not the description of a chart ({error})") from error
