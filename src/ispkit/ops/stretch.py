"""The histogram stretch by which dark pictures are made comparable before they are judged."""

from __future__ import annotations

import torch
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.ops.luma import luminance


def stretch_luminance(picture: Tensor, share: float = 0.05) -> Tensor:
    """Spread the luma of each encoded picture (B, 3, H, W) over [0, 1], `share` of its pixels cut at either end.

    One gain and one offset a picture for all channels, so that gray stays gray; clipped to [0, 1]. A picture whose
    luma does not vary stays as it is. Raises `ParamError`.

    Reference: Schwartz, Giryes, Bronstein, DeepISP, 2019, section IV-B: "stretched to cover the range [0-255] with 5 %
    saturation at the high and low boundaries".

    >>> ramp = torch.linspace(0.2, 0.4, 101).expand(1, 3, 1, 101)
    >>> [round(float(v), 3) for v in stretch_luminance(ramp)[0, 0, 0, [0, 5, 50, 95, 100]]]
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    if not 0 <= share < 0.5:
        raise ParamError(f"share={share} must be in [0, 0.5)")
    luma = luminance(picture).flatten(1)
    last = luma.shape[1] - 1
    # torch.quantile refuses more than 16 million values
    low, high = (luma.kthvalue(round(at * last) + 1).values.reshape(-1, 1, 1, 1) for at in (share, 1 - share))
    varies = high > low
    spread = ((picture - low) / torch.where(varies, high - low, 1.0)).clamp(0.0, 1.0)
    return torch.where(varies, spread, picture)
