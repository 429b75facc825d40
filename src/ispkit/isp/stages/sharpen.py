"""Sharpening."""

from __future__ import annotations

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops import sharpen
from ispkit.ops.values import is_zero


class Sharpen(Stage):
    """Unsharp mask of the luminance of linear RGB, with a threshold and a halo limit."""

    reads, writes = Domain.LINEAR_RGB, Domain.LINEAR_RGB
    amount = Param(default=0.0, low=0.0, high=3.0, doc="0 leaves the image unchanged")
    sigma = Param(default=1.0, low=0.4, high=3.0, unit="px", scale="log", doc="radius of the blur (7 taps)")
    threshold = Param(default=0.0, low=0.0, high=0.05, doc="linear detail up to this is taken for noise and left")
    halo_limit = Param(default=0.5, low=0.0, high=1.0, doc="largest change, relative to the local mean luminance")

    def apply(self, frame: Frame, amount: Number, sigma: Number, threshold: Number, halo_limit: Number) -> Frame:
        """Sharpen; the noise profile is left as it is, as it describes single pixels of flat areas."""
        data = sharpen.unsharp_mask(frame.data, amount, sigma=sigma, threshold=threshold, halo_limit=halo_limit)
        return frame.with_data(data)

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """The kernel's half width."""
        amount = values["amount"]
        return 0 if not isinstance(amount, str) and is_zero(amount) else sharpen.RADIUS
