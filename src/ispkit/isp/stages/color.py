"""Sensor colors to linear sRGB, and what changes colors afterwards."""

from __future__ import annotations

import torch

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param
from ispkit.isp.stage import Stage
from ispkit.ops import adjust, camera_color
from ispkit.ops.color_spaces import apply_matrix
from ispkit.ops.values import is_zero

_TRIMS = ("red_from_green", "red_from_blue", "green_from_red", "green_from_blue", "blue_from_red", "blue_from_green")


def _trim(what: str) -> Param:
    return Param(default=0.0, low=-0.5, high=0.5, doc=f"{what}; the diagonal keeps gray gray")


class ColorMatrix(Stage):
    """Camera RGB -> linear sRGB by the camera's matrices at the scene's color temperature, plus trims.

    Colors outside sRGB become negative or exceed 1 and are kept until `encode`.
    """

    reads, writes = Domain.CAMERA_RGB, Domain.LINEAR_RGB
    source = Choice(default="camera", options=("camera", "off"), doc="off: sensor RGB is taken for sRGB")
    red_from_green = _trim("share of green added to red")
    red_from_blue = _trim("share of blue added to red")
    green_from_red = _trim("share of red added to green")
    green_from_blue = _trim("share of blue added to green")
    blue_from_red = _trim("share of red added to blue")
    blue_from_green = _trim("share of green added to blue")

    def apply(self, frame: Frame, source: str, **trims: Number) -> Frame:
        """One 3x3 product. The noise profile is that of neutral colors: S'_i = sum_j M_ij^2 S_j w_j.

        w is what white reads before the product: (1, 1, 1) after a white balance.
        """
        m, x = frame.meta, frame.data
        matrix = torch.eye(3, dtype=x.dtype, device=x.device)[None]
        white = torch.ones_like(m.neutral)
        if source == "camera":
            # in float64: one small matrix a frame, and the float32 iteration would cost digits
            facts = (m.neutral, m.wb_gains, m.color_matrices, m.forward_matrices, m.illuminant_cct_k)
            matrix = camera_color.camera_to_linear_srgb(*(t.double() for t in facts)).to(x)
            white = m.neutral * m.wb_gains / m.wb_gains.amin(-1, keepdim=True)
        if not all(is_zero(t) for t in trims.values()):
            columns = [torch.as_tensor(trims[name]).to(x).reshape(-1) for name in _TRIMS]
            matrix = camera_color.off_diagonal(torch.broadcast_tensors(*columns)) @ matrix  # type: ignore[no-untyped-call]
        profile = torch.stack([m.noise_profile[..., 0] * white, m.noise_profile[..., 1]], -1)
        noise = matrix.square() @ profile.to(matrix)
        return frame.with_data(apply_matrix(x, matrix), self.writes, noise_profile=noise.to(m.noise_profile))


class ColorAdjust(Stage):
    """Contrast, saturation, vibrance and hue on linear RGB; gray stays gray."""

    reads, writes = Domain.LINEAR_RGB, Domain.LINEAR_RGB
    contrast = Param(default=1.0, low=0.5, high=2.0, scale="log", doc="slope in log luminance about 18 % gray")
    saturation = Param(default=1.0, low=0.0, high=3.0, doc="0 is gray, 1 unchanged")
    vibrance = Param(default=0.0, low=-1.0, high=1.0, doc="extra saturation where color is weak")
    hue = Param(default=0.0, low=-180.0, high=180.0, unit="deg", doc="rotation about the gray axis")

    def apply(self, frame: Frame, contrast: Number, saturation: Number, vibrance: Number, hue: Number) -> Frame:
        """Contrast first, then saturation with vibrance, then hue."""
        rgb = frame.data
        if isinstance(contrast, torch.Tensor) or contrast != 1:
            rgb = adjust.contrast(rgb, contrast)
        if not is_zero(vibrance) or isinstance(saturation, torch.Tensor) or saturation != 1:
            rgb = adjust.saturation(rgb, saturation, vibrance)
        if not is_zero(hue):
            rgb = adjust.rotate_hue(rgb, hue)
        return frame.with_data(rgb)
