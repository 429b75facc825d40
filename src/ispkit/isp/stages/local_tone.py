"""Local tone mapping."""

from __future__ import annotations

from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.param import Choice, Number, Param, Values
from ispkit.isp.stage import Stage
from ispkit.ops import local_laplacian, pyramid

LEVELS = ("2", "3", "4", "5")


class LocalLaplacian(Stage):
    """Local Laplacian filter on log luminance: detail by alpha, range by beta, without halos.

    The pyramid is capped at 5 levels, so that tiles are exact: structures wider than 2^levels pixels are
    changed by beta only. Alpha 1 and beta 1 are identity. The noise profile is left as it was: the
    gain differs from pixel to pixel with what surrounds it.
    """

    reads, writes = Domain.LINEAR_RGB, Domain.LINEAR_RGB
    align = 2 ** int(LEVELS[-1])
    alpha = Param(default=1.0, low=0.25, high=3.0, scale="log", doc="details: < 1 enhances, > 1 smooths them")
    beta = Param(default=1.0, low=0.0, high=2.0, doc="range: < 1 compresses, > 1 expands, around mid gray")
    sigma = Param(default=1.3, low=0.5, high=4.0, unit="EV", scale="log", doc="smaller differences are details")
    levels = Choice(default="4", options=LEVELS, doc="halvings of the pyramid: details up to 2^levels px wide")

    def apply(self, frame: Frame, alpha: Number, beta: Number, sigma: Number, levels: str) -> Frame:
        """Map the tones; all three channels of a pixel are scaled alike."""
        data = local_laplacian.tone_map(frame.data, alpha=alpha, beta=beta, sigma=sigma, levels=int(levels))
        return frame.with_data(data)

    def support(self, values: Values, size: tuple[int, int]) -> int:
        """The reach of the pyramid: 60 px for 4 levels, 124 for 5."""
        alpha, beta, levels = values["alpha"], values["beta"], values["levels"]
        if not isinstance(alpha, str) and not isinstance(beta, str) and local_laplacian.is_identity(alpha, beta):
            return 0
        return pyramid.reach(int(LEVELS[-1]) if isinstance(levels, Tensor) else int(self.levels.name(levels)))
