"""Lens shading as steps: gain maps sampled at the picture's columns, radial laws as squares of offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ispkit.core.frame import Frame
from ispkit.core.meta import View
from ispkit.core.opcodes import GainMap
from ispkit.core.param import Value
from ispkit.isp.fused.steps import Array, DoesNotFitError, GainGrid, Radial, Step
from ispkit.isp.stages.lens import is_gain
from ispkit.ops import lens

Size = tuple[int, int]


def lowered(probe: Frame, knobs: Mapping[str, Value], size: Size, red_at: tuple[int, int]) -> list[Step]:
    """Steps of the `LensShading` stage for a picture of `size` whose top-left pixels are `probe`."""
    view, steps = probe.meta.view[0], list[Step]()
    strength = float(knobs["strength"]) if knobs["source"] in ("file", 0) else 0.0
    opcodes = [o for o in probe.meta.opcodes[0] if o.stage in (1, 2) and is_gain(o)]
    maps = [o for o in opcodes if isinstance(o, GainMap)]
    if strength and len(maps) < len(opcodes):
        raise DoesNotFitError("only gain maps are fused, not radial or per-line gains")
    if strength and maps:
        grid = _grid(maps, view, size, strength)
        steps.append(replace(grid, columns=np.roll(grid.columns, red_at[0], axis=0)))
    manual = [float(knobs[k]) for k in ("k1", "k2", "k3")]
    if any(manual):
        steps.append(_radial(manual, view, size))
    return steps


def _grid(maps: Sequence[GainMap], view: View, size: Size, strength: float) -> GainGrid:
    """One grid for each site of the picture's top-left 2x2, sampled at every column."""
    first = maps[0]
    geometry = [(m.spacing_v, m.spacing_h, m.origin_v, m.origin_h, len(m.gains), len(m.gains[0])) for m in maps]
    if len(set(geometry)) > 1:
        raise DoesNotFitError("gain maps of different geometry are not fused")
    like = torch.zeros((), dtype=torch.float64)
    rows, columns = view.coordinates(size, like)
    v = ((rows + 0.5) / view.full_size[0] - first.origin_v) / first.spacing_v
    u = ((columns + 0.5) / view.full_size[1] - first.origin_h) / first.spacing_h
    knots = torch.arange(geometry[0][4], dtype=like.dtype)
    sampled = torch.empty(2, len(knots), size[1], dtype=like.dtype)
    for y in (0, 1):
        for x in (0, 1):
            grid = _site_grid(maps, (y, x), view, size)
            blended = lens.blend_gain(grid, strength)
            sampled[y, :, x::2] = lens.interpolate_grid(blended, knots, u[x::2])
    position = v.clamp(0, len(knots) - 1)
    above = position.floor().clamp(max=max(len(knots) - 2, 0))
    return GainGrid(_float32(sampled), _float32(torch.stack([above, position - above])))


def _site_grid(maps: Sequence[GainMap], site: tuple[int, int], view: View, size: Size) -> Tensor:
    """The gains that reach one site of the picture's 2x2; ones where no map does."""
    sensor = [view.origin[a] + view.step[a] * site[a] for a in (0, 1)]
    own = [m for m in maps if _reaches(m, sensor)]
    if len(own) > 1:
        raise DoesNotFitError("gain maps that overlap are not fused")
    if not own:
        return torch.ones(len(maps[0].gains), len(maps[0].gains[0]), dtype=torch.float64)
    if not _covers(own[0], site, view, size) or own[0].plane != 0:
        raise DoesNotFitError("a gain map that covers a part of the picture is not fused")
    return torch.tensor(own[0].gains, dtype=torch.float64)[..., 0]


def _reaches(opcode: GainMap, sensor: Sequence[int]) -> bool:
    pitches = (opcode.row_pitch, opcode.col_pitch)
    if any(p not in (1, 2) for p in pitches):
        raise DoesNotFitError("gain maps with a pitch above 2 are not fused")
    return all((sensor[a] - opcode.area[a]) % pitches[a] == 0 for a in (0, 1))


def _covers(opcode: GainMap, site: tuple[int, int], view: View, size: Size) -> bool:
    """Whether every pixel of this site lies in the opcode's area."""
    for a in (0, 1):
        last = site[a] + (size[a] - 1 - site[a]) // 2 * 2
        ends = sorted(view.origin[a] + view.step[a] * i for i in (site[a], last))
        if ends[0] < opcode.area[a] or ends[1] >= opcode.area[a + 2]:
            return False
    return True


def _radial(coefficients: Sequence[float], view: View, size: Size) -> Radial:
    rows, columns = view.coordinates(size, torch.zeros((), dtype=torch.float64))
    dy, dx, _ = lens.centered(rows, columns, view.full_size)
    padded = np.zeros(5, np.float32)
    padded[: len(coefficients)] = coefficients
    return Radial(_float32(dy.square()), _float32(dx.square()), padded)


def _float32(values: Tensor) -> Array:
    return np.ascontiguousarray(values.to(torch.float32).numpy())
