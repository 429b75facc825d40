"""Zipper: pixels whose difference to their likest neighbor demosaicing has changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError
from ispkit.kpi.result import Kpi, Result
from ispkit.metrics.color import cie1976, srgb_to_lab

THRESHOLD = 2.3
"""a just noticeable difference in CIELAB (Mahy, Van Eycken, Oosterlinck 1994)"""


@dataclass(frozen=True, eq=False)
class ZipperResult:
    """How many pixels of a picture have the zipper effect."""

    share: float
    """% of the pixels, the border of one pixel left out"""
    rising: float
    """% of the pixels whose difference has grown; the rest of `share` has lost its contrast"""
    where: Tensor
    """(H - 2, W - 2) bool, the pixels of `share`"""

    def as_result(self, region: str = "") -> Result:
        """`zipper.share`."""
        doc = "pixels whose ΔE*ab to the likest neighbor changed by more than 2.3; Lu, Tan 2003"
        return Result((Kpi("zipper.share", self.share, "%", "lower", region, doc),))


def measure_zipper(encoded_picture: Tensor, encoded_reference: Tensor, *, threshold: float = THRESHOLD) -> ZipperResult:
    """Share of pixels with the zipper effect, (3, H, W) encoded sRGB in [0, 1] both.

    The pictures lie pixel on pixel. For each pixel the neighbor (of 8) with the smallest ΔE*ab is sought in the
    reference; the pixel counts where the ΔE*ab of the same pair in the picture differs by more than `threshold`.
    Lu, Tan, Color filter array demosaicking: new method and performance measures, IEEE Trans. Image Processing 12
    (10), 2003; the threshold agrees with the metric of Gharbi et al. 2016, which counts `rising` ones alone. Raises
    `ShapeError`, `ParamError`.
    """
    if encoded_picture.shape != encoded_reference.shape:
        raise ShapeError(
            f"zipper compares two (3, H, W) pictures of one size, got {tuple(encoded_picture.shape)} and "
            f"{tuple(encoded_reference.shape)}"
        )
    if not threshold > 0:
        raise ParamError(f"zipper threshold={threshold} must be positive; 2.3 is one just noticeable difference")
    return LikestNeighbors.of(encoded_reference).zipper(encoded_picture, threshold=threshold)


@dataclass(frozen=True, eq=False)
class LikestNeighbors:
    """What zipper looks at in a reference, kept for many pictures: which neighbor of each pixel is likest it."""

    index: Tensor
    """(1, H - 2, W - 2), of 8"""
    distance: Tensor
    """(1, H - 2, W - 2), ΔE*ab"""

    @staticmethod
    def of(encoded_reference: Tensor) -> LikestNeighbors:
        """From (3, H, W) encoded sRGB in [0, 1]. Raises `ShapeError`."""
        if encoded_reference.ndim != 3 or encoded_reference.shape[0] != 3 or min(encoded_reference.shape[-2:]) < 3:
            raise ShapeError(f"zipper needs (3, H, W) of at least 3x3 pixels, got {tuple(encoded_reference.shape)}")
        before = _to_neighbors(encoded_reference)
        nearest = before.argmin(0, keepdim=True)
        return LikestNeighbors(nearest, before.gather(0, nearest))

    def zipper(self, encoded_picture: Tensor, *, threshold: float = THRESHOLD) -> ZipperResult:
        """`measure_zipper` of a picture of the reference's size."""
        change = (_to_neighbors(encoded_picture).gather(0, self.index) - self.distance)[0]
        where = change.abs() > threshold
        rising = 100 * (change > threshold).double().mean().item()
        return ZipperResult(100 * where.double().mean().item(), rising, where)


def _to_neighbors(encoded: Tensor) -> Tensor:
    """ΔE*ab of every inner pixel to its 8 neighbors, (8, H - 2, W - 2)."""
    lab = srgb_to_lab(encoded.detach().cpu().double()[None])[0]
    height, width = lab.shape[-2:]
    inner = lab[:, 1:-1, 1:-1]
    steps = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    return torch.stack([cie1976(inner, lab[:, i : height - 2 + i, j : width - 2 + j], dim=0) for i, j in steps])
