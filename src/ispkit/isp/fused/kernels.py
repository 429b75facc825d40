"""Steps as one Halide loop nest: the mosaic's steps and the demosaicing per tile, the rest per row of a tile.

Every function takes and gives Halide expressions at pixel (x, y). Rows are cut into jobs (one per
thread), jobs into tiles that stay in the processor's caches; vectors run along x.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import halide as hl

from ispkit.isp.fused.steps import (
    CURVE_DROPPED_BITS,
    CURVE_RANGE,
    TINY,
    Ceiling,
    Contrast,
    Curve,
    GainGrid,
    LinearDemosaic,
    Matrix,
    Radial,
    Sites,
    Step,
    Unsharp,
    Vibrance,
    curve_index_range,
)
from ispkit.ops.luma import WEIGHTS as LUMA

TILE_ROWS, TILE_COLUMNS = 32, 512
_TINY = hl.f32(TINY)
_X, _Y, _C = hl.Var("x"), hl.Var("y"), hl.Var("c")
Color = list[Any]


@dataclass
class Build:
    """One kernel in the making: its inputs so far, and the stages that a tile has to keep."""

    mosaic: Any = field(default_factory=lambda: hl.ImageParam(hl.Float(32), 2, "mosaic"))
    rows_per_job: Any = field(default_factory=lambda: hl.Param(hl.Int(32), "rows_per_job"))
    inputs: list[Any] = field(default_factory=list)
    kept: list[tuple[Any, bool]] = field(default_factory=list)

    def array(self, dimensions: int, bits: int = 32) -> Any:
        """The next runtime array."""
        self.inputs.append(hl.ImageParam(hl.Float(bits), dimensions, f"array{len(self.inputs)}"))
        return self.inputs[-1]

    def named(self, value: Any) -> Any:
        """The same value behind a name, which is inlined later: terms stay small while the chain grows."""
        func = hl.Func("step")
        func[_X, _Y] = hl.Tuple(value) if isinstance(value, list) else value
        return [func[_X, _Y][i] for i in range(len(value))] if isinstance(value, list) else func[_X, _Y]

    def keep(self, name: str, value: Any, *, whole_cells: bool = False) -> Any:
        """Compute a value once per tile and read it from there; `whole_cells` where it differs in a 2x2."""
        func = hl.Func(name)
        func[_X, _Y] = value
        self.kept.append((func, whole_cells))
        return func

    @property
    def place(self) -> tuple[Any, Any]:
        """Column and row in the picture."""
        return _X - self.mosaic.dim(0).min(), _Y - self.mosaic.dim(1).min()


def compile_chain(steps: Sequence[Step], bits: int) -> Any:
    """A callable `(mosaic, rows_per_job, *arrays, codes)` for chains of these variants."""
    build = Build()
    value = build.mosaic[_X, _Y]
    for step in steps:
        value = build.named(BUILDERS[type(step)](build, value, step.variant))
    out = _codes(value, bits)
    _schedule(build, out)
    return out.compile_to_callable(
        [build.mosaic, build.rows_per_job, *build.inputs], hl.get_jit_target_from_environment()
    )


def _codes(color: Color, bits: int) -> Any:
    top = float(2**bits - 1)
    pixel = hl.Func("pixel")
    pixel[_X, _Y] = hl.Tuple(color)
    code = hl.clamp(hl.mux(_C, [pixel[_X, _Y][i] for i in range(3)]) * hl.f32(top) + hl.f32(0.5), 0.0, top)
    out = hl.Func("codes")
    out[_C, _X, _Y] = hl.cast(hl.UInt(bits), code)
    return out


def _schedule(build: Build, out: Any) -> None:
    vector = hl.get_host_target().natural_vector_size(hl.Float(32))
    job, row, column, x, y = (hl.Var(n) for n in ("job", "row", "column", "xi", "yi"))
    guard = hl.TailStrategy.GuardWithIf
    out.bound(_C, 0, 3).output_buffer().dim(0).set_bounds(0, 3).set_stride(1)
    out.output_buffer().dim(1).set_stride(3)
    out.split(_Y, job, row, build.rows_per_job, guard).split(row, row, y, TILE_ROWS, guard)
    out.split(_X, column, x, TILE_COLUMNS, guard).reorder(_C, x, y, column, row, job)
    out.unroll(_C).vectorize(x, vector, guard).parallel(job)
    # without special cases for the last job, row and column: half the time to compile, the same to run
    out.never_partition([job, row, column, y])
    for func, whole_cells in build.kept:
        func.compute_at(out, column)
        if whole_cells:
            _vectorize_cells(func, vector)
        else:
            func.vectorize(_X, vector)


def _vectorize_cells(func: Any, vector: int) -> None:
    """Vectors over every other column, both columns and rows of a cell unrolled: no site's sum is thrown away."""
    cell, x = hl.Var("cell"), hl.Var("xi")
    func.align_bounds(_X, 2 * vector).align_bounds(_Y, 2).split(_X, cell, x, 2).reorder(x, cell, _Y)
    func.unroll(x).unroll(_Y, 2).vectorize(cell, vector)


def _sites(build: Build, value: Any, _: Hashable) -> Any:
    factors = build.array(2)
    return value * _by_site([factors[i, 0] for i in range(4)]) + _by_site([factors[i, 1] for i in range(4)])


def _by_site(values: Sequence[Any]) -> Any:
    """One of four values by the place in the 2x2 that starts at red."""
    first, second, third, fourth = values
    even = _X % 2 == 0
    return hl.select(_Y % 2 == 0, hl.select(even, first, second), hl.select(even, third, fourth))


