"""Lens shading on the mosaic: the file's gain maps and a manual radial law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ispkit.core.frame import Domain, Frame
from ispkit.core.meta import View
from ispkit.core.opcodes import GainMap, LineValues, Opcode, VignetteRadial
from ispkit.core.param import Choice, Number, Param
from ispkit.isp.stage import Stage
from ispkit.ops import lens

AreaOpcode = GainMap | LineValues
GainsAt = Callable[[Any, int, Tensor, Tensor, tuple[int, int]], Tensor]
"""(opcode, plane within it, sensor rows, sensor columns, sensor size) -> gains that broadcast to (H, W)"""


class LensShading(Stage):
    """Brighten toward the corners: the file's gain maps (OpcodeList1, 2) and a manual radial law.

    out = x (1 + strength (G - 1)) (1 + k1 r^2 + k2 r^4 + k3 r^6), G the product of the file's `GainMap`,
    `FixVignetteRadial`, `ScalePerRow` and `ScalePerColumn`, r = 1 at the corner farthest from the center.
    `meta.noise_map` is multiplied alike. Nothing is clipped: a DNG reader that keeps [0, 1] would clip at 1.
    """

    reads, writes = Domain.MOSAIC, Domain.MOSAIC
    source = Choice(default="file", options=("file", "off"), doc="take the gain maps that the file carries")
    strength = Param(default=1.0, low=0.0, high=1.5, when=("source", ("file",)), doc="1 applies the maps as stored")
    k1 = Param(default=0.0, low=-0.3, high=3.0, doc="manual gain at r^2; positive brightens the corners")
    k2 = Param(default=0.0, low=-0.3, high=3.0, doc="manual gain at r^4")
    k3 = Param(default=0.0, low=-0.3, high=3.0, doc="manual gain at r^6")

    def apply(self, frame: Frame, *, source: str, strength: Number, **k: Number) -> Frame:
        """The mosaic times its gain; without maps and with neutral knobs the frame itself."""
        gain, radial = None, (k["k1"], k["k2"], k["k3"])
        if source == "file" and not lens.all_zero(strength):
            gain = shading_gain(frame, stages=(1, 2))
            gain = None if gain is None else lens.blend_gain(gain, strength)
        if not lens.all_zero(*radial):
            manual = _manual_gain(frame, radial)
            gain = manual if gain is None else gain * manual
        return frame if gain is None else shaded(frame, gain)


def is_gain(opcode: Opcode) -> bool:
    """Whether the opcode multiplies pixels by a gain that depends on their place."""
    scales = isinstance(opcode, LineValues) and opcode.action == "scale"
    return scales or isinstance(opcode, GainMap | VignetteRadial)


def shaded(frame: Frame, gain: Tensor) -> Frame:
    """The frame times `gain` (1 or B, 1 or C, H, W); the noise map follows (by green where C is 3)."""
    count = max(frame.meta.batch, int(gain.shape[0]))
    meta = frame.meta if frame.meta.batch == count else frame.meta.select([0] * count)
    known = gain[:, gain.shape[1] // 2][:, None]
    noise_map = known if meta.noise_map is None else meta.noise_map * known
    return Frame(frame.data, frame.domain, meta).with_data(
        frame.data * gain, noise_map=noise_map.expand(count, -1, -1, -1)
    )


def shading_gain(frame: Frame, stages: Sequence[int]) -> Tensor | None:
    """The file's shading of these opcode lists at the frame's pixels, (1 or B, C, H, W); None if it has none."""
    rows = list(zip(frame.meta.opcodes, frame.meta.view, strict=True))
    wanted = [tuple(o for o in ops if o.stage in stages and is_gain(o)) for ops, _ in rows]
    if not any(wanted):
        return None
    same = all(ops is rows[0][0] and view == rows[0][1] for ops, view in rows)
    count = 1 if same else len(rows)
    fields = [gain_field(wanted[i], rows[i][1], frame.data) for i in range(count)]
    return fields[0] if same else torch.cat(fields)


def gain_field(opcodes: Sequence[Opcode], view: View, like: Tensor) -> Tensor:
    """The product of these opcodes' gains at the pixels of `like`, (1, C, H, W)."""
    gain = like.new_ones((1, *like.shape[1:]))
    for opcode in opcodes:
        if isinstance(opcode, VignetteRadial):
            dy, dx, _ = lens.centered(*view.coordinates(like.shape, like), view.full_size, opcode.center)
            gain *= lens.radial_gain(dy, dx, opcode.k)
        elif isinstance(opcode, GainMap):
            _multiply(gain, opcode, view, _grid_gains)
        elif isinstance(opcode, LineValues):
            _multiply(gain, opcode, view, _line_gains)
    return gain


def _multiply(gain: Tensor, opcode: AreaOpcode, view: View, gains_at: GainsAt) -> None:
    """Multiply the opcode's area, planes and pitches of `gain` (1, C, H, W) in place."""
    top, left, bottom, right = opcode.area
    spans = (range(top, bottom, opcode.row_pitch), range(left, right, opcode.col_pitch))
    ys, xs = (lens.axis_slice(view.origin[a], view.step[a], int(gain.shape[a - 2]), spans[a]) for a in (0, 1))
    rows, columns = view.coordinates(gain.shape, gain)
    for plane in range(opcode.plane, min(opcode.plane + opcode.planes, int(gain.shape[1]))):
        gain[0, plane, ys, xs] *= gains_at(opcode, plane - opcode.plane, rows[ys], columns[xs], view.full_size)


def _grid_gains(opcode: Any, plane: int, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    v = ((rows + 0.5) / size[0] - opcode.origin_v) / (opcode.spacing_v or 1.0)
    u = ((columns + 0.5) / size[1] - opcode.origin_h) / (opcode.spacing_h or 1.0)
    grid = torch.tensor(opcode.gains, device=rows.device, dtype=rows.dtype)
    return lens.interpolate_grid(grid[..., min(plane, grid.shape[-1] - 1)], v, u)


def _line_gains(opcode: Any, plane: int, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    by_row = opcode.axis == "row"
    at = (rows - opcode.area[0]) / opcode.row_pitch if by_row else (columns - opcode.area[1]) / opcode.col_pitch
    values = torch.tensor(opcode.values, device=rows.device, dtype=rows.dtype)[at.round().long()]
    return values[:, None] if by_row else values[None, :]


def _manual_gain(frame: Frame, coefficients: Sequence[Number]) -> Tensor:
    views = frame.meta.view
    if all(v == views[0] for v in views):
        return _radial_at(views[0], frame, coefficients)
    own = [[k[i] if isinstance(k, Tensor) and k.ndim else k for k in coefficients] for i in range(len(views))]
    return torch.cat([_radial_at(v, frame, k) for v, k in zip(views, own, strict=True)])


def _radial_at(view: View, frame: Frame, coefficients: Sequence[Number]) -> Tensor:
    dy, dx, _ = lens.centered(*view.coordinates(frame.size, frame.data), view.full_size)
    return lens.radial_gain(dy, dx, coefficients)
