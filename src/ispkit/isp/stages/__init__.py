"""The classical stages, one topic a file. `STAGES` is the whole list: add a stage by adding a line."""

from __future__ import annotations

from ispkit.isp.stage import Stage
from ispkit.isp.stages.color import ColorAdjust, ColorMatrix
from ispkit.isp.stages.defects import DefectPixels
from ispkit.isp.stages.demosaic import Demosaic, FalseColor
from ispkit.isp.stages.denoise import Denoise
from ispkit.isp.stages.distortion import Distortion
from ispkit.isp.stages.encode import Encode, Lut3D
from ispkit.isp.stages.green import GreenEqualization
from ispkit.isp.stages.highlights import Highlights
from ispkit.isp.stages.jpeg import Jpeg
from ispkit.isp.stages.lens import LensShading
from ispkit.isp.stages.levels import Exposure, Linearize
from ispkit.isp.stages.local_tone import LocalLaplacian
from ispkit.isp.stages.raw_denoise import RawDenoise
from ispkit.isp.stages.sharpen import Sharpen
from ispkit.isp.stages.tone import ToneCurve
from ispkit.isp.stages.white_balance import WhiteBalance

STAGES: dict[str, type[Stage]] = {
    "linearize": Linearize,
    "defect_pixels": DefectPixels,
    "lens_shading": LensShading,
    "green_equalization": GreenEqualization,
    "raw_denoise": RawDenoise,
    "white_balance": WhiteBalance,
    "highlights": Highlights,
    "demosaic": Demosaic,
    "false_color": FalseColor,
    "distortion": Distortion,
    "color_matrix": ColorMatrix,
    "exposure": Exposure,
    "denoise": Denoise,
    "local_laplacian": LocalLaplacian,
    "sharpen": Sharpen,
    "tone_curve": ToneCurve,
    "color_adjust": ColorAdjust,
    "encode": Encode,
    "lut3d": Lut3D,
    "jpeg": Jpeg,
}
