"""Bayer mosaic -> RGB. `METHODS` is the whole list; `SUPPORT` says how far each one looks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, nearest
from ispkit.ops.demosaic.hamilton_adams import hamilton_adams
from ispkit.ops.demosaic.linear import bilinear, malvar2004
from ispkit.ops.demosaic.menon2007 import menon2007
from ispkit.ops.demosaic.mlri import mlri
from ispkit.ops.demosaic.rcd import rcd

METHODS: dict[str, Callable[[Tensor, str], Tensor]] = {
    "bilinear": bilinear,
    "malvar2004": malvar2004,
    "hamilton_adams": hamilton_adams,
    "menon2007": menon2007,
    "rcd": rcd,
    "mlri": mlri,
}
"""name -> function(mosaic (B, 1, H, W), cfa) -> (B, 3, H, W)"""

SUPPORT = {"bilinear": 1, "malvar2004": 2, "hamilton_adams": 3, "menon2007": 8, "rcd": 11, "mlri": 28}
"""name -> how many pixels away a sample can still change the result"""

_COMPILES = ("bilinear", "malvar2004", "hamilton_adams")
"""methods that torch.compile digests in seconds; the others run eagerly inside a compiled pipeline"""


def demosaic(mosaic: Tensor, cfa: str, method: str = "malvar2004") -> Tensor:
    """Interpolate the two missing colors of every pixel: (B, 1, H, W) -> (B, 3, H, W).

    Linear light in any scale (white balance first for the adaptive methods); nothing is clipped;
    measured samples pass unchanged. Outside the picture its mirror image about the edge pixels is used.
    `cfa` is the top-left 2x2 read row by row. H and W may be odd, at least 2.

    Raises `ParamError`, `ShapeError`.
    """
    if method not in METHODS:
        raise ParamError(f"demosaic method={method!r} is unknown; {nearest(method, METHODS)}")
    function = METHODS[method]
    if method not in _COMPILES and torch.compiler.is_compiling():
        function = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return function(mosaic, cfa)
