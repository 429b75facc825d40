"""What the pixels and their readout add: photon and dark noise, patterns that stay, lines, defects.

Signals are linear, black 0, white 1, (B, 1, H, W). What is drawn anew in each picture takes a generator on the
signal's device; what belongs to one sensor is drawn on the CPU from its serial number, the same on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ispkit.core.errors import ParamError
from ispkit.core.meta import View
from ispkit.sensor.model import Defect

Draw = Literal["poisson", "normal", "none"]
DRAWS: tuple[Draw, ...] = ("poisson", "normal", "none")
_TINY = 1e-12
_PRNU, _COLUMNS = 1, 2  # streams of one serial number


def poisson_gaussian(
    signal: Tensor, shot: Tensor, read: Tensor, generator: torch.Generator, draw: Draw = "poisson"
) -> Tensor:
    """A signal with noise of variance S x + O; `shot` and `read` broadcast to it, S = 0 has no photon noise.

    "poisson" counts electrons x / S (Dirty Pixels, eq. 1); "normal" has the same mean and variance, is
    faster and differentiable, and right where x is many times S; "none" adds nothing.
    """
    x = signal.clamp(min=0)
    if draw == "none":
        return x
    if draw == "normal":
        spread = (shot * x + read).sqrt()
        return x + spread * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    counted = torch.poisson(x / shot.clamp(min=_TINY), generator=generator) * shot
    photons = torch.where(shot > 0, counted, x)
    thermal = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return photons.addcmul_(thermal, read.sqrt().expand_as(x))


def row_offsets(like: Tensor, std: Tensor, generator: torch.Generator) -> Tensor:
    """An offset for each row of each picture, (B, 1, H, 1); `std` is (B,)."""
    shape = (like.shape[0], 1, like.shape[-2], 1)
    drawn = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
    return drawn * std.to(like).reshape(-1, 1, 1, 1)


def response_pattern(like: Tensor, prnu: float, serial: int) -> Tensor:
    """The pixels' relative response (1, 1, H, W), mean 1, standard deviation `prnu`; never negative."""
    drawn = torch.randn(like.shape[-2:], generator=_stream(serial, _PRNU), dtype=torch.float32)
    return (1 + prnu * drawn).clamp(min=0).to(like)[None, None]


def column_offsets(like: Tensor, std: float, serial: int) -> Tensor:
    """The offset that each column always has, (1, 1, 1, W)."""
    return (std * torch.randn(like.shape[-1], generator=_stream(serial, _COLUMNS), dtype=torch.float32)).to(like)


def dark_electrons(like: Tensor, rate_e_s: float, defects: Sequence[Defect], view: View) -> Tensor | None:
    """Mean dark electrons per second at each pixel, (1, 1, H, W); None if there are none."""
    hot = [d for d in defects if d.kind == "hot"]
    if not hot and rate_e_s == 0:
        return None
    rate = torch.full((1, 1, *like.shape[-2:]), rate_e_s, dtype=like.dtype, device=like.device)
    for place, defect in _places(hot, view, like):
        rate[place] += defect.value
    return rate


def weaken_dead(signal: Tensor, defects: Sequence[Defect], view: View) -> Tensor:
    """The signal with the response of dead pixels reduced to their value."""
    return _changed(signal, [d for d in defects if d.kind == "dead"], view, replace=False)


def hold_stuck(signal: Tensor, defects: Sequence[Defect], view: View) -> Tensor:
    """The signal with stuck pixels at their value."""
    return _changed(signal, [d for d in defects if d.kind == "stuck"], view, replace=True)


def check_draw(draw: str) -> Draw:
    """Return `draw` as one of `DRAWS`, or raise `ParamError`."""
    for known in DRAWS:
        if draw == known:
            return known
    raise ParamError(f"noise={draw!r} is not one of {', '.join(DRAWS)}")


def _changed(signal: Tensor, defects: Sequence[Defect], view: View, *, replace: bool) -> Tensor:
    if not defects:
        return signal
    out = signal.clone()
    for place, defect in _places(defects, view, signal):
        out[place] = defect.value if replace else out[place] * defect.value
    return out


def _places(defects: Sequence[Defect], view: View, like: Tensor) -> list[tuple[tuple[slice, int, int, int], Defect]]:
    """Where in a tensor each defect lies that the view shows."""
    found = []
    for defect in defects:
        y, x = ((p - o) * s for p, o, s in zip((defect.row, defect.column), view.origin, view.step, strict=True))
        if 0 <= y < like.shape[-2] and 0 <= x < like.shape[-1]:
            found.append(((slice(None), 0, y, x), defect))
    return found


def _stream(serial: int, which: int) -> torch.Generator:
    return torch.Generator().manual_seed(serial * 16 + which)
