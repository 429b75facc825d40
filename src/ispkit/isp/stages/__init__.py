"""The classical stages, one topic a file. `STAGES` is the whole list: add a stage by adding a line."""

from __future__ import annotations

from ispkit.isp.stage import Stage
from ispkit.isp.stages.color import ColorAdjust, ColorMatrix
from ispkit.isp.stages.encode import Encode, Lut3D
from ispkit.isp.stages.levels import Exposure, Linearize
from ispkit.isp.stages.tone import ToneCurve
from ispkit.isp.stages.white_balance import WhiteBalance

STAGES: dict[str, type[Stage]] = {
    "linearize": Linearize,
    "white_balance": WhiteBalance,
    "color_matrix": ColorMatrix,
    "exposure": Exposure,
    "tone_curve": ToneCurve,
    "color_adjust": ColorAdjust,
    "encode": Encode,
    "lut3d": Lut3D,
}
