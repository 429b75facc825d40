"""Balance of the two greens."""

from __future__ import annotations

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops import green
from ispkit.ops.values import is_zero


class GreenEqualization(Stage):
    """Remove the maze that unequal greens leave after demosaicing; `strength` 0 leaves the mosaic."""

    reads, writes = Domain.MOSAIC, Domain.MOSAIC
    strength = Param(default=0.0, low=0.0, high=1.0, doc="part of the local imbalance that is removed")
    limit = Param(
        default=0.05, low=0.005, high=0.5, scale="log", doc="relative difference above which it counts as an edge"
    )

    def apply(self, frame: Frame, strength: Number, limit: Number) -> Frame:
        """The mosaic with equal greens; single pixels keep their noise."""
        if is_zero(strength):
            return frame
        return frame.with_data(green.equalize(frame.data, frame.meta.cfa, strength=strength, limit=limit))

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """Reach of the estimate and of its average."""
        strength = values["strength"]
        return 0 if not isinstance(strength, str) and is_zero(strength) else green.REACH + green.RADIUS
