"""What a metric is, and the checks that all of them share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ispkit.core.errors import ParamError, ShapeError

Function = TypeVar("Function", bound=Callable[..., Tensor])


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric with the facts that a table, a loss or an optimizer must know about it.

    `function(picture, reference, *, data_range, ...)`, or without `reference` where `full_reference` is
    false, takes (B, 3, H, W) and gives (B,).
    """

    name: str
    title: str
    """how people write it"""
    function: Callable[..., Tensor]
    unit: str = ""
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool
    full_reference: bool = True
    differentiable: bool = True
    needs_model: bool = False
    """whether the caller must pass `model=`, made from files that the toolkit does not ship"""
    doc: str = ""

    def __call__(
        self, picture: Tensor, reference: Tensor | None = None, *, data_range: float, **options: Any
    ) -> Tensor:
        """The values, (B,); `options` are those of the function."""
        if not self.full_reference:
            return self.function(picture, data_range=data_range, **options)
        if reference is None:
            raise ParamError(f"metric {self.name!r} compares with a reference; pass one")
        return self.function(picture, reference, data_range=data_range, **options)

    @property
    def range_text(self) -> str:
        """The range as an interval, for tables.

        >>> Metric(name="psnr", title="PSNR", function=min, high=math.inf, higher_is_better=True).range_text
        '[0, inf)'
        """
        left = f"[{self.low:g}" if math.isfinite(self.low) else "(-inf"
        right = f"{self.high:g}]" if math.isfinite(self.high) else "inf)"
        return f"{left}, {right}"


def full_precision(function: Function) -> Function:
    """Keep a metric out of autocast: a score in half precision is another score."""

    @functools.wraps(function)
    def outside_autocast(picture: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(picture.device.type, enabled=False):
            return function(picture, *args, **kwargs)

    return cast(Function, outside_autocast)


def check_picture(picture: Tensor, data_range: float, channels: int | None = None) -> Tensor:
    """The picture scaled to a range of 1, at least float32. Raises `ShapeError` or `ParamError`."""
    if picture.ndim != 4 or (channels is not None and picture.shape[1] != channels):
        want = f"(B, {channels or 'C'}, H, W)"
        raise ShapeError(f"a metric reads pictures of shape {want}, got {tuple(picture.shape)}")
    if not picture.is_floating_point():
        raise ParamError(f"a metric reads floating point pictures, got {picture.dtype}; convert and give data_range")
    if not (math.isfinite(data_range) and data_range > 0):
        raise ParamError(f"data_range={data_range} must be positive: 1 for [0, 1], 255 for 8-bit codes")
    if picture.dtype in (torch.float16, torch.bfloat16):
        picture = picture.float()
    return picture if data_range == 1 else picture / data_range


def check_pair(
    picture: Tensor, reference: Tensor, data_range: float, channels: int | None = None
) -> tuple[Tensor, Tensor]:
    """Both pictures as `check_picture` gives them; they must agree in shape, dtype is promoted."""
    if picture.shape != reference.shape:
        raise ShapeError(
            f"picture {tuple(picture.shape)} and reference {tuple(reference.shape)} differ; crop or resize one first"
        )
    first, second = (check_picture(p, data_range, channels) for p in (picture, reference))
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype)


def check_size(picture: Tensor, least: int, who: str) -> None:
    """Raise `ShapeError` unless both sides have at least `least` pixels; `who` asks."""
    height, width = picture.shape[-2:]
    if min(height, width) < least:
        raise ShapeError(f"{who} needs pictures of at least {least}x{least} pixels, got {height}x{width}")


def planes(picture: Tensor) -> list[Tensor]:
    """The channels one by one, (B, C, H, W) -> C views of (B, 1, H, W)."""
    return [picture[:, i : i + 1] for i in range(picture.shape[1])]


def per_picture_mean(values: Tensor) -> Tensor:
    """(B, ...) -> (B,)."""
    return values.flatten(1).mean(1)


def safe_sqrt(x: Tensor) -> Tensor:
    """The square root of x >= 0 whose gradient at 0 is 0 instead of infinite."""
    positive = x > 0
    return torch.where(positive, x, 1.0).sqrt() * positive


def luma(rgb: Tensor) -> Tensor:
    """ITU-R BT.601 luma of encoded RGB, (B, 3, H, W) -> (B, 1, H, W)."""
    return 0.299 * rgb[:, 0:1] + 0.587 * rgb[:, 1:2] + 0.114 * rgb[:, 2:3]
