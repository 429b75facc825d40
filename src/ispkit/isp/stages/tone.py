"""Global tone curve on linear RGB."""

from __future__ import annotations

import torch

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param
from ispkit.isp.stage import Stage
from ispkit.ops import tone
from ispkit.ops.values import is_zero, per_image


class ToneCurve(Stage):
    """Compress scene light into [0, 1]: a knee with power, or a film-like sigmoid.

    `hue_preservation` blends the per-channel curve with one that scales all channels by the curve of the
    largest, which keeps their ratios.
    """

    reads, writes = Domain.LINEAR_RGB, Domain.LINEAR_RGB
    style = Choice(default="none", options=("none", "knee", "sigmoid"), doc="which curve")
    shadow = Param(default=0.0, low=-0.9, high=3.0, doc="gain at black minus 1; fades above 0.08")
    knee = Param(default=0.8, low=0.1, high=0.98, when=("style", ("knee",)), doc="straight up to here")
    white = Param(
        default=2.0, low=1.0, high=16.0, scale="log", when=("style", ("knee", "sigmoid")), doc="light that becomes 1"
    )
    power = Param(default=1.0, low=0.3, high=2.0, scale="log", when=("style", ("knee",)), doc="exponent of the result")
    contrast = Param(
        default=1.5, low=1.0, high=4.0, scale="log", when=("style", ("sigmoid",)), doc="slope about the pivot"
    )
    pivot = Param(
        default=0.18, low=0.03, high=0.5, scale="log", when=("style", ("sigmoid",)), doc="light that stays put"
    )
    hue_preservation = Param(default=0.0, low=0.0, high=1.0, doc="0 per channel, 1 keeps the channels' ratios")

    def apply(self, frame: Frame, style: str, shadow: Number, hue_preservation: Number, **knobs: Number) -> Frame:
        """Light in [0, 1], except for style "none"."""
        rgb = frame.data if is_zero(shadow) else tone.lift_shadows(frame.data, shadow)
        if style == "none":
            return frame.with_data(rgb)
        curved = self._curve(rgb, style, knobs)
        if not is_zero(hue_preservation):
            norm = rgb.amax(1, keepdim=True).clamp(min=1e-6)
            kept = rgb * (self._curve(norm, style, knobs) / norm)
            curved = torch.lerp(curved, kept, per_image(hue_preservation, rgb).expand_as(rgb))
        return frame.with_data(curved)

    def _curve(self, x: torch.Tensor, style: str, knobs: dict[str, Number]) -> torch.Tensor:
        if style == "sigmoid":
            return tone.sigmoid(x, knobs["contrast"], knobs["pivot"], knobs["white"])
        return tone.knee_power(x, knobs["knee"], knobs["white"], knobs["power"])
