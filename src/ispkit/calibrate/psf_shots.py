"""Shots of the noise chart -> point spread functions: which chart it is, and where it lies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from ispkit.calibrate.psf import PsfResult, measure_psf
from ispkit.calibrate.shading import corrected
from ispkit.calibrate.shots import Shot
from ispkit.charts.catalog import build, from_truth
from ispkit.charts.chart import Chart
from ispkit.core.errors import FileError, IspkitError
from ispkit.core.profile import ShadingMap, Sites
from ispkit.kpi.locate import locate
from ispkit.kpi.patches import mosaic_preview
from ispkit.ops import levels

TRUTH = "psf*.json"
"""description of the noise chart, in the folder"""


def measure_psf_shot(shot: Shot, *, folder: Path, black: Sites, shading: Sequence[ShadingMap]) -> PsfResult:
    """Kernels from one shot of `psf_noise`, found by its markers.

    Lens shading is corrected first. The chart is the one of a `psf*.json` in the folder, which `ispkit chart` writes
    beside the picture, else `psf_noise` with markers and default parameters. Raises `FileError`.
    """
    frame = shot.frame()
    linear = levels.linearize(frame.data.double(), torch.tensor([black]), frame.meta.white_level)
    if shading:
        linear = corrected(linear, shading, shot.cct_k, frame.meta.view[0])
    try:
        chart = _chart(folder)
        placed = locate(mosaic_preview(linear[0, 0], shot.cfa), chart)
        return measure_psf(linear[0, 0], shot.cfa, chart, placed)
    except IspkitError as error:
        raise FileError(f"{shot.name}: {error}") from error


def _chart(folder: Path) -> Chart:
    found = sorted(folder.glob(TRUTH))
    if not found:
        return build("psf_noise", markers=True)
    try:
        return from_truth(dict(json.loads(found[0].read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        raise FileError(f"{found[0].name} is not the description of a chart ({error})") from error