def _gain_grid(build: Build, value: Any, _: Hashable) -> Any:
    columns, place = build.array(3), build.array(2)
    x, y = build.place
    last = columns.dim(1).extent() - 1
    above = hl.clamp(hl.i32(place[y, 0]), 0, last)
    here, below = columns[x, above, _Y % 2], columns[x, hl.min(above + 1, last), _Y % 2]
    return value * (here + (below - here) * place[y, 1])


def _radial(build: Build, value: Any, _: Hashable) -> Any:
    rows, columns, k = build.array(1), build.array(1), build.array(1)
    x, y = build.place
    r2 = rows[y] + columns[x]
    gain = hl.f32(0.0)
    for i in reversed(range(5)):
        gain = r2 * (gain + k[i])
    return value * (1 + gain)


def _ceiling(build: Build, value: Any, _: Hashable) -> Any:
    return hl.min(value, build.array(1)[0])


def _linear_demosaic(build: Build, value: Any, variant: Any) -> Color:
    inside = hl.Func("inside")
    inside[_X, _Y] = value
    edges = [hl.Range(build.mosaic.dim(i).min(), build.mosaic.dim(i).extent()) for i in (0, 1)]
    mirrored = hl.BoundaryConditions.mirror_interior(inside, edges)
    mosaic = build.keep("mosaic", mirrored[_X, _Y], whole_cells=True)
    colors = [_by_site([_weighted(mosaic, site[color]) for site in variant[1]]) for color in range(3)]
    camera = build.keep("camera", hl.Tuple(colors), whole_cells=True)
    return [camera[_X, _Y][i] for i in range(3)]


def _weighted(mosaic: Any, taps: Sequence[tuple[int, int, float]]) -> Any:
    """Sum of weighted neighbors, those of equal weight added first."""
    by_weight: dict[float, list[Any]] = {}
    for dy, dx, weight in taps:
        by_weight.setdefault(weight, []).append(mosaic[_X + dx, _Y + dy])
    return _sum([_sum(group) if weight == 1 else _sum(group) * hl.f32(weight) for weight, group in by_weight.items()])


def _sum(terms: Sequence[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _matrix(build: Build, color: Color, _: Hashable) -> Color:
    m = build.array(2)
    return [_sum([m[j, i] * color[j] for j in range(3)]) for i in range(3)]


def _curve(build: Build, color: Color, variant: Any) -> Color:
    table, share = build.array(2, bits=64), build.array(1)
    curved = [_look_up(table, c) for c in color]
    if not variant[1]:
        return curved
    norm = hl.max(hl.max(color[0], color[1]), hl.max(color[2], _TINY))
    ratio = hl.select(norm <= _TINY, share[1], _look_up(table, norm) / norm)
    return [y + share[0] * (c * ratio - y) for c, y in zip(color, curved, strict=True)]


def _look_up(table: Any, x: Any) -> Any:
    """A tabulated function between its two nearest points; see `steps.tabulate`."""
    word = hl.reinterpret(hl.UInt(32), hl.clamp(hl.abs(x), *(hl.f32(v) for v in CURVE_RANGE)))
    first, last = curve_index_range()
    index = hl.clamp(hl.i32(word >> CURVE_DROPPED_BITS) - first, 0, last - first)
    share = hl.f32(hl.i32(word & (2**CURVE_DROPPED_BITS - 1))) * hl.f32(2.0**-CURVE_DROPPED_BITS)
    sign = hl.select(x < 0, 1, 0)
    pair = hl.reinterpret(hl.UInt(64), table[index, sign])
    value, step = (hl.reinterpret(hl.Float(32), hl.u32(half)) for half in (pair, pair >> hl.u64(32)))
    return value + step * share


def _luminance(color: Color) -> Any:
    return _sum([hl.f32(weight) * c for weight, c in zip(LUMA, color, strict=True)])


def _contrast(build: Build, color: Color, _: Hashable) -> Color:
    k = build.array(1)
    gain = hl.fast_pow(hl.max(_luminance(color), _TINY) * k[1], k[0])
    return [c * gain for c in color]


def _vibrance(build: Build, color: Color, _: Hashable) -> Color:
    k = build.array(1)
    y = _luminance(color)
    top = hl.max(hl.max(color[0], color[1]), hl.max(color[2], _TINY))
    low = hl.min(hl.min(color[0], color[1]), color[2])
    gain = k[0] * (1 + k[1] * (1 - hl.clamp((top - low) / top, 0.0, 1.0)))
    return [y + gain * (c - y) for c in color]


def _unsharp(build: Build, color: Color, variant: Any) -> Color:
    weights, knobs = build.array(1), build.array(1)
    reach: int = variant[1]
    taps = range(2 * reach + 1)
    linear = build.keep("linear", hl.Tuple(color))
    luma = build.keep("luma", _luminance([linear[_X, _Y][i] for i in range(3)]))
    upright = build.keep("upright", _sum([weights[i] * luma[_X, _Y + i - reach] for i in taps]))
    mean = _sum([weights[i] * upright[_X + i - reach, _Y] for i in taps])
    detail = luma[_X, _Y] - mean
    detail = detail - hl.clamp(detail, -knobs[1], knobs[1])
    limit = knobs[2] * hl.max(mean, 0.0)
    change = hl.clamp(knobs[0] * detail, -limit, limit)
    return [linear[_X, _Y][i] + change for i in range(3)]


BUILDERS: dict[type[Step], Callable[[Build, Any, Any], Any]] = {
    Sites: _sites,
    GainGrid: _gain_grid,
    Radial: _radial,
    Ceiling: _ceiling,
    LinearDemosaic: _linear_demosaic,
    Matrix: _matrix,
    Curve: _curve,
    Contrast: _contrast,
    Vibrance: _vibrance,
    Unsharp: _unsharp,
}
