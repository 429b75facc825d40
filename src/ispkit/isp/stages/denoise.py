"""Noise reduction of linear RGB."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops import rgb_denoise
from ispkit.ops.values import is_zero


class Denoise(Stage):
    """Luma and chroma noise reduction, with strengths relative to the frame's own noise.

    Strength 1 suits the noise of `meta.noise_profile` (and `noise_map`); a frame that does not know its
    noise is taken for one with S = 4e-4, O = 4e-6 (`ops.rgb_denoise.NOMINAL_PROFILE`). The profile is
    left as it was: it still bounds the noise from above, and no law says how much was removed.
    """

    reads, writes = Domain.LINEAR_RGB, Domain.LINEAR_RGB
    method = Choice(
        default="guided",
        options=("guided", "bilateral", "nlm"),
        doc="guided is the fastest, bilateral the best against fine noise, nlm (non-local means) keeps texture",
    )
    luma = Param(default=0.0, low=0.0, high=3.0, doc="strength on brightness noise; 0 leaves it, 1 suits the noise")
    chroma = Param(default=0.0, low=0.0, high=3.0, doc="strength on color noise; 0 leaves it, 1 suits the noise")
    radius = Param(default=3.0, low=1.0, high=rgb_denoise.MAX_RADIUS, unit="px", doc="of the window of pixels averaged")
    patch = Choice(default="3", options=("3", "5"), when=("method", ("nlm",)), doc="width of the compared patches, px")

    def apply(self, frame: Frame, *, method: rgb_denoise.Method, luma: Number, chroma: Number, **window: Any) -> Frame:
        """Denoise; identity if both strengths are 0."""
        if is_zero(luma) and is_zero(chroma):
            return frame
        guide = rgb_denoise.noise_units(frame.data, frame.meta.noise_profile, frame.meta.noise_map)
        radius, patch = window["radius"], int(window["patch"])
        data = rgb_denoise.denoise(
            frame.data, guide, (luma, chroma), method=method, radius=radius, patch_radius=patch // 2
        )
        return frame.with_data(data)

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """The window's radius; twice for guided (means of means), and half a patch more for nlm."""
        if all(not isinstance(v, str) and is_zero(v) for v in (values["luma"], values["chroma"])):
            return 0
        radius, method = values["radius"], values["method"]
        reach = rgb_denoise.MAX_RADIUS if isinstance(radius, Tensor) else math.ceil(float(radius))
        return (
            max(2 * reach, reach + 2)
            if isinstance(method, Tensor)
            else {"guided": 2 * reach}.get(str(method), reach + 2)
        )
