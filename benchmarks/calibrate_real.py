"""Real files through the calibration, beside values that people tuned by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from calibrate_judge import mean_delta_e
from color import CHARTS, chart_neutral
from common import table
from ispkit.calibrate.black import measure_dark
from ispkit.calibrate.color import ChartShot, measure_lights
from ispkit.calibrate.defects import find_defects
from ispkit.calibrate.look import site_planes
from ispkit.charts.colorchecker import reference_linear_srgb
from ispkit.core.frame import Frame
from ispkit.io.dump import Geometry, read_dump
from ispkit.io.load import load
from ispkit.ops.color_spaces import linear_srgb_to

_DARK = "raw_black_frame/BlackImage_1920x1080_12bits_BGGR.raw"
_SCENES = "raw_infinite_isp_8bit_grbg"


def real_sections(data: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Numbers, and the page's sections by heading."""
    dark, scenes = _dark(data), [_scene(data, name) for name in CHARTS]
    text = {
        "A real dark frame": table([dark]) + "\n\n" + _DARK_NOTE,
        "Real ColorChecker scenes": table([row for rows in scenes for row in rows]) + "\n\n" + _SCENE_NOTE,
    }
    return {"dark": dark, "scenes": scenes}, text


def _dark(data: Path) -> dict[str, Any]:
    frame = read_dump(data / _DARK, Geometry(width=1920, height=1080, bits=12, cfa="BGGR"))
    result = measure_dark([site_planes(frame)], iso=100.0, exposure_time_s=0.01)
    defects = find_defects(result.mean, source="dark frame")
    levels, noise = result.point.level_dn, result.point.noise_dn
    return {
        "black level B, Gb, Gr, R (DN of 4095)": ", ".join(f"{v:.2f}" for v in levels),
        "noise (DN)": ", ".join(f"{v:.2f}" for v in noise),
        "pixels at code 0, %": 100 * result.at_zero,
        "hot pixels": len(defects.points),
    }


def _scene(data: Path, name: str) -> list[dict[str, Any]]:
    folder = data / _SCENES
    frame = load(
        folder / f"{name}_2592x1536_8bit_GRBG.raw", sidecar=folder / f"{name}_2592x1536_10bit_GRBG-configs.yml"
    )
    result = measure_lights([ChartShot(frame, "", 5500.0)])[0]
    found, patches = result.color, result.sensor_rgb
    hand, own = frame.meta.neutral[0].double(), torch.tensor(found.neutral, dtype=torch.float64)
    gray = chart_neutral(frame, CHARTS[name])[0].double()
    hand_ccm, own_ccm = _ccm(frame), torch.tensor(found.ccm, dtype=torch.float64)
    choices = {
        "hand-tuned YAML": (hand, hand_ccm),
        "white of the gray patches, the YAML's matrix": (gray, hand_ccm),
        "ispkit (chart found by itself)": (own, own_ccm),
    }
    return [{"scene": name, "made by": label, **_row(patches, *choice)} for label, choice in choices.items()]


def _ccm(frame: Frame) -> torch.Tensor:
    """The YAML's matrix, which `load` keeps as a forward matrix."""
    forward = frame.meta.forward_matrices[0, 0].double()
    solved: torch.Tensor = torch.linalg.solve(linear_srgb_to("xyz").double(), forward)
    return solved


def _row(patches: torch.Tensor, neutral: torch.Tensor, ccm: torch.Tensor) -> dict[str, Any]:
    gains, usable = neutral[1] / neutral, patches.isfinite().all(1)
    linear = (patches[usable] / neutral) @ ccm.T
    return {
        "red gain": f"{gains[0]:.3f}",
        "blue gain": f"{gains[2]:.3f}",
        "matrix": "; ".join(" ".join(f"{v:.2f}" for v in row) for row in ccm.tolist()),
        "mean ΔE00": mean_delta_e(linear, reference_linear_srgb()[usable]),
    }


_DARK_NOTE = """One 12-bit frame of an Infinite-ISP camera with its black level already near zero: a third of the pixels
are cut off at code 0, so the level is that of a censored normal distribution. The only
hand-made value near it, 50 of 1023 in the default configs.yml of the tool that ships the frame, is not this frame's."""
_SCENE_NOTE = """The same two scenes that docs/benchmarks/color.md develops, 8-bit copies of hand-tuned 10-bit shots.
Our matrix is fitted on the very chart on which it is judged, so it should win; the YAML's came with the scene."""
